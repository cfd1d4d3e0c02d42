// The codec behind an AC'97 controller (Audio Codec '97 Component Specification, revision 2.3, chapter 5):
// its mixer registers, sample rates, and what the volumes make of a sample.
#pragma once
#include "vmm/base/state_archive.h"

#include <array>
#include <cstdint>
#include <span>

namespace vmm {

class Ac97Codec {
  public:
    Ac97Codec() { reset(); }

    void reset(); // register 00h written, or a cold reset of the link
    [[nodiscard]] uint16_t read(unsigned offset) const;
    void write(unsigned offset, uint16_t value);
    void serialize(base::StateArchive& archive); // fields of the owner's section

    [[nodiscard]] uint32_t front_rate() const;   // of the stream played, Hz
    [[nodiscard]] uint32_t capture_rate() const; // of the streams recorded
    [[nodiscard]] uint32_t microphone_rate() const;
    // Applies the PCM and master volumes to interleaved stereo samples.
    void mix(std::span<int16_t> samples) const;

  private:
    static constexpr unsigned kRegisters = 64;
    [[nodiscard]] uint16_t& reg(unsigned offset) { return registers_[offset / 2 % kRegisters]; }
    [[nodiscard]] uint16_t reg(unsigned offset) const { return registers_[offset / 2 % kRegisters]; }
    void settle();
    [[nodiscard]] uint32_t rate(unsigned offset) const;
    [[nodiscard]] uint32_t gain(bool left) const;

    std::array<uint16_t, kRegisters> registers_{};
};

} // namespace vmm
