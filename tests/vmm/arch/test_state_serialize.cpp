#include "vmm/arch/state_serialize.h"

#include <catch2/catch.hpp>
#include <cstring>

using namespace vmm;

namespace {

CpuState sample() {
    CpuState state;
    state.gpr = {1, 2, 3, 4, 5, 6, 7, 8};
    state.eip = 0xC0100000;
    state.eflags = eflags::kFixed1 | eflags::kIf | eflags::kNt;
    for (Segment& s : state.seg)
        s = Segment{0x2B, 1, 0, 0x1000, 0xFFFFFFFF, 0x00C0F300};
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
    saved.segment(SegReg::Ds).attributes = 0xFFFFFFFF;
    std::memset(&saved.fx.bytes[24], 0xFF, 4);
    CHECK(load(saved, loaded).empty());
    CHECK((loaded.eflags & 0xFFC0802A) == eflags::kFixed1);
    CHECK(loaded.halted == 1);
    CHECK(loaded.segment(SegReg::Ds).attributes == 0x00F0FF00);
    uint32_t mxcsr = 0;
    std::memcpy(&mxcsr, &loaded.fx.bytes[24], 4);
    CHECK(mxcsr == 0xFFFF); // reserved bits would make FXRSTOR fault
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
