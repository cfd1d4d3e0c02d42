// A publisher as JSON, the same in every verb.
#pragma once
#include "signing/publisher.h"

#include <ctime>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace player {

std::string utc_time(std::time_t time); // "2027-12-31T23:59:59Z"
nlohmann::json publisher_json(const signing::Publisher& publisher);

} // namespace player
