// encore trust: which publishers this user trusts.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "player/commands/command.h"
#include "player/commands/publisher_json.h"
#include "signing/certificate.h"
#include "signing/small_file.h"
#include "signing/trust_store.h"

#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {

namespace format = appliance_format;

namespace {

struct Options {
    std::string file, wanted;
    bool json = false;
};

base::Result<> add(const std::string& path) {
    auto store = signing::TrustStore::standard();
    std::string pem;
    auto bundle = format::Bundle::open(path);
    if (bundle)
        pem = TRY((*bundle)->signer()).certificate_pem;
    else if (bundle.error().code == format::kNotABundle)
        pem = TRY(signing::read_small_file(path));
    else
        return tl::make_unexpected(bundle.error());
    auto publisher = TRY(store.add(pem, path));
    fmt::print(
        "trusted: {}\nfingerprint {}\nCompare the fingerprint with the publisher's; to take it back: encore "
        "trust remove {}\n",
        publisher.common_name, publisher.fingerprint, publisher.fingerprint.substr(0, 16));
    return {};
}

base::Result<> list(bool as_json) {
    auto entries = signing::TrustStore::standard().list();
    nlohmann::json answer = nlohmann::json::array();
    for (const auto& entry : entries) {
        const char* scope = entry.scope == signing::TrustStore::Scope::User ? "user" : "system";
        if (!as_json) {
            fmt::print("{}  {}  until {}  {}\n", entry.publisher.fingerprint, scope,
                       utc_date(entry.publisher.not_after), entry.publisher.common_name);
            continue;
        }
        answer.push_back(publisher_json(entry.publisher));
        answer.back()["scope"] = scope;
        answer.back()["file"] = entry.path;
    }
    if (as_json)
        fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
    return {};
}

base::Result<> remove(const std::string& wanted) {
    auto publisher = TRY(signing::TrustStore::standard().remove(wanted));
    fmt::print("no longer trusted: {} (fingerprint {})\n", publisher.common_name, publisher.fingerprint);
    return {};
}

} // namespace

Command trust_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("trust", "Choose the publishers whose bundles may be opened");
    app->require_subcommand(1);
    cli::App* add_app = app->add_subcommand("add", "Trust a publisher");
    add_app->add_option("file", options->file, "The publisher's certificate, or a bundle they signed")
        ->required()
        ->type_name("CERT.crt|X.encore");
    cli::App* list_app = app->add_subcommand("list", "Show whom you and this computer's administrator trust");
    list_app->add_flag("--json", options->json, "Answer in JSON");
    cli::App* remove_app = app->add_subcommand("remove", "Stop trusting a publisher");
    remove_app->add_option("publisher", options->wanted, "Fingerprint (8 or more digits) or name")
        ->required()
        ->type_name("FINGERPRINT|NAME");
    return {app, [=]() -> base::Result<> {
                if (add_app->parsed())
                    return add(options->file);
                if (remove_app->parsed())
                    return remove(options->wanted);
                return list(options->json);
            }};
}

} // namespace player
