// The receiving half of the RTL8139: which frames it takes, and the ring in guest memory it puts them into
// (RTL8139C datasheet: RCR, RBSTART, CAPR, CBR and the header in front of each frame).
#pragma once
#include "vmm/base/state_archive.h"
#include "vmm/memory/guest_memory.h"

#include <array>
#include <cstdint>
#include <span>

namespace vmm {

class Rtl8139Receiver {
  public:
    // Bits of ISR, as accept() answers them.
    static constexpr uint16_t kOk = 1u << 0, kOverflow = 1u << 4;

    explicit Rtl8139Receiver(GuestMemory& memory) : memory_(memory) {}

    void soft_reset(); // what the RST bit of the command register resets
    void serialize(base::StateArchive& archive);

    // Puts a frame, without check sequence, into the ring if it is meant for this station. Returns what
    // happened: 0 (it is not), kOk, or kOverflow (no room: it is lost and counted).
    uint16_t accept(std::span<const uint8_t> frame);
    // Whether the ring takes any frame now.
    [[nodiscard]] bool has_room() const;
    [[nodiscard]] bool empty() const { return (read_offset() - state_.write) % ring_bytes() == 0; } // BUFE

    [[nodiscard]] std::array<uint8_t, 6> station() const { return state_.station; }
    void set_station(const std::array<uint8_t, 6>& address) { state_.station = address; }

    // IDR0-5, MAR0-7 by register offset 0 to 0Fh.
    [[nodiscard]] uint8_t address_byte(unsigned offset) const;
    void set_address_byte(unsigned offset, uint8_t value);
    [[nodiscard]] uint32_t ring_base() const { return state_.base; } // RBSTART
    void set_ring_base(uint32_t base);
    [[nodiscard]] uint16_t read_pointer() const { return state_.read; } // CAPR
    void set_read_pointer(uint16_t offset) { state_.read = offset; }
    [[nodiscard]] uint16_t write_pointer() const { return static_cast<uint16_t>(state_.write); } // CBR
    [[nodiscard]] uint32_t config() const { return state_.config; }                              // RCR
    void set_config(uint32_t value);
    [[nodiscard]] uint32_t missed() const { return state_.missed; } // MPC
    void clear_missed() { state_.missed = 0; }

  private:
    struct State {
        std::array<uint8_t, 8> multicast{};
        std::array<uint8_t, 6> station{};
        uint16_t read = 0xFFF0; // 16 behind the first byte not yet read
        uint32_t base = 0, write = 0, config = 0, missed = 0;
    };
    static_assert(sizeof(State) == 32); // no padding: its bytes are compared

    [[nodiscard]] uint32_t ring_bytes() const;
    [[nodiscard]] uint32_t read_offset() const { return (state_.read + 16u) % ring_bytes(); }
    [[nodiscard]] uint32_t free_bytes() const;
    [[nodiscard]] uint16_t classify(std::span<const uint8_t> frame) const; // 0: not for this station
    void put(const void* bytes, uint32_t count);

    GuestMemory& memory_;
    State state_;
};

} // namespace vmm
