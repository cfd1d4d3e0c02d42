// encore trust: which publishers this user trusts.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "player/commands/command.h"
#include "player/commands/publisher_json.h"
#include "player/high_water_clock.h"
#include "player/operator_settings.h"
#include "signing/certificate.h"
#include "signing/fingerprint_words.h"
#include "signing/small_file.h"
#include "signing/trust_store.h"

#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {

namespace format = appliance_format;

namespace {

struct Options {
    std::string file, issuer, authority, wanted;
    bool json = false;
};

std::string fingerprint_lines(const signing::Publisher& publisher) {
    return fmt::format("fingerprint {}\nin words     {}\n", publisher.fingerprint,
                       signing::fingerprint_words(publisher.fingerprint));
}

// Whoever gives time stamps says when certificates were in date, so its own is compared like a publisher's.
base::Result<> add_authority(const std::string& path) {
    const auto pem = TRY(signing::read_small_file(path));
    const auto authority = TRY(trust_store().add(pem, path, signing::TrustStore::Role::TimeStamps));
    fmt::print(
        "its time stamps are believed: {}\n{}Compare the fingerprint, or the words, with the authority's; to "
        "take it back: encore trust remove {}\n",
        authority.common_name, fingerprint_lines(authority), authority.fingerprint.substr(0, 16));
    return {};
}

base::Result<> add_issuer(const std::string& path) {
    const auto pem = TRY(signing::read_small_file(path));
    const auto issuer = TRY(trust_store().add(pem, path, signing::TrustStore::Role::Issuer));
    fmt::print(
        "trusted, and with it every publisher whose certificate comes from there: {}\n{}"
        "Compare the fingerprint, or the words, with the issuer's; to take it back: encore trust remove {}\n",
        issuer.common_name, fingerprint_lines(issuer), issuer.fingerprint.substr(0, 16));
    return {};
}

base::Result<> add(const std::string& path) {
    const auto store = trust_store();
    std::string pem;
    std::optional<signing::TimeStamp> stamped;
    auto bundle = format::Bundle::open(path);
    if (bundle) {
        const auto signature = TRY((*bundle)->signature());
        pem = signature.publisher.certificate_pem;
        stamped = store.believed(signature);
    } else if (bundle.error().code == format::kNotABundle) {
        pem = TRY(signing::read_small_file(path));
    } else {
        return tl::make_unexpected(bundle.error());
    }
    auto publisher = TRY(store.add(pem, path, signing::TrustStore::Role::Publisher, stamped));
    fmt::print("trusted: {}\n{}Compare the fingerprint, or the words, with the publisher's; to take it back: "
               "encore trust remove {}\n",
               publisher.common_name, fingerprint_lines(publisher), publisher.fingerprint.substr(0, 16));
    return {};
}

base::Result<> list(bool as_json) {
    auto entries = trust_store().list();
    nlohmann::json answer = nlohmann::json::array();
    for (const auto& entry : entries) {
        using Role = signing::TrustStore::Role;
        const char* what = entry.role == Role::Publisher ? "bundles"
                           : entry.role == Role::Issuer  ? "publishers"
                                                         : "time-stamps";
        using Scope = signing::TrustStore::Scope;
        const char* scope = entry.scope == Scope::User     ? "user"
                            : entry.scope == Scope::System ? "system"
                                                           : "folder";
        if (!as_json) {
            fmt::print("{}  {}  until {}  {}{}\n    {}\n", entry.publisher.fingerprint, scope,
                       signing::date_text(entry.publisher.not_after), entry.publisher.common_name,
                       entry.role == Role::Publisher
                           ? ""
                           : fmt::format("  ({})", entry.role == Role::Issuer ? what : "time stamps"),
                       signing::fingerprint_words(entry.publisher.fingerprint));
            continue;
        }
        answer.push_back(publisher_json(entry.publisher));
        answer.back()["for"] = what;
        answer.back()["scope"] = scope;
        answer.back()["file"] = entry.path;
    }
    if (as_json)
        fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
    return {};
}

base::Result<> remove(const std::string& wanted) {
    auto publisher = TRY(trust_store().remove(wanted));
    fmt::print("no longer trusted: {} (fingerprint {})\n", publisher.common_name, publisher.fingerprint);
    return {};
}

} // namespace

Command trust_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("trust", "Choose the publishers whose bundles may be opened");
    app->require_subcommand(1);
    cli::App* add_app = app->add_subcommand("add", "Trust a publisher");
    auto* file =
        add_app->add_option("file", options->file, "The publisher's certificate, or a bundle they signed")
            ->type_name("CERT.crt|X.encore");
    auto* issuer =
        add_app
            ->add_option(
                "--issuer", options->issuer,
                "Instead, trust every publisher whose certificate this one issued, itself or through "
                "others: a root of your organisation's")
            ->type_name("CERT.pem")
            ->excludes(file);
    auto* authority =
        add_app
            ->add_option(
                "--timestamp-authority", options->authority,
                "Instead, believe the time stamps of this authority: its certificate, or one above it")
            ->type_name("CERT.pem")
            ->excludes(file, issuer);
    add_app->require_one_of({file, issuer, authority});
    cli::App* list_app = app->add_subcommand("list", "Show whom you and this computer's administrator trust");
    list_app->add_flag("--json", options->json, "Answer in JSON");
    cli::App* remove_app = app->add_subcommand("remove", "Stop trusting a publisher, or an authority");
    remove_app->add_option("publisher", options->wanted, "Fingerprint (8 or more digits) or name")
        ->required()
        ->type_name("FINGERPRINT|NAME");
    return {app, [=]() -> base::Result<> {
                if (add_app->parsed()) {
                    TRY(check_trust_by_hand(TRY(load_operator_files())));
                    return !options->issuer.empty()      ? add_issuer(options->issuer)
                           : !options->authority.empty() ? add_authority(options->authority)
                                                         : add(options->file);
                }
                if (remove_app->parsed())
                    return remove(options->wanted);
                return list(options->json);
            }};
}

} // namespace player
