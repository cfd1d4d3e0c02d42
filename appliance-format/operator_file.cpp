#include "appliance-format/operator_file.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"
#include "appliance-format/toml_reader.h"

#include <algorithm>
#include <fmt/format.h>

namespace appliance_format {
namespace {

constexpr size_t kMaxAppliances = 1024;

class OperatorReader : TomlReader {
  public:
    explicit OperatorReader(const std::string& path) : TomlReader(path, kBadRecipe) {}

    base::Result<OperatorFile> read(std::string_view content) {
        const toml::table root = TRY(parse(content));
        TRY(only(root, "the operator's file", {"policy", "appliance", "log", "trust", "kiosk"}));
        out_.path = path();
        if (const auto* section = TRY(table(root, "policy", Need::Optional))) {
            if (section->get("scenes"))
                return bad(line(*section, "scenes"),
                           "\"scenes\" belongs to one appliance: put it under [appliance.NAME]");
            TRY(read_policy(*section, "[policy]", {}));
        }
        if (const auto* appliances = TRY(table(root, "appliance", Need::Optional)))
            TRY(read_appliances(*appliances));
        if (const auto* section = TRY(table(root, "log", Need::Optional))) {
            TRY(only(*section, "[log]", {"sessions", "kilobytes", "files"}));
            out_.log_sessions = TRY(optional_flag(*section, "sessions"));
            out_.log_kilobytes = TRY(optional_number(*section, "kilobytes", 16, 1 << 20));
            out_.log_files = TRY(optional_number(*section, "files", 1, 100));
        }
        if (const auto* section = TRY(table(root, "trust", Need::Optional)))
            TRY(read_trust(*section));
        if (const auto* section = TRY(table(root, "kiosk", Need::Optional)))
            TRY(read_kiosk(*section));
        return std::move(out_);
    }

  private:
    base::Result<> read_appliances(const toml::table& appliances) {
        if (appliances.size() > kMaxAppliances)
            return bad(line_of(appliances), "too many [appliance.NAME] sections");
        for (auto&& [key, value] : appliances) {
            const std::string name(key.str());
            if (!is_simple_name(name) || !value.is_table())
                return bad(key.source().begin.line,
                           "write [appliance.NAME] with an appliance's name: lower-case letters, digits, -");
            TRY(read_policy(*value.as_table(), fmt::format("[appliance.{}]", name), name));
        }
        return {};
    }

    base::Result<> read_policy(const toml::table& table, std::string_view where, const std::string& name) {
        TRY(only(table, where,
                 {"scenes", "max_minutes", "idle_seconds", "network", "networks", "forward", "clipboard",
                  "sound", "power_off_ends_session", "reset_ends_session", "watermark", "expires",
                  "grace_days"}));
        OperatorPolicy stated{path(), name, TRY(read_rules(table)), {}};
        for (size_t i = 0; i < kRules; ++i)
            if (const auto rule = static_cast<Rule>(i); table.get(to_string(rule)))
                stated.stated.push_back({rule, line(table, to_string(rule))});
        out_.policies.push_back(std::move(stated));
        return {};
    }

    base::Result<> read_trust(const toml::table& section) {
        TRY(only(section, "[trust]", {"by_hand", "ask"}));
        out_.trust_by_hand = TRY(optional_flag(section, "by_hand"));
        if (!section.get("ask"))
            return {};
        out_.trust_ask = TRY(text(section, "ask", Need::Required));
        if (out_.trust_ask.empty() || !is_plain_text(out_.trust_ask, 200, Lines::One))
            return bad(line(section, "ask"), "\"ask\" takes a line of text: who may be asked");
        return {};
    }

    base::Result<> read_kiosk(const toml::table& section) {
        TRY(only(section, "[kiosk]",
                 {"catalog", "headline", "language", "theme", "attract_seconds", "warning_seconds",
                  "extension_minutes"}));
        for (const char* key : {"headline", "language", "theme"})
            if (section.get(key)) {
                std::string value = TRY(text(section, key, Need::Required));
                if (value.empty() || !is_plain_text(value, 200, Lines::One))
                    return bad(line(section, key), fmt::format("\"{}\" takes a line of text", key));
                out_.kiosk_texts[key] = std::move(value);
            }
        if (const auto value = TRY(optional_number(section, "extension_minutes", 1, 24 * 60)))
            out_.kiosk_numbers["extension_minutes"] = *value;
        for (const char* key : {"catalog"})
            if (section.get(key)) {
                std::string value = TRY(text(section, key, Need::Required));
                if (value.empty() || value[0] != '/' || !is_plain_text(value, 4000, Lines::One))
                    return bad(line(section, key),
                               fmt::format("\"{}\" takes a folder, written in full from /", key));
                out_.kiosk_texts[key] = std::move(value);
            }
        for (const char* key : {"attract_seconds", "warning_seconds"})
            if (const auto value = TRY(optional_number(section, key, 5, 24 * 3600)))
                out_.kiosk_numbers[key] = *value;
        return {};
    }

    OperatorFile out_;
};

} // namespace

base::Result<OperatorFile> parse_operator_file(std::string_view text, const std::string& path) {
    return OperatorReader(path).read(text);
}

} // namespace appliance_format
