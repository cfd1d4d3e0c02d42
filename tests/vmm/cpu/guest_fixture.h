// A small protected-mode guest in real guest memory: GDT, LDT, IDT and TSS at fixed places, and helpers that
// put the processor into the mode a test wants.
#pragma once
#include "vmm/base/verify.h"
#include "vmm/cpu/cpu.h"

#include <catch2/catch.hpp>

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

namespace vmm::test {

inline constexpr uint32_t kGdt = 0x1000, kLdt = 0x1800, kIdt = 0x2000, kTss = 0x3000, kTss2 = 0x3200;
inline constexpr uint32_t kKernelStack = 0x8000, kUserStack = 0x9000, kCode = 0x10000;
inline constexpr uint32_t kPageDirectory = 0x20000, kPageTable = 0x21000;

// GDT layout.
inline constexpr uint16_t kKernelCs = 0x08, kKernelDs = 0x10, kUserCs = 0x1B, kUserDs = 0x23, kTssSel = 0x28,
                          kTss2Sel = 0x30, kConformingCs = 0x38, kLdtSel = 0x40, kFree = 0x48, kFree2 = 0x50,
                          kFree3 = 0x58;
inline constexpr unsigned kGdtBytes = 0x100;

// Access bytes.
inline constexpr uint32_t kCode0 = 0x9B, kData0 = 0x93, kCode3 = 0xFB, kData3 = 0xF3, kConforming0 = 0x9F;

inline uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
    const uint32_t low = (limit & 0xFFFF) | (base << 16);
    const uint32_t high =
        ((base >> 16) & 0xFF) | (access << 8) | (limit & 0xF0000) | (flags << 20) | (base & 0xFF000000);
    return low | (uint64_t{high} << 32);
}
inline uint64_t flat(uint32_t access) { return descriptor(0, 0xFFFFF, access, 0xC); }
inline uint64_t gate(uint16_t selector, uint32_t offset, unsigned type, unsigned dpl = 0,
                     unsigned parameters = 0) {
    const uint32_t low = (offset & 0xFFFF) | (uint32_t{selector} << 16);
    const uint32_t high = (offset & 0xFFFF0000) | 0x8000 | (dpl << 13) | (type << 8) | parameters;
    return low | (uint64_t{high} << 32);
}
inline uint64_t not_present(uint64_t value) { return value & ~(uint64_t{1} << 47); }

class TlbSpy final : public TlbControl {
  public:
    void cr3_loaded() override { ++cr3_loads; }
    void paging_changed() override {}
    void invlpg(Linear) override {}
    void debug_registers_changed() override { ++debug_changes; }
    unsigned cr3_loads = 0, debug_changes = 0;
};

class Guest {
  public:
    Guest() : memory_(make_memory()), linear_(state, *memory_), cpu(state, linear_, io_, tlb) {
        cpu.reset();
        gdt(kKernelCs, flat(kCode0));
        gdt(kKernelDs, flat(kData0));
        gdt(kUserCs, flat(kCode3));
        gdt(kUserDs, flat(kData3));
        gdt(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
        gdt(kTss2Sel, descriptor(kTss2, 0x67, 0x89, 0));
        gdt(kConformingCs, flat(kConforming0));
        gdt(kLdtSel, descriptor(kLdt, 0x3F, 0x82, 0));
        put32(kTss + 4, kKernelStack);
        put16(kTss + 8, kKernelDs);
    }

    // Flat 32-bit protected mode at `cpl` (0 or 3).
    void protected_mode(unsigned cpl) {
        state.cr0 |= cr0::kPe;
        state.gdtr = {kGdt, kGdtBytes - 1};
        state.idtr = {kIdt, 0x7FF};
        state.ldtr = Segment{0, 0, 0, 0, 0};
        state.tr = Segment{kTssSel, 1, kTss, 0x67, 0x8B00};
        const uint32_t dpl = cpl << 13;
        const Segment data{cpl ? kUserDs : kKernelDs, 1, 0, 0xFFFFFFFF, 0xC09300 | dpl};
        state.seg.fill(data);
        state.segment(SegReg::Cs) = Segment{cpl ? kUserCs : kKernelCs, 1, 0, 0xFFFFFFFF, 0xC09B00 | dpl};
        state.cpl = static_cast<uint8_t>(cpl);
        state.reg(Reg::Esp) = cpl ? kUserStack : kKernelStack;
        state.eip = kCode;
        state.eflags = 0x202;
    }
    void v86(unsigned iopl) {
        protected_mode(3);
        state.eflags = 0x202 | eflags::kVm | (iopl << 12);
        for (unsigned i = 0; i < kSegmentCount; ++i) {
            const auto selector = static_cast<uint16_t>(0x1000 + 0x100 * i);
            state.seg[i] = Segment{selector, 1, uint32_t{selector} << 4, 0xFFFF, 0xF300};
        }
        state.reg(Reg::Esp) = 0x800;
        state.eip = 0x123;
    }
    void real_mode() {
        cpu.reset();
        state.idtr = {0, 0x3FF};
        state.segment(SegReg::Cs) = Segment{0x100, 1, 0x1000, 0xFFFF, 0x9B00};
        state.segment(SegReg::Ss) = Segment{0x200, 1, 0x2000, 0xFFFF, 0x9300};
        state.reg(Reg::Esp) = 0x100;
        state.eip = 0x50;
        state.eflags = 0x202;
    }
    // Identity-maps the first 4 MiB with 4 KiB user pages.
    void paging() {
        put32(kPageDirectory, kPageTable | 7);
        for (uint32_t i = 0; i < 1024; ++i)
            put32(kPageTable + 4 * i, (i << 12) | 7);
        state.cr3 = kPageDirectory;
        state.cr0 |= cr0::kPg | cr0::kWp;
        linear_.flush();
    }
    void unmap(uint32_t linear) { set_page(linear, 0); }
    void set_page(uint32_t linear, uint32_t entry) {
        put32(kPageTable + 4 * (linear >> 12), entry);
        linear_.flush();
    }

    void gdt(uint16_t selector, uint64_t value) { memory_->write<uint64_t>(kGdt + (selector & ~7u), value); }
    void ldt(uint16_t selector, uint64_t value) { memory_->write<uint64_t>(kLdt + (selector & ~7u), value); }
    void idt(unsigned vector, uint64_t value) { memory_->write<uint64_t>(kIdt + 8 * vector, value); }
    uint8_t access_byte(uint16_t selector) { return get8(kGdt + (selector & ~7u) + 5); }
    void put8(uint32_t at, uint8_t value) { memory_->write<uint8_t>(at, value); }
    void put16(uint32_t at, uint16_t value) { memory_->write<uint16_t>(at, value); }
    void put32(uint32_t at, uint32_t value) { memory_->write<uint32_t>(at, value); }
    uint8_t get8(uint32_t at) { return memory_->read<uint8_t>(at); }
    uint16_t get16(uint32_t at) { return memory_->read<uint16_t>(at); }
    // By way of the guest's paging, as ring 0.
    uint8_t read8(Linear at) { return linear_.read<uint8_t>(at, Privilege::Supervisor).value(); }
    uint32_t get32(uint32_t at) { return memory_->read<uint32_t>(at); }
    // The n-th stack slot above ESP.
    uint32_t stack32(unsigned n) { return get32(stack_top() + 4 * n); }
    uint16_t stack16(unsigned n) { return get16(stack_top() + 2 * n); }

    uint32_t& reg(Reg r) { return state.reg(r); }
    Segment& seg(SegReg r) { return state.segment(r); }

    // A snapshot, and whether the processor is still in it.
    using Snapshot = std::array<uint8_t, sizeof(CpuState)>;
    Snapshot snapshot() const {
        Snapshot copy;
        std::memcpy(copy.data(), &state, sizeof state);
        return copy;
    }
    bool unchanged(const Snapshot& before) const {
        return std::memcmp(before.data(), &state, sizeof state) == 0;
    }

    CpuState state;
    TlbSpy tlb;

  private:
    static std::unique_ptr<GuestMemory> make_memory() {
        auto memory = GuestMemory::create(16u << 20);
        VERIFY(memory);
        return std::move(*memory);
    }
    uint32_t stack_top() {
        const Segment& ss = seg(SegReg::Ss);
        return ss.base + (ss.big() ? reg(Reg::Esp) : reg(Reg::Esp) & 0xFFFF);
    }

    std::unique_ptr<GuestMemory> memory_;
    LinearMemory linear_;
    IoBus io_;

  public:
    Cpu cpu;
};

// "13(0048)" or "14(0002)@3000" or "6" or "ok": what a GuestResult came to, readable in a failed CHECK.
template <class T> std::string outcome(const GuestResult<T>& result) {
    if (result)
        return "ok";
    const Fault& fault = result.error();
    std::string text = std::to_string(static_cast<unsigned>(fault.vector));
    char buffer[32];
    if (fault.has_error_code) {
        std::snprintf(buffer, sizeof buffer, "(%04x)", fault.error_code);
        text += buffer;
    }
    if (fault.vector == Vector::PageFault) {
        std::snprintf(buffer, sizeof buffer, "@%llx", static_cast<unsigned long long>(fault.linear_address));
        text += buffer;
    }
    return text;
}

} // namespace vmm::test
