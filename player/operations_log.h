// What happened on this computer, for whoever runs it: sessions with their start, scenes, reverts, receipts
// and the reason of their end, as JSON lines in $XDG_STATE_HOME/encore/log/sessions.jsonl. Nothing of what a
// guest shows, says or is told gets in. A full file is put aside as sessions.jsonl.1, the oldest is dropped.
//
// Several processes may write: a line goes in by one append, and files are changed under a lock. A log that
// cannot be written (disk full) stops no session: lines are dropped, and the next one that fits says how
// many.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>

namespace player {

class OperationsLog {
  public:
    struct Options {
        std::string folder; // empty: $XDG_STATE_HOME/encore/log
        uint64_t file_bytes = 1u << 20;
        unsigned files = 8; // put aside, beside the one being written
    };
    // Errors: the folder cannot be made.
    static base::Result<std::unique_ptr<OperationsLog>> open(Options options);

    struct Field {
        std::string_view key;
        std::variant<std::string, int64_t, bool> value;
    };
    // One line: the time (UTC), `event`, the process, the fields. From any thread; never fails, never blocks
    // for longer than the disk does.
    void record(std::string_view event, std::initializer_list<Field> fields = {});

    [[nodiscard]] std::string path() const { return options_.folder + "/sessions.jsonl"; }
    [[nodiscard]] uint64_t dropped() const;

  private:
    explicit OperationsLog(Options options) : options_(std::move(options)) {}
    bool append(const std::string& line);
    void rotate() const;

    Options options_;
    mutable std::mutex mutex_;
    uint64_t dropped_ = 0;
};

} // namespace player
