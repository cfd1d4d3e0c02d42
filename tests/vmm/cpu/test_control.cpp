#include "tests/vmm/cpu/call_out_fixture.h"
#include "vmm/arch/tsc.h"

#include <cstring>
#include <ctime>
#include <string>

using namespace vmm;
using namespace vmm::testing;

TEST_CASE("control: impossible CR0 combinations are #GP(0) and change nothing", "[cpu]") {
    CallOuts t;
    const uint32_t before = t.state.cr0;
    CHECK(faults_with(t.cpu.write_cr(0, cr0::kPg), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.write_cr(0, cr0::kPe | cr0::kNw), Vector::GeneralProtection));
    CHECK(t.state.cr0 == before);
    CHECK(t.tlb.paging_changes == 0);
}

TEST_CASE("control: CR0 keeps ET set and drops undefined bits", "[cpu]") {
    CallOuts t;
    REQUIRE(t.cpu.write_cr(0, cr0::kPe | 0x0000FF00));
    CHECK(t.state.cr0 == (cr0::kPe | cr0::kEt));
}

TEST_CASE("control: turning paging on or WP over is announced, TS is not", "[cpu]") {
    CallOuts t;
    REQUIRE(t.cpu.write_cr(0, cr0::kPe | cr0::kPg));
    CHECK(t.tlb.paging_changes == 1);
    REQUIRE(t.cpu.write_cr(0, cr0::kPe | cr0::kPg | cr0::kWp));
    CHECK(t.tlb.paging_changes == 2);
    REQUIRE(t.cpu.write_cr(0, cr0::kPe | cr0::kPg | cr0::kWp | cr0::kTs));
    CHECK(t.tlb.paging_changes == 2);
    REQUIRE(t.cpu.clts());
    CHECK((t.state.cr0 & cr0::kTs) == 0);
}

TEST_CASE("control: MOV CR3 in PAE mode loads the PDPTEs, and a reserved bit leaves CR3 as it was", "[cpu]") {
    CallOuts t;
    t.ram->write<uint64_t>(0x1000, 0x5001);
    t.ram->write<uint64_t>(0x2000, 0x5001 | 0x2); // bit 1 is reserved
    REQUIRE(t.cpu.write_cr(4, cr4::kPae));
    REQUIRE(t.cpu.write_cr(3, 0x1000));
    CHECK(t.state.pdpte[0] == 0); // paging is still off
    REQUIRE(t.cpu.write_cr(0, cr0::kPe | cr0::kPg));
    CHECK(t.state.pdpte[0] == 0x5001);
    CHECK(faults_with(t.cpu.write_cr(3, 0x2000), Vector::GeneralProtection));
    CHECK(t.state.cr3 == 0x1000);
    CHECK(t.state.pdpte[0] == 0x5001);
    CHECK(t.tlb.cr3_loads == 1);
}

TEST_CASE("control: reserved CR4 bits are #GP(0), MCE among them", "[cpu]") {
    CallOuts t;
    CHECK(faults_with(t.cpu.write_cr(4, cr4::kMce), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.write_cr(4, 1u << 20), Vector::GeneralProtection));
    REQUIRE(t.cpu.write_cr(4, cr4::kPge | cr4::kPse));
    CHECK(t.tlb.paging_changes == 1);
    REQUIRE(t.cpu.write_cr(4, cr4::kPge | cr4::kPse | cr4::kTsd));
    CHECK(t.tlb.paging_changes == 1);
}

TEST_CASE("control: registers that do not exist are #UD, the others #GP(0) outside ring 0", "[cpu]") {
    CallOuts t;
    CHECK(faults_with(t.cpu.read_cr(1), Vector::InvalidOpcode));
    CHECK(faults_with(t.cpu.write_cr(8, 0), Vector::InvalidOpcode));
    t.user(3);
    CHECK(faults_with(t.cpu.read_cr(0), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.hlt(), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.invlpg(0), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.wbinvd(), Vector::GeneralProtection));
    CHECK(t.state.halted == 0);
}

TEST_CASE("control: LMSW sets PE but cannot clear it", "[cpu]") {
    CallOuts t;
    t.state.cr0 = cr0::kEt;
    REQUIRE(t.cpu.lmsw(0x000F));
    CHECK(t.state.cr0 == (cr0::kPe | cr0::kMp | cr0::kEm | cr0::kTs | cr0::kEt));
    REQUIRE(t.cpu.lmsw(0));
    CHECK(t.state.cr0 == (cr0::kPe | cr0::kEt));
}

TEST_CASE("control: DR4 and DR5 alias DR6 and DR7 until CR4.DE makes them #UD", "[cpu]") {
    CallOuts t;
    REQUIRE(t.cpu.write_dr(5, 0xFFFFDFFF)); // all but GD
    CHECK(t.cpu.read_dr(7).value() == 0xFFFF07FF);
    CHECK(t.tlb.debug_changes == 1);
    CHECK(t.cpu.read_dr(4).value() == 0xFFFF0FF0);
    REQUIRE(t.cpu.write_cr(4, cr4::kDe));
    CHECK(faults_with(t.cpu.read_dr(4), Vector::InvalidOpcode));
}

TEST_CASE("control: general detect turns a debug register access into #DB with BD", "[cpu]") {
    CallOuts t;
    REQUIRE(t.cpu.write_dr(7, 1u << 13));
    CHECK(faults_with(t.cpu.read_dr(0), Vector::Debug));
    CHECK((t.state.dr[6] & (1u << 13)) != 0);
}

TEST_CASE("control: CR4.TSD keeps RDTSC from ring 3; the offset moves the counter", "[cpu]") {
    CallOuts t;
    t.user(0);
    t.state.tsc_offset = uint64_t{0} - __builtin_ia32_rdtsc();
    REQUIRE(t.cpu.rdtsc());
    CHECK(t.state.reg(Reg::Edx) == 0); // less than a second after zero
    t.state.cr4 = cr4::kTsd;
    CHECK(faults_with(t.cpu.rdtsc(), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.rdpmc(), Vector::GeneralProtection));
}

TEST_CASE("msr: EFER takes NXE alone, PAT only defined types, unknown registers #GP(0)", "[cpu]") {
    CallOuts t;
    t.set_msr(0xC0000080, 1u << 11);
    REQUIRE(t.cpu.wrmsr());
    CHECK(t.tlb.paging_changes == 1);
    t.set_msr(0xC0000080, 1u << 8);
    CHECK(faults_with(t.cpu.wrmsr(), Vector::GeneralProtection));
    t.set_msr(0x277, 0x0007040600070402);
    CHECK(faults_with(t.cpu.wrmsr(), Vector::GeneralProtection));
    for (const uint32_t absent : {0x1Bu, 0xFEu, 0x2FFu, 0xC0000081u, 0xFFFFFFFFu}) {
        t.set_msr(absent, 0);
        CHECK(faults_with(t.cpu.rdmsr(), Vector::GeneralProtection));
    }
    t.set_msr(0x175, 0x1234);
    REQUIRE(t.cpu.wrmsr());
    CHECK(t.state.sysenter_esp == 0x1234);
    t.user(3);
    CHECK(faults_with(t.cpu.rdmsr(), Vector::GeneralProtection));
}

TEST_CASE("msr: a microcode revision is there to read after writing zero", "[cpu]") {
    CallOuts t;
    t.set_msr(0x8B, 0);
    REQUIRE(t.cpu.wrmsr());
    t.state.reg(Reg::Ecx) = 0x8B;
    REQUIRE(t.cpu.rdmsr());
    CHECK(t.state.reg(Reg::Edx) != 0);
}

static std::array<uint32_t, 4> ask(CallOuts& t, uint32_t leaf) {
    t.state.reg(Reg::Eax) = leaf;
    t.state.reg(Reg::Ecx) = 0;
    t.cpu.cpuid();
    return {t.state.reg(Reg::Eax), t.state.reg(Reg::Ebx), t.state.reg(Reg::Ecx), t.state.reg(Reg::Edx)};
}

static std::string text(std::initializer_list<uint32_t> parts) {
    std::string out;
    for (const uint32_t part : parts)
        out.append(reinterpret_cast<const char*>(&part), 4);
    return out;
}

TEST_CASE("cpuid: a processor that does not speculate, without MTRR, MCE or anything past SSSE3", "[cpu]") {
    CallOuts t;
    const auto vendor = ask(t, 0);
    CHECK(vendor[0] <= 3); // Windows NT 4 stops at more
    CHECK(text({vendor[1], vendor[3], vendor[2]}) == "GenuineIntel");
    const auto features = ask(t, 1);
    CHECK(features[0] == 0x106CA);
    CHECK(features[2] == (1u << 31 | 1u << 9 | 1u));
    for (const unsigned absent : {7u, 9u, 12u, 14u, 17u, 18u, 28u})
        CHECK((features[3] & 1u << absent) == 0);
    for (const unsigned present :
         {0u, 1u, 2u, 3u, 4u, 5u, 6u, 8u, 11u, 13u, 15u, 16u, 19u, 23u, 24u, 25u, 26u})
        CHECK((features[3] & 1u << present) != 0);
    CHECK(ask(t, 0x80000001)[3] == 1u << 20);
    CHECK(ask(t, 7) == ask(t, 2)); // above the highest basic leaf
}

namespace {

struct OneApic : ApicMsrs {
    bool on = true;
    uint64_t base = 0xFEE00900;
    [[nodiscard]] bool enabled() const override { return on; }
    [[nodiscard]] uint8_t initial_id() const override { return 5; }
    [[nodiscard]] std::optional<uint64_t> read_msr(uint32_t index) const override {
        return index == 0x1B ? std::optional(base) : std::nullopt;
    }
    [[nodiscard]] bool write_msr(uint32_t index, uint64_t value) override {
        if (index != 0x1B || (value & 1) != 0)
            return false;
        base = value;
        return true;
    }
    uint8_t priority = 0;
    [[nodiscard]] uint8_t task_priority() const override { return priority; }
    void set_task_priority(uint8_t value) override { priority = value; }
};

} // namespace

TEST_CASE("cpuid: the local APIC and its ID are told while it is enabled, and its registers are MSRs",
          "[cpu]") {
    CallOuts t;
    const auto before = ask(t, 1);
    OneApic apic;
    t.cpu.set_apic(&apic);
    const auto with = ask(t, 1);
    CHECK(with[3] == (before[3] | 1u << 9));
    CHECK(with[1] == (before[1] | 5u << 24));
    apic.on = false;
    CHECK(ask(t, 1) == before);
    t.set_msr(0x1B, 0);
    REQUIRE(t.cpu.rdmsr());
    CHECK(t.state.reg(Reg::Eax) == 0xFEE00900);
    CHECK(t.state.reg(Reg::Edx) == 0);
    t.set_msr(0x1B, 0x5FEE00800);
    REQUIRE(t.cpu.wrmsr());
    CHECK(apic.base == 0x5FEE00800);
    t.set_msr(0x1B, 1);
    CHECK(faults_with(t.cpu.wrmsr(), Vector::GeneralProtection));
    for (const uint32_t absent : {0xFEu, 0x802u}) {
        t.set_msr(absent, 0);
        CHECK(faults_with(t.cpu.rdmsr(), Vector::GeneralProtection));
        CHECK(faults_with(t.cpu.wrmsr(), Vector::GeneralProtection));
    }
    t.user(3);
    t.set_msr(0x1B, 0);
    CHECK(faults_with(t.cpu.rdmsr(), Vector::GeneralProtection));
    CHECK(faults_with(t.cpu.wrmsr(), Vector::GeneralProtection));
}

TEST_CASE("cpuid: the hypervisor leaves name VMware's interface and the host's TSC frequency", "[cpu]") {
    CallOuts t;
    const auto first = ask(t, 0x40000000);
    CHECK(first[0] == 0x40000010);
    CHECK(text({first[1], first[2], first[3]}) == "VMwareVMware");
    const uint32_t khz = ask(t, 0x40000010)[0];
    CHECK(khz == tsc_khz());
    timespec start{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &start);
    const uint64_t from = __builtin_ia32_rdtsc();
    const timespec pause{0, 20'000'000};
    nanosleep(&pause, nullptr);
    const uint64_t ticks = __builtin_ia32_rdtsc() - from;
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double ms = static_cast<double>(end.tv_sec - start.tv_sec) * 1e3 +
                      static_cast<double>(end.tv_nsec - start.tv_nsec) / 1e6;
    CHECK(khz == Approx(static_cast<double>(ticks) / ms).epsilon(0.01));
}
