#include "vmm/code_cache/contexts.h"

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
    void* shadows = mmap(nullptr, (kShadowBytes + kGuardBytes) * kCount, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shadows == MAP_FAILED)
        return base::fail("cannot reserve memory for return stacks");
    shadows_ = static_cast<uint8_t*>(shadows);
    for (unsigned i = 0; i < kCount; ++i) {
        uint8_t* stack = shadows_ + i * (kShadowBytes + kGuardBytes) + kGuardBytes;
        if (mprotect(stack, kShadowBytes, PROT_READ | PROT_WRITE) != 0)
            return base::fail("cannot set up return stacks");
        contexts_[i].table = reinterpret_cast<uint32_t*>(tables_ + i * kTableBytes);
        contexts_[i].shadow_top = reinterpret_cast<uint64_t>(stack + kShadowBytes - 64);
    }
    return {};
}

Contexts::~Contexts() {
    if (tables_ != nullptr)
        munmap(tables_, kTableBytes * kCount);
    if (shadows_ != nullptr)
        munmap(shadows_, (kShadowBytes + kGuardBytes) * kCount);
}

void Contexts::set_miss_stubs(uint32_t indirect_miss, uint32_t return_empty) {
    indirect_miss_ = indirect_miss;
    return_empty_ = return_empty;
}

void Contexts::reset(Context& context) {
    std::fill_n(context.table, kEntries, indirect_miss_);
    auto* top = reinterpret_cast<uint64_t*>(context.shadow_top);
    for (int i = 0; i < 8; ++i)
        top[i] = return_empty_;
    context.shadow_rsp = context.shadow_top;
    context.pages.fill(0);
}

Context& Contexts::select(uint64_t window, const ModeKey& key, uint32_t cs_base) {
    const auto matches = [&](const Context& c) {
        return c.live && c.window == window && c.cs_base == cs_base && c.key == key;
    };
    if (current_ != nullptr && matches(*current_))
        return *current_;
    ++tick_;
    // A system call and its return alternate between two contexts: remember where each was.
    constexpr uint64_t kMix = 0x9E3779B97F4A7C15;
    Context*& recent = recent_[((window ^ uint64_t{key.bits} << 32) * kMix) >> 60];
    static_assert(std::tuple_size_v<decltype(recent_)> == 16);
    if (recent != nullptr && matches(*recent)) {
        recent->last_used = tick_;
        return *(current_ = recent);
    }
    Context* oldest = &contexts_[0];
    for (Context& context : contexts_) {
        if (matches(context)) {
            context.last_used = tick_;
            return *(current_ = recent = &context);
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
    return *(current_ = recent = oldest);
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
            std::fill_n(context.table + ((page << 12) & 0xFFFF), 4096, indirect_miss_);
            context.shadow_rsp = context.shadow_top;
        }
    }
}

void Contexts::drop_all() {
    for (Context& context : contexts_)
        context.live = false;
    current_ = nullptr;
}

bool Contexts::in_shadow_guard(uint64_t host) const {
    const auto base = reinterpret_cast<uint64_t>(shadows_);
    if (host < base || host >= base + (kShadowBytes + kGuardBytes) * kCount)
        return false;
    return (host - base) % (kShadowBytes + kGuardBytes) < kGuardBytes;
}

} // namespace vmm
