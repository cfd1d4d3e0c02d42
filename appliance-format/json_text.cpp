#include "appliance-format/json_text.h"

#include <nlohmann/json.hpp>

namespace appliance_format {
namespace {

template <class Json> std::string text_of(const Json& value, JsonLayout layout) {
    return value.dump(layout == JsonLayout::Indented ? 2 : -1, ' ', false, Json::error_handler_t::replace);
}

} // namespace

nlohmann::json parse_json(std::string_view text) { return nlohmann::json::parse(text, nullptr, false); }

std::string json_text(const nlohmann::json& value, JsonLayout layout) { return text_of(value, layout); }
std::string json_text(const nlohmann::ordered_json& value, JsonLayout layout) {
    return text_of(value, layout);
}

} // namespace appliance_format
