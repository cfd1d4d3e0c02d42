#include "tests/guest/guest.h"

#include "tests/vmm/thread_time.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fmt/format.h>
#include <mutex>

namespace vmm::guest {

namespace {

constexpr uint64_t kRamBytes = 16u << 20;
constexpr uint32_t kGdtBytes = 0x100;
constexpr size_t kMostLogged = 400;
constexpr uint32_t kFlat = 0xFFFFF;

uint64_t flat(uint32_t access) { return descriptor(0, kFlat, access, 0xC); }

// Ends a run that does not end by itself, once it has taken so much processor time.
class Watchdog {
  public:
    Watchdog(Engine& engine, unsigned milliseconds)
        : time_(pthread_self()), thread_([this, &engine, milliseconds] {
              const std::chrono::milliseconds most(milliseconds);
              std::unique_lock lock(mutex_);
              while (!finished_.wait_for(lock, left(most) + kGrain, [this] { return done_; }))
                  if (time_.passed() >= most)
                      engine.request_stop();
          }) {}
    ~Watchdog() {
        {
            const std::lock_guard lock(mutex_);
            done_ = true;
        }
        finished_.notify_all();
        thread_.join();
    }

  private:
    [[nodiscard]] std::chrono::nanoseconds left(std::chrono::nanoseconds most) const {
        return std::max(most - time_.passed(), std::chrono::nanoseconds(0));
    }

    static constexpr std::chrono::milliseconds kGrain{1};
    const watchdog::ThreadTime time_;
    std::mutex mutex_;
    std::condition_variable finished_;
    bool done_ = false;
    std::thread thread_;
};

std::string describe(const Fault& fault, uint32_t eip) {
    std::string text = fmt::format("#{}", static_cast<unsigned>(fault.vector));
    if (fault.has_error_code)
        text += fmt::format("({:04x})", fault.error_code);
    if (fault.vector == Vector::PageFault)
        text += fmt::format("@{:x}", fault.linear_address);
    return text + fmt::format(" at {:x}", eip);
}

} // namespace

uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
    const uint32_t low = (limit & 0xFFFF) | (base << 16);
    const uint32_t high =
        ((base >> 16) & 0xFF) | (access << 8) | (limit & 0xF0000) | (flags << 20) | (base & 0xFF000000);
    return low | (uint64_t{high} << 32);
}

uint64_t gate(uint16_t selector, uint32_t offset, unsigned type, unsigned dpl, unsigned parameters) {
    const uint32_t low = (offset & 0xFFFF) | (uint32_t{selector} << 16);
    const uint32_t high = (offset & 0xFFFF0000) | 0x8000 | (dpl << 13) | (type << 8) | parameters;
    return low | (uint64_t{high} << 32);
}

Segment segment_of(uint16_t selector, uint64_t value) {
    const auto low = static_cast<uint32_t>(value), high = static_cast<uint32_t>(value >> 32);
    Segment s;
    s.selector = selector;
    s.usable = 1;
    s.base = (low >> 16) | (high & 0xFF) << 16 | (high & 0xFF000000);
    s.limit = (low & 0xFFFF) | (high & 0xF0000);
    if (high & (1u << 23))
        s.limit = s.limit << 12 | 0xFFF;
    s.set_attributes(high & 0x00F0FF00);
    return s;
}

Guest::Guest(BlockMode block_mode, HostMaker host) : mode(block_mode) {
    auto made = GuestMemory::create(kRamBytes);
    VERIFY(made);
    memory = std::move(*made);
    EngineConfig config;
    config.block_mode = mode;
    config.verify_containment = true;
    config.host_maker = host;
    config.host_rotates = config.host_rotates && host == host_maker();
    config.code_cache_bytes = 4u << 20;
    io.add(0xE0, 8, this, "guest fixture");

    put64(kGdt + kKernelCs, flat(0x9B));
    put64(kGdt + kKernelDs, flat(0x93));
    put64(kGdt + (kUserCs & ~7u), flat(0xFB));
    put64(kGdt + (kUserDs & ~7u), flat(0xF3));
    put64(kGdt + kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
    put64(kGdt + kTss2Sel, descriptor(kTss2, 0x67, 0x89, 0));
    put64(kGdt + kTss3Sel, descriptor(kTss3, 0x67, 0x89, 0));
    put64(kGdt + kConformingCs, flat(0x9F));
    put64(kGdt + kLdtSel, descriptor(kLdt, 0x3F, 0x82, 0));
    put32(kTss + 4, kKernelStack);
    put16(kTss + 8, kKernelDs);
    put16(kTss + 0x66, 0x68); // no I/O bitmap
    for (unsigned vector = 0; vector < 256; ++vector) {
        put64(kIdt + 8 * vector, gate(kKernelCs, kHandlers + 16 * vector, 0xE, 3));
        put8(kHandlers + 16 * vector, 0xF4); // HLT
    }

    state.cr0 = cr0::kPe | cr0::kEt | cr0::kNe;
    state.cr4 = cr4::kOsfxsr | cr4::kOsxmmexcpt;
    state.gdtr = {kGdt, kGdtBytes - 1};
    state.idtr = {kIdt, 0x7FF};
    state.tr = segment_of(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
    state.seg.fill(segment_of(kKernelDs, flat(0x93)));
    state.segment(SegReg::Cs) = segment_of(kKernelCs, flat(0x9B));
    state.reg(Reg::Esp) = kKernelStack;
    state.eip = kCode;
    state.dr[6] = 0xFFFF0FF0;
    state.dr[7] = 0x400;
    state.fx.bytes[0] = 0x7F; // FCW 037Fh
    state.fx.bytes[1] = 0x03;
    state.fx.bytes[24] = 0x80; // MXCSR 1F80h
    state.fx.bytes[25] = 0x1F;

    auto engine_made = Engine::create(state, *memory, io, config);
    VERIFY(engine_made);
    engine = std::move(*engine_made);
    engine->set_interrupt_source(this);
    engine->set_fault_intercept([this](const Fault& fault) {
        const std::string text = describe(fault, engine->cpu().state().eip);
        if (faults.size() < kMostLogged)
            faults += (faults.empty() ? "" : " ") + text;
        last_fault_ = text;
        return !deliver_;
    });
}

Guest::~Guest() {
    for (std::thread& thread : threads_)
        thread.join();
}

void Guest::load(const Snippet& code, uint32_t at) {
    memory->write(at, code.first, static_cast<size_t>(code.last - code.first));
}

void Guest::handler(unsigned vector, const Snippet& code) {
    const auto length = static_cast<size_t>(code.last - code.first);
    if (length <= 16) {
        memory->write(kHandlers + 16 * vector, code.first, length);
        return;
    }
    const uint32_t at = 0x30000 + 0x100 * vector;
    VERIFY(length <= 0x100);
    memory->write(at, code.first, length);
    put64(kIdt + 8 * vector, gate(kKernelCs, at, 0xE, 3));
}

void Guest::user() {
    state.seg.fill(segment_of(kUserDs, flat(0xF3)));
    state.segment(SegReg::Cs) = segment_of(kUserCs, flat(0xFB));
    state.cpl = 3;
    state.reg(Reg::Esp) = kUserStack;
}

void Guest::paging() {
    for (uint32_t i = 0; i < 2; ++i)
        put32(kDirectory + 4 * i, (kTable + 0x1000 * i) | 7);
    for (uint32_t i = 0; i < 2048; ++i)
        put32(kTable + 4 * i, (i << 12) | 7);
    state.cr3 = kDirectory;
    state.cr0 |= cr0::kPg | cr0::kWp;
}

void Guest::real_mode(uint16_t cs, uint16_t ss) {
    state.cr0 &= ~(cr0::kPe | cr0::kPg);
    state.cpl = 0;
    const auto real = [](uint16_t selector) {
        return segment_of(selector, descriptor(uint32_t{selector} << 4, 0xFFFF, 0x93, 0));
    };
    state.seg.fill(real(0));
    state.segment(SegReg::Cs) = real(cs);
    state.segment(SegReg::Ss) = real(ss);
    state.reg(Reg::Esp) = 0x800;
    state.eip = 0;
    state.idtr = {0, 0x3FF};
    for (unsigned vector = 0; vector < 256; ++vector) // F000:... is RAM here; handlers as above
        put32(4 * vector, (kHandlers >> 4) << 16 | 16 * vector);
}

void Guest::v86(uint16_t cs, unsigned iopl) {
    const auto segment = [](uint16_t selector) {
        return segment_of(selector, descriptor(uint32_t{selector} << 4, 0xFFFF, 0xF3, 0));
    };
    state.seg.fill(segment(0x4000));
    state.segment(SegReg::Cs) = segment(cs);
    state.segment(SegReg::Ss) = segment(0x800);
    state.cpl = 3;
    state.reg(Reg::Esp) = 0x800;
    state.eip = 0;
    state.eflags = 2 | eflags::kVm | iopl << 12;
}

void Guest::set_segment(SegReg reg, uint16_t selector, uint64_t value) {
    put64(kGdt + (selector & ~7u), value);
    state.segment(reg) = segment_of(selector, value);
}

void Guest::fill(uint32_t at, uint8_t value, uint32_t count) {
    const std::vector<uint8_t> data(count, value);
    memory->write(at, data.data(), data.size());
}

void Guest::interrupt_after(unsigned milliseconds, uint8_t vector) {
    threads_.emplace_back([this, milliseconds, vector] {
        std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        irq_ = vector;
        engine->kick();
    });
}

std::string Guest::run() {
    last_fault_.clear();
    state.halted = 0;
    const Watchdog watchdog(*engine, watchdog_ms);
    const Engine::Stop stop = engine->run();
    if (const std::string failure = engine->failure(); !failure.empty())
        return failure;
    switch (stop) {
    case Engine::Stop::Halted:
        return "hlt";
    case Engine::Stop::Intercepted:
        return last_fault_;
    case Engine::Stop::Shutdown:
        return "shutdown";
    default:
        return "timeout";
    }
}

uint8_t Guest::acknowledge_interrupt() {
    const auto vector = static_cast<uint8_t>(irq_.exchange(-1));
    log += fmt::format("!{:02x}", vector);
    return vector;
}

uint32_t Guest::io_read(uint16_t port, unsigned) { return port & 0xFF; }

void Guest::io_write(uint16_t port, unsigned, uint32_t value) {
    switch (port) {
    case kPortIrq:
        irq_ = static_cast<int>(value & 0xFF);
        break;
    case kPortLog:
        if (log.size() < kMostLogged)
            log += fmt::format("{:02x}", value & 0xFF);
        break;
    case kPortNmi:
        nmi_ = true;
        break;
    case kPortA20:
        memory->set_a20((value & 1) != 0);
        break;
    case kPortDma:
        memory->write(dma_address, dma_bytes.data(), dma_bytes.size());
        break;
    default:
        break;
    }
}

void for_each_mode(void (*test)(Guest&)) {
    static constexpr std::pair<BlockMode, const char*> kModes[] = {
        {BlockMode::SingleInstruction, "one-instruction blocks"},
        {BlockMode::Unlinked, "unlinked blocks"},
        {BlockMode::Linked, "linked blocks"},
    };
    for (const auto& [mode, name] : kModes) {
        INFO("block mode: " << name);
        Guest g(mode);
        test(g);
    }
}

} // namespace vmm::guest
