#include "kiosk/guest_keys.h"

#include "kiosk/key_codes.h"
#include "player/scan_codes.h"

namespace kiosk {
namespace {

constexpr uint16_t kPrint = 0xE037, kFakeShift = 0xE02A;

} // namespace

void GuestKeys::pass_on(GuestProcess& guest, const SeatKey& key) {
    const uint16_t code = player::scan_code_with_modifiers(scan_code_for_x11(key.code), key.control, key.alt);
    if (code == 0 || (!key.down && !held_.test(code)))
        return;
    held_.set(code, key.down);
    // Print comes with a shift of its own (IBM PS/2 Technical Reference, "Keyboard", key 124).
    if (code == kPrint && key.down)
        guest.key(kFakeShift, true);
    guest.key(code, key.down);
    if (code == kPrint && !key.down)
        guest.key(kFakeShift, false);
}

void GuestKeys::release(GuestProcess& guest) {
    if (held_.none())
        return;
    for (size_t code = 0; code < held_.size(); ++code)
        if (held_.test(code))
            guest.key(static_cast<uint16_t>(code), false);
    held_.reset();
}

} // namespace kiosk
