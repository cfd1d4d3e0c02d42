// Stacks in IA-32e mode. In 64-bit mode a stack is flat, RSP has 64 bits, and what is wrong with an address
// is that it is not canonical (SDM Vol. 1 6.2.5, Vol. 3A 5.3.1); in compatibility mode it is what it always
// was.
#include "vmm/cpu/internals.h"

#include <array>
#include <cstring>

namespace vmm {
namespace {

constexpr unsigned kMostSlots = 6; // SS, RSP, RFLAGS, CS, RIP, error code

bool flat_range_fits(Linear first, uint32_t bytes) {
    return is_canonical(first) && is_canonical(first + (bytes - 1));
}

} // namespace

GuestResult<uint64_t> CpuInternals::push_flat(uint64_t rsp, std::span<const uint64_t> values, Width width,
                                              Privilege privilege, uint32_t error_code) const {
    const uint32_t size = bytes_of(width), total = size * static_cast<uint32_t>(values.size());
    const Linear at = rsp - total;
    if (!flat_range_fits(at, total))
        return guest_fault(Vector::StackFault, error_code);
    std::array<uint8_t, 8 * kMostSlots> image;
    for (size_t i = 0; i < values.size(); ++i) // the first one pushed is the highest
        std::memcpy(image.data() + total - size * (i + 1), &values[i], size);
    TRY(memory.write_bytes(at, image.data(), total, privilege));
    return at;
}

bool CpuInternals::push_fits(unsigned count, Width width) const {
    const uint32_t total = bytes_of(width) * count;
    if (state.mode64())
        return flat_range_fits(state.wide(Reg::Esp).whole() - total, total);
    const bool split = width == Width::Qword;
    return frame_fits(state.segment(SegReg::Ss), state.reg(Reg::Esp), split ? 2 * count : count,
                      split ? Width::Dword : width);
}

GuestResult<uint64_t> CpuInternals::push_current(std::span<const uint64_t> values, Width width) const {
    const Privilege privilege = privilege_of(state.cpl);
    if (state.mode64())
        return push_flat(state.wide(Reg::Esp).whole(), values, width, privilege, 0);
    // Compatibility mode; slots of eight bytes are a 64-bit call gate's.
    std::array<uint32_t, 2 * kMostSlots> narrow;
    unsigned count = 0;
    for (const uint64_t value : values) {
        if (width == Width::Qword)
            narrow[count++] = static_cast<uint32_t>(value >> 32);
        narrow[count++] = static_cast<uint32_t>(value);
    }
    return TRY(push_frame(state.segment(SegReg::Ss), state.reg(Reg::Esp), narrow.data(), count,
                          width == Width::Qword ? Width::Dword : width, privilege, 0));
}

GuestResult<void> CpuInternals::read_current(uint32_t skip, std::span<uint64_t> values, Width width) const {
    const uint32_t size = bytes_of(width), total = size * static_cast<uint32_t>(values.size());
    if (!state.mode64()) {
        std::array<uint32_t, kMostSlots> narrow;
        TRY(read_frame(skip, narrow.data(), static_cast<unsigned>(values.size()), width));
        for (size_t i = 0; i < values.size(); ++i)
            values[i] = narrow[i];
        return {};
    }
    const Linear at = state.wide(Reg::Esp).whole() + skip;
    if (!flat_range_fits(at, total))
        return guest_fault(Vector::StackFault, 0);
    std::array<uint8_t, 8 * kMostSlots> image;
    TRY(read_bytes(at, image.data(), total, privilege_of(state.cpl)));
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = 0;
        std::memcpy(&values[i], image.data() + i * size, size);
    }
    return {};
}

uint64_t CpuInternals::popped(uint32_t bytes) const {
    const uint64_t rsp = state.wide(Reg::Esp).whole();
    if (state.mode64())
        return rsp + bytes;
    return merge_sp(state.segment(SegReg::Ss), static_cast<uint32_t>(rsp),
                    static_cast<uint32_t>(rsp) + bytes);
}

// SDM Vol. 3A figure 8-11: RSP0 is at 4, IST1 at 36.
GuestResult<uint64_t> CpuInternals::tss64_pointer(unsigned at) const {
    const Segment& tss = state.tr;
    if (!tss.usable || at + 7 > tss.limit)
        return selector_fault(Vector::InvalidTss, tss.selector);
    return read_system<uint64_t>(tss.linear_base() + at);
}

} // namespace vmm
