// toml++ is header-only by default; this file compiles it once instead.
#define TOML_IMPLEMENTATION
#include "appliance-format/toml_reader.h"

#include "appliance-format/format.h"
#include "appliance-format/network_rules.h"
#include "appliance-format/safe_path.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace appliance_format {
namespace {

// toml++ 3.3 asks of characters whether they are spaces, by a table that has holes: for U+00B5 and others
// it runs into __builtin_unreachable. So it is given ASCII only: other bytes, and ~ itself, go in as ~XX
// and come back in the texts it returns. Outside texts and comments TOML knows neither, so its grammar is
// not widened.
std::string to_ascii(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    for (char c : text)
        if (auto byte = static_cast<unsigned char>(c); byte >= 0x80 || c == '~')
            fmt::format_to(std::back_inserter(out), "~{:02X}", byte);
        else
            out += c;
    return out;
}

std::string printable(std::string_view text) {
    return is_plain_text(text, 100, Lines::One) ? std::string(text) : "(unprintable)";
}

} // namespace

std::string TomlReader::from_ascii(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        unsigned byte = 0;
        const char* digits = text.data() + i + 1;
        if (text[i] == '~' && i + 2 < text.size() &&
            std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
            out += static_cast<char>(byte);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

base::Result<toml::table> TomlReader::parse(std::string_view text) const {
    toml::parse_result parsed = toml::parse(to_ascii(text));
    if (!parsed)
        return bad(parsed.error().source().begin.line,
                   fmt::format("not valid TOML ({})", from_ascii(parsed.error().description())));
    return std::move(parsed).table();
}

tl::unexpected<base::Error> TomlReader::bad(unsigned line, const std::string& what) const {
    return base::fail(line ? fmt::format("{}:{}: {}", path_, line, what) : fmt::format("{}: {}", path_, what),
                      error_code_);
}

unsigned TomlReader::line(const toml::table& table, const char* key) {
    const toml::node* node = table.get(key);
    return line_of(node ? *node : table);
}

base::Result<> TomlReader::only(const toml::table& table, std::string_view where,
                                std::initializer_list<std::string_view> allowed) const {
    for (auto&& [key, value] : table) {
        std::string_view name = key.str();
        if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
            return bad(key.source().begin.line,
                       fmt::format("{} knows no \"{}\"; it knows: {}", where, printable(from_ascii(name)),
                                   fmt::join(allowed, ", ")));
    }
    return {};
}

base::Result<const toml::table*> TomlReader::table(const toml::table& root, const char* key,
                                                   Need need) const {
    const toml::node* node = root.get(key);
    if (!node && need == Need::Required)
        return bad(0, fmt::format("the section [{}] is missing", key));
    if (node && !node->is_table())
        return bad(line_of(*node), fmt::format("[{}] must be a section", key));
    return node ? node->as_table() : nullptr;
}

base::Result<std::string> TomlReader::text(const toml::table& table, const char* key, Need need) const {
    const toml::node* node = table.get(key);
    if (!node && need == Need::Required)
        return bad(line_of(table), fmt::format("\"{}\" is missing in this section", key));
    if (!node)
        return std::string();
    return text_of(*node, key);
}

base::Result<std::string> TomlReader::text_of(const toml::node& node, const char* key) const {
    auto value = node.value_exact<std::string>();
    if (!value)
        return bad(line_of(node), fmt::format("\"{}\" must be a text in quotes", key));
    std::string decoded = from_ascii(*value);
    if (!is_utf8(decoded))
        return bad(line_of(node), fmt::format("\"{}\" is not UTF-8", key));
    return decoded;
}

base::Result<bool> TomlReader::flag(const toml::table& table, const char* key, bool otherwise) const {
    const toml::node* node = table.get(key);
    auto value = node ? node->value_exact<bool>() : otherwise;
    if (!value)
        return bad(line_of(*node), fmt::format("\"{}\" must be true or false", key));
    return *value;
}

base::Result<std::optional<bool>> TomlReader::optional_flag(const toml::table& table, const char* key) const {
    if (!table.get(key))
        return std::optional<bool>();
    return std::optional<bool>(TRY(flag(table, key, false)));
}

base::Result<std::optional<uint32_t>> TomlReader::optional_number(const toml::table& table, const char* key,
                                                                  uint32_t least, uint32_t most) const {
    const toml::node* node = table.get(key);
    if (!node)
        return std::optional<uint32_t>();
    auto value = node->value_exact<int64_t>();
    if (!value || *value < least || *value > most)
        return bad(line_of(*node), fmt::format("\"{}\" takes {} to {}", key, least, most));
    return std::optional<uint32_t>(static_cast<uint32_t>(*value));
}

base::Result<Policy> TomlReader::read_rules(const toml::table& table) const {
    Policy policy;
    policy.max_minutes = TRY(optional_number(table, "max_minutes", 1, kMaxMinutes));
    policy.idle_seconds = TRY(optional_number(table, "idle_seconds", kMinIdleSeconds, kMaxIdleSeconds));
    policy.network = TRY(optional_flag(table, "network"));
    policy.clipboard = TRY(optional_flag(table, "clipboard"));
    policy.sound = TRY(optional_flag(table, "sound"));
    policy.power_off_ends_session = TRY(flag(table, "power_off_ends_session", true));
    policy.reset_ends_session = TRY(flag(table, "reset_ends_session", false));
    policy.watermark = TRY(text(table, "watermark", Need::Optional));
    policy.grace_days = TRY(optional_number(table, "grace_days", 0, kMaxGraceDays));
    if (const toml::node* node = table.get("expires"))
        policy.expires = TRY(date(*node));
    if (const toml::node* node = table.get("scenes"))
        policy.scenes = TRY(scene_names(*node));
    if (const toml::node* node = table.get("networks"))
        policy.networks = TRY(names(*node, "networks", kMaxNetworks));
    if (const toml::node* node = table.get("forward"))
        policy.forward = TRY(names(*node, "forward", kMaxForwards));
    for (const char* key : {"networks", "forward"})
        if (table.get(key))
            if (const std::string fault = policy_fault(policy);
                fault.find(fmt::format("\"{}\"", key)) != std::string::npos)
                return bad(line(table, key), fault);
    if (!is_plain_text(policy.watermark, kMaxWatermark, Lines::One))
        return bad(line(table, "watermark"),
                   fmt::format("\"watermark\" takes at most {} bytes in one line", kMaxWatermark));
    return policy;
}

base::Result<std::string> TomlReader::date(const toml::node& node) const {
    std::string day = node.value_exact<std::string>().value_or("");
    if (auto value = node.value_exact<toml::date>())
        day = fmt::format("{:04}-{:02}-{:02}", value->year, value->month, value->day);
    if (!is_date(day))
        return bad(line_of(node), "\"expires\" takes a date such as 2027-12-31");
    return day;
}

base::Result<std::vector<std::string>> TomlReader::names(const toml::node& node, const char* key,
                                                         size_t most) const {
    const toml::array* list = node.as_array();
    if (!list || list->size() > most)
        return bad(line_of(node), fmt::format("\"{}\" must be a list of at most {} texts", key, most));
    std::vector<std::string> texts;
    for (const toml::node& item : *list)
        texts.push_back(item.value_exact<std::string>().value_or(""));
    return texts;
}

base::Result<std::vector<std::string>> TomlReader::scene_names(const toml::node& node) const {
    const toml::array* list = node.as_array();
    if (!list || list->empty() || list->size() > kMaxPolicyScenes)
        return bad(line_of(node), "\"scenes\" must be a list such as [\"start\", \"power-on\"]");
    std::vector<std::string> names;
    for (const toml::node& item : *list) {
        std::string name = item.value_exact<std::string>().value_or("");
        if (!is_simple_name(name))
            return bad(line_of(item),
                       "\"scenes\" takes names of lower-case letters, digits and - (at most 64)");
        if (std::find(names.begin(), names.end(), name) == names.end())
            names.push_back(std::move(name));
    }
    return names;
}

} // namespace appliance_format
