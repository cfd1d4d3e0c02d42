// Keys by name and by character, as scripts and the command line write them, as PS/2 set 1 scan codes
// (IBM PS/2 Hardware Interface Technical Reference, "Keyboard"; vmm::KeyEvent's encoding).
#pragma once
#include "player/keyboard_layout.h"

#include <optional>

namespace player {

// "a", "ü", "f10", "enter", "ctrl", "left": the key's scan code. A character is the key it is printed on, to
// be typed without Shift.
[[nodiscard]] std::optional<uint16_t> key_by_name(std::string_view name, const KeyboardLayout& layout);

// "ctrl-alt-delete": the keys in the order they go down. The key "-" is called "minus".
base::Result<Chord> parse_chord(std::string_view chord, const KeyboardLayout& layout);

// The keys that type a text in UTF-8: for each character one chord, or more where it takes a dead key.
base::Result<std::vector<Chord>> keys_for_text(std::string_view text, const KeyboardLayout& layout);

} // namespace player
