// The dispatcher: everything that happens between instructions. A turn heeds what others want, delivers an
// interrupt, brings the address space and the breakpoints up to date, finds the code for the present EIP and
// enters it; what the way out says is for the next turn.
#include "vmm/base/verify.h"
#include "vmm/translator/fpu_state.h"
#include "vmm/translator/host_window.h"
#include "vmm/translator/vcpu.h"

#include <cstring>
#include <optional>
#include <utility>

namespace vmm {

namespace {

constexpr uint32_t kNoLink = ~0u;

// The guest's control word with all exceptions masked, so that an instruction can run over a pending error.
// What it does itself is masked, too; that is the DEVIATION from a processor with IGNNE# up, which would
// leave its own errors pending. A control word that the instruction loads stays: the infinity bit, which no
// operation looks at, is turned round meanwhile to tell.
class MaskedMathErrors {
  public:
    MaskedMathErrors() {
        FxArea image;
        store_x87(image);
        before_ = control(image);
        during_ = static_cast<uint16_t>((before_ | kMasks) ^ kInfinity);
        set_control(image, during_);
    }
    ~MaskedMathErrors() {
        FxArea image;
        store_x87(image);
        if (control(image) == during_)
            set_control(image, before_);
    }
    MaskedMathErrors(const MaskedMathErrors&) = delete;
    MaskedMathErrors& operator=(const MaskedMathErrors&) = delete;

  private:
    static constexpr uint16_t kMasks = 0x3F, kInfinity = 1u << 12;
    static uint16_t control(const FxArea& image) {
        uint16_t word = 0;
        std::memcpy(&word, image.bytes.data(), sizeof word);
        return word;
    }
    // FLDCW would report the error; FXRSTOR does not.
    static void set_control(FxArea& image, uint16_t word) {
        std::memcpy(image.bytes.data(), &word, sizeof word);
        load_x87(image);
    }

    uint16_t before_ = 0, during_ = 0;
};

class Dispatcher {
  public:
    explicit Dispatcher(Vcpu& vcpu) : vcpu_(vcpu), cpu_(vcpu.rt->cpu) {}
    Engine::Stop run();

  private:
    std::optional<Engine::Stop> heed_requests();
    bool take_interrupt();
    void catch_up();
    void follow_address_space();
    bool takes_instruction_breakpoint(const ModeKey& key);
    uint32_t find_code(const ModeKey& key);
    [[nodiscard]] bool goes_back(const ModeKey& key) const;
    void patch_link(Block& block, const ModeKey& key);
    void execute(uint32_t code, const ModeKey& key);
    void deliver_fault();
    void follow_math_error(ModeKey& key);
    bool report_math_error();
    void end_instruction(const ModeKey& key);

    Vcpu& vcpu_;
    CpuState& cpu_;
    uint64_t window_ = 0;
    uint32_t link_from_ = kNoLink; // link of the last exit, to be patched once its target is known
    bool from_indirect_ = false, after_callout_ = false;
    bool ignore_math_error_ = false; // in the next instruction
};

Engine::Stop Dispatcher::run() {
    for (;;) {
        if (const auto stop = heed_requests())
            return *stop;
        if (take_interrupt())
            continue;
        if (cpu_.halted)
            return Engine::Stop::Halted;
        catch_up();
        if ((cpu_.dr[7] & 0xFF) != 0 || vcpu_.breakpoints.any())
            vcpu_.follow_breakpoints();
        ModeKey key = compute_mode_key(cpu_);
        if (vcpu_.alone_left != 0) {
            --vcpu_.alone_left;
            key.bits |= ModeKey::kWatched;
        }
        if (vcpu_.ferr)
            follow_math_error(key);
        vcpu_.running_key = key;
        follow_address_space();
        if (takes_instruction_breakpoint(key))
            continue;
        vcpu_.step_suppressed = false;
        vcpu_.breakpoint_hits = vcpu_.held_hits;
        vcpu_.held_hits = 0;
        if (const uint32_t code = find_code(key); code != 0)
            execute(code, key);
        if (vcpu_.idle_loops.take_found())
            return Engine::Stop::Idle;
    }
}

std::optional<Engine::Stop> Dispatcher::heed_requests() {
    vcpu_.disarm_poll();
    vcpu_.interrupt_due = false;
    if (vcpu_.stop_requested.exchange(false))
        return Engine::Stop::Requested;
    if (vcpu_.attention.exchange(false) && vcpu_.boundary_hook) {
        vcpu_.review_timed_forms();
        vcpu_.boundary_hook();
        if (vcpu_.stop_requested.exchange(false))
            return Engine::Stop::Requested;
    }
    if (vcpu_.intercepted)
        return Engine::Stop::Intercepted;
    if (cpu_.shutdown)
        return Engine::Stop::Shutdown;
    return std::nullopt;
}

bool Dispatcher::take_interrupt() {
    Runtime& rt = *vcpu_.rt;
    const bool pending = vcpu_.interrupt_pending();
    rt.sti_poll_pointer = pending ? vcpu_.trap_page_ : reinterpret_cast<uint64_t>(&rt.slot);
    rt.interrupt_waiting = pending ? kInterruptWaiting : 0;
    if (vcpu_.nmi_due() && !cpu_.interrupt_shadow) {
        ++vcpu_.counters.interrupts;
        vcpu_.interrupts_->acknowledge_nmi();
        vcpu_.cpu->external_interrupt(static_cast<uint8_t>(Vector::Nmi));
        link_from_ = kNoLink;
        return true;
    }
    if (!pending || !(cpu_.eflags & eflags::kIf) || cpu_.interrupt_shadow)
        return false;
    ++vcpu_.counters.interrupts;
    vcpu_.cpu->external_interrupt(vcpu_.interrupts_->acknowledge_interrupt());
    link_from_ = kNoLink;
    return true;
}

// Flushes that were asked for while translated code was on the stack; a link may not outlive its block.
void Dispatcher::catch_up() {
    const bool full = vcpu_.shared->full();
    if (!vcpu_.flush_requested && !vcpu_.contexts_stale && !vcpu_.code_changed && !full)
        return;
    if (vcpu_.code_changed || vcpu_.flush_requested || full)
        link_from_ = kNoLink;
    vcpu_.apply_pending();
}

void Dispatcher::follow_address_space() {
    vcpu_.segments.follow(cpu_);
    if (const uint64_t base = vcpu_.windows->select(); base != window_) {
        window_ = base;
        vcpu_.rt->window_base = base;
        write_gs_base(base);
    }
    Vcpu::Refill& refill = vcpu_.refill_;
    if (refill.pending && cpu_.cpl == 3) {
        refill.pending = false;
        if (cpu_.eip == refill.eip)
            (void)vcpu_.windows->resolve(refill.linear, refill.write ? AccessKind::Write : AccessKind::Read);
    }
}

// SDM Vol. 3B 17.3.1.1: instruction breakpoints are faults, RF and a MOV SS before the instruction hold them
// off.
bool Dispatcher::takes_instruction_breakpoint(const ModeKey& key) {
    if (!key.has(ModeKey::kBreakpoints) || (cpu_.eflags & eflags::kRf) ||
        cpu_.interrupt_shadow == kShadowMovSs)
        return false;
    const uint32_t hits = vcpu_.breakpoints.at(cpu_.segment(SegReg::Cs).base + cpu_.eip);
    if (hits == 0)
        return false;
    vcpu_.cpu->raise_debug(hits);
    link_from_ = kNoLink;
    return true;
}

// Where translated code for the present EIP begins; 0 when fetching it raised an exception (delivered).
uint32_t Dispatcher::find_code(const ModeKey& key) {
    const bool linkable = vcpu_.shared->config.block_mode == BlockMode::Linked && !key.has(ModeKey::kAlone) &&
                          !vcpu_.stops_here(key);
    uint32_t code = 0;
    // Back from a call-out that transferred, say a system call: what an indirect jump may use without
    // asking, so may this.
    if (linkable && after_callout_) {
        vcpu_.select_context(key);
        code = vcpu_.context->table[Contexts::index_of(cpu_.eip)];
    }
    if (code == 0 || code == vcpu_.shared->stubs.indirect_miss) {
        Block* block = vcpu_.current_block(linkable && goes_back(key));
        if (block == nullptr) {
            link_from_ = kNoLink;
            return 0;
        }
        vcpu_.select_context(key);
        vcpu_.admit(key, (cpu_.segment(SegReg::Cs).base + cpu_.eip) >> kPageShift);
        if (linkable && link_from_ != kNoLink)
            patch_link(*block, key);
        if (linkable && (from_indirect_ || after_callout_))
            vcpu_.contexts.set(*vcpu_.context, cpu_.eip, block->entry);
        code = block->body;
    }
    // Whatever way we came: a CALL of this block leaves a landing that must not outlive the page's mapping.
    vcpu_.context->note((cpu_.segment(SegReg::Cs).base + cpu_.eip) >> kPageShift);
    after_callout_ = false;
    link_from_ = kNoLink;
    from_indirect_ = false;
    return code;
}

// Did the last block's exit, a jump, come back to where it or a block before it begins? What has run twice is
// likely to run often.
bool Dispatcher::goes_back(const ModeKey& key) const {
    if (link_from_ >= vcpu_.shared->cache->links.size())
        return false;
    const Link& link = vcpu_.shared->cache->links[link_from_];
    return link.from != nullptr && !link.call && link.from->key == key &&
           link.from->eip + link.from->guest_bytes - cpu_.eip <= kPageSize;
}

// The last block's exit goes to `block` without us from now on, by way of the jump table where a direct jump
// would outlive the mapping it is made under.
void Dispatcher::patch_link(Block& block, const ModeKey& key) {
    if (link_from_ >= vcpu_.shared->cache->links.size())
        return;
    Link& link = vcpu_.shared->cache->links[link_from_];
    if (link.from == nullptr || !(link.from->key == key))
        return;
    const uint64_t root = vcpu_.root_identity();
    const uint32_t from = link.from->eip >> kPageShift;
    const bool reachable =
        link.crosses
            ? vcpu_.crosses_pages(key) && vcpu_.shared->page_links->owns(root, from)
            : link.from->backing == block.backing || !cpu_.paging() || (link.from->global && block.global);
    if (block.second_backing != kNoPage || !reachable) {
        vcpu_.shared->cache->link_through_table(link);
        return;
    }
    vcpu_.shared->cache->link(link, block);
    if (link.crosses)
        vcpu_.shared->page_links->made(link_from_, root, from, block.eip >> kPageShift);
}

void Dispatcher::execute(uint32_t code, const ModeKey& key) {
    // RF and the shadow last for one instruction: the shadow is in the key, so this block is that one.
    // Both come back if the block is left before it has done anything.
    const uint32_t first_eip = cpu_.eip, resume_flag = cpu_.eflags & eflags::kRf;
    const uint8_t shadow = cpu_.interrupt_shadow;
    const uint32_t held_hits = vcpu_.breakpoint_hits; // so far, those of a MOV SS before
    cpu_.eflags &= ~eflags::kRf;
    cpu_.interrupt_shadow = 0;
    vcpu_.rt->exit_reason = ~0u;
    if (std::exchange(ignore_math_error_, false)) {
        const MaskedMathErrors masked;
        vcpu_.enter(code);
    } else {
        vcpu_.enter(code);
    }
    if (std::exchange(vcpu_.again_alone, false))
        vcpu_.rt->exit_reason = static_cast<uint32_t>(ExitReason32::Retry);
    switch (static_cast<ExitReason32>(vcpu_.rt->exit_reason)) {
    case ExitReason32::Link:
        ++vcpu_.counters.links;
        link_from_ = vcpu_.rt->exit_argument;
        break;
    case ExitReason32::Indirect:
        ++vcpu_.counters.indirect;
        from_indirect_ = true;
        break;
    case ExitReason32::Callout:
        ++vcpu_.counters.callout_exits;
        after_callout_ = true;
        break;
    case ExitReason32::Fault:
        if (report_math_error())
            cpu_.eflags |= resume_flag;
        else
            deliver_fault();
        return;
    case ExitReason32::Poll:
    case ExitReason32::Retry:
        ++(vcpu_.rt->exit_reason == static_cast<uint32_t>(ExitReason32::Poll) ? vcpu_.counters.polls
                                                                              : vcpu_.counters.retries);
        vcpu_.make_busy_whole();
        if (cpu_.eip == first_eip) {
            cpu_.eflags |= resume_flag;
            cpu_.interrupt_shadow = shadow;
            vcpu_.held_hits = held_hits;
        }
        return;
    default:
        VERIFY(!"translated code left without a reason");
    }
    end_instruction(key);
}

// An x87 error while CR0.NE is 0, met by the instruction that reports it (SDM Vol. 1 8.7.2): the processor
// raises FERR# and stands still until an interrupt comes, or goes on where IGNNE# says so.
bool Dispatcher::report_math_error() {
    if (vcpu_.pending_fault.vector != Vector::MathFault || vcpu_.math_errors == nullptr ||
        (cpu_.cr0 & cr0::kNe) != 0)
        return false;
    ++vcpu_.counters.faults;
    if (vcpu_.ferr && vcpu_.math_errors->ignne()) {
        ignore_math_error_ = true;
        return true;
    }
    vcpu_.ferr = true;
    vcpu_.math_errors->set_ferr(true);
    cpu_.halted = 1;
    return true;
}

// FERR# falls with the error summary, which translated code clears without telling (FNCLEX and others); while
// IGNNE# is up, that is looked for after every instruction.
void Dispatcher::follow_math_error(ModeKey& key) {
    constexpr uint16_t kErrorSummary = 1u << 7;
    uint16_t status = 0;
    asm volatile("fnstsw %0" : "=m"(status));
    if ((status & kErrorSummary) == 0 || (cpu_.cr0 & cr0::kNe) != 0) {
        vcpu_.ferr = false;
        vcpu_.math_errors->set_ferr(false);
    } else if (vcpu_.math_errors->ignne()) {
        key.bits |= ModeKey::kOneInstruction;
    }
}

void Dispatcher::deliver_fault() {
    const Fault& fault = vcpu_.pending_fault;
    ++vcpu_.counters.faults;
    if (fault.vector == Vector::PageFault && cpu_.cpl == 3) {
        constexpr uint32_t kWriteFault = 2;
        vcpu_.refill_ = {true, (fault.error_code & kWriteFault) != 0, cpu_.eip,
                         static_cast<uint32_t>(fault.linear_address)};
    }
    vcpu_.raise(fault);
}

// Traps: single step and the data breakpoints met, put off past the instruction after a MOV SS.
void Dispatcher::end_instruction(const ModeKey& key) {
    if (cpu_.interrupt_shadow == kShadowMovSs) {
        vcpu_.held_hits = vcpu_.breakpoint_hits;
        return;
    }
    const bool single_step = key.has(ModeKey::kTrapFlag);
    if (vcpu_.step_suppressed || (!single_step && vcpu_.breakpoint_hits == 0))
        return;
    constexpr uint32_t kSingleStep = 1u << 14; // DR6.BS
    if (!vcpu_.intercept || !vcpu_.intercept({Vector::Debug, false, 0, 0}))
        vcpu_.cpu->raise_debug(vcpu_.breakpoint_hits | (single_step ? kSingleStep : 0));
    else
        vcpu_.intercepted = true;
    link_from_ = kNoLink;
}

} // namespace

void Vcpu::enter(uint32_t code) {
    running = true;
    ++counters.exits;
    scatter_flags();
    check_shadow_stack();
    shared->stubs.enter(rt, code);
    check_shadow_stack();
    gather_flags();
    running = false;
}

Engine::Stop Vcpu::run() {
    ThreadSignals signals(*this, signal_stack_);
    GuestFpu fpu(rt->cpu.fx);
    intercepted = false;
    return Dispatcher(*this).run();
}

} // namespace vmm
