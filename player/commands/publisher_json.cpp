#include "player/commands/publisher_json.h"

#include "signing/fingerprint_words.h"

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

namespace player {

std::string utc_time(std::time_t time) { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(time)); }

nlohmann::json publisher_json(const signing::Publisher& publisher) {
    return {{"name", publisher.common_name},
            {"organisation", publisher.organisation},
            {"fingerprint", publisher.fingerprint},
            {"fingerprint_words", signing::fingerprint_words(publisher.fingerprint)},
            {"not_before", utc_time(publisher.not_before)},
            {"not_after", utc_time(publisher.not_after)}};
}

} // namespace player
