#include "kiosk/catalog.h"

#include "appliance-format/bundle_reader.h"
#include "appliance-format/format.h"
#include "player/high_water_clock.h"
#include "player/operator_settings.h"
#include "player/user_folders.h"
#include "signing/outcome.h"
#include "vmm/base/bell.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <glib.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace kiosk {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
namespace format = appliance_format;

constexpr size_t kMaxBundles = 500;
constexpr size_t kMaxPicture = 16u << 20, kMaxPictures = 64u << 20; // bytes of PNG: each, and of one bundle
constexpr size_t kMaxScenes = 64;
constexpr auto kShowEvery = std::chrono::milliseconds(400);
constexpr int kLookEveryMs = 2000; // network folders and new mounts tell nobody

Refusal refusal_of(int code) {
    switch (code) {
    case signing::kUnsigned:
        return Refusal::Unsigned;
    case signing::kTampered: // damage has the same number: both are "not what the publisher signed"
        return Refusal::Changed;
    case signing::kUntrusted:
        return Refusal::Untrusted;
    case signing::kExpired:
        return Refusal::Expired;
    case format::kUnsupported:
        return Refusal::Newer;
    default:
        return Refusal::Unreadable;
    }
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string newest_change(const std::string& folder) {
    struct stat status {};
    if (::stat(folder.c_str(), &status) != 0)
        return {};
    return std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
}

// Changes when publishers or time-stamp authorities are added or removed, when the operator changes the
// rules, and every hour: certificates and bundles expire.
uint64_t outside_stamp() {
    const char* data = std::getenv("XDG_DATA_HOME");
    const char* home = std::getenv("HOME");
    const std::string base =
        data != nullptr && *data != 0 ? data : std::string(home != nullptr ? home : "") + "/.local/share";
    std::string all;
    for (const std::string& trust : {base + "/encore/trust", std::string("/etc/encore/trust")})
        all += newest_change(trust) + "/" + newest_change(trust + "/time-stamps") + "/";
    auto folders = player::system_config_folders();
    if (auto own = player::config_folder())
        folders.push_back(std::move(*own));
    for (const std::string& folder : folders)
        all += "/" + newest_change(folder + "/operator.toml");
    return std::hash<std::string>{}(all + std::to_string(std::time(nullptr) / 3600));
}

// The scenes that sessions may be at, and where they begin. False: there is none.
bool choose_scenes(const format::Manifest& manifest, const format::EffectivePolicy& policy,
                   Appliance& found) {
    found.start = manifest.start;
    if (policy.allows_scene(manifest.start))
        return true;
    for (const format::Scene& scene : manifest.scenes)
        if (policy.allows_scene(scene.name)) {
            found.start = scene.name;
            found.begin = scene.name;
            return true;
        }
    if (!policy.allows_scene(""))
        return false;
    found.start.clear();
    found.begin = "";
    return true;
}

} // namespace

std::string title_order(const std::string& title) {
    const std::unique_ptr<gchar, void (*)(gpointer)> valid(g_utf8_make_valid(title.c_str(), -1), g_free),
        folded(g_utf8_casefold(valid.get(), -1), g_free),
        key(g_utf8_collate_key_for_filename(folded.get(), -1), g_free);
    return key.get();
}

Appliance describe_bundle(const std::string& path) {
    Appliance found;
    found.path = path;
    found.title = fs::path(path).stem();
    const auto refuse = [&](const base::Error& error) {
        found.refusal = refusal_of(error.code);
        found.details = error.message;
        return found;
    };
    auto bundle = format::Bundle::open(path);
    if (!bundle)
        return refuse(bundle.error());
    const auto publisher = (*bundle)->authenticate(player::trust_store());
    if (!publisher)
        return refuse(publisher.error()); // nothing that the bundle claims is shown
    const format::Manifest& manifest = (*bundle)->manifest();
    found.title = manifest.appliance.title.empty() ? manifest.appliance.name : manifest.appliance.title;
    found.description = manifest.appliance.description;
    found.name = manifest.appliance.name;
    found.line = manifest.appliance.tagline.empty() ? first_line(manifest.appliance.description)
                                                    : manifest.appliance.tagline;
    found.help = manifest.appliance.help.empty() ? manifest.appliance.description : manifest.appliance.help;
    found.publisher = publisher->common_name;
    const auto rules = player::load_operator_files();
    if (!rules) {
        refuse(rules.error());
        found.refusal = Refusal::Rules;
        return found;
    }
    const auto policy = player::effective_policy(manifest, *rules);
    found.minutes = policy.policy().max_minutes;
    found.idle_seconds = policy.policy().idle_seconds;
    found.duration = manifest.appliance.duration_minutes;
    using Validity = format::EffectivePolicy::Validity;
    const signing::TrustedTime now = player::trusted_now();
    if (policy.validity(now.latest) == Validity::Expired) {
        found.refusal = Refusal::Over;
        if (policy.validity(now.clock) != Validity::Expired)
            found.details =
                fmt::format("its time ended on {}, and {}", policy.policy().expires, now.why_not_the_clock());
    } else if (!choose_scenes(manifest, policy, found)) {
        found.refusal = Refusal::Forbidden;
    }
    size_t left = kMaxPictures;
    const auto picture = [&](const std::string& blob) -> base::Result<std::vector<uint8_t>> {
        if (blob.empty())
            return std::vector<uint8_t>{};
        auto reader = TRY((*bundle)->open_blob(blob));
        if (reader.size() > std::min(kMaxPicture, left))
            return std::vector<uint8_t>{};
        left -= reader.size();
        return reader.read_all(kMaxPicture);
    };
    auto own = picture(manifest.appliance.picture);
    if (!own)
        return refuse(own.error());
    found.picture = std::move(*own);
    for (const format::Scene& scene : manifest.scenes) {
        if (found.scenes.size() == kMaxScenes)
            break;
        if (!policy.allows_scene(scene.name))
            continue;
        auto shot = picture(scene.picture);
        if (!shot)
            return refuse(shot.error());
        found.scenes.push_back(
            {scene.name, scene.title.empty() ? scene.name : scene.title, scene.notes, std::move(*shot)});
        if (found.picture.empty() && (scene.name == found.start || found.start.empty()))
            found.picture = found.scenes.back().picture;
    }
    return found;
}

Catalog::Catalog(Options options) : options_(std::move(options)) {
    inotify_ = base::UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    wake_ = base::make_bell();
    thread_ = std::thread([this] { work(); });
}

Catalog::~Catalog() {
    stop_ = true;
    base::ring(wake_.get());
    thread_.join();
}

ApplianceList Catalog::list() const {
    const std::lock_guard lock(mutex_);
    return list_;
}

void Catalog::work() {
    // Looking at bundles must not make a guest stutter. setpriority(2): on Linux a thread has its own value.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
    do {
        look_round();
        check_contents();
    } while (wait());
}

// Until something may have changed. False: the end.
bool Catalog::wait() {
    if (!stop_) {
        pollfd waits[] = {{wake_.get(), POLLIN, 0}, {inotify_.get(), POLLIN, 0}};
        ::poll(waits, inotify_.valid() ? 2 : 1, kLookEveryMs);
        char events[4096];
        while (inotify_.valid() && ::read(inotify_.get(), events, sizeof events) > 0)
            ; // what changed is seen by looking
    }
    return !stop_;
}

std::vector<std::pair<std::string, bool>> Catalog::folders() const {
    std::vector<std::pair<std::string, bool>> all;
    for (const std::string& folder : options_.folders)
        all.emplace_back(folder, false);
    const char* user = std::getenv("USER");
    if (!options_.removable_media || user == nullptr || *user == 0 ||
        std::string(user).find('/') != std::string::npos)
        return all;
    for (const char* base : {"/media/", "/run/media/"}) {
        std::error_code error;
        for (const auto& medium : fs::directory_iterator(base + std::string(user), error))
            all.emplace_back(medium.path(), true);
    }
    return all;
}

void Catalog::look_round() {
    std::map<std::string, Entry> now;
    bool changed = false;
    auto shown = Clock::now();
    const uint64_t trust = outside_stamp();
    for (const auto& [folder, removable] : folders()) {
        if (inotify_.valid())
            ::inotify_add_watch(inotify_.get(), folder.c_str(),
                                IN_CREATE | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE | IN_DELETE_SELF |
                                    IN_ATTRIB);
        std::error_code error;
        fs::directory_iterator files(folder, error);
        for (; !error && files != fs::directory_iterator(); files.increment(error)) {
            struct stat status {};
            const std::string path = files->path();
            if (files->path().extension() != ".encore" || ::stat(path.c_str(), &status) != 0 ||
                !S_ISREG(status.st_mode) || now.size() >= kMaxBundles || stop_)
                continue;
            const Stamp stamp{status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size), trust,
                              status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
            if (const auto known = entries_.find(path);
                known != entries_.end() && known->second.stamp == stamp) {
                now[path] = known->second;
                continue;
            }
            auto appliance = describe_bundle(path);
            appliance.removable = removable;
            now[path] = {stamp, std::make_shared<const Appliance>(std::move(appliance)), false};
            changed = true;
            if (const auto time = Clock::now(); !ready_ && time - shown >= kShowEvery) {
                shown = time; // the first round may take a while: what is there already can be played
                publish(now);
            }
        }
    }
    changed = changed || now.size() != entries_.size();
    entries_ = std::move(now);
    if (!ready_.exchange(true) || changed)
        publish(entries_);
}

void Catalog::publish(const std::map<std::string, Entry>& entries) {
    ApplianceList list;
    for (const auto& [path, entry] : entries)
        list.push_back(entry.appliance);
    std::ranges::stable_sort(list, {}, [](const auto& appliance) {
        return std::pair(appliance->refusal != Refusal::None, title_order(appliance->title));
    });
    {
        const std::lock_guard lock(mutex_);
        list_ = std::move(list);
    }
    if (options_.changed && !stop_)
        options_.changed();
}

// One bundle a time, then a look whether anything changed.
void Catalog::check_contents() {
    for (auto& [path, entry] : entries_) {
        if (entry.content_checked || entry.appliance->refusal != Refusal::None || resting_ || stop_)
            continue;
        auto bundle = format::Bundle::open(path);
        if (!bundle || !(*bundle)->authenticate(player::trust_store()))
            continue; // it changed: the next look finds out how
        const auto whole =
            (*bundle)->verify_content([this](uint64_t, uint64_t) { return !stop_ && !resting_; });
        if (!whole && whole.error().code == format::kCancelled)
            return;
        entry.content_checked = true;
        if (!whole) {
            Appliance refused = *entry.appliance;
            refused.refusal = refusal_of(whole.error().code);
            refused.details = whole.error().message;
            entry.appliance = std::make_shared<const Appliance>(std::move(refused));
            publish(entries_);
        }
        return;
    }
}

} // namespace kiosk
