// String instructions carried out by C++ (SDM Vol. 2 "INS", "OUTS", "MOVS", "STOS", "LODS", "CMPS", "SCAS",
// "REP"): port I/O always, the memory forms at sites that touch MMIO.
//
// Registers are written back after each element, so a fault or an early stop leaves the instruction
// restartable. The flags of CMPS and SCAS are not: until a repeated one has finished, EFLAGS are those from
// before it (SDM Vol. 2B "REP"), for faults, interrupts and single steps alike. INS, OUTS and, in plain
// memory, MOVS and STOS move whole runs within a page at a time.
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/io_permission.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace vmm {

namespace {

constexpr uint32_t kMaxElementsPerCall = 4096;
constexpr uint32_t kNoCount = 0xFFFFFFFF;

// The index and count registers through an address-size mask.
struct IndexRegisters {
    CpuState& state;
    uint32_t mask;

    [[nodiscard]] uint32_t get(Reg r) const { return state.gpr[static_cast<unsigned>(r)].low & mask; }
    void set(Reg r, uint32_t value) const {
        uint32_t& whole = state.reg(r);
        whole = (whole & ~mask) | (value & mask);
    }
    void advance(Reg r, uint32_t bytes) const {
        set(r, (state.eflags & eflags::kDf) != 0 ? get(r) - bytes : get(r) + bytes);
    }
};

uint32_t width_mask(Width width) {
    return width == Width::Dword ? ~0u : (1u << (8 * static_cast<unsigned>(width))) - 1;
}

GuestResult<uint32_t> read_element(LinearMemory& memory, uint32_t linear, Width width, Privilege privilege) {
    switch (width) {
    case Width::Byte:
        return TRY(memory.read<uint8_t>(linear, privilege));
    case Width::Word:
        return TRY(memory.read<uint16_t>(linear, privilege));
    default:
        return memory.read<uint32_t>(linear, privilege);
    }
}

GuestResult<void> write_element(LinearMemory& memory, uint32_t linear, uint32_t value, Width width,
                                Privilege privilege) {
    switch (width) {
    case Width::Byte:
        return memory.write<uint8_t>(linear, static_cast<uint8_t>(value), privilege);
    case Width::Word:
        return memory.write<uint16_t>(linear, static_cast<uint16_t>(value), privilege);
    default:
        return memory.write<uint32_t>(linear, value, privilege);
    }
}

// EFLAGS with the arithmetic flags of `left - right` at `width`.
uint32_t compare(uint32_t eflags_before, uint32_t left, uint32_t right, Width width) {
    const uint32_t mask = width_mask(width);
    const uint32_t sign = mask ^ (mask >> 1);
    left &= mask;
    right &= mask;
    const uint32_t result = (left - right) & mask;
    uint32_t flags = 0;
    if (left < right)
        flags |= eflags::kCf;
    if (__builtin_parity(result & 0xFF) == 0)
        flags |= eflags::kPf;
    if (((left ^ right ^ result) & 0x10) != 0)
        flags |= eflags::kAf;
    if (result == 0)
        flags |= eflags::kZf;
    if ((result & sign) != 0)
        flags |= eflags::kSf;
    if (((left ^ right) & (left ^ result) & sign) != 0)
        flags |= eflags::kOf;
    return (eflags_before & ~eflags::kArithmetic) | flags;
}

// Plain memory, where a run may be moved at once; devices must see each element.
bool is_ram(LinearMemory& memory, Physical physical) {
    GuestMemory& whole = memory.physical();
    return whole.entry(page_of(physical)).kind == PageKind::Ram;
}

// `count` elements of one value. Each step doubles what is there.
void fill(uint8_t* to, uint32_t value, uint32_t bytes, uint32_t count) {
    const size_t length = size_t{count} * bytes;
    std::memcpy(to, &value, bytes);
    for (size_t have = bytes; have < length; have *= 2)
        std::memcpy(to + have, to, std::min(have, length - have));
}

bool compares(StringOp op) { return op == StringOp::Cmps || op == StringOp::Scas; }

// How many elements of `bytes` can be moved as one run: upwards, inside one page, without the offset
// wrapping. At least one; one element may cross a page.
uint32_t run_length(const IndexRegisters& index, Reg pointer, uint32_t segment_base, uint32_t bytes,
                    uint32_t wanted) {
    if ((index.state.eflags & eflags::kDf) != 0)
        return 1;
    const uint32_t offset = index.get(pointer);
    const uint32_t in_page = (kPageSize - ((segment_base + offset) & (kPageSize - 1))) / bytes;
    const auto before_wrap = static_cast<uint32_t>(((uint64_t{index.mask} + 1) - offset) / bytes);
    return std::max(1u, std::min({wanted, in_page, before_wrap}));
}

} // namespace

GuestResult<bool> Cpu::string_instruction(StringOp op, Repeat repeat, Width width, unsigned address_bits,
                                          SegReg source_segment, uint32_t next_eip,
                                          const volatile uint32_t& should_stop) {
    const IndexRegisters index{state_, address_bits == 16 ? 0xFFFFu : 0xFFFFFFFFu};
    const auto bytes = static_cast<uint32_t>(width);
    const Privilege privilege = memory_.current_privilege();
    const bool repeated = repeat != Repeat::None;
    std::array<uint8_t, kPageSize> buffer;

    const auto source = [&](uint32_t length) {
        return linear_address(source_segment, index.get(Reg::Esi), length, AccessKind::Read);
    };
    const auto destination = [&](uint32_t length, AccessKind access) {
        return linear_address(SegReg::Es, index.get(Reg::Edi), length, access);
    };
    // A run is moved whole or, where its segment check fails part of the way, as a single element.
    const auto runs_whole = [&](SegReg segment, Reg pointer, uint32_t elements, AccessKind access) {
        return linear_address(segment, index.get(pointer), elements * bytes, access).has_value();
    };

    uint32_t flags = state_.eflags;
    uint32_t budget = kMaxElementsPerCall;
    while (true) {
        const uint32_t count = repeated ? index.get(Reg::Ecx) : kNoCount;
        if (count == 0)
            break;
        if (repeated && (budget == 0 || (budget != kMaxElementsPerCall && should_stop != 0)))
            return false;
        uint32_t done = 1;
        const uint32_t wanted = repeated && should_stop == 0 ? std::min(count, budget) : 1;

        switch (op) {
        case StringOp::Ins: {
            const auto port = static_cast<uint16_t>(state_.reg(Reg::Edx));
            TRY(check_io_permission(state_, memory_, port, width));
            done = run_length(index, Reg::Edi, state_.segment(SegReg::Es).base, bytes, wanted);
            if (done > 1 && !runs_whole(SegReg::Es, Reg::Edi, done, AccessKind::Write))
                done = 1;
            // The destination is checked before the port is read: a byte once read is gone.
            const uint32_t linear = TRY(destination(done * bytes, AccessKind::Write));
            TRY(memory_.check_write(linear, done * bytes, privilege));
            for (uint32_t i = 0; i < done; ++i) {
                const uint32_t value = TRY(port_in(port, width));
                __builtin_memcpy(&buffer[size_t{i} * bytes], &value, bytes);
            }
            TRY(memory_.write_bytes(linear, buffer.data(), done * bytes, privilege));
            break;
        }
        case StringOp::Outs: {
            const auto port = static_cast<uint16_t>(state_.reg(Reg::Edx));
            TRY(check_io_permission(state_, memory_, port, width));
            done = run_length(index, Reg::Esi, state_.segment(source_segment).base, bytes, wanted);
            if (done > 1 && !runs_whole(source_segment, Reg::Esi, done, AccessKind::Read))
                done = 1;
            const uint32_t linear = TRY(source(done * bytes));
            TRY(memory_.read_bytes(linear, buffer.data(), done * bytes, privilege));
            for (uint32_t i = 0; i < done; ++i) {
                uint32_t value = 0;
                __builtin_memcpy(&value, &buffer[size_t{i} * bytes], bytes);
                TRY(port_out(port, width, value));
            }
            break;
        }
        case StringOp::Movs: {
            done = std::min(run_length(index, Reg::Esi, state_.segment(source_segment).base, bytes, wanted),
                            run_length(index, Reg::Edi, state_.segment(SegReg::Es).base, bytes, wanted));
            if (done > 1 && runs_whole(source_segment, Reg::Esi, done, AccessKind::Read) &&
                runs_whole(SegReg::Es, Reg::Edi, done, AccessKind::Write)) {
                const Physical first =
                    TRY(memory_.translate(TRY(source(bytes)), AccessKind::Read, privilege));
                const uint32_t to = TRY(destination(bytes, AccessKind::Write));
                const Physical second = TRY(memory_.translate(to, AccessKind::Write, privilege));
                // A destination just above its source repeats what was just written: move no more than the
                // gap.
                if (const Physical gap = second - first; gap != 0 && gap < done * bytes)
                    done = std::max(1u, static_cast<uint32_t>(gap) / bytes);
                if (done > 1 && is_ram(memory_, first) && is_ram(memory_, second)) {
                    memory_.physical().read(first, buffer.data(), size_t{done} * bytes);
                    memory_.physical().write(second, buffer.data(), size_t{done} * bytes);
                    break;
                }
            }
            done = 1;
            const uint32_t from = TRY(source(bytes));
            const uint32_t value = TRY(read_element(memory_, from, width, privilege));
            const uint32_t to = TRY(destination(bytes, AccessKind::Write));
            TRY(write_element(memory_, to, value, width, privilege));
            break;
        }
        case StringOp::Stos: {
            done = run_length(index, Reg::Edi, state_.segment(SegReg::Es).base, bytes, wanted);
            if (done > 1 && runs_whole(SegReg::Es, Reg::Edi, done, AccessKind::Write)) {
                const uint32_t linear = TRY(destination(bytes, AccessKind::Write));
                const Physical first = TRY(memory_.translate(linear, AccessKind::Write, privilege));
                if (is_ram(memory_, first)) {
                    fill(buffer.data(), state_.reg(Reg::Eax), bytes, done);
                    memory_.physical().write(first, buffer.data(), size_t{done} * bytes);
                    break;
                }
            }
            done = 1;
            const uint32_t to = TRY(destination(bytes, AccessKind::Write));
            TRY(write_element(memory_, to, state_.reg(Reg::Eax), width, privilege));
            break;
        }
        case StringOp::Lods: {
            const uint32_t from = TRY(source(bytes));
            const uint32_t value = TRY(read_element(memory_, from, width, privilege));
            const uint32_t mask = width_mask(width);
            state_.reg(Reg::Eax) = (state_.reg(Reg::Eax) & ~mask) | value;
            break;
        }
        case StringOp::Cmps: {
            // ES:[EDI] first, as Intel's processors do: when both fault, its fault is the one reported.
            const uint32_t to = TRY(destination(bytes, AccessKind::Read));
            const uint32_t right = TRY(read_element(memory_, to, width, privilege));
            const uint32_t from = TRY(source(bytes));
            const uint32_t left = TRY(read_element(memory_, from, width, privilege));
            flags = compare(flags, left, right, width);
            break;
        }
        case StringOp::Scas: {
            const uint32_t to = TRY(destination(bytes, AccessKind::Read));
            const uint32_t right = TRY(read_element(memory_, to, width, privilege));
            flags = compare(flags, state_.reg(Reg::Eax), right, width);
            break;
        }
        }

        if (op == StringOp::Outs || op == StringOp::Movs || op == StringOp::Lods || op == StringOp::Cmps)
            index.advance(Reg::Esi, done * bytes);
        if (op != StringOp::Outs && op != StringOp::Lods)
            index.advance(Reg::Edi, done * bytes);
        if (!repeated)
            break;
        index.set(Reg::Ecx, count - done);
        budget -= done;
        const bool zero = (flags & eflags::kZf) != 0;
        if (compares(op) && zero != (repeat == Repeat::RepOrRepe))
            break;
    }
    state_.eflags = flags;
    state_.eip = next_eip;
    return true;
}

} // namespace vmm
