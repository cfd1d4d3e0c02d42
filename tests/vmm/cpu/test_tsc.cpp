#include "tests/vmm/cpu/call_out_fixture.h"
#include "vmm/arch/state_serialize.h"
#include "vmm/arch/tsc.h"

#include <chrono>
#include <thread>

using namespace vmm;
using vmm::testing::CallOuts;

namespace {

// What the guest's counter gains in a second of the host's clock, in kHz.
double measured_khz(const CpuState& state) {
    const ClockSample begin = sample_clocks();
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    const ClockSample end = sample_clocks();
    const uint64_t gained = guest_tsc(state, end.tsc) - guest_tsc(state, begin.tsc);
    return static_cast<double>(gained) * 1e6 / static_cast<double>(end.nanoseconds - begin.nanoseconds);
}

} // namespace

TEST_CASE("tsc: a promised frequency is kept whatever the host's is", "[cpu]") {
    for (const uint32_t khz : {tsc_khz() / 2, tsc_khz() + tsc_khz() / 10, 4'000'000'000u / 1000 * 3}) {
        CpuState state;
        promise_tsc_khz(state, khz);
        const uint64_t host = sample_clocks().tsc;
        set_guest_tsc(state, 1'000'000, host);
        CHECK(guest_tsc(state, host) == 1'000'000);
        CHECK(guest_tsc(state) >= 1'000'000);
        CHECK(guest_tsc_khz(state) == khz);
        CHECK(measured_khz(state) == Approx(khz).epsilon(0.01));
    }
}

TEST_CASE("tsc: about the host's own frequency is not scaled", "[cpu]") {
    CpuState state;
    CHECK(guest_tsc_khz(state) == tsc_khz());
    promise_tsc_khz(state, tsc_khz() + tsc_khz() / 20'000); // 50 ppm
    CHECK(state.tsc_ratio == 0);
    CHECK(guest_tsc_khz(state) == tsc_khz() + tsc_khz() / 20'000);
    promise_tsc_khz(state, tsc_khz() + tsc_khz() / 1'000);
    CHECK(state.tsc_ratio > uint64_t{1} << 32);
    promise_tsc_khz(state, 0);
    CHECK(state.tsc_ratio == 0);
}

TEST_CASE("tsc: the promise is saved, loaded, told to the guest, and survives a reset", "[cpu]") {
    CallOuts saved, loaded;
    promise_tsc_khz(saved.state, 2 * tsc_khz());
    base::StateArchive out;
    uint64_t tsc = 777;
    serialize(saved.state, out, tsc);
    auto in = base::StateArchive::parse(out.bytes());
    REQUIRE(in);
    uint64_t found = 0;
    serialize(loaded.state, *in, found);
    REQUIRE(in->error().empty());
    CHECK(found == 777);
    CHECK(loaded.state.tsc_khz == 2 * tsc_khz());
    CHECK(loaded.state.tsc_ratio == saved.state.tsc_ratio);
    loaded.cpu.reset();
    CHECK(loaded.state.tsc_ratio == saved.state.tsc_ratio);
    loaded.state.reg(Reg::Eax) = 0x40000010;
    loaded.cpu.cpuid();
    CHECK(loaded.state.reg(Reg::Eax) == 2 * tsc_khz());
}
