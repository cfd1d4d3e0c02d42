// Call-outs for memory, stack, segments, control transfers and system registers. See callouts.h for
// arguments.
#include "vmm/translator/callouts.h"

#include "vmm/base/operation.h"
#include "vmm/translator/callout_scope.h"
#include "vmm/translator/fpu_callouts.h"
#include "vmm/translator/intel_flags.h"
#include "vmm/translator/vcpu.h"

#include <cstring>
#include <utility>

namespace vmm {

namespace {

template <class Made> void put(Runtime& rt, const Made& value) { std::memcpy(rt.slot, &value, sizeof value); }
template <class Wanted> Wanted get(const Runtime& rt, unsigned offset = 0) {
    Wanted value;
    std::memcpy(&value, rt.slot + offset, sizeof value);
    return value;
}

void set_gpr(CpuState& c, unsigned index, uint32_t value, unsigned width) {
    uint32_t& reg = c.gpr[index & 7].low;
    reg = width == 4 ? value : (reg & 0xFFFF0000u) | (value & 0xFFFFu);
}

uint32_t raise_vector(Runtime& rt, uint32_t vector, uint32_t with_code) {
    CalloutScope scope(rt);
    return scope.fault({static_cast<Vector>(vector), with_code != 0, 0, 0});
}

// -- memory through the slot -------------------------------------------------------------------------

struct Access {
    explicit Access(uint32_t packed)
        : flags(packed & 15), segment(static_cast<SegReg>((packed >> 4) & 7)), bytes((packed >> 8) & 0x3FF),
          bit_register((packed >> 18) & 7), address16((packed >> 21) & 1), released((packed >> 22) & 7) {}
    uint32_t flags;
    SegReg segment;
    uint32_t bytes;
    unsigned bit_register;
    bool address16;
    uint32_t released;
};

uint32_t slot_prepare(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    const Access access(packed);
    if (access.flags & SlotAccess::kBitString) { // SDM Vol. 2A 3.1.1.9: the bit offset moves the operand
        const uint32_t bit = rt.cpu.gpr[access.bit_register].low;
        if (access.bytes == 4) {
            offset += static_cast<uint32_t>(static_cast<int32_t>(bit) >> 5) * 4;
            rt.slot_bit = bit & 31;
        } else {
            offset += static_cast<uint32_t>(static_cast<int16_t>(bit) >> 4) * 2;
            rt.slot_bit = bit & 15;
        }
        if (access.address16)
            offset &= 0xFFFF;
    }
    const bool write = (access.flags & SlotAccess::kWrite) != 0;
    auto linear = vcpu.cpu->linear_address(access.segment, offset, access.bytes,
                                           write ? AccessKind::Write : AccessKind::Read);
    if (!linear)
        return scope.fault(linear.error());
    if (scope.watched(*linear, access.bytes, write))
        return scope.again_alone();
    if ((access.flags & SlotAccess::kAligned16) && (*linear & 15) != 0)
        return scope.fault({Vector::GeneralProtection, true, 0, 0});
    if (write)
        if (auto allowed = vcpu.linear->check_write(*linear, access.bytes, vcpu.privilege()); !allowed)
            return scope.fault(allowed.error());
    if (access.flags & SlotAccess::kRead)
        if (auto done = vcpu.linear->read_bytes(*linear, rt.slot, access.bytes, vcpu.privilege()); !done)
            return scope.fault(done.error());
    rt.slot_linear = *linear;
    vcpu.note_data_access(*linear, access.bytes, write);
    return scope.go_on();
}

uint32_t slot_commit(Runtime& rt, uint32_t, uint32_t packed) {
    CalloutScope scope(rt);
    const Access access(packed);
    if (auto done = rt.vcpu->linear->write_bytes(rt.slot_linear, rt.slot, access.bytes, rt.vcpu->privilege());
        !done)
        return scope.fault(done.error());
    if (access.released != 0) {
        // Here and not after the call-out, which may leave the block: the instruction is over with it.
        const unsigned width = rt.cpu.segment(SegReg::Ss).big() ? 4 : 2;
        set_gpr(rt.cpu, static_cast<unsigned>(Reg::Esp), rt.cpu.reg(Reg::Esp) + access.released, width);
    }
    return scope.done();
}

// -- stack --------------------------------------------------------------------------------------------

// Linear address of the top of the stack once `pushed` more bytes lie there.
uint32_t stack_top(const CpuState& c, uint32_t pushed = 0) {
    const uint32_t top = c.gpr[4].low - pushed;
    return c.segment(SegReg::Ss).base + (c.segment(SegReg::Ss).big() ? top : top & 0xFFFF);
}

// Mid-instruction unless kEndsInstruction says that nothing follows: then code that the push itself
// overwrote must not run on.
uint32_t push(Runtime& rt, uint32_t value, uint32_t packed) {
    CalloutScope scope(rt);
    const uint32_t width = packed & 0xFF, top = stack_top(rt.cpu, width);
    if (scope.watched(top, width, true))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->push(value, static_cast<Width>(width));
    if (!done)
        return scope.fault(done.error());
    rt.vcpu->note_data_access(top, width, true);
    return (packed & kEndsInstruction) ? scope.done() : scope.go_on();
}

uint32_t push_segment(Runtime& rt, uint32_t selector, uint32_t width) {
    CalloutScope scope(rt);
    const uint32_t top = stack_top(rt.cpu, width);
    if (scope.watched(top, 2, true))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->push_selector(static_cast<uint16_t>(selector), static_cast<Width>(width));
    if (done)
        rt.vcpu->note_data_access(top, 2, true);
    return scope.result(done);
}

uint32_t pop_value(Runtime& rt, uint32_t width, bool move) {
    CalloutScope scope(rt);
    const uint32_t esp = rt.cpu.gpr[4].low, top = stack_top(rt.cpu);
    if (scope.watched(top, width, false))
        return scope.again_alone();
    auto value = rt.vcpu->cpu->pop(static_cast<Width>(width));
    if (!value)
        return scope.fault(value.error());
    rt.vcpu->note_data_access(top, width, false);
    if (!move)
        rt.cpu.gpr[4].low = esp;
    put(rt, *value);
    return scope.go_on();
}

uint32_t pop(Runtime& rt, uint32_t, uint32_t width) { return pop_value(rt, width, true); }
uint32_t pop_peek(Runtime& rt, uint32_t, uint32_t width) { return pop_value(rt, width, false); }

uint32_t push_flags(Runtime& rt, uint32_t, uint32_t width) {
    CalloutScope scope(rt);
    auto image = rt.vcpu->cpu->pushf_image(static_cast<Width>(width));
    if (!image)
        return scope.fault(image.error());
    const uint32_t top = stack_top(rt.cpu, width);
    if (scope.watched(top, width, true))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->push(*image, static_cast<Width>(width));
    if (done)
        rt.vcpu->note_data_access(top, width, true);
    return scope.result(done);
}

uint32_t pop_flags(Runtime& rt, uint32_t, uint32_t width) {
    CalloutScope scope(rt);
    const uint32_t esp = rt.cpu.gpr[4].low, top = stack_top(rt.cpu);
    if (scope.watched(top, width, false))
        return scope.again_alone();
    auto image = rt.vcpu->cpu->pop(static_cast<Width>(width));
    if (!image)
        return scope.fault(image.error());
    auto done = rt.vcpu->cpu->popf(*image, static_cast<Width>(width));
    if (!done) {
        rt.cpu.gpr[4].low = esp;
        return scope.fault(done.error());
    }
    rt.vcpu->note_data_access(top, width, false);
    rt.vcpu->interrupt_line_changed(); // IF may be 1 now
    return scope.done_with_mode();
}

uint32_t push_all(Runtime& rt, uint32_t, uint32_t width) {
    CalloutScope scope(rt);
    const uint32_t bytes = 8 * width, top = stack_top(rt.cpu, bytes);
    if (scope.watched(top, bytes, true))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->pusha(static_cast<Width>(width));
    if (done)
        rt.vcpu->note_data_access(top, bytes, true);
    return scope.result(done);
}

uint32_t pop_all(Runtime& rt, uint32_t, uint32_t width) {
    CalloutScope scope(rt);
    const uint32_t bytes = 8 * width, top = stack_top(rt.cpu);
    if (scope.watched(top, bytes, false))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->popa(static_cast<Width>(width));
    if (done)
        rt.vcpu->note_data_access(top, bytes, false);
    return scope.result(done);
}

uint32_t enter_frame(Runtime& rt, uint32_t sizes, uint32_t width) {
    CalloutScope scope(rt);
    // EBP, then for nested levels the frame pointers and the new one; what it reads is not looked at.
    const uint32_t level = (sizes >> 16) & 31, bytes = width * (level + 1);
    const uint32_t top = stack_top(rt.cpu, bytes);
    if (scope.watched(top, bytes, true))
        return scope.again_alone();
    auto done = rt.vcpu->cpu->enter(static_cast<uint16_t>(sizes), static_cast<uint8_t>(sizes >> 16),
                                    static_cast<Width>(width));
    if (done)
        rt.vcpu->note_data_access(top, bytes, true);
    return scope.result(done);
}

// -- segments -----------------------------------------------------------------------------------------

uint32_t load_segment(Runtime& rt, uint32_t selector, uint32_t segment) {
    CalloutScope scope(rt);
    auto done = rt.vcpu->cpu->load_segment(static_cast<SegReg>(segment), static_cast<uint16_t>(selector));
    if (!done)
        return scope.fault(done.error());
    rt.vcpu->remember_segment(segment);
    return scope.done_with_segment(segment);
}

uint32_t pop_segment(Runtime& rt, uint32_t segment, uint32_t width) {
    CalloutScope scope(rt);
    Cpu& cpu = *rt.vcpu->cpu;
    const uint32_t esp = rt.cpu.gpr[4].low, top = stack_top(rt.cpu);
    if (scope.watched(top, width, false))
        return scope.again_alone();
    auto selector = cpu.pop(static_cast<Width>(width));
    if (!selector)
        return scope.fault(selector.error());
    // The register is loaded while ESP is still the old one; for SS the new B bit decides the increment's
    // width.
    const uint32_t moved = rt.cpu.gpr[4].low;
    rt.cpu.gpr[4].low = esp;
    auto done = cpu.load_segment(static_cast<SegReg>(segment), static_cast<uint16_t>(*selector));
    if (!done)
        return scope.fault(done.error());
    rt.cpu.gpr[4].low = moved;
    rt.vcpu->note_data_access(top, width, false);
    rt.vcpu->remember_segment(segment);
    return scope.done_with_segment(segment);
}

uint32_t load_far_pointer(Runtime& rt, uint32_t segment, uint32_t packed) {
    CalloutScope scope(rt);
    const unsigned width = packed & 0xFF, reg = (packed >> 8) & 7;
    const uint32_t offset = width == 4 ? get<uint32_t>(rt) : get<uint16_t>(rt);
    const auto selector = get<uint16_t>(rt, width);
    auto done = rt.vcpu->cpu->load_segment(static_cast<SegReg>(segment), selector);
    if (!done)
        return scope.fault(done.error());
    rt.cpu.interrupt_shadow = 0; // only MOV and POP to SS cast one: LSS loads ESP itself
    set_gpr(rt.cpu, reg, offset, width);
    return scope.done_with_mode();
}

// -- strings and ports --------------------------------------------------------------------------------

// Registers before a string instruction.
struct StringStart {
    explicit StringStart(const CpuState& c)
        : count(c.gpr[1].low), source(c.gpr[6].low), destination(c.gpr[7].low) {}
    uint32_t count, source, destination;
};

// What the first element of those that were done accessed: data breakpoints (under which it is the only one),
// and what the whole stands for in Sites.
void note_string_access(Vcpu& vcpu, uint32_t packed, const StringStart& start) {
    const auto op = static_cast<StringOp>(packed & 15);
    const uint32_t bytes = (packed >> 8) & 15;
    const uint32_t mask = ((packed >> 12) & 0xFF) == 16 ? 0xFFFF : 0xFFFFFFFF;
    const CpuState& c = vcpu.rt->cpu;
    const bool repeated = ((packed >> 4) & 15) != 0;
    const uint32_t done = repeated ? (start.count - c.gpr[1].low) & mask : 1;
    const uint32_t site = std::exchange(vcpu.rt->site, 0);
    if (repeated && (start.count & mask) == 0)
        return;
    // What it costs more than the host's own, in call-outs: what is moved in bulk costs little.
    constexpr uint32_t kBulkBytes = 1024;
    const uint32_t cost = op == StringOp::Movs || op == StringOp::Stos ? done * bytes / kBulkBytes + 1 : done;
    const auto note = [&](SegReg segment, uint32_t offset, bool write) {
        vcpu.rt->site = site;
        vcpu.note_data_access(c.segment(segment).base + (offset & mask), bytes, write, cost);
    };
    if (op == StringOp::Outs || op == StringOp::Movs || op == StringOp::Lods || op == StringOp::Cmps)
        note(static_cast<SegReg>(((packed >> 20) & 7) % kSegmentCount), start.source, false);
    if (op != StringOp::Outs && op != StringOp::Lods)
        note(SegReg::Es, start.destination,
             op == StringOp::Ins || op == StringOp::Movs || op == StringOp::Stos);
}

// Whether any element of a string instruction that is about to begin would meet a data breakpoint.
bool meets_watch(const CalloutScope& scope, uint32_t packed, const CpuState& c) {
    const auto op = static_cast<StringOp>(packed & 15);
    const uint32_t size = (packed >> 8) & 15;
    const bool narrow = ((packed >> 12) & 0xFF) == 16;
    const uint64_t counter = c.gpr[1].low & (narrow ? 0xFFFF : 0xFFFFFFFF);
    const uint64_t bytes = (((packed >> 4) & 15) != 0 ? counter : 1) * size;
    if (bytes == 0)
        return false;
    bool met = false;
    const auto operand = [&](const Segment& segment, uint32_t offset, bool write) {
        constexpr uint32_t kSegment16 = 0x10000;
        if (narrow)
            offset &= kSegment16 - 1;
        const uint32_t first =
            (c.eflags & eflags::kDf) ? offset - static_cast<uint32_t>(bytes - size) : offset;
        if (narrow && (first > offset || first + bytes > kSegment16)) // it wraps
            met = met || scope.watched(segment.base, kSegment16, write);
        else
            met = met || scope.watched(segment.base + first, bytes, write);
    };
    if (op == StringOp::Outs || op == StringOp::Movs || op == StringOp::Lods || op == StringOp::Cmps)
        operand(c.seg[((packed >> 20) & 7) % kSegmentCount], c.gpr[6].low, false);
    if (op != StringOp::Outs && op != StringOp::Lods)
        operand(c.segment(SegReg::Es), c.gpr[7].low,
                op == StringOp::Ins || op == StringOp::Movs || op == StringOp::Stos);
    return met;
}

uint32_t string_instruction(Runtime& rt, uint32_t packed, uint32_t) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    const bool one_by_one = vcpu.running_key.has(ModeKey::kWatched);
    if (vcpu.breakpoints.watching() && !one_by_one && meets_watch(scope, packed, rt.cpu))
        return scope.again_alone();
    vcpu.string_stop = one_by_one || (rt.cpu.eflags & eflags::kTf) != 0;
    const StringStart start(rt.cpu);
    auto finished = vcpu.cpu->string_instruction(
        static_cast<StringOp>(packed & 15), static_cast<Repeat>((packed >> 4) & 15),
        static_cast<Width>((packed >> 8) & 15), (packed >> 12) & 0xFF,
        static_cast<SegReg>((packed >> 20) & 7), rt.next_eip, vcpu.string_stop);
    if (!finished)
        return scope.fault(finished.error());
    note_string_access(vcpu, packed, start);
    vcpu.interrupt_line_changed();
    if (!*finished) // SDM Vol. 3B 17.3.1.1: RF is set in what is pushed between iterations
        rt.cpu.eflags |= eflags::kRf;
    if (!*finished || scope.must_leave())
        return scope.leave(); // eip is already right: this instruction again, or the next
    return scope.go_on();
}

uint32_t port_in(Runtime& rt, uint32_t port, uint32_t width) {
    CalloutScope scope(rt);
    // The 8042's status is what it is until a byte comes or goes.
    constexpr uint32_t kKeyboardStatus = 0x64;
    const bool asks = port == kKeyboardStatus && rt.vcpu->shared->config.find_idle_loops;
    if (asks)
        rt.vcpu->idle_loops.asks(*rt.vcpu);
    const uint64_t operations = base::Operation::number();
    auto value = rt.vcpu->cpu->port_in(static_cast<uint16_t>(port), static_cast<Width>(width));
    if (asks)
        rt.vcpu->idle_loops.asked(base::Operation::number() - operations);
    if (!value)
        return scope.fault(value.error());
    uint32_t& eax = rt.cpu.gpr[0].low;
    eax = width == 4   ? *value
          : width == 2 ? (eax & 0xFFFF0000u) | (*value & 0xFFFF)
                       : (eax & ~0xFFu) | (*value & 0xFF);
    rt.vcpu->interrupt_line_changed();
    return scope.done();
}

uint32_t port_out(Runtime& rt, uint32_t port, uint32_t width) {
    CalloutScope scope(rt);
    const uint32_t eax = rt.cpu.gpr[0].low;
    auto done = rt.vcpu->cpu->port_out(static_cast<uint16_t>(port), static_cast<Width>(width),
                                       width == 4   ? eax
                                       : width == 2 ? eax & 0xFFFF
                                                    : eax & 0xFF);
    if (!done)
        return scope.fault(done.error());
    rt.vcpu->interrupt_line_changed();
    return scope.done();
}

// -- flags and interrupts -----------------------------------------------------------------------------

uint32_t cli(Runtime& rt, uint32_t, uint32_t) {
    CalloutScope scope(rt);
    return scope.result(rt.vcpu->cpu->cli());
}

// `straight_on`: the next instruction is in the same block and cannot be interrupted before it is done, so
// with nothing waiting the shadow need not be kept.
uint32_t sti(Runtime& rt, uint32_t straight_on, uint32_t) {
    CalloutScope scope(rt);
    auto done = rt.vcpu->cpu->sti();
    if (!done)
        return scope.fault(done.error());
    if (straight_on != 0 && !scope.must_leave() && !rt.vcpu->interrupt_pending()) {
        rt.cpu.interrupt_shadow = 0;
        return scope.go_on();
    }
    return scope.done_with_mode();
}

// -- transfers: the Cpu moves EIP -------------------------------------------------------------------------

uint32_t far_jump(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    return scope.transferred(rt.vcpu->cpu->far_jump(static_cast<uint16_t>(packed), offset,
                                                    static_cast<Width>(packed >> 16), rt.next_eip));
}

uint32_t far_call(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    return scope.transferred(rt.vcpu->cpu->far_call(static_cast<uint16_t>(packed), offset,
                                                    static_cast<Width>(packed >> 16), rt.next_eip));
}

uint32_t far_return(Runtime& rt, uint32_t release, uint32_t width) {
    CalloutScope scope(rt);
    return scope.transferred(
        rt.vcpu->cpu->far_return(static_cast<Width>(width), static_cast<uint16_t>(release)));
}

uint32_t interrupt_return(Runtime& rt, uint32_t, uint32_t width) {
    CalloutScope scope(rt);
    return scope.transferred(rt.vcpu->cpu->iret(static_cast<Width>(width), rt.next_eip));
}

uint32_t software_interrupt(Runtime& rt, uint32_t vector, uint32_t kind) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    if (vcpu.intercept && vcpu.intercept({static_cast<Vector>(vector), false, 0, 0})) {
        vcpu.intercepted = true;
        vcpu.step_suppressed = true;
        return scope.leave();
    }
    // DOS and BIOS are asked so.
    if (vcpu.shared->config.find_idle_loops && (!rt.cpu.protected_mode() || rt.cpu.v86()))
        vcpu.idle_loops.calls(vcpu, static_cast<uint8_t>(vector));
    auto done =
        vcpu.cpu->software_interrupt(static_cast<uint8_t>(vector), static_cast<EventKind>(kind), rt.next_eip);
    vcpu.step_suppressed = true;
    return scope.transferred(done);
}

// -- system registers ---------------------------------------------------------------------------------

uint32_t move_from_control(Runtime& rt, uint32_t index, uint32_t gpr) {
    CalloutScope scope(rt);
    auto value = rt.vcpu->cpu->read_cr(index);
    if (!value)
        return scope.fault(value.error());
    rt.cpu.gpr[gpr & 7].low = *value;
    return scope.done();
}

uint32_t move_to_control(Runtime& rt, uint32_t index, uint32_t gpr) {
    CalloutScope scope(rt);
    auto done = rt.vcpu->cpu->write_cr(index, rt.cpu.gpr[gpr & 7].low);
    return done ? scope.next() : scope.fault(done.error());
}

uint32_t move_from_debug(Runtime& rt, uint32_t index, uint32_t gpr) {
    CalloutScope scope(rt);
    auto value = rt.vcpu->cpu->read_dr(index);
    if (!value)
        return scope.fault(value.error());
    rt.cpu.gpr[gpr & 7].low = *value;
    return scope.done();
}

uint32_t move_to_debug(Runtime& rt, uint32_t index, uint32_t gpr) {
    CalloutScope scope(rt);
    auto done = rt.vcpu->cpu->write_dr(index, rt.cpu.gpr[gpr & 7].low);
    return done ? scope.next() : scope.fault(done.error());
}

uint32_t simple(Runtime& rt, uint32_t operation, uint32_t) {
    CalloutScope scope(rt);
    Cpu& cpu = *rt.vcpu->cpu;
    switch (static_cast<SimpleOperation>(operation)) {
    case SimpleOperation::Hlt: {
        auto done = cpu.hlt();
        return done ? scope.next() : scope.fault(done.error());
    }
    case SimpleOperation::Clts: {
        auto done = cpu.clts();
        return done ? scope.done_with_mode() : scope.fault(done.error());
    }
    case SimpleOperation::Cpuid:
        cpu.cpuid();
        return scope.done();
    case SimpleOperation::Rdtsc:
        rt.vcpu->idle_loops.clock_read();
        return scope.result(cpu.rdtsc());
    case SimpleOperation::Rdpmc:
        return scope.result(cpu.rdpmc());
    case SimpleOperation::Rdmsr: // the time-stamp counter may be one
        rt.vcpu->idle_loops.clock_read();
        return scope.result(cpu.rdmsr());
    case SimpleOperation::Wrmsr: {
        auto done = cpu.wrmsr();
        return done ? scope.next() : scope.fault(done.error());
    }
    case SimpleOperation::Wbinvd:
        return scope.result(cpu.wbinvd());
    case SimpleOperation::Sysenter:
        return scope.transferred(cpu.sysenter());
    case SimpleOperation::Sysexit:
        return scope.transferred(cpu.sysexit());
    }
    return scope.leave();
}

uint32_t table_load(Runtime& rt, uint32_t which, uint32_t width) {
    CalloutScope scope(rt);
    const auto limit = get<uint16_t>(rt);
    const auto base = get<uint32_t>(rt, 2);
    Cpu& cpu = *rt.vcpu->cpu;
    auto done = which == 0 ? cpu.lgdt(limit, base, static_cast<Width>(width))
                           : cpu.lidt(limit, base, static_cast<Width>(width));
    rt.vcpu->segments.follow(rt.cpu);
    return scope.result(done);
}

uint32_t table_store(Runtime& rt, uint32_t which, uint32_t) {
    const TableRegister& table = which == 0 ? rt.cpu.gdtr : rt.cpu.idtr;
    const auto limit = static_cast<uint16_t>(table.limit);
    std::memcpy(rt.slot, &limit, 2);
    std::memcpy(rt.slot + 2, &table.base, 4);
    return kGoOn;
}

uint32_t selector_operation(Runtime& rt, uint32_t value, uint32_t packed) {
    CalloutScope scope(rt);
    Cpu& cpu = *rt.vcpu->cpu;
    CpuState& c = rt.cpu;
    const unsigned gpr = (packed >> 8) & 7, width = (packed >> 16) & 0xFF;
    const auto selector = static_cast<uint16_t>(value);
    const auto store = [&](uint32_t word) { // SLDT, STR, SMSW: to a register, or the slot for memory
        if (width == 0)
            put(rt, static_cast<uint16_t>(word));
        else
            set_gpr(c, gpr, word, width);
        return width == 0 ? scope.go_on() : scope.done();
    };
    const auto load_rights = [&](GuestResult<uint32_t> result) {
        if (!result)
            return scope.fault(result.error());
        if (c.eflags & eflags::kZf)
            set_gpr(c, gpr, *result, width);
        return scope.done();
    };
    switch (static_cast<SelectorOperation>(packed & 0xFF)) {
    case SelectorOperation::Lldt: {
        auto done = cpu.lldt(selector);
        rt.vcpu->segments.follow(c);
        return scope.result(done);
    }
    case SelectorOperation::Ltr:
        return scope.result(cpu.ltr(selector));
    case SelectorOperation::Lmsw: {
        auto done = cpu.lmsw(selector);
        return done ? scope.next() : scope.fault(done.error());
    }
    case SelectorOperation::Lar:
        return load_rights(cpu.lar(selector, c.gpr[gpr].low));
    case SelectorOperation::Lsl:
        return load_rights(cpu.lsl(selector, c.gpr[gpr].low));
    case SelectorOperation::Verr:
        return scope.result(cpu.verify_segment(selector, false));
    case SelectorOperation::Verw:
        return scope.result(cpu.verify_segment(selector, true));
    case SelectorOperation::Sldt:
        return store(c.ldtr.selector);
    case SelectorOperation::Str:
        return store(c.tr.selector);
    case SelectorOperation::Smsw:
        return store(c.cr0);
    case SelectorOperation::Arpl: { // SDM Vol. 2A "ARPL"
        const uint32_t source = c.gpr[gpr].low & 3;
        const bool raised = (selector & 3u) < source;
        const auto result = static_cast<uint16_t>((selector & ~3u) | source);
        if (raised && width != 0)
            set_gpr(c, packed >> 24, result, 2);
        // Memory is written, and must be writable, only when the RPL changes.
        if (raised && width == 0) {
            if (!c.segment(static_cast<SegReg>(packed >> 24)).writable())
                return scope.fault({Vector::GeneralProtection, true, 0, 0});
            const Vcpu& vcpu = *rt.vcpu;
            if (auto done = vcpu.linear->write_bytes(rt.slot_linear, &result, 2, vcpu.privilege()); !done)
                return scope.fault(done.error());
            rt.vcpu->note_data_access(rt.slot_linear, 2, true);
        }
        c.eflags = raised ? c.eflags | eflags::kZf : c.eflags & ~eflags::kZf;
        return scope.done();
    }
    }
    return scope.leave();
}

uint32_t invlpg(Runtime& rt, uint32_t offset, uint32_t segment) {
    CalloutScope scope(rt);
    auto done = rt.vcpu->cpu->invlpg(rt.cpu.seg[segment % kSegmentCount].base + offset);
    return done ? scope.next() : scope.fault(done.error());
}

// -- decimal, bounds ----------------------------------------------------------------------------------

uint32_t bcd(Runtime& rt, uint32_t operation, uint32_t immediate) {
    CalloutScope scope(rt);
    Cpu& cpu = *rt.vcpu->cpu;
    switch (static_cast<BcdOperation>(operation)) {
    case BcdOperation::Daa:
        cpu.daa();
        break;
    case BcdOperation::Das:
        cpu.das();
        break;
    case BcdOperation::Aaa:
        cpu.aaa();
        break;
    case BcdOperation::Aas:
        cpu.aas();
        break;
    case BcdOperation::Aam:
        return scope.result(cpu.aam(static_cast<uint8_t>(immediate)));
    case BcdOperation::Aad:
        cpu.aad(static_cast<uint8_t>(immediate));
        break;
    case BcdOperation::Salc: {
        uint32_t& eax = rt.cpu.gpr[0].low;
        eax = (eax & ~0xFFu) | ((rt.cpu.eflags & eflags::kCf) ? 0xFF : 0);
        break;
    }
    }
    return scope.done();
}

// SDM Vol. 2A "BOUND". An index below the lower bound is #BR before the upper one is looked at, by the
// segment's limit as by the pages.
uint32_t bound(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    const uint32_t width = packed >> 8 & 0xFF;
    const auto extended = [width](uint32_t value) {
        return width == 4 ? static_cast<int32_t>(value) : static_cast<int16_t>(value);
    };
    const int32_t index = extended(rt.cpu.gpr[packed >> 16 & 7].low);
    for (const bool upper : {false, true}) {
        const auto linear = vcpu.cpu->linear_address(static_cast<SegReg>(packed & 7),
                                                     offset + (upper ? width : 0), width, AccessKind::Read);
        if (!linear)
            return scope.fault(linear.error());
        uint32_t limit = 0;
        if (auto done = vcpu.linear->read_bytes(*linear, &limit, width, vcpu.privilege()); !done)
            return scope.fault(done.error());
        if (upper ? index > extended(limit) : index < extended(limit))
            return scope.fault({Vector::BoundRange, false, 0, 0});
        vcpu.note_data_access(*linear, width, false);
    }
    return scope.done();
}

// -- flags that hosts of another maker's leave otherwise ----------------------------------------------

uint32_t pin_flags(Runtime& rt, uint32_t packed, uint32_t immediate) {
    CalloutScope scope(rt);
    const PinnedFlags flags = intel_flags({packed, immediate}, rt.cpu, get<uint32_t>(rt));
    rt.pin_keep = ~uint64_t{flags.mask};
    rt.pin_flags = flags.values;
    return scope.go_on();
}

} // namespace

void install_callouts(Runtime& rt) {
    const auto set = [&](Callout which, CalloutFunction function) {
        rt.callouts[static_cast<unsigned>(which)] = reinterpret_cast<uint64_t>(function);
    };
    set(Callout::Raise, raise_vector);
    set(Callout::SlotPrepare, slot_prepare);
    set(Callout::SlotCommit, slot_commit);
    set(Callout::Push, push);
    set(Callout::PushSegment, push_segment);
    set(Callout::Pop, pop);
    set(Callout::PopPeek, pop_peek);
    set(Callout::LoadSegment, load_segment);
    set(Callout::PopSegment, pop_segment);
    set(Callout::LoadFarPointer, load_far_pointer);
    set(Callout::String, string_instruction);
    set(Callout::PortIn, port_in);
    set(Callout::PortOut, port_out);
    set(Callout::Cli, cli);
    set(Callout::Sti, sti);
    set(Callout::PushFlags, push_flags);
    set(Callout::PopFlags, pop_flags);
    set(Callout::PushAll, push_all);
    set(Callout::PopAll, pop_all);
    set(Callout::Enter, enter_frame);
    set(Callout::FarJump, far_jump);
    set(Callout::FarCall, far_call);
    set(Callout::FarReturn, far_return);
    set(Callout::InterruptReturn, interrupt_return);
    set(Callout::SoftwareInterrupt, software_interrupt);
    set(Callout::MoveFromControl, move_from_control);
    set(Callout::MoveToControl, move_to_control);
    set(Callout::MoveFromDebug, move_from_debug);
    set(Callout::MoveToDebug, move_to_debug);
    set(Callout::Simple, simple);
    set(Callout::TableLoad, table_load);
    set(Callout::TableStore, table_store);
    set(Callout::SelectorOperation, selector_operation);
    set(Callout::Invlpg, invlpg);
    set(Callout::Bcd, bcd);
    set(Callout::Bound, bound);
    set(Callout::FpuStore, fpu_store);
    set(Callout::FpuLoad, fpu_load);
    set(Callout::LoadMxcsr, load_mxcsr);
    set(Callout::MaskedMove, masked_move);
    set(Callout::PinFlags, pin_flags);
}

} // namespace vmm
