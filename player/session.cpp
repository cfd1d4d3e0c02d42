// A session from opening to its end: what it is made of, what the guest does in it, when it waits.
#include "player/session.h"

#include "appliance-format/format.h"
#include "player/high_water_clock.h"
#include "vmm/base/shell_word.h"

#include <ctime>
#include <fmt/format.h>

namespace player {
namespace {

base::Result<std::unique_ptr<appliance_format::Bundle>> open_bundle(const std::string& path) {
    auto bundle = appliance_format::Bundle::open(path);
    if (!bundle && appliance_format::SessionFile::is_one(path))
        return base::fail(fmt::format("{} is a saved session; go on with it by: encore run --session {}",
                                      path, base::shell_word(path)),
                          2);
    return bundle;
}

} // namespace

base::Result<std::unique_ptr<Session>> Session::open(SessionOptions options) {
    std::unique_ptr<Session> session(new Session);
    session->options_ = std::move(options);
    session->serial_ = std::make_shared<SerialLog>();
    // First: its process comes to life while the bundle is opened. It is told nothing before that is checked.
    auto machine = TRY(session->start_machine());
    if (!session->options_.saved_session.empty())
        TRY(session->open_saved());
    session->bundle_ = TRY(open_bundle(session->options_.bundle));
    session->publisher_ = TRY(session->bundle_->authenticate(trust_store()));
    if (session->options_.author)
        TRY(session->bundle_->check_author(*session->options_.author));
    session->timed_by_shell_ = session->options_.timed_by_shell;
    TRY(session->check_policy());
    session->options_.changes.reset_ends_machine = session->policy_.policy().reset_ends_session;
    session->options_.changes.audio = session->policy_.sound() ? session->options_.audio : nullptr;
    if (session->policy_.network())
        session->network_access_ =
            NetworkAccess{appliance_format::networks_of(session->policy_.networks()),
                          appliance_format::forwards_of(session->policy_.policy().forward)};
    session->recipe_ = TRY(BundleMachine::create(*session->bundle_, session->options_.changes));
    session->storage_ = TRY(SessionStorage::open(session->options_.cache_home));
    if (session->saved_)
        TRY(session->join_saved());
    TRY(session->choose_scene(session->options_.scene.value_or(session->first_scene())));
    session->identity_ = TRY(session->choose_identity());
    TRY(session->show_preview());
    TRY(session->set_up(*machine, {}));
    {
        const std::lock_guard lock(session->mutex_);
        session->machine_ = std::move(machine);
        session->preview_.reset();
    }
    session->typist_ = std::make_unique<Typist>(
        [raw = session.get()](const vmm::KeyEvent& event) {
            raw->note_activity();
            raw->machine()->key(event);
        },
        [raw = session.get()](const vmm::KeyEvent& event) { return raw->machine()->takes_key(event); });
    session->started_ = session->options_.now() - session->played_before_;
    session->note_activity();
    return session;
}

const char* to_string(SessionEnd end) {
    switch (end) {
    case SessionEnd::None:
        return "none";
    case SessionEnd::PowerOff:
        return "power-off";
    case SessionEnd::Reset:
        return "reset";
    case SessionEnd::TimeLimit:
        return "time-limit";
    case SessionEnd::Idle:
        return "idle";
    case SessionEnd::Asked:
        return "asked";
    case SessionEnd::Halted:
        return "halted";
    case SessionEnd::Failed:
        return "failed";
    }
    return "";
}

void Session::log(std::string_view event, std::initializer_list<OperationsLog::Field> fields) const {
    if (options_.log)
        options_.log->record(event, fields);
}

Session::~Session() {
    typist_.reset();
    serial_.reset();
    network_.reset(); // its thread speaks of failures to us
    const uint64_t written = machine_ ? machine_->overlay_bytes() : 0;
    machine_.reset();
    cable_.reset();
    if (!running_)
        return;
    std::ignore = HighWaterClock::standard().remember(std::time(nullptr));
    const SessionEnd why = end_ == SessionEnd::None ? SessionEnd::Asked : end_;
    log("end", {{"appliance", manifest().appliance.name},
                {"reason", std::string(to_string(why))},
                {"seconds", static_cast<int64_t>(age().count())},
                {"reverts", static_cast<int64_t>(reverts_.load())},
                {"written_bytes", static_cast<int64_t>(written)}});
}

base::Result<std::shared_ptr<machine::Client>> Session::start_machine() {
    machine::Listeners listeners{serial_, options_.audio};
    listeners.notice = [this](const std::string& text) { tell(text); };
    listeners.damaged = [this](const base::Error& error) { finish(SessionEnd::Failed, error); };
    listeners.stalled = [this](const std::string& why) {
        if (!why.empty())
            tell(full_disk_advice());
    };
    return machine::Client::start(std::move(listeners));
}

base::Result<void> Session::set_up(machine::Client& machine, std::optional<uint64_t> before) {
    auto configured = TRY(recipe_->configure(*storage_, options_.overlay_limit, plug_network(), moment(),
                                             [this](std::string_view name) { return open_blob(name); }));
    configured.setup.identity.value = identity_->machine();
    TRY(machine.set_up(std::move(configured.setup), configured.files));
    if (moment() != nullptr)
        machine.arrive(arrival(machine, before));
    cable_ = std::move(configured.cable);
    return {};
}

// One network for all of the session's machines: its ports are taken once. Null: the cable is out.
std::shared_ptr<vmm::NetworkPort> Session::plug_network() {
    if (!manifest().machine.network || !network_access_)
        return nullptr;
    auto network = network_;
    if (!network) {
        auto made = UserNetwork::create(
            *network_access_, {[this](const std::string& text) { tell(text); },
                               [this](const base::Error& error) { finish(SessionEnd::Failed, error); }});
        if (!made) {
            tell(made.error().message);
            return nullptr;
        }
        network = std::move(*made);
        const std::lock_guard lock(mutex_);
        network_ = network;
    }
    return network->plug();
}

std::shared_ptr<const UserNetwork> Session::network() const {
    const std::lock_guard lock(mutex_);
    return network_;
}

void Session::tell(const std::string& text) const {
    if (options_.notice)
        options_.notice(text);
}

void Session::start() {
    started_ = options_.now() - played_before_;
    note_activity();
    {
        const std::lock_guard lock(mutex_);
        running_ = true;
        machine_->start();
    }
    log("start", {{"appliance", manifest().appliance.name},
                  {"version", manifest().appliance.version},
                  {"publisher", publisher_.common_name},
                  {"bundle", signing::to_hex(bundle_->identity())},
                  {"scene", scene()},
                  {"resumed", resumed()}});
}

void Session::finish(SessionEnd why, base::Error failure) {
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return;
    end_ = why;
    failure_ = std::move(failure);
    if (machine_)
        machine_->stop();
}

void Session::end(SessionEnd why) { finish(why); }

bool Session::guest_halted() const {
    const auto current = machine();
    return current->exit_reason() == vmm::ExitReason::GuestHang && !current->has_ended();
}

base::Result<std::shared_ptr<const KeyboardLayout>> Session::keyboard_layout() const {
    const std::string& name = manifest().machine.keyboard;
    if (options_.keyboard_layout || name.empty())
        return options_.keyboard_layout ? options_.keyboard_layout : KeyboardLayout::us();
    auto layout = KeyboardLayout::by_name(name);
    if (!layout)
        return base::fail(fmt::format("{}: what is typed goes by its keyboard, and {}; --keyboard-layout "
                                      "chooses another",
                                      options_.bundle, layout.error().message));
    return layout;
}

SessionEnd Session::state() const {
    const std::lock_guard lock(mutex_);
    return end_;
}

base::Error Session::failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
}

std::shared_ptr<machine::Client> Session::machine() const {
    const std::lock_guard lock(mutex_);
    return machine_;
}

std::string Session::title() const {
    return fmt::format("{} — {}{}{}", manifest().appliance.title, publisher_.common_name,
                       resumed() ? " — saved session" : "",
                       paused_because().empty() ? "" : " — paused: disk full");
}

std::chrono::seconds Session::age() const {
    return std::chrono::duration_cast<std::chrono::seconds>(options_.now() - started_);
}

SessionEnd Session::poll() {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock() || state() != SessionEnd::None) // a revert is under way, or all is over
        return state();
    if (!timed_by_shell_) {
        check_time();
        check_idle();
    }
    heed_full_disk();
    const auto current = machine();
    switch (current->exit_reason()) {
    case vmm::ExitReason::None:
        halt_told_ = false;
        break;
    case vmm::ExitReason::PowerOff:
        if (policy_.policy().power_off_ends_session) {
            finish(SessionEnd::PowerOff);
            break;
        }
        leave_saved();
        if (auto again = replace_machine(); !again)
            finish(SessionEnd::Failed, again.error());
        break;
    case vmm::ExitReason::Stopped:
        finish(SessionEnd::Reset); // nobody asked: the machine ends itself at a reset only
        break;
    case vmm::ExitReason::GuestHang:
        if (current->has_ended())
            finish(SessionEnd::Failed, {1, "the machine inside has crashed and cannot continue"});
        else if (!std::exchange(halt_told_, true))
            tell("the guest has halted with interrupts disabled: only a revert or a reset brings it back");
        break;
    case vmm::ExitReason::HostError:
        finish(SessionEnd::Failed, current->failure());
        break;
    }
    return state();
}

base::Result<void> Session::show_preview() {
    constexpr uint64_t kMostBytes = 32u << 20;
    if (!options_.before_machine)
        return {};
    if (moment() != nullptr && !moment()->picture.empty()) {
        auto png = std::make_shared<const std::vector<uint8_t>>(
            TRY(TRY(open_blob(moment()->picture)).read_all(kMostBytes)));
        const std::lock_guard lock(mutex_);
        preview_ = std::move(png);
    }
    return options_.before_machine(*this);
}

std::shared_ptr<const std::vector<uint8_t>> Session::preview() const {
    const std::lock_guard lock(mutex_);
    return preview_;
}

std::string Session::scene() const {
    const std::lock_guard turn(turn_);
    return scene_ != nullptr ? scene_->name : std::string();
}

std::string Session::full_disk_advice() const {
    return fmt::format("paused: the disk is full; free some space on the one that holds {} and the machine "
                       "goes on by itself",
                       storage_->directory());
}

// The write that found no room waits where it was; the guest's time must not run on meanwhile.
void Session::heed_full_disk() {
    const auto current = machine();
    const bool full = !current->stalled().empty();
    if (full && !held_)
        current->pause();
    {
        const std::lock_guard lock(mutex_);
        if (full == held_)
            return;
        held_ = full;
        let_run(*current);
    }
    if (!full)
        tell("there is room on the disk again; the machine goes on");
}

void Session::let_run(machine::Client& machine) {
    if (running_ && !held_ && end_ == SessionEnd::None)
        machine.start();
}

std::string Session::paused_because() const {
    const auto current = machine();
    const std::string why = current ? current->stalled() : std::string();
    return why.empty() ? why : fmt::format("disk full ({})", why);
}

void Session::resume() { machine()->order_writes(machine::Writes::Order::Retry); }

} // namespace player
