// From the key codes of an X server on Linux to those of a PS/2 keyboard.
#pragma once
#include <cstdint>

namespace kiosk {

// X11's codes are evdev's (linux/input-event-codes.h) plus 8. The result is a set 1 scan code as in
// vmm::KeyEvent; 0: a PS/2 keyboard has no such key.
[[nodiscard]] uint16_t scan_code_for_x11(uint32_t key_code);

} // namespace kiosk
