// A bare PC processor with 16 MiB and nothing around it: guest code written in the test, run by the real
// engine in every block mode with the containment verifier on.
//
// GUEST32(name, R"( ... )") assembles Intel-syntax code at build time. It is loaded at kCode (10000h), so
// `.org 0x40` places what follows at linear 10040h and code may name that address as a number.
// GUEST_TEST(title, tags) { ... } gets a fresh `Guest& g` for each block mode.
#pragma once
#include "vmm/translator/engine.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace vmm::guest {

inline constexpr uint32_t kGdt = 0x1000, kLdt = 0x1800, kIdt = 0x2000, kTss = 0x3000, kTss2 = 0x3200,
                          kTss3 = 0x3400;
inline constexpr uint32_t kKernelStack = 0x8000, kUserStack = 0x9000, kHandlers = 0xC000, kCode = 0x10000;
// The last page of RAM that code lives in by convention; data is free from kData on.
inline constexpr uint32_t kDirectory = 0x20000, kTable = 0x21000, kDirectory2 = 0x24000, kTable2 = 0x25000,
                          kData = 0x40000;

inline constexpr uint16_t kKernelCs = 0x08, kKernelDs = 0x10, kUserCs = 0x1B, kUserDs = 0x23, kTssSel = 0x28,
                          kTss2Sel = 0x30, kConformingCs = 0x38, kLdtSel = 0x40, kFree = 0x48, kFree2 = 0x50,
                          kFree3 = 0x58, kTss3Sel = 0x60;

// Ports of the fixture.
inline constexpr uint8_t kPortIrq = 0xE0; // OUT: raises INTR with vector AL
inline constexpr uint8_t kPortLog = 0xE1; // OUT: appends to Guest::log
inline constexpr uint8_t kPortA20 = 0xE3; // OUT: A20 gate = bit 0 of AL
inline constexpr uint8_t kPortNmi = 0xE4; // OUT: a non-maskable interrupt
inline constexpr uint8_t kPortDma = 0xE2; // OUT: a device writes Guest::dma_bytes to Guest::dma_address

uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags);
uint64_t gate(uint16_t selector, uint32_t offset, unsigned type, unsigned dpl = 0, unsigned parameters = 0);
// A register as a load of `descriptor` would leave it.
Segment segment_of(uint16_t selector, uint64_t descriptor);

struct Snippet {
    const uint8_t* first;
    const uint8_t* last;
};

class Guest final : public InterruptSource, public IoHandler {
  public:
    explicit Guest(BlockMode mode, HostMaker host = host_maker());
    const BlockMode mode;
    ~Guest() override;

    // -- before running: flat 32-bit ring 0 is the start ---------------------------------------------
    void load(const Snippet& code, uint32_t at = kCode);
    void user();   // ring 3, flat
    void paging(); // identity map of the first 8 MiB with 4 KiB user pages; CR0.WP set
    void real_mode(uint16_t cs = 0x1000, uint16_t ss = 0x800); // CS:0 is where code is loaded by default
    void v86(uint16_t cs = 0x1000, unsigned iopl = 3);
    void set_segment(SegReg reg, uint16_t selector, uint64_t value); // also puts it into the GDT
    void page(uint32_t linear, uint32_t entry) { put32(kTable + (linear >> 12) * 4, entry); }
    // Faults are delivered through the IDT instead of ending run(). Handlers HLT unless replaced.
    void deliver_faults() { deliver_ = true; }
    void handler(unsigned vector, const Snippet& code);
    void interrupt_after(unsigned milliseconds, uint8_t vector); // from another thread

    // Runs until HLT, the first fault (unless delivered) or the watchdog. Says what happened:
    // "hlt", "shutdown", "timeout", "#6 at 10004", "#13(0000) at 10004", "#14(0002)@3000 at 10004".
    std::string run();
    // load + run.
    std::string run(const Snippet& code) {
        load(code);
        return run();
    }

    // -- looking -------------------------------------------------------------------------------------
    uint32_t& reg(Reg r) { return state.reg(r); }
    uint32_t& eax() { return reg(Reg::Eax); }
    uint32_t& ebx() { return reg(Reg::Ebx); }
    uint32_t& ecx() { return reg(Reg::Ecx); }
    uint32_t& edx() { return reg(Reg::Edx); }
    uint32_t& esi() { return reg(Reg::Esi); }
    uint32_t& edi() { return reg(Reg::Edi); }
    uint32_t& ebp() { return reg(Reg::Ebp); }
    uint32_t& esp() { return reg(Reg::Esp); }
    void put8(uint32_t at, uint8_t value) { memory->write(at, value); }
    void put16(uint32_t at, uint16_t value) { memory->write(at, value); }
    void put32(uint32_t at, uint32_t value) { memory->write(at, value); }
    void put64(uint32_t at, uint64_t value) { memory->write(at, value); }
    uint8_t get8(uint32_t at) { return memory->read<uint8_t>(at); }
    uint16_t get16(uint32_t at) { return memory->read<uint16_t>(at); }
    uint32_t get32(uint32_t at) { return memory->read<uint32_t>(at); }
    void bytes(uint32_t at, std::initializer_list<uint8_t> values) {
        memory->write(at, values.begin(), values.size());
    }
    void fill(uint32_t at, uint8_t value, uint32_t count);
    // The handler of this vector is where HLT was met.
    [[nodiscard]] bool in_handler(unsigned vector) const { return state.eip == kHandlers + 16 * vector + 1; }

    // -- ports and interrupts --------------------------------------------------------------------------
    bool interrupt_pending() const override { return irq_.load() >= 0; }
    uint8_t acknowledge_interrupt() override;
    [[nodiscard]] bool nmi_pending() const override { return nmi_; }
    void acknowledge_nmi() override { nmi_ = false; }
    uint32_t io_read(uint16_t port, unsigned size) override;
    void io_write(uint16_t port, unsigned size, uint32_t value) override;

    CpuState state;
    std::unique_ptr<GuestMemory> memory;
    IoBus io;
    std::unique_ptr<Engine> engine;
    std::string log;    // hex bytes written to kPortLog, and "!vv" for each interrupt acknowledged
    std::string faults; // every fault seen so far, separated by blanks
    uint32_t dma_address = 0;
    std::vector<uint8_t> dma_bytes;
    unsigned watchdog_ms = 10000;

  private:
    bool deliver_ = false;
    std::atomic<int> irq_{-1};
    bool nmi_ = false;
    std::string last_fault_;
    std::vector<std::thread> threads_;
};

void for_each_mode(void (*test)(Guest&));

} // namespace vmm::guest

// SAFETY: only assembles bytes into a read-only section of their own; the host never runs them.
#define GUEST_CODE_(bits, name, text)                                                                        \
    asm(".pushsection .guest." #name ",\"a\",@progbits\n.code" #bits "\n.intel_syntax noprefix\n"            \
        "guest_" #name "_first:\n" text "\nguest_" #name "_last:\n.byte 0\n"                                 \
        ".att_syntax prefix\n.code64\n.popsection\n");                                                       \
    extern "C" const uint8_t guest_##name##_first[], guest_##name##_last[];                                  \
    static const vmm::guest::Snippet name { guest_##name##_first, guest_##name##_last }
#define GUEST32(name, text) GUEST_CODE_(32, name, text)
#define GUEST16(name, text) GUEST_CODE_(16, name, text)

#define GUEST_TEST_(function, title, tags)                                                                   \
    static void function(vmm::guest::Guest& g);                                                              \
    TEST_CASE(title, tags) { vmm::guest::for_each_mode(function); }                                          \
    static void function([[maybe_unused]] vmm::guest::Guest& g)
#define GUEST_TEST(title, tags) GUEST_TEST_(INTERNAL_CATCH_UNIQUE_NAME(guest_test_), title, tags)
