// IN and OUT: the IOPL and I/O permission bitmap checks, then the bus (SDM Vol. 1 19.5.2, Vol. 2A "IN").
#include "vmm/cpu/io_permission.h"

namespace vmm {

namespace {

constexpr uint32_t kTss32MinimumLimit = 103;
constexpr uint32_t kTssIoMapBase = 102; // SDM Vol. 3A 8.2.1, figure 8-2
constexpr unsigned kTss32Available = 9, kTss32Busy = 11;

} // namespace

GuestResult<void> check_io_permission(const CpuState& state, LinearMemory& memory, uint16_t port,
                                      Width width) {
    if (!state.protected_mode() || (!state.v86() && state.cpl <= state.iopl()))
        return {};
    const auto refused = guest_fault(Vector::GeneralProtection, 0);
    const Segment& tr = state.tr;
    const unsigned type = tr.type();
    if (tr.usable == 0 || (type != kTss32Available && type != kTss32Busy) || tr.limit < kTss32MinimumLimit)
        return refused;
    const auto at = [&](uint32_t offset) { // a 64-bit TSS has its map where a 32-bit one has it
        const Linear sum = tr.linear_base() + offset;
        return state.ia32e() ? sum : static_cast<uint32_t>(sum);
    };
    const uint32_t map_base = TRY(memory.read<uint16_t>(at(kTssIoMapBase), Privilege::System));
    // Two bytes are always read, so both must lie within the limit.
    const uint32_t offset = map_base + port / 8u;
    if (offset + 1 > tr.limit)
        return refused;
    const uint32_t bits = TRY(memory.read<uint16_t>(at(offset), Privilege::System));
    const uint32_t wanted = (1u << static_cast<unsigned>(width)) - 1;
    if (((bits >> (port & 7)) & wanted) != 0)
        return refused;
    return {};
}

GuestResult<uint32_t> Cpu::port_in(uint16_t port, Width width) {
    TRY(check_io_permission(state_, memory_, port, width));
    return io_.read(port, static_cast<unsigned>(width));
}

GuestResult<void> Cpu::port_out(uint16_t port, Width width, uint32_t value) {
    TRY(check_io_permission(state_, memory_, port, width));
    io_.write(port, static_cast<unsigned>(width), value);
    return {};
}

} // namespace vmm
