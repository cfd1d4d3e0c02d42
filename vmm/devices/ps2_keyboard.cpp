#include "vmm/devices/ps2_keyboard.h"

#include <array>

namespace vmm {
namespace {

constexpr uint8_t kSetLeds = 0xED, kEcho = 0xEE, kScanCodeSet = 0xF0, kIdentify = 0xF2, kTypematic = 0xF3,
                  kEnable = 0xF4, kDefaultDisable = 0xF5, kSetDefault = 0xF6, kAllKeysFirst = 0xF7,
                  kKeyTypeFirst = 0xFB, kKeyTypeLast = 0xFD, kResend = 0xFE, kReset = 0xFF;
constexpr uint8_t kAck = 0xFA, kTestPassed = 0xAA;
constexpr uint8_t kBreak = 0xF0, kExtended = 0xE0, kExtended1 = 0xE1;
constexpr uint16_t kPause = 0xE11D;

// Set 2 to set 1, as every 8042 has it in ROM (IBM PS/2 Technical Reference, "Keyboard controller").
constexpr std::array<uint8_t, 128> kSet1OfSet2 = {
    0xFF, 0x43, 0x41, 0x3F, 0x3D, 0x3B, 0x3C, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3E, 0x0F, 0x29, 0x59, // 00
    0x65, 0x38, 0x2A, 0x70, 0x1D, 0x10, 0x02, 0x5A, 0x66, 0x71, 0x2C, 0x1F, 0x1E, 0x11, 0x03, 0x5B, // 10
    0x67, 0x2E, 0x2D, 0x20, 0x12, 0x05, 0x04, 0x5C, 0x68, 0x39, 0x2F, 0x21, 0x14, 0x13, 0x06, 0x5D, // 20
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5E, 0x6A, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5F, // 30
    0x6B, 0x33, 0x25, 0x17, 0x18, 0x0B, 0x0A, 0x60, 0x6C, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0C, 0x61, // 40
    0x6D, 0x73, 0x28, 0x74, 0x1A, 0x0D, 0x62, 0x6E, 0x3A, 0x36, 0x1C, 0x1B, 0x75, 0x2B, 0x63, 0x76, // 50
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7A, 0x0E, 0x7B, 0x7C, 0x4F, 0x7D, 0x4B, 0x47, 0x7E, 0x7F, 0x6F, // 60
    0x52, 0x53, 0x50, 0x4C, 0x4D, 0x48, 0x01, 0x45, 0x57, 0x4E, 0x51, 0x4A, 0x37, 0x49, 0x46, 0x54, // 70
};
// The two codes above 7Fh that translate.
constexpr uint8_t kF7 = 0x83, kF7Set1 = 0x41, kSysRq = 0x84, kSysRqSet1 = 0x54;

constexpr std::array<uint8_t, 128> invert() {
    std::array<uint8_t, 128> set2{};
    for (unsigned code = 127; code > 0; --code)
        set2[kSet1OfSet2[code] & 0x7F] = static_cast<uint8_t>(code);
    set2[kF7Set1] = kF7;
    set2[kSysRqSet1] = kSysRq;
    return set2;
}
constexpr std::array<uint8_t, 128> kSet2OfSet1 = invert();
static_assert(kSet2OfSet1[0x01] == 0x76 && kSet2OfSet1[0x1E] == 0x1C && kSet2OfSet1[0x41] == 0x83);

} // namespace

uint8_t Ps2Keyboard::set2_to_set1(uint8_t code) {
    if (code < kSet1OfSet2.size())
        return kSet1OfSet2[code];
    return code == kF7 ? kF7Set1 : code == kSysRq ? kSysRqSet1 : code;
}

void Ps2Keyboard::set_defaults() {
    scan_set_ = 2;
    leds_ = 0;
    expects_parameter_ = 0;
}

void Ps2Keyboard::reset() {
    set_defaults();
    scanning_ = 1;
    output_.clear();
}

void Ps2Keyboard::command(uint8_t byte) {
    if (expects_parameter_ != 0 && byte < kSetLeds) {
        parameter(byte);
        return;
    }
    expects_parameter_ = 0; // a command in place of a parameter cancels the first
    switch (byte) {
    case kSetLeds:
    case kScanCodeSet:
    case kTypematic:
        expects_parameter_ = byte;
        output_.answer({kAck});
        break;
    case kEcho:
        output_.answer({kEcho});
        break;
    case kIdentify:
        output_.answer({kAck, 0xAB, 0x83});
        break; // MF2 keyboard
    case kEnable:
        output_.clear_reports();
        scanning_ = 1;
        output_.answer({kAck});
        break;
    case kDefaultDisable:
    case kSetDefault:
        output_.clear_reports();
        set_defaults();
        scanning_ = byte == kSetDefault;
        output_.answer({kAck});
        break;
    case kResend:
        output_.answer({output_.last()});
        break;
    case kReset:
        reset();
        output_.answer({kAck, kTestPassed});
        break;
    default:
        if (byte >= kKeyTypeFirst && byte <= kKeyTypeLast)
            expects_parameter_ = byte; // key numbers follow; they matter in set 3 only
        // F7h-FAh set typematic and make/break for all keys, in set 3 only.
        output_.answer({byte >= kAllKeysFirst ? kAck : kResend});
    }
}

void Ps2Keyboard::parameter(uint8_t byte) {
    const uint8_t command = expects_parameter_;
    const bool more = command >= kKeyTypeFirst && command <= kKeyTypeLast;
    if (!more)
        expects_parameter_ = 0;
    if (command == kSetLeds) {
        leds_ = byte & 7;
    } else if (command == kScanCodeSet) {
        if (byte > 2) { // no set 3 on this keyboard, as on many real ones
            output_.answer({kResend});
            return;
        }
        if (byte == 0) {
            output_.answer({kAck, scan_set_});
            return;
        }
        scan_set_ = byte;
    }
    output_.answer({kAck});
}

void Ps2Keyboard::key(const KeyEvent& event) {
    if (scanning_ == 0)
        return;
    if (scan_set_ == 1)
        send_set1(event.scan_code, event.pressed);
    else
        send_set2(event.scan_code, event.pressed);
}

void Ps2Keyboard::send_set1(uint16_t code, bool pressed) {
    const auto low = static_cast<uint8_t>((code & 0x7F) | (pressed ? 0 : 0x80));
    if (code == kPause) {
        if (pressed) // Pause has no break code: it sends both at once
            output_.report({kExtended1, 0x1D, 0x45, kExtended1, 0x9D, 0xC5});
    } else if (code >> 8 == kExtended) {
        output_.report({kExtended, low});
    } else if (code >> 8 == 0 && code != 0) {
        output_.report({low});
    }
}

void Ps2Keyboard::send_set2(uint16_t code, bool pressed) {
    const uint8_t set2 = kSet2OfSet1[code & 0x7F];
    if (code == kPause) {
        if (pressed)
            output_.report({kExtended1, 0x14, 0x77, kExtended1, kBreak, 0x14, kBreak, 0x77});
    } else if (set2 == 0) {
        return;
    } else if (code >> 8 == kExtended) {
        if (pressed)
            output_.report({kExtended, set2});
        else
            output_.report({kExtended, kBreak, set2});
    } else if (code >> 8 == 0) {
        if (pressed)
            output_.report({set2});
        else
            output_.report({kBreak, set2});
    }
}

void Ps2Keyboard::serialize(base::StateArchive& archive) {
    output_.serialize(archive, "keyboard.output.");
    archive.field("keyboard.scan_set", scan_set_);
    archive.field("keyboard.scanning", scanning_);
    archive.field("keyboard.expects_parameter", expects_parameter_);
    archive.field("keyboard.leds", leds_);
    if (scan_set_ != 1)
        scan_set_ = 2;
}

} // namespace vmm
