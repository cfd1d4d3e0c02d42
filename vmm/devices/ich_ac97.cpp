// Intel 82801AA (ICH) AC'97 audio controller, PCI 8086:2415 (ICH datasheet, order number 290655, chapter 13;
// "AC '97 Programmer's Reference Manual"), in a slot of its own. BAR 0 is the codec's mixer (NAM), BAR 1 the
// bus master (NABM): PCM in, PCM out and microphone, each a list of 32 buffers in guest memory.
//
// Time is the guest's: samples leave their buffers at the codec's rate by the machine's clock, in steps of at
// most kStep, and a register is brought up to date before it is read. Nothing is ever recorded: both inputs
// deliver silence.
#include "vmm/bus/platform.h"
#include "vmm/devices/ac97_codec.h"
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <array>

namespace vmm {
namespace {

constexpr unsigned kSlot = 5, kPin = 0;
constexpr unsigned kMixerBar = 0, kMasterBar = 1;
constexpr uint32_t kMixerBytes = 256, kMasterBytes = 64;
constexpr uint8_t kInterruptPin = 0x3D;

// Bus master registers, by offset in a channel (table 13-3).
constexpr unsigned kListBase = 0x0, kCurrent = 0x4, kLastValid = 0x5, kStatus = 0x6, kPosition = 0x8,
                   kPrefetched = 0xA, kControl = 0xB, kChannelBytes = 0x10;
constexpr unsigned kGlobalControl = 0x2C, kGlobalStatus = 0x30, kSemaphore = 0x34;

constexpr uint16_t kHalted = 1u << 0, kEndOfList = 1u << 1, kLastDone = 1u << 2, kBufferDone = 1u << 3,
                   kFifoError = 1u << 4;
constexpr uint16_t kStatusClears = kLastDone | kBufferDone | kFifoError;
constexpr uint8_t kRun = 1u << 0, kResetChannel = 1u << 1, kLastEnable = 1u << 2, kFifoEnable = 1u << 3,
                  kBufferEnable = 1u << 4;
constexpr uint8_t kControlKept = kLastEnable | kFifoEnable | kBufferEnable; // by a channel's reset

constexpr uint32_t kColdReset = 1u << 1, kWarmReset = 1u << 2; // cold: 0 holds the link in reset
constexpr uint32_t kControlWritable = 0x0000003F, kPrimaryReady = 1u << 8;
constexpr uint32_t kInterrupts[] = {1u << 5, 1u << 6, 1u << 7}; // PIINT, POINT, MINT

constexpr uint32_t kDescriptorIoc = 1u << 31;
constexpr unsigned kListMask = 31;

constexpr unsigned kChannels = 3, kIn = 0, kOut = 1, kMicrophone = 2;
constexpr uint64_t kStep = 5'000'000;         // ns: how much sound is handed over at a time
constexpr uint64_t kMostBehind = 500'000'000; // more than that is skipped, not played late
constexpr unsigned kBlockSamples = 2048;

class IchAc97 final : public PciDevice, public IoHandler {
  public:
    explicit IchAc97(Platform& platform) : platform_(platform) {
        set_id(0x8086, 0x2415, 0x040100, 0x02);
        config_[kInterruptPin] = kPin + 1;
        set_bar_size(kMixerBar, kMixerBytes, true);
        set_bar_size(kMasterBar, kMasterBytes, true);
        writable_[4] = 0x05; // I/O space and bus master (13.1.3)
        writable_[5] = 0x00;
        timer_ = platform.clock.add_timer("ac97", [this] { update(); });
        platform.pci.attach(kSlot, 0, this);
        reset();
    }
    ~IchAc97() override { release_ports(); }

    [[nodiscard]] std::string_view name() const override { return "ich_ac97"; }

    void reset() override {
        reset_config();
        set_word(6, 0x0280);
        codec_.reset();
        channels_ = {};
        global_control_ = 0;
        semaphore_ = 0;
        silence();
        update();
    }

    void serialize(base::StateArchive& archive) override {
        if (!archive.loading())
            update();
        archive.begin(name(), 1);
        serialize_config(archive);
        codec_.serialize(archive);
        archive.field("pcm_in", channels_[kIn]);
        archive.field("pcm_out", channels_[kOut]);
        archive.field("microphone", channels_[kMicrophone]);
        archive.field("global_control", global_control_);
        archive.field("semaphore", semaphore_);
        archive.end();
        if (!archive.loading())
            return;
        const uint64_t now = platform_.clock.now();
        for (Channel& channel : channels_) {
            channel.current &= kListMask;
            channel.last_valid &= kListMask;
            channel.prefetched &= kListMask;
            channel.status &= kHalted | kEndOfList | kStatusClears;
            channel.control &= kRun | kControlKept;
            channel.since = std::min(channel.since, now);
            channel.remainder = std::min(channel.remainder, kNanosPerSecond - 1);
            channel.loaded = channel.loaded != 0;
            std::ranges::fill(channel.unused, uint8_t{0});
        }
        global_control_ &= kControlWritable;
        semaphore_ &= 1;
        silence(); // what was on its way to the ear belongs to another moment
        update();
    }

    void bars_changed() override {
        release_ports();
        if (!io_enabled())
            return;
        // The guest chooses the addresses; where somebody else answers already, we do not.
        mixer_base_ = claim(kMixerBar, kMixerBytes, 2);
        master_base_ = claim(kMasterBar, kMasterBytes, 4);
    }

    uint32_t io_read(uint16_t port, unsigned size) override {
        if (in_mixer(port)) {
            semaphore_ = 0; // the access is complete (13.2.11)
            const uint16_t value = codec_.read((port - mixer_base_) & ~1u);
            return size == 1 ? value >> 8 * (port & 1) & 0xFF : value;
        }
        update();
        const unsigned offset = port - master_base_;
        if (offset == kSemaphore)
            return std::exchange(semaphore_, uint8_t{1});
        uint32_t value = 0;
        for (unsigned i = 0; i < size; ++i)
            value |= static_cast<uint32_t>(master_byte(offset + i)) << 8 * i;
        return value;
    }

    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        if (in_mixer(port)) {
            update(); // what was played until now had the old volume and rate
            semaphore_ = 0;
            if (size == 2)
                codec_.write(port - mixer_base_, static_cast<uint16_t>(value));
            update();
            return;
        }
        update();
        master_write(port - master_base_, size, value);
        update();
    }

  private:
    // One of the three streams, as it is saved.
    struct Channel {
        uint32_t list_base = 0;               // BDBAR
        uint32_t address = 0, descriptor = 0; // of the next sample; the current buffer's second word
        uint64_t since = 0;                   // guest time up to which samples were moved
        uint64_t remainder = 0;               // of a frame, in ns times the rate, modulo a second
        uint16_t status = kHalted;
        uint16_t left = 0; // PICB: samples of the current buffer still to go
        uint8_t current = 0, last_valid = 0, prefetched = 0, control = 0;
        uint8_t loaded = 0; // `descriptor` is that of `current`
        uint8_t unused[7] = {};
        [[nodiscard]] bool moving() const { return (control & kRun) != 0 && (status & kHalted) == 0; }
    };
    static_assert(sizeof(Channel) == 48); // no padding: its bytes are compared

    [[nodiscard]] bool in_mixer(uint16_t port) const {
        return mixer_base_ != 0 && port >= mixer_base_ && port < mixer_base_ + kMixerBytes;
    }
    uint16_t claim(unsigned index, uint32_t bytes, unsigned max_size) {
        const uint32_t base = bar(index);
        const bool fits = base != 0 && base <= 0x10000 - bytes;
        return fits && platform_.io.try_add(static_cast<uint16_t>(base), bytes, this, "ac97", max_size)
                   ? static_cast<uint16_t>(base)
                   : uint16_t{0};
    }
    void release_ports() {
        if (mixer_base_ != 0)
            platform_.io.remove(mixer_base_, kMixerBytes);
        if (master_base_ != 0)
            platform_.io.remove(master_base_, kMasterBytes);
        mixer_base_ = master_base_ = 0;
    }
    void silence() {
        if (platform_.config.audio)
            platform_.config.audio->silence();
    }

    [[nodiscard]] uint32_t rate(unsigned index) const {
        return index == kOut  ? codec_.front_rate()
               : index == kIn ? codec_.capture_rate()
                              : codec_.microphone_rate();
    }
    static unsigned samples_a_frame(unsigned index) { return index == kMicrophone ? 1 : 2; }

    // The next buffer of the list becomes the current one (13.2.1).
    void load_descriptor(Channel& channel) {
        channel.loaded = 1;
        channel.address = channel.descriptor = channel.left = 0;
        if (!bus_master_enabled())
            return;
        const uint32_t at = channel.list_base + 8u * channel.current;
        channel.address = platform_.memory.read<uint32_t>(at) & ~1u;
        channel.descriptor = platform_.memory.read<uint32_t>(at + 4);
        channel.left = static_cast<uint16_t>(channel.descriptor);
    }
    void next_buffer(Channel& channel) {
        channel.current = channel.prefetched;
        channel.prefetched = (channel.current + 1) & kListMask;
        load_descriptor(channel);
    }
    // The current buffer is done.
    void finish_buffer(Channel& channel) {
        if ((channel.descriptor & kDescriptorIoc) != 0)
            channel.status |= kBufferDone;
        if (channel.current == channel.last_valid) {
            channel.status |= kHalted | kEndOfList | kLastDone;
            channel.loaded = 0;
        } else {
            next_buffer(channel);
        }
    }

    // Where it was, at the next buffer of a list that has grown, or nowhere when there is nothing left.
    void start(Channel& channel) {
        if ((channel.status & kEndOfList) != 0 && channel.current == channel.last_valid)
            return;
        channel.status &= static_cast<uint16_t>(~(kHalted | kEndOfList));
        channel.since = platform_.clock.now();
        channel.remainder = 0;
        if (channel.loaded == 0)
            next_buffer(channel);
    }

    // Moves the samples that guest time says are due. Every step takes a sample or finishes a buffer, and a
    // list ends at the last valid one of 32, so that neither empty buffers nor odd lists go round for ever.
    void advance(unsigned index) {
        Channel& channel = channels_[index];
        const uint64_t now = platform_.clock.now();
        if (!channel.moving()) {
            channel.since = now;
            return;
        }
        const uint64_t elapsed = std::min(now - channel.since, kMostBehind);
        channel.since = now;
        const uint64_t scaled = elapsed * rate(index) + channel.remainder;
        channel.remainder = scaled % kNanosPerSecond;
        uint64_t due = scaled / kNanosPerSecond * samples_a_frame(index);
        while (channel.moving() && (due != 0 || channel.left == 0)) {
            const auto count =
                static_cast<unsigned>(std::min({due, uint64_t{channel.left}, uint64_t{kBlockSamples}}));
            if (count != 0)
                move(index, count);
            due -= count;
            if (channel.left == 0)
                finish_buffer(channel);
        }
    }

    void move(unsigned index, unsigned count) {
        Channel& channel = channels_[index];
        const uint32_t bytes = count * sizeof(int16_t);
        std::array<int16_t, kBlockSamples> block;
        if (!bus_master_enabled())
            block.fill(0);
        else if (index == kOut)
            platform_.memory.read(channel.address, block.data(), bytes);
        else {
            block.fill(0);
            platform_.memory.write(channel.address, block.data(), bytes);
        }
        channel.address += bytes;
        channel.left = static_cast<uint16_t>(channel.left - count);
        if (index != kOut || !platform_.config.audio)
            return;
        // Buffers hold whole frames; half of one, from a guest that does not know, is dropped.
        const std::span samples(block.data(), count & ~1u);
        codec_.mix(samples);
        platform_.config.audio->play(samples, rate(kOut));
    }

    // Everything that depends on time or on a register just written: samples, interrupt, timer.
    void update() {
        bool interrupt = false;
        uint64_t deadline = kNever;
        const uint64_t now = platform_.clock.now();
        for (unsigned i = 0; i < kChannels; ++i) {
            advance(i);
            interrupt |= channel_interrupts(channels_[i]);
            if (channels_[i].moving()) {
                const uint64_t frames = channels_[i].left / samples_a_frame(i) + 1;
                deadline = std::min(deadline, now + std::min(kStep, frames * kNanosPerSecond / rate(i)));
            }
        }
        platform_.pci.set_intx(kSlot, kPin, interrupt);
        platform_.clock.arm(timer_, deadline);
    }
    static bool channel_interrupts(const Channel& channel) {
        return ((channel.status & kLastDone) != 0 && (channel.control & kLastEnable) != 0) ||
               ((channel.status & kBufferDone) != 0 && (channel.control & kBufferEnable) != 0) ||
               ((channel.status & kFifoError) != 0 && (channel.control & kFifoEnable) != 0);
    }

    [[nodiscard]] uint32_t global_status() const {
        uint32_t status = (global_control_ & kColdReset) != 0 ? kPrimaryReady : 0;
        for (unsigned i = 0; i < kChannels; ++i)
            if (channel_interrupts(channels_[i]))
                status |= kInterrupts[i];
        return status;
    }

    [[nodiscard]] uint8_t master_byte(unsigned offset) const {
        if (offset >= kGlobalControl && offset < kGlobalControl + 4)
            return static_cast<uint8_t>(global_control_ >> 8 * (offset - kGlobalControl));
        if (offset >= kGlobalStatus && offset < kGlobalStatus + 4)
            return static_cast<uint8_t>(global_status() >> 8 * (offset - kGlobalStatus));
        if (offset >= kChannels * kChannelBytes)
            return 0;
        const Channel& channel = channels_[offset / kChannelBytes];
        const unsigned at = offset % kChannelBytes;
        switch (at) {
        case kCurrent:
            return channel.current;
        case kLastValid:
            return channel.last_valid;
        case kStatus:
            return static_cast<uint8_t>(channel.status);
        case kPosition:
            return static_cast<uint8_t>(channel.left);
        case kPosition + 1:
            return static_cast<uint8_t>(channel.left >> 8);
        case kPrefetched:
            return channel.prefetched;
        case kControl:
            return channel.control;
        default:
            return at < kListBase + 4 ? static_cast<uint8_t>(channel.list_base >> 8 * at) : 0;
        }
    }

    void master_write(unsigned offset, unsigned size, uint32_t value) {
        if (offset == kGlobalControl && size == 4) {
            if ((value & kColdReset) == 0 || (value & kWarmReset) != 0)
                codec_.reset();
            global_control_ = value & kControlWritable & ~kWarmReset; // a warm reset is over at once
            return;
        }
        if (offset >= kChannels * kChannelBytes)
            return;
        Channel& channel = channels_[offset / kChannelBytes];
        const unsigned at = offset % kChannelBytes;
        if (at == kListBase && size == 4) {
            if ((channel.control & kRun) == 0) // not while it runs (13.2.1)
                channel.list_base = value & ~7u;
            return;
        }
        for (unsigned i = 0; i < size; ++i)
            channel_write(channel, at + i, static_cast<uint8_t>(value >> 8 * i));
    }

    void channel_write(Channel& channel, unsigned at, uint8_t value) {
        switch (at) {
        case kLastValid:
            channel.last_valid = value & kListMask;
            if ((channel.control & kRun) != 0 && (channel.status & kEndOfList) != 0)
                start(channel); // there is more (13.2.3)
            break;
        case kStatus:
            channel.status &= static_cast<uint16_t>(~(value & kStatusClears));
            break;
        case kControl:
            control_write(channel, value);
            break;
        default: // read-only, or no register
            break;
        }
    }

    void control_write(Channel& channel, uint8_t value) {
        if ((value & kResetChannel) != 0) {
            if ((channel.control & kRun) == 0) { // 13.2.7: only while stopped
                const uint8_t kept = channel.control & kControlKept;
                channel = {};
                channel.control = kept;
            }
            return;
        }
        const bool ran = (channel.control & kRun) != 0;
        channel.control = value & (kRun | kControlKept);
        const bool runs = (channel.control & kRun) != 0;
        if (runs && !ran)
            start(channel);
        else if (!runs)
            channel.status |= kHalted;
    }

    Platform& platform_;
    Ac97Codec codec_;
    std::array<Channel, kChannels> channels_{};
    uint32_t global_control_ = 0;
    uint8_t semaphore_ = 0;
    uint16_t mixer_base_ = 0, master_base_ = 0; // 0: not claimed
    Clock::TimerId timer_ = 0;
};

} // namespace

std::unique_ptr<Device> make_ich_ac97(Platform& platform) {
    if (!platform.config.sound) // scenes of machines without it have no state for it
        return nullptr;
    return std::make_unique<IchAc97>(platform);
}

} // namespace vmm
