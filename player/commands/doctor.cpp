// encore doctor: can this computer play bundles, and what to do where it cannot.
#include "player/doctor.h"
#include "player/commands/command.h"
#include "player/host_media.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <unistd.h>

namespace player {
namespace {

struct Options {
    bool json = false;
    std::string report;
};

const char* mark(Finding::Level level) {
    const bool colour = ::isatty(STDOUT_FILENO) != 0;
    switch (level) {
    case Finding::Level::Ok:
        return colour ? "\x1b[32mok\x1b[0m     " : "ok     ";
    case Finding::Level::Note:
        return colour ? "\x1b[33mnote\x1b[0m   " : "note   ";
    case Finding::Level::Problem:
        break;
    }
    return colour ? "\x1b[31mproblem\x1b[0m" : "problem";
}

base::Result<> doctor(const Options& options) {
    const auto findings = examine_host({check_display, check_sound});
    const auto problems = std::ranges::count(findings, Finding::Level::Problem, &Finding::level);
    if (options.json) {
        fmt::print("{}", report_json(findings, Private::of_this_process()));
    } else {
        for (const Finding& finding : findings)
            fmt::print("{} {:<17} {}{}{}\n", mark(finding.level), finding.topic, finding.says,
                       finding.advice.empty() ? "" : " - ", finding.advice);
        fmt::print("{}\n", problems == 0 ? "This computer can play bundles."
                                         : "Bundles will not play well here until the problems are solved.");
    }
    if (!options.report.empty()) {
        TRY(save_report(findings, options.report));
        if (!options.json)
            fmt::print("{}: the report, without names of people and computers\n", options.report);
    }
    if (problems != 0)
        return base::fail("");
    return {};
}

} // namespace

Command doctor_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "doctor", "Can this computer play bundles, and what to do where it cannot. Exit status 1: problems");
    app->add_flag("--json", options->json, "Answer in JSON, as in the report");
    app->add_option("--report", options->report,
                    "Save a report for a support desk, without names of people, computers and home folders")
        ->type_name("FILE");
    return {app, [options] { return doctor(*options); }};
}

} // namespace player
