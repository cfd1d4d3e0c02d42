#include "player/key_names.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <string>

namespace player {
namespace {

struct NamedKey {
    std::string_view name;
    uint16_t scan_code;
};

constexpr uint16_t kLeftShift = 0x2A;

constexpr NamedKey kNamedKeys[] = {
    {"esc", 0x01},      {"escape", 0x01},    {"backspace", 0x0E},  {"tab", 0x0F},
    {"enter", 0x1C},    {"return", 0x1C},    {"ret", 0x1C},        {"ctrl", 0x1D},
    {"control", 0x1D},  {"rctrl", 0xE01D},   {"shift", 0x2A},      {"rshift", 0x36},
    {"alt", 0x38},      {"altgr", 0xE038},   {"ralt", 0xE038},     {"space", 0x39},
    {"capslock", 0x3A}, {"f1", 0x3B},        {"f2", 0x3C},         {"f3", 0x3D},
    {"f4", 0x3E},       {"f5", 0x3F},        {"f6", 0x40},         {"f7", 0x41},
    {"f8", 0x42},       {"f9", 0x43},        {"f10", 0x44},        {"f11", 0x57},
    {"f12", 0x58},      {"numlock", 0x45},   {"scrolllock", 0x46}, {"home", 0xE047},
    {"up", 0xE048},     {"pageup", 0xE049},  {"left", 0xE04B},     {"right", 0xE04D},
    {"end", 0xE04F},    {"down", 0xE050},    {"pagedown", 0xE051}, {"insert", 0xE052},
    {"delete", 0xE053}, {"del", 0xE053},     {"win", 0xE05B},      {"super", 0xE05B},
    {"rwin", 0xE05C},   {"menu", 0xE05D},    {"print", 0xE037},    {"printscreen", 0xE037},
    {"sysrq", 0x54},    {"pause", 0xE11D},   {"break", 0xE046},    {"minus", 0x0C},
    {"equal", 0x0D},    {"plus", 0x0D},      {"comma", 0x33},      {"dot", 0x34},
    {"slash", 0x35},    {"backslash", 0x2B}, {"less", 0x56},       {"kp0", 0x52},
    {"kp1", 0x4F},      {"kp2", 0x50},       {"kp3", 0x51},        {"kp4", 0x4B},
    {"kp5", 0x4C},      {"kp6", 0x4D},       {"kp7", 0x47},        {"kp8", 0x48},
    {"kp9", 0x49},      {"kpenter", 0xE01C}, {"kpslash", 0xE035},  {"kpstar", 0x37},
    {"kpminus", 0x4A},  {"kpplus", 0x4E},    {"kpdot", 0x53},
};

// The keys that print, row by row: the scan codes of a row follow one another.
struct Row {
    uint16_t first;
    std::string_view plain, shifted;
};
constexpr Row kRows[] = {
    {0x02, "1234567890-=", "!@#$%^&*()_+"},
    {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
    {0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
};

struct CharacterKey {
    uint16_t scan_code;
    bool shift;
};

std::optional<CharacterKey> key_for_character(char c) {
    switch (c) {
    case ' ':
        return CharacterKey{0x39, false};
    case '\n':
    case '\r':
        return CharacterKey{0x1C, false};
    case '\t':
        return CharacterKey{0x0F, false};
    case '\b':
        return CharacterKey{0x0E, false};
    case '\x1b':
        return CharacterKey{0x01, false};
    default:
        break;
    }
    for (const Row& row : kRows) {
        if (const size_t at = row.plain.find(c); at != std::string_view::npos)
            return CharacterKey{static_cast<uint16_t>(row.first + at), false};
        if (const size_t at = row.shifted.find(c); at != std::string_view::npos)
            return CharacterKey{static_cast<uint16_t>(row.first + at), true};
    }
    return std::nullopt;
}

} // namespace

std::optional<uint16_t> key_by_name(std::string_view name) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower.size() == 1 && lower[0] > ' ') {
        const auto key = key_for_character(lower[0]);
        return key && !key->shift ? std::optional(key->scan_code) : std::nullopt;
    }
    for (const NamedKey& key : kNamedKeys)
        if (key.name == lower)
            return key.scan_code;
    return std::nullopt;
}

base::Result<std::vector<uint16_t>> parse_chord(std::string_view chord) {
    std::vector<uint16_t> keys;
    constexpr size_t kMaxKeys = 16;
    for (size_t from = 0; from <= chord.size();) {
        const size_t end = std::min(chord.find('-', from), chord.size());
        const std::string_view name = chord.substr(from, end - from);
        const auto key = key_by_name(name);
        if (!key)
            return base::fail(fmt::format(
                "'{}' is no key in '{}': join names with '-', such as ctrl-alt-delete", name, chord));
        if (keys.size() == kMaxKeys)
            return base::fail("too many keys at once");
        keys.push_back(*key);
        from = end + 1;
    }
    return keys;
}

base::Result<std::vector<std::vector<uint16_t>>> keys_for_text(std::string_view text) {
    std::vector<std::vector<uint16_t>> chords;
    chords.reserve(text.size());
    for (const char c : text) {
        const auto key = key_for_character(c);
        if (!key)
            return base::fail(fmt::format("character {:#04x} is on no key of the US layout",
                                          static_cast<unsigned>(static_cast<unsigned char>(c))));
        if (key->shift)
            chords.push_back({kLeftShift, key->scan_code});
        else
            chords.push_back({key->scan_code});
    }
    return chords;
}

} // namespace player
