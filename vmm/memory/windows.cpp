#include "vmm/memory/windows.h"

#include "vmm/base/verify.h"
#include "vmm/memory/mapping_table.h"
#include "vmm/memory/paging_format.h"
#include "vmm/memory/window_root.h"
#include "vmm/memory/window_space.h"

#include <algorithm>
#include <array>
#include <vector>

namespace vmm {
namespace {

// Pages mapped by one fault: a line of page-table entries, or more where one entry covers them all.
constexpr uint32_t kRunPages = 16, kLargeRunPages = 64;
// A fault or an unmap in the middle of a mapping adds at most two.
constexpr uint64_t kMappingsPerCall = 2;
// Bounds on our own memory, whatever the guest's page tables look like: some 40 MiB each.
constexpr uint64_t kMaxShadowLeaves = 24576, kMaxTables = 8192;
constexpr uint64_t kNoKey = ~0ull;

} // namespace

struct Windows::Impl {
    struct SlotUse {
        WindowRoot* root = nullptr;
        View view = View::User;
        uint64_t last_used = 0;
    };

    Impl(CpuState& cpu, GuestMemory& memory, Limits limits, std::unique_ptr<WindowSpace> space)
        : cpu_(cpu), memory_(memory), limits_(limits), space_(std::move(space)),
          mappings_(*space_, limits.max_windows,
                    static_cast<uint32_t>((memory.ram_bytes() + kMaxAddedBackingBytes) >> kPageShift)),
          slots_(limits.max_windows) {}

    // Everything that decides which window is current, packed for one compare.
    [[nodiscard]] uint64_t selector() const {
        const uint32_t modes = (cpu_.cr0 & (cr0::kPg | cr0::kWp)) | (cpu_.cr4 & (cr4::kPae | cr4::kPse)) |
                               static_cast<uint32_t>(cpu_.efer & efer::kNxe) | (cpu_.cpl == 3 ? 1 : 0);
        return uint64_t{modes} << 32 | cpu_.cr3;
    }
    uint64_t select() {
        const uint64_t wanted = selector();
        return wanted == selected_ ? selected_base_ : switch_to(wanted);
    }
    uint64_t switch_to(uint64_t selector);
    void flush();
    WindowFault resolve(uint32_t linear, AccessKind access);
    void note_executed(uint32_t linear);
    void invlpg(uint32_t linear);
    void set_guards(const Guards& guards);

    WindowRoot* find(uint64_t key);
    unsigned take_slot(WindowRoot& root, View view);
    bool evict_one();
    void evict(unsigned slot);
    bool relieve();
    void make_room();
    void deliver(WindowRoot& root);

    // What a page should be mapped to according to the recorded entries.
    struct Target {
        bool mappable = false;
        Protection protection = Protection::ReadOnly;
        uint32_t backing = 0;
    };
    // How far A and D may be taken for granted: the page whose access the walk has just granted may
    // have its entries in ROM, where the bits cannot be set.
    enum class Assume : uint8_t { Nothing, Accessed, Dirty };
    [[nodiscard]] bool guarded(uint32_t page, AccessKind access) const {
        for (unsigned i = 0; i < guards_.count; ++i)
            if (guards_.pages[i].page == page && (guards_.pages[i].reads || access == AccessKind::Write))
                return true;
        return false;
    }
    [[nodiscard]] Target target(const WindowRoot& root, View view, const PagingCopy::Entries& entries,
                                uint32_t page, Assume assume) const;
    bool fill(WindowRoot& root, View view, uint32_t page, AccessKind access);

    CpuState& cpu_;
    GuestMemory& memory_;
    const Limits limits_;
    std::unique_ptr<WindowSpace> space_;
    MappingTable mappings_;
    uint64_t live_tables_ = 0;
    std::vector<std::unique_ptr<WindowRoot>> roots_;
    std::array<WindowRoot*, 128> root_cache_{}; // direct-mapped by hash of the key
    std::vector<SlotUse> slots_;

    uint64_t selected_ = kNoKey, selected_base_ = 0;
    WindowRoot* current_root_ = nullptr;
    unsigned current_slot_ = kNoSlot;
    uint64_t flush_epoch_ = 1, tick_ = 0;
    CodeDropped code_dropped_;
    Guards guards_;
    Statistics statistics_;
};

// -- which window ------------------------------------------------------------------------------------

namespace {

// A root is where the tables are and how they are read. PDPTEs are not part of it: they are compared
// like other entries.
uint64_t root_key(const CpuState& cpu, paging::Mode mode) {
    if (!mode.enabled)
        return 0;
    const uint32_t how = 1u | (mode.pae ? 2u : 0) | (mode.pse ? 4u : 0) | (mode.nxe ? 8u : 0);
    return uint64_t{how} << 32 | (cpu.cr3 & (mode.pae ? ~31u : ~(kPageSize - 1)));
}

View view_of(const CpuState& cpu, paging::Mode mode) {
    if (!mode.enabled) // one view of physical memory serves all
        return View::Supervisor;
    if (cpu.cpl == 3)
        return View::User;
    return (cpu.cr0 & cr0::kWp) != 0 ? View::Supervisor : View::SupervisorNoWp;
}

unsigned hash_of(uint64_t key) { return static_cast<unsigned>((key * 0x9E3779B97F4A7C15ull) >> 57); }

} // namespace

WindowRoot* Windows::Impl::find(uint64_t key) {
    WindowRoot*& cached = root_cache_[hash_of(key)];
    if (cached != nullptr && cached->key == key)
        return cached;
    for (const auto& root : roots_)
        if (root->key == key)
            return cached = root.get();
    return nullptr;
}

uint64_t Windows::Impl::switch_to(uint64_t selector) {
    const paging::Mode mode = paging::Mode::of(cpu_);
    const uint64_t key = root_key(cpu_, mode);
    if (current_root_ == nullptr || current_root_->key != key) {
        current_root_ = find(key);
        if (current_root_ == nullptr) {
            roots_.push_back(std::make_unique<WindowRoot>(key, memory_, mode, mappings_, live_tables_));
            current_root_ = root_cache_[hash_of(key)] = roots_.back().get();
            current_root_->add_dropped({0, kLinearPages});
        }
    }
    WindowRoot& root = *current_root_;
    const View view = view_of(cpu_, mode);
    current_slot_ = root.slots[static_cast<unsigned>(view)];
    if (current_slot_ == kNoSlot)
        current_slot_ = take_slot(root, view);
    slots_[current_slot_].last_used = ++tick_;
    selected_ = selector;
    selected_base_ = space_->base(current_slot_);
    if (root.epoch != flush_epoch_) {
        root.epoch = flush_epoch_;
        root.paging.set_directories(cpu_);
        root.paging.sync();
        deliver(root);
    }
    return space_->base(current_slot_);
}

void Windows::Impl::flush() {
    ++statistics_.flushes;
    // Every root is out of date now; each is compared when it becomes current again.
    ++flush_epoch_;
    selected_ = kNoKey;
    select();
}

void Windows::Impl::deliver(WindowRoot& root) {
    if (!root.has_dropped())
        return;
    const std::vector<LinearRange> dropped = root.take_dropped();
    if (code_dropped_)
        for (const LinearRange& range : dropped)
            code_dropped_(range.first, range.count);
}

// -- making room -------------------------------------------------------------------------------------

unsigned Windows::Impl::take_slot(WindowRoot& root, View view) {
    const auto is_free = [](const SlotUse& use) { return use.root == nullptr; };
    auto found = std::find_if(slots_.begin(), slots_.end(), is_free);
    if (found == slots_.end()) {
        VERIFY(evict_one());
        found = std::find_if(slots_.begin(), slots_.end(), is_free);
    }
    *found = {&root, view, 0};
    const auto slot = static_cast<unsigned>(found - slots_.begin());
    root.slots[static_cast<unsigned>(view)] = slot;
    return slot;
}

bool Windows::Impl::evict_one() {
    unsigned oldest = kNoSlot;
    for (unsigned slot = 0; slot < slots_.size(); ++slot)
        if (slots_[slot].root != nullptr && slot != current_slot_ &&
            (oldest == kNoSlot || slots_[slot].last_used < slots_[oldest].last_used))
            oldest = slot;
    if (oldest == kNoSlot)
        return false;
    evict(oldest);
    return true;
}

void Windows::Impl::evict(unsigned slot) {
    ++statistics_.evictions;
    mappings_.reset(slot);
    WindowRoot* root = slots_[slot].root;
    root->slots[static_cast<unsigned>(slots_[slot].view)] = kNoSlot;
    slots_[slot] = {};
    const bool in_use =
        std::any_of(root->slots.begin(), root->slots.end(), [](unsigned other) { return other != kNoSlot; });
    if (in_use || root == current_root_)
        return;
    if (root_cache_[hash_of(root->key)] == root)
        root_cache_[hash_of(root->key)] = nullptr;
    std::erase_if(roots_, [&](const auto& other) { return other.get() == root; });
}

bool Windows::Impl::relieve() {
    if (evict_one())
        return true;
    // Only the current window is left: start it afresh.
    const uint64_t before = mappings_.host_mappings();
    mappings_.reset(current_slot_);
    ++statistics_.evictions;
    return mappings_.host_mappings() < before;
}

void Windows::Impl::make_room() {
    while (mappings_.host_mappings() + kMappingsPerCall > limits_.max_mappings ||
           mappings_.shadow_leaves() > kMaxShadowLeaves || live_tables_ > kMaxTables)
        if (!relieve())
            return;
}

// -- faults ------------------------------------------------------------------------------------------

Windows::Impl::Target Windows::Impl::target(const WindowRoot& root, View view,
                                            const PagingCopy::Entries& entries, uint32_t page,
                                            Assume assume) const {
    using namespace paging;
    const Mode& mode = root.paging.mode();
    uint32_t frame = page;
    bool writable = true;
    if (mode.enabled) {
        uint64_t leaf = entries.directory;
        if (!entries.large) {
            leaf = root.paging.table_entry(entries, page);
            if ((leaf & kPresent) == 0 || (leaf & mode.reserved_in_table()) != 0)
                return {};
        }
        const uint64_t granted = leaf & entries.directory;
        if ((granted & kAccessed) == 0 && assume == Assume::Nothing)
            return {};
        if (view == View::User && (granted & kUser) == 0)
            return {};
        writable = ((granted & kWrite) != 0 || view == View::SupervisorNoWp) &&
                   ((leaf & kDirty) != 0 || assume == Assume::Dirty);
        frame = entries.large ? mode.large_frame(leaf, page) : frame_of(leaf);
    }
    const PageEntry where = memory_.entry(frame);
    if (where.kind != PageKind::Ram && where.kind != PageKind::Rom)
        return {};
    if (memory_.is_absent(where.backing) || guarded(page, AccessKind::Read))
        return {};
    writable = writable && where.kind == PageKind::Ram && !memory_.is_code(where.backing) &&
               !memory_.is_watched(where.backing) && !guarded(page, AccessKind::Write);
    return {true, writable ? Protection::ReadWrite : Protection::ReadOnly, where.backing};
}

// Maps `page` and what surrounds it. False if the recorded entries do not allow the access after all.
bool Windows::Impl::fill(WindowRoot& root, View view, uint32_t page, AccessKind access) {
    PagingCopy::Entries entries;
    uint32_t run = kLargeRunPages;
    if (root.paging.mode().enabled) {
        root.paging.set_directories(cpu_);
        entries = root.paging.track(page & ~(kRunPages - 1), kRunPages);
        if (!entries.present)
            return false;
        run = entries.large ? kLargeRunPages : kRunPages;
    }
    const bool write = access == AccessKind::Write;
    const Target wanted = target(root, view, entries, page, write ? Assume::Dirty : Assume::Accessed);
    if (!wanted.mappable || (write && wanted.protection != Protection::ReadWrite))
        return false;
    make_room();

    const uint32_t group = page & ~(run - 1);
    uint32_t first = page, end = page + 1;
    const auto extend = [&](auto&& belongs) {
        while (first > group && belongs(first - 1))
            --first;
        while (end < group + run && belongs(end))
            ++end;
    };

    const MappingTable::Page present = mappings_.at(current_slot_, page);
    if (write && present.mapped && !present.writable && present.backing == wanted.backing) {
        extend([&](uint32_t other) {
            const MappingTable::Page mapped = mappings_.at(current_slot_, other);
            const Target its = target(root, view, entries, other, Assume::Nothing);
            return mapped.mapped && !mapped.writable && its.mappable &&
                   its.protection == Protection::ReadWrite && its.backing == mapped.backing;
        });
        ++statistics_.maps;
        if (mappings_.make_writable(current_slot_, first, end - first))
            return true;
        first = page, end = page + 1;
        relieve();
    }

    extend([&](uint32_t other) {
        const Target its = target(root, view, entries, other, Assume::Nothing);
        return its.mappable && its.protection == wanted.protection &&
               its.backing - wanted.backing == other - page && !mappings_.at(current_slot_, other).mapped;
    });
    const uint32_t backing = wanted.backing - (page - first);
    while (!mappings_.map(current_slot_, first, end - first, backing, wanted.protection))
        VERIFY(relieve()); // the kernel's limit is below ours, and we hold nothing any more
    ++statistics_.maps;
    statistics_.mapped_pages += end - first;
    return true;
}

WindowFault Windows::Impl::resolve(uint32_t linear, AccessKind access) {
    VERIFY(current_slot_ != kNoSlot);
    ++statistics_.faults;
    WindowRoot& root = *current_root_;
    const View view = slots_[current_slot_].view;
    const uint32_t page = linear >> kPageShift;
    WindowFault result;

    const auto walked = page_walk(cpu_, memory_, linear, access,
                                  view == View::User ? Privilege::User : Privilege::Supervisor);
    if (!walked) {
        root.drop_unless(page, kNoPage); // SDM Vol. 3A 4.10.4.1: a page fault invalidates the page's entries
        result.outcome = WindowFault::Outcome::GuestFault;
        result.fault = walked.error();
        return result;
    }
    const PageEntry where = memory_.entry(page_of(walked->physical));
    result.physical = memory_.mask(walked->physical);
    result.backing = where.backing;
    root.drop_unless(page, where.backing); // a stale translation has no further use
    const bool write = access == AccessKind::Write;
    const bool ram = where.kind == PageKind::Ram;
    if (guarded(page, access)) {
        result.outcome = WindowFault::Outcome::Guarded;
        return result;
    }
    if (memory_.failed() || (ram && !memory_.make_present(where.backing))) {
        result.outcome = WindowFault::Outcome::HostFailure;
        return result;
    }
    if (write && ram && memory_.is_code(where.backing)) {
        result.outcome = WindowFault::Outcome::CodeWrite;
        return result;
    }
    if (write && ram)
        memory_.before_write(where.backing);
    if ((!ram && where.kind != PageKind::Rom) || (write && !ram) || !fill(root, view, page, access))
        result.outcome = WindowFault::Outcome::Mmio; // a call-out always makes progress
    return result;
}

void Windows::Impl::note_executed(uint32_t linear) {
    select();
    PagingCopy& paging = current_root_->paging;
    if (!paging.mode().enabled)
        return;
    paging.set_directories(cpu_);
    const uint32_t page = linear >> kPageShift;
    const PagingCopy::Entries entries = paging.track(page, 1);
    if (entries.present && (entries.large || (paging.table_entry(entries, page) & paging::kPresent) != 0))
        paging.note_executed(page);
    else // already gone from the tables: the next flush must say so
        current_root_->add_dropped({page, 1});
}

void Windows::Impl::invlpg(uint32_t linear) {
    ++statistics_.flushes;
    select();
    current_root_->paging.set_directories(cpu_);
    current_root_->paging.sync_page(linear >> kPageShift);
    deliver(*current_root_);
}

void Windows::Impl::set_guards(const Guards& guards) {
    if (guards == guards_)
        return;
    guards_ = guards;
    for (unsigned i = 0; i < guards.count; ++i)
        for (const auto& root : roots_)
            root->drop_unless(guards.pages[i].page, kNoPage);
}

// -- the public face ---------------------------------------------------------------------------------

Windows::Windows() = default;
Windows::~Windows() = default;

base::Result<std::unique_ptr<Windows>> Windows::create(CpuState& cpu, GuestMemory& memory, Limits limits) {
    constexpr unsigned kFewestMappings = 64;
    VERIFY(limits.max_windows > 0 && limits.max_windows < MappingTable::kMaxSlots &&
           limits.max_mappings >= kFewestMappings);
    auto space = TRY(WindowSpace::create(limits.max_windows, memory.fd()));
    std::unique_ptr<Windows> windows(new Windows);
    windows->impl_ = std::make_unique<Impl>(cpu, memory, limits, std::move(space));
    return windows;
}

uint64_t Windows::root_of(const CpuState& cpu) { return root_key(cpu, paging::Mode::of(cpu)); }
uint64_t Windows::select() { return impl_->select(); }
WindowFault Windows::resolve(uint32_t linear, AccessKind access) { return impl_->resolve(linear, access); }
bool Windows::maps(uint32_t linear, AccessKind access) const {
    const MappingTable::Page page = impl_->mappings_.at(impl_->current_slot_, linear >> kPageShift);
    return page.mapped && (page.writable || access != AccessKind::Write);
}
void Windows::cr3_loaded() { impl_->flush(); }
void Windows::paging_changed() { impl_->flush(); }
void Windows::set_guards(const Guards& guards) { impl_->set_guards(guards); }
void Windows::invlpg(uint32_t linear) { impl_->invlpg(linear); }
void Windows::write_protect(uint32_t backing) { impl_->mappings_.write_protect(backing); }
void Windows::write_protect_all() { impl_->mappings_.write_protect_all(); }
void Windows::revoke(uint32_t backing) { impl_->mappings_.revoke(backing); }
void Windows::revoke_all() {
    for (unsigned slot = 0; slot < impl_->slots_.size(); ++slot)
        impl_->mappings_.reset(slot);
}
void Windows::set_code_dropped(CodeDropped callback) { impl_->code_dropped_ = std::move(callback); }
void Windows::note_executed(uint32_t linear) { impl_->note_executed(linear); }

const Windows::Statistics& Windows::statistics() const {
    Statistics& statistics = impl_->statistics_;
    statistics.revocations = impl_->mappings_.revocations();
    statistics.live_mappings = impl_->mappings_.host_mappings();
    statistics.live_windows = static_cast<uint64_t>(std::count_if(
        impl_->slots_.begin(), impl_->slots_.end(), [](const auto& use) { return use.root != nullptr; }));
    return statistics;
}

} // namespace vmm
