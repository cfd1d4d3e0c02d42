// Keys by name and by character, as scripts and the command line write them, as PS/2 set 1 scan codes
// (IBM PS/2 Hardware Interface Technical Reference, "Keyboard"; vmm::KeyEvent's encoding). US layout.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace player {

// "a", "f10", "enter", "ctrl", "left": the key's scan code.
[[nodiscard]] std::optional<uint16_t> key_by_name(std::string_view name);

// "ctrl-alt-delete": the keys in the order they go down. The key "-" is called "minus".
base::Result<std::vector<uint16_t>> parse_chord(std::string_view chord);

// The keys that type a text: for each character one chord.
base::Result<std::vector<std::vector<uint16_t>>> keys_for_text(std::string_view text);

} // namespace player
