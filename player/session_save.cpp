// What of a session can be written down, as a scene of its bundle or as a file of its own, and how a session
// goes on from such a file.
#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/safe_path.h"
#include "player/high_water_clock.h"
#include "player/host_features.h"
#include "player/session.h"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <unistd.h>

namespace player {

namespace format = appliance_format;

namespace {

constexpr uint64_t kMostSeconds = 1u << 28; // eight years; a time that any clock can hold

std::string file_name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// A scene's name that the bundle does not use.
std::string unused_scene(const format::Manifest& manifest) {
    for (unsigned number = 1;; ++number)
        if (std::string name = fmt::format("saved-{}", number); manifest.find_scene(name) == nullptr)
            return name;
}

} // namespace

// ------------------------------------------------------------------------------------------------ going on

// Which bundle it is, unless the person said so.
base::Result<void> Session::open_saved() {
    saved_ = TRY(format::SessionFile::open(options_.saved_session));
    const format::SessionInfo& info = saved_->info();
    options_.scene = info.scene;
    if (!options_.bundle.empty())
        return {};
    for (const std::string& folder : {format::folder_of(options_.saved_session), std::string(".")}) {
        const std::string path = folder + "/" + info.bundle_file;
        if (!info.bundle_file.empty() && ::access(path.c_str(), F_OK) == 0) {
            options_.bundle = path;
            return {};
        }
    }
    return base::fail(
        fmt::format("{} was saved from {} (root {}), which is neither beside it nor in the current "
                    "folder; give it: encore run --session FILE X.encore",
                    options_.saved_session, info.bundle_file.empty() ? "a bundle" : info.bundle_file,
                    signing::to_hex(info.bundle_root)));
}

base::Result<void> Session::join_saved() {
    if (!recipe_->fits_scenes())
        return base::fail("a saved session is a machine as it was: memory, CDs and the kernel's command line "
                          "cannot be changed",
                          2);
    TRY(saved_->join(*bundle_));
    TRY(check_host_features(options_.saved_session, saved_->scene().cpu_features));
    played_before_ = std::chrono::seconds(std::min<uint64_t>(saved_->info().elapsed_seconds, kMostSeconds));
    resumed_ = true;
    return {};
}

void Session::leave_saved() {
    saved_.reset();
    resumed_ = false;
}

const format::Scene* Session::moment() const { return saved_ ? &saved_->scene() : scene_; }

base::Result<format::BlobReader> Session::open_blob(std::string_view name) const {
    return saved_ ? saved_->open_blob(name) : bundle_->open_blob(name);
}

// ------------------------------------------------------------------------------------------------ writing

// The file as it is now: another scene may have been added to it since the session began.
base::Result<std::unique_ptr<format::Bundle>> Session::bundle_as_it_is() const {
    auto bundle = TRY(format::Bundle::open(options_.bundle));
    TRY(bundle->authenticate(trust_store()));
    std::vector<std::string> below;
    for (const format::Medium& medium : manifest().media)
        below.push_back(medium.blob);
    if (scene_ != nullptr) {
        below.insert(below.end(), scene_->media.begin(), scene_->media.end());
        below.push_back(scene_->ram);
    }
    const bool extension = std::ranges::all_of(below, [&](const std::string& name) {
        const auto* blob = bundle->manifest().find_blob(name);
        return blob != nullptr && *blob == *manifest().find_blob(name);
    });
    const auto& packs = manifest().packs;
    const auto& now = bundle->manifest().packs;
    if (!extension || now.size() < packs.size() || !std::equal(packs.begin(), packs.end(), now.begin()) ||
        bundle->manifest().media != manifest().media || bundle->manifest().machine != manifest().machine)
        return base::fail(
            fmt::format("{}: is not the bundle this session runs from any more", options_.bundle));
    return bundle;
}

// The machine is at rest.
base::Result<FrozenMachine> Session::freeze_for(const format::Bundle& bundle) {
    if (machine()->has_ended())
        return base::fail("the machine is off: there is nothing to keep");
    return freeze(bundle, {*machine(), moment(), [this](std::string_view name) { return open_blob(name); }},
                  [this] { return storage_->create_file(); });
}

base::Result<void> Session::save(const std::string& file, AfterSave after) {
    const std::lock_guard turn(turn_);
    if (state() != SessionEnd::None)
        return base::fail("the session is over");
    if (!recipe_->fits_scenes())
        return base::fail(
            "a session with other memory, CDs or kernel options than its publisher chose cannot "
            "be saved",
            2);
    if (const std::string why = paused_because(); !why.empty())
        return base::fail(why + ": what the machine is writing has no place yet; free some space first");
    // A file that is gone or was replaced meanwhile may still be what the person has elsewhere.
    const auto current = bundle_as_it_is();
    const format::Bundle& bundle = current ? **current : *bundle_;
    auto writer = TRY(format::BundleWriter::extend(bundle, file, {.progress = {}}));
    format::SessionInfo info;
    info.bundle_file = file_name_of(bundle.path());
    if (!format::is_plain_text(info.bundle_file, format::kMaxSessionText, format::Lines::One))
        info.bundle_file.clear(); // whoever goes on with it names the bundle
    info.bundle_root = bundle.identity();
    info.title = manifest().appliance.title;
    info.publisher = publisher_.common_name;
    info.scene = scene_ != nullptr ? scene_->name : std::string();
    info.moment = unused_scene(bundle.manifest());
    info.elapsed_seconds = static_cast<uint64_t>(std::max<int64_t>(age().count(), 0));
    info.saved_at = static_cast<uint64_t>(std::time(nullptr));
    const auto write = [&](base::Result<FrozenMachine> frozen) -> base::Result<void> {
        if (!frozen)
            return tl::make_unexpected(frozen.error());
        TRY(add_frozen(writer, std::move(*frozen), {info.moment, {}, false}));
        TRY(format::write_session(writer, bundle, info));
        log("saved", {{"scene", info.scene}});
        return {};
    };
    if (after == AfterSave::GoOn) {
        base::Result<FrozenMachine> frozen = base::fail("the machine did not come to rest");
        rest([&] { frozen = freeze_for(bundle); });
        return write(std::move(frozen));
    }
    base::Result<void> written = base::fail("the machine did not come to rest");
    rest([&] {
        written = write(freeze_for(bundle));
        if (written)
            finish(SessionEnd::Asked);
    });
    return written;
}

void Session::rest(const std::function<void()>& work) {
    const auto before = std::chrono::steady_clock::now();
    const auto current = machine();
    current->pause();
    work();
    const std::lock_guard lock(mutex_);
    let_run(*current);
    last_pause_ =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - before);
}

base::Result<void> Session::capture(const SceneLabel& label, const signing::Signer& signer,
                                    appliance_format::WriterOptions options) {
    const std::lock_guard turn(turn_);
    if (!recipe_->fits_scenes())
        return base::fail(
            "a machine started with other memory, CDs or kernel options than its publisher chose "
            "cannot become a scene",
            2);
    if (const std::string why = paused_because(); !why.empty())
        return base::fail(why + ": what the machine is writing has no place yet; free some space first");
    const auto bundle = TRY(bundle_as_it_is());
    TRY(check_scene_name(*bundle, label.name));
    base::Result<FrozenMachine> frozen = base::fail("the machine is off: there is nothing to capture");
    rest([&] { frozen = freeze_for(*bundle); });
    if (!frozen)
        return tl::make_unexpected(frozen.error());
    return add_scene(*bundle, std::move(*frozen), label, signer, std::move(options));
}

base::Result<std::string> Session::capture_as_author(std::string name) {
    if (!options_.author)
        return base::fail("only a session started with --author captures scenes");
    if (name.empty()) {
        const auto bundle = TRY(appliance_format::Bundle::open(options_.bundle));
        unsigned number = 1;
        while (bundle->manifest().find_scene(fmt::format("scene-{}", number)) != nullptr)
            ++number;
        name = fmt::format("scene-{}", number);
    }
    TRY(capture({name, {}, false}, *options_.author, {.progress = {}}));
    tell(fmt::format("scene {} is captured and signed", name));
    return name;
}

} // namespace player
