// The rules of a session: whether it may be played at all, at which scenes, for how long and how long
// untouched.
#include "player/high_water_clock.h"
#include "player/host_features.h"
#include "player/session.h"
#include "vmm/base/shell_word.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/format.h>

namespace player {
namespace {

// How long before the end the person is told.
constexpr std::array kWarnings = {std::chrono::minutes(5), std::chrono::minutes(1)};
constexpr std::chrono::seconds kIdleWarning(30); // at most half of the idle time

} // namespace

// Time limits run while it is played; whether it may be played at all is asked here, before anything starts.
base::Result<void> Session::check_policy() {
    if (!options_.operator_files)
        options_.operator_files = TRY(load_operator_files());
    appliance_format::Policy publishers = manifest().policy;
    if (options_.author) {
        publishers.max_minutes.reset();
        publishers.idle_seconds.reset();
        publishers.grace_days.reset();
        publishers.scenes.clear();
        publishers.expires.clear();
        publishers.watermark.clear();
    }
    policy_ = effective_policy(manifest(), publishers, *options_.operator_files);
    const appliance_format::Policy& rules = policy_.policy();
    if (rules.expires.empty())
        return {};
    using Validity = appliance_format::EffectivePolicy::Validity;
    // A clock that cannot be kept is no reason to refuse: it protects against setting the date back only.
    std::ignore = HighWaterClock::standard().remember(std::time(nullptr));
    const signing::TrustedTime now = trusted_now();
    switch (policy_.validity(now.latest)) {
    case Validity::Valid:
        return {};
    case Validity::Grace:
        tell(fmt::format("this appliance's time ended on {}; ask {} for a new one", rules.expires,
                         publisher_.common_name));
        return {};
    case Validity::Expired:
        break;
    }
    const bool by_the_clock = policy_.validity(now.clock) == Validity::Expired;
    return base::fail(fmt::format("{}: its time ended on {}{}; ask {} for a new bundle", options_.bundle,
                                  rules.expires, by_the_clock ? "" : ", and " + now.why_not_the_clock(),
                                  publisher_.common_name),
                      kRefused);
}

// Where the publisher says, or, if that is not allowed, at the first scene that is.
std::string Session::first_scene() const {
    if (policy_.allows_scene(manifest().start))
        return manifest().start;
    for (const std::string& allowed : policy_.policy().scenes) {
        if (allowed == appliance_format::kPowerOn)
            return "";
        if (manifest().find_scene(allowed) != nullptr)
            return allowed;
    }
    return manifest().start; // which choose_scene() refuses
}

base::Result<void> Session::choose_scene(const std::string& name) {
    const appliance_format::Scene* scene = name.empty() ? nullptr : manifest().find_scene(name);
    const std::string bundle = base::shell_word(options_.bundle); // as advice names it
    if (!name.empty() && scene == nullptr)
        return base::fail(
            fmt::format("{}: there is no scene {}; see: encore scene list {}", options_.bundle, name, bundle),
            2);
    if (!policy_.allows_scene(name))
        return base::fail(
            name.empty()
                ? fmt::format(
                      "{}: sessions begin at a scene here, not at power-on; see: encore policy explain {}",
                      options_.bundle, bundle)
                : fmt::format("{}: scene {} is not allowed here; see: encore policy explain {}",
                              options_.bundle, name, bundle),
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

} // namespace player
