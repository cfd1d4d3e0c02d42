#include "vmm/code_cache/code_memory.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>

namespace vmm {

namespace {

// Tries fixed places from 512 MiB up: MAP_32BIT alone would prefer the crowded end just below 2 GiB.
void* map_below_2g(uint32_t bytes, int protection, int flags, int fd) {
    constexpr uint64_t kFirst = 0x20000000, kLast = 0x7F000000, kStep = 0x00800000;
    for (uint64_t at = kFirst; at + bytes <= kLast; at += kStep) {
        void* mapped =
            mmap(reinterpret_cast<void*>(at), bytes, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);
        if (mapped == reinterpret_cast<void*>(at))
            return mapped;
        if (mapped != MAP_FAILED)
            munmap(mapped, bytes);
    }
    return nullptr;
}

} // namespace

void* map_low(uint32_t bytes, int protection) {
    return map_below_2g(bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

base::Result<CodeMemory> CodeMemory::create(uint32_t bytes) {
    CodeMemory memory;
    memory.fd_ = base::UniqueFd(memfd_create("encore-code", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.fd_.valid() || ftruncate(memory.fd_.get(), bytes) != 0)
        return base::fail(std::string("cannot reserve memory for translated code: ") + std::strerror(errno));
    (void)fcntl(memory.fd_.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    void* writable = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd_.get(), 0);
    if (writable == MAP_FAILED)
        return base::fail(std::string("cannot map memory for translated code: ") + std::strerror(errno));
    memory.writable_ = static_cast<uint8_t*>(writable);
    memory.size_ = bytes;
    void* executable = map_below_2g(bytes, PROT_READ | PROT_EXEC, MAP_SHARED, memory.fd_.get());
    if (executable == nullptr)
        return base::fail(
            "cannot map executable memory; a security policy (SELinux execmem, noexec memfd) may "
            "forbid it: allow it for Encore");
    memory.executable_ = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(executable));
    return memory;
}

CodeMemory& CodeMemory::operator=(CodeMemory&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(writable_, other.writable_);
    std::swap(executable_, other.executable_);
    std::swap(size_, other.size_);
    return *this;
}

CodeMemory::~CodeMemory() {
    if (writable_ != nullptr)
        munmap(writable_, size_);
    if (executable_ != 0)
        munmap(reinterpret_cast<void*>(static_cast<uintptr_t>(executable_)), size_);
}

void patch_jump(CodeMemory& memory, uint32_t site, uint32_t target) {
    const auto delta = static_cast<int32_t>(target - (site + 4));
    std::memcpy(memory.writable(site), &delta, 4);
}

} // namespace vmm
