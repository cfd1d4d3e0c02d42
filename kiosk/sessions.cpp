#include "kiosk/sessions.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kiosk {

base::Result<void> Sessions::start(std::shared_ptr<const Appliance> appliance,
                                   std::optional<std::string> scene) {
    auto session = std::make_unique<Session>();
    session->appliance = std::move(appliance);
    session->scene = scene ? *scene : session->appliance->start;
    session->wanted = scene;
    session->began = Clock::now();
    session->hole = std::make_unique<GuestHole>(frame_);
    session->hole->place(view_.guest_area());
    GuestProcess::Options options;
    options.encore = settings_.encore;
    options.bundle = session->appliance->path;
    options.scene = std::move(scene);
    options.embed = session->hole->id();
    session->process = TRY(GuestProcess::start(options));
    SessionTimes times;
    times.warning = settings_.warning;
    if (session->appliance->minutes)
        times.maximum = std::chrono::minutes(*session->appliance->minutes);
    if (session->appliance->idle_seconds)
        times.idle = std::chrono::seconds(*session->appliance->idle_seconds);
    clock_ = SessionClock(times, session->began);
    keys_.forget();
    running_ = std::move(session);
    log_.note("kiosk-session", {{"appliance", running_->appliance->name}, {"scene", running_->scene}});
    return {};
}

// The screen is free at once; reverting and comparing goes on behind it.
void Sessions::end(const char* why) {
    if (!running_)
        return;
    release_keys();
    running_->hole->show(false);
    log_.note("kiosk-session-end", {{"appliance", running_->appliance->name}, {"why", std::string(why)}});
    ask_receipt(*running_);
    leaving_.push_back(std::move(running_));
}

void Sessions::drop_all() {
    if (running_)
        log_.note("kiosk-session-end",
                  {{"appliance", running_->appliance->name}, {"why", std::string("kiosk-end")}});
    running_.reset();
    leaving_.clear();
}

// Its process ended by itself, or does not answer any more.
void Sessions::lose(GuestProcess::State state) {
    const auto lost = std::move(running_);
    lost->hole->show(false);
    const bool hung = state == GuestProcess::State::Hung;
    if (hung)
        lost->process->kill();
    const int status = lost->process->exit_status().value_or(-1);
    Loss loss;
    loss.appliance = lost->appliance;
    loss.by_guest = !hung && status == 0;
    loss.never_ran = !lost->was_live && !hung && status > 0;
    loss.said = !lost->process->said().empty() ? lost->process->said()
                : hung                         ? "the session's process did not answer"
                       : "the session's process ended: status " + std::to_string(status);
    log_.note("kiosk-session-end", {{"appliance", lost->appliance->name},
                                    {"why", loss.by_guest ? "guest"
                                            : hung        ? "hung"
                                                          : "crashed"},
                                    {"status", int64_t{status}}});
    if (!loss.never_ran)
        check_start(*lost);
    on_loss(loss);
}

// Its process is well, so the machine can still be reverted and compared.
void Sessions::give_up_halted() {
    Loss loss;
    loss.appliance = running_->appliance;
    loss.said = "the guest halted with interrupts disabled";
    end("halted");
    on_loss(loss);
}

void Sessions::tick(bool covered) {
    watch_running(covered);
    watch_leaving();
}

void Sessions::watch_running(bool covered) {
    if (!running_)
        return;
    const auto state = running_->process->poll();
    if (state == GuestProcess::State::Ended || state == GuestProcess::State::Hung) {
        lose(state);
        return;
    }
    if (running_->process->status().halted) {
        give_up_halted();
        return;
    }
    if (state == GuestProcess::State::Live && !running_->was_live) {
        running_->was_live = true;
        const auto took =
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - running_->began);
        log_.note("kiosk-live",
                  {{"appliance", running_->appliance->name}, {"milliseconds", int64_t{took.count()}}});
        view_.set_live(true);
    }
    running_->hole->show(running_->was_live && !covered);
}

// ------------------------------------------------------------------------------------------------ receipts

void Sessions::ask_receipt(Session& left) {
    left.process->leave([this, &left](const base::Result<std::string>& root) { note_receipt(left, root); });
}

void Sessions::note_receipt(Session& left, const base::Result<std::string>& root) {
    left.noted_receipt = true;
    if (left.scene.empty()) // from power-on: no machine was signed that it could be compared with
        log_.note("kiosk-receipt", {{"appliance", left.appliance->name}, {"from", std::string("power-on")}});
    else if (root)
        log_.note("kiosk-receipt", {{"appliance", left.appliance->name},
                                    {"scene", left.scene},
                                    {"pristine", *root},
                                    {"of", std::string(left.is_check ? "the next start" : "the session")}});
    else
        log_.note("kiosk-receipt", {{"appliance", left.appliance->name}, {"error", root.error().message}});
}

// A session whose process is gone cannot say what it left behind. Whoever starts next is compared instead: a
// session that begins where the dead one did, runs nothing, and answers with its receipt.
void Sessions::check_start(const Session& dead) {
    auto check = std::make_unique<Session>();
    check->appliance = dead.appliance;
    check->scene = dead.wanted ? *dead.wanted : dead.appliance->start;
    check->is_check = true;
    GuestProcess::Options options;
    options.encore = settings_.encore;
    options.bundle = dead.appliance->path;
    options.scene = dead.wanted;
    options.headless = true;
    if (check->scene.empty()) {
        note_receipt(*check, base::fail("there is nothing to compare with"));
        return;
    }
    auto process = GuestProcess::start(options);
    if (!process) {
        note_receipt(*check, tl::make_unexpected(process.error()));
        return;
    }
    check->process = std::move(*process);
    ask_receipt(*check);
    leaving_.push_back(std::move(check));
}

void Sessions::watch_leaving() {
    std::vector<std::unique_ptr<Session>> over;
    for (auto& left : leaving_) {
        const auto state = left->process->poll();
        if (state == GuestProcess::State::Hung)
            left->process->kill();
        if (left->process->exit_status())
            over.push_back(std::move(left));
    }
    std::erase(leaving_, nullptr);
    for (const auto& left : over) {
        if (left->noted_receipt)
            continue;
        if (left->is_check)
            note_receipt(*left, base::fail("the check did not answer: " + left->process->said()));
        else
            check_start(*left);
    }
}

// ------------------------------------------------------------------------------------------------ what
// visitors do

void Sessions::jump(const std::string& scene) {
    if (!running_)
        return;
    release_keys();
    running_->scene = scene;
    running_->process->ask({{"do", "jump"}, {"scene", scene}});
    log_.note("kiosk-jump", {{"appliance", running_->appliance->name}, {"scene", scene}});
}

void Sessions::restart() {
    if (!running_)
        return;
    release_keys();
    running_->process->ask({{"do", "revert"}});
    log_.note("kiosk-revert", {{"appliance", running_->appliance->name}});
}

void Sessions::extend() {
    if (!running_)
        return;
    clock_.extend(Clock::now(), settings_.extension);
    log_.note("kiosk-extended",
              {{"appliance", running_->appliance->name}, {"minutes", int64_t{settings_.extension.count()}}});
}

void Sessions::pass_on(const SeatKey& key) {
    if (running_)
        keys_.pass_on(*running_->process, key);
}

void Sessions::release_keys() {
    if (running_)
        keys_.release(*running_->process);
}

// ------------------------------------------------------------------------------------------------ its screen

void Sessions::lay_out() {
    if (running_)
        running_->hole->place(view_.guest_area());
}

SessionClock::Verdict Sessions::look_at_clock() {
    const auto now = Clock::now();
    const auto verdict = clock_.look(now, seat_idle());
    view_.show_time(clock_.left(now), clock_.share_used(now),
                    verdict.phase == SessionClock::Phase::TimeWarning);
    return verdict;
}

double Sessions::share_left(const SessionClock::Verdict& verdict) const {
    return static_cast<double>(verdict.left.count()) /
           std::max<double>(1, static_cast<double>(clock_.warning_length(verdict.phase).count()));
}

} // namespace kiosk
