#include "player/frame_channel.h"

#include "vmm/base/bell.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace player {

// Written by its own end, but for the two wishes, which the other takes back when it rings.
struct alignas(4096) FrameChannel::Side {
    std::atomic<uint32_t> put, taken;
    alignas(64) std::atomic<uint32_t> wants_frames, wants_room;
    alignas(64) std::atomic<uint32_t> sockets;
};
struct FrameChannel::Slot {
    uint32_t length;
    std::array<uint8_t, 2044> bytes;
};
struct FrameChannel::Memory {
    Side guest, world;
    std::array<Slot, kSlots> to_world, to_guest;
};

namespace {

constexpr unsigned kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

} // namespace

base::Result<FrameChannel::Descriptors> FrameChannel::make() {
    Descriptors made{base::UniqueFd(::memfd_create("frames", MFD_CLOEXEC | MFD_ALLOW_SEALING)),
                     base::make_bell(), base::make_bell()};
    if (!made.memory.valid() || !made.to_world.valid() || !made.to_guest.valid() ||
        ::ftruncate(made.memory.get(), sizeof(Memory)) != 0 ||
        ::fcntl(made.memory.get(), F_ADD_SEALS, kSeals) != 0)
        return base::fail(fmt::format("no memory to pass frames through: {}", std::strerror(errno)));
    return made;
}

base::Result<FrameChannel> FrameChannel::open(Descriptors descriptors, End end) {
    static_assert(std::atomic<uint32_t>::is_always_lock_free);
    struct stat info {};
    const int seals = ::fcntl(descriptors.memory.get(), F_GET_SEALS);
    if (::fstat(descriptors.memory.get(), &info) != 0 || info.st_size != sizeof(Memory) || seals < 0 ||
        (static_cast<unsigned>(seals) & kSeals) != kSeals)
        return base::fail("what was handed over to pass frames through is no memory for that");
    void* memory =
        ::mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED, descriptors.memory.get(), 0);
    if (memory == MAP_FAILED)
        return base::fail(fmt::format("no memory to pass frames through: {}", std::strerror(errno)));
    return FrameChannel(std::move(descriptors), static_cast<Memory*>(memory), end);
}

FrameChannel::FrameChannel(Descriptors descriptors, Memory* memory, End end)
    : descriptors_(std::move(descriptors)), memory_(memory),
      own_(end == End::Guest ? &memory->guest : &memory->world),
      other_(end == End::Guest ? &memory->world : &memory->guest),
      out_(end == End::Guest ? memory->to_world.data() : memory->to_guest.data()),
      in_(end == End::Guest ? memory->to_guest.data() : memory->to_world.data()), end_(end) {}

FrameChannel::FrameChannel(FrameChannel&& other) noexcept
    : descriptors_(std::move(other.descriptors_)), memory_(std::exchange(other.memory_, nullptr)),
      own_(other.own_), other_(other.other_), out_(other.out_), in_(other.in_), end_(other.end_),
      put_(other.put_), taken_(other.taken_), broken_(other.broken_) {}

FrameChannel::~FrameChannel() {
    if (memory_ != nullptr)
        ::munmap(memory_, sizeof(Memory));
}

// The other's count of frames since the one that is known to be true, `least`.
uint32_t FrameChannel::count_of_other(const std::atomic<uint32_t>& counter, uint32_t least, uint32_t most) {
    const uint32_t count = counter.load(std::memory_order_acquire) - least;
    if (count > most)
        broken_ = true;
    return broken_ ? 0 : count;
}

uint32_t FrameChannel::pending() {
    // What it has taken lies between all that was put and kSlots less.
    const uint32_t free = count_of_other(other_->taken, put_ - kSlots, kSlots);
    return kSlots - free;
}

bool FrameChannel::put(std::span<const uint8_t> frame) {
    if (pending() == kSlots || frame.size() < kMinFrame || frame.size() > kMaxFrame)
        return false;
    Slot& slot = out_[put_ % kSlots];
    slot.length = static_cast<uint32_t>(frame.size());
    std::memcpy(slot.bytes.data(), frame.data(), frame.size());
    own_->put.store(++put_, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst); // against want_frames() over there
    if (other_->wants_frames.load(std::memory_order_relaxed) != 0 && other_->wants_frames.exchange(0) != 0)
        ring();
    return true;
}

size_t FrameChannel::take(std::span<uint8_t, kMaxFrame> frame) {
    const uint32_t waiting = count_of_other(other_->put, taken_, kSlots);
    if (waiting == 0)
        return 0;
    const Slot& slot = in_[taken_ % kSlots];
    const uint32_t length =
        std::atomic_ref(const_cast<uint32_t&>(slot.length)).load(std::memory_order_relaxed);
    if (length < kMinFrame || length > kMaxFrame) {
        broken_ = true;
        return 0;
    }
    std::memcpy(frame.data(), slot.bytes.data(), length);
    own_->taken.store(++taken_, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiting - 1 <= kSlots / 2 && other_->wants_room.load(std::memory_order_relaxed) != 0 &&
        other_->wants_room.exchange(0) != 0)
        ring();
    return length;
}

bool FrameChannel::want_frames() {
    own_->wants_frames.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return count_of_other(other_->put, taken_, kSlots) != 0;
}

bool FrameChannel::want_room() {
    own_->wants_room.store(1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return pending() <= kSlots / 2;
}

int FrameChannel::bell() const {
    return end_ == End::Guest ? descriptors_.to_guest.get() : descriptors_.to_world.get();
}

void FrameChannel::hear() const { base::hear(bell()); }

void FrameChannel::ring() const {
    base::ring(end_ == End::Guest ? descriptors_.to_world.get() : descriptors_.to_guest.get());
}

void FrameChannel::show_sockets(uint32_t count) { own_->sockets.store(count, std::memory_order_relaxed); }

uint32_t FrameChannel::sockets() const { return memory_->world.sockets.load(std::memory_order_relaxed); }

} // namespace player
