// A progress line on a terminal, silent elsewhere, and Ctrl-C as a request that long work asks about.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace player {

// While one lives, SIGINT and SIGTERM are taken as "stop", and update() returns false from then on.
class Progress {
  public:
    Progress();
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    // Shows "label 42%"; at most ten times a second. False: the user wants to stop.
    bool update(const std::string& label, uint64_t done, uint64_t total);
    // Says a sentence in the line's place, which comes back below it; for any thread.
    void say(const std::string& sentence) const;
    // Wipes the line.
    void clear();

  private:
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point last_{};
};

} // namespace player
