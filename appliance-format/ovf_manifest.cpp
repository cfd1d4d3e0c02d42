#include "appliance-format/ovf_manifest.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

namespace appliance_format {

namespace {

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r";
    const size_t from = text.find_first_not_of(kSpace);
    return from == std::string_view::npos ? std::string_view()
                                          : text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

} // namespace

base::Result<std::vector<OvfDigest>> parse_ovf_manifest(std::string_view text) {
    constexpr size_t kMost = 10'000;
    std::vector<OvfDigest> digests;
    size_t number = 0;
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        ++number;
        if (line.starts_with("-----BEGIN"))
            break;
        if (line.empty())
            continue;
        const size_t equals = line.rfind('='), open = line.find('('),
                     close = line.substr(0, std::min(equals, line.size())).rfind(')');
        if (equals == std::string_view::npos || open == std::string_view::npos ||
            close == std::string_view::npos || close < open || digests.size() == kMost)
            return base::fail(fmt::format("is not a list of digests (line {})", number), kIo);
        OvfDigest& digest = digests.emplace_back();
        digest.algorithm = trimmed(line.substr(0, open));
        digest.file = line.substr(open + 1, close - open - 1);
        digest.value = trimmed(line.substr(equals + 1));
        std::ranges::transform(digest.value, digest.value.begin(),
                               [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        const bool hex = !digest.value.empty() && std::ranges::all_of(digest.value, [](unsigned char c) {
            return std::isxdigit(c) != 0;
        });
        if (!hex || digest.file.empty() || digest.algorithm.empty())
            return base::fail(fmt::format("is not a list of digests (line {})", number), kIo);
    }
    return digests;
}

} // namespace appliance_format
