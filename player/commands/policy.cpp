// encore policy explain: the rules that hold for sessions with a bundle on this computer, and who made them.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/json_text.h"
#include "player/commands/command.h"
#include "player/high_water_clock.h"
#include "player/operator_settings.h"

#include <array>
#include <ctime>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {

namespace format = appliance_format;
using nlohmann::ordered_json;

namespace {

struct Options {
    std::string path;
    bool json = false;
};

ordered_json value_json(const format::EffectivePolicy& effective, format::Rule rule) {
    const format::Policy& policy = effective.policy();
    const auto or_null = [](const auto& value) {
        return value ? ordered_json(*value) : ordered_json(nullptr);
    };
    const auto text = [](const std::string& value) {
        return value.empty() ? ordered_json(nullptr) : ordered_json(value);
    };
    switch (rule) {
    case format::Rule::Scenes:
        return effective.limits_scenes() ? ordered_json(policy.scenes) : ordered_json(nullptr);
    case format::Rule::MaxMinutes:
        return or_null(policy.max_minutes);
    case format::Rule::IdleSeconds:
        return or_null(policy.idle_seconds);
    case format::Rule::Network:
        return effective.network();
    case format::Rule::Networks:
        return effective.networks();
    case format::Rule::Forward:
        return policy.forward;
    case format::Rule::Clipboard:
        return effective.clipboard();
    case format::Rule::Sound:
        return effective.sound();
    case format::Rule::PowerOffEndsSession:
        return policy.power_off_ends_session;
    case format::Rule::ResetEndsSession:
        return policy.reset_ends_session;
    case format::Rule::Watermark:
        return text(policy.watermark);
    case format::Rule::Expires:
        return text(policy.expires);
    case format::Rule::GraceDays:
        return policy.grace_days.value_or(0);
    }
    return nullptr;
}

// What this version of Encore does whatever the rule says.
std::string remark(format::Rule rule, const format::EffectivePolicy& effective,
                   const format::Manifest& manifest) {
    if (rule == format::Rule::Clipboard)
        return "this version shares no clipboard in any case";
    if (rule == format::Rule::Network && effective.network() && !manifest.machine.network)
        return "but the machine has no network card";
    if (rule == format::Rule::Networks && effective.networks() != effective.asked_networks())
        return fmt::format(
            "the bundle asks for {}; an operator grants it by the same line under [appliance.{}]",
            fmt::join(effective.asked_networks(), ", "), manifest.appliance.name);
    if (rule == format::Rule::Forward && !effective.policy().forward.empty() && !effective.network())
        return "but the network is off";
    return "";
}

const char* validity_text(format::EffectivePolicy::Validity validity) {
    using Validity = format::EffectivePolicy::Validity;
    return validity == Validity::Valid ? "valid" : validity == Validity::Grace ? "grace" : "expired";
}

// What the publisher alone decides: what a scene meets when it is opened.
struct SceneRule {
    const char* name;
    const char* value;
    bool stated;
};
std::array<SceneRule, 2> scene_rules(const format::EffectivePolicy& effective) {
    const format::Policy& policy = effective.policy();
    const format::Policy defaults;
    return {{{"clock", format::to_string(policy.clock), policy.clock != defaults.clock},
             {"identity", format::to_string(policy.identity), policy.identity != defaults.identity}}};
}

void print_json(const format::EffectivePolicy& effective, const char* validity) {
    ordered_json rules = ordered_json::object();
    for (size_t i = 0; i < format::kRules; ++i) {
        const auto rule = static_cast<format::Rule>(i);
        const format::RuleSource& source = effective.source(rule);
        constexpr const char* kFrom[] = {"default", "publisher", "operator"};
        ordered_json entry = {{"value", value_json(effective, rule)},
                              {"from", kFrom[static_cast<size_t>(source.from)]}};
        if (source.from == format::RuleSource::From::Operator) {
            entry["file"] = source.file;
            entry["line"] = source.line;
        }
        rules[format::to_string(rule)] = std::move(entry);
    }
    for (const auto& [name, value, stated] : scene_rules(effective))
        rules[name] = {{"value", value}, {"from", stated ? "publisher" : "default"}};
    ordered_json ignored = ordered_json::array();
    for (const auto& line : effective.ignored())
        ignored.push_back({{"file", line.file}, {"line", line.line}, {"why", line.why}});
    const ordered_json answer = {{"rules", rules}, {"ignored", ignored}, {"now", validity}};
    fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
}

base::Result<> explain(const Options& options) {
    const auto bundle = TRY(format::Bundle::open(options.path));
    TRY(bundle->authenticate(trust_store()));
    const auto files = TRY(load_operator_files());
    const format::EffectivePolicy effective = effective_policy(bundle->manifest(), files);
    const signing::TrustedTime now = trusted_now();
    const char* validity = validity_text(effective.validity(now.latest));
    if (options.json) {
        print_json(effective, validity);
        return {};
    }
    for (size_t i = 0; i < format::kRules; ++i) {
        const auto rule = static_cast<format::Rule>(i);
        const std::string note = remark(rule, effective, bundle->manifest());
        fmt::print("{:<23} {:<24} {}{}{}\n", format::to_string(rule), effective.value_text(rule),
                   effective.source_text(rule), note.empty() ? "" : "; ", note);
    }
    for (const auto& [name, value, stated] : scene_rules(effective))
        fmt::print("{:<23} {:<24} {}\n", name, value, stated ? "publisher's manifest" : "default");
    if (!effective.policy().expires.empty())
        fmt::print("today it is {}{}\n", validity,
                   effective.validity(now.latest) == effective.validity(now.clock)
                       ? ""
                       : "; " + now.why_not_the_clock());
    for (const auto& line : effective.ignored())
        fmt::print("not applied: {}:{}: {}\n", line.file, line.line, line.why);
    return {};
}

} // namespace

Command policy_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "policy", "The rules of sessions. A publisher's recipe states them under [policy]; operator.toml in "
                  "/etc/xdg/encore and $XDG_CONFIG_HOME/encore tightens them");
    app->require_subcommand(1);
    cli::App* explain_app = app->add_subcommand(
        "explain", "Show the rules that hold here for a bundle, and where each comes from");
    explain_app->add_option("bundle", options->path, "The bundle")->required()->type_name("X.encore");
    explain_app->add_flag("--json", options->json, "Answer in JSON");
    return {app, [options] { return explain(*options); }};
}

} // namespace player
