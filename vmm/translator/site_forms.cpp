// Which form code is made in, by what happens when it runs: the engine's side of Sites, which says why and
// for how long. The host's faults speak against the plain form, here under the fault handler; accesses by
// call-out say whether they were needed.
#include "vmm/translator/vcpu.h"

#include <array>
#include <chrono>
#include <span>
#include <utility>

namespace vmm {

namespace {

constexpr uint32_t kAccessed = 1u << 31; // beside a page's number
// Accesses by call-out to a page before it is mapped: a mapping costs more than so many, and pages that are
// touched a few times and go, as fresh memory's, never pay for one.
constexpr uint8_t kWorthMapping = 8;

Sites::Microseconds now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<Sites::Microseconds>(
        std::chrono::duration_cast<std::chrono::microseconds>(since).count());
}

// The instruction at `eip`, on the page where its block begins or the next.
Sites::Place place_in(const Block& block, uint32_t eip, Sites::Kind kind) {
    return {block.backing, static_cast<uint16_t>((block.offset + (eip - block.eip)) & (kPageSize - 1)), kind};
}

// MOVS and STOS
bool moves_in_bulk(const GuestInstruction& insn) {
    constexpr uint8_t kMovs = 0xA4, kStos = 0xAA;
    const uint8_t opcode = insn.opcode & 0xFE;
    return insn.lowering == Lowering::StringMove && (opcode == kMovs || opcode == kStos);
}

} // namespace

void Vcpu::retry_with_callout(ucontext_t& uc, Block& block, uint32_t eip, Sites::Reason reason) {
    if (block.backing != shared->uncached_backing)
        shared->cache->mark(place_in(block, eip, Sites::Kind::Memory), reason, now());
    shared->cache->remake(block);
    leave_from_handler(uc, ExitReason32::Retry, eip);
}

// An operand without prefixes met a guard. With them the host wraps its address as the guest's processor
// does; an access that runs over 4 GiB nevertheless is a call-out's.
void Vcpu::address_wrapped(ucontext_t& uc, Block& block, uint32_t eip) {
    const Sites::Place place = place_in(block, eip, Sites::Kind::Address);
    const bool known = shared->cache->mark_at(place) != 0;
    if (known && !shared->cache->marked_since(block)) {
        retry_with_callout(uc, block, eip, Sites::Reason::Crossing);
        return;
    }
    if (!known)
        shared->cache->mark(place, Sites::Reason::Wrap, now());
    shared->cache->remake(block);
    leave_from_handler(uc, ExitReason32::Retry, eip);
}

// Only what lowers to a call-out for one operand: there it is one of them for an access; or for a whole
// string.
bool Vcpu::turns_cold(const Block& block, uint32_t eip, uint32_t address) {
    const uint32_t offset = block.offset + (eip - block.eip);
    // A page that the guest has flushed since is another page: a kernel's window on memory that it has no
    // other address for, say.
    constexpr unsigned kPageBits = 32 - kPageShift;
    const uint32_t page = address >> kPageShift | flushes_of(address) << kPageBits;
    if (block.backing == shared->uncached_backing || block.second_backing != kNoPage || offset >= kPageSize ||
        !shared->cache->sites.faulted(place_in(block, eip, Sites::Kind::Memory), page, now()))
        return false;
    GuestInstruction insn;
    const uint8_t* code = shared->memory.data() + (uint64_t{block.backing} << kPageShift);
    return decode({code + offset, kPageSize - offset}, eip, block.key.has(ModeKey::kCode32), insn) &&
           (insn.lowering == Lowering::Identity || insn.lowering == Lowering::MoveOffset ||
            moves_in_bulk(insn));
}

// A plain store into a page that is write-protected because code was made from it. The instruction's own page
// must stay so, and a page that changes again and again shall: the store becomes a call-out. Any other page
// simply stops being code.
void Vcpu::store_into_code(ucontext_t& uc, Block& block, uint32_t eip, uint32_t address, uint32_t backing) {
    if (shared->cache->has_blocks(backing)) {
        const bool own = backing == block.backing || backing == block.second_backing;
        if (own || shared->cache->strike(backing, now())) {
            retry_with_callout(uc, block, eip, Sites::Reason::Code);
            return;
        }
        shared->cache->invalidate_page(backing);
    }
    shared->memory.set_code(backing, false);
    (void)windows->resolve(address, AccessKind::Write); // whatever else there is, its next try meets
}

void Vcpu::note_wrong_arrival(Block& block, uint32_t eip) {
    const Sites::Place place = place_in(block, eip, Sites::Kind::Arrival);
    if (!shared->cache->sites.missed(place, now()))
        return;
    shared->cache->mark(place, Sites::Reason::Arrival, now());
    shared->cache->remake(block);
}

void Vcpu::review_timed_forms() {
    constexpr Sites::Microseconds kBetween = 500'000;
    const Sites::Microseconds time = now();
    if (time - forms_reviewed_ < kBetween)
        return;
    forms_reviewed_ = time;
    for (const uint16_t number : shared->cache->sites.expired(time))
        code_changed |= shared->cache->unmark(number, time);
}

// What would have become of that access without a call-out; maps what a plain access would have.
Sites::Need Vcpu::need_of(uint16_t site, uint32_t address, uint32_t bytes, AccessKind kind) {
    const uint32_t last = address + bytes - 1;
    if (last < address)
        return Sites::Need::Always;
    constexpr uint32_t kCacheLine = 64;
    if (shared->cache->sites.reason(site) == Sites::Reason::Split &&
        address % kCacheLine + bytes > kCacheLine)
        return Sites::Need::Always;
    Sites::Need need = Sites::Need::None;
    const std::array ends{address, last};
    const bool crosses = address >> kPageShift != last >> kPageShift; // else one page, to be counted once
    for (const uint32_t at : std::span(ends).first(crosses ? 2 : 1)) {
        if (windows->maps(at, kind))
            continue;
        const auto physical = linear->translate(at, kind, privilege());
        if (!physical)
            return Sites::Need::Always;
        const PageEntry page = shared->memory.entry(page_of(*physical));
        const bool write = kind == AccessKind::Write;
        const bool plain = page.kind == PageKind::Ram ? !write || !shared->memory.is_code(page.backing)
                                                      : page.kind == PageKind::Rom && !write;
        if (!plain)
            return Sites::Need::Always;
        // A page that was code a moment ago may be so again in the next: mapping it now would cost twice. And
        // the first touch of a fresh page may be the last.
        if (shared->cache->sites.reason(site) == Sites::Reason::Code)
            continue;
        uint32_t& fresh = shared->cache->sites.fresh_page(site);
        if (fresh == at >> kPageShift) {
            fresh |= kAccessed;
            need = Sites::Need::First;
            continue;
        }
        if (uint8_t& touches = touches_of(at); ++touches < kWorthMapping) {
            need = touches == 1 && flushes_of(at) != 0 ? Sites::Need::First : Sites::Need::Fault;
            continue;
        } else {
            touches = 0;
        }
        ++counters.callout_maps;
        if (windows->resolve(at, kind).outcome != WindowFault::Outcome::Mapped)
            return Sites::Need::Always;
        need = fresh == (at >> kPageShift | kAccessed) ? Sites::Need::Second : Sites::Need::Mapped;
        fresh = Sites::kNoLinearPage; // told once: it may be unmapped again, and be cold again
    }
    return need;
}

// The block that made the call-out may be a loop that asks nobody: it is left at its next poll.
void Vcpu::make_plain(uint16_t site) {
    if (!shared->cache->unmark(site, now()))
        return;
    code_changed = true;
    arm_poll();
}

void Vcpu::note_site_access(uint32_t address, uint32_t bytes, AccessKind kind, uint32_t count) {
    const auto site = static_cast<uint16_t>(std::exchange(rt->site, 0));
    if (shared->cache->sites.executed(site, need_of(site, address, bytes, kind), count))
        make_plain(site);
}

void Vcpu::note_site_without_access() {
    const auto site = static_cast<uint16_t>(std::exchange(rt->site, 0));
    if (site != 0 && shared->cache->sites.executed(site, Sites::Need::None, 1))
        make_plain(site);
}

void Vcpu::note_site_fault(const Fault& fault) {
    const auto site = static_cast<uint16_t>(std::exchange(rt->site, 0));
    if (site == 0)
        return;
    if (fault.vector == Vector::PageFault) {
        shared->cache->sites.fresh_page(site) = fault.linear_address >> kPageShift;
        touches_of(fault.linear_address) = 0;
    }
    (void)shared->cache->sites.executed(site, Sites::Need::Fault, 1);
}

} // namespace vmm
