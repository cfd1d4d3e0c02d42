// The 8254 interval timer (Intel datasheet 231164): channel 0 drives IRQ0, channel 1 was the DRAM refresh,
// and channel 2 the speaker, gated by port 61h (PIIX3 datasheet, "NMI Status and Control Register").
#include "vmm/devices/device_list.h"
#include "vmm/devices/pc_speaker.h"
#include "vmm/devices/pit8254_channel.h"

#include <algorithm>

namespace vmm {
namespace {

constexpr uint16_t kCounterPort = 0x40, kControlPort = 0x43, kPort61 = 0x61;
constexpr uint8_t kReadBack = 3, kReadBackNoCount = 0x20, kReadBackNoStatus = 0x10;
constexpr uint8_t kTimer2Gate = 0x01, kSpeakerData = 0x02, kPort61Writable = 0x0F, kRefreshToggle = 0x10,
                  kTimer2Out = 0x20;
constexpr uint64_t kRefreshNanos = 15'085; // channel 1 with the BIOS's count of 18
constexpr unsigned kTimerIrq = 0;
// A guest that programs tiny counts gets no more wake-ups than this; ticks in between count as lost.
constexpr uint64_t kMinWakeNanos = 20'000;
// Two seconds at 1 kHz: owing more would only make a guest's clock race.
constexpr int64_t kMaxOwedTicks = 2000;

// The first nanosecond at which pit_ticks() reaches `ticks`.
uint64_t to_nanos(int64_t ticks) {
    const auto scaled = static_cast<unsigned __int128>(std::max<int64_t>(ticks, 0)) * kNanosPerSecond;
    return static_cast<uint64_t>((scaled + kPitHz - 1) / kPitHz);
}

class Pit8254 final : public Device, public IoHandler {
  public:
    explicit Pit8254(Platform& platform)
        : platform_(platform), speaker_(PcSpeaker::insert(platform, channels_[2])) {
        platform.io.add(kCounterPort, 4, this, name());
        platform.io.add(kPort61, 1, this, name());
        timer_ = platform.clock.add_timer(name(), [this] { tick(); });
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "pit8254"; }

    void reset() override {
        for (Pit8254Channel& channel : channels_)
            channel = {};
        channels_[2].set_gate(false, 0);
        port61_ = 0;
        last_wake_ = 0;
        restart();
        restart_speaker();
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        if (speaker_)
            speaker_->catch_up();
        if (port == kPort61)
            return read_port61();
        if (port == kControlPort)
            return 0xFF; // "no operation": the bus floats
        deliver_due();
        return channels_[port - kCounterPort].read_count(now());
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        if (speaker_)
            speaker_->catch_up();
        deliver_due();
        if (port == kPort61) {
            port61_ = byte & kPort61Writable;
            channels_[2].set_gate((byte & kTimer2Gate) != 0, now());
        } else if (port == kControlPort) {
            write_control(byte);
        } else {
            const bool was_periodic = channels_[0].period() != 0;
            channels_[port - kCounterPort].write_count(byte, now());
            if (port == kCounterPort && was_periodic)
                schedule(); // owed ticks stay owed
            else if (port == kCounterPort)
                restart();
        }
        const bool channel2 = port == kControlPort ? byte >> 6 == 2 : port == kCounterPort + 2;
        if (speaker_ && (port == kPort61 || channel2))
            speaker_->changed((port61_ & kSpeakerData) != 0);
    }

    void serialize(base::StateArchive& archive) override {
        if (speaker_ && !archive.loading())
            speaker_->catch_up();
        archive.begin(name(), 1);
        for (unsigned i = 0; i < 3; ++i)
            channels_[i].serialize(archive, "channel" + std::to_string(i) + ".", now());
        archive.field("port61", port61_);
        // A rise that is due but was not delivered before the machine came to rest is owed, too: without it a
        // guest that waits for its one-shot would wait for ever.
        int64_t owed =
            archive.loading()
                ? 0
                : std::min(owed_ticks_ + channels_[0].rises_between(last_tick_, now()), kMaxOwedTicks);
        archive.field("owed_ticks", owed);
        archive.end();
        if (archive.loading()) {
            owed_ticks_ = std::clamp<int64_t>(owed, 0, kMaxOwedTicks);
            port61_ &= kPort61Writable;
            last_tick_ = now();
            last_wake_ = 0;
            schedule();
            restart_speaker();
        }
    }

  private:
    [[nodiscard]] int64_t now() const { return pit_ticks(platform_.clock.now()); }

    void restart_speaker() {
        if (speaker_)
            speaker_->restart((port61_ & kSpeakerData) != 0);
    }

    void write_control(uint8_t value) {
        const unsigned select = value >> 6;
        if (select == kReadBack) {
            for (unsigned i = 0; i < 3; ++i) {
                if ((value & (2u << i)) == 0)
                    continue;
                if ((value & kReadBackNoCount) == 0)
                    channels_[i].latch_count(now());
                if ((value & kReadBackNoStatus) == 0)
                    channels_[i].latch_status(now());
            }
        } else if ((value & 0x30) == 0) {
            channels_[select].latch_count(now());
        } else {
            channels_[select].write_control(value);
            if (select == 0)
                restart();
        }
    }

    uint8_t read_port61() {
        const bool refresh = platform_.clock.now() / kRefreshNanos % 2 != 0;
        return static_cast<uint8_t>(port61_ | (refresh ? kRefreshToggle : 0) |
                                    (channels_[2].out(now()) ? kTimer2Out : 0));
    }

    // Channel 0 was programmed anew: OUT takes its initial level and nothing is owed.
    void restart() {
        owed_ticks_ = 0;
        last_tick_ = now();
        if (platform_.irq != nullptr)
            platform_.irq->set_irq(kTimerIrq, channels_[0].out(last_tick_));
        schedule();
    }

    // Looking at a channel lets a new count take over; the ticks of the old one are delivered first.
    void deliver_due() {
        if (platform_.clock.deadline(timer_) <= platform_.clock.now())
            tick();
    }

    void tick() {
        last_wake_ = platform_.clock.now();
        const int64_t time = now();
        owed_ticks_ = std::min(owed_ticks_ + channels_[0].rises_between(last_tick_, time), kMaxOwedTicks);
        last_tick_ = time;
        // A tick raised while the previous one still waits would be lost: owe it instead.
        if (owed_ticks_ > 0 && !platform_.irq->irq_undelivered(kTimerIrq)) {
            // DEVIATION: OUT's low time in modes 2 and 3 is not shown at IRQ0, so that a request does not
            // vanish before a guest with interrupts disabled takes it.
            platform_.irq->set_irq(kTimerIrq, false);
            platform_.irq->set_irq(kTimerIrq, true);
            --owed_ticks_;
        }
        if (channels_[0].period() == 0) // a one-shot behind a waiting request merges with it
            owed_ticks_ = 0;
        schedule();
    }

    void schedule() {
        const uint64_t nanos = platform_.clock.now();
        const int64_t rise = channels_[0].next_rise(now());
        uint64_t deadline = rise == kNoEdge ? kNever : to_nanos(rise);
        // While ticks are owed the timer runs at up to twice its rate.
        if (owed_ticks_ > 0) {
            const int64_t period = std::max<int64_t>(channels_[0].period(), 2);
            deadline = std::min(deadline, nanos + to_nanos(period / 2));
        }
        if (deadline != kNever)
            deadline = std::max(deadline, last_wake_ + kMinWakeNanos);
        platform_.clock.arm(timer_, deadline);
    }

    Platform& platform_;
    Pit8254Channel channels_[3];
    std::shared_ptr<PcSpeaker> speaker_; // null: nobody hears it
    uint8_t port61_ = 0;
    int64_t owed_ticks_ = 0; // raised by OUT but not yet shown to the 8259
    int64_t last_tick_ = 0;  // time up to which rises have been counted
    uint64_t last_wake_ = 0; // when the timer last fired
    Clock::TimerId timer_ = 0;
};

} // namespace

std::unique_ptr<Device> make_pit8254(Platform& platform) { return std::make_unique<Pit8254>(platform); }

} // namespace vmm
