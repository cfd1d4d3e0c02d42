// Contexts: what indirect transfers may use without asking. One per (window, mode key, CS base): a table from
// 16 bits made of EIP to a block's entry (which checks the whole EIP), and a host stack that pairs
// translated calls with returns. Keeping these apart by context is what makes them safe: nothing translated
// for one privilege or address space can be reached from another.
//
// Such a stack may have a call-out standing on it whenever C++ runs, so nothing here moves its pointer but
// select(), which is called between blocks. Above its top lies a page that nobody can write, whose entries
// lead to the miss stub: what an empty stack answers.
#pragma once
#include "vmm/arch/mode_key.h"
#include "vmm/base/result.h"

#include <array>
#include <cstdint>
#include <vector>

namespace vmm {

struct Context {
    uint64_t window = 0; // identity of the window instance
    ModeKey key;
    uint32_t cs_base = 0;
    uint32_t* table = nullptr; // 65536 host addresses
    uint64_t shadow_top = 0, shadow_rsp = 0;
    uint64_t last_used = 0;
    bool live = false;
    bool returns_stale = false;       // the stack counts as empty; it is made so at the next select()
    std::array<uint64_t, 64> pages{}; // hashed set of the linear pages code was reached on

    // Of pages with table entries, or with code that left a landing on the stack.
    [[nodiscard]] bool may_have(uint32_t page) const { return (pages[(page >> 6) & 63] >> (page & 63)) & 1; }
    void note(uint32_t page) { pages[(page >> 6) & 63] |= uint64_t{1} << (page & 63); }
};

class Contexts {
  public:
    static constexpr unsigned kCount = 32;
    static constexpr uint64_t kSharedRoot = 2;
    static constexpr unsigned kEntries = 65536;
    static constexpr uint64_t kShadowBytes = 32768;

    ~Contexts();
    base::Result<void> create();
    // Stub addresses every unknown table entry and every empty shadow stack leads to.
    void set_miss_stubs(uint32_t indirect_miss, uint32_t return_empty);

    Context& select(uint64_t window, const ModeKey& key, uint32_t cs_base);
    // Functions begin at multiples of 16, so the low half alone would use a sixteenth of the table. A page's
    // addresses stay side by side.
    [[nodiscard]] static constexpr uint32_t index_of(uint32_t eip) {
        return (eip + (eip >> 16)) & (kEntries - 1);
    }
    void set(Context& context, uint32_t eip, uint32_t entry) {
        context.table[index_of(eip)] = entry;
        context.note((context.cs_base + eip) >> 12);
    }

    // The mapping of linear pages changed for a window: forget what was known through it.
    void drop_pages(uint64_t window, uint32_t first, uint32_t count);
    void drop_all();
    // True for addresses in the guard page below a shadow stack (its owner ran out of room).
    [[nodiscard]] bool in_shadow_guard(uint64_t host) const;
    // In the page above one.
    [[nodiscard]] bool in_shadow_sentinels(uint64_t host) const;
    // May a context's stack pointer be there?
    [[nodiscard]] static bool in_bounds(const Context& context, uint64_t shadow_rsp) {
        return context.shadow_top - shadow_rsp <= kShadowBytes && shadow_rsp % 8 == 0;
    }

  private:
    void reset(Context& context);
    Context& take(Context& context);
    static constexpr uint64_t kGuardBytes = 4096, kSentinelBytes = 4096,
                              kStride = kGuardBytes + kShadowBytes + kSentinelBytes;

    std::array<Context, kCount> contexts_{};
    uint8_t* tables_ = nullptr;
    uint8_t* shadows_ = nullptr;
    uint32_t indirect_miss_ = 0;
    uint64_t tick_ = 0;
    Context* current_ = nullptr;
    std::array<Context*, 16> recent_{};
};

} // namespace vmm
