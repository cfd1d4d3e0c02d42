#include "kiosk/key_codes.h"

#include <linux/input-event-codes.h>
#include <utility>

namespace kiosk {
namespace {

constexpr std::pair<uint16_t, uint16_t> kOthers[] = {
    {KEY_102ND, 0x56},       {KEY_F11, 0x57},        {KEY_F12, 0x58},
    {KEY_RO, 0x73},          {KEY_HENKAN, 0x79},     {KEY_KATAKANAHIRAGANA, 0x70},
    {KEY_MUHENKAN, 0x7B},    {KEY_YEN, 0x7D},        {KEY_KPEQUAL, 0x59},
    {KEY_KPCOMMA, 0x7E},     {KEY_KPENTER, 0xE01C},  {KEY_RIGHTCTRL, 0xE01D},
    {KEY_KPSLASH, 0xE035},   {KEY_SYSRQ, 0xE037},    {KEY_RIGHTALT, 0xE038},
    {KEY_HOME, 0xE047},      {KEY_UP, 0xE048},       {KEY_PAGEUP, 0xE049},
    {KEY_LEFT, 0xE04B},      {KEY_RIGHT, 0xE04D},    {KEY_END, 0xE04F},
    {KEY_DOWN, 0xE050},      {KEY_PAGEDOWN, 0xE051}, {KEY_INSERT, 0xE052},
    {KEY_DELETE, 0xE053},    {KEY_PAUSE, 0xE11D},    {KEY_LEFTMETA, 0xE05B},
    {KEY_RIGHTMETA, 0xE05C}, {KEY_COMPOSE, 0xE05D},
};

} // namespace

uint16_t scan_code_for_x11(uint32_t key_code) {
    if (key_code < 8)
        return 0;
    const uint32_t code = key_code - 8;
    // Evdev took set 1's numbers for the keys that the first PC keyboards had.
    if (code >= KEY_ESC && code <= KEY_KPDOT)
        return static_cast<uint16_t>(code);
    for (const auto& [evdev, scan_code] : kOthers)
        if (evdev == code)
            return scan_code;
    return 0;
}

} // namespace kiosk
