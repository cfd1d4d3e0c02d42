#include "player/operations_log.h"

#include "appliance-format/json_text.h"
#include "player/user_folders.h"
#include "vmm/base/unique_fd.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>

namespace player {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxText = 1024; // of one field

std::string utc_now() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(now.tv_sec), now.tv_nsec / 1'000'000);
}

std::string line_of(std::string_view event, std::initializer_list<OperationsLog::Field> fields) {
    ordered_json line = {{"time", utc_now()}, {"event", event}, {"process", ::getpid()}};
    for (const auto& [key, value] : fields)
        if (const auto* text = std::get_if<std::string>(&value))
            line[std::string(key)] = text->substr(0, kMaxText);
        else if (const auto* number = std::get_if<int64_t>(&value))
            line[std::string(key)] = *number;
        else
            line[std::string(key)] = std::get<bool>(value);
    return appliance_format::json_text(line) + "\n";
}

} // namespace

base::Result<std::unique_ptr<OperationsLog>> OperationsLog::open(Options options) {
    if (options.folder.empty())
        options.folder = TRY(state_folder()) + "/log";
    TRY(make_private_folder(options.folder));
    return std::unique_ptr<OperationsLog>(new OperationsLog(std::move(options)));
}

uint64_t OperationsLog::dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
}

// sessions.jsonl.N-1 takes the place of .N, and so on; the file being written becomes .1.
void OperationsLog::rotate() const {
    for (unsigned i = options_.files; i > 1; --i)
        std::rename(fmt::format("{}.{}", path(), i - 1).c_str(), fmt::format("{}.{}", path(), i).c_str());
    std::rename(path().c_str(), (path() + ".1").c_str());
}

bool OperationsLog::append(const std::string& line) {
    // Held for every line, so that nobody writes to a file that is being put aside.
    const base::UniqueFd lock(
        ::open((options_.folder + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock.valid() || ::flock(lock.get(), LOCK_EX) != 0)
        return false;
    struct stat now {};
    if (::stat(path().c_str(), &now) == 0 && now.st_size > 0 &&
        static_cast<uint64_t>(now.st_size) + line.size() > options_.file_bytes)
        rotate();
    const base::UniqueFd file(
        ::open(path().c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid() || ::fstat(file.get(), &now) != 0)
        return false;
    const ssize_t written = ::write(file.get(), line.data(), line.size());
    if (written == static_cast<ssize_t>(line.size()))
        return true;
    if (written > 0) // half a line is worse than none; should even this fail, its reader skips the half
        std::ignore = ::ftruncate(file.get(), now.st_size);
    return false;
}

void OperationsLog::record(std::string_view event, std::initializer_list<Field> fields) {
    const std::lock_guard lock(mutex_);
    std::string lines;
    if (dropped_ != 0)
        lines = line_of("lost", {{"lines", static_cast<int64_t>(dropped_)}});
    lines += line_of(event, fields);
    if (append(lines))
        dropped_ = 0;
    else
        ++dropped_;
}

} // namespace player
