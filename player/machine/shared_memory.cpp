#include "player/machine/shared_memory.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>

namespace machine {
namespace {

constexpr size_t kPixelsAt = 4096;
constexpr size_t kSize = kPixelsAt + size_t{SharedMemory::kMostPixels} * sizeof(uint32_t);
// If the other process could shrink it, reading it would raise SIGBUS.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

} // namespace

base::Result<SharedMemory> SharedMemory::create() {
    base::UniqueFd fd(::memfd_create("encore-picture", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd.valid() || ::ftruncate(fd.get(), kSize) != 0 || ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0)
        return base::fail(fmt::format("cannot make memory for the picture: {}", std::strerror(errno)));
    return map(std::move(fd));
}

base::Result<SharedMemory> SharedMemory::adopt(base::UniqueFd fd) {
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0 || status.st_size != static_cast<off_t>(kSize) ||
        ::fcntl(fd.get(), F_GET_SEALS) != kSeals)
        return base::fail("the memory for the picture is not what it should be");
    return map(std::move(fd));
}

base::Result<SharedMemory> SharedMemory::map(base::UniqueFd fd) {
    void* view = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
    if (view == MAP_FAILED)
        return base::fail(fmt::format("cannot map memory for the picture: {}", std::strerror(errno)));
    return SharedMemory(std::move(fd), new (view) Head);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)), head_(std::exchange(other.head_, nullptr)) {}

SharedMemory::~SharedMemory() {
    if (head_ != nullptr)
        ::munmap(head_, kSize);
}

void SharedMemory::populate() const {
    // Where this fails, faults do it.
    ::mmap(head_, kPixelsAt + size_t{kUsualPixels} * sizeof(uint32_t), PROT_READ | PROT_WRITE,
           MAP_SHARED | MAP_NORESERVE | MAP_FIXED | MAP_POPULATE, fd_.get(), 0);
}

std::span<uint32_t> SharedMemory::pixels() const {
    return {reinterpret_cast<uint32_t*>(reinterpret_cast<uint8_t*>(head_) + kPixelsAt), kMostPixels};
}

} // namespace machine
