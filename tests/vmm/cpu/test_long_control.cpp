#include "long_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

std::string write_cr(LongGuest& g, unsigned index, uint64_t value) {
    return g.tried([&] { return g.cpu.write_cr(index, value); });
}
std::string wrmsr(LongGuest& g, uint32_t index, uint64_t value) {
    g.wide(Reg::Ecx) = index;
    g.wide(Reg::Eax) = static_cast<uint32_t>(value);
    g.wide(Reg::Edx) = value >> 32;
    return g.tried([&] { return g.cpu.wrmsr(); });
}
uint64_t rdmsr(LongGuest& g, uint32_t index) {
    g.wide(Reg::Ecx) = index;
    REQUIRE(g.cpu.rdmsr());
    return g.wide(Reg::Edx) << 32 | g.wide(Reg::Eax);
}

constexpr uint32_t kEfer = 0xC0000080;
constexpr uint32_t kAddressMsrs[] = {0x175,      0x176,      0xC0000082, 0xC0000083,
                                     0xC0000100, 0xC0000101, 0xC0000102};

// Ring 0 of 32-bit code with everything ready for paging to go on.
void before_long_mode(LongGuest& g) {
    g.long_mode(0, true);
    g.state.cr0 &= ~cr0::kPg;
    g.state.efer = efer::kLme;
}

} // namespace

TEST_CASE("long control: into IA-32e mode and back", "[cpu]") {
    LongGuest g;
    before_long_mode(g);
    CHECK(write_cr(g, 0, g.state.cr0 | cr0::kPg) == "ok");
    CHECK(g.state.efer == (efer::kLme | efer::kLma));
    CHECK_FALSE(g.state.mode64());
    CHECK(g.tried([&] { return g.cpu.far_jump(kCode64, 0x5000, Width::Dword, 0); }) == "ok");
    CHECK(g.state.mode64());
    CHECK(write_cr(g, 0, g.state.cr0 & ~cr0::kPg) == "13(0000)"); // not out of 64-bit mode
    CHECK(wrmsr(g, kEfer, 0) == "13(0000)");                      // nor by LME
    CHECK(wrmsr(g, kEfer, efer::kLme | efer::kSce) == "ok");      // LMA is not for writing
    CHECK(g.state.efer == (efer::kLme | efer::kLma | efer::kSce));
    CHECK(g.tried([&] { return g.cpu.far_jump(kKernelCs, 0x5000, Width::Dword, 0); }) == "ok");
    CHECK(write_cr(g, 0, g.state.cr0 & ~cr0::kPg) == "ok");
    CHECK(g.state.efer == (efer::kLme | efer::kSce));
    CHECK(wrmsr(g, kEfer, 0) == "ok");
    CHECK(g.state.efer == 0);
}

TEST_CASE("long control: paging with LME needs PAE, a code segment without L, and no 16-bit TSS", "[cpu]") {
    LongGuest g;
    const auto enable = [&](auto&& change) {
        before_long_mode(g);
        change();
        return write_cr(g, 0, g.state.cr0 | cr0::kPg);
    };
    CHECK(enable([] {}) == "ok");
    CHECK(enable([&] { g.state.cr4 &= ~cr4::kPae; }) == "13(0000)");
    CHECK(enable([&] { g.seg(SegReg::Cs).set_attributes(0xA09B00); }) == "13(0000)");
    CHECK(enable([&] { g.state.tr.set_attributes(0x8300); }) == "13(0000)");
    CHECK(enable([&] { // no PDPTEs are read: these would be refused
              g.put64(LongGuest::kPml4, LongGuest::kPdpt | 7);
          }) == "ok");
    CHECK(enable([&] { g.state.efer = 0; }) == "13(0000)"); // and these are: it is PAE paging
}

TEST_CASE("long control: CR4 has what is promised, and PAE stays", "[cpu]") {
    const struct {
        uint32_t feature, bit;
    } rows[] = {{promise::kSmep, cr4::kSmep},     {promise::kSmap, cr4::kSmap},
                {promise::kUmip, cr4::kUmip},     {promise::kFsGsBase, cr4::kFsGsBase},
                {promise::kXsave, cr4::kOsxsave}, {promise::kPcid, cr4::kPcide}};
    for (const auto& row : rows) {
        LongGuest g;
        g.long_mode(0);
        CHECK(write_cr(g, 4, g.state.cr4 | row.bit) == "ok");
        g.long_mode(0);
        g.state.promised &= ~row.feature;
        CHECK(write_cr(g, 4, g.state.cr4 | row.bit) == "13(0000)");
    }
    LongGuest g;
    g.long_mode(0);
    for (const unsigned bit :
         {6u, 12u, 13u, 14u, 15u, 19u, 22u, 23u, 24u, 31u, 32u, 63u}) // LA57, PKE, CET, ...
        CHECK(write_cr(g, 4, g.state.cr4 | 1ull << bit) == "13(0000)");
    CHECK(write_cr(g, 4, 0) == "13(0000)");
    for (const unsigned index : {6u, 7u})
        CHECK(g.tried([&] { return g.cpu.write_dr(index, 1ull << 32); }) == "13(0000)");
    CHECK(g.tried([&] { return g.cpu.write_dr(0, kHigh + 0x1234); }) == "ok");
    CHECK(g.cpu.read_dr(0).value() == kHigh + 0x1234);
    CHECK(write_cr(g, 0, g.state.cr0 | 1ull << 32) == "13(0000)");
    CHECK(write_cr(g, 2, kHigh + 0x777) == "ok");
    CHECK(g.cpu.read_cr(2).value() == kHigh + 0x777);
}

TEST_CASE("long control: PCIDE goes on in IA-32e mode with PCID 0, and keeps paging on", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    g.state.cr3 |= 5;
    CHECK(write_cr(g, 4, g.state.cr4 | cr4::kPcide) == "13(0000)");
    g.state.cr3 &= ~uint64_t{5};
    CHECK(write_cr(g, 3, LongGuest::kPml4 | 1ull << 63) == "13(0000)"); // reserved without PCIDE
    CHECK(write_cr(g, 4, g.state.cr4 | cr4::kPcide) == "ok");
    CHECK(write_cr(g, 3, LongGuest::kPml4 | 5 | 1ull << 63) == "ok");
    CHECK(g.cpu.read_cr(3).value() == (LongGuest::kPml4 | 5)); // bit 63 reads as zero
    CHECK(write_cr(g, 3, LongGuest::kPml4 | 1ull << 62) == "13(0000)");
    CHECK(write_cr(g, 3, LongGuest::kPml4 | 1ull << 40) == "13(0000)"); // MAXPHYADDR
    CHECK(g.tried([&] { return g.cpu.far_jump(kKernelCs, 0x5000, Width::Dword, 0); }) == "ok");
    CHECK(write_cr(g, 0, g.state.cr0 & ~cr0::kPg) == "13(0000)");
    CHECK(write_cr(g, 4, g.state.cr4 & ~cr4::kPcide) == "ok"); // whatever the PCID
    CHECK(write_cr(g, 0, g.state.cr0 & ~cr0::kPg) == "ok");
    CHECK(write_cr(g, 4, g.state.cr4 | cr4::kPcide) == "13(0000)"); // legacy mode
}

TEST_CASE("long control: MOV to CR3 keeps translations by bit 63, INVPCID drops them", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    constexpr uint64_t kKeep = 1ull << 63;
    constexpr uint32_t kAt = 0x50000, kOther = 0x53000; // which context 2 uses, beside context 1's
    g.put8(0x51000, 1);
    g.put8(0x52000, 2);
    const auto point = [&](uint32_t page) {
        g.map(kAt, page | 7);
        g.map(kOther, page | 7);
    };
    const auto cr3 = [&](uint64_t pcid_and_keep) {
        CHECK(write_cr(g, 3, LongGuest::kPml4 | pcid_and_keep) == "ok");
    };
    point(0x51000);
    CHECK(write_cr(g, 4, g.state.cr4 | cr4::kPcide) == "ok");
    cr3(1);
    CHECK(g.read8(kAt) == 1);
    point(0x52000);
    cr3(2);
    CHECK(g.read8(kOther) == 2);
    cr3(1 | kKeep);
    CHECK(g.read8(kAt) == 1);
    CHECK(outcome(g.cpu.invpcid(1, 2, 0)) == "ok"); // another context
    CHECK(g.read8(kAt) == 1);
    CHECK(outcome(g.cpu.invpcid(1, 1, 0)) == "ok");
    CHECK(g.read8(kAt) == 2);
    for (const unsigned type : {0u, 2u, 3u}) {
        point(0x51000);
        cr3(3);
        CHECK(g.read8(kAt) == 1);
        point(0x52000);
        CHECK(g.read8(kAt) == 1);
        CHECK(outcome(g.cpu.invpcid(type, type == 0 ? 3 : 0, kAt)) == "ok");
        CHECK(g.read8(kAt) == 2);
    }
}

TEST_CASE("long control: INVPCID's operand", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    const auto invpcid = [&](uint64_t type, uint64_t pcid, Linear linear) {
        return g.tried([&] { return g.cpu.invpcid(type, pcid, linear); });
    };
    CHECK(invpcid(4, 0, 0) == "13(0000)");
    CHECK(invpcid(1ull << 32, 0, 0) == "13(0000)");
    CHECK(invpcid(0, 1, 0) == "13(0000)"); // without PCIDE
    CHECK(invpcid(1, 1, 0) == "13(0000)");
    CHECK(invpcid(2, 1, kNoncanonical) == "ok"); // neither counts
    g.state.cr4 |= cr4::kPcide;
    CHECK(invpcid(0, 1, 0) == "ok");
    CHECK(invpcid(0, 1, kNoncanonical) == "13(0000)");
    CHECK(invpcid(1, 1, kNoncanonical) == "ok");
    CHECK(invpcid(1, 0x1000, 0) == "13(0000)");
    g.long_mode(3);
    CHECK(invpcid(2, 0, 0) == "13(0000)");
    g.state.promised &= ~promise::kInvpcid;
    CHECK(invpcid(2, 0, 0) == "6");
}

TEST_CASE("long control: CR8 is the local APIC's task priority, in 64-bit mode", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    CHECK(write_cr(g, 8, 9) == "ok");
    CHECK(g.cpu.read_cr(8).value() == 9);
    CHECK(write_cr(g, 8, 16) == "13(0000)");
    struct Apic final : ApicMsrs {
        uint8_t priority = 0x35;
        [[nodiscard]] bool enabled() const override { return true; }
        [[nodiscard]] uint8_t initial_id() const override { return 0; }
        [[nodiscard]] std::optional<uint64_t> read_msr(uint32_t) const override { return {}; }
        [[nodiscard]] bool write_msr(uint32_t, uint64_t) override { return false; }
        [[nodiscard]] uint8_t task_priority() const override { return priority; }
        void set_task_priority(uint8_t value) override { priority = value; }
    } apic;
    g.cpu.set_apic(&apic);
    CHECK(g.cpu.read_cr(8).value() == 3);
    CHECK(write_cr(g, 8, 0xC) == "ok");
    CHECK(apic.priority == 0xC0);
    g.long_mode(3);
    CHECK(outcome(g.cpu.read_cr(8)) == "13(0000)");
    g.long_mode(0, true);
    CHECK(outcome(g.cpu.read_cr(8)) == "6");
}

TEST_CASE("long control: MSRs that hold addresses take canonical ones", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    for (const uint32_t index : kAddressMsrs) {
        INFO("MSR " << index);
        CHECK(wrmsr(g, index, kNoncanonical) == "13(0000)");
        CHECK(wrmsr(g, index, kHigh + index) == "ok");
    }
    for (const uint32_t index : kAddressMsrs)
        CHECK(rdmsr(g, index) == kHigh + index);
    CHECK(g.seg(SegReg::Fs).linear_base() == kHigh + 0xC0000100);
    CHECK(g.seg(SegReg::Gs).linear_base() == kHigh + 0xC0000101);
    CHECK(wrmsr(g, 0xC0000081, 0x123456789ABCDEF0) == "ok");
    CHECK(rdmsr(g, 0xC0000081) == 0x123456789ABCDEF0);
    CHECK(wrmsr(g, 0xC0000084, 1ull << 32) == "13(0000)");
    CHECK(wrmsr(g, 0xC0000084, 0x47700) == "ok");
    CHECK(rdmsr(g, 0xC0000084) == 0x47700);
    CHECK(wrmsr(g, kEfer, g.state.efer | 1ull << 12) == "13(0000)"); // SVME
    g.long_mode(3);
    CHECK(wrmsr(g, 0xC0000084, 0) == "13(0000)");
    CHECK(g.wide(Reg::Edx) == 0);
}

TEST_CASE("long control: XCR0 with CR4.OSXSAVE", "[cpu]") {
    LongGuest g;
    g.long_mode(0);
    const auto xsetbv = [&](uint32_t index, uint64_t value) {
        g.wide(Reg::Ecx) = index;
        g.wide(Reg::Eax) = static_cast<uint32_t>(value);
        g.wide(Reg::Edx) = value >> 32;
        return g.tried([&] { return g.cpu.xsetbv(); });
    };
    CHECK(xsetbv(0, 3) == "6");
    g.state.cr4 |= cr4::kOsxsave;
    for (const uint64_t wrong : {0ull, 2ull, 5ull, 6ull, 8ull, 9ull, 1ull | 1ull << 32, 1ull | 1ull << 63})
        CHECK(xsetbv(0, wrong) == "13(0000)");
    CHECK(xsetbv(1, 3) == "13(0000)");
    for (const uint64_t right : {1ull, 3ull, 7ull}) {
        CHECK(xsetbv(0, right) == "ok");
        g.wide(Reg::Ecx) = 0;
        REQUIRE(g.cpu.xgetbv());
        CHECK(g.wide(Reg::Eax) == right);
    }
    g.state.promised &= ~promise::kAvx;
    CHECK(xsetbv(0, 7) == "13(0000)");
    g.long_mode(3);
    g.state.cr4 |= cr4::kOsxsave;
    CHECK(xsetbv(0, 3) == "13(0000)");
}

TEST_CASE("long control: UMIP, and INVLPG of what is not canonical", "[cpu]") {
    LongGuest g;
    g.long_mode(3);
    CHECK(outcome(g.cpu.may_store_system_registers()) == "ok");
    g.state.cr4 |= cr4::kUmip;
    CHECK(outcome(g.cpu.may_store_system_registers()) == "13(0000)");
    g.long_mode(0);
    g.state.cr4 |= cr4::kUmip;
    CHECK(outcome(g.cpu.may_store_system_registers()) == "ok");
    CHECK(outcome(g.cpu.invlpg(kNoncanonical)) == "ok");
}

TEST_CASE("long control: CPUID tells what is promised, bit by bit, and nothing of it to a 32-bit guest",
          "[cpu]") {
    using Leaf = std::array<uint32_t, 4>;
    const auto ask = [](uint32_t promised, uint32_t leaf, uint32_t part = 0, bool mode64 = true) {
        LongGuest g;
        if (promised != 0 && mode64)
            g.long_mode(0);
        else
            g.protected_mode(0);
        g.state.promised = promised;
        g.wide(Reg::Eax) = leaf;
        g.wide(Reg::Ecx) = part;
        g.cpu.cpuid();
        return Leaf{g.reg(Reg::Eax), g.reg(Reg::Ebx), g.reg(Reg::Ecx), g.reg(Reg::Edx)};
    };
    const struct {
        uint32_t feature, leaf, reg, bit;
    } rows[] = {
        {promise::kPcid, 1, 2, 17},    {promise::kXsave, 1, 2, 26}, {promise::kAvx, 1, 2, 28},
        {promise::kFsGsBase, 7, 1, 0}, {promise::kSmep, 7, 1, 7},   {promise::kInvpcid, 7, 1, 10},
        {promise::kSmap, 7, 1, 20},    {promise::kUmip, 7, 2, 2},   {promise::kPages1G, 0x80000001, 3, 26}};
    for (const auto& row : rows) {
        const uint32_t without = promise::kAll & ~row.feature;
        const Leaf with = ask(promise::kAll, row.leaf);
        Leaf expected = with;
        expected[row.reg] &= ~(1u << row.bit);
        INFO("leaf " << row.leaf << ", bit " << row.bit);
        CHECK((with[row.reg] >> row.bit & 1) == 1);
        CHECK(ask(without, row.leaf) == expected);
    }
    const uint32_t lm = 1u << 29, syscall = 1u << 11;
    CHECK((ask(promise::kAll, 0x80000001)[3] & (lm | syscall)) == (lm | syscall));
    CHECK((ask(promise::kAll, 0x80000001, 0, false)[3] & (lm | syscall)) == lm);
    CHECK((ask(0, 0x80000001)[3] & (lm | syscall)) == 0);
    CHECK(ask(promise::kAll, 0x80000008)[0] == 0x3028); // 48 and 40 bits
    CHECK(ask(0, 0x80000008)[0] == 0x2028);
    CHECK(ask(promise::kAll, 0)[0] == 0xD);
    CHECK(ask(promise::kAll & ~(promise::kXsave | promise::kAvx), 0)[0] == 7);
    CHECK(ask(0, 0)[0] == 2);
    CHECK(ask(0, 7) == ask(0, 2));
    CHECK(ask(promise::kAll, 7, 1) == Leaf{});
    CHECK(ask(promise::kAll, 0xD, 0) == Leaf{7, 576, 832, 0}); // XCR0 is 1
    CHECK(ask(promise::kAll, 0xD, 2) == Leaf{256, 576, 0, 0});
}

TEST_CASE("long control: nothing of long mode exists for a 32-bit guest", "[cpu]") {
    LongGuest g;
    g.protected_mode(0);
    g.state.promised = 0;
    for (const uint64_t bit : {efer::kSce, efer::kLme, efer::kLma})
        CHECK(wrmsr(g, kEfer, bit) == "13(0000)");
    CHECK(wrmsr(g, kEfer, efer::kNxe) == "ok");
    for (uint32_t index = 0xC0000081; index <= 0xC0000084; ++index)
        CHECK(wrmsr(g, index, 0) == "13(0000)");
    for (uint32_t index = 0xC0000100; index <= 0xC0000102; ++index)
        CHECK(wrmsr(g, index, 0) == "13(0000)");
    for (const uint32_t bit :
         {cr4::kUmip, cr4::kFsGsBase, cr4::kPcide, cr4::kOsxsave, cr4::kSmep, cr4::kSmap})
        CHECK(write_cr(g, 4, bit) == "13(0000)");
    CHECK(wrmsr(g, 0x175, 0xFFFF800012345678) == "ok"); // SYSENTER_ESP has 32 bits
    CHECK(rdmsr(g, 0x175) == 0x12345678);
    CHECK(g.tried([&] { return g.cpu.syscall(0); }) == "6");
    CHECK(g.tried([&] { return g.cpu.swapgs(); }) == "6");
    CHECK(outcome(g.cpu.read_cr(8)) == "6");
    CHECK(outcome(g.cpu.xgetbv()) == "6");
    CHECK(outcome(g.cpu.invpcid(2, 0, 0)) == "6");
    g.cpu.reset();
    CHECK(g.state.promised == 0);
    g.state.promised = promise::kAll;
    g.cpu.reset();
    CHECK(g.state.promised == promise::kAll);
}
