// What the dispatcher works with: requests from other threads, the guest's flushes and changes of memory,
// fetching code and translating it.
#include "vmm/translator/vcpu.h"

#include "vmm/base/log.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace vmm {

namespace {

constexpr uint32_t kHostTrapFlagsKept = eflags::kHostHeld;

} // namespace

base::Result<std::unique_ptr<Vcpu>> Vcpu::create(GuestMemory& memory, IoBus& io) {
    auto vcpu = std::make_unique<Vcpu>();
    vcpu->runtime_memory = TRY(RuntimeMemory::create());
    vcpu->rt = &vcpu->runtime_memory->runtime();
    Runtime& rt = *vcpu->rt;
    rt.vcpu = vcpu.get();
    vcpu->trap_page_ = vcpu->runtime_memory->trap_pages();
    vcpu->null_segment_page_ = vcpu->trap_page_ + kPageSize;
    vcpu->linear = std::make_unique<LinearMemory>(rt.cpu, memory);
    vcpu->cpu = std::make_unique<Cpu>(rt.cpu, *vcpu->linear, io, *vcpu);
    vcpu->windows = TRY(Windows::create(rt.cpu, memory));
    TRY(vcpu->contexts.create());
    TRY(vcpu->segments.create());
    install_callouts(rt);
    rt.sti_poll_pointer = reinterpret_cast<uint64_t>(&rt.slot);
    Vcpu* self = vcpu.get();
    vcpu->windows->set_code_dropped([self](uint32_t first, uint32_t count) {
        self->drop_code_pages(self->root_identity(), first, count);
        self->supervisor_code.for_local(first, count, [self](uint32_t page, uint32_t pages) {
            self->drop_code_pages(Contexts::kSharedRoot, page, pages);
        });
        self->forget_fetches(first, count);
    });
    vcpu->signal_stack_.resize(256 * 1024);
    install_signal_handlers();
    return vcpu;
}

Vcpu::~Vcpu() {
    if (shared != nullptr)
        shared->memory.watch_writes(nullptr);
}

void Vcpu::gather_flags() {
    uint32_t& flags = rt->cpu.eflags;
    flags = (flags & ~(kHostTrapFlagsKept | eflags::kIf)) |
            (static_cast<uint32_t>(rt->host_flags) & kHostTrapFlagsKept) | rt->interrupt_flag;
}

void Vcpu::scatter_flags() {
    const CpuState& c = rt->cpu;
    rt->host_flags = (c.eflags & kHostTrapFlagsKept) | eflags::kFixed1 | eflags::kIf;
    rt->interrupt_flag = c.eflags & eflags::kIf;
    rt->other_flags = c.eflags & kOtherFlags;
    const auto base_pointer = [&](SegReg reg) {
        const Segment& segment = c.segment(reg);
        return segment.usable ? reinterpret_cast<uint64_t>(&segment.base) : null_segment_page_;
    };
    rt->fs_base_pointer = base_pointer(SegReg::Fs);
    rt->gs_base_pointer = base_pointer(SegReg::Gs);
}

void Vcpu::raise(const Fault& fault) {
    step_suppressed = true;
    ++counters.guest_exceptions;
    if (intercept && intercept(fault)) {
        intercepted = true;
        return;
    }
    cpu->raise(fault);
}

// Also from a signal on the vCPU thread, so it waits for nobody. Whoever else has the page just now is either
// arming it too, or is the dispatcher, which looks at what the caller has asked for right afterwards.
void Vcpu::arm_poll() {
    if (poll_armed() || poll_busy_.test_and_set())
        return;
    if (!poll_armed_.exchange(true))
        runtime_memory->let_polls_pass(false);
    poll_busy_.clear();
}

void Vcpu::disarm_poll() {
    if (!poll_armed())
        return;
    while (poll_busy_.test_and_set()) // another thread is arming it
        std::this_thread::yield();
    if (poll_armed_.exchange(false))
        runtime_memory->let_polls_pass(true);
    poll_busy_.clear();
}

void Vcpu::interrupt_line_changed() {
    interrupt_due = interrupt_due || nmi_due();
    if (!interrupt_pending())
        return;
    rt->sti_poll_pointer = trap_page_;
    rt->interrupt_waiting = kInterruptWaiting;
    interrupt_due = interrupt_due || (rt->cpu.eflags & eflags::kIf) != 0;
}

void Vcpu::cr3_loaded() {
    linear->flush_local();
    windows->cr3_loaded();
    drop_local_supervisor_code();
}

void Vcpu::drop_local_supervisor_code() {
    if (!supervisor_code.has_local())
        return;
    supervisor_code.for_local(0, kLinearPages, [this](uint32_t first, uint32_t count) {
        drop_code_pages(Contexts::kSharedRoot, first, count);
    });
    supervisor_code.clear_local();
    for (Fetch& fetch : fetches_)
        if (fetch.root == Contexts::kSharedRoot && !fetch.global)
            fetch = {};
}

// Those of pages [first, first+count), but for the guest's global ones.
void Vcpu::forget_fetches(uint32_t first, uint32_t count) {
    const auto forget = [&](Fetch& fetch) {
        if (!fetch.global && fetch.page - first < count)
            fetch = {};
    };
    if (count >= fetches_.size())
        std::for_each(fetches_.begin(), fetches_.end(), forget);
    else
        for (uint32_t page = first; page < first + count; ++page)
            forget(fetch_of(page));
}

void Vcpu::paging_changed() {
    linear->flush();
    windows->paging_changed();
    drop_local_supervisor_code();
    // Clearing PGE and setting it again is how a guest flushes global translations: look once they count
    // again.
    if (rt->cpu.paging() && (rt->cpu.cr4 & cr4::kPge))
        supervisor_code.recheck_all(
            [this](uint32_t page, uint32_t physical_page) { return drop_if_changed(page, physical_page); });
    if (rt->cpu.paging() != was_paging) { // direct links across pages were made for the other case
        was_paging = rt->cpu.paging();
        flush_requested = true;
    }
}

void Vcpu::invlpg(Linear linear_address) {
    const auto address = static_cast<uint32_t>(linear_address);
    linear->flush_page(address);
    windows->invlpg(address);
    touches_of(address) = 0;
    ++flushes_of(address);
    supervisor_code.recheck_around(address >> kPageShift, [this](uint32_t page, uint32_t physical_page) {
        return drop_if_changed(page, physical_page);
    });
}

// For the next time: what `reg`, loaded at ring 0 just now, was loaded from.
void Vcpu::remember_segment(unsigned reg) {
    note_site_without_access();
    const CpuState& c = rt->cpu;
    if (c.cpl != 0 || !c.protected_mode() || reg == static_cast<unsigned>(SegReg::Ss))
        return;
    constexpr uint16_t kIndexBits = 0xFFF8, kTableBit = 4, kNullMask = 0xFFFC;
    const uint16_t selector = c.seg[reg].selector;
    // A null selector reads no descriptor; the table's first one, which is not used, serves for comparing.
    const bool null = (selector & kNullMask) == 0, local = !null && (selector & kTableBit) != 0;
    const uint32_t linear_address =
        null ? c.gdtr.base : (local ? c.ldtr.base : c.gdtr.base) + (selector & kIndexBits);
    uint64_t bytes = 0;
    if (linear->read_bytes(linear_address, &bytes, sizeof bytes, Privilege::Supervisor))
        segments.remember(c, reg, linear_address, bytes, null_segment_page_);
}

void Vcpu::note_data_access(uint32_t address, uint32_t bytes, bool write, uint32_t count) {
    if (rt->site != 0)
        note_site_access(address, bytes, write ? AccessKind::Write : AccessKind::Read, count);
    if (!breakpoints.watching())
        return;
    breakpoint_hits |= breakpoints.met(address, bytes, write);
    if (alone_left != 0 && breakpoints.near(address, bytes, write))
        alone_left = Breakpoints::kAlone;
}

void Vcpu::follow_breakpoints() {
    if (!breakpoints.follow(rt->cpu))
        return;
    windows->set_guards(breakpoints.guards());
    if (!breakpoints.watching())
        alone_left = 0;
    const Breakpoints::Stops now = breakpoints.stops(), before = code_stops_;
    if (now.count == 0 || now == before) // code made for others stays, for when they come back
        return;
    shared->cache->invalidate_breakpoint_blocks([&](const Block& block) {
        const auto stops_in = [&](const Breakpoints::Stops& these, const Breakpoints::Stops& but_not) {
            for (unsigned i = 0; i < these.count; ++i)
                if (!but_not.contains(these.linear[i]) &&
                    Breakpoints::Stops{{these.linear[i]}, 1}.within(block.key, block.eip, block.offset,
                                                                    block.guest_bytes))
                    return true;
            return false;
        };
        return stops_in(now, before) || stops_in(before, now);
    });
    code_stops_ = now;
}

bool Vcpu::stops_here(const ModeKey& key) const {
    const uint32_t eip = rt->cpu.eip, linear_address = rt->cpu.segment(SegReg::Cs).base + eip;
    return key.has(ModeKey::kBreakpoints) &&
           breakpoints.stops().within(key, eip, linear_address & (kPageSize - 1), 1);
}

// The block that a poll has just left goes; at its next run it is made as a loop's is.
void Vcpu::make_busy_whole() {
    Block* block = std::exchange(caught_polling, nullptr);
    if (block == nullptr || !block->valid || block->second_backing != kNoPage ||
        block->key.has(ModeKey::kAlone))
        return;
    shared->busy.insert(Translations::busy_place(block->backing, block->offset));
    shared->cache->replace(*block);
    ++counters.made_whole;
    code_changed = true;
}

void Vcpu::apply_pending() {
    if (contexts_stale && !flush_requested) {
        contexts.drop_all();
        forget_fetches();
        context = nullptr;
        contexts_stale = false;
    }
    if (flush_requested || shared->full()) {
        shared->flush();
        caught_polling = nullptr;
        contexts.drop_all();
        context = nullptr;
        forget_fetches();
        supervisor_code.clear();
        flush_requested = contexts_stale = false;
    }
    code_changed = false;
}

void Vcpu::select_context(const ModeKey& key) {
    const uint64_t root = key.has(ModeKey::kSharedSupervisor) ? Contexts::kSharedRoot : root_identity();
    if (context != nullptr)
        context->shadow_rsp = rt->shadow_rsp;
    Context& next = contexts.select(root, key, rt->cpu.segment(SegReg::Cs).base);
    context = &next;
    rt->jump_table = reinterpret_cast<uint64_t>(next.table);
    rt->shadow_rsp = next.shadow_rsp;
    rt->shadow_top = next.shadow_top;
}

bool Vcpu::crosses_pages(const ModeKey& key) const {
    return key.has(ModeKey::kUser) && !key.has(ModeKey::kV86) && rt->cpu.paging() &&
           rt->cpu.segment(SegReg::Cs).base == 0;
}

// Code of that page is about to run.
void Vcpu::admit(const ModeKey& key, uint32_t page) {
    if (!crosses_pages(key))
        return;
    if (const uint64_t former = shared->page_links->admit(root_identity(), page); former != 0)
        contexts.drop_pages(former, page, 1);
}

void Vcpu::drop_code_pages(uint64_t root, uint32_t first, uint32_t count) {
    contexts.drop_pages(root, first, count);
    shared->page_links->dropped(root, first, count);
    // A call-out's caller may lie on such a page, and its block has landings: no further in it.
    code_changed = code_changed || running;
}

// What the guest's RET may meet (README, invariants) depends on this.
void Vcpu::check_shadow_stack() const {
    VERIFY(context != nullptr && rt->shadow_top == context->shadow_top &&
           Contexts::in_bounds(*context, rt->shadow_rsp));
}

// A global page whose cached translation the guest has just flushed (or may have): if it changed, it takes
// its code with it, and every link to that.
bool Vcpu::drop_if_changed(uint32_t page, uint32_t physical_page) {
    const Translation now = page_probe(rt->cpu, shared->memory, page << kPageShift, Privilege::Supervisor);
    const bool same = now.page_bytes != 0 && now.executable && now.global &&
                      page_of(now.physical) == physical_page && rt->cpu.paging();
    if (same)
        return false;
    drop_code_pages(Contexts::kSharedRoot, page, 1);
    const PageEntry entry = shared->memory.entry(physical_page);
    if (entry.backing != kNoPage)
        shared->cache->invalidate_page(entry.backing);
    code_changed = true;
    if (Fetch& fetch = fetch_of(page); fetch.page == page)
        fetch = {};
    return true;
}

GuestResult<Physical> Vcpu::fetch_address(uint32_t address, bool& global) {
    global = false;
    if (!rt->cpu.paging())
        return address;
    const bool shared_context = running_key.has(ModeKey::kSharedSupervisor);
    const uint32_t page = address >> kPageShift;
    Fetch& fetch = fetch_of(page);
    // Ring 3 and the others may not share an entry: the walk checks U/S.
    const uint64_t root =
        shared_context ? Contexts::kSharedRoot : root_identity() | uint64_t{rt->cpu.cpl == 3} << 63;
    if (fetch.root == root && fetch.page == page) {
        global = fetch.global;
        return Physical{fetch.physical_page} << kPageShift | (address & (kPageSize - 1));
    }
    const Physical physical = TRY(linear->translate(address, AccessKind::Execute, privilege()));
    if (shared_context) {
        const Translation found = page_probe(rt->cpu, shared->memory, address, Privilege::Supervisor);
        global = found.global;
        const uint32_t frame = page_of(physical);
        if (!global) {
            supervisor_code.add_local(page);
        } else {
            // Seen anew before the guest's INVLPG, which would find nothing changed any more; links to what
            // was there may exist.
            const auto before = supervisor_code.global_frame(page);
            const bool large = found.page_bytes != kPageSize;
            if ((before && *before != frame) || !supervisor_code.add_global(page, frame, large))
                flush_requested = true;
        }
    }
    if (!global)
        windows->note_executed(address);
    fetch = {root, page, page_of(physical), global};
    return physical;
}

const uint8_t* Vcpu::next_page(uint32_t& backing) {
    bool global = false;
    auto physical = fetch_address(fetch_next_linear, global);
    if (!physical) {
        fetch_fault = physical.error();
        return nullptr;
    }
    const Physical masked = shared->memory.mask(*physical);
    const PageEntry entry = shared->memory.entry(page_of(masked));
    backing = entry.kind == PageKind::Ram || entry.kind == PageKind::Rom ? entry.backing : kNoPage;
    shared->memory.read(masked, fetch_bytes.data(), 16);
    if (entry.kind == PageKind::Ram) {
        windows->write_protect(backing);
        shared->memory.set_code(backing, true);
    }
    return fetch_bytes.data();
}

Block* Vcpu::translate_here(uint32_t address, PageEntry page, uint16_t offset, const ModeKey& key,
                            bool global, bool whole) {
    const auto [kind, backing] = page;
    if (!shared->memory.make_present(backing)) // the dispatcher has been told to stop
        return nullptr;
    if (kind == PageKind::Ram && !shared->memory.is_code(backing)) {
        windows->write_protect(backing);
        shared->memory.set_code(backing, true);
    }
    CodeBytes code;
    code.backing = backing;
    code.first = shared->memory.data() + (uint64_t{backing} << kPageShift) + offset;
    code.first_length = kPageSize - offset;
    fetch_next_linear = (address & ~(kPageSize - 1)) + kPageSize;
    bool faulted = false;
    Block* revived = shared->cache->revive(backing, offset, rt->cpu.eip, key, global, [&] {
        uint32_t second = kNoPage;
        faulted = faulted || next_page(second) == nullptr;
        return faulted ? kNoPage : second;
    });
    if (faulted)
        raise(fetch_fault);
    if (faulted || revived != nullptr)
        return shared->checked(revived, BlockUse::Revived);
    const bool stop = stops_here(key);
    Block* copied = stop ? nullptr : shared->cache->copy(backing, offset, rt->cpu.eip, key, global, whole);
    if (copied != nullptr)
        return shared->unless_refused(copied);
    ++counters.translated;
    TranslateOptions options;
    options.brief = !whole;
    options.link = shared->config.block_mode == BlockMode::Linked && !key.has(ModeKey::kAlone) && !stop;
    if (shared->config.block_mode == BlockMode::SingleInstruction || stop)
        options.max_instructions = 1;
    if (key.has(ModeKey::kBreakpoints))
        options.stops = &breakpoints.stops();
    options.same_page_only = rt->cpu.paging() && !global;
    options.cross = crosses_pages(key);
    options.global = global;
    Block* block = shared->translator->translate(rt->cpu.eip, key, code, *this, options);
    if (block == nullptr)
        raise(fetch_fault);
    return shared->checked(block, BlockUse::Fresh);
}

// Code in MMIO or unmapped space: one instruction at a time, never kept.
Block* Vcpu::translate_uncached(uint32_t address, Physical physical, const ModeKey& key) {
    shared->cache->invalidate_page(shared->uncached_backing);
    uncached_page.assign(kPageSize + 16, 0xFF);
    const auto offset = static_cast<uint32_t>(physical & (kPageSize - 1));
    shared->memory.read(physical, uncached_page.data() + offset, std::min<uint32_t>(16, kPageSize - offset));
    CodeBytes code;
    code.backing = shared->uncached_backing;
    code.first = uncached_page.data() + offset;
    code.first_length = kPageSize - offset;
    fetch_next_linear = (address & ~(kPageSize - 1)) + kPageSize;
    TranslateOptions options;
    options.call_out = true;
    options.link = false;
    options.max_instructions = 1;
    Block* block = shared->translator->translate(rt->cpu.eip, key, code, *this, options);
    if (block == nullptr)
        raise(fetch_fault);
    return shared->checked(block, BlockUse::Fresh);
}

Block* Vcpu::current_block(bool whole) {
    CpuState& c = rt->cpu;
    const ModeKey key = running_key;
    if (c.eip > key.cs_limit) {
        raise({Vector::GeneralProtection, true, 0, 0});
        return nullptr;
    }
    const uint32_t address = c.segment(SegReg::Cs).base + c.eip;
    bool global = false;
    auto translated = fetch_address(address, global);
    if (!translated) {
        raise(translated.error());
        return nullptr;
    }
    const Physical physical = shared->memory.mask(*translated);
    const PageEntry entry = shared->memory.entry(page_of(physical));
    if (entry.kind != PageKind::Ram && entry.kind != PageKind::Rom)
        return translate_uncached(address, physical, key);
    const auto offset = static_cast<uint16_t>(physical & (kPageSize - 1));
    whole = whole || shared->busy.contains(Translations::busy_place(entry.backing, offset));
    Block* block = shared->cache->find(entry.backing, offset, c.eip, key);
    if (block != nullptr && block->second_backing != kNoPage) {
        fetch_next_linear = (address & ~(kPageSize - 1)) + kPageSize;
        uint32_t second = kNoPage;
        if (next_page(second) == nullptr) {
            raise(fetch_fault);
            return nullptr;
        }
        if (second != block->second_backing) {
            shared->cache->remake(*block);
            block = nullptr;
        }
    }
    if (block != nullptr && whole && !block->whole) {
        shared->cache->replace(*block);
        block = nullptr;
    }
    return block != nullptr ? block : translate_here(address, entry, offset, key, global, whole);
}

} // namespace vmm
