#include "vmm/translator/engine.h"

#include "vmm/translator/engine_core.h"

#include <fmt/format.h>

#include <iterator>
#include <tuple>

namespace vmm {

// State is the caller's between runs and the Runtime's (below 2 GiB, where translated code can name it)
// during them.
struct Engine::Impl {
    CpuState* outside = nullptr;
    std::unique_ptr<EngineCore> core;
    uint64_t first_mappings = 0; // after the first revert
};

Engine::Engine() = default;
Engine::~Engine() = default;

base::Result<std::unique_ptr<Engine>> Engine::create(CpuState& state, GuestMemory& memory, IoBus& io,
                                                     EngineConfig config) {
    std::unique_ptr<Engine> engine(new Engine);
    engine->impl_ = std::make_unique<Impl>();
    engine->impl_->outside = &state;
    engine->impl_->core = TRY(EngineCore::create(memory, io, config));
    return engine;
}

Engine::Stop Engine::run() {
    EngineCore& core = *impl_->core;
    core.rt->cpu = *impl_->outside;
    core.was_paging = core.rt->cpu.paging();
    const Stop stop = core.run();
    *impl_->outside = core.rt->cpu;
    return stop;
}

void Engine::kick() {
    impl_->core->attention.store(true);
    impl_->core->arm_poll();
}

void Engine::request_stop() {
    impl_->core->stop_requested.store(true);
    impl_->core->arm_poll();
}

void Engine::leave_string(ucontext_t& interrupted) { impl_->core->leave_string(interrupted); }

void Engine::set_boundary_hook(std::function<void()> hook) { impl_->core->boundary_hook = std::move(hook); }
void Engine::set_interrupt_source(InterruptSource* source) { impl_->core->interrupts_ = source; }
void Engine::set_apic(ApicMsrs* apic) { impl_->core->cpu->set_apic(apic); }
void Engine::set_math_error_wires(MathErrorWires* wires) { impl_->core->math_errors = wires; }
void Engine::interrupt_line_changed() { impl_->core->interrupt_line_changed(); }
void Engine::set_fault_intercept(std::function<bool(const Fault&)> intercept) {
    impl_->core->intercept = std::move(intercept);
}
Cpu& Engine::cpu() { return *impl_->core->cpu; }

void Engine::state_replaced() {
    EngineCore& core = *impl_->core;
    core.rt->cpu = *impl_->outside;
    core.idle_loops.forget(core);
    core.ferr = core.math_errors != nullptr; // to be looked at
    core.linear->flush();
    core.windows->revoke_all();
    core.windows->paging_changed();
    core.flush_requested = true;
    core.apply_pending();
    core.was_paging = core.rt->cpu.paging();
}

void Engine::state_reverted() {
    EngineCore& core = *impl_->core;
    core.rt->cpu = *impl_->outside;
    core.idle_loops.forget(core);
    core.paging_changed(); // windows compare their page tables; global pages are looked at again
    if (core.supervisor_code.has_global() && !(core.rt->cpu.paging() && (core.rt->cpu.cr4 & cr4::kPge) != 0))
        core.flush_requested = true; // nothing to look at them through
    core.contexts_stale = true;      // jump tables, shadow stacks, fetches
    // Pages that come and go from one session to the next leave mappings in pieces; start afresh before they
    // add up.
    constexpr uint64_t kMorePieces = 512;
    const uint64_t mappings = core.windows->statistics().live_mappings;
    if (impl_->first_mappings == 0)
        impl_->first_mappings = mappings;
    else if (mappings > impl_->first_mappings + kMorePieces)
        core.windows->revoke_all();
    core.refill_ = {};
    core.held_hits = 0;
    core.ferr = core.math_errors != nullptr;
    core.apply_pending();
}

CodeUse Engine::code_use() const {
    const CodeCache& cache = *impl_->core->cache;
    const auto& k = cache.statistics;
    return {cache.used(), k.blocks, k.copied, k.revived, k.invalidated, k.flushes};
}

SpecialForms Engine::special_forms() const {
    const EngineCore& core = *impl_->core;
    const Sites::Statistics& s = core.cache->sites.statistics;
    SpecialForms forms;
    for (size_t i = 0; i < s.made.size(); ++i) {
        const auto reason = static_cast<Sites::Reason>(i);
        const bool arrival = reason == Sites::Reason::Arrival, wrap = reason == Sites::Reason::Wrap;
        (arrival ? forms.arrivals : wrap ? forms.wraps : forms.callouts) += s.live[i];
        (arrival ? forms.arrivals_made : wrap ? forms.wraps_made : forms.callouts_made) += s.made[i];
    }
    forms.needed = s.needed;
    forms.needless = s.needless;
    forms.mapped_by_callouts = core.counters.callout_maps;
    forms.mapped = core.windows->statistics().mapped_pages;
    return forms;
}

std::string Engine::failure() const { return impl_->core->containment->failure(); }

std::string Engine::statistics() const {
    const EngineCore& core = *impl_->core;
    const auto& c = core.counters;
    const auto& k = core.cache->statistics;
    const auto& p = core.page_links->statistics;
    const auto& w = core.windows->statistics();
    const Sites::Statistics& s = core.cache->sites.statistics;
    const Containment::Statistics& checked = core.containment->statistics;
    static constexpr const char* kReasons[] = {"cold",  "device", "code",   "crossing",
                                               "split", "wrap",   "arrival"};
    static_assert(std::size(kReasons) == std::tuple_size_v<decltype(s.made)>);
    std::string marks;
    for (size_t i = 0; i < s.made.size(); ++i)
        marks += fmt::format(" {} {}/{}", kReasons[i], s.live[i], s.made[i]);
    return fmt::format(
        "entries {} (link {} indirect {} callout {} fault {} poll {} retry {}) host faults {} exceptions {} "
        "interrupts {}\nblocks {} copied {} links {} flushes {} invalidated {} guest bytes {} host bytes {}\n"
        "window faults {} maps {} pages {} revocations {} evictions {} flushes {} mappings {} windows {}\n"
        "special forms now/made:{}, returned {} died with their code {} crowded out {}; accesses by "
        "call-out: needed "
        "{} "
        "needless {} maps {}\n"
        "links to other pages {} undone {} pages handed over {} shared {}\n"
        "dormant blocks {} revived {} dropped {}; pages mixed {} tried without their code {}\n"
        "idle loops found {} refuted {}; busy blocks made whole {}\n"
        "code checked: blocks {} copies {} patches {} bytes {}, left out {}",
        c.exits, c.links, c.indirect, c.callout_exits, c.faults, c.polls, c.retries, c.host_faults,
        c.guest_exceptions, c.interrupts, k.blocks, k.copied, k.links, k.flushes, k.invalidated,
        k.guest_bytes, k.host_bytes, w.faults, w.maps, w.mapped_pages, w.revocations, w.evictions, w.flushes,
        w.live_mappings, w.live_windows, marks, s.returned, s.forgotten, s.crowded_out, s.needed, s.needless,
        c.callout_maps, p.made, p.undone, p.handed_over, p.shared, k.dormant, k.revived, k.dormant_dropped,
        k.mixed_pages, k.code_dropped, core.idle_loops.statistics().found,
        core.idle_loops.statistics().refuted, c.made_whole, checked.blocks, checked.copies, checked.patches,
        checked.bytes, checked.left_out);
}

} // namespace vmm
