#include "player/session.h"

#include "appliance-format/format.h"
#include "player/high_water_clock.h"
#include "player/host_features.h"
#include "player/scene_source.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>

namespace player {
namespace {

// How long before the end the person is told.
constexpr std::array kWarnings = {std::chrono::minutes(5), std::chrono::minutes(1)};
constexpr std::chrono::seconds kIdleWarning(30); // at most half of the idle time

int64_t wall_clock() { return static_cast<int64_t>(std::time(nullptr)); }

base::Result<std::unique_ptr<appliance_format::Bundle>> open_bundle(const std::string& path) {
    auto bundle = appliance_format::Bundle::open(path);
    if (!bundle && appliance_format::SessionFile::is_one(path))
        return base::fail(
            fmt::format("{} is a saved session; go on with it by: encore run --session {}", path, path), 2);
    return bundle;
}

uint64_t host_time_of_day() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<uint64_t>(
        std::max<int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), 0));
}

} // namespace

base::Result<std::unique_ptr<Session>> Session::open(SessionOptions options) {
    std::unique_ptr<Session> session(new Session);
    session->options_ = std::move(options);
    if (!session->options_.saved_session.empty())
        TRY(session->open_saved());
    session->bundle_ = TRY(open_bundle(session->options_.bundle));
    session->publisher_ = TRY(session->bundle_->authenticate(signing::TrustStore::standard()));
    TRY(session->check_policy());
    session->options_.changes.reset_ends_machine = session->policy_.policy().reset_ends_session;
    session->options_.changes.audio = session->policy_.sound() ? session->options_.audio : nullptr;
    session->recipe_ = TRY(BundleMachine::create(*session->bundle_, session->options_.changes));
    session->storage_ = TRY(SessionStorage::open(session->options_.cache_home));
    session->budget_ = std::make_shared<OverlayBudget>(
        session->options_.overlay_limit,
        [raw = session.get()](const std::string&) { raw->tell(raw->full_disk_advice()); });
    session->serial_ = std::make_shared<SerialLog>();
    if (session->saved_)
        TRY(session->join_saved());
    std::string first = session->manifest().start;
    if (!session->policy_.allows_scene(first)) // the first that is allowed takes its place
        for (const std::string& allowed : session->policy_.policy().scenes)
            if (session->manifest().find_scene(allowed) != nullptr || allowed == appliance_format::kPowerOn) {
                first = allowed == appliance_format::kPowerOn ? "" : allowed;
                break;
            }
    TRY(session->choose_scene(session->options_.scene.value_or(first)));
    session->identity_ = TRY(session->choose_identity());
    TRY(session->show_preview());
    auto machine = TRY(session->build({}));
    {
        const std::lock_guard lock(session->mutex_);
        session->machine_ = std::move(machine);
        session->preview_.reset();
    }
    session->typist_ = std::make_unique<Typist>([raw = session.get()](const vmm::KeyEvent& event) {
        raw->note_activity();
        raw->machine()->key(event);
    });
    session->started_ = session->options_.now() - session->played_before_;
    session->note_activity();
    return session;
}

// Time limits run while it is played; whether it may be played at all is asked here, before anything starts.
base::Result<void> Session::check_policy() {
    if (options_.purpose == SessionOptions::Purpose::Author) {
        appliance_format::Policy own;
        own.clock = manifest().policy.clock;
        own.identity = manifest().policy.identity;
        own.power_off_ends_session = manifest().policy.power_off_ends_session;
        own.reset_ends_session = manifest().policy.reset_ends_session;
        policy_ = appliance_format::EffectivePolicy::merge(own, {}, {}, {});
        return {};
    }
    if (!options_.operator_files)
        options_.operator_files = TRY(load_operator_files());
    policy_ = effective_policy(manifest(), *options_.operator_files);
    const appliance_format::Policy& rules = policy_.policy();
    if (rules.expires.empty())
        return {};
    const HighWaterClock clock = HighWaterClock::standard();
    const int64_t system = wall_clock();
    using Validity = appliance_format::EffectivePolicy::Validity;
    // A clock that cannot be kept is no reason to refuse: it protects against setting the date back only.
    std::ignore = clock.remember(system);
    switch (policy_.validity(clock.now(system))) {
    case Validity::Valid:
        return {};
    case Validity::Grace:
        tell(fmt::format("this appliance's time ended on {}; ask {} for a new one", rules.expires,
                         publisher_.common_name));
        return {};
    case Validity::Expired:
        break;
    }
    if (policy_.validity(system) != Validity::Expired)
        return base::fail(
            fmt::format("{}: its time ended on {}, and this computer's date has been later than it is now; "
                        "set the date right, or ask {} for a new bundle",
                        options_.bundle, rules.expires, publisher_.common_name),
            kRefused);
    return base::fail(fmt::format("{}: its time ended on {}; ask {} for a new bundle", options_.bundle,
                                  rules.expires, publisher_.common_name),
                      kRefused);
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
    // The machine uses the bundle and the storage until it is gone; writes that wait for room go with it.
    if (budget_)
        budget_->room().abandon();
    if (machine_) {
        machine_->stop();
        machine_->wait(-1);
        machine_.reset();
    }
    if (!running_)
        return;
    if (!policy_.policy().expires.empty()) // other sessions leave nothing behind
        std::ignore = HighWaterClock::standard().remember(wall_clock());
    const SessionEnd why = end_ == SessionEnd::None ? SessionEnd::Asked : end_;
    log("end", {{"appliance", manifest().appliance.name},
                {"reason", std::string(to_string(why))},
                {"seconds", static_cast<int64_t>(age().count())},
                {"reverts", static_cast<int64_t>(reverts_.load())},
                {"written_bytes", static_cast<int64_t>(overlay_bytes())}});
}

base::Result<void> Session::choose_scene(const std::string& name) {
    const appliance_format::Scene* scene = name.empty() ? nullptr : manifest().find_scene(name);
    if (!name.empty() && scene == nullptr)
        return base::fail(
            fmt::format("{}: there is no scene {}; see: encore scene list", options_.bundle, name), 2);
    if (!policy_.allows_scene(name))
        return base::fail(
            name.empty()
                ? fmt::format(
                      "{}: sessions begin at a scene here, not at power-on; see: encore policy explain",
                      options_.bundle)
                : fmt::format("{}: scene {} is not allowed here; see: encore policy explain", options_.bundle,
                              name),
            kRefused);
    if (scene != nullptr && !recipe_->fits_scenes())
        return base::fail(
            fmt::format("{}: scene {} is a machine as it was: memory, CDs and the kernel's command "
                        "line cannot be changed; add --boot to start it afresh",
                        options_.bundle, name),
            2);
    // What the guest was told when it was captured; at power-on it asks for itself.
    TRY(check_host_features(scene != nullptr ? fmt::format("{}: scene {}", options_.bundle, name)
                                             : options_.bundle,
                            scene != nullptr ? scene->cpu_features : promised_cpu_features()));
    scene_ = scene;
    return {};
}

base::Result<SessionIdentity> Session::choose_identity() const {
    if (options_.seed)
        return SessionIdentity::from_seed(*options_.seed);
    if (manifest().policy.identity == appliance_format::IdentityPolicy::Same)
        return SessionIdentity::of_appliance(manifest().appliance.name);
    return SessionIdentity::fresh();
}

// What a machine, as it was saved, has to be told of the present.
vmm::Arrival Session::arrival(vmm::Machine& machine, std::optional<uint64_t> before) const {
    vmm::Arrival arrival{identity_->machine(), {}};
    switch (manifest().policy.clock) {
    case appliance_format::ClockPolicy::Host:
        arrival.time_of_day = host_time_of_day();
        break;
    case appliance_format::ClockPolicy::Frozen:
        break;
    case appliance_format::ClockPolicy::Continues:
        if (before && *before > machine.time_of_day())
            arrival.time_of_day = before;
        break;
    }
    return arrival;
}

base::Result<std::shared_ptr<vmm::Machine>> Session::build(std::optional<uint64_t> before) {
    auto configured = TRY(recipe_->configure(
        *storage_, budget_, [this](const std::string& text) { tell(text); },
        [this](const base::Error& error) { finish(SessionEnd::Failed, error); }, moment(),
        [this](std::string_view name) { return open_blob(name); }));
    configured.config.platform.serial = serial_;
    configured.config.platform.identity = identity_->machine();
    std::optional<vmm::SavedMachine> saved; // first: it reads ahead while the machine is put together
    if (moment() != nullptr)
        saved =
            TRY(open_scene(*bundle_, *moment(), [this](std::string_view name) { return open_blob(name); }));
    std::shared_ptr<vmm::Machine> machine = TRY(vmm::Machine::create(std::move(configured.config)));
    if (saved) {
        TRY(machine->open_at(std::move(*saved)));
        machine->arrive(arrival(*machine, before));
    }
    overlays_ = std::move(configured.overlays);
    return machine;
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
    budget_->room().abandon();
    if (machine_)
        machine_->stop();
}

void Session::end() { finish(SessionEnd::Asked); }

SessionEnd Session::state() const {
    const std::lock_guard lock(mutex_);
    return end_;
}

base::Error Session::failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
}

std::shared_ptr<vmm::Machine> Session::machine() const {
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

void Session::note_activity() { touched_ = options_.now(); }

void Session::extend(std::chrono::minutes more) {
    extension_ = std::min(extension_.load() + more, std::chrono::minutes(appliance_format::kMaxMinutes));
    log("extended", {{"minutes", static_cast<int64_t>(more.count())}});
}

std::optional<std::chrono::seconds> Session::time_left() const {
    if (!policy_.policy().max_minutes)
        return std::nullopt;
    const auto limit = std::chrono::minutes(*policy_.policy().max_minutes) + extension_.load();
    return std::chrono::ceil<std::chrono::seconds>(started_ + limit - options_.now());
}

std::optional<std::chrono::seconds> Session::idle_left() const {
    if (!policy_.policy().idle_seconds)
        return std::nullopt;
    return std::chrono::ceil<std::chrono::seconds>(
        touched_.load() + std::chrono::seconds(*policy_.policy().idle_seconds) - options_.now());
}

void Session::check_time() {
    const auto left = time_left();
    if (!left)
        return;
    if (*left <= std::chrono::seconds(0)) {
        tell("the session's time is over");
        finish(SessionEnd::TimeLimit);
        return;
    }
    if (*left > kWarnings.front()) // also after an extension
        warned_at_ = std::chrono::minutes::max();
    for (const auto warning : kWarnings) {
        // A limit no longer than the warning is known from the start.
        if (*left > warning || warned_at_ <= warning ||
            std::chrono::minutes(*policy_.policy().max_minutes) <= warning)
            continue;
        warned_at_ = warning;
        tell(
            fmt::format("the session ends in {} minute{}", warning.count(), warning.count() == 1 ? "" : "s"));
    }
}

void Session::check_idle() {
    const auto left = idle_left();
    if (!left)
        return;
    const std::chrono::seconds whole(*policy_.policy().idle_seconds);
    if (*left <= std::chrono::seconds(0)) {
        tell("nobody is there: the session ends");
        finish(SessionEnd::Idle);
    } else if (*left > std::min(kIdleWarning, whole / 2)) {
        idle_warned_ = false;
    } else if (!std::exchange(idle_warned_, true)) {
        tell(fmt::format("the session ends in {} s unless somebody uses it", left->count()));
    }
}

SessionEnd Session::poll() {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock() || state() != SessionEnd::None) // a revert is under way, or all is over
        return state();
    if (!options_.timed_by_shell) {
        check_time();
        check_idle();
    }
    heed_full_disk();
    const auto current = machine();
    switch (current->exit_reason()) {
    case vmm::ExitReason::None:
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
        finish(SessionEnd::Failed, {1, "the machine inside has crashed and cannot continue"});
        break;
    case vmm::ExitReason::HostError:
        finish(SessionEnd::Failed, current->failure());
        break;
    }
    return state();
}

// The old machine goes first, so that nothing it still writes can reach the new one's disks.
base::Result<void> Session::replace_machine() {
    const auto old = machine();
    typist_->forget();
    budget_->room().abandon();
    old->stop();
    old->wait(-1);
    identity_->renew();
    auto fresh = TRY(build(old->time_of_day()));
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return base::fail("the session is over");
    machine_ = fresh;
    reverts_ += 1;
    budget_->room().reopen();
    held_ = false;
    let_run(*machine_);
    return {};
}

// What is still on its way to the old machine is dropped with it; windows and scripts keep their machine.
base::Result<void> Session::revert_in_place(std::string* receipt) {
    const auto current = machine();
    typist_->forget();
    budget_->room().abandon(); // a write that waits for room would keep the devices busy
    current->pause();
    const uint64_t time_of_day = current->time_of_day();
    const auto before = std::chrono::steady_clock::now();
    TRY(current->revert());
    for (const auto& overlay : overlays_)
        if (overlay)
            overlay->drop();
    last_revert_ =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - before);
    if (receipt != nullptr)
        *receipt = TRY(compare_with_scene());
    // After the comparison: from here on the machine is no longer what the publisher signed to the last bit.
    identity_->renew();
    current->arrive(arrival(*current, time_of_day));
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return base::fail("the session is over");
    reverts_ += 1;
    budget_->room().reopen();
    held_ = false;
    let_run(*current);
    return {};
}

base::Result<void> Session::revert() {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    const bool in_place = scene_ != nullptr && !saved_ && machine()->exit_reason() == vmm::ExitReason::None;
    leave_saved();
    auto done = in_place ? revert_in_place(nullptr) : replace_machine();
    if (!done)
        finish(SessionEnd::Failed, done.error());
    else
        log("revert", {{"scene", scene_ != nullptr ? scene_->name : std::string()}});
    return done;
}

base::Result<void> Session::jump(const std::string& scene) {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    TRY(choose_scene(scene));
    leave_saved();
    auto done = show_preview();
    if (done)
        done = replace_machine();
    {
        const std::lock_guard lock(mutex_);
        preview_.reset();
    }
    if (!done)
        finish(SessionEnd::Failed, done.error());
    else
        log("jump", {{"scene", scene}});
    return done;
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

SessionIdentity Session::identity() const {
    const std::lock_guard turn(turn_);
    return *identity_;
}

std::string Session::scene() const {
    const std::lock_guard turn(turn_);
    return scene_ != nullptr ? scene_->name : std::string();
}

// ------------------------------------------------------------------------------------------------ full disk

std::string Session::full_disk_advice() const {
    return fmt::format("paused: the disk is full; free some space on the one that holds {} and the machine "
                       "goes on by itself",
                       storage_->directory());
}

// The write that found no room waits where it was; the guest's time must not run on meanwhile.
void Session::heed_full_disk() {
    const bool full = !budget_->room().why().empty();
    const auto current = machine();
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

void Session::let_run(vmm::Machine& machine) {
    if (running_ && !held_ && end_ == SessionEnd::None)
        machine.start();
}

std::string Session::paused_because() const {
    const std::string why = budget_->room().why();
    return why.empty() ? why : fmt::format("disk full ({})", why);
}

void Session::resume() { budget_->room().retry(); }

void Session::rest(const std::function<void()>& work) {
    const auto before = std::chrono::steady_clock::now();
    const auto current = machine();
    current->pause();
    work();
    const std::lock_guard lock(mutex_);
    let_run(*current);
    last_pause_ =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - before);
}

base::Result<std::string> Session::compare_with_scene() {
    const auto reader = TRY(bundle_->open_blob(scene_->ram));
    const auto current = machine();
    vmm::GuestMemory& memory = current->memory();
    // Pages never fetched hold nothing that could differ.
    for (uint32_t page = 0; page < memory.ram_bytes() >> vmm::kPageShift; ++page) {
        if (memory.is_absent(page))
            continue;
        const std::span<const uint8_t> content{memory.data() + (size_t{page} << vmm::kPageShift),
                                               vmm::kPageSize};
        const auto ref = TRY(reader.chunk_ref(page));
        const bool same = ref.is_zero() ? std::ranges::all_of(content, [](uint8_t b) { return b == 0; })
                                        : appliance_format::object_hash(0, content) == ref.hash;
        if (!same)
            return base::fail(
                fmt::format("not pristine: page {} of memory differs from scene {}", page, scene_->name));
    }
    if (const std::string differs = TRY(current->state_difference()); !differs.empty())
        return base::fail(fmt::format("not pristine: {} differs from scene {}", differs, scene_->name));
    for (size_t i = 0; i < overlays_.size(); ++i)
        if (overlays_[i] && overlays_[i]->changed_chunks() != 0)
            return base::fail(fmt::format("not pristine: disk {} differs from scene {}", i, scene_->name));
    return signing::to_hex(manifest().find_blob(scene_->ram)->root.hash);
}

base::Result<std::string> Session::revert_with_receipt() {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    if (scene_ == nullptr || machine()->exit_reason() != vmm::ExitReason::None)
        return base::fail("the session does not run from a scene: there is nothing to compare with");
    std::string root;
    base::Result<void> done;
    if (saved_) { // another machine's place: first back to the one that the publisher signed
        leave_saved();
        done = replace_machine();
    }
    if (done)
        done = revert_in_place(&root);
    if (!done) {
        log("receipt", {{"scene", scene_->name}, {"pristine", false}});
        finish(SessionEnd::Failed, done.error());
        return tl::make_unexpected(done.error());
    }
    log("receipt", {{"scene", scene_->name}, {"pristine", true}, {"root", root}});
    return root;
}

base::Result<void> Session::capture(const SceneLabel& label, const signing::Signer& signer,
                                    appliance_format::WriterOptions options) {
    const std::lock_guard turn(turn_);
    if (!recipe_->fits_scenes())
        return base::fail(
            "a machine started with other memory, CDs or kernel options than its publisher chose "
            "cannot become a scene",
            2);
    if (const std::string why = paused_because(); !why.empty())
        return base::fail(why + ": what the machine is writing has no place yet; free some space first");
    const auto bundle = TRY(bundle_as_it_is());
    TRY(check_scene_name(*bundle, label.name));
    base::Result<FrozenMachine> frozen = base::fail("the machine is off: there is nothing to capture");
    rest([&] { frozen = freeze_for(*bundle); });
    if (!frozen)
        return tl::make_unexpected(frozen.error());
    return add_scene(*bundle, std::move(*frozen), label, signer, std::move(options));
}

base::Result<std::string> Session::capture_as_author(std::string name) {
    if (!options_.author)
        return base::fail("only a session started with --author captures scenes");
    if (name.empty()) {
        const auto bundle = TRY(appliance_format::Bundle::open(options_.bundle));
        unsigned number = 1;
        while (bundle->manifest().find_scene(fmt::format("scene-{}", number)) != nullptr)
            ++number;
        name = fmt::format("scene-{}", number);
    }
    TRY(capture({name, {}, false}, *options_.author, {.progress = {}}));
    tell(fmt::format("scene {} is captured and signed", name));
    return name;
}

} // namespace player
