// The processor's local APIC in xAPIC mode (SDM Vol. 3A chapter 11): version 14h with six local vectors, the
// 8259 pair's INTR on LINT0. Nothing is wired to LINT1, and thermal sensor and performance counters, which
// the processor does not have, never ask. At reset it is enabled and everything in it is masked, as the SDM
// says; firmware opens LINT0 for the 8259 pair ("virtual wire mode"). Disabled in IA32_APIC_BASE it is not
// there, and INTR is a pin of the processor.
//
// For several processors: one of these each, with the IDs counted up; what they say to one another already
// goes by way of the ApicBus.
#include "vmm/bus/apic_bus.h"
#include "vmm/devices/device_list.h"
#include "vmm/devices/local_apic_timer.h"
#include "vmm/devices/vga_bar_pages.h"
#include "vmm/firmware/acpi_hardware.h"

#include <algorithm>
#include <array>
#include <bit>

namespace vmm {

namespace {

constexpr uint32_t kBaseMsr = 0x1B; // IA32_APIC_BASE
constexpr uint64_t kBaseBsp = 1u << 8, kBaseEnable = 1u << 11, kBaseReset = acpi_hardware::kLocalApicAddress;
constexpr uint64_t kBaseAddress = kPhysicalAddressMask & ~uint64_t{kPageSize - 1};

// Registers, by bits 11:4 of their address (SDM Vol. 3A table 11-1).
enum Register : uint8_t {
    kId = 0x02,
    kVersion = 0x03,
    kTpr = 0x08,
    kApr = 0x09,
    kPpr = 0x0A,
    kEoi = 0x0B,
    kRemoteRead = 0x0C,
    kLdr = 0x0D,
    kDfr = 0x0E,
    kSvr = 0x0F,
    kIsr = 0x10, // eight of each
    kTmr = 0x18,
    kIrr = 0x20,
    kEsr = 0x28,
    kIcrLow = 0x30,
    kIcrHigh = 0x31,
    kLvt = 0x32,
    kLvtEnd = 0x38,
    kInitialCount = 0x38,
    kCurrentCount = 0x39,
    kDivide = 0x3E,
};
constexpr uint32_t kVersionValue = 5u << 16 | 0x14; // highest local vector, version
constexpr uint32_t kSvrEnable = 1u << 8, kSvrWritable = 0x3FF, kSvrReset = 0xFF;
constexpr uint32_t kDfrFixed = 0x0FFFFFFF;
constexpr uint32_t kHighByte = 0xFF000000;

enum Local : unsigned { kTimer, kThermal, kPerformance, kLint0, kLint1, kError, kLocals };
constexpr uint32_t kMasked = 1u << 16, kPeriodic = 1u << 17, kActiveLow = 1u << 13, kRemoteIrr = 1u << 14,
                   kLevel = 1u << 15;
constexpr uint32_t kVectorBits = 0xFF, kModeBits = 7u << 8;
constexpr std::array<uint32_t, kLocals> kLvtWritable{
    kVectorBits | kMasked | kPeriodic,
    kVectorBits | kModeBits | kMasked,
    kVectorBits | kModeBits | kMasked,
    kVectorBits | kModeBits | kActiveLow | kLevel | kMasked,
    kVectorBits | kModeBits | kActiveLow | kLevel | kMasked,
    kVectorBits | kMasked,
};

constexpr uint32_t kIcrWritable = 0x000CCFFF; // but delivery status
constexpr uint32_t kIcrLogical = 1u << 11, kIcrAssert = 1u << 14;
enum Shorthand : uint8_t { kNoShorthand, kSelf, kAllIncludingSelf, kAllExcludingSelf };
constexpr uint8_t kBroadcast = 0xFF;

enum Esr : uint8_t {
    kSendIllegalVector = 1u << 5,
    kReceivedIllegalVector = 1u << 6,
    kIllegalRegister = 1u << 7
};
constexpr uint8_t kEsrDefined = kSendIllegalVector | kReceivedIllegalVector | kIllegalRegister;
constexpr uint8_t kFirstLegalVector = 16;

// As the PIT's: a periodic timer wakes the host no more often than this, and what a late host owes a guest is
// bounded.
constexpr uint64_t kMinWakeNanos = 20'000;
constexpr uint64_t kMaxOwed = 2000;

// One bit for each vector: IRR, ISR, TMR.
struct VectorBits {
    std::array<uint32_t, 8> words{};
    [[nodiscard]] bool test(uint8_t vector) const { return (words[vector / 32] >> (vector % 32) & 1) != 0; }
    void set(uint8_t vector) { words[vector / 32] |= 1u << (vector % 32); }
    void clear(uint8_t vector) { words[vector / 32] &= ~(1u << (vector % 32)); }
    // 0: none; vectors below 16 never get here.
    [[nodiscard]] uint8_t highest() const {
        for (unsigned word = 8; word-- > 0;)
            if (words[word] != 0)
                return static_cast<uint8_t>(32 * word + 31u -
                                            static_cast<unsigned>(std::countl_zero(words[word])));
        return 0;
    }
};

uint8_t priority_class(uint8_t vector) { return vector & 0xF0; }
DeliveryMode mode_of(uint32_t entry) { return static_cast<DeliveryMode>(entry >> 8 & 7); }

class LocalApic final : public Device,
                        public MmioHandler,
                        public InterruptSource,
                        public IntrWire,
                        public ApicMsrs,
                        public LocalApicPort {
  public:
    explicit LocalApic(Platform& platform) : platform_(platform), pic_(platform.interrupts) {
        platform.interrupts = this;
        platform.intr = this;
        platform.apic = this;
        platform.apics.attach(*this);
        timer_id_ = platform.clock.add_timer(name(), [this] { timer_fired(); });
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "local_apic"; }

    void reset() override {
        base_ = kBaseReset | kBaseEnable | kBaseBsp;
        reset_registers();
        place();
        update();
    }

    void serialize(base::StateArchive& archive) override;

    // -- the processor's side --------------------------------------------------------------------------
    [[nodiscard]] bool interrupt_pending() const override { return pending_; }
    [[nodiscard]] bool nmi_pending() const override { return nmi_; }
    void acknowledge_nmi() override { nmi_ = false; }
    [[nodiscard]] bool nmi_possible() const override {
        const DeliveryMode lint0 = mode_of(lvt_[kLint0]);
        const bool by_lint0 =
            (lvt_[kLint0] & kMasked) == 0 && (lint0 == DeliveryMode::Nmi || lint0 == DeliveryMode::Init);
        return enabled() && (by_lint0 || platform_.apics.nmi_possible());
    }
    uint8_t acknowledge_interrupt() override;

    [[nodiscard]] bool enabled() const override { return (base_ & kBaseEnable) != 0; }
    [[nodiscard]] uint8_t initial_id() const override { return 0; }
    [[nodiscard]] std::optional<uint64_t> read_msr(uint32_t index) const override {
        return index == kBaseMsr ? std::optional(base_) : std::nullopt;
    }
    [[nodiscard]] bool write_msr(uint32_t index, uint64_t value) override;
    [[nodiscard]] uint8_t task_priority() const override { return tpr_; }
    void set_task_priority(uint8_t value) override {
        write_register(kTpr, value);
        update();
    }

    // -- the bus's side ----------------------------------------------------------------------------------
    [[nodiscard]] bool is_addressed(const ApicMessage& message) const override;
    [[nodiscard]] uint8_t arbitration_priority() const override;
    bool receive(const ApicMessage& message) override;
    [[nodiscard]] bool is_requested(uint8_t vector) const override { return irr_.test(vector); }
    [[nodiscard]] bool takes_pic() const override {
        return !enabled() || ((lvt_[kLint0] & kMasked) == 0 && mode_of(lvt_[kLint0]) == DeliveryMode::ExtInt);
    }
    void set_intr(bool level) override;

    // -- the registers -----------------------------------------------------------------------------------
    uint32_t mmio_read(Physical address, unsigned size) override;
    void mmio_write(Physical address, unsigned size, uint32_t value) override;

  private:
    void reset_registers();
    void place();
    void update();
    [[nodiscard]] uint8_t processor_priority() const;
    [[nodiscard]] bool software_enabled() const { return (svr_ & kSvrEnable) != 0; }
    [[nodiscard]] bool fixed_pending() const {
        return priority_class(irr_.highest()) > priority_class(processor_priority());
    }
    bool accept(uint8_t vector, bool level);
    void raise_local(Local which, bool level);
    void note_error(uint8_t bit);
    void end_of_interrupt();
    void write_svr(uint32_t value);
    void write_lvt(unsigned which, uint32_t value);
    void look_at_lint0(bool rose);
    void send(uint32_t command);
    [[nodiscard]] uint32_t read_register(uint8_t index);
    void write_register(uint8_t index, uint32_t value);

    // -- the timer -----------------------------------------------------------------------------------------
    [[nodiscard]] uint64_t now() const { return platform_.clock.now(); }
    [[nodiscard]] bool timer_masked() const { return (lvt_[kTimer] & kMasked) != 0; }
    void catch_up();
    void schedule();
    void timer_fired() {
        last_wake_ = now();
        catch_up();
        schedule();
    }

    Platform& platform_;
    InterruptSource* pic_;
    Clock::TimerId timer_id_ = 0;
    uint32_t placed_ = kNoPage; // where the registers answer
    bool pending_ = false;

    uint64_t base_ = 0;
    uint32_t id_ = 0, ldr_ = 0, dfr_ = 0, svr_ = 0, icr_low_ = 0, icr_high_ = 0;
    uint8_t tpr_ = 0, esr_ = 0, errors_ = 0; // errors_: since ESR was last written
    VectorBits irr_, isr_, tmr_;
    std::array<uint32_t, kLocals> lvt_{};
    bool intr_ = false;   // level of the 8259 pair's INTR
    bool extint_ = false; // an ExtINT message waits: the vector is the 8259 pair's
    bool nmi_ = false;
    LocalApicTimer timer_;
    uint64_t owed_ = 0; // times the timer has asked, not yet shown in IRR
    uint64_t last_wake_ = 0;
};

// SDM Vol. 3A 11.4.7.1.
void LocalApic::reset_registers() {
    id_ = uint32_t{initial_id()} << 24;
    ldr_ = icr_low_ = icr_high_ = 0;
    dfr_ = ~0u;
    svr_ = kSvrReset;
    tpr_ = esr_ = errors_ = 0;
    irr_ = isr_ = tmr_ = {};
    lvt_.fill(kMasked);
    extint_ = nmi_ = false;
    timer_ = {};
    owed_ = last_wake_ = 0;
    platform_.clock.disarm(timer_id_);
}

// DEVIATION: where RAM, ROM or a device already answers, the registers do not: pages that guests choose take
// nothing away (see BarPages).
void LocalApic::place() {
    const uint32_t page = enabled() ? page_of(base_ & kBaseAddress) : kNoPage;
    if (page == placed_)
        return;
    platform_.memory.unmap_mmio(this);
    placed_ = page;
    const WholeMap whole(platform_.memory);
    if (page != kNoPage && bar_page_free(platform_.memory, page))
        platform_.memory.map_mmio(page, 1, this);
}

bool LocalApic::write_msr(uint32_t index, uint64_t value) {
    if (index != kBaseMsr || (value & ~(kBaseAddress | kBaseEnable | kBaseBsp)) != 0)
        return false;
    const bool was_enabled = enabled();
    base_ = value;
    if (was_enabled != enabled()) // SDM Vol. 3A 11.4.3: as after a reset when it comes back
        reset_registers();
    place();
    update();
    return true;
}

// -- requests ------------------------------------------------------------------------------------------

// SDM Vol. 3A 11.8.3.1.
uint8_t LocalApic::processor_priority() const {
    const uint8_t in_service = priority_class(isr_.highest());
    return priority_class(tpr_) >= in_service ? tpr_ : in_service;
}

// As the P6 family has it (figure "Arbitration Priority Register").
uint8_t LocalApic::arbitration_priority() const {
    const uint8_t requested = priority_class(irr_.highest()), in_service = priority_class(isr_.highest());
    const uint8_t task = priority_class(tpr_);
    if (task >= requested && task > in_service)
        return tpr_;
    return std::max({task, requested, in_service});
}

void LocalApic::update() {
    const bool by_pic = pic_ != nullptr && pic_->interrupt_pending() && takes_pic();
    const bool pending = by_pic || extint_ || fixed_pending();
    if (pending == pending_ && !nmi_)
        return;
    pending_ = pending;
    if (platform_.interrupt_line_changed)
        platform_.interrupt_line_changed();
}

uint8_t LocalApic::acknowledge_interrupt() {
    auto vector = static_cast<uint8_t>(svr_); // the spurious one, should nothing be left
    if (fixed_pending()) {
        vector = irr_.highest();
        irr_.clear(vector);
        isr_.set(vector);
    } else if (pic_ != nullptr && (extint_ || takes_pic())) { // subject to no priority
        extint_ = false;
        vector = pic_->acknowledge_interrupt();
    }
    update();
    return vector;
}

// SDM Vol. 3A 11.6.2. The version does not say that directed EOI or focus processors are.
bool LocalApic::is_addressed(const ApicMessage& message) const {
    if (!enabled())
        return false;
    if (!message.logical)
        return message.destination == kBroadcast || message.destination == id_ >> 24;
    const uint8_t mine = static_cast<uint8_t>(ldr_ >> 24);
    if (dfr_ >> 28 == 0xF) // flat model: a bit each
        return (message.destination & mine) != 0;
    const bool cluster = message.destination >> 4 == mine >> 4 || message.destination >> 4 == 0xF;
    return cluster && (message.destination & mine & 0xF) != 0;
}

bool LocalApic::receive(const ApicMessage& message) {
    bool accepted = true;
    switch (message.mode) {
    case DeliveryMode::Fixed:
    case DeliveryMode::LowestPriority:
        accepted = accept(message.vector, message.level);
        break;
    case DeliveryMode::Nmi:
        nmi_ = true;
        break;
    case DeliveryMode::Init:
        // DEVIATION: as with the keyboard controller's reset pulse, the whole machine begins again.
        if (platform_.system != nullptr)
            platform_.system->request_reset();
        break;
    case DeliveryMode::ExtInt:
        extint_ = true;
        break;
    default: // a running processor ignores SIPI, and this one has no system-management mode
        break;
    }
    update();
    return accepted;
}

bool LocalApic::accept(uint8_t vector, bool level) {
    if (!enabled() || !software_enabled())
        return false;
    if (vector < kFirstLegalVector) {
        note_error(kReceivedIllegalVector);
        return false;
    }
    irr_.set(vector);
    if (level)
        tmr_.set(vector);
    else
        tmr_.clear(vector);
    return true;
}

void LocalApic::raise_local(Local which, bool level) {
    if ((lvt_[which] & kMasked) == 0)
        (void)accept(static_cast<uint8_t>(lvt_[which]), level);
}

// SDM Vol. 3A 11.5.3: one interrupt for what comes until ESR is written.
void LocalApic::note_error(uint8_t bit) {
    const bool armed = errors_ == 0;
    errors_ |= bit;
    const auto vector = static_cast<uint8_t>(lvt_[kError]);
    if (armed && vector >= kFirstLegalVector)
        raise_local(kError, false);
}

void LocalApic::end_of_interrupt() {
    const uint8_t vector = isr_.highest();
    if (vector == 0)
        return;
    isr_.clear(vector);
    if (!tmr_.test(vector))
        return;
    if (static_cast<uint8_t>(lvt_[kLint0]) == vector && (lvt_[kLint0] & kRemoteIrr) != 0) {
        lvt_[kLint0] &= ~kRemoteIrr;
        look_at_lint0(false);
    }
    platform_.apics.end_of_interrupt(vector);
}

// -- LINT0 ---------------------------------------------------------------------------------------------

void LocalApic::set_intr(bool level) {
    const bool rose = level && !intr_;
    intr_ = level;
    look_at_lint0(rose);
    update();
}

// Modes in which INTR is a request of LINT0's own, rather than an invitation to ask the 8259 pair.
void LocalApic::look_at_lint0(bool rose) {
    uint32_t& entry = lvt_[kLint0];
    if ((entry & kMasked) != 0)
        return;
    const bool asserted = intr_ != ((entry & kActiveLow) != 0);
    const bool edge = rose != ((entry & kActiveLow) != 0) && asserted;
    switch (mode_of(entry)) {
    case DeliveryMode::Fixed:
        if ((entry & kLevel) == 0 && edge) {
            raise_local(kLint0, false);
        } else if ((entry & kLevel) != 0 && asserted && (entry & kRemoteIrr) == 0) {
            entry |= kRemoteIrr;
            raise_local(kLint0, true);
        }
        break;
    case DeliveryMode::Nmi:
    case DeliveryMode::Init:
        if (edge)
            (void)receive({.mode = mode_of(entry)});
        break;
    default:
        break;
    }
}

// -- registers -----------------------------------------------------------------------------------------

// SDM Vol. 3A 11.4.1: only aligned doublewords are sure to work. Parts of a register can be read; what lies
// between registers is zero, and narrower writes do nothing.
uint32_t LocalApic::mmio_read(Physical address, unsigned size) {
    const unsigned byte = address & 0xF;
    if (byte >= 4)
        return 0;
    const uint32_t value = read_register(static_cast<uint8_t>(address >> 4)) >> (8 * byte);
    return size == 4 ? value : value & ((1u << (8 * size)) - 1);
}

void LocalApic::mmio_write(Physical address, unsigned size, uint32_t value) {
    if (size != 4 || (address & 0xF) != 0)
        return;
    write_register(static_cast<uint8_t>(address >> 4), value);
    update();
}

uint32_t LocalApic::read_register(uint8_t index) {
    if (index >= kIsr && index < kIsr + 8)
        return isr_.words[index - kIsr];
    if (index >= kTmr && index < kTmr + 8)
        return tmr_.words[index - kTmr];
    if (index >= kIrr && index < kIrr + 8)
        return irr_.words[index - kIrr];
    if (index >= kLvt && index < kLvtEnd)
        return lvt_[index - kLvt];
    switch (index) {
    case kId:
        return id_;
    case kVersion:
        return kVersionValue;
    case kTpr:
        return tpr_;
    case kApr:
        return arbitration_priority();
    case kPpr:
        return processor_priority();
    case kEoi:
    case kRemoteRead:
        return 0;
    case kLdr:
        return ldr_;
    case kDfr:
        return dfr_;
    case kSvr:
        return svr_;
    case kEsr:
        return esr_;
    case kIcrLow:
        return icr_low_;
    case kIcrHigh:
        return icr_high_;
    case kInitialCount:
        return timer_.initial_count();
    case kCurrentCount: {
        catch_up();
        schedule();
        update();
        return timer_.current_count(now());
    }
    case kDivide:
        return timer_.divide();
    default:
        note_error(kIllegalRegister);
        update();
        return 0;
    }
}

void LocalApic::write_register(uint8_t index, uint32_t value) {
    if (index >= kLvt && index < kLvtEnd) {
        write_lvt(index - kLvt, value);
        return;
    }
    switch (index) {
    case kId:
        id_ = value & kHighByte;
        platform_.apics.offer_again();
        break;
    case kTpr:
        tpr_ = static_cast<uint8_t>(value);
        break;
    case kEoi:
        end_of_interrupt();
        break;
    case kLdr:
        ldr_ = value & kHighByte;
        platform_.apics.offer_again();
        break;
    case kDfr:
        dfr_ = value | kDfrFixed;
        platform_.apics.offer_again();
        break;
    case kSvr:
        write_svr(value);
        break;
    case kEsr:
        esr_ = errors_;
        errors_ = 0;
        break;
    case kIcrLow:
        icr_low_ = value & kIcrWritable;
        send(icr_low_);
        break;
    case kIcrHigh:
        icr_high_ = value & kHighByte;
        break;
    case kInitialCount:
        catch_up();
        owed_ = 0;
        timer_.set_initial_count(value, now());
        schedule();
        break;
    case kDivide:
        catch_up();
        timer_.set_divide(static_cast<uint8_t>(value), now());
        schedule();
        break;
    case kVersion: // read-only
    case kApr:
    case kPpr:
    case kRemoteRead:
    case kCurrentCount:
        break;
    default:
        if (index < kIsr || index >= kEsr) // those three are read-only
            note_error(kIllegalRegister);
    }
}

// SDM Vol. 3A 11.4.7.2: while it is disabled by software its local vectors are masked; what was requested
// stays so.
void LocalApic::write_svr(uint32_t value) {
    svr_ = value & kSvrWritable;
    if (software_enabled())
        platform_.apics.offer_again();
    else
        for (unsigned which = 0; which < kLocals; ++which)
            write_lvt(which, lvt_[which] | kMasked);
}

void LocalApic::write_lvt(unsigned which, uint32_t value) {
    if (which == kTimer)
        catch_up();
    uint32_t& entry = lvt_[which];
    entry = (value & kLvtWritable[which]) | (entry & kRemoteIrr) | (software_enabled() ? 0 : kMasked);
    if (which == kTimer) {
        timer_.set_periodic((entry & kPeriodic) != 0, now());
        if (timer_masked() || !timer_.periodic())
            owed_ = 0;
        schedule();
    } else if (which == kLint0) {
        if ((entry & kLevel) == 0 || mode_of(entry) != DeliveryMode::Fixed)
            entry &= ~kRemoteIrr;
        look_at_lint0(false);
    }
}

// SDM Vol. 3A 11.6.1 and table 11-3.
void LocalApic::send(uint32_t command) {
    const auto mode = mode_of(command);
    const auto shorthand = static_cast<Shorthand>(command >> 18 & 3);
    const auto vector = static_cast<uint8_t>(command);
    const bool by_vector = mode == DeliveryMode::Fixed || mode == DeliveryMode::LowestPriority;
    if (by_vector && vector < kFirstLegalVector) {
        note_error(kSendIllegalVector);
        return;
    }
    ApicMessage message{vector, mode, false, (command & kIcrLogical) != 0,
                        static_cast<uint8_t>(icr_high_ >> 24)};
    switch (shorthand) {
    case kNoShorthand:
        break;
    case kSelf:
        if (mode != DeliveryMode::Fixed) // invalid
            return;
        [[fallthrough]];
    case kAllIncludingSelf: // nobody else there
        message.logical = false;
        message.destination = static_cast<uint8_t>(id_ >> 24);
        break;
    case kAllExcludingSelf:
        return;
    }
    // "INIT level de-assert" set arbitration IDs once, and does nothing since.
    if (mode == DeliveryMode::ExtInt || (mode == DeliveryMode::Init && (command & kIcrAssert) == 0))
        return;
    (void)platform_.apics.send(message);
}

// -- the timer -----------------------------------------------------------------------------------------

// Brings IRR up to now. As with the PIT, a tick raised while the one before still waits would be lost, so a
// periodic timer owes it; a one-shot's merges.
void LocalApic::catch_up() {
    const uint64_t expired = timer_.expiries(now());
    if (timer_masked())
        return;
    owed_ = std::min(owed_ + expired, kMaxOwed);
    if (owed_ != 0 && !irr_.test(static_cast<uint8_t>(lvt_[kTimer]))) {
        --owed_;
        raise_local(kTimer, false);
    }
    if (!timer_.periodic())
        owed_ = 0;
    update();
}

void LocalApic::schedule() {
    uint64_t deadline = timer_masked() ? kNever : timer_.next_expiry();
    if (owed_ != 0) // up to twice its rate, until it has made up for them
        deadline = std::min(deadline, now() + timer_.period() / 2);
    if (deadline != kNever && timer_.periodic())
        deadline = std::max(deadline, last_wake_ + kMinWakeNanos);
    platform_.clock.arm(timer_id_, deadline);
}

// -- saved state ---------------------------------------------------------------------------------------

void LocalApic::serialize(base::StateArchive& archive) {
    if (archive.loading() && !archive.holds(name())) {
        // Saved before there was one, by a guest that has learned so from CPUID.
        base_ = kBaseReset | kBaseBsp;
        reset_registers();
        intr_ = pic_ != nullptr && pic_->interrupt_pending();
        place();
        update();
        return;
    }
    archive.begin(name(), 1);
    archive.field("base", base_);
    archive.field("id", id_);
    archive.field("ldr", ldr_);
    archive.field("dfr", dfr_);
    archive.field("svr", svr_);
    archive.field("icr_low", icr_low_);
    archive.field("icr_high", icr_high_);
    archive.field("tpr", tpr_);
    archive.field("esr", esr_);
    archive.field("errors", errors_);
    archive.field("irr", irr_.words);
    archive.field("isr", isr_.words);
    archive.field("tmr", tmr_.words);
    archive.field("lvt", lvt_);
    archive.field("intr", intr_);
    archive.field("extint", extint_);
    archive.field("nmi", nmi_);
    archive.field("owed", owed_);
    timer_.serialize(archive, now());
    archive.end();
    if (!archive.loading())
        return;
    base_ &= kBaseAddress | kBaseEnable | kBaseBsp;
    id_ &= kHighByte;
    ldr_ &= kHighByte;
    dfr_ |= kDfrFixed;
    svr_ &= kSvrWritable;
    icr_low_ &= kIcrWritable;
    icr_high_ &= kHighByte;
    esr_ &= kEsrDefined;
    errors_ &= kEsrDefined;
    for (VectorBits* bits : {&irr_, &isr_, &tmr_})
        bits->words[0] &= ~0u << kFirstLegalVector;
    for (unsigned which = 0; which < kLocals; ++which)
        lvt_[which] = (lvt_[which] & (kLvtWritable[which] | (which == kLint0 ? kRemoteIrr : 0))) |
                      (software_enabled() ? 0 : kMasked);
    timer_.set_periodic((lvt_[kTimer] & kPeriodic) != 0, now());
    owed_ = timer_.periodic() && !timer_masked() ? std::min(owed_, kMaxOwed) : 0;
    last_wake_ = 0;
    place();
    schedule();
    update();
}

} // namespace

std::unique_ptr<Device> make_local_apic(Platform& platform) { return std::make_unique<LocalApic>(platform); }

} // namespace vmm
