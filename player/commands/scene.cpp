// encore scene: the moments a bundle can open at.
#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "appliance-format/safe_path.h"
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/progress.h"
#include "player/commands/script_options.h"
#include "player/display.h"
#include "player/high_water_clock.h"
#include "signing/small_file.h"
#include "vmm/base/shell_word.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

namespace player {
namespace {

namespace format = appliance_format;

constexpr auto kTick = std::chrono::milliseconds(10);

struct Options : KeyOptions {
    std::string bundle;
    std::string name, title, new_name, notes, notes_file;
    bool json = false;
    // add
    std::string from, at;
    double after = 0, warm = 3;
    bool boot = false, interactive = false, start = false;
    int level = 3;
    ScriptOptions script;
    std::vector<ScriptStep> steps;
};

base::Result<std::unique_ptr<format::Bundle>> open_bundle(const std::string& path) {
    auto bundle = TRY(format::Bundle::open(path));
    TRY(bundle->authenticate(trust_store()));
    return bundle;
}

// ------------------------------------------------------------------------------------------------ add

// Runs the machine to the moment that is wanted.
base::Result<void> run_to_moment(Session& session, const Options& options, RunScript& script,
                                 Progress& progress) {
    std::unique_ptr<Display> display;
    bool chosen = false;
    if (options.interactive) {
        display = TRY(Display::open(session, {.full_screen = false, .on_capture = [&] { chosen = true; }}));
        display->notice("Ctrl+Alt+S captures the scene");
    }
    session.start();
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    std::optional<Clock::time_point> script_done;
    while (!chosen) {
        const bool timed_out = options.script.timeout > 0 &&
                               Clock::now() - start >= std::chrono::duration<double>(options.script.timeout);
        if (!progress.update("running to the scene", 0, 1))
            return base::fail("stopped; nothing was written", format::kCancelled);
        const SessionEnd state = session.poll();
        if (!script_done && script.tick(session) != RunScript::State::Going)
            script_done = Clock::now();
        if (script_done && !options.interactive &&
            Clock::now() - *script_done >= std::chrono::duration<double>(options.after))
            return {};
        if (state == SessionEnd::Failed)
            return tl::make_unexpected(session.failure());
        if (state != SessionEnd::None)
            return base::fail("the machine ended before the scene's moment came");
        if (!script_done && !options.interactive && script.hopeless(session))
            return base::fail(fmt::format(
                "the guest halted with interrupts disabled while waiting for {}; nothing was written",
                script.waiting_for()));
        if (timed_out)
            return base::fail(fmt::format("timed out after {} s waiting for {}", options.script.timeout,
                                          script.waiting_for()),
                              124);
        if (!display)
            std::this_thread::sleep_for(kTick);
        else if (!display->frame())
            return base::fail("the window was closed; nothing was written", format::kCancelled);
    }
    return {};
}

// Opens the new scene once and notes which pages its first seconds need, so that players can fetch them
// ahead.
base::Result<void> record_hot_pages(const Options& options,
                                    const std::shared_ptr<const signing::Signer>& signer,
                                    Progress& progress) {
    SessionOptions session_options;
    session_options.author = signer;
    session_options.bundle = options.bundle;
    session_options.scene = options.name;
    std::vector<uint32_t> pages;
    {
        auto session = TRY(Session::open(std::move(session_options)));
        session->machine()->record_fetches();
        session->start();
        const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.warm);
        while (std::chrono::steady_clock::now() < end && session->poll() == SessionEnd::None) {
            progress.update("learning what is needed first", 0, 1);
            std::this_thread::sleep_for(kTick);
        }
        session->machine()->pause();
        pages = session->machine()->fetches().pages;
    }
    auto bundle = TRY(open_bundle(options.bundle));
    return set_hot_pages(*bundle, options.name, pages, *signer);
}

base::Result<> add(Options options) {
    if (!format::is_simple_name(options.name))
        return base::fail(
            fmt::format("a scene's name has lower-case letters, digits and -, not '{}'", options.name),
            kExitUsage);
    // Everything that can be wrong is said before the machine runs for minutes.
    const auto signer = std::make_shared<const signing::Signer>(TRY(options.load_signer()));
    if (TRY(open_bundle(options.bundle))->manifest().find_scene(options.name) != nullptr)
        return base::fail(fmt::format("{}: there is a scene {} already", options.bundle, options.name),
                          kExitUsage);
    if (!options.at.empty())
        options.steps.push_back({ScriptStep::Kind::ExpectSerial, options.at});
    auto script = TRY(RunScript::create(
        options.steps, std::chrono::milliseconds(static_cast<int64_t>(options.script.type_after * 1000))));
    Progress progress;
    SessionOptions session_options;
    session_options.author = signer;
    session_options.bundle = options.bundle;
    session_options.keyboard_layout = TRY(options.script.layout());
    session_options.notice = [&](const std::string& text) { progress.say(text); };
    if (options.boot || !options.from.empty())
        session_options.scene = options.from;
    std::chrono::steady_clock::time_point before;
    std::chrono::microseconds pause{};
    {
        auto session = TRY(Session::open(std::move(session_options)));
        TRY(script.prepare(*session));
        TRY(run_to_moment(*session, options, script, progress));
        format::WriterOptions writer;
        writer.level = options.level;
        writer.progress = [&](format::WriterOptions::Phase phase, uint64_t done, uint64_t total) {
            const bool packing = phase == format::WriterOptions::Phase::Packing;
            return progress.update(packing ? "capturing" : "writing", done, total);
        };
        before = std::chrono::steady_clock::now();
        TRY(session->capture({options.name, options.title, options.start}, *signer, std::move(writer)));
        pause = session->last_pause();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
    if (options.warm > 0)
        TRY(record_hot_pages(options, signer, progress));
    progress.clear();
    fmt::print("{}: scene {} added and signed ({:.1f} s, of which the guest rested {:.2f})\n", options.bundle,
               options.name, took.count(), static_cast<double>(pause.count()) / 1e6);
    return {};
}

// ------------------------------------------------------------------------------------------------ others

base::Result<> list(const Options& options) {
    const auto bundle = TRY(open_bundle(options.bundle));
    const format::Manifest& manifest = bundle->manifest();
    nlohmann::json answer = nlohmann::json::array();
    for (const format::Scene& scene : manifest.scenes) {
        const bool start = scene.name == manifest.start;
        if (!options.json)
            fmt::print("{}{}{}{}\n", scene.name, start ? "  (start)" : "",
                       scene.title == scene.name ? "" : "  ", scene.title == scene.name ? "" : scene.title);
        const format::BlobInfo* ram = manifest.find_blob(scene.ram);
        answer.push_back({{"name", scene.name},
                          {"title", scene.title},
                          {"notes", scene.notes},
                          {"start", start},
                          {"memory", ram->size},
                          {"root", signing::to_hex(ram->root.hash)}});
    }
    if (options.json)
        fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
    else if (manifest.scenes.empty())
        fmt::print("{}: no scenes; it starts at power-on\n", options.bundle);
    return {};
}

// Where the scene of that name is, or the error to answer with.
base::Result<size_t> index_of(const format::Manifest& manifest, const std::string& name,
                              const std::string& bundle) {
    const auto found = std::ranges::find(manifest.scenes, name, &format::Scene::name);
    if (found == manifest.scenes.end())
        return base::fail(
            fmt::format("there is no scene {}; see: encore scene list {}", name, base::shell_word(bundle)),
            kExitUsage);
    return static_cast<size_t>(found - manifest.scenes.begin());
}

base::Result<> edit(const Options& options,
                    const std::function<base::Result<void>(format::Manifest&)>& change,
                    const std::string& said) {
    const auto signer = TRY(options.load_signer());
    const auto bundle = TRY(open_bundle(options.bundle));
    Progress progress;
    format::WriterOptions writer;
    writer.progress = [&](format::WriterOptions::Phase phase, uint64_t done, uint64_t total) {
        const bool packing = phase == format::WriterOptions::Phase::Packing;
        return progress.update(packing ? "sorting" : "writing", done, total);
    };
    TRY(edit_scenes(*bundle, signer, change, std::move(writer)));
    progress.clear();
    fmt::print("{}: {}\n", options.bundle, said);
    return {};
}

base::Result<> remove(const Options& options) {
    return edit(
        options,
        [&](format::Manifest& manifest) -> base::Result<void> {
            const size_t index = TRY(index_of(manifest, options.name, options.bundle));
            manifest.scenes.erase(manifest.scenes.begin() + static_cast<ptrdiff_t>(index));
            if (manifest.start == options.name)
                manifest.start.clear();
            return {};
        },
        fmt::format("scene {} removed", options.name));
}

base::Result<> rename(const Options& options) {
    return edit(
        options,
        [&](format::Manifest& manifest) -> base::Result<void> {
            const size_t index = TRY(index_of(manifest, options.name, options.bundle));
            format::Scene& scene = manifest.scenes[index];
            if (!format::is_simple_name(options.new_name) || manifest.find_scene(options.new_name) != nullptr)
                return base::fail(
                    fmt::format("the name {} is taken or has characters other than a-z, 0-9 and -",
                                options.new_name),
                    kExitUsage);
            if (scene.title == scene.name)
                scene.title = options.new_name;
            if (manifest.start == scene.name)
                manifest.start = options.new_name;
            std::ranges::replace(manifest.policy.scenes, scene.name, options.new_name);
            scene.name = options.new_name;
            return {};
        },
        fmt::format("scene {} is now {}", options.name, options.new_name));
}

base::Result<> set_notes(const Options& options) {
    std::string notes = options.notes;
    if (!options.notes_file.empty())
        notes = TRY(signing::read_small_file(options.notes_file));
    while (!notes.empty() && notes.back() == '\n')
        notes.pop_back();
    if (!format::is_plain_text(notes, format::kMaxNotes, format::Lines::Many))
        return base::fail(fmt::format("notes are plain text in UTF-8 of at most {} bytes", format::kMaxNotes),
                          kExitUsage);
    return edit(
        options,
        [&](format::Manifest& manifest) -> base::Result<void> {
            manifest.scenes[TRY(index_of(manifest, options.name, options.bundle))].notes = notes;
            return {};
        },
        fmt::format("the notes of scene {} are {}", options.name, notes.empty() ? "removed" : "set"));
}

base::Result<> set_start(const Options& options) {
    return edit(
        options,
        [&](format::Manifest& manifest) -> base::Result<void> {
            if (!options.boot)
                TRY(index_of(manifest, options.name, options.bundle));
            manifest.start = options.boot ? std::string() : options.name;
            return {};
        },
        options.boot ? "sessions begin at power-on" : fmt::format("sessions begin at {}", options.name));
}

} // namespace

Command scene_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("scene", "Prepare the moments a bundle can open at");
    app->require_subcommand(1);
    const auto verb = [&](const char* name, const char* help, bool signs) {
        cli::App* sub = app->add_subcommand(name, help);
        sub->add_option("bundle", options->bundle, "The bundle")->required()->type_name("X.encore");
        if (signs) {
            options->declare_keys(*sub)->required();
        }
        return sub;
    };
    cli::App* add_app = verb("add",
                             "Run the machine to a moment and keep it. --expect..., --type and --keys are "
                             "carried out in order; the scene is captured when the last of them is done",
                             true);
    add_app->add_option("--name", options->name, "The scene's name, of a-z, 0-9 and -")
        ->required()
        ->type_name("NAME");
    add_app->add_option("--title", options->title, "What people see it called")->type_name("TEXT");
    add_app->add_option("--at", options->at, "Capture when this appears on the serial line")
        ->type_name("REGEX");
    add_app->add_option("--after", options->after, "Capture this many seconds later")
        ->check(cli::range(0.0, 1e6))
        ->type_name("S");
    add_app->add_flag("--interactive", options->interactive, "In a window; Ctrl+Alt+S captures");
    add_app->add_option("--from", options->from, "Begin at this scene")->type_name("SCENE");
    add_app->add_flag("--boot", options->boot, "Begin at power-on")->excludes("--from");
    add_app->add_flag("--start", options->start, "Sessions begin at the new scene");
    add_app
        ->add_option("--warm", options->warm,
                     "Try the scene for this many seconds to learn which memory it needs first")
        ->check(cli::range(0.0, 600.0))
        ->capture_default_str()
        ->type_name("S");
    add_app->add_option("--level", options->level, "Compression, 1 (fast) to 19 (small)")
        ->check(cli::range(1, 19))
        ->capture_default_str();
    options->script.add_to(*add_app);
    cli::App* list_app = verb("list", "Show the scenes", false);
    list_app->add_flag("--json", options->json, "Answer in JSON");
    const auto name = [&](cli::App* sub) {
        return sub->add_option("name", options->name, "The scene")->type_name("NAME");
    };
    cli::App* remove_app = verb("remove", "Remove a scene", true);
    name(remove_app)->required();
    cli::App* rename_app = verb("rename", "Give a scene another name", true);
    name(rename_app)->required();
    rename_app->add_option("new", options->new_name, "Its new name")->required()->type_name("NEW");
    cli::App* notes_app =
        verb("notes", "Say what the presenter should know at a scene; nothing given: forget it", true);
    name(notes_app)->required();
    auto* text = notes_app->add_option("text", options->notes, "The notes")->type_name("TEXT");
    notes_app->add_option("--file", options->notes_file, "Read them from this file")
        ->type_name("FILE")
        ->excludes(text);
    cli::App* start_app = verb("set-start", "Choose where sessions begin", true);
    name(start_app);
    start_app->add_flag("--boot", options->boot, "At power-on");
    return {app, [=]() -> base::Result<> {
                if (add_app->parsed()) {
                    options->steps = TRY(options->script.steps(*add_app));
                    return add(*options);
                }
                if (remove_app->parsed())
                    return remove(*options);
                if (rename_app->parsed())
                    return rename(*options);
                if (notes_app->parsed())
                    return set_notes(*options);
                if (start_app->parsed()) {
                    if (options->boot == !options->name.empty())
                        return base::fail("set-start takes a scene's name, or --boot", kExitUsage);
                    return set_start(*options);
                }
                return list(*options);
            }};
}

} // namespace player
