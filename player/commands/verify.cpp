// encore verify: is every byte of a bundle what a trusted publisher signed?
#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "player/commands/command.h"
#include "player/commands/progress.h"
#include "player/commands/publisher_json.h"
#include "player/high_water_clock.h"
#include "signing/outcome.h"

#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {

namespace format = appliance_format;

namespace {

struct Options {
    std::string path;
    bool json = false;
};

const char* result_name(int code) {
    switch (code) {
    case signing::kUnsigned:
        return "unsigned";
    case signing::kTampered:
        return "tampered";
    case signing::kUntrusted:
        return "untrusted";
    case signing::kExpired:
        return "expired";
    case format::kUnsupported:
        return "unsupported";
    case format::kNotABundle:
        return "not-a-bundle";
    case format::kCancelled:
        return "stopped";
    default:
        return "failed";
    }
}

base::Result<signing::Publisher> verify(const std::string& path) {
    auto bundle = TRY(format::Bundle::open(path));
    auto publisher = TRY(bundle->authenticate(trust_store()));
    Progress progress;
    TRY(bundle->verify_content(
        [&](uint64_t done, uint64_t total) { return progress.update("verifying", done, total); }));
    return publisher;
}

} // namespace

Command verify_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app =
        root.add_subcommand("verify", "Check every byte of a bundle against its publisher's signature");
    app->add_option("bundle", options->path, "The bundle")->required()->type_name("X.encore");
    app->add_flag("--json", options->json, "Answer in JSON");
    return {app, [options]() -> base::Result<> {
                auto publisher = verify(options->path);
                if (options->json) {
                    nlohmann::json answer = {
                        {"bundle", options->path},
                        {"result", publisher ? "ok" : result_name(publisher.error().code)}};
                    if (publisher)
                        answer["publisher"] = publisher_json(*publisher);
                    else
                        answer["message"] = publisher.error().message;
                    fmt::print("{}\n",
                               appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
                    return publisher ? base::Result<>{} : base::fail("", publisher.error().code);
                }
                if (!publisher)
                    return tl::make_unexpected(publisher.error());
                fmt::print("{}: whole, signed by {} (fingerprint {}, valid until {})\n", options->path,
                           publisher->common_name, publisher->fingerprint,
                           signing::date_text(publisher->not_after));
                return {};
            }};
}

} // namespace player
