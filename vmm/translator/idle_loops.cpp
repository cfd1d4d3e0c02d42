#include "vmm/translator/idle_loops.h"

#include "vmm/base/operation.h"
#include "vmm/translator/fpu_state.h"
#include "vmm/translator/vcpu.h"

#include <algorithm>

namespace vmm {

uint64_t IdleLoops::happenings(const Vcpu& vcpu) const {
    return base::Operation::number() - own_operations_ + vcpu.counters.interrupts + clock_readings_;
}

void IdleLoops::begin_proof(Vcpu& vcpu) {
    before_ = vcpu.rt->cpu;
    store_x87(before_.fx);
    writes_.begin();
    vcpu.shared->memory.watch_writes(&writes_);
    vcpu.windows->write_protect_all();
    declared_before_ = declared_;
    proving_ = true;
}

void IdleLoops::end_proof(Vcpu& vcpu) {
    vcpu.shared->memory.watch_writes(nullptr);
    proving_ = false;
    equal_ = 0;
}

bool IdleLoops::proven(const Vcpu& vcpu, uint64_t now) const {
    if (now != since_)
        return false;
    CpuState after = vcpu.rt->cpu;
    store_x87(after.fx);
    const uint32_t changed = writes_.changed_bytes(vcpu.shared->memory.data());
    if (declared_ == declared_before_)
        return changed == 0 && after == before_;
    // A counter, and what counting does to the flags.
    constexpr uint32_t kCounterBytes = 8;
    after.eflags = (after.eflags & ~eflags::kArithmetic) | (before_.eflags & eflags::kArithmetic);
    return changed <= kCounterBytes && after == before_;
}

// Ralf Brown's Interrupt List: 28h "DOS idle interrupt", 2Ah function 84h "keyboard busy loop", 2Fh function
// 1680h "release current virtual machine time slice".
void IdleLoops::calls(Vcpu& vcpu, uint8_t vector) {
    const uint32_t ax = vcpu.rt->cpu.reg(Reg::Eax) & 0xFFFF;
    if (vector == 0x28 || (vector == 0x2A && ax >> 8 == 0x84) || (vector == 0x2F && ax == 0x1680))
        ++declared_;
    asks(vcpu);
}

void IdleLoops::asks(Vcpu& vcpu) {
    const CpuState& cpu = vcpu.rt->cpu;
    const Question question{cpu.gpr,
                            cpu.eip,
                            cpu.segment(SegReg::Cs).selector,
                            cpu.segment(SegReg::Ss).selector,
                            cpu.segment(SegReg::Ds).selector,
                            cpu.segment(SegReg::Es).selector};
    if (!(question == anchor_)) {
        if (++strangers_ <= kMostStrangers)
            return;
        if (proving_)
            end_proof(vcpu);
        anchor_ = question;
        strangers_ = equal_ = 0;
        since_ = happenings(vcpu);
        return;
    }
    strangers_ = 0;
    const uint64_t now = happenings(vcpu);
    if (proving_) {
        const bool waits = proven(vcpu, now);
        end_proof(vcpu);
        if (waits) {
            found_ = true;
            ++statistics_.found;
            patience_ = kPatienceAfterSuccess;
        } else {
            ++statistics_.refuted;
            patience_ = std::min(2 * patience_, kMostPatience);
        }
    } else if (now == since_ && ++equal_ >= patience_) {
        begin_proof(vcpu);
    }
    since_ = now;
}

void IdleLoops::forget(Vcpu& vcpu) {
    if (proving_)
        end_proof(vcpu);
    equal_ = 0;
    found_ = false;
}

} // namespace vmm
