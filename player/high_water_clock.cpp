#include "player/high_water_clock.h"

#include "appliance-format/output_file.h"
#include "player/installed_files.h"
#include "player/user_folders.h"
#include "signing/small_file.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fmt/format.h>

namespace player {
namespace {

constexpr std::string_view kHead = "encore-clock 1 ";
constexpr int64_t kLatest = 253402300799; // 9999-12-31: later ones come from a damaged file
constexpr int64_t kStep = 60;             // a disk need not be written for less

} // namespace

HighWaterClock HighWaterClock::standard() {
    auto folder = state_folder();
    return HighWaterClock(folder ? *folder + "/clock" : std::string());
}

int64_t HighWaterClock::remembered() const {
    if (path_.empty())
        return 0;
    const auto text = signing::read_small_file(path_, 200);
    if (!text || !text->starts_with(kHead))
        return 0;
    int64_t value = 0;
    const auto [end, failed] =
        std::from_chars(text->data() + kHead.size(), text->data() + text->size(), value);
    const bool whole = failed == std::errc() && end != text->data() + text->size() && *end == '\n';
    return whole && value > 0 && value <= kLatest ? value : 0;
}

int64_t HighWaterClock::now(int64_t system) const { return std::max(system, remembered()); }

base::Result<void> HighWaterClock::remember(int64_t system) const {
    if (path_.empty() || system > kLatest || system < remembered() + kStep)
        return {};
    TRY(make_private_folder(std::filesystem::path(path_).parent_path()));
    const std::string text = fmt::format("{}{}\n", kHead, system);
    auto file = TRY(appliance_format::OutputFile::create(path_));
    TRY(appliance_format::write_all(file.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                                    path_));
    return file.commit();
}

signing::TrustedTime trusted_now() {
    const HighWaterClock clock = HighWaterClock::standard();
    const std::time_t system = std::time(nullptr);
    return {clock.now(system), system, clock.path()};
}

signing::TrustStore trust_store() {
    // Who makes a portable folder makes its programs too, so to ask about its publishers would protect
    // nobody. Beside an installed program such a folder is only a folder: /etc/encore/trust is the
    // administrator's.
    return signing::TrustStore::standard(trusted_now(), is_portable_copy() ? prefix_folder() + "/trust" : "");
}

} // namespace player
