// encore export: a bundle's machine for other programs that run virtual machines.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "appliance-format/ova_writer.h"
#include "appliance-format/ovf_writer.h"
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "vmm/base/shell_word.h"

#include <fmt/format.h>
#include <memory>

namespace player {

namespace format = appliance_format;

namespace {

struct Options : KeyOptions {
    std::string bundle, output;
    format::OvaOptions ova;
};

// Another program keeps none of a bundle's rules, so who would get round some has to be who made them.
base::Result<> check_rules(const format::Bundle& bundle, const Options& options) {
    if (options.given())
        return bundle.check_author(TRY(options.load_signer()));
    const format::Policy& policy = bundle.manifest().policy;
    if (!format::needs_session_rules(policy) && !policy.max_minutes)
        return {};
    return base::fail(fmt::format("{}: its rules limit sessions, and other programs keep none, so only its "
                                  "publisher exports it: encore export {} {} --key KEY --cert CERT",
                                  bundle.path(), base::shell_word(options.bundle),
                                  base::shell_word(options.output)),
                      format::kNotYours);
}

base::Result<> export_machine(Options& options) {
    const auto bundle = TRY(format::Bundle::open(options.bundle));
    TRY(bundle->authenticate(trust_store()));
    TRY(check_rules(*bundle, options));
    if (!options.ova.scene.empty() && bundle->manifest().find_scene(options.ova.scene) == nullptr)
        return base::fail(fmt::format("{0}: there is no scene {1}; see: encore scene list {2}",
                                      options.bundle, options.ova.scene, base::shell_word(options.bundle)),
                          kExitUsage);
    Progress progress;
    options.ova.progress = [&](uint64_t done, uint64_t total) {
        return progress.update("exporting", done, total);
    };
    TRY(format::write_ova(*bundle, options.output, options.ova));
    progress.clear();
    for (const std::string& note : format::lost_in_ovf(bundle->manifest()))
        fmt::print("{}: note: it {}\n", options.bundle, note);
    if (!options.ova.scene.empty())
        fmt::print("{}: note: its disks are those of a machine that was running, as after a power cut\n",
                   options.bundle);
    fmt::print("{}: exported\n", options.output);
    return {};
}

} // namespace

Command export_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "export",
        "Write a bundle's machine as an OVA for VirtualBox, VMware and others: its disks (VMDK), CDs and "
        "floppies, memory and devices. Scenes and rules stay behind; where rules limit sessions, only the "
        "publisher's key exports");
    app->add_option("bundle", options->bundle, "The bundle")->required()->type_name("X.encore");
    app->add_option("output", options->output, "The package to write; an old one is replaced at the very end")
        ->required()
        ->type_name("OUT.ova");
    app->add_option("--scene", options->ova.scene,
                    "The disks as they are at this scene; not given: at power-on")
        ->type_name("SCENE");
    app->add_option("--level", options->ova.level, "Compression, 1 (fast) to 9 (small)")
        ->check(cli::range(1, 9))
        ->capture_default_str();
    options->declare_keys(*app);
    return {app, [options] { return export_machine(*options); }};
}

} // namespace player
