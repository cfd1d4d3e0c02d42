// A 93C46 serial EEPROM, 64 words of 16 bits, as a network card has one for its address (Microchip's
// 93C46 datasheet): chip select, clock, data in and data out, moved by software one level at a time. It is
// write-protected: erasing and writing are taken and change nothing.
#pragma once
#include "vmm/base/state_archive.h"

#include <array>
#include <cstdint>

namespace vmm {

class Eeprom93c46 {
  public:
    static constexpr unsigned kWords = 64;

    // The levels of its three inputs. Everything happens at rising edges of the clock.
    void set_pins(bool select, bool clock, bool data);
    [[nodiscard]] bool data_out() const { return state_.out != 0; }

    [[nodiscard]] uint16_t word(unsigned index) const { return words_.at(index); }
    void set_word(unsigned index, uint16_t value) { words_.at(index) = value; }

    void serialize(base::StateArchive& archive); // of the conversation; its content is the owner's affair

  private:
    // Of a command under way.
    struct State {
        uint8_t clock = 0, out = 1;
        uint8_t phase = 0;   // Phase
        uint8_t bits = 0;    // taken of the command, or given of the word
        uint16_t shift = 0;  // the command; then what is left of the word
        uint8_t address = 0; // of the word
        uint8_t unused = 0;
    };
    static_assert(sizeof(State) == 8);
    enum class Phase : uint8_t { Idle, Command, Reading, Done };
    void rising_edge(bool data);

    std::array<uint16_t, kWords> words_{};
    State state_;
};

} // namespace vmm
