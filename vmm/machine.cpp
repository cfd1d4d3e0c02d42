#include "vmm/machine.h"

#include "vmm/arch/state_serialize.h"
#include "vmm/arch/tsc.h"
#include "vmm/base/log.h"
#include "vmm/base/operation.h"
#include "vmm/base/thread_work.h"
#include "vmm/base/verify.h"
#include "vmm/devices/device_list.h"
#include "vmm/firmware/bios.h"
#include "vmm/firmware/bios_keys.h"
#include "vmm/vcpu_timer.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

namespace vmm {

struct Machine::Impl final : SystemControl {
    enum class Want : uint8_t { Run, Pause, Stop };

    MachineConfig config;
    CpuState state;
    std::unique_ptr<GuestMemory> memory;
    std::unique_ptr<Platform> platform;
    std::vector<std::unique_ptr<Device>> devices;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<VcpuTimer> timer; // lives on the vCPU thread
    uint64_t planned = kNever;        // guest time the timer is set for
    std::atomic<bool> timer_fired{false};
    std::thread thread;

    // Guards what follows, and nothing else: events, devices and questions run without it, because what they
    // do may post an event, which takes it.
    std::mutex mutex;
    std::condition_variable changed;
    Want want = Want::Pause;
    bool paused = true;   // the vCPU thread is at rest: others may work on the machine, one at a time
    bool visited = false; // and one does
    bool halted_for_good = false;
    bool thread_ended = false;
    ExitReason exit = ExitReason::None;
    base::Error failure;
    std::vector<std::function<void()>> questions; // others' to the running machine

    std::atomic<uint64_t> kicks{0}; // lets a halted vCPU see that something happened
    std::atomic<uint64_t> resets{0};
    std::atomic<uint64_t> keys_on_their_way{0};
    BiosKeys bios_keys;
    bool reset_requested = false, power_off_requested = false; // vCPU thread only
    uint64_t halted_ns = 0;                                    // of virtual time; never goes back
    uint64_t tsc_at_rest = 0; // the guest's time-stamp counter stands while the machine is paused
    std::unique_ptr<SavedMoment> moment;

    base::Result<void> build();
    void kick();
    void plan_wake();
    void tend();
    void boundary();
    void hardware_reset();
    void loop();
    bool take_turn();
    void come_to_rest(std::unique_lock<std::mutex>& lock);
    void answer_questions();
    void sleep_halted();
    void sleep_idle();
    void sleep(uint64_t seen_kicks);
    void set_halted_for_good(bool for_good);
    void end(ExitReason reason, base::Error why = {});
    void tell_change();
    void settle();
    base::Result<std::vector<uint8_t>> save();
    base::Result<std::vector<uint8_t>> save_apart(); // without video memory
    void promise_tsc();
    base::Result<void> load(std::span<const uint8_t> bytes);
    [[nodiscard]] Want wanted() {
        const std::lock_guard lock(mutex);
        return want;
    }
    // Whoever works on a machine at rest, while it does.
    class Visit {
      public:
        explicit Visit(Impl& machine) : machine_(machine) {
            std::unique_lock lock(machine_.mutex);
            machine_.changed.wait(lock, [&] { return machine_.paused && !machine_.visited; });
            machine_.visited = true;
        }
        Visit(Impl& machine, std::unique_lock<std::mutex> lock) : machine_(machine) {
            VERIFY(lock.owns_lock() && machine_.paused && !machine_.visited);
            machine_.visited = true;
        }
        ~Visit() {
            {
                const std::lock_guard lock(machine_.mutex);
                machine_.visited = false;
            }
            machine_.changed.notify_all();
        }
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;

      private:
        Impl& machine_;
    };
    // What the vCPU thread does as soon as it looks is waited for no longer than it takes to make it look: a
    // string instruction over gigabytes takes a hostile guest many seconds, and polls once.
    static constexpr std::chrono::milliseconds kPatience{5};
    template <class Known> void await(std::unique_lock<std::mutex>& lock, const Known& known) {
        while (!changed.wait_for(lock, kPatience, known))
            hurry();
    }
    void hurry() { // with the mutex
        if (timer != nullptr)
            timer->set(VcpuTimer::Time::clock::now());
    }
    // Runs `work` on the vCPU thread (or here, while it is at rest) and waits for it.
    template <class Answer> Answer ask(std::function<Answer()> work);

    void request_reset() override {
        reset_requested = true;
        engine->request_stop();
    }
    void request_power_off() override {
        power_off_requested = true;
        engine->request_stop();
    }
};

Machine::Machine() = default;

base::Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config) {
    std::unique_ptr<Machine> machine(new Machine);
    machine->impl_ = std::make_unique<Impl>();
    machine->impl_->config = std::move(config);
    TRY(machine->impl_->build());
    return machine;
}

base::Result<void> Machine::Impl::build() {
    memory = TRY(GuestMemory::create(config.platform.ram_bytes));
    platform = std::make_unique<Platform>(config.platform, *memory);
    platform->system = this;
    devices = make_devices(*platform);
    TRY(setup_firmware(*platform));
    EngineConfig engine_config;
    engine_config.block_mode = config.block_mode;
    engine_config.verify_containment = config.verify_containment;
    engine_config.find_idle_loops = true;
    engine = TRY(Engine::create(state, *memory, platform->io, engine_config));
    engine->set_interrupt_source(platform->interrupts);
    engine->set_apic(platform->apic);
    engine->set_math_error_wires(platform->math_errors);
    engine->set_boundary_hook([this] { boundary(); });
    platform->interrupt_line_changed = [this] { engine->interrupt_line_changed(); };
    platform->tsc_khz = [this] { return guest_tsc_khz(engine->cpu().state()); };
    platform->cpu_register = [this](unsigned reg) -> uint32_t& {
        return engine->cpu().state().gpr[reg & 7].low;
    };
    platform->events.set_wake([this] { kick(); });
    platform->clock.set_on_earlier([this](uint64_t) { plan_wake(); });
    hardware_reset();
    tsc_at_rest = guest_tsc(state); // zero, or about
    std::promise<base::Result<void>> started;
    thread = std::thread([this, &started] {
        auto made = VcpuTimer::create([this](ucontext_t& interrupted) {
            timer_fired.store(true);
            engine->kick();
            engine->leave_string(interrupted);
        });
        if (!made) {
            {
                const std::lock_guard lock(mutex);
                thread_ended = true;
            }
            started.set_value(tl::make_unexpected(made.error()));
            return;
        }
        timer = std::move(*made);
        base::begin_work("vcpu", memory->fd());
        started.set_value({});
        loop();
    });
    return started.get_future().get();
}

Machine::~Machine() {
    if (impl_ == nullptr)
        return;
    if (impl_->thread.joinable()) {
        stop();
        {
            std::unique_lock lock(impl_->mutex);
            impl_->await(lock, [&] { return impl_->thread_ended; });
        }
        impl_->thread.join();
    }
    // Their workers may be in the middle of a request, whose end kicks the engine.
    impl_->devices.clear();
    impl_->engine.reset();
}

void Machine::Impl::kick() {
    VERIFY(engine != nullptr); // who kicks goes before it
    kicks.fetch_add(1);
    engine->kick();
    { const std::lock_guard lock(mutex); }
    changed.notify_all();
}

void Machine::Impl::plan_wake() {
    const uint64_t deadline = platform->clock.next_deadline();
    if (timer == nullptr || deadline == planned)
        return;
    planned = deadline;
    timer->set(deadline == kNever ? VcpuTimer::Time::max() : platform->clock.host_time(deadline));
}

// What others want, then what is due.
void Machine::Impl::tend() {
    platform->events.run_all();
    answer_questions();
    platform->clock.run_due();
}

void Machine::Impl::boundary() {
    tend();
    if (timer_fired.exchange(false)) // set it again: what fell due since tend() looked is still to come
        planned = kNever;
    plan_wake();
}

void Machine::Impl::hardware_reset() {
    const base::Operation operation;
    memory->set_a20(true);
    for (auto& device : devices)
        device->reset();
    if (auto done = setup_firmware(*platform); !done) {
        end(ExitReason::HostError, done.error());
        return;
    }
    engine->cpu().reset();
    state = engine->cpu().state();
    engine->state_replaced();
    set_halted_for_good(false);
}

void Machine::Impl::end(ExitReason reason, base::Error why) {
    {
        const std::lock_guard lock(mutex);
        if (exit != ExitReason::None)
            return;
        exit = reason;
        failure = std::move(why);
        want = Want::Stop;
    }
    tell_change();
}

void Machine::Impl::tell_change() {
    changed.notify_all();
    if (config.on_change)
        config.on_change();
}

void Machine::Impl::set_halted_for_good(bool for_good) {
    {
        const std::lock_guard lock(mutex);
        if (halted_for_good == for_good)
            return;
        halted_for_good = for_good;
    }
    if (for_good)
        base::log(base::LogLevel::Info, "halted with interrupts disabled at {:04x}:{:08x}",
                  state.segment(SegReg::Cs).selector, state.eip);
    tell_change();
}

// Until an interrupt may be pending: the next timer, or a kick.
void Machine::Impl::sleep_halted() {
    const uint64_t seen = kicks.load();
    tend();
    const bool interrupts_enabled = (state.eflags & eflags::kIf) != 0;
    const InterruptSource* interrupts = platform->interrupts;
    if (interrupts != nullptr && ((interrupts_enabled && interrupts->interrupt_pending()) ||
                                  (interrupts->nmi_pending() && state.nmi_blocked == 0)))
        return;
    // This machine has no SMI, and mostly no NMI. Devices go on, for what they play or show.
    set_halted_for_good(!interrupts_enabled && (interrupts == nullptr || !interrupts->nmi_possible()));
    sleep(seen);
}

// Until the loop that the guest waits in may end; nothing has happened since it was looked at but, maybe,
// what comes up now.
void Machine::Impl::sleep_idle() {
    const uint64_t seen = kicks.load();
    const uint64_t deadline = platform->clock.next_deadline(), operations = base::Operation::number();
    tend();
    constexpr uint64_t kOwn = 1; // that looks for what is due
    if (platform->clock.next_deadline() == deadline && base::Operation::number() == operations + kOwn)
        sleep(seen);
}

void Machine::Impl::sleep(uint64_t seen) {
    const uint64_t deadline = platform->clock.next_deadline();
    timer->set(VcpuTimer::Time::max()); // the wait below keeps the time itself
    planned = kNever;
    std::unique_lock lock(mutex);
    const auto happened = [&] { return kicks.load() != seen || want != Want::Run; };
    if (deadline == kNever)
        changed.wait(lock, happened);
    else
        changed.wait_until(lock, platform->clock.host_time(deadline), happened);
}

void Machine::Impl::answer_questions() {
    std::vector<std::function<void()>> batch;
    {
        const std::lock_guard lock(mutex);
        batch.swap(questions);
    }
    for (const auto& question : batch) {
        const base::Operation operation;
        question();
    }
}

// Guest time and the time-stamp counter stop at one moment, and go on from one.
void Machine::Impl::come_to_rest(std::unique_lock<std::mutex>& lock) {
    const ClockSample sample = sample_clocks();
    platform->clock.stop(sample.nanoseconds);
    tsc_at_rest = guest_tsc(state, sample.tsc);
    while (!questions.empty()) {
        lock.unlock();
        answer_questions();
        lock.lock();
    }
    paused = true;
    changed.notify_all();
}

// Whether the guest goes on; while it is wanted at rest this waits, and others may visit.
bool Machine::Impl::take_turn() {
    std::unique_lock lock(mutex);
    if (want != Want::Run && !paused)
        come_to_rest(lock);
    changed.wait(lock, [&] { return want != Want::Pause && !visited; });
    if (want == Want::Stop)
        return false;
    if (paused) {
        paused = false;
        const ClockSample sample = sample_clocks();
        set_guest_tsc(state, tsc_at_rest, sample.tsc);
        platform->clock.start(sample.nanoseconds);
        planned = kNever; // guest time has another distance to the host's
    }
    return true;
}

void Machine::Impl::loop() {
    const auto now = [this] {
        const base::Operation operation;
        return platform->clock.now();
    };
    while (take_turn()) {
        boundary();
        const Engine::Stop stop = engine->run();
        switch (stop) {
        case Engine::Stop::Halted:
        case Engine::Stop::Idle: {
            const uint64_t since = now();
            stop == Engine::Stop::Halted ? sleep_halted() : sleep_idle();
            halted_ns += now() - since;
            break;
        }
        case Engine::Stop::Shutdown: // a PC resets on the shutdown cycle
            base::log(base::LogLevel::Info, "triple fault at {:04x}:{:08x}",
                      state.segment(SegReg::Cs).selector, state.eip);
            if (config.reset_ends_machine)
                end(ExitReason::GuestHang);
            reset_requested = true;
            break;
        case Engine::Stop::Requested:
        case Engine::Stop::Intercepted:
            break;
        }
        if (memory->failed()) {
            end(ExitReason::HostError, memory->failure());
        } else if (std::string refused = engine->failure(); !refused.empty()) {
            end(ExitReason::HostError, {.message = std::move(refused)});
        } else if (power_off_requested) {
            end(ExitReason::PowerOff);
        } else if (reset_requested) {
            reset_requested = false;
            resets.fetch_add(1);
            tell_change();
            if (config.reset_ends_machine)
                end(ExitReason::Stopped);
            else
                hardware_reset();
        }
    }
    end(ExitReason::Stopped);
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !visited; }); // whoever arms a timer sets ours
    timer.reset();
    thread_ended = true;
    lock.unlock();
    tell_change();
}

template <class Answer> Answer Machine::Impl::ask(std::function<Answer()> work) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !paused || !visited; });
    if (paused) {
        const Visit visit(*this, std::move(lock));
        return work();
    }
    auto task = std::make_shared<std::packaged_task<Answer()>>(std::move(work));
    questions.emplace_back([task] { (*task)(); });
    lock.unlock();
    kick();
    auto answer = task->get_future();
    while (answer.wait_for(kPatience) != std::future_status::ready) {
        lock.lock();
        hurry();
        lock.unlock();
    }
    return answer.get();
}

void Machine::start() {
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->want == Impl::Want::Pause)
            impl_->want = Impl::Want::Run;
    }
    impl_->changed.notify_all();
}

void Machine::pause() {
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->want == Impl::Want::Run)
            impl_->want = Impl::Want::Pause;
    }
    impl_->engine->request_stop();
    impl_->changed.notify_all();
    std::unique_lock lock(impl_->mutex);
    impl_->await(lock, [&] { return impl_->paused; });
}

void Machine::stop() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->want = Impl::Want::Stop;
    }
    impl_->engine->request_stop();
    impl_->changed.notify_all();
}

void Machine::reset() {
    impl_->platform->events.post([impl = impl_.get()] { impl->request_reset(); });
}

void Machine::power_button() {
    impl_->platform->events.post([impl = impl_.get()] {
        if (impl->platform->outputs.power_button)
            impl->platform->outputs.power_button();
    });
}

ExitReason Machine::wait(int milliseconds) {
    std::unique_lock lock(impl_->mutex);
    const auto reason = [&] {
        return impl_->thread_ended                                        ? impl_->exit
               : impl_->halted_for_good && impl_->want == Impl::Want::Run ? ExitReason::GuestHang
                                                                          : ExitReason::None;
    };
    const auto known = [&] { return reason() != ExitReason::None; };
    if (impl_->want == Impl::Want::Stop)
        impl_->hurry();
    if (milliseconds < 0)
        impl_->changed.wait(lock, known);
    else
        impl_->changed.wait_for(lock, std::chrono::milliseconds(milliseconds), known);
    return reason();
}

ExitReason Machine::exit_reason() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->exit == ExitReason::None && impl_->halted_for_good ? ExitReason::GuestHang : impl_->exit;
}

bool Machine::has_ended() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->exit != ExitReason::None;
}

std::string Machine::error() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->failure.message;
}

base::Error Machine::failure() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->failure;
}

uint64_t Machine::reset_count() const { return impl_->resets.load(); }

void Machine::key(const KeyEvent& event) {
    impl_->keys_on_their_way.fetch_add(1);
    impl_->platform->events.post([impl = impl_.get(), event] {
        if (impl->platform->outputs.key)
            impl->platform->outputs.key(event);
        impl->keys_on_their_way.fetch_sub(1);
    });
}

bool Machine::takes_key(const KeyEvent& event) {
    return impl_->ask<bool>([impl = impl_.get(), pressed = event.pressed] {
        const auto& takes_key = impl->platform->outputs.takes_key;
        if (!takes_key || impl->keys_on_their_way != 0 || !takes_key())
            return false;
        const bool asks_bios = !impl->state.protected_mode() || impl->state.v86();
        return !pressed || !asks_bios || impl->bios_keys.has_room(*impl->memory, impl->platform->clock.now());
    });
}

void Machine::pointer(const PointerEvent& event) {
    impl_->platform->events.post([impl = impl_.get(), event] {
        if (impl->platform->outputs.pointer)
            impl->platform->outputs.pointer(event);
    });
}

void Machine::serial_input(std::string_view bytes) {
    impl_->platform->events.post([impl = impl_.get(), text = std::string(bytes)] {
        if (impl->platform->outputs.serial_input)
            for (char c : text)
                impl->platform->outputs.serial_input(static_cast<uint8_t>(c));
    });
}

bool Machine::pointer_is_absolute() const {
    return impl_->ask<bool>([impl = impl_.get()] {
        return impl->platform->outputs.pointer_is_absolute && impl->platform->outputs.pointer_is_absolute();
    });
}

void Machine::picture(const Canvas& canvas) {
    impl_->ask<void>([impl = impl_.get(), &canvas] {
        if (impl->platform->outputs.picture)
            impl->platform->outputs.picture(canvas);
    });
}

Picture Machine::picture() {
    Picture picture;
    this->picture(canvas_of(picture));
    return picture;
}

std::string Machine::text_screen() {
    return impl_->ask<std::string>([impl = impl_.get()] {
        return impl->platform->outputs.text_screen ? impl->platform->outputs.text_screen() : std::string();
    });
}

uint64_t Machine::picture_generation() {
    return impl_->ask<uint64_t>([impl = impl_.get()]() -> uint64_t {
        return impl->platform->outputs.picture_generation ? impl->platform->outputs.picture_generation() : 0;
    });
}

void Machine::prefer_picture_size(uint32_t width, uint32_t height) {
    impl_->platform->events.post([impl = impl_.get(), width, height] {
        if (impl->platform->outputs.prefer_size)
            impl->platform->outputs.prefer_size(width, height);
    });
}

// What was asked of the machine so far belongs to the moment that is saved or dropped.
void Machine::Impl::settle() {
    for (auto& device : devices)
        device->quiesce();
    platform->events.run_all();
}

base::Result<std::vector<uint8_t>> Machine::Impl::save() {
    for (auto& device : devices)
        device->quiesce();
    base::StateArchive archive;
    serialize(state, archive, tsc_at_rest);
    uint64_t now = platform->clock.now();
    archive.begin("clock", 1);
    archive.field("now_ns", now);
    archive.end();
    for (auto& device : devices)
        device->serialize(archive);
    if (!archive.error().empty())
        return base::fail(archive.error());
    return archive.bytes();
}

base::Result<void> Machine::Impl::load(std::span<const uint8_t> bytes) {
    base::StateArchive archive = TRY(base::StateArchive::parse(bytes));
    CpuState loaded = state;
    uint64_t tsc = tsc_at_rest;
    serialize(loaded, archive, tsc);
    uint64_t now = 0;
    archive.begin("clock", 1);
    archive.field("now_ns", now);
    archive.end();
    if (!archive.error().empty())
        return base::fail(archive.error());
    if (now > Clock::kLongestSaved)
        return base::fail("saved machine state holds an impossible time; the file is damaged");
    platform->clock.set(now);
    platform->clock.disarm_all();
    for (auto& device : devices)
        device->serialize(archive);
    if (!archive.error().empty())
        return base::fail(archive.error());
    state = loaded;
    tsc_at_rest = tsc;
    set_halted_for_good(false); // or so it seems until it runs
    return {};
}

base::Result<std::vector<uint8_t>> Machine::Impl::save_apart() {
    platform->video.apart = true;
    auto saved = save();
    platform->video.apart = false;
    return saved;
}

// Whoever loads the state may be another host: the guest keeps the frequency that it knows.
void Machine::Impl::promise_tsc() { promise_tsc_khz(state, guest_tsc_khz(state)); }

base::Result<std::vector<uint8_t>> Machine::save_state() {
    const Impl::Visit visit(*impl_);
    impl_->promise_tsc();
    impl_->settle(); // a key let go just before: where this goes on, nobody would let it go
    return impl_->save();
}

base::Result<std::vector<uint8_t>> Machine::save_scene_state() {
    const Impl::Visit visit(*impl_);
    impl_->promise_tsc();
    impl_->settle();
    return impl_->save_apart();
}

base::Result<void> Machine::load_state(std::span<const uint8_t> bytes) {
    const Impl::Visit visit(*impl_);
    TRY(impl_->load(bytes));
    impl_->engine->state_replaced();
    return {};
}

base::Result<void> Machine::open_at(SavedMachine saved) {
    const Impl::Visit visit(*impl_);
    impl_->moment = TRY(SavedMoment::open(*impl_->platform, std::move(saved)));
    TRY(impl_->load(impl_->moment->state()));
    impl_->engine->state_replaced();
    // A state of an earlier version lacks what we have learned to save since.
    impl_->moment->set_reference(TRY(impl_->save_apart()));
    return {};
}

base::Result<PageUndo::Report> Machine::revert() {
    const Impl::Visit visit(*impl_);
    if (impl_->moment == nullptr || has_ended())
        return base::fail("this machine cannot go back");
    impl_->settle();
    const PageUndo::Report report = impl_->moment->put_back();
    TRY(impl_->load(impl_->moment->state()));
    impl_->engine->state_reverted();
    impl_->reset_requested = impl_->power_off_requested = false;
    return report;
}

void Machine::arrive(const Arrival& arrival) {
    const Impl::Visit visit(*impl_);
    Platform& platform = *impl_->platform;
    platform.config.identity = arrival.identity;
    if (platform.outputs.identity_changed)
        platform.outputs.identity_changed();
    if (arrival.time_of_day && platform.outputs.set_time_of_day)
        platform.outputs.set_time_of_day(*arrival.time_of_day);
}

uint64_t Machine::time_of_day() {
    return impl_->ask<uint64_t>([impl = impl_.get()]() -> uint64_t {
        return impl->platform->outputs.time_of_day ? impl->platform->outputs.time_of_day() : 0;
    });
}

uint32_t Machine::tsc_khz() const { return guest_tsc_khz(impl_->state); }

base::Result<std::string> Machine::state_difference() {
    const Impl::Visit visit(*impl_);
    if (impl_->moment == nullptr)
        return base::fail("this machine was not opened at a saved moment");
    const auto now = TRY(impl_->save_apart());
    if (!std::ranges::equal(now, impl_->moment->reference()))
        return base::StateArchive::difference(now, impl_->moment->reference());
    return impl_->moment->video_unchanged() ? std::string() : std::string("video memory");
}

Platform::VideoMemory Machine::video_memory() const { return impl_->platform->video; }

GuestMemory& Machine::memory() { return *impl_->memory; }

Activity Machine::activity() const {
    return impl_->ask<Activity>([impl = impl_.get()] {
        return Activity{impl->platform->clock.now(), impl->halted_ns};
    });
}

CodeUse Machine::code_use() const {
    return impl_->ask<CodeUse>([impl = impl_.get()] { return impl->engine->code_use(); });
}

std::string Machine::statistics() const {
    return impl_->ask<std::string>([impl = impl_.get()] { return impl->engine->statistics(); });
}

} // namespace vmm
