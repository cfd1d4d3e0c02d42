// The PC's speaker: on or off, by channel 2 of the interval timer and port 61h bit 1. It stands between
// whoever hears the machine and the sound device, whose samples pass through it, so that both are one stream:
// while the device plays, the speaker's samples are added to it; else they go out alone.
#pragma once
#include "vmm/bus/platform.h"
#include "vmm/devices/pit8254_channel.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace vmm {

class PcSpeaker final : public AudioPort {
  public:
    // Takes the place of `platform.config.audio`. Null where nobody hears the machine.
    static std::shared_ptr<PcSpeaker> insert(Platform& platform, Pit8254Channel& channel);

    // Before anything touches the channel: what was heard until now follows from what it was.
    void catch_up();
    // After a write to the channel or to port 61h; `data`: bit 1.
    void changed(bool data);
    // The machine was reset or is elsewhere in time.
    void restart(bool data);

    // What the sound device plays.
    void play(std::span<const int16_t> samples, uint32_t rate) override;
    void silence() override;

  private:
    PcSpeaker(Platform& platform, Pit8254Channel& channel);
    void tick();
    void emit();
    void flush();

    Platform& platform_;
    Pit8254Channel& channel_;
    std::shared_ptr<AudioPort> heard_by_;
    Clock::TimerId timer_ = 0;

    bool data_ = false;
    bool sounding_ = false;                // the timer runs; else the level rests, and nothing is computed
    bool level_ = false;                   // at position_
    int64_t position_ = 0;                 // CLK periods up to which samples were made
    int64_t last_edge_ = 0;                // when the level last changed
    uint64_t device_until_ = 0;            // the sound device is taken to play on until then, ns
    uint32_t rate_ = 48000;                // the sound device's last
    uint64_t phase_ = 0;                   // of a sample, in CLK periods times the rate
    uint32_t ticks_ = 0, high_ = 0;        // of the present sample, and how many of them the level was high
    float input_ = 0, output_ = 0;         // of the filter that takes away what rests
    std::vector<int16_t> waiting_, block_; // mono, at rate_; stereo
};

} // namespace vmm
