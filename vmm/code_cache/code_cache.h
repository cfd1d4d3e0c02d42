// Translated blocks: where they are, how they are found, how they are chained, and how they die.
//
// A block is known by (memfd page, offset in it, EIP, mode key), so address spaces share it. Direct exits
// are links: jumps patched to the target's body, and back to their stub when the target dies. A dead
// block's code stays in place until the whole cache is flushed; its entry and its return landings are
// overwritten with jumps to the miss stubs, so stale table entries and host return addresses are safe.
//
// A block that dies because its guest code is about to change is *dormant*: when the same bytes stand there
// again and are to run (after a revert, say), it is put back as it was instead of being made once more, so
// that neither a revert nor a guest that loads the same code again and again takes more of the cache.
#pragma once
#include "vmm/arch/mode_key.h"
#include "vmm/base/zeroed_vector.h"
#include "vmm/code_cache/code_memory.h"
#include "vmm/code_cache/link_stub.h"
#include "vmm/code_cache/sites.h"
#include "vmm/memory/guest_memory.h"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace vmm {

struct Block;

struct Link {
    Block* from = nullptr;
    Block* to = nullptr;
    uint32_t target_eip = 0;
    uint32_t site = 0; // host address of the rel32 to patch
    uint32_t stub = 0; // host address of the unlinked path
    bool call = false;
    bool crosses = false; // to another page: see PageLinks
    Link* next_incoming = nullptr;
    Link** incoming_at = nullptr; // what points here in the target's list
};

// Host offset in the block -> guest instruction that code belongs to (its offset from the block's first), and
// what ESP is beyond its register there.
struct SidePoint {
    uint16_t host = 0;
    uint16_t guest = 0;
    int16_t stack = 0;
    static constexpr int kStackUnit = 4, kFarthestStack = 127 * kStackUnit;
};

// What in a block's code depends on where it is, or on its EIP: see relocation.cpp.
struct Fixup {
    enum class Kind : uint8_t {
        Eip,        // dword that holds an EIP
        MinusEip,   // dword that holds the negative of one
        BranchOut,  // rel32 of a branch to a stub
        TableEntry, // disp32 of the load of a jump-table entry; the move of the EIP stands right before that
    };
    uint16_t at = 0; // in the block
    Kind kind = Kind::Eip;
};

struct Block {
    ModeKey key;
    uint32_t eip = 0;
    uint32_t backing = 0;        // memfd page of the first byte
    uint32_t second_backing = 0; // of the page the last instruction runs into; kNoPage if none
    uint16_t offset = 0;         // in the page
    uint16_t guest_bytes = 0;
    uint32_t entry = 0; // host address for indirect arrivals: checks the EIP that comes
    uint32_t body = 0;  // host address past that check
    uint32_t host_end = 0;
    uint32_t side_first = 0, side_count = 0;
    uint32_t landing_first = 0, landing_count = 0;
    uint32_t link_first = 0, link_count = 0;
    uint32_t fixup_first = 0, fixup_count = 0;
    bool relocatable = false; // its fixups say all
    bool whole = false;       // made as long as can be, which a loop deserves
    uint32_t marks = 0;       // CodeCache::marks_within() when it was made
    bool valid = true;
    bool global = false; // on a global page, under a shared supervisor context
    Link* incoming = nullptr;
    Block* hash_next = nullptr;
};

// What it takes to put a dead block back.
struct DormantBlock {
    Block* block = nullptr;
    std::vector<uint8_t> guest; // the bytes it was made from
    std::vector<uint8_t> host; // what the jumps to the miss stubs replaced: kJumpBytes for entry and landings
};

// A place on a page and its number in Sites.
struct Mark {
    uint16_t offset = 0, number = 0;
};

// What is known about one memfd page that code was translated from.
struct CodePage {
    std::vector<Block*> blocks;
    std::vector<DormantBlock> dormant; // those that begin here; the oldest first
    // By Sites::Kind, in order of offset: instructions whose memory goes through call-outs; those whose
    // address wraps at 4 GiB; addresses where indirect transfers and returns often arrive by mistake.
    std::array<std::vector<Mark>, static_cast<size_t>(Sites::Kind::Count)> marks;
    // How often stores have taken all of its code away of late, and when they last did.
    uint8_t strikes = 0;
    Sites::Microseconds struck = 0;
    // Stores by call-out that it was left write-protected for, and how many of them it takes to try without
    // its code.
    uint32_t bystanders = 0;
    uint8_t patience = 0;
};

// Sees what patches have made of checked code, before it can run.
class PatchCheck {
  public:
    virtual ~PatchCheck() = default;
    // The branch at `address` leads to `target` from now on.
    virtual void branch_patched(const uint8_t* bytes, uint32_t address, uint32_t size, uint32_t target) = 0;
    // The stub of a link is another.
    virtual void stub_patched(const uint8_t* bytes, uint32_t address, uint32_t size) = 0;
    virtual void block_copied(const Block& original, const Block& copy) = 0;
};

class CodeCache {
  public:
    // `guest` is the content of memfd page 0; of the `backing_pages`, only those below `readable_pages` can
    // be read there.
    static base::Result<std::unique_ptr<CodeCache>> create(uint32_t bytes, uint64_t backing_pages,
                                                           const uint8_t* guest, uint64_t readable_pages);

    CodeMemory& memory() { return memory_; }
    // Stubs are emitted once at the start and survive flushes.
    void set_stub_end(uint32_t host);
    void set_exit_stubs(uint32_t indirect_miss, uint32_t return_miss, uint32_t leave_link,
                        const LinkStub& link_stub);

    [[nodiscard]] uint32_t cursor() const { return cursor_; }
    [[nodiscard]] uint32_t room() const { return memory_.executable() + memory_.size() - cursor_; }

    [[nodiscard]] uint32_t used() const { return cursor_ - memory_.executable(); }

    Block* find(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key);
    Block* find_host(uint64_t host); // the block whose code contains that address (dead ones too)
    [[nodiscard]] uint32_t guest_eip(const Block& block, uint64_t host) const {
        return block.eip + side_point(block, host).guest;
    }
    // The last one at or before that address.
    [[nodiscard]] SidePoint side_point(const Block& block, uint64_t host) const;

    void set_patch_check(PatchCheck* check) { patch_check_ = check; } // null: none

    // Commits a finished block: code at [cursor, host_end), side tables appended by the caller first.
    Block* add(const Block& block);
    // Where the instructions of a block begin; remembers them for side_point(). In order of host offset.
    void set_side_points(Block& block, std::span<const SidePoint> points);
    std::vector<uint32_t> landings;
    std::deque<Link> links;
    std::deque<Fixup> fixups;

    void link(Link& link, Block& target);
    bool unlink(Link& link); // false: it was not linked
    // For targets that must not be entered directly (they span pages): the stub looks them up in the
    // context's jump table from now on.
    void link_through_table(Link& link);
    // It shall be made anew in another way, and is dormant until it is to be as it was.
    void remake(Block& block);
    // Those under ModeKey::kBreakpoints of which `doomed` is true. They never lie dormant, for what they were
    // made around changes.
    template <class F> void invalidate_breakpoint_blocks(F&& doomed) {
        std::erase_if(breakpoint_blocks_, [&](Block* block) {
            if (block->valid && doomed(*block))
                invalidate(*block);
            return !block->valid;
        });
    }
    // All blocks of the page. It holds what they were made from still; they are dormant.
    void invalidate_page(uint32_t backing);
    // The same for blocks made from any byte of [offset, offset+length) of the page; true if any died.
    bool invalidate_range(uint32_t backing, uint32_t offset, uint32_t length);
    // Puts the dormant block back that was made from the bytes that stand there now, and with the marks there
    // are now; null: there is none. One whose last instruction runs into another page needs that page's
    // number
    // (`second_page` is asked only then; kNoPage: do not).
    Block* revive(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key, bool global,
                  const std::function<uint32_t()>& second_page);
    // A copy, for that EIP, of the block that was made from the same bytes for another one: one page of a
    // shared library is at many addresses. Null: there is none that can be copied.
    Block* copy(uint32_t backing, uint16_t offset, uint32_t eip, const ModeKey& key, bool global, bool whole);
    // Where the EIPs of relocatable blocks are: far from where they wrap.
    [[nodiscard]] static constexpr bool relocatable_at(uint32_t eip) {
        return eip >= 0x00100000 && eip < 0xF8000000;
    }
    // For good: another block is about to be made of its bytes.
    void replace(Block& block) { invalidate(block); }
    void flush();

    CodePage* page(uint32_t backing) { return pages_[backing].get(); }
    CodePage& page_or_new(uint32_t backing);
    [[nodiscard]] bool has_blocks(uint32_t backing) const {
        return pages_[backing] != nullptr && !pages_[backing]->blocks.empty();
    }
    // A store took all code of the page away. True: that happens again and again just now.
    bool strike(uint32_t backing, Sites::Microseconds now);
    // A store by call-out left code on the page alone. True: often enough to try without that code, which
    // comes back if it is run.
    bool store_beside_code(uint32_t backing);

    // -- marks (marks.cpp) -----------------------------------------------------------------------------
    Sites sites;
    // The mark of a place, 0 if it is to be made in the plain form.
    uint16_t mark_at(const Sites::Place& place);
    // Has anything in it been marked, or unmarked, since it was made?
    [[nodiscard]] bool marked_since(const Block& block) const { return block.marks != marks_within(block); }
    // From the next translation on; blocks made so far stay.
    void mark(const Sites::Place& place, Sites::Reason reason, Sites::Microseconds now);
    // Back to the plain form, and so are blocks from their next run on; true if any were live.
    bool unmark(uint16_t number, Sites::Microseconds now);

    struct Statistics {
        uint64_t blocks = 0, copied = 0, revived = 0, flushes = 0, invalidated = 0, host_bytes = 0,
                 guest_bytes = 0, links = 0, dormant = 0, dormant_dropped = 0, mixed_pages = 0,
                 code_dropped = 0;
    };
    Statistics statistics;

  private:
    // EIP belongs in the hash: one page of a shared library is translated at many addresses (ASLR).
    static size_t hash(uint32_t backing, uint16_t offset, uint32_t eip, uint32_t bits) {
        uint64_t h = (uint64_t{backing} << 12 | offset) * 0x9E3779B97F4A7C15ull;
        h ^= (uint64_t{bits} << 32 | eip) * 0xC2B2AE3D27D4EB4Full;
        return static_cast<size_t>(h >> 40) & (kBuckets - 1);
    }
    static constexpr size_t kBuckets = 1u << 17;
    static constexpr size_t kJumpBytes = 5;
    // Bounds on what is kept for blocks that may never come back: a guest can write code for ever.
    static constexpr size_t kMaxDormantOfPage = 256, kMaxDormant = 16384;

    void patch_link(const Link& link, uint32_t target);
    void overwrite_with_jump(uint32_t at, uint32_t target);
    void enlist(Block& block);
    void invalidate(Block& block); // for good
    void keep_dormant(Block& block);
    void thin_out_dormant();
    // The block's bytes are those at `bytes`, and its pages can be read.
    [[nodiscard]] bool holds(const Block& block, const std::vector<uint8_t>& bytes) const;
    // Marks of the page within a block's bytes, as a number to compare: they decide how code is made.
    [[nodiscard]] uint32_t marks_within(const Block& block) const;
    // The first bytes of what stands at a place, to know it again by.
    [[nodiscard]] uint32_t bytes_at(const Sites::Place& place) const;
    bool erase_mark(const Sites::Place& place);
    // Where jumps to the miss stubs go when the block dies: its entry, then its landings.
    template <class F> void for_each_arrival(const Block& block, F&& function) const {
        function(block.entry);
        for (uint32_t i = 0; i < block.landing_count; ++i)
            function(landings[block.landing_first + i]);
    }

    CodeMemory memory_;
    uint32_t stub_end_ = 0, cursor_ = 0;
    uint32_t indirect_miss_ = 0, return_miss_ = 0, leave_link_ = 0;
    LinkStub link_stub_;
    PatchCheck* patch_check_ = nullptr;
    const uint8_t* guest_ = nullptr;
    uint64_t readable_pages_ = 0;
    // Side points as steps from the one before: a byte of host code, a signed byte of guest code. A guest
    // step of kStack says that ESP is `host` units beyond its register from there on.
    struct SideStep {
        uint8_t host;
        int8_t guest;
        static constexpr int8_t kStack = INT8_MIN;
    };
    std::deque<SideStep> side_steps_; // grows without copying: there are millions
    std::deque<Block> blocks_;
    std::vector<Block*> by_host_; // in address order
    std::vector<Block*> breakpoint_blocks_;
    base::ZeroedVector<Block*> buckets_;
    // Of the relocatable blocks of a place, whatever their EIP, the one made last.
    [[nodiscard]] static uint64_t origin(const Block& block) {
        return origin(block.backing, block.offset, block.key);
    }
    [[nodiscard]] static uint64_t origin(uint32_t backing, uint16_t offset, const ModeKey& key) {
        return (uint64_t{backing} << kPageShift | offset) << 24 ^
               uint64_t { key.bits } * 0x9E3779B97F4A7C15ull;
    }
    std::unordered_map<uint64_t, Block*> originals_;
    base::ZeroedVector<std::unique_ptr<CodePage>> pages_;
};

} // namespace vmm
