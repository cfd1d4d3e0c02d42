#include "vmm/memory/window_space.h"

#include "vmm/base/verify.h"
#include "vmm/memory/guest_memory.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vmm {
namespace {

constexpr int kReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

int bits(Protection protection) {
    return protection == Protection::ReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
}

// The bare system call: AddressSanitizer's wrapper clears its shadow of the whole range, 512 MiB for one
// window, each time.
void* map_pages(void* address, uint64_t bytes, int protection, int flags, int fd, uint64_t offset) {
    return reinterpret_cast<void*>(::syscall(SYS_mmap, address, bytes, protection, flags, fd, offset));
}

// Anything but the limit on mappings means that the window is no longer what we think it is; going on
// would put containment at risk.
bool done(bool success) {
    VERIFY(success || errno == ENOMEM);
    return success;
}

} // namespace

base::Result<std::unique_ptr<WindowSpace>> WindowSpace::create(unsigned slots, int fd) {
    std::unique_ptr<WindowSpace> space(new WindowSpace);
    // Up to 4 GiB of alignment, the leading guard, then the slots with their trailing guards.
    space->reserved_bytes_ = kWindowBytes + kGuardBefore + slots * kStride;
    space->reservation_ = map_pages(nullptr, space->reserved_bytes_, PROT_NONE, kReserve, -1, 0);
    if (space->reservation_ == MAP_FAILED) {
        space->reservation_ = nullptr;
        return base::fail(
            fmt::format("cannot reserve {} GiB of address space ({}); raise the limit on virtual "
                        "memory (ulimit -v)",
                        space->reserved_bytes_ >> 30, std::strerror(errno)));
    }
    const auto start = reinterpret_cast<uint64_t>(space->reservation_);
    space->first_base_ = ((start + kWindowBytes - 1) & ~(kWindowBytes - 1)) + kGuardBefore;
    space->slots_ = slots;
    space->fd_ = fd;
    return space;
}

WindowSpace::~WindowSpace() {
    if (reservation_ != nullptr)
        ::syscall(SYS_munmap, reservation_, reserved_bytes_); // as above
}

void* WindowSpace::address(unsigned slot, uint32_t page, uint32_t count) const {
    VERIFY(slot < slots_ && page <= kLinearPages && count <= kLinearPages - page);
    return reinterpret_cast<void*>(base(slot) + (uint64_t{page} << kPageShift));
}

bool WindowSpace::map(unsigned slot, uint32_t page, uint32_t count, uint32_t backing, Protection protection) {
    // A page mapped alone is about to be touched; of a longer run only a few pages may ever be.
    constexpr uint32_t kSurelyTouched = 2;
    const int populate = count <= kSurelyTouched ? MAP_POPULATE : 0;
    return done(map_pages(address(slot, page, count), uint64_t{count} << kPageShift, bits(protection),
                          MAP_SHARED | MAP_FIXED | populate, fd_,
                          uint64_t{backing} << kPageShift) != MAP_FAILED);
}

bool WindowSpace::protect(unsigned slot, uint32_t page, uint32_t count, Protection protection) {
    return done(::mprotect(address(slot, page, count), uint64_t{count} << kPageShift, bits(protection)) == 0);
}

bool WindowSpace::unmap(unsigned slot, uint32_t page, uint32_t count) {
    return done(map_pages(address(slot, page, count), uint64_t{count} << kPageShift, PROT_NONE,
                          kReserve | MAP_FIXED, -1, 0) != MAP_FAILED);
}

void WindowSpace::reset(unsigned slot) {
    // Merges into one mapping, so this never needs room; were it to fail, a hole would be left.
    VERIFY(unmap(slot, 0, kLinearPages));
}

} // namespace vmm
