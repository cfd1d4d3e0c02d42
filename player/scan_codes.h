// From USB HID usages (HID Usage Tables 1.12, page 07h; SDL's scan codes are the same numbers) to PS/2 set 1
// codes, after Microsoft's "USB HID to PS/2 Scan Code Translation Table".
#pragma once
#include <cstdint>

namespace player {

// 0: no such key on a PS/2 keyboard. Codes as in vmm::KeyEvent.
[[nodiscard]] uint16_t scan_code_for_usage(uint32_t usage);

// Ctrl+Pause and Alt+Print are keys of their own on a PS/2 keyboard (Break, SysRq).
[[nodiscard]] uint16_t scan_code_with_modifiers(uint16_t code, bool ctrl, bool alt);

} // namespace player
