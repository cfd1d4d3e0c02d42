#include "tests/vmm/translator/differential/engine_runner.h"

#include "tests/vmm/thread_time.h"
#include "vmm/base/verify.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

namespace differential {

namespace {

using namespace vmm;

constexpr uint64_t kRamBytes = 16u << 20;

// Guest-physical places.
constexpr uint32_t kPdptPhysical = 0x1000, kDirectoryPhysical = 0x2000, kTablePhysical = 0x6000;
constexpr uint32_t kSystemPhysical = 0x40000; // GDT, then LDT
constexpr uint32_t kCodePhysical = 0x100000, kDataPhysical = 0x200000, kStackPhysical = 0x300000,
                   kReadOnlyPhysical = 0x400000;
constexpr unsigned kTables = 8;

// The code once more.
constexpr uint32_t kCodeElsewhere = kCodeBase + 0x02345000;

// Supervisor-only; an address no case aims at.
constexpr uint32_t kSystemLinear = 0xC5A31000;
constexpr uint32_t kGdtLimit = 16 * 8 - 1; // Linux's GDT has 16 entries
constexpr uint16_t kLdtSelector = 0x50;    // as Linux has it on x86-64: SLDT shows it

constexpr uint64_t kPresent = 1, kWritable = 2, kUser = 4, kAccessedDirty = 0x60, kNoExecute = 1ull << 63;

// Descriptor dwords of a user segment (SDM Vol. 3A 3.4.5), marked accessed.
uint32_t attributes_of(const Descriptor& d) {
    const uint32_t type = (d.code ? 0xBu : 0x3u) | (d.expand_down ? 4u : 0u);
    return type << 8 | 1u << 12 | 3u << 13 | 1u << 15 | (d.big ? 1u << 22 : 0) | (d.pages ? 1u << 23 : 0);
}

uint64_t encode(const Descriptor& d) {
    const uint32_t low = (d.limit & 0xFFFF) | d.base << 16;
    const uint32_t high =
        attributes_of(d) | (d.limit & 0xF0000) | (d.base & 0xFF000000) | (d.base >> 16 & 0xFF);
    return uint64_t{high} << 32 | low;
}

Segment segment_for(uint16_t selector) {
    const Descriptor& d = descriptor(selector);
    Segment s;
    s.selector = selector;
    s.usable = 1;
    s.base = d.base;
    s.limit = d.pages ? d.limit << 12 | 0xFFF : d.limit;
    s.set_attributes(attributes_of(d));
    return s;
}

} // namespace

// Ends a run that loops: request_stop() once the same run has taken kMostCaseTime.
struct EngineRunner::Watchdog {
    explicit Watchdog(Engine& engine)
        : engine_(engine), runner_(pthread_self()), thread_([this] { watch(); }) {}
    ~Watchdog() {
        done_ = true;
        thread_.join();
    }
    void watch() {
        watchdog::ThreadTime time(runner_);
        uint64_t last = 0;
        while (!done_) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            const uint64_t now = runs_;
            if (now != last)
                time.restart();
            last = now;
            if ((now & 1) != 0 && time.passed() > kMostCaseTime) { // odd: inside run()
                engine_.request_stop();
                time.restart();
            }
        }
    }
    Engine& engine_;
    const pthread_t runner_;
    std::atomic<uint64_t> runs_ = 0;
    std::atomic<bool> done_ = false;
    std::thread thread_;
};

EngineRunner::~EngineRunner() = default;

base::Result<std::unique_ptr<EngineRunner>> EngineRunner::create(EngineConfig config) {
    std::unique_ptr<EngineRunner> runner(new EngineRunner);
    runner->memory_ = TRY(GuestMemory::create(kRamBytes));
    runner->build_tables();
    config.code_cache_bytes = 16u << 20;
    runner->engine_ = TRY(Engine::create(runner->state_, *runner->memory_, runner->io_, config));
    runner->engine_->set_fault_intercept([self = runner.get()](const Fault& fault) {
        self->intercepted_ = true;
        self->fault_ = fault;
        return true;
    });
    runner->engine_->state_replaced();
    runner->watchdog_ = std::make_unique<Watchdog>(*runner->engine_);
    return runner;
}

void EngineRunner::map_page(uint32_t linear, uint32_t physical, uint64_t flags) {
    const uint32_t directory_entry = kDirectoryPhysical + (linear >> 21) * 8;
    auto directory = memory_->read<uint64_t>(directory_entry);
    if ((directory & kPresent) == 0) {
        static_assert(kTables * kPage + kTablePhysical <= kSystemPhysical);
        uint32_t table = kTablePhysical;
        while (memory_->read<uint64_t>(table + kPage - 8) != 0) // last entry marks a table as taken
            table += kPage;
        VERIFY(table < kTablePhysical + kTables * kPage);
        memory_->write<uint64_t>(table + kPage - 8, 0x1000); // not present, not zero
        directory = table | kPresent | kWritable | kUser | kAccessedDirty;
        memory_->write(directory_entry, directory);
    }
    const uint32_t table = static_cast<uint32_t>(directory) & ~(kPage - 1);
    const uint64_t entry = physical | kPresent | kAccessedDirty | flags;
    memory_->write(table + ((linear >> 12) & 511) * 8, entry);
}

void EngineRunner::build_tables() {
    for (uint32_t i = 0; i < 4; ++i) {
        state_.pdpte[i] = (kDirectoryPhysical + i * kPage) | kPresent;
        memory_->write<uint64_t>(kPdptPhysical + i * 8, state_.pdpte[i]);
    }
    for (uint32_t i = 0; i < kCodePages; ++i)
        for (const uint32_t base : {kCodeBase, kCodeElsewhere})
            map_page(base + i * kPage, kCodePhysical + i * kPage, kUser);
    for (uint32_t i = 0; i < kDataBytes / kPage; ++i)
        map_page(kDataBase + i * kPage, kDataPhysical + i * kPage, kUser | kWritable | kNoExecute);
    for (uint32_t i = 0; i < kStackBytes / kPage; ++i)
        map_page(kStackBase + i * kPage, kStackPhysical + i * kPage, kUser | kWritable | kNoExecute);
    map_page(kReadOnlyBase, kReadOnlyPhysical, kUser | kNoExecute);
    map_page(kSystemLinear, kSystemPhysical, kWritable);
    map_page(kSystemLinear + kPage, kSystemPhysical + kPage, kWritable);

    memory_->write(kReadOnlyPhysical, read_only_page().data(), kPage);
    const std::vector<uint8_t> sentinels(size_t{kCodePages} * kPage, kSentinel);
    memory_->write(kCodePhysical, sentinels.data(), sentinels.size());
    memory_->write<uint64_t>(kSystemPhysical + (kCode32 & ~7u), encode(descriptor(kCode32)));
    memory_->write<uint64_t>(kSystemPhysical + (kFlatData & ~7u), encode(descriptor(kFlatData)));
    for (uint32_t i = 0; i < kLdtCount; ++i)
        memory_->write<uint64_t>(kSystemPhysical + kPage + i * 8, encode(kLdt[i]));
}

void EngineRunner::load_state(const Registers& registers) {
    CpuState& s = state_;
    for (unsigned i = 0; i < registers.gpr.size(); ++i)
        s.gpr[i] = Wide(registers.gpr[i]);
    s.eip = registers.eip;
    s.eflags = registers.eflags;
    for (unsigned i = 0; i < kSegmentCount; ++i)
        s.seg[i] = segment_for(registers.selectors[i]);
    s.ldtr = Segment{};
    s.ldtr.selector = kLdtSelector;
    s.ldtr.usable = 1;
    s.ldtr.base = kSystemLinear + kPage;
    s.ldtr.limit = kLdtCount * 8 - 1;
    s.ldtr.set_attributes(0x8200);
    s.tr = Segment{};
    s.gdtr = {kSystemLinear, kGdtLimit};
    s.idtr = {kSystemLinear, 0};
    s.cr0 = cr0::kPe | cr0::kMp | cr0::kEt | cr0::kNe | cr0::kWp | cr0::kAm | cr0::kPg;
    s.cr2 = 0;
    s.cr3 = kPdptPhysical;
    s.cr4 = cr4::kPae | cr4::kPge | cr4::kOsfxsr | cr4::kOsxmmexcpt;
    s.efer = 1u << 11;
    s.dr[6] = 0xFFFF0FF0;
    s.dr[7] = 0x400;
    s.cpl = 3;
    s.halted = s.interrupt_shadow = s.nmi_blocked = s.shutdown = 0;
    static_assert(sizeof s.fx.bytes == sizeof registers.fx);
    s.fx.bytes = registers.fx;
}

// The previous case's slot goes back to sentinels; a case run again keeps the blocks made the first time.
void EngineRunner::put_code(const Slot& slot) {
    if (slot.address == slot_.address && slot.bytes == slot_.bytes)
        return;
    static const std::vector<uint8_t> sentinels(kSlotBytes, kSentinel);
    if (slot_.address != 0 && slot_.address != slot.address)
        memory_->write(kCodePhysical + (slot_.address - kCodeBase), sentinels.data(), sentinels.size());
    memory_->write(kCodePhysical + (slot.address - kCodeBase), slot.bytes.data(), slot.bytes.size());
    slot_ = slot;
}

void EngineRunner::prepare(const Case& test) {
    static Memory memory;
    fill_memory(test.memory_seed, memory);
    std::memcpy(memory_->data() + kDataPhysical, memory.data.data(), kDataBytes);
    std::memcpy(memory_->data() + kStackPhysical, memory.stack.data(), kStackBytes);
    const Slot slot = code_slot(test);
    put_code(slot);
    load_state(test.initial);
}

void EngineRunner::go() {
    intercepted_ = false;
    ++watchdog_->runs_;
    engine_->run();
    ++watchdog_->runs_;
}

void EngineRunner::run_elsewhere(const Case& test) {
    if (test.code16()) // its segment begins at kCodeBase
        return;
    prepare(test);
    state_.eip += kCodeElsewhere - kCodeBase;
    go();
}

void EngineRunner::run(const Case& test, Outcome& outcome) {
    prepare(test);
    go();
    Registers& registers = outcome.registers;
    for (unsigned i = 0; i < registers.gpr.size(); ++i)
        registers.gpr[i] = state_.gpr[i].low;
    registers.eip = state_.eip;
    registers.eflags = state_.eflags;
    for (unsigned i = 0; i < kSegmentCount; ++i)
        registers.selectors[i] = state_.seg[i].selector;
    registers.fx = state_.fx.bytes;
    outcome.vector = intercepted_ ? static_cast<uint8_t>(fault_.vector) : kTimedOut;
    outcome.error_code = intercepted_ && fault_.has_error_code ? fault_.error_code : 0;
    // Where the guest has its descriptor tables the host has nothing: "protected" here is "absent" there.
    if (fault_.vector == Vector::PageFault && fault_.linear_address - kSystemLinear < 2 * kPage)
        outcome.error_code &= ~1u;
    outcome.fault_address = fault_.linear_address;
    std::memcpy(outcome.memory.data.data(), memory_->data() + kDataPhysical, kDataBytes);
    std::memcpy(outcome.memory.stack.data(), memory_->data() + kStackPhysical, kStackBytes);
}

} // namespace differential
