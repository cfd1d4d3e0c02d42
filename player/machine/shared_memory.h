// Memory that the player and the machine's process share: the picture, and a number that is looked at often.
// The player makes it and seals its size. It reads what a guest may have written, at any time, also while it
// reads: numbers are only shown, pixels are copied before anything is made of them.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <atomic>
#include <cstdint>
#include <span>

namespace machine {

class SharedMemory {
  public:
    // More than any mode of the display has.
    static constexpr uint32_t kMostPixels = 8u << 20;
    static constexpr uint32_t kUsualPixels = 1024 * 768;

    static base::Result<SharedMemory> create();
    // Errors: it is not what create() makes.
    static base::Result<SharedMemory> adopt(base::UniqueFd fd);
    SharedMemory(SharedMemory&& other) noexcept;
    SharedMemory& operator=(SharedMemory&&) = delete;
    ~SharedMemory();

    // Brings the memory of a usual picture in at once: by faults it takes ten times as long, and the first
    // picture waits for it.
    void populate() const;
    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::atomic<uint64_t>& overlay_bytes() const { return head_->overlay_bytes; }
    [[nodiscard]] std::span<uint32_t> pixels() const;

  private:
    struct Head {
        std::atomic<uint64_t> overlay_bytes;
    };
    static_assert(std::atomic<uint64_t>::is_always_lock_free);
    static base::Result<SharedMemory> map(base::UniqueFd fd);
    SharedMemory(base::UniqueFd fd, Head* head) : fd_(std::move(fd)), head_(head) {}

    base::UniqueFd fd_;
    Head* head_;
};

} // namespace machine
