#include "player/session.h"

#include <array>
#include <fmt/format.h>

namespace player {
namespace {

// How long before the end the person is told.
constexpr std::array kWarnings = {std::chrono::minutes(5), std::chrono::minutes(1)};

} // namespace

base::Result<std::unique_ptr<Session>> Session::open(SessionOptions options) {
    std::unique_ptr<Session> session(new Session);
    session->options_ = std::move(options);
    session->bundle_ = TRY(appliance_format::Bundle::open(session->options_.bundle));
    session->publisher_ = TRY(session->bundle_->authenticate(signing::TrustStore::standard()));
    session->recipe_ = TRY(BundleMachine::create(*session->bundle_, session->options_.changes));
    session->storage_ = TRY(SessionStorage::open(session->options_.cache_home));
    session->budget_ = std::make_shared<OverlayBudget>(session->options_.overlay_limit);
    session->serial_ = std::make_shared<SerialLog>();
    session->machine_ = TRY(session->build());
    session->typist_ = std::make_unique<Typist>(
        [raw = session.get()](const vmm::KeyEvent& event) { raw->machine()->key(event); });
    session->started_ = session->options_.now();
    return session;
}

Session::~Session() {
    typist_.reset();
    serial_.reset();
    // The machine uses the bundle and the storage until it is gone.
    if (machine_) {
        machine_->stop();
        machine_->wait(-1);
        machine_.reset();
    }
}

base::Result<std::shared_ptr<vmm::Machine>> Session::build() {
    auto config = TRY(recipe_->configure(
        *storage_, budget_, [this](const std::string& text) { tell(text); },
        [this](const base::Error& error) { finish(SessionEnd::Failed, error); }));
    config.platform.serial = serial_;
    return std::shared_ptr<vmm::Machine>(TRY(vmm::Machine::create(std::move(config))));
}

void Session::tell(const std::string& text) const {
    if (options_.notice)
        options_.notice(text);
}

void Session::start() {
    started_ = options_.now();
    const std::lock_guard lock(mutex_);
    running_ = true;
    machine_->start();
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
    return fmt::format("{} — {}", manifest().appliance.title, publisher_.common_name);
}

std::chrono::seconds Session::age() const {
    return std::chrono::duration_cast<std::chrono::seconds>(options_.now() - started_);
}

void Session::check_time() {
    if (!manifest().policy.max_minutes)
        return;
    const auto left = started_ + std::chrono::minutes(*manifest().policy.max_minutes) - options_.now();
    if (left <= std::chrono::seconds(0)) {
        tell("the session's time is over");
        finish(SessionEnd::TimeLimit);
        return;
    }
    for (const auto warning : kWarnings) {
        // A limit no longer than the warning is known from the start.
        if (left > warning || warned_at_ <= warning ||
            std::chrono::minutes(*manifest().policy.max_minutes) <= warning)
            continue;
        warned_at_ = warning;
        tell(
            fmt::format("the session ends in {} minute{}", warning.count(), warning.count() == 1 ? "" : "s"));
    }
}

SessionEnd Session::poll() {
    const std::unique_lock turn(turn_, std::try_to_lock);
    if (!turn.owns_lock() || state() != SessionEnd::None) // a revert is under way, or all is over
        return state();
    check_time();
    const auto current = machine();
    switch (current->exit_reason()) {
    case vmm::ExitReason::None:
        break;
    case vmm::ExitReason::PowerOff:
        if (manifest().policy.power_off_ends_session)
            finish(SessionEnd::PowerOff);
        else if (auto again = replace_machine(); !again)
            finish(SessionEnd::Failed, again.error());
        break;
    case vmm::ExitReason::Stopped:
        finish(SessionEnd::Reset); // nobody asked: the machine ends itself at a reset only
        break;
    case vmm::ExitReason::GuestHang:
        finish(SessionEnd::Failed, {1, "the machine inside has crashed and cannot continue"});
        break;
    case vmm::ExitReason::HostError:
        finish(SessionEnd::Failed, {1, current->error()});
        break;
    }
    return state();
}

// The old machine goes first, so that nothing it still writes can reach the new one's disks.
base::Result<void> Session::replace_machine() {
    const auto old = machine();
    typist_->forget();
    old->stop();
    old->wait(-1);
    auto fresh = TRY(build());
    const std::lock_guard lock(mutex_);
    if (end_ != SessionEnd::None)
        return base::fail("the session is over");
    machine_ = fresh;
    reverts_ += 1;
    if (running_)
        machine_->start();
    return {};
}

base::Result<void> Session::revert() {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    auto done = replace_machine();
    if (!done)
        finish(SessionEnd::Failed, done.error());
    return done;
}

} // namespace player
