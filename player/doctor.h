// Whether this computer can play bundles, and what to do where it cannot: each finding is a sentence for
// whoever sits in front of it. Starts no guest, and leaves nothing but the empty folder for sessions.
#pragma once
#include "vmm/base/result.h"
#include "vmm/jail/walls.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace player {

struct Finding {
    enum class Level : uint8_t { Ok, Note, Problem }; // Note: plays, with something missing
    Level level = Level::Ok;
    std::string topic;  // "processor", "memory", ...
    std::string says;   // what was found
    std::string advice; // what to do; empty when all is well
};
[[nodiscard]] const char* to_string(Finding::Level level);

// Display and sound need SDL, which not every program here has: whoever does gives the checks.
using Check = std::function<Finding()>;

// All findings, those of `more` at the end.
[[nodiscard]] std::vector<Finding> examine_host(const std::vector<Check>& more = {});

// Single findings, with what they look at as an argument where a test needs another.
[[nodiscard]] Finding check_clock(int64_t now, int64_t remembered, const std::string& remembered_in);
[[nodiscard]] Finding check_firmware(const std::vector<std::string>& files);
[[nodiscard]] Finding check_disk(const std::string& folder);
[[nodiscard]] Finding check_walls(const jail::Walls& walls);

// What tells a person or a computer apart taken out of a text: home folder, user and host name.
struct Private {
    std::string home, user, host;
    static Private of_this_process();
};
[[nodiscard]] std::string redacted(std::string_view text, const Private& secrets);

// The findings and what kind of computer this is, as JSON, redacted; for a support desk.
[[nodiscard]] std::string report_json(const std::vector<Finding>& findings, const Private& secrets);
// The same into a file that only its owner can read.
base::Result<void> save_report(const std::vector<Finding>& findings, const std::string& path);

} // namespace player
