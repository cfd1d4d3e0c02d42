#include "player/keyboard_layout.h"

#include "appliance-format/safe_path.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <dlfcn.h>
#include <fmt/format.h>
#include <mutex>
#include <span>
#include <xkbcommon/xkbcommon-compose.h>
#include <xkbcommon/xkbcommon.h>

namespace player {
namespace {

constexpr uint16_t kLeftShift = 0x2A, kAltGr = 0xE038;

// Where every keyboard has them.
struct CommonKey {
    char32_t character;
    uint16_t scan_code;
};
constexpr CommonKey kCommonKeys[] = {{U' ', 0x39},  {U'\n', 0x1C}, {U'\r', 0x1C},
                                     {U'\t', 0x0F}, {U'\b', 0x0E}, {U'\x1b', 0x01}};

// The US keys that print, row by row: the scan codes of a row follow one another.
struct Row {
    uint16_t first;
    std::string_view plain, shifted;
};
constexpr Row kUsRows[] = {
    {0x02, "1234567890-=", "!@#$%^&*()_+"},
    {0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
    {0x1E, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
    {0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
};

// Of the keys that print, X's key code less 8 (Linux's own number) is the set 1 code, except where keyboards
// have more keys than American ones: beside the left shift key, and two on Japanese ones.
constexpr unsigned kXkbOffset = 8;
constexpr uint16_t kPrintingKeys[] = {0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D,
                                      0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B,
                                      0x1E, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
                                      0x2B, 0x2C, 0x2D, 0x2E, 0x2F, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35};
constexpr uint16_t kMoreKeys[] = {0x56, 0x73, 0x7D};

unsigned xkb_code(uint16_t scan_code) {
    const unsigned linux_code = scan_code == 0x73 ? 89 : scan_code == 0x7D ? 124 : scan_code;
    return linux_code + kXkbOffset;
}

// Loaded when a layout is first asked for: most sessions type nothing, or as Americans do.
struct Xkb {
#define ENCORE_XKB_FUNCTIONS(X)                                                                              \
    X(xkb_context_new)                                                                                       \
    X(xkb_context_unref)                                                                                     \
    X(xkb_context_set_log_level)                                                                             \
    X(xkb_keymap_new_from_names)                                                                             \
    X(xkb_keymap_unref)                                                                                      \
    X(xkb_keymap_mod_get_index)                                                                              \
    X(xkb_keymap_num_levels_for_key)                                                                         \
    X(xkb_keymap_key_get_syms_by_level)                                                                      \
    X(xkb_keymap_key_get_mods_for_level)                                                                     \
    X(xkb_keysym_to_utf32)                                                                                   \
    X(xkb_compose_table_new_from_file)                                                                       \
    X(xkb_compose_table_unref)                                                                               \
    X(xkb_compose_state_new)                                                                                 \
    X(xkb_compose_state_unref)                                                                               \
    X(xkb_compose_state_reset)                                                                               \
    X(xkb_compose_state_feed)                                                                                \
    X(xkb_compose_state_get_status)                                                                          \
    X(xkb_compose_state_get_utf8)
#define ENCORE_DECLARE(function) decltype(&::function) function = nullptr;
    ENCORE_XKB_FUNCTIONS(ENCORE_DECLARE)
#undef ENCORE_DECLARE
};

base::Result<Xkb> load_xkb() {
    constexpr const char* kLibrary = "libxkbcommon.so.0";
    void* handle = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == nullptr)
        return base::fail(
            fmt::format("no keyboard layouts but us: {}; install the package libxkbcommon0", ::dlerror()));
    Xkb xkb;
#define ENCORE_FIND(function)                                                                                \
    xkb.function = reinterpret_cast<decltype(&::function)>(::dlsym(handle, #function));                      \
    if (xkb.function == nullptr)                                                                             \
        return base::fail(fmt::format("no keyboard layouts but us: {} is too old; install the package "      \
                                      "libxkbcommon0 of this system's release",                              \
                                      kLibrary));
    ENCORE_XKB_FUNCTIONS(ENCORE_FIND)
#undef ENCORE_FIND
#undef ENCORE_XKB_FUNCTIONS
    return xkb;
}

struct Typed { // with one chord
    xkb_keysym_t symbol;
    Chord chord;
};

class LayoutReader {
  public:
    explicit LayoutReader(const Xkb& xkb)
        : xkb_(xkb), context_(xkb.xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES)) {
        if (context_ != nullptr)
            xkb_.xkb_context_set_log_level(context_, XKB_LOG_LEVEL_CRITICAL);
    }
    ~LayoutReader() {
        if (keymap_ != nullptr)
            xkb_.xkb_keymap_unref(keymap_);
        if (context_ != nullptr)
            xkb_.xkb_context_unref(context_);
    }
    LayoutReader(const LayoutReader&) = delete;
    LayoutReader& operator=(const LayoutReader&) = delete;

    bool open(const std::string& layout, const std::string& variant) {
        const xkb_rule_names names{"evdev", "pc105", layout.c_str(), variant.c_str(), ""};
        if (context_ != nullptr)
            keymap_ = xkb_.xkb_keymap_new_from_names(context_, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
        return keymap_ != nullptr;
    }

    // What every system agrees on first: without AltGr, and on keys that every keyboard has.
    std::vector<Typed> symbols() const {
        const xkb_mod_index_t shift = xkb_.xkb_keymap_mod_get_index(keymap_, XKB_MOD_NAME_SHIFT);
        const xkb_mod_index_t level_three = xkb_.xkb_keymap_mod_get_index(keymap_, "Mod5");
        if (shift == XKB_MOD_INVALID || level_three == XKB_MOD_INVALID)
            return {};
        std::vector<Typed> typed;
        for (const bool alt_gr : {false, true})
            for (const auto keys :
                 {std::span<const uint16_t>(kPrintingKeys), std::span<const uint16_t>(kMoreKeys)})
                for (const bool shifted : {false, true})
                    for (const uint16_t key : keys) {
                        const xkb_mod_mask_t modifiers =
                            (shifted ? 1u << shift : 0) | (alt_gr ? 1u << level_three : 0);
                        Typed one{symbol_of(xkb_code(key), modifiers), {}};
                        if (one.symbol == XKB_KEY_NoSymbol)
                            continue;
                        if (shifted)
                            one.chord.push_back(kLeftShift);
                        if (alt_gr)
                            one.chord.push_back(kAltGr);
                        one.chord.push_back(key);
                        typed.push_back(std::move(one));
                    }
        return typed;
    }

    // What a dead key makes of the symbol that follows, as systems agree on it: calls `made(character, dead,
    // base)`.
    template <class Made> void compose(const std::vector<Typed>& symbols, Made made) const {
        constexpr const char* kTable = "/usr/share/X11/locale/en_US.UTF-8/Compose";
        FILE* file = std::fopen(kTable, "re");
        if (file == nullptr)
            return;
        xkb_compose_table* table = xkb_.xkb_compose_table_new_from_file(
            context_, file, "en_US.UTF-8", XKB_COMPOSE_FORMAT_TEXT_V1, XKB_COMPOSE_COMPILE_NO_FLAGS);
        std::fclose(file);
        if (table == nullptr)
            return;
        xkb_compose_state* state = xkb_.xkb_compose_state_new(table, XKB_COMPOSE_STATE_NO_FLAGS);
        for (const Typed& dead : symbols) {
            if (state == nullptr || !is_dead(dead))
                continue;
            for (const Typed& base : symbols) {
                if (is_dead(base)) // systems differ
                    continue;
                xkb_.xkb_compose_state_reset(state);
                xkb_.xkb_compose_state_feed(state, dead.symbol);
                xkb_.xkb_compose_state_feed(state, base.symbol);
                std::array<char, 64> text{};
                if (xkb_.xkb_compose_state_get_status(state) != XKB_COMPOSE_COMPOSED ||
                    xkb_.xkb_compose_state_get_utf8(state, text.data(), text.size()) <= 0)
                    continue;
                std::string_view rest(text.data());
                if (const auto character = take_character(rest); character && rest.empty())
                    made(*character, dead, base);
            }
        }
        if (state != nullptr)
            xkb_.xkb_compose_state_unref(state);
        xkb_.xkb_compose_table_unref(table);
    }

    [[nodiscard]] char32_t character(const Typed& typed) const {
        return xkb_.xkb_keysym_to_utf32(typed.symbol);
    }

  private:
    static bool is_dead(const Typed& typed) {
        return typed.symbol >= XKB_KEY_dead_grave && typed.symbol <= XKB_KEY_dead_greek;
    }
    // What the key means with these modifiers and no others.
    [[nodiscard]] xkb_keysym_t symbol_of(xkb_keycode_t key, xkb_mod_mask_t modifiers) const {
        const xkb_level_index_t levels = xkb_.xkb_keymap_num_levels_for_key(keymap_, key, 0);
        for (xkb_level_index_t level = 0; level < levels; ++level) {
            std::array<xkb_mod_mask_t, 16> masks{};
            const size_t count =
                xkb_.xkb_keymap_key_get_mods_for_level(keymap_, key, 0, level, masks.data(), masks.size());
            if (std::find(masks.begin(), masks.begin() + static_cast<ptrdiff_t>(count), modifiers) ==
                masks.begin() + static_cast<ptrdiff_t>(count))
                continue;
            const xkb_keysym_t* symbols = nullptr;
            if (xkb_.xkb_keymap_key_get_syms_by_level(keymap_, key, 0, level, &symbols) == 1)
                return symbols[0];
        }
        return XKB_KEY_NoSymbol;
    }

    const Xkb& xkb_;
    xkb_context* context_ = nullptr;
    xkb_keymap* keymap_ = nullptr;
};

} // namespace

std::shared_ptr<const KeyboardLayout> KeyboardLayout::us() {
    static const std::shared_ptr<const KeyboardLayout> layout = [] {
        std::shared_ptr<KeyboardLayout> us(new KeyboardLayout("us"));
        for (const CommonKey& key : kCommonKeys)
            us->chords_[key.character] = {{key.scan_code}};
        for (const Row& row : kUsRows)
            for (size_t i = 0; i < row.plain.size(); ++i) {
                const auto key = static_cast<uint16_t>(row.first + i);
                us->chords_[static_cast<unsigned char>(row.plain[i])] = {{key}};
                us->chords_[static_cast<unsigned char>(row.shifted[i])] = {{kLeftShift, key}};
            }
        return us;
    }();
    return layout;
}

base::Result<std::shared_ptr<const KeyboardLayout>> KeyboardLayout::by_name(std::string_view name) {
    if (name == "us")
        return us();
    static std::mutex mutex;
    static std::map<std::string, std::shared_ptr<const KeyboardLayout>, std::less<>> known;
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(name); found != known.end())
        return found->second;
    static const base::Result<Xkb> xkb = load_xkb();
    if (!xkb)
        return tl::make_unexpected(xkb.error());
    const size_t dash = std::min(name.find('-'), name.size());
    const std::string_view country = name.substr(0, dash);
    LayoutReader reader(*xkb);
    if (!appliance_format::is_keyboard_name(name) ||
        !reader.open(std::string(country == "uk" ? "gb" : country),
                     std::string(name.substr(std::min(dash + 1, name.size())))))
        return base::fail(
            fmt::format("there is no keyboard layout '{}': names are us, uk, de, fr, es, it, ch, "
                        "ch-fr, ... (setxkbmap's, from the package xkb-data)",
                        name),
            2);
    std::shared_ptr<KeyboardLayout> layout(new KeyboardLayout(std::string(name)));
    auto& chords = layout->chords_;
    for (const CommonKey& key : kCommonKeys)
        chords[key.character] = {{key.scan_code}};
    const std::vector<Typed> symbols = reader.symbols();
    for (const Typed& typed : symbols)
        if (const char32_t character = reader.character(typed); character != 0)
            chords.try_emplace(character, std::vector<Chord>{typed.chord});
    auto bases = symbols;
    bases.push_back({XKB_KEY_space, {0x39}});
    reader.compose(bases, [&](char32_t character, const Typed& dead, const Typed& base) {
        chords.try_emplace(character, std::vector<Chord>{dead.chord, base.chord});
    });
    known.emplace(name, layout);
    return std::shared_ptr<const KeyboardLayout>(std::move(layout));
}

std::vector<Chord> KeyboardLayout::chords_for(char32_t character) const {
    const auto found = chords_.find(character);
    return found == chords_.end() ? std::vector<Chord>{} : found->second;
}

uint16_t KeyboardLayout::key_for(char32_t character) const {
    const auto found = chords_.find(character);
    return found != chords_.end() && found->second.size() == 1 && found->second[0].size() == 1
               ? found->second[0][0]
               : uint16_t{0};
}

// The Unicode Standard, 3.9, table 3-7.
base::Result<char32_t> take_character(std::string_view& text) {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
    const uint8_t first = byte(0);
    const size_t length = first < 0x80   ? 1
                          : first < 0xC2 ? 0
                          : first < 0xE0 ? 2
                          : first < 0xF0 ? 3
                          : first < 0xF5 ? 4
                                         : 0;
    char32_t character = length <= 1 ? first : first & (0x7Fu >> length);
    bool good = length != 0 && !text.empty();
    for (size_t i = 1; i < length; ++i) {
        good = good && (byte(i) & 0xC0) == 0x80;
        character = character << 6 | (byte(i) & 0x3F);
    }
    good = good && (length < 3 || character >= (length == 3 ? 0x800u : 0x10000u)) && character <= 0x10FFFF &&
           (character < 0xD800 || character > 0xDFFF);
    if (!good)
        return base::fail(fmt::format("byte {:#04x} is no part of a character in UTF-8", first), 2);
    text.remove_prefix(length);
    return character;
}

std::string describe_character(char32_t character) {
    std::string text;
    if (character >= 0x20 && (character < 0x7F || character >= 0xA0)) {
        const unsigned tail = character < 0x80 ? 0 : character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
        constexpr uint8_t kMarks[] = {0, 0xC0, 0xE0, 0xF0};
        text.push_back(static_cast<char>(kMarks[tail] | character >> 6 * tail));
        for (unsigned i = tail; i-- > 0;)
            text.push_back(static_cast<char>(0x80 | (character >> 6 * i & 0x3F)));
        text = "'" + text + "' ";
    }
    return fmt::format("{}(U+{:04X})", text, static_cast<uint32_t>(character));
}

} // namespace player
