// One processor over 16 MiB of memory with its call-outs, and a record of what it announced to the TLB side.
// Paging is off unless a test turns it on; CPL 0 with flat segments.
#pragma once
#include "vmm/cpu/cpu.h"

#include <catch2/catch.hpp>
#include <memory>

namespace vmm::testing {

struct TlbRecord final : TlbControl {
    void cr3_loaded() override { ++cr3_loads; }
    void paging_changed() override { ++paging_changes; }
    void invlpg(Linear linear) override { last_invlpg = linear; }
    void debug_registers_changed() override { ++debug_changes; }
    unsigned cr3_loads = 0, paging_changes = 0, debug_changes = 0;
    Linear last_invlpg = 0;
};

struct CallOuts {
    CallOuts() {
        state.cr0 = cr0::kPe | cr0::kEt;
        for (unsigned i = 0; i < kSegmentCount; ++i) {
            Segment& s = state.seg[i];
            const bool code = i == static_cast<unsigned>(SegReg::Cs);
            s.selector = code ? 0x08 : 0x10;
            s.usable = 1;
            s.limit = 0xFFFFFFFF;
            s.set_attributes(code ? 0x00C09B00 : 0x00C09300);
        }
    }
    // Ring 3 with this IOPL.
    void user(unsigned iopl) {
        state.cpl = 3;
        state.eflags = (state.eflags & ~eflags::kIopl) | iopl << 12;
    }
    void v86(unsigned iopl) {
        user(iopl);
        state.eflags |= eflags::kVm;
    }
    void set_msr(uint32_t index, uint64_t value) {
        state.reg(Reg::Ecx) = index;
        state.reg(Reg::Eax) = static_cast<uint32_t>(value);
        state.reg(Reg::Edx) = static_cast<uint32_t>(value >> 32);
    }

    CpuState state;
    std::unique_ptr<GuestMemory> ram = GuestMemory::create(16u << 20).value();
    LinearMemory memory{state, *ram};
    IoBus io;
    TlbRecord tlb;
    Cpu cpu{state, memory, io, tlb};
};

template <class T> bool faults_with(const GuestResult<T>& result, Vector vector) {
    return !result && result.error().vector == vector &&
           (vector != Vector::GeneralProtection ||
            (result.error().has_error_code && result.error().error_code == 0));
}

} // namespace vmm::testing
