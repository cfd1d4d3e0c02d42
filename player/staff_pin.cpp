#include "player/staff_pin.h"

#include "appliance-format/output_file.h"
#include "player/user_folders.h"
#include "signing/pin.h"
#include "signing/small_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace player {
namespace {

constexpr int64_t kFreeTries = 3; // the third wrong one in a row is the first that costs a wait
constexpr int64_t kFirstWait = 30, kLongestWait = 3600;

int64_t wait_after(int64_t wrong) {
    if (wrong < kFreeTries)
        return 0;
    return std::min(kLongestWait, kFirstWait << std::min<int64_t>(wrong - kFreeTries, 10));
}

constexpr gid_t kNobody = static_cast<gid_t>(-1);

base::Result<void> write_file(const std::string& path, const std::string& text, gid_t readers = kNobody) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code failed;
    if (readers != kNobody)
        std::filesystem::create_directories(folder, failed);
    else
        TRY(make_private_folder(folder));
    if (failed)
        return base::fail(fmt::format("cannot make {}: {}", folder.string(), failed.message()));
    auto file = TRY(appliance_format::OutputFile::create(path));
    if (::fchown(file.fd(), static_cast<uid_t>(-1), readers) != 0 ||
        ::fchmod(file.fd(), readers != kNobody ? 0640 : 0600) != 0)
        return base::fail(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    TRY(appliance_format::write_all(file.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                                    path));
    return file.commit();
}

} // namespace

base::Result<StaffPin> StaffPin::standard() {
    return StaffPin({TRY(config_folder()) + "/staff-pin", system_config_folders().front() + "/staff-pin",
                     TRY(state_folder()) + "/staff-pin-tries"});
}

StaffPin::StaffPin(Places places, std::function<int64_t()> now)
    : places_(std::move(places)), now_(std::move(now)) {
    if (!now_)
        now_ = [] { return static_cast<int64_t>(std::time(nullptr)); };
}

std::string StaffPin::record_path() const {
    for (const std::string& path : {places_.own, places_.system})
        if (::access(path.c_str(), F_OK) == 0)
            return path;
    return {};
}

bool StaffPin::is_set() const { return !record_path().empty(); }

base::Result<void> StaffPin::set(std::string_view pin) {
    TRY(write_file(places_.own, TRY(signing::hash_pin(pin)) + "\n"));
    unwritten_.reset();
    ::unlink(places_.tries.c_str()); // whoever may set it need not wait
    return {};
}

base::Result<void> StaffPin::set_for(std::string_view pin, gid_t readers) {
    return write_file(places_.system, TRY(signing::hash_pin(pin)) + "\n", readers);
}

base::Result<void> StaffPin::remove() {
    if (::unlink(places_.own.c_str()) != 0)
        return base::fail(errno == ENOENT
                              ? fmt::format("no PIN is set in {}", places_.own)
                              : fmt::format("cannot remove {}: {}", places_.own, std::strerror(errno)));
    unwritten_.reset();
    ::unlink(places_.tries.c_str());
    return {};
}

StaffPin::Tries StaffPin::tries() const {
    Tries kept;
    if (const auto text = signing::read_small_file(places_.tries, 200)) {
        long long wrong = 0, until = 0;
        if (std::sscanf(text->c_str(), "encore-tries 1 %18lld %18lld", &wrong, &until) == 2 && wrong >= 0)
            kept = {wrong, until};
    }
    return unwritten_ ? *unwritten_ : kept;
}

void StaffPin::keep(const Tries& tries) {
    // A full disk must not keep staff out: then this process's own count has to do.
    const auto kept =
        write_file(places_.tries, fmt::format("encore-tries 1 {} {}\n", tries.wrong, tries.until));
    unwritten_ = kept ? std::nullopt : std::optional(tries);
}

std::chrono::seconds StaffPin::wait() const {
    const Tries kept = tries();
    // Never longer than its count deserves: the clock may have been set back since.
    return std::chrono::seconds(std::clamp<int64_t>(kept.until - now_(), 0, wait_after(kept.wrong)));
}

base::Result<StaffPin::Answer> StaffPin::check(std::string_view pin) {
    const std::string path = record_path();
    if (path.empty())
        return Answer{Verdict::NotSet, {}};
    if (const auto left = wait(); left.count() > 0)
        return Answer{Verdict::Wait, left};
    std::string record = TRY(signing::read_small_file(path, 1000));
    while (!record.empty() && record.back() == '\n')
        record.pop_back();
    // Counted as wrong before it is looked at, so that being killed in between gives no free try.
    Tries kept = tries();
    kept.wrong += 1;
    kept.until = now_() + wait_after(kept.wrong);
    keep(kept);
    auto right = signing::pin_matches(pin, record);
    if (!right)
        return base::fail(fmt::format("{}: {}", path, right.error().message));
    if (!*right)
        return Answer{Verdict::Wrong, std::chrono::seconds(wait_after(kept.wrong))};
    unwritten_.reset();
    ::unlink(places_.tries.c_str());
    return Answer{Verdict::Right, {}};
}

} // namespace player
