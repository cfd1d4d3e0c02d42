// Which names a bundle may use. Names come from strangers' archives: nothing absolute, no "..", no control
// characters, so that a name may be printed and joined to a folder.
#pragma once
#include <string_view>

namespace appliance_format {

// "a/b.c": 1-96 characters of [A-Za-z0-9._-] in components that are not empty and do not start with a dot.
[[nodiscard]] bool is_safe_path(std::string_view path);

// Appliance and scene names: 1-64 characters of [a-z0-9-], not starting with '-'.
[[nodiscard]] bool is_simple_name(std::string_view name);

// Keyboard layouts' names, which become parts of paths: 1-63 characters of [A-Za-z0-9_-].
[[nodiscard]] bool is_keyboard_name(std::string_view name);

// Whether the bytes are well-formed UTF-8 (Unicode 15, table 3-7).
[[nodiscard]] bool is_utf8(std::string_view text);

// Text shown to people: at most `limit` bytes, no control characters (line feed if allowed), no overrides of
// writing direction.
enum class Lines { One, Many };
[[nodiscard]] bool is_plain_text(std::string_view text, size_t limit, Lines lines);

} // namespace appliance_format
