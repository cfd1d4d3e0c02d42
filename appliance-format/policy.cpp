#include "appliance-format/policy.h"

#include "appliance-format/network_rules.h"
#include "appliance-format/safe_path.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace appliance_format {
namespace {

constexpr int64_t kSecondsADay = 24 * 3600;

// What an operator's value did to the one that held until then.
enum class Effect : uint8_t { Tightened, Same, Loosened };

// Smaller is tighter; absent is no limit at all.
Effect tighten_limit(std::optional<uint32_t>& held, const std::optional<uint32_t>& wanted) {
    if (!wanted || held == wanted)
        return Effect::Same;
    if (held && *held < *wanted)
        return Effect::Loosened;
    held = wanted;
    return Effect::Tightened;
}

// What is permitted may be forbidden.
Effect tighten_permission(std::optional<bool>& held, bool otherwise, const std::optional<bool>& wanted) {
    const bool before = held.value_or(otherwise);
    if (!wanted || before == *wanted)
        return Effect::Same;
    if (*wanted)
        return Effect::Loosened;
    held = wanted;
    return Effect::Tightened;
}

// What does not end a session may be made to.
Effect tighten_duty(bool& held, bool wanted) {
    if (held == wanted)
        return Effect::Same;
    if (!wanted)
        return Effect::Loosened;
    held = true;
    return Effect::Tightened;
}

// The publisher's line stays; the operator's is added to it.
Effect tighten_watermark(std::string& held, const std::string& wanted) {
    if (held == wanted)
        return Effect::Same;
    if (wanted.empty())
        return Effect::Loosened;
    held = held.empty() ? wanted : held + " · " + wanted;
    return Effect::Tightened;
}

Effect tighten_date(std::string& held, const std::string& wanted) {
    if (held == wanted)
        return Effect::Same;
    if (!held.empty() && held < wanted) // ISO 8601 dates sort as texts
        return Effect::Loosened;
    held = wanted;
    return Effect::Tightened;
}

// Everything but lists, which EffectivePolicy::apply knows.
Effect tighten(Rule rule, Policy& held, const Policy& wanted) {
    switch (rule) {
    case Rule::MaxMinutes:
        return tighten_limit(held.max_minutes, wanted.max_minutes);
    case Rule::IdleSeconds:
        return tighten_limit(held.idle_seconds, wanted.idle_seconds);
    case Rule::Network:
        return tighten_permission(held.network, false, wanted.network);
    case Rule::Clipboard:
        return tighten_permission(held.clipboard, false, wanted.clipboard);
    case Rule::Sound:
        return tighten_permission(held.sound, true, wanted.sound);
    case Rule::PowerOffEndsSession:
        return tighten_duty(held.power_off_ends_session, wanted.power_off_ends_session);
    case Rule::ResetEndsSession:
        return tighten_duty(held.reset_ends_session, wanted.reset_ends_session);
    case Rule::Watermark:
        return tighten_watermark(held.watermark, wanted.watermark);
    case Rule::Expires:
        return tighten_date(held.expires, wanted.expires);
    case Rule::GraceDays: {
        std::optional<uint32_t> days = held.grace_days.value_or(0);
        const Effect effect = tighten_limit(days, wanted.grace_days);
        if (effect == Effect::Tightened)
            held.grace_days = days;
        return effect;
    }
    case Rule::Scenes:
    case Rule::Networks:
    case Rule::Forward:
        break;
    }
    return Effect::Same;
}

// Whether the publisher's manifest says something about the rule.
bool states(const Policy& policy, Rule rule) {
    switch (rule) {
    case Rule::Scenes:
        return !policy.scenes.empty();
    case Rule::MaxMinutes:
        return policy.max_minutes.has_value();
    case Rule::IdleSeconds:
        return policy.idle_seconds.has_value();
    case Rule::Network:
        return policy.network.has_value();
    case Rule::Networks:
        return false; // asking is not having
    case Rule::Forward:
        return !policy.forward.empty();
    case Rule::Clipboard:
        return policy.clipboard.has_value();
    case Rule::Sound:
        return policy.sound.has_value();
    case Rule::PowerOffEndsSession:
    case Rule::ResetEndsSession:
        return true; // a manifest always does
    case Rule::Watermark:
        return !policy.watermark.empty();
    case Rule::Expires:
        return !policy.expires.empty();
    case Rule::GraceDays:
        return policy.grace_days.has_value();
    }
    return false;
}

int64_t number(std::string_view digits) {
    int64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
}

std::chrono::year_month_day parts_of(std::string_view date) {
    return std::chrono::year(static_cast<int>(number(date.substr(0, 4)))) /
           static_cast<int>(number(date.substr(5, 2))) / static_cast<int>(number(date.substr(8, 2)));
}

bool contains(std::span<const std::string> list, std::string_view text) {
    return std::ranges::find(list, text) != list.end();
}

std::string counted(uint32_t count, const char* unit) {
    return fmt::format("{} {}{}", count, unit, count == 1 ? "" : "s");
}

} // namespace

const char* to_string(ClockPolicy policy) {
    return policy == ClockPolicy::Host ? "host" : policy == ClockPolicy::Frozen ? "frozen" : "continues";
}

std::optional<ClockPolicy> clock_policy_from(std::string_view text) {
    for (ClockPolicy policy : {ClockPolicy::Host, ClockPolicy::Frozen, ClockPolicy::Continues})
        if (text == to_string(policy))
            return policy;
    return std::nullopt;
}

const char* to_string(IdentityPolicy policy) { return policy == IdentityPolicy::Fresh ? "fresh" : "same"; }

std::optional<IdentityPolicy> identity_policy_from(std::string_view text) {
    for (IdentityPolicy policy : {IdentityPolicy::Fresh, IdentityPolicy::Same})
        if (text == to_string(policy))
            return policy;
    return std::nullopt;
}

bool is_date(std::string_view text) {
    if (text.size() != 10 || text[4] != '-' || text[7] != '-')
        return false;
    for (const size_t i : {0, 1, 2, 3, 5, 6, 8, 9})
        if (text[i] < '0' || text[i] > '9')
            return false;
    return text >= "2000" && parts_of(text).ok();
}

int64_t days_of(std::string_view date) {
    return std::chrono::sys_days(parts_of(date)).time_since_epoch().count();
}

std::string policy_fault(const Policy& policy) {
    if (policy.max_minutes && (*policy.max_minutes < 1 || *policy.max_minutes > kMaxMinutes))
        return fmt::format("\"max_minutes\" takes 1 to {}", kMaxMinutes);
    if (policy.idle_seconds &&
        (*policy.idle_seconds < kMinIdleSeconds || *policy.idle_seconds > kMaxIdleSeconds))
        return fmt::format("\"idle_seconds\" takes {} to {}", kMinIdleSeconds, kMaxIdleSeconds);
    if (policy.grace_days && *policy.grace_days > kMaxGraceDays)
        return fmt::format("\"grace_days\" takes 0 to {}", kMaxGraceDays);
    if (!is_plain_text(policy.watermark, kMaxWatermark, Lines::One))
        return fmt::format("\"watermark\" takes at most {} bytes in one line", kMaxWatermark);
    if (!policy.expires.empty() && !is_date(policy.expires))
        return "\"expires\" takes a date such as 2027-12-31";
    if (policy.networks.size() > kMaxNetworks ||
        networks_of(policy.networks).size() != policy.networks.size())
        return fmt::format("\"networks\" takes at most {} networks such as \"192.168.1.0/24\"", kMaxNetworks);
    if (policy.forward.size() > kMaxForwards || forwards_of(policy.forward).size() != policy.forward.size())
        return fmt::format(
            "\"forward\" takes at most {} pairs such as \"8080:80\": this computer's port, 1024 to "
            "65535, and the guest's",
            kMaxForwards);
    if (policy.scenes.size() > kMaxPolicyScenes)
        return fmt::format("\"scenes\" takes at most {} names", kMaxPolicyScenes);
    for (const std::string& scene : policy.scenes)
        if (!is_simple_name(scene))
            return "\"scenes\" takes names of lower-case letters, digits and - (at most 64)";
    return {};
}

bool needs_session_rules(const Policy& policy) {
    return policy.idle_seconds || !policy.scenes.empty() || !policy.watermark.empty() ||
           !policy.expires.empty() || policy.sound == false;
}

const char* to_string(Rule rule) {
    constexpr const char* kNames[kRules] = {"scenes",
                                            "max_minutes",
                                            "idle_seconds",
                                            "network",
                                            "networks",
                                            "forward",
                                            "clipboard",
                                            "sound",
                                            "power_off_ends_session",
                                            "reset_ends_session",
                                            "watermark",
                                            "expires",
                                            "grace_days"};
    return kNames[static_cast<size_t>(rule)];
}

EffectivePolicy EffectivePolicy::merge(const Policy& publisher, std::string_view appliance,
                                       std::span<const std::string> scenes,
                                       std::span<const OperatorPolicy> operators) {
    EffectivePolicy merged;
    merged.policy_ = publisher;
    merged.scenes_limited_ = !publisher.scenes.empty();
    merged.asked_networks_ = std::exchange(merged.policy_.networks, {}); // to be granted
    for (size_t i = 0; i < kRules; ++i)
        if (states(publisher, static_cast<Rule>(i)))
            merged.sources_[i].from = RuleSource::From::Publisher;
    for (const OperatorPolicy& stated : operators)
        if (stated.appliance.empty() || stated.appliance == appliance)
            merged.apply(stated, scenes);
    return merged;
}

bool EffectivePolicy::apply_scenes(const Policy& wanted, std::span<const std::string> scenes,
                                   const Ignore& ignore) {
    std::vector<std::string> kept;
    for (const std::string& scene : wanted.scenes)
        if (scene != kPowerOn && !contains(scenes, scene))
            ignore(fmt::format("the bundle has no scene {}", scene));
        else if (scenes_limited_ && !contains(policy_.scenes, scene))
            ignore(fmt::format("scene {} is not among those allowed so far", scene));
        else
            kept.push_back(scene);
    const bool same = scenes_limited_ && kept.size() == policy_.scenes.size();
    policy_.scenes = std::move(kept);
    scenes_limited_ = true;
    return !same;
}

// The first operator's word is a grant, within what the publisher asks for; a later operator may take
// away.
bool EffectivePolicy::apply_networks(const Policy& wanted, const Ignore& ignore) {
    const std::vector<std::string>& most = networks_decided_ ? policy_.networks : asked_networks_;
    std::vector<std::string> kept = common_networks(most, wanted.networks);
    for (const std::string& network : wanted.networks)
        if (common_networks(most, std::span(&network, 1)).empty())
            ignore(networks_decided_ ? fmt::format("{} is not among the networks granted so far", network)
                                     : fmt::format("the bundle does not ask for {}", network));
    const bool changed = !networks_decided_ || kept != policy_.networks;
    policy_.networks = std::move(kept);
    networks_decided_ = true;
    return changed;
}

bool EffectivePolicy::apply_forward(const Policy& wanted, const Ignore& ignore) {
    std::vector<std::string> kept;
    for (const std::string& forward : wanted.forward)
        if (contains(policy_.forward, forward))
            kept.push_back(forward);
        else
            ignore(fmt::format("{} is not among what holds already", forward));
    return std::exchange(policy_.forward, kept) != kept;
}

void EffectivePolicy::apply(const OperatorPolicy& stated, std::span<const std::string> scenes) {
    for (const auto& [rule, line] : stated.stated) {
        const auto ignore = [&, at = line](std::string why) {
            ignored_.push_back({stated.file, at, std::move(why)});
        };
        bool tightened = false;
        if (rule == Rule::Scenes) {
            tightened = apply_scenes(stated.policy, scenes, ignore);
        } else if (rule == Rule::Networks) {
            tightened = apply_networks(stated.policy, ignore);
        } else if (rule == Rule::Forward) {
            tightened = apply_forward(stated.policy, ignore);
        } else {
            const std::string before = value_text(rule);
            const Effect effect = tighten(rule, policy_, stated.policy);
            if (effect == Effect::Loosened)
                ignore(fmt::format("\"{}\" would loosen what holds already ({})", to_string(rule), before));
            tightened = effect == Effect::Tightened;
        }
        if (tightened)
            sources_[static_cast<size_t>(rule)] = {RuleSource::From::Operator, stated.file, line};
    }
}

bool EffectivePolicy::allows_scene(std::string_view scene) const {
    return !scenes_limited_ || contains(policy_.scenes, scene.empty() ? kPowerOn : scene);
}

std::string EffectivePolicy::source_text(Rule rule) const {
    const RuleSource& from = source(rule);
    switch (from.from) {
    case RuleSource::From::Default:
        return "default";
    case RuleSource::From::Publisher:
        return "publisher's manifest";
    case RuleSource::From::Operator:
        break;
    }
    return fmt::format("{}:{}", from.file, from.line);
}

std::string EffectivePolicy::value_text(Rule rule) const {
    const auto yes_no = [](bool value) { return value ? "yes" : "no"; };
    const auto on_off = [](bool value) { return value ? "on" : "off"; };
    switch (rule) {
    case Rule::Scenes:
        return !scenes_limited_         ? "all"
               : policy_.scenes.empty() ? "none"
                                        : fmt::format("{}", fmt::join(policy_.scenes, ", "));
    case Rule::MaxMinutes:
        return policy_.max_minutes ? counted(*policy_.max_minutes, "minute") : "no limit";
    case Rule::IdleSeconds:
        return policy_.idle_seconds ? counted(*policy_.idle_seconds, "second") : "no limit";
    case Rule::Network:
        return on_off(network());
    case Rule::Networks:
        return policy_.networks.empty() ? "none" : fmt::format("{}", fmt::join(policy_.networks, ", "));
    case Rule::Forward:
        return policy_.forward.empty() ? "none" : fmt::format("{}", fmt::join(policy_.forward, ", "));
    case Rule::Clipboard:
        return on_off(clipboard());
    case Rule::Sound:
        return on_off(sound());
    case Rule::PowerOffEndsSession:
        return yes_no(policy_.power_off_ends_session);
    case Rule::ResetEndsSession:
        return yes_no(policy_.reset_ends_session);
    case Rule::Watermark:
        return policy_.watermark.empty() ? "none" : policy_.watermark;
    case Rule::Expires:
        return policy_.expires.empty() ? "never" : policy_.expires;
    case Rule::GraceDays:
        return counted(policy_.grace_days.value_or(0), "day");
    }
    return {};
}

EffectivePolicy::Validity EffectivePolicy::validity(int64_t now) const {
    if (policy_.expires.empty())
        return Validity::Valid;
    const int64_t end = (days_of(policy_.expires) + 1) * kSecondsADay; // the day itself still counts
    if (now < end)
        return Validity::Valid;
    return now < end + int64_t{policy_.grace_days.value_or(0)} * kSecondsADay ? Validity::Grace
                                                                              : Validity::Expired;
}

} // namespace appliance_format
