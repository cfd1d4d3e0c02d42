// The bundles there are: those in the catalog's folders and on media that were put in. A thread of its own
// finds them, opens them and checks who signed them, then - while nobody plays - reads them whole to find
// damage before a visitor does. The screens only ever see finished descriptions.
#pragma once
#include "vmm/base/unique_fd.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace kiosk {

enum class Refusal : uint8_t {
    None,
    Unsigned,
    Changed, // signature or content
    Untrusted,
    Expired,
    Newer,      // needs a newer player
    Unreadable, // no bundle, or it cannot be read
    Over,       // its last day has passed
    Forbidden,  // the rules of this computer leave no scene to begin at
    Rules,      // the rules of this computer cannot be read, and they might forbid it
};

struct SceneCard { // of a scene that sessions may be at
    std::string name, title, notes;
    std::vector<uint8_t> picture; // PNG; may be empty
};

struct Appliance {
    std::string path;
    std::string name, title, line, description, help, publisher;
    Refusal refusal = Refusal::None;
    std::string details;                           // of the refusal, for staff
    std::optional<uint32_t> minutes, idle_seconds; // of a session, by the rules that hold
    std::optional<uint32_t> duration;              // that looking at it takes, in minutes
    std::vector<uint8_t> picture;                  // PNG; may be empty
    std::vector<SceneCard> scenes;
    std::string start;                // scene; empty: power-on
    std::optional<std::string> begin; // where sessions begin, if not where the publisher says
    bool removable = false;
};

using ApplianceList = std::vector<std::shared_ptr<const Appliance>>;

class Catalog {
  public:
    struct Options {
        std::vector<std::string> folders;
        bool removable_media = true;
        std::function<void()> changed; // from the catalog's thread
    };
    explicit Catalog(Options options);
    ~Catalog();
    Catalog(const Catalog&) = delete;
    Catalog& operator=(const Catalog&) = delete;

    [[nodiscard]] ApplianceList list() const;           // by title, what cannot be played last
    [[nodiscard]] bool ready() const { return ready_; } // the first look round is over
    // While somebody plays the disk is theirs.
    void rest(bool resting) { resting_ = resting; }

  private:
    // What a file was when it was last looked at; another stamp means another file.
    struct Stamp {
        uint64_t device = 0, inode = 0, size = 0, trust = 0;
        int64_t changed = 0; // ns
        bool operator==(const Stamp&) const = default;
    };
    struct Entry {
        Stamp stamp;
        std::shared_ptr<const Appliance> appliance;
        bool content_checked = false;
    };
    void work();
    void look_round();
    void check_contents();
    bool wait();
    [[nodiscard]] std::vector<std::pair<std::string, bool>> folders() const; // and whether removable
    void publish(const std::map<std::string, Entry>& entries);

    Options options_;
    base::UniqueFd inotify_, wake_;
    std::map<std::string, Entry> entries_; // by path; the thread's own
    mutable std::mutex mutex_;
    ApplianceList list_; // guarded by mutex_
    std::atomic<bool> stop_{false}, ready_{false}, resting_{false};
    std::thread thread_; // last
};

// What a title is sorted by: as people of this locale do, numbers by their value.
[[nodiscard]] std::string title_order(const std::string& title);

// Describes one file; never fails, whatever it holds.
[[nodiscard]] Appliance describe_bundle(const std::string& path);

} // namespace kiosk
