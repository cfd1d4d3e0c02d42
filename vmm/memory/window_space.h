// Host address space for windows, and the system calls that change what is in it. One PROT_NONE
// reservation holds all slots: a slot is 4 GiB at a multiple of 4 GiB with guards before and after it, as
// wide as translated code can reach. That is, from the window's base: a 32-bit register (the biased ESP with
// its largest step included), another times eight, a signed 32-bit displacement and a signed bit offset of 32
// bits, all added in 64. So what does not come to an address of this window comes to none of another's.
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

    // Can an operand that starts from this base touch that address?
    [[nodiscard]] static bool reaches(uint64_t base, uint64_t address) {
        return address - (base - kGuardBefore) < kGuardBefore + kStride;
    }
    [[nodiscard]] uint64_t base(unsigned slot) const { return first_base_ + slot * kStride; }

    // The following return false when the kernel has no room for another mapping (vm.max_map_count).
    // Counts are pages; page + count <= 1 Mi.
    [[nodiscard]] bool map(unsigned slot, uint32_t page, uint32_t count, uint32_t backing,
                           Protection protection);
    [[nodiscard]] bool protect(unsigned slot, uint32_t page, uint32_t count, Protection protection);
    [[nodiscard]] bool unmap(unsigned slot, uint32_t page, uint32_t count);
    void reset(unsigned slot); // the whole slot is PROT_NONE again

  private:
    static constexpr uint64_t kGiB = 1ull << 30, kWindowBytes = 4 * kGiB, kGuardBefore = 4 * kGiB,
                              kStride = 40 * kGiB;
    // Register, register times eight, displacement, bit offset, and the operand with what ESP may be off.
    static_assert(4 * kGiB + 8 * 4 * kGiB + 2 * kGiB + kGiB / 4 + kGiB / 4 <= kStride);
    static_assert(2 * kGiB + kGiB / 4 + kGiB / 4 <= kGuardBefore && kGuardBefore <= kStride - kWindowBytes);

    WindowSpace() = default;
    [[nodiscard]] void* address(unsigned slot, uint32_t page, uint32_t count) const;

    int fd_ = -1;
    unsigned slots_ = 0;
    void* reservation_ = nullptr;
    uint64_t reserved_bytes_ = 0, first_base_ = 0;
};

} // namespace vmm
