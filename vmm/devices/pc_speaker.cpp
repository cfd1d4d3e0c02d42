#include "vmm/devices/pc_speaker.h"

#include <algorithm>
#include <limits>

namespace vmm {

namespace {

constexpr float kAmplitude = 12'000;  // from low to high: a beep is half as loud as the loudest music
constexpr float kCoupling = 0.997F;   // a capacitor's: a level that rests is not heard, 20 Hz and more are
constexpr uint64_t kStep = 5'000'000; // ns: how much sound is handed over at a time
constexpr uint64_t kDevicePause = 4 * kStep; // a sound device that has not played for so long has stopped
constexpr int64_t kTail = kPitHz / 15;       // longer than the lowest tone's half-wave, 27 ms
constexpr int64_t kMostBehind = kPitHz / 5;  // more than that is skipped, not played late
constexpr uint32_t kMostWaiting = 10;        // the tenth part of a second

int16_t clipped(int32_t sample) {
    return static_cast<int16_t>(std::clamp<int32_t>(sample, std::numeric_limits<int16_t>::min(),
                                                    std::numeric_limits<int16_t>::max()));
}

} // namespace

std::shared_ptr<PcSpeaker> PcSpeaker::insert(Platform& platform, Pit8254Channel& channel) {
    if (platform.config.audio == nullptr)
        return nullptr;
    std::shared_ptr<PcSpeaker> speaker(new PcSpeaker(platform, channel));
    platform.config.audio = speaker;
    return speaker;
}

PcSpeaker::PcSpeaker(Platform& platform, Pit8254Channel& channel)
    : platform_(platform), channel_(channel), heard_by_(platform.config.audio) {
    timer_ = platform.clock.add_timer("pc_speaker", [this] { tick(); });
}

// A sample is the level's mean over its time, so that pulses shorter than a sample, with which programs play
// speech and music, count for their width.
void PcSpeaker::catch_up() {
    if (!sounding_)
        return;
    const int64_t now = pit_ticks(platform_.clock.now());
    position_ = std::max(position_, now - kMostBehind);
    for (; position_ < now; ++position_) {
        const bool level = data_ && channel_.out(position_);
        if (level != level_)
            last_edge_ = position_;
        level_ = level;
        high_ += level ? 1 : 0;
        ++ticks_;
        phase_ += rate_;
        if (phase_ >= kPitHz)
            emit();
    }
}

void PcSpeaker::emit() {
    phase_ -= kPitHz;
    const float input = kAmplitude * static_cast<float>(high_) / static_cast<float>(ticks_);
    high_ = ticks_ = 0;
    output_ = input - input_ + kCoupling * output_;
    input_ = input;
    waiting_.push_back(clipped(static_cast<int32_t>(output_)));
}

void PcSpeaker::changed(bool data) {
    if (!data && !data_)
        return; // the channel measures time for somebody
    data_ = data;
    const uint64_t now = platform_.clock.now();
    if (!sounding_) {
        position_ = pit_ticks(now);
        sounding_ = true;
        platform_.clock.arm(timer_, now + kStep);
    }
    last_edge_ = pit_ticks(now);
}

void PcSpeaker::tick() {
    catch_up();
    const uint64_t now = platform_.clock.now();
    if (now >= device_until_)
        flush();
    sounding_ = position_ - last_edge_ < kTail;
    platform_.clock.arm(timer_, sounding_ ? now + kStep : kNever);
}

void PcSpeaker::flush() {
    if (waiting_.empty())
        return;
    block_.clear();
    for (const int16_t sample : waiting_)
        block_.insert(block_.end(), 2, sample);
    waiting_.clear();
    heard_by_->play(block_, rate_);
}

void PcSpeaker::play(std::span<const int16_t> samples, uint32_t rate) {
    catch_up();
    if (rate != rate_) {
        flush();
        rate_ = rate;
        phase_ = ticks_ = high_ = 0;
    }
    device_until_ = platform_.clock.now() + kDevicePause;
    if (!sounding_ && waiting_.empty()) {
        heard_by_->play(samples, rate);
        return;
    }
    block_.assign(samples.begin(), samples.end());
    // Both sides round to whole samples: one too few is made up with the last, one too many waits.
    const auto held = static_cast<int16_t>(output_);
    const size_t frames = samples.size() / 2, ready = std::min(frames, waiting_.size());
    for (size_t i = 0; i < 2 * frames; ++i)
        block_[i] = clipped(block_[i] + (i / 2 < ready ? waiting_[i / 2] : held));
    const size_t most = rate_ / kMostWaiting;
    const size_t late = waiting_.size() - ready > most ? waiting_.size() - ready - most : 0;
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(ready + late));
    heard_by_->play(block_, rate);
}

void PcSpeaker::silence() {
    waiting_.clear();
    heard_by_->silence();
}

void PcSpeaker::restart(bool data) {
    silence();
    platform_.clock.disarm(timer_);
    sounding_ = data_ = level_ = false;
    phase_ = ticks_ = high_ = 0;
    input_ = output_ = 0;
    device_until_ = 0;
    changed(data);
}

} // namespace vmm
