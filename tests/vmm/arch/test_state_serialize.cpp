#include "vmm/arch/promise.h"
#include "vmm/arch/state_serialize.h"

#include <catch2/catch.hpp>
#include <cstring>

using namespace vmm;

namespace {

CpuState sample() {
    CpuState state;
    for (unsigned i = 0; i < kLegacyRegisterCount; ++i)
        state.gpr[i].low = i + 1;
    state.eip = 0xC0100000;
    state.eflags = eflags::kFixed1 | eflags::kIf | eflags::kNt;
    for (Segment& s : state.seg)
        s = Segment{0x2B, 1, 0x1000, 0xFFFFFFFF, 0x00C0F300};
    state.cr0 = cr0::kPe | cr0::kPg | cr0::kEt;
    state.cr3 = 0x12345000;
    state.cr4 = cr4::kPae;
    state.pdpte = {1, 2, 3, 4};
    state.dr[6] = 0xFFFF0FF0;
    state.dr[7] = 0x400;
    state.cpl = 3;
    for (size_t i = 0; i < 512; ++i)
        state.fx.bytes[i] = static_cast<uint8_t>(i);
    std::memset(&state.fx.bytes[24], 0, 4);
    return state;
}

std::string load(CpuState& saved, CpuState& loaded) {
    base::StateArchive out;
    serialize(saved, out);
    auto in = base::StateArchive::parse(out.bytes());
    REQUIRE(in);
    serialize(loaded, *in);
    return in->error();
}

} // namespace

TEST_CASE("state_serialize: what was saved comes back, and the TSC goes on", "[cpu]") {
    CpuState saved = sample(), loaded;
    saved.tsc_offset = 12345;
    CHECK(load(saved, loaded).empty());
    CHECK(loaded.gpr == saved.gpr);
    CHECK(loaded.eip == saved.eip);
    CHECK(loaded.eflags == saved.eflags);
    CHECK(std::memcmp(&loaded.seg, &saved.seg, sizeof saved.seg) == 0);
    CHECK(loaded.pdpte == saved.pdpte);
    CHECK(loaded.fx.bytes == saved.fx.bytes);
    CHECK(loaded.cr3 == saved.cr3);
    CHECK(loaded.cpl == 3);
    const auto drift = static_cast<int64_t>(saved.tsc_offset - loaded.tsc_offset);
    CHECK(drift >= 0); // the clock stood still while it was saved
    CHECK(drift < 1'000'000'000);
}

TEST_CASE("state_serialize: impossible states are refused", "[cpu]") {
    const auto refused = [](auto&& change) {
        CpuState saved = sample(), loaded;
        change(saved);
        return !load(saved, loaded).empty();
    };
    CHECK_FALSE(refused([](CpuState&) {}));
    CHECK(refused([](CpuState& s) { s.cpl = 4; }));
    CHECK(refused([](CpuState& s) { s.cr0 = cr0::kPg; }));
    CHECK(refused([](CpuState& s) { s.cr4 = 1u << 20; }));
    CHECK(refused([](CpuState& s) { s.cr0 = 0; })); // ring 3 in real mode
    CHECK(refused([](CpuState& s) { s.efer = 1; }));
    CHECK(refused([](CpuState& s) { s.pat = 2; }));
    CHECK(refused([](CpuState& s) { s.segment(SegReg::Cs).usable = 0; }));
}

TEST_CASE("state_serialize: fields the architecture fixes are normalised", "[cpu]") {
    CpuState saved = sample(), loaded;
    saved.eflags = 0xFFFFFFFF & ~eflags::kVm;
    saved.halted = 77;
    saved.segment(SegReg::Ds).set_attributes(0xFFFFFFFF);
    std::memset(&saved.fx.bytes[24], 0xFF, 4);
    CHECK(load(saved, loaded).empty());
    CHECK((loaded.eflags & 0xFFC0802A) == eflags::kFixed1);
    CHECK(loaded.halted == 1);
    CHECK(loaded.segment(SegReg::Ds).attributes() == 0x00F0FF00);
    uint32_t mxcsr = 0;
    std::memcpy(&mxcsr, &loaded.fx.bytes[24], 4);
    CHECK(mxcsr == 0xFFFF); // reserved bits would make FXRSTOR fault
}

namespace {

// In 64-bit mode, with something in the upper half of everything that has one.
CpuState sample64() {
    CpuState state = sample();
    state.promised = promise::kAll;
    for (unsigned i = 0; i < kRegisterCount; ++i)
        state.gpr[i] = Wide(0x1111111100000000ull * (i + 1) + i);
    state.set_rip(0xFFFFFFFF81000000);
    state.cpl = 0;
    state.cr0 |= cr0::kWp;
    state.cr2 = 0xFFFF888000001000;
    state.cr3 = 0x0000008012345018;
    state.cr4 = cr4::kPae | cr4::kPcide | cr4::kSmep | cr4::kSmap | cr4::kUmip | cr4::kFsGsBase |
                cr4::kOsxsave | cr4::kPge;
    state.efer = efer::kSce | efer::kLme | efer::kLma | efer::kNxe;
    state.segment(SegReg::Cs) = Segment{0x10, 1, 0, 0xFFFFFFFF, 0x00A09B00};
    state.segment(SegReg::Fs).set_linear_base(0x00007F0012345678);
    state.segment(SegReg::Gs).set_linear_base(0xFFFF888012345678);
    state.tr = Segment{0x40, 1, 0xFFFFFE0000003000, 0x67, 0x8B00};
    state.gdtr = {0xFFFFFE0000001000, 0x7F};
    state.idtr = {0xFFFFFE0000000000, 0xFFF};
    state.dr[0] = 0xFFFFFFFF81000000;
    state.sysenter_esp = 0xFFFFFE0000003200;
    state.sysenter_eip = 0xFFFFFFFF81A00080;
    state.star = 0x0023001000000000;
    state.lstar = 0xFFFFFFFF81A00000;
    state.cstar = 0xFFFFFFFF81A01000;
    state.fmask = 0x47700;
    state.kernel_gs_base = 0x00007F00ABCDEF00;
    state.xcr0 = 7;
    state.cr8 = 3;
    return state;
}

std::string load64(CpuState& saved, CpuState& loaded) {
    loaded.promised = saved.promised;
    return load(saved, loaded);
}

} // namespace

TEST_CASE("state_serialize: all of a 64-bit processor comes back", "[cpu]") {
    CpuState saved = sample64(), loaded;
    CHECK(load64(saved, loaded).empty());
    loaded.tsc_offset = saved.tsc_offset;
    CHECK(loaded == saved);
}

TEST_CASE("state_serialize: a 32-bit processor's form is what it was before there was long mode", "[cpu]") {
    CpuState saved = sample();
    base::StateArchive out;
    serialize(saved, out);
    const std::string_view bytes(reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size());
    for (const char* later : {"_high", "r8", "star", "xcr0", "promised"})
        CHECK(bytes.find(later) == std::string_view::npos);

    // As version 1 wrote it: 32 bits for each of these.
    base::StateArchive old;
    old.begin("cpu", 1);
    const std::pair<const char*, uint32_t> fields[] = {{"eax", 0x11},
                                                       {"esp", 0x22},
                                                       {"eip", 0xC0100000},
                                                       {"eflags", 0x202},
                                                       {"cr0", 0x80000011},
                                                       {"cr2", 0xBFFFF123},
                                                       {"cr3", 0x12345000},
                                                       {"cr4", cr4::kPae},
                                                       {"dr0", 0x1000},
                                                       {"dr7", 0x400},
                                                       {"gdtr.base", 0xC1000000},
                                                       {"gdtr.limit", 0xFF},
                                                       {"cs.base", 0xFFFF0000},
                                                       {"cs.attributes", 0x00C09B00},
                                                       {"sysenter_esp", 0xC1234567}};
    for (const auto& [name, value] : fields) {
        uint32_t copy = value;
        old.field(name, copy);
    }
    uint8_t usable = 1;
    old.field("cs.usable", usable);
    old.end();
    auto in = base::StateArchive::parse(old.bytes());
    REQUIRE(in);
    CpuState loaded;
    serialize(loaded, *in);
    CHECK(in->error().empty());
    CHECK(loaded.wide(Reg::Eax).whole() == 0x11);
    CHECK(loaded.wide(Reg::Esp).whole() == 0x22);
    CHECK(loaded.rip() == 0xC0100000);
    CHECK(loaded.cr2 == 0xBFFFF123);
    CHECK(loaded.cr3 == 0x12345000);
    CHECK(loaded.dr[0] == 0x1000);
    CHECK(loaded.gdtr == TableRegister{0xC1000000, 0xFF});
    CHECK(loaded.segment(SegReg::Cs).linear_base() == 0xFFFF0000);
    CHECK(loaded.segment(SegReg::Cs).attributes() == 0x00C09B00);
    CHECK(loaded.sysenter_esp == 0xC1234567);
}

TEST_CASE("state_serialize: a state is opened by the processor that it was saved from", "[cpu]") {
    const auto opens = [](CpuState&& saved, uint32_t promised) {
        CpuState loaded;
        loaded.promised = promised;
        return load(saved, loaded).empty();
    };
    CHECK(opens(sample(), 0));
    CHECK(opens(sample64(), promise::kAll));
    CHECK_FALSE(opens(sample(), promise::kAll));
    CHECK_FALSE(opens(sample64(), 0));
    CHECK_FALSE(opens(sample64(), promise::kAll & ~promise::kSmap));
}

TEST_CASE("state_serialize: impossible states of a 64-bit processor are refused", "[cpu]") {
    const auto refused = [](auto&& change) {
        CpuState saved = sample64(), loaded;
        change(saved);
        return !load64(saved, loaded).empty();
    };
    CHECK_FALSE(refused([](CpuState&) {}));
    CHECK(refused([](CpuState& s) { s.efer &= ~efer::kLma; }));
    CHECK(refused([](CpuState& s) { s.efer &= ~efer::kLme; }));
    CHECK(refused([](CpuState& s) { s.efer |= 1u << 12; }));
    CHECK(refused([](CpuState& s) { s.cr4 &= ~cr4::kPae; }));
    CHECK(refused([](CpuState& s) { s.cr4 |= 1u << 12; })); // five levels
    CHECK(refused([](CpuState& s) { s.cr3 |= 1ull << 40; }));
    CHECK(refused([](CpuState& s) { s.cr3 |= 1ull << 63; }));
    CHECK(refused([](CpuState& s) { s.set_rip(0x0000800000000000); }));
    CHECK(refused([](CpuState& s) { s.lstar = 0x8000000000000000; }));
    CHECK(refused([](CpuState& s) { s.kernel_gs_base = 0x1000000000000; }));
    CHECK(refused([](CpuState& s) { s.segment(SegReg::Gs).set_linear_base(1ull << 47); }));
    CHECK(refused([](CpuState& s) { s.segment(SegReg::Cs).set_attributes(0x00E09B00); })); // L and D
    CHECK(refused([](CpuState& s) { s.xcr0 = 5; }));
    CHECK(refused([](CpuState& s) { // PCIDs outside of long mode
        s.efer = efer::kNxe;
        s.set_rip(0x1000);
    }));
}

TEST_CASE("state: a flag of a file is one or the other, whatever byte stands there", "[cpu]") {
    base::StateArchive saved;
    uint8_t byte = 0x82;
    saved.begin("flags", 1);
    saved.field("flag", byte);
    saved.end();
    auto loading = base::StateArchive::parse(saved.bytes());
    REQUIRE(loading);
    bool flag = false;
    loading->begin("flags", 1);
    loading->field("flag", flag);
    uint8_t made = 0;
    std::memcpy(&made, &flag, 1);
    CHECK(made == 1);
}
