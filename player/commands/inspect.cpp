// encore inspect: what a bundle is and who made it, without running or unpacking anything.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/json_text.h"
#include "player/commands/command.h"
#include "player/commands/publisher_json.h"
#include "player/high_water_clock.h"
#include "signing/certificate.h"
#include "signing/fingerprint_words.h"
#include "signing/outcome.h"

#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {

namespace format = appliance_format;
using nlohmann::json;

namespace {

struct Options {
    std::string path;
    bool json = false;
};

std::string human_size(uint64_t bytes) {
    const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < std::size(units); ++unit)
        value /= 1024;
    return unit ? fmt::format("{:.1f} {}", value, units[unit]) : fmt::format("{} B", bytes);
}

// What it asks of this computer, which is to be known before its publisher is trusted.
std::vector<std::string> wishes(const format::Manifest& manifest) {
    const format::Policy& rules = manifest.policy;
    std::vector<std::string> all;
    if (manifest.machine.network && rules.network.value_or(false)) {
        all.emplace_back("to reach the internet");
        for (const std::string& network : rules.networks)
            all.push_back(
                fmt::format("to reach the private network {}, which takes an operator's grant", network));
        for (const std::string& ports : rules.forward) {
            const size_t colon = ports.find(':');
            all.push_back(fmt::format("port {} of this computer's 127.0.0.1, to lead to its port {}",
                                      ports.substr(0, colon), ports.substr(colon + 1)));
        }
    }
    if (manifest.machine.sound && rules.sound.value_or(true))
        all.emplace_back("to be heard");
    return all;
}

void print_human(const format::Bundle& bundle, const std::string& signature) {
    const format::Manifest& m = bundle.manifest();
    auto row = [](const char* label, const std::string& text) { fmt::print("{:<12} {}\n", label, text); };
    row("appliance", fmt::format("{} ({}{}{})", m.appliance.title, m.appliance.name,
                                 m.appliance.version.empty() ? "" : " ", m.appliance.version));
    if (!m.appliance.description.empty())
        row("about", m.appliance.description);
    row("signature", signature);
    row("size", human_size(bundle.file_size()));
    row("memory", human_size(m.machine.memory));
    if (m.machine.sound)
        row("sound", "an AC'97 device");
    if (m.machine.network)
        row("network",
            m.policy.network.value_or(false) ? "an RTL8139 card" : "an RTL8139 card, not connected");
    if (!m.machine.keyboard.empty())
        row("keyboard", m.machine.keyboard);
    if (!m.boot.kernel.empty())
        row("kernel", m.boot.cmdline.empty() ? "yes" : "with: " + m.boot.cmdline);
    for (const format::Medium& medium : m.media)
        row(to_string(medium.kind),
            fmt::format("{} ({})", medium.blob, human_size(m.find_blob(medium.blob)->size)));
    for (const format::Scene& scene : m.scenes)
        row("scene", fmt::format("{}{}{}", scene.name, scene.title.empty() ? "" : ": " + scene.title,
                                 scene.name == m.start ? " (start)" : ""));
    if (m.policy.max_minutes)
        row("time limit", fmt::format("{} minutes", *m.policy.max_minutes));
    if (m.policy.idle_seconds)
        row("idle limit", fmt::format("{} seconds untouched", *m.policy.idle_seconds));
    if (!m.policy.expires.empty())
        row("last day", m.policy.expires);
    for (const std::string& wish : wishes(m))
        row("wants", wish);
    row("identity", signing::to_hex(bundle.identity()));
}

base::Result<> inspect(const Options& options) {
    auto bundle = TRY(format::Bundle::open(options.path));
    json signature = {{"state", "unsigned"}};
    std::string sentence = "none: not signed";
    if (bundle->has_signature()) {
        const auto signed_by = TRY(bundle->signature()); // one that was changed has nothing to say for itself
        const signing::Publisher& publisher = signed_by.publisher;
        const auto store = trust_store();
        auto trusted = store.check(signed_by);
        const char* state = trusted                                     ? "trusted"
                            : trusted.error().code == signing::kExpired ? "expired"
                                                                        : "untrusted";
        signature = {{"state", state}, {"publisher", publisher_json(publisher)}};
        const signing::TrustedTime now = trusted_now();
        const bool in_date_by_the_clock = signing::check_dates(publisher, now.clock).has_value();
        sentence = fmt::format("{}, {}", signing::describe(publisher),
                               trusted ? "trusted on this computer"
                               : trusted.error().code == signing::kExpired
                                   ? "certificate out of date (" + signing::date_text(publisher.not_after) +
                                         (in_date_by_the_clock ? ": " + now.why_not_the_clock() : "") + ")"
                                   : "not trusted on this computer");
        json issuers = json::array();
        for (const std::string& pem : signed_by.issuers)
            issuers.push_back(TRY(signing::parse_certificate(pem, options.path)).common_name);
        if (!issuers.empty()) {
            signature["issuers"] = issuers;
            sentence += fmt::format("; its certificate is from {}",
                                    fmt::join(issuers.get<std::vector<std::string>>(), ", which is from "));
        }
        if (!signed_by.time_stamp.empty()) {
            const auto stamp = TRY(signing::read_time_stamp(signed_by.time_stamp, signed_by.value));
            const bool believed = store.believed(signed_by).has_value();
            signature["time_stamp"] = {
                {"time", utc_time(stamp.time)}, {"authority", stamp.authority}, {"believed", believed}};
            sentence +=
                fmt::format("; signed on {} says {}{}", signing::date_text(stamp.time), stamp.authority,
                            believed ? "" : ", whose time stamps are not believed on this computer");
        }
    }
    if (!options.json) {
        print_human(*bundle, sentence);
        return {};
    }
    json answer = {{"bundle", options.path},
                   {"size", bundle->file_size()},
                   {"identity", signing::to_hex(bundle->identity())},
                   {"signature", signature},
                   {"manifest", appliance_format::parse_json(bundle->manifest_json())}};
    fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
    return {};
}

} // namespace

Command inspect_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("inspect", "Show what a bundle holds and who published it");
    app->add_option("bundle", options->path, "The bundle")->required()->type_name("X.encore");
    app->add_flag("--json", options->json, "Answer in JSON, with the whole manifest");
    return {app, [options] { return inspect(*options); }};
}

} // namespace player
