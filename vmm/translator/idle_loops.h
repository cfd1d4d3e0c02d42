// Finds guests that wait in a loop: DOS asks the BIOS for a key, some kernels ask the keyboard controller,
// again and again. Guessing by how often they ask would slow down who does something meanwhile, so it is
// proven: one turn of the loop, from question to question, that left the processor and all of memory as they
// were, took no interrupt, read no clock and spoke with no device but to ask. The next turn can only be the
// same, and so on until something happens outside: an interrupt, a timer of a device, an event. Until then
// nobody need run it.
//
// DOS and its programs also say that they wait (interrupt 28h, 2Ah function 84h, 2Fh function 1680h), while
// some count the turns: a turn with such a word may change a counter.
//
// A proof costs some ten write faults, because windows are write-protected for it. So it is tried only after
// a number of equal questions, which doubles with each failure and is small after a success.
#pragma once
#include "vmm/arch/state.h"
#include "vmm/memory/write_watch.h"

#include <cstdint>

namespace vmm {

struct Vcpu;

class IdleLoops {
  public:
    // The guest is about to ask whether something has happened, by reading a register that changes only with
    // an event or a timer of its device, or is about to make an interrupt call, which may be to ask. The
    // processor's state is whole.
    void asks(Vcpu& vcpu);
    void calls(Vcpu& vcpu, uint8_t vector);
    // How many operations the question took; only those of others count.
    void asked(uint64_t operations) { own_operations_ += operations; }
    void clock_read() { ++clock_readings_; }

    // The guest waits: leave translated code, and run() ends.
    [[nodiscard]] bool found() const { return found_; }
    bool take_found() {
        const bool found = found_;
        found_ = false;
        return found;
    }
    // Whatever was derived from state that is no longer the guest's.
    void forget(Vcpu& vcpu);

    struct Statistics {
        uint64_t found = 0, refuted = 0;
    };
    [[nodiscard]] const Statistics& statistics() const { return statistics_; }

  private:
    static constexpr unsigned kFirstPatience = 16, kPatienceAfterSuccess = 2, kMostPatience = 1u << 16;
    // Other questions in one turn of the loop.
    static constexpr unsigned kMostStrangers = 32;

    // What tells one question from another, cheaply.
    struct Question {
        decltype(CpuState::gpr) gpr{};
        uint32_t eip = 0;
        uint16_t cs = 0, ss = 0, ds = 0, es = 0;
        bool operator==(const Question&) const = default;
    };
    // Whatever else than questions happened, in all.
    [[nodiscard]] uint64_t happenings(const Vcpu& vcpu) const;
    void begin_proof(Vcpu& vcpu);
    void end_proof(Vcpu& vcpu);
    [[nodiscard]] bool proven(const Vcpu& vcpu, uint64_t now) const;

    Question anchor_;
    uint64_t since_ = 0; // happenings at the anchor's last turn
    unsigned equal_ = 0, strangers_ = 0, patience_ = kFirstPatience;
    bool proving_ = false, found_ = false;
    CpuState before_; // with the x87 unit's state
    WriteWatch writes_;
    uint64_t own_operations_ = 0, clock_readings_ = 0;
    uint64_t declared_ = 0, declared_before_ = 0; // times the guest has said that it waits
    Statistics statistics_;
};

} // namespace vmm
