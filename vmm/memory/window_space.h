// Host address space for windows, and the system calls that change what is in it. One PROT_NONE
// reservation holds all slots: a slot is 4 GiB at a multiple of 4 GiB with 4 GiB of guard before and
// after it, so that base + any signed 32-bit displacement (and any bug short of that) faults.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <memory>

namespace vmm {

enum class Protection : uint8_t { ReadOnly, ReadWrite };

class WindowSpace {
  public:
    // `fd` is the memfd that pages come from; it must outlive this.
    static base::Result<std::unique_ptr<WindowSpace>> create(unsigned slots, int fd);
    ~WindowSpace();
    WindowSpace(const WindowSpace&) = delete;
    WindowSpace& operator=(const WindowSpace&) = delete;

    [[nodiscard]] uint64_t base(unsigned slot) const { return first_base_ + slot * kStride; }

    // The following return false when the kernel has no room for another mapping (vm.max_map_count).
    // Counts are pages; page + count <= 1 Mi.
    [[nodiscard]] bool map(unsigned slot, uint32_t page, uint32_t count, uint32_t backing,
                           Protection protection);
    [[nodiscard]] bool protect(unsigned slot, uint32_t page, uint32_t count, Protection protection);
    [[nodiscard]] bool unmap(unsigned slot, uint32_t page, uint32_t count);
    void reset(unsigned slot); // the whole slot is PROT_NONE again

  private:
    static constexpr uint64_t kWindowBytes = 4ull << 30, kStride = 8ull << 30;

    WindowSpace() = default;
    [[nodiscard]] void* address(unsigned slot, uint32_t page, uint32_t count) const;

    int fd_ = -1;
    unsigned slots_ = 0;
    void* reservation_ = nullptr;
    uint64_t reserved_bytes_ = 0, first_base_ = 0;
};

} // namespace vmm
