// What every call-out does on the way in and out: EFLAGS made whole, and the ways to finish.
#pragma once
#include "vmm/translator/callouts.h"
#include "vmm/translator/vcpu.h"

namespace vmm {

class CalloutScope {
  public:
    explicit CalloutScope(Runtime& rt) : rt_(rt), vcpu_(*rt.vcpu) { vcpu_.gather_flags(); }

    // Must the block be left at the next instruction boundary?
    [[nodiscard]] bool must_leave() const {
        return vcpu_.code_changed || vcpu_.flush_requested || vcpu_.contexts_stale || vcpu_.intercepted ||
               vcpu_.interrupt_due || vcpu_.poll_armed() || vcpu_.idle_loops.found();
    }

    // Would the access meet a data breakpoint, whose trap has to come right after this instruction? Then,
    // before anything is done: return again_alone().
    [[nodiscard]] bool watched(uint32_t linear, uint64_t bytes, bool write) const {
        return vcpu_.breakpoints.watching() && !vcpu_.running_key.has(ModeKey::kWatched) &&
               vcpu_.breakpoints.met(linear, bytes, write) != 0;
    }
    [[nodiscard]] uint32_t again_alone() {
        vcpu_.alone_left = Breakpoints::kAlone;
        vcpu_.again_alone = true;
        rt_.site = 0; // it has not accessed anything
        return leave();
    }

    // The instruction is not finished yet: back into the block.
    [[nodiscard]] uint32_t go_on() {
        vcpu_.scatter_flags();
        if (vcpu_.interrupt_due) // mid-instruction (a device's memory was read): at the next poll, then
            vcpu_.arm_poll();
        return kGoOn;
    }
    // Out to the dispatcher; cpu.eip is where to go on.
    [[nodiscard]] uint32_t leave() {
        vcpu_.scatter_flags();
        return kLeave;
    }
    // Out, at the next instruction.
    [[nodiscard]] uint32_t next() {
        rt_.cpu.eip = rt_.next_eip;
        return leave();
    }
    // The instruction is finished and the mode key cannot have changed.
    [[nodiscard]] uint32_t done() { return must_leave() ? next() : go_on(); }
    // The instruction is finished and may have changed the mode key.
    [[nodiscard]] uint32_t done_with_mode() {
        return must_leave() || compute_mode_key(rt_.cpu) != vcpu_.running_key ? next() : go_on();
    }
    // Likewise, when the only change can be one data segment register's.
    [[nodiscard]] uint32_t done_with_segment(unsigned reg) {
        if (reg == static_cast<unsigned>(SegReg::Ss))
            return done_with_mode();
        return must_leave() || classify_segment(rt_.cpu, reg) != vcpu_.running_key.segment(reg) ? next()
                                                                                                : go_on();
    }
    [[nodiscard]] uint32_t fault(const Fault& fault) {
        vcpu_.note_site_fault(fault);
        vcpu_.raise(fault);
        return leave();
    }
    // Finished or faulted, mode unchanged.
    [[nodiscard]] uint32_t result(const GuestResult<void>& outcome) {
        return outcome ? done() : fault(outcome.error());
    }
    // The Cpu has moved EIP (or faulted).
    [[nodiscard]] uint32_t transferred(const GuestResult<void>& outcome) {
        return outcome ? leave() : fault(outcome.error());
    }

  private:
    Runtime& rt_;
    Vcpu& vcpu_;
};

} // namespace vmm
