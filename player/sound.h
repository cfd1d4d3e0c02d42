// Where what the guest plays goes: the host's loudspeakers, or a WAV file. Knows SDL.
//
// The guest plays by its own clock and the sound card consumes by another: what waits between them is kept
// near kTarget, by dropping what is more than kMost and by waiting for kTarget again after it ran dry. A
// revert or a jump drops what waits at once.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/ports.h"

#include <memory>
#include <string>

namespace player {

class Loudspeaker final : public vmm::AudioPort {
  public:
    // The host's sound is opened at the first sample, by a thread of its own, because that can take long; if
    // there is none the guest plays to nobody.
    Loudspeaker();
    ~Loudspeaker() override;
    void play(std::span<const int16_t> samples, uint32_t rate) override;
    void silence() override;
    // Lets go of the host's sound for good; before SDL's other parts are shut down.
    void close();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// 16-bit stereo at 48 kHz: what the guest plays, without the pauses between.
class WavFile final : public vmm::AudioPort {
  public:
    static base::Result<std::shared_ptr<WavFile>> create(const std::string& path);
    ~WavFile() override;
    void play(std::span<const int16_t> samples, uint32_t rate) override;
    void silence() override;
    // Completes the header. Errors: of every write so far.
    base::Result<void> finish();

  private:
    struct Impl;
    explicit WavFile(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace player
