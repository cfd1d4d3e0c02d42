#include "signing/trusted_time.h"

#include <fmt/format.h>

namespace signing {

std::string TrustedTime::why_not_the_clock() const {
    return fmt::format("it has been {} here before, though this computer's clock says {} now; set the date "
                       "right, or, if the later one was wrong, remove {}",
                       date_text(latest), date_text(clock), kept_in);
}

std::string date_text(std::time_t time) {
    std::tm fields{};
    gmtime_r(&time, &fields);
    return fmt::format("{:04}-{:02}-{:02}", fields.tm_year + 1900, fields.tm_mon + 1, fields.tm_mday);
}

} // namespace signing
