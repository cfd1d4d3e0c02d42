// JSON to and from text. nlohmann's reader and writer are templates that take seconds to compile in each file
// that names them; json_text.cpp is that file for everybody.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace appliance_format {

// What is not JSON is a discarded value, which is neither an object nor anything else.
[[nodiscard]] nlohmann::json parse_json(std::string_view text);

// Of one line, or indented for people. Bytes that are not UTF-8 become U+FFFD.
enum class JsonLayout { OneLine, Indented };
[[nodiscard]] std::string json_text(const nlohmann::json& value, JsonLayout layout = JsonLayout::OneLine);
[[nodiscard]] std::string json_text(const nlohmann::ordered_json& value,
                                    JsonLayout layout = JsonLayout::OneLine);

} // namespace appliance_format
