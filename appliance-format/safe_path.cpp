#include "appliance-format/safe_path.h"

#include <algorithm>

namespace appliance_format {

namespace {
constexpr size_t kMaxPath = 96; // within the 100 bytes of a ustar name
constexpr size_t kMaxName = 64, kMaxKeyboardName = 63;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_'; }
} // namespace

bool is_safe_path(std::string_view path) {
    if (path.empty() || path.size() > kMaxPath || path.back() == '/')
        return false;
    bool start = true; // of a component
    for (char c : path) {
        if (c == '/') {
            if (start)
                return false;
            start = true;
            continue;
        }
        if (!is_word(c) && (start || (c != '.' && c != '-')))
            return false;
        start = false;
    }
    return true;
}

bool is_simple_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxName || name[0] == '-')
        return false;
    for (char c : name)
        if (!is_lower_or_digit(c) && c != '-')
            return false;
    return true;
}

bool is_keyboard_name(std::string_view name) {
    return !name.empty() && name.size() <= kMaxKeyboardName &&
           std::ranges::all_of(name, [](char c) { return is_word(c) || c == '-'; });
}

bool is_utf8(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
        const auto first = static_cast<unsigned char>(text[i]);
        const size_t length = first < 0x80   ? 1
                              : first < 0xC2 ? 0
                              : first < 0xE0 ? 2
                              : first < 0xF0 ? 3
                              : first < 0xF5 ? 4
                                             : 0;
        if (length == 0 || length > text.size() - i)
            return false;
        for (size_t k = 1; k < length; ++k) {
            const auto next = static_cast<unsigned char>(text[i + k]);
            // The second byte's range is narrower where the first would allow overlong forms, surrogates or
            // too much.
            const unsigned low = k > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
            const unsigned high = k > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
            if (next < low || next > high)
                return false;
        }
        i += length;
    }
    return true;
}

bool is_plain_text(std::string_view text, size_t limit, Lines lines) {
    if (text.size() > limit)
        return false;
    for (size_t i = 0; i < text.size(); ++i) {
        auto byte = [&](size_t k) {
            return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0;
        };
        if ((byte(0) < 0x20 && !(lines == Lines::Many && byte(0) == '\n')) || byte(0) == 0x7F)
            return false;
        if (byte(0) == 0xC2 && byte(1) < 0xA0) // C1 controls U+0080..U+009F
            return false;
        // U+202A..U+202E and U+2066..U+2069 reorder what follows
        if (byte(0) == 0xE2 && byte(1) == 0x80 && byte(2) >= 0xAA && byte(2) <= 0xAE)
            return false;
        if (byte(0) == 0xE2 && byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9)
            return false;
    }
    return true;
}

} // namespace appliance_format
