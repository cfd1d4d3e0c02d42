// A large table that is all zeros at first and mostly stays so: its memory comes from the kernel already
// zeroed, page by page as it is touched. Filling such tables by hand was most of what starting a machine
// cost.
#pragma once
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

namespace base {

// For types whose initial value is all zero bytes (integers, pointers, std::unique_ptr).
template <class T> struct ZeroedMemory {
    using value_type = T;
    ZeroedMemory() = default;
    template <class U> ZeroedMemory(const ZeroedMemory<U>&) {}
    T* allocate(size_t count) {
        auto* memory = static_cast<T*>(std::calloc(count, sizeof(T)));
        if (memory == nullptr)
            throw std::bad_alloc();
        return memory;
    }
    void deallocate(T* memory, size_t) { std::free(memory); }
    template <class U, class... Args> void construct(U* at, Args&&... args) {
        if constexpr (sizeof...(Args) != 0)
            ::new (static_cast<void*>(at)) U(std::forward<Args>(args)...);
    }
    bool operator==(const ZeroedMemory&) const = default;
};

// Sized once: what shrinks and grows again would find old values.
template <class T> using ZeroedVector = std::vector<T, ZeroedMemory<T>>;

} // namespace base
