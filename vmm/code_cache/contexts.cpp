#include "vmm/code_cache/contexts.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

namespace vmm {

static constexpr size_t kTableBytes = Contexts::kEntries * sizeof(uint32_t);

base::Result<void> Contexts::create() {
    void* tables = mmap(nullptr, kTableBytes * kCount, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (tables == MAP_FAILED)
        return base::fail("cannot reserve memory for jump tables");
    tables_ = static_cast<uint8_t*>(tables);
    void* shadows =
        mmap(nullptr, kStride * kCount, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadows == MAP_FAILED)
        return base::fail("cannot reserve memory for return stacks");
    shadows_ = static_cast<uint8_t*>(shadows);
    for (unsigned i = 0; i < kCount; ++i) {
        uint8_t* stack = shadows_ + i * kStride + kGuardBytes;
        if (mprotect(stack, kShadowBytes, PROT_READ | PROT_WRITE) != 0)
            return base::fail("cannot set up return stacks");
        contexts_[i].table = reinterpret_cast<uint32_t*>(tables_ + i * kTableBytes);
        contexts_[i].shadow_top = reinterpret_cast<uint64_t>(stack + kShadowBytes);
    }
    return {};
}

Contexts::~Contexts() {
    if (tables_ != nullptr)
        munmap(tables_, kTableBytes * kCount);
    if (shadows_ != nullptr)
        munmap(shadows_, kStride * kCount);
}

void Contexts::set_miss_stubs(uint32_t indirect_miss, uint32_t return_empty) {
    indirect_miss_ = indirect_miss;
    for (Context& context : contexts_) {
        auto* top = reinterpret_cast<uint64_t*>(context.shadow_top);
        VERIFY(mprotect(top, kSentinelBytes, PROT_READ | PROT_WRITE) == 0);
        std::fill_n(top, kSentinelBytes / sizeof *top, return_empty);
        VERIFY(mprotect(top, kSentinelBytes, PROT_READ) == 0);
    }
}

void Contexts::reset(Context& context) {
    std::fill_n(context.table, kEntries, indirect_miss_);
    context.returns_stale = true;
    context.pages.fill(0);
}

Context& Contexts::take(Context& context) {
    if (context.returns_stale) {
        context.returns_stale = false;
        context.shadow_rsp = context.shadow_top;
    }
    return *(current_ = &context);
}

Context& Contexts::select(uint64_t window, const ModeKey& key, uint32_t cs_base) {
    const auto matches = [&](const Context& c) {
        return c.live && c.window == window && c.cs_base == cs_base && c.key == key;
    };
    if (current_ != nullptr && matches(*current_))
        return take(*current_);
    ++tick_;
    // A system call and its return alternate between two contexts: remember where each was.
    constexpr uint64_t kMix = 0x9E3779B97F4A7C15;
    Context*& recent = recent_[((window ^ uint64_t{key.bits} << 32) * kMix) >> 60];
    static_assert(std::tuple_size_v<decltype(recent_)> == 16);
    if (recent != nullptr && matches(*recent)) {
        recent->last_used = tick_;
        return take(*recent);
    }
    Context* oldest = &contexts_[0];
    for (Context& context : contexts_) {
        if (matches(context)) {
            context.last_used = tick_;
            return take(*(recent = &context));
        }
        if (!context.live || (oldest->live && context.last_used < oldest->last_used))
            oldest = &context;
    }
    oldest->window = window;
    oldest->key = key;
    oldest->cs_base = cs_base;
    oldest->last_used = tick_;
    oldest->live = true;
    reset(*oldest);
    return take(*(recent = oldest));
}

void Contexts::drop_pages(uint64_t window, uint32_t first, uint32_t count) {
    constexpr uint32_t kMany = 4096;
    for (Context& context : contexts_) {
        if (!context.live || context.window != window)
            continue;
        if (count > kMany) {
            reset(context);
            continue;
        }
        for (uint32_t page = first; page < first + count; ++page) {
            if (!context.may_have(page))
                continue;
            if (context.cs_base != 0) {
                reset(context);
                break;
            }
            constexpr uint32_t kAddresses = 4096;
            const uint32_t first_index = index_of(page << 12);
            const uint32_t before_end = std::min(kAddresses, kEntries - first_index);
            std::fill_n(context.table + first_index, before_end, indirect_miss_);
            std::fill_n(context.table, kAddresses - before_end, indirect_miss_);
            context.returns_stale = true;
        }
    }
}

void Contexts::drop_all() {
    for (Context& context : contexts_)
        context.live = false;
    current_ = nullptr;
}

bool Contexts::in_shadow_guard(uint64_t host) const {
    const uint64_t distance = host - reinterpret_cast<uint64_t>(shadows_);
    return distance < kStride * kCount && distance % kStride < kGuardBytes;
}

bool Contexts::in_shadow_sentinels(uint64_t host) const {
    const uint64_t distance = host - reinterpret_cast<uint64_t>(shadows_);
    return distance < kStride * kCount && distance % kStride >= kGuardBytes + kShadowBytes;
}

} // namespace vmm
