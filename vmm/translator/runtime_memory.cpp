#include "vmm/translator/runtime_memory.h"

#include "vmm/code_cache/code_memory.h"
#include "vmm/memory/guest_memory.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace vmm {

namespace {

constexpr int kReserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
constexpr uint64_t kGuardBytes = (uint64_t{1} << 32) + kPageSize; // the last load may run over the end

void* map_at(uint64_t address, uint64_t bytes, int protection) {
    void* mapped =
        mmap(reinterpret_cast<void*>(address), bytes, protection, kReserve | MAP_FIXED_NOREPLACE, -1, 0);
    if (mapped == MAP_FAILED || mapped == reinterpret_cast<void*>(address))
        return mapped == MAP_FAILED ? nullptr : mapped;
    munmap(mapped, bytes); // a kernel that takes the address for a hint
    return nullptr;
}

// Does every page of the range fault when read?
bool inaccessible(uint64_t first, uint64_t bytes) {
    for (uint64_t page = first; page < first + bytes; page += kPageSize) {
        char byte;
        const iovec to{&byte, 1}, from{reinterpret_cast<void*>(page), 1};
        if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) >= 0 || errno != EFAULT)
            return false;
    }
    return true;
}

} // namespace

base::Result<std::unique_ptr<RuntimeMemory>> RuntimeMemory::create() {
    auto memory = std::make_unique<RuntimeMemory>();
    // As high below 2 GiB as it goes: the guard begins right after it, and everything else that must be low
    // has to find its place before it.
    constexpr uint64_t kHighest = 0x7FF00000;
    if (void* high = map_at(kHighest, kAnchor, PROT_READ | PROT_WRITE); high != nullptr) {
        memory->low_ = static_cast<uint8_t*>(high);
        memory->guard_ = map_at(kHighest + kAnchor, kGuardBytes, PROT_NONE);
    } else {
        memory->low_ = static_cast<uint8_t*>(map_low(kAnchor, PROT_READ | PROT_WRITE));
    }
    if (memory->low_ == nullptr)
        return base::fail("cannot reserve memory below 2 GiB for the virtual processor");
    memory->runtime_ = new (memory->low_) Runtime;
    void* traps = mmap(nullptr, 2 * kPageSize, PROT_NONE, kReserve, -1, 0);
    if (traps == MAP_FAILED)
        return base::fail(std::string("cannot reserve address space: ") + std::strerror(errno));
    memory->traps_ = traps;
    TRY(memory->map_limit_traps());
    return memory;
}

// Where the inline limit check's load goes on a violation; see BlockTranslator::check_limit.
base::Result<void> RuntimeMemory::map_limit_traps() {
    for (unsigned i = 0; i < limit_traps_.size(); ++i) {
        const uint64_t first =
            (reinterpret_cast<uint64_t>(low_) + 8 * kLimitTrapIndexes[i]) & ~uint64_t{kPageSize - 1};
        limit_trap_owned_[i] = map_at(first, kLimitTrapBytes, PROT_NONE) != nullptr;
        // AddressSanitizer has reserved this part of the address space in the same way.
        if (!limit_trap_owned_[i] && !inaccessible(first, kLimitTrapBytes))
            return base::fail("cannot reserve address space for limit checks: it is in use");
        limit_traps_[i] = first;
    }
    return {};
}

RuntimeMemory::~RuntimeMemory() {
    for (unsigned i = 0; i < limit_traps_.size(); ++i)
        if (limit_trap_owned_[i])
            munmap(reinterpret_cast<void*>(limit_traps_[i]), kLimitTrapBytes);
    if (traps_ != nullptr)
        munmap(traps_, 2 * kPageSize);
    if (guard_ != nullptr)
        munmap(guard_, kGuardBytes);
    if (runtime_ != nullptr)
        runtime_->~Runtime();
    if (low_ != nullptr)
        munmap(low_, kAnchor);
}

void RuntimeMemory::let_polls_pass(bool pass) {
    mprotect(low_ + kRuntimeBytes, kPollPageBytes, pass ? PROT_READ | PROT_WRITE : PROT_NONE);
}

RuntimeMemory::Place RuntimeMemory::place_of(uint64_t address) const {
    constexpr uint64_t kArrivalBytes = -kArrival;
    if (address - (anchor() - kArrivalBytes) < kArrivalBytes)
        return Place::Arrival;
    if (address - (anchor() - kPollPageBytes) < kPollPageBytes)
        return Place::Poll;
    if (guard_ != nullptr && address - anchor() < kGuardBytes)
        return Place::Guard;
    for (const uint64_t trap : limit_traps_)
        if (address - trap < kLimitTrapBytes)
            return Place::Limit;
    return Place::Elsewhere;
}

unsigned RuntimeMemory::segment_of_limit(uint64_t address) const {
    for (unsigned i = 0; i < limit_traps_.size(); ++i)
        if (address - limit_traps_[i] < kLimitTrapBytes)
            return static_cast<unsigned>(
                (address - reinterpret_cast<uint64_t>(low_) - 8 * kLimitTrapIndexes[i]) / kLimitTrapStride);
    return 0;
}

} // namespace vmm
