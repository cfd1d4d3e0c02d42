// Ethernet frames between the guest's card and the network process: a ring of slots each way in memory that
// both map, and two bells (eventfd) rung only for an end that sleeps. Made by the player, which hands either
// end's descriptors to whom it likes; the card may be in another process than the player.
//
// Neither end trusts the other. What the other wrote is read once and checked: an impossible count or frame
// length marks the channel as broken, and the end that notices drops the other. Frames
// are copied out before anybody looks at them. The memory cannot be made smaller (seals), which would fault.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/bus/ports.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

namespace player {

class FrameChannel {
  public:
    enum class End : uint8_t { Guest, World };
    static constexpr uint32_t kSlots = 256; // a direction
    static constexpr size_t kMaxFrame = vmm::NetworkPort::kMaxFrame, kMinFrame = 14;

    // The memory, the bell that the world hears, the bell that the guest hears.
    static constexpr size_t kDescriptors = 3;
    struct Descriptors {
        base::UniqueFd memory, to_world, to_guest;
        [[nodiscard]] std::array<int, kDescriptors> numbers() const {
            return {memory.get(), to_world.get(), to_guest.get()};
        }
    };
    static base::Result<Descriptors> make();
    // Errors: these are no descriptors of a channel, or the memory cannot be mapped.
    static base::Result<FrameChannel> open(Descriptors descriptors, End end);

    FrameChannel(FrameChannel&& other) noexcept;
    FrameChannel& operator=(FrameChannel&&) = delete;
    ~FrameChannel();

    // One thread at a time, all of these. A frame is kMinFrame to kMaxFrame long; false: there is no room.
    bool put(std::span<const uint8_t> frame);
    // The next frame's length; 0: there is none.
    size_t take(std::span<uint8_t, kMaxFrame> frame);
    // Put here, and not taken over there yet.
    [[nodiscard]] uint32_t pending();
    // The bell is rung when there is something to take, or when half of the slots are free for put(). True:
    // that is so already. Asked for once, it is rung once.
    bool want_frames();
    bool want_room();
    // To wait at, and to silence.
    [[nodiscard]] int bell() const;
    void hear() const;

    // The other end does not keep to this.
    [[nodiscard]] bool broken() const { return broken_; }

    // A number of the world's for everybody to see.
    void show_sockets(uint32_t count);
    [[nodiscard]] uint32_t sockets() const;

    [[nodiscard]] const Descriptors& descriptors() const { return descriptors_; }

  private:
    struct Side;
    struct Slot;
    struct Memory;
    FrameChannel(Descriptors descriptors, Memory* memory, End end);
    void ring() const;
    uint32_t count_of_other(const std::atomic<uint32_t>& counter, uint32_t least, uint32_t most);

    Descriptors descriptors_;
    Memory* memory_;
    Side *own_, *other_;
    Slot *out_, *in_;
    End end_;
    // Counts of all frames, modulo 2^32; of those in the memory, only the other end's are read back.
    uint32_t put_ = 0, taken_ = 0;
    bool broken_ = false;
};

} // namespace player
