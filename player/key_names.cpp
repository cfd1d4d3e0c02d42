#include "player/key_names.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <string>

namespace player {
namespace {

struct NamedKey {
    std::string_view name;
    uint16_t scan_code;     // ... on a US keyboard, where it is one that prints
    char32_t character = 0; // which that one prints, on others another
};

constexpr NamedKey kNamedKeys[] = {
    {"esc", 0x01},         {"escape", 0x01},
    {"backspace", 0x0E},   {"tab", 0x0F},
    {"enter", 0x1C},       {"return", 0x1C},
    {"ret", 0x1C},         {"ctrl", 0x1D},
    {"control", 0x1D},     {"rctrl", 0xE01D},
    {"shift", 0x2A},       {"rshift", 0x36},
    {"alt", 0x38},         {"altgr", 0xE038},
    {"ralt", 0xE038},      {"space", 0x39},
    {"capslock", 0x3A},    {"f1", 0x3B},
    {"f2", 0x3C},          {"f3", 0x3D},
    {"f4", 0x3E},          {"f5", 0x3F},
    {"f6", 0x40},          {"f7", 0x41},
    {"f8", 0x42},          {"f9", 0x43},
    {"f10", 0x44},         {"f11", 0x57},
    {"f12", 0x58},         {"numlock", 0x45},
    {"scrolllock", 0x46},  {"home", 0xE047},
    {"up", 0xE048},        {"pageup", 0xE049},
    {"left", 0xE04B},      {"right", 0xE04D},
    {"end", 0xE04F},       {"down", 0xE050},
    {"pagedown", 0xE051},  {"insert", 0xE052},
    {"delete", 0xE053},    {"del", 0xE053},
    {"win", 0xE05B},       {"super", 0xE05B},
    {"rwin", 0xE05C},      {"menu", 0xE05D},
    {"print", 0xE037},     {"printscreen", 0xE037},
    {"sysrq", 0x54},       {"pause", 0xE11D},
    {"break", 0xE046},     {"minus", 0x0C, U'-'},
    {"equal", 0x0D, U'='}, {"plus", 0x0D, U'+'},
    {"comma", 0x33, U','}, {"dot", 0x34, U'.'},
    {"slash", 0x35, U'/'}, {"backslash", 0x2B, U'\\'},
    {"less", 0x56, U'<'},  {"kp0", 0x52},
    {"kp1", 0x4F},         {"kp2", 0x50},
    {"kp3", 0x51},         {"kp4", 0x4B},
    {"kp5", 0x4C},         {"kp6", 0x4D},
    {"kp7", 0x47},         {"kp8", 0x48},
    {"kp9", 0x49},         {"kpenter", 0xE01C},
    {"kpslash", 0xE035},   {"kpstar", 0x37},
    {"kpminus", 0x4A},     {"kpplus", 0x4E},
    {"kpdot", 0x53},
};

} // namespace

std::optional<uint16_t> key_by_name(std::string_view name, const KeyboardLayout& layout) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    std::string_view rest = lower;
    if (const auto character = take_character(rest); character && rest.empty() && *character > U' ') {
        const uint16_t key = layout.key_for(*character);
        return key != 0 ? std::optional(key) : std::nullopt;
    }
    for (const NamedKey& key : kNamedKeys) {
        if (key.name != lower)
            continue;
        const uint16_t printed = key.character != 0 ? layout.key_for(key.character) : uint16_t{0};
        return printed != 0 ? printed : key.scan_code;
    }
    return std::nullopt;
}

base::Result<Chord> parse_chord(std::string_view chord, const KeyboardLayout& layout) {
    Chord keys;
    constexpr size_t kMaxKeys = 16;
    for (size_t from = 0; from <= chord.size();) {
        const size_t end = std::min(chord.find('-', from), chord.size());
        const std::string_view name = chord.substr(from, end - from);
        const auto key = key_by_name(name, layout);
        if (!key)
            return base::fail(
                fmt::format("'{}' in '{}' is no key of the {} layout: join names with '-', such as "
                            "ctrl-alt-delete",
                            name, chord, layout.name()));
        if (keys.size() == kMaxKeys)
            return base::fail("too many keys at once");
        keys.push_back(*key);
        from = end + 1;
    }
    return keys;
}

base::Result<std::vector<Chord>> keys_for_text(std::string_view text, const KeyboardLayout& layout) {
    std::vector<Chord> chords;
    chords.reserve(text.size());
    while (!text.empty()) {
        const char32_t character = TRY(take_character(text));
        auto typed = layout.chords_for(character);
        if (typed.empty())
            return base::fail(fmt::format("the character {} is on no key of the {} layout; choose another "
                                          "with --keyboard-layout",
                                          describe_character(character), layout.name()));
        std::ranges::move(typed, std::back_inserter(chords));
    }
    return chords;
}

} // namespace player
