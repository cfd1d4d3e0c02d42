#include "vmm/translator/engine.h"

#include "vmm/translator/vcpu.h"

#include <fmt/format.h>

#include <iterator>
#include <tuple>

namespace vmm {

// State is the caller's between runs and the Runtime's (below 2 GiB, where translated code can name it)
// during them.
struct Engine::Impl {
    CpuState* outside = nullptr;
    std::unique_ptr<Translations> shared;
    std::unique_ptr<Vcpu> vcpu;
    uint64_t first_mappings = 0; // after the first revert
};

Engine::Engine() = default;
Engine::~Engine() = default;

base::Result<std::unique_ptr<Engine>> Engine::create(CpuState& state, GuestMemory& memory, IoBus& io,
                                                     EngineConfig config) {
    std::unique_ptr<Engine> engine(new Engine);
    engine->impl_ = std::make_unique<Impl>();
    engine->impl_->outside = &state;
    engine->impl_->vcpu = TRY(Vcpu::create(memory, io));
    Vcpu& vcpu = *engine->impl_->vcpu;
    engine->impl_->shared = TRY(Translations::create(memory, config, {*vcpu.runtime_memory, vcpu.segments}));
    engine->impl_->shared->add(vcpu);
    return engine;
}

Engine::Stop Engine::run() {
    Vcpu& vcpu = *impl_->vcpu;
    vcpu.rt->cpu = *impl_->outside;
    vcpu.was_paging = vcpu.rt->cpu.paging();
    const Stop stop = vcpu.run();
    *impl_->outside = vcpu.rt->cpu;
    return stop;
}

void Engine::kick() {
    impl_->vcpu->attention.store(true);
    impl_->vcpu->arm_poll();
}

void Engine::request_stop() {
    impl_->vcpu->stop_requested.store(true);
    impl_->vcpu->arm_poll();
}

void Engine::leave_string(ucontext_t& interrupted) { impl_->vcpu->leave_string(interrupted); }

void Engine::set_boundary_hook(std::function<void()> hook) { impl_->vcpu->boundary_hook = std::move(hook); }
void Engine::set_interrupt_source(InterruptSource* source) { impl_->vcpu->interrupts_ = source; }
void Engine::set_apic(ApicMsrs* apic) { impl_->vcpu->cpu->set_apic(apic); }
void Engine::set_math_error_wires(MathErrorWires* wires) { impl_->vcpu->math_errors = wires; }
void Engine::interrupt_line_changed() { impl_->vcpu->interrupt_line_changed(); }
void Engine::set_fault_intercept(std::function<bool(const Fault&)> intercept) {
    impl_->vcpu->intercept = std::move(intercept);
}
Cpu& Engine::cpu() { return *impl_->vcpu->cpu; }

void Engine::state_replaced() {
    Vcpu& vcpu = *impl_->vcpu;
    vcpu.rt->cpu = *impl_->outside;
    vcpu.idle_loops.forget(vcpu);
    vcpu.ferr = vcpu.math_errors != nullptr; // to be looked at
    vcpu.linear->flush();
    vcpu.windows->revoke_all();
    vcpu.windows->paging_changed();
    vcpu.flush_requested = true;
    vcpu.apply_pending();
    vcpu.was_paging = vcpu.rt->cpu.paging();
}

void Engine::state_reverted() {
    Vcpu& vcpu = *impl_->vcpu;
    vcpu.rt->cpu = *impl_->outside;
    vcpu.idle_loops.forget(vcpu);
    vcpu.paging_changed(); // windows compare their page tables; global pages are looked at again
    if (vcpu.supervisor_code.has_global() && !(vcpu.rt->cpu.paging() && (vcpu.rt->cpu.cr4 & cr4::kPge) != 0))
        vcpu.flush_requested = true; // nothing to look at them through
    vcpu.contexts_stale = true;      // jump tables, shadow stacks, fetches
    // Pages that come and go from one session to the next leave mappings in pieces; start afresh before they
    // add up.
    constexpr uint64_t kMorePieces = 512;
    const uint64_t mappings = vcpu.windows->statistics().live_mappings;
    if (impl_->first_mappings == 0)
        impl_->first_mappings = mappings;
    else if (mappings > impl_->first_mappings + kMorePieces)
        vcpu.windows->revoke_all();
    vcpu.refill_ = {};
    vcpu.held_hits = 0;
    vcpu.ferr = vcpu.math_errors != nullptr;
    vcpu.apply_pending();
}

CodeUse Engine::code_use() const {
    const CodeCache& cache = *impl_->vcpu->shared->cache;
    const auto& k = cache.statistics;
    return {cache.used(), k.blocks, k.copied, k.revived, k.invalidated, k.flushes};
}

SpecialForms Engine::special_forms() const {
    const Vcpu& vcpu = *impl_->vcpu;
    const Sites::Statistics& s = vcpu.shared->cache->sites.statistics;
    SpecialForms forms;
    for (size_t i = 0; i < s.made.size(); ++i) {
        const auto reason = static_cast<Sites::Reason>(i);
        const bool arrival = reason == Sites::Reason::Arrival, wrap = reason == Sites::Reason::Wrap;
        (arrival ? forms.arrivals : wrap ? forms.wraps : forms.callouts) += s.live[i];
        (arrival ? forms.arrivals_made : wrap ? forms.wraps_made : forms.callouts_made) += s.made[i];
    }
    forms.needed = s.needed;
    forms.needless = s.needless;
    forms.mapped_by_callouts = vcpu.counters.callout_maps;
    forms.mapped = vcpu.windows->statistics().mapped_pages;
    return forms;
}

std::string Engine::failure() const { return impl_->vcpu->shared->containment->failure(); }

std::string Engine::statistics() const {
    const Vcpu& vcpu = *impl_->vcpu;
    const auto& c = vcpu.counters;
    const auto& k = vcpu.shared->cache->statistics;
    const auto& p = vcpu.shared->page_links->statistics;
    const auto& w = vcpu.windows->statistics();
    const Sites::Statistics& s = vcpu.shared->cache->sites.statistics;
    const Containment::Statistics& checked = vcpu.shared->containment->statistics;
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
        k.mixed_pages, k.code_dropped, vcpu.idle_loops.statistics().found,
        vcpu.idle_loops.statistics().refuted, c.made_whole, checked.blocks, checked.copies, checked.patches,
        checked.bytes, checked.left_out);
}

} // namespace vmm
