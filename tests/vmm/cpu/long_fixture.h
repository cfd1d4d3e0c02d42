// A guest in IA-32e mode over the tables of guest_fixture.h: the first 2 MiB mapped where they are and once
// more in the upper half, where its GDT, IDT, TSS and kernel stack are.
#pragma once
#include "guest_fixture.h"
#include "vmm/arch/promise.h"

namespace vmm::test {

inline constexpr Linear kHigh = 0xFFFF800000000000;
inline constexpr Linear kNoncanonical = 0x0000800000000000;
inline constexpr uint64_t kFarIp = kHigh + kCode; // of ring 0
inline constexpr uint32_t kIstStack = 0xA000;

// TSS and LDT take two entries each; then the free ones of the 32-bit guest's, and 64-bit code.
inline constexpr uint16_t kCode64 = 0x60, kUser64 = 0x6B, kConforming64 = 0x70, kGate = 0x80, kGate2 = 0x90,
                          kStack16 = 0xA3;
inline constexpr uint32_t kLongFlags = 0xA; // G and L of a descriptor

struct LongGuest : Guest {
    static constexpr uint32_t kPml4 = 0x30000, kPdpt = 0x31000, kDirectory = 0x32000, kTable = 0x33000;

    LongGuest() {
        state.promised = promise::kAll;
        put64(kPml4, kPdpt | 7);
        put64(kPml4 + 256 * 8, kPdpt | 7);
        put64(kPdpt, kDirectory | 7);
        put64(kDirectory, kTable | 7);
        for (uint32_t page = 0; page < 512; ++page)
            map(page << 12, (page << 12) | 7);
        gdt(kCode64, descriptor(0, 0xFFFFF, kCode0, kLongFlags));
        gdt(kUser64, descriptor(0, 0xFFFFF, kCode3, kLongFlags));
        gdt(kConforming64, descriptor(0, 0xFFFFF, kConforming0, kLongFlags));
        gdt(kStack16, descriptor(0, 0xFFFF, kData3, 0));
        system_descriptor(kTssSel, kHigh + kTss, 0x67, 0x8B);
        put64(kTss + 4, kHigh + kKernelStack);
        put64(kTss + 12, kHigh + 0xB000); // RSP1
        for (unsigned ist = 1; ist <= 7; ++ist)
            put64(kTss + 28 + 8 * ist, kHigh + kIstStack + 0x100 * ist);
    }

    void put64(uint32_t at, uint64_t value) {
        put32(at, static_cast<uint32_t>(value));
        put32(at + 4, static_cast<uint32_t>(value >> 32));
    }
    uint64_t get64(uint32_t at) { return get32(at) | uint64_t{get32(at + 4)} << 32; }
    void map(uint32_t linear, uint64_t entry) { put64(kTable + 8 * (linear >> 12), entry); }
    void system_descriptor(uint16_t selector, Linear base, uint32_t limit, uint32_t access) {
        gdt(selector, descriptor(static_cast<uint32_t>(base), limit, access, 0));
        gdt(static_cast<uint16_t>(selector + 8), base >> 32);
    }
    void call_gate(uint16_t at, uint16_t selector, uint64_t offset, unsigned dpl = 3) {
        gdt(at, gate(selector, static_cast<uint32_t>(offset), 12, dpl));
        gdt(static_cast<uint16_t>(at + 8), offset >> 32);
    }
    void idt64(unsigned vector, uint16_t selector, uint64_t offset, unsigned type = 14, unsigned dpl = 0,
               unsigned ist = 0) {
        put64(kIdt + 16 * vector, gate(selector, static_cast<uint32_t>(offset), type, dpl, ist));
        put64(kIdt + 16 * vector + 8, offset >> 32);
    }

    // 64-bit mode, or compatibility mode with flat 32-bit segments.
    void long_mode(unsigned cpl, bool compatibility = false) {
        protected_mode(cpl);
        state.cr0 |= cr0::kPg | cr0::kWp;
        state.cr3 = kPml4;
        state.cr4 = cr4::kPae;
        state.efer = efer::kSce | efer::kLme | efer::kLma | efer::kNxe;
        state.gdtr = {kHigh + kGdt, kGdtBytes - 1};
        state.idtr = {kHigh + kIdt, 0xFFF};
        state.tr = Segment{kTssSel, 1, kHigh + kTss, 0x67, 0x8B00};
        if (!compatibility) {
            seg(SegReg::Cs) =
                Segment{cpl ? kUser64 : kCode64, 1, 0, 0xFFFFFFFF, (cpl ? 0xA0FB00u : 0xA09B00u)};
            wide(Reg::Esp) = cpl ? kUserStack : kHigh + kKernelStack;
            state.set_rip(cpl ? kCode : kFarIp);
        }
        state.cpl = 0; // whoever may flush
        REQUIRE(cpu.write_cr(3, kPml4));
        state.cpl = static_cast<uint8_t>(cpl);
    }

    // A 64-bit register as a value that can be assigned.
    struct Value {
        Wide& parts;
        Value& operator=(uint64_t value) {
            parts.set(value);
            return *this;
        }
        operator uint64_t() const { return parts.whole(); }
    };
    Value wide(Reg r) { return {state.wide(r)}; }
    [[nodiscard]] uint64_t rsp() { return wide(Reg::Esp); }
    // The n-th slot above RSP.
    uint64_t stack64(unsigned n) { return get64(static_cast<uint32_t>(rsp() & 0x1FFFFF) + 8 * n); }
    void push64(std::initializer_list<uint64_t> values) { // the first is the highest
        for (const uint64_t value : values) {
            wide(Reg::Esp) = rsp() - 8;
            put64(static_cast<uint32_t>(rsp() & 0x1FFFFF), value);
        }
    }
    // What `does` came to; a fault must have left the processor as it was.
    template <class Does> std::string tried(Does&& does) {
        const auto before = snapshot();
        const std::string result = outcome(does());
        if (result != "ok")
            CHECK(unchanged(before));
        return result;
    }
};

} // namespace vmm::test
