#include "player/guest_input.h"

#include "player/scan_codes.h"

#include <algorithm>
#include <cmath>

namespace player {
namespace {

using namespace std::chrono_literals;

constexpr auto kMotionInterval = 8ms; // mice report far more often than guests look
constexpr auto kPointerCheckInterval = 250ms;
constexpr uint16_t kPrint = 0xE037, kFakeShift = 0xE02A;
constexpr uint8_t kLeft = 1, kRight = 2, kMiddle = 4;
// A finger that is up again this soon, and has hardly moved, has tapped.
constexpr auto kTapWithin = 300ms;
constexpr float kTapSlop = 12;
constexpr auto kLookAway = 50ms; // between two looks no more than this counts
constexpr auto kFingerLost = 3s; // its end was told to another window: the next finger counts

uint8_t button_bit(uint8_t sdl_button) {
    switch (sdl_button) {
    case SDL_BUTTON_LEFT:
        return kLeft;
    case SDL_BUTTON_RIGHT:
        return kRight;
    case SDL_BUTTON_MIDDLE:
        return kMiddle;
    default:
        return 0;
    }
}

} // namespace

void GuestInput::take(const SDL_Event& event) {
    if (event.type >= SDL_KEYDOWN && event.type <= SDL_FINGERMOTION) // keys, mouse, pads, touch
        session_.note_activity();
    switch (event.type) {
    case SDL_KEYDOWN:
    case SDL_KEYUP:
        take_key(event.key);
        break;
    case SDL_MOUSEMOTION:
        mouse_x_ = event.motion.x;
        mouse_y_ = event.motion.y;
        dx_ += event.motion.xrel;
        dy_ += event.motion.yrel;
        moved_ = true;
        break;
    case SDL_MOUSEBUTTONDOWN:
    case SDL_MOUSEBUTTONUP:
        take_button(event.button);
        break;
    case SDL_MOUSEWHEEL:
        send_motion();
        if (takes_pointer())
            send_pointer(event.wheel.direction == SDL_MOUSEWHEEL_FLIPPED ? event.wheel.y : -event.wheel.y);
        break;
    case SDL_FINGERDOWN:
    case SDL_FINGERUP:
    case SDL_FINGERMOTION:
        take_finger(event.tfinger);
        break;
    default:
        break;
    }
}

// What a person's fingers do is timed by how long this looked on. On a busy computer the whole of a tap may
// have happened while it did not.
void GuestInput::look() {
    const auto now = Clock::now();
    attention_ += std::min<Clock::duration>(now - std::exchange(looked_at_, now), kLookAway);
}

void GuestInput::tick() {
    look();
    const auto now = Clock::now();
    if (now - motion_sent_ >= kMotionInterval)
        send_motion();
    if (now - pointer_checked_ >= kPointerCheckInterval)
        check_pointer();
}

void GuestInput::check_pointer() {
    pointer_checked_ = Clock::now();
    const bool before = std::exchange(absolute_, session_.machine()->pointer_is_absolute());
    if (absolute_ && grabbed_)
        set_grab(false);
    if (absolute_ != before) // the guest draws its own
        SDL_ShowCursor(absolute_ || pointer_ == Pointer::StaysFree ? SDL_DISABLE : SDL_ENABLE);
}

// ------------------------------------------------------------------------------------------------ keyboard

void GuestInput::send_key(SDL_Scancode scan_code, uint16_t modifiers, bool pressed) {
    const uint16_t code = scan_code_with_modifiers(scan_code_for_usage(scan_code),
                                                   (modifiers & KMOD_CTRL) != 0, (modifiers & KMOD_ALT) != 0);
    if (code == 0)
        return;
    held_.set(scan_code, pressed);
    const auto machine = session_.machine();
    // Print comes with a shift of its own (IBM PS/2 Technical Reference, "Keyboard", key 124).
    if (code == kPrint && pressed)
        machine->key({kFakeShift, true});
    machine->key({code, pressed});
    if (code == kPrint && !pressed)
        machine->key({kFakeShift, false});
}

void GuestInput::release_keys() {
    for (size_t i = 0; i < held_.size(); ++i)
        if (held_.test(i))
            send_key(static_cast<SDL_Scancode>(i), 0, false);
}

void GuestInput::take_key(const SDL_KeyboardEvent& event) {
    const SDL_Scancode code = event.keysym.scancode;
    if (code >= held_.size())
        return;
    if (event.type == SDL_KEYDOWN) {
        if (event.repeat == 0 ? on_chord(event.keysym) : !held_.test(code))
            return; // also the repeats of a key the guest was never told about
        send_key(code, event.keysym.mod, true);
    } else if (held_.test(code)) {
        send_key(code, event.keysym.mod, false);
    }
}

void GuestInput::set_full_screen(bool on) {
    full_screen_ = on;
    SDL_SetWindowKeyboardGrab(window_, on || grabbed_ ? SDL_TRUE : SDL_FALSE);
}

// ------------------------------------------------------------------------------------------------ mouse

void GuestInput::set_grab(bool grab) {
    if (grab == grabbed_)
        return;
    grabbed_ = grab;
    SDL_SetRelativeMouseMode(grab ? SDL_TRUE : SDL_FALSE);
    SDL_SetWindowKeyboardGrab(window_, grab || full_screen_ ? SDL_TRUE : SDL_FALSE);
    dx_ = dy_ = 0;
}

void GuestInput::toggle_grab() {
    if (!absolute_)
        set_grab(!grabbed_);
}

void GuestInput::send_pointer(int32_t wheel) {
    vmm::PointerEvent event;
    event.absolute = absolute_;
    event.buttons = buttons_;
    event.wheel = wheel;
    if (absolute_) {
        int points_w = 0, points_h = 0, pixels_w = 0, pixels_h = 0;
        SDL_GetWindowSize(window_, &points_w, &points_h);
        SDL_GetRendererOutputSize(renderer_, &pixels_w, &pixels_h);
        const SDL_FRect area = picture_area();
        const auto scale = [](int at, int points, int pixels, float from, float size) {
            const double pixel = at * static_cast<double>(pixels) / std::max(points, 1);
            return static_cast<int32_t>(std::clamp((pixel - from) / std::max(size - 1, 1.0f), 0.0, 1.0) *
                                        65535);
        };
        event.x = scale(mouse_x_, points_w, pixels_w, area.x, area.w);
        event.y = scale(mouse_y_, points_h, pixels_h, area.y, area.h);
    } else {
        event.x = std::exchange(dx_, 0);
        event.y = std::exchange(dy_, 0);
    }
    session_.machine()->pointer(event);
}

void GuestInput::send_motion() {
    if (!std::exchange(moved_, false))
        return;
    motion_sent_ = Clock::now();
    if (std::exchange(by_finger_, false) || takes_pointer())
        send_pointer(0);
    dx_ = dy_ = 0;
}

void GuestInput::press(uint8_t bit, bool pressed) {
    send_motion();
    buttons_ = static_cast<uint8_t>(pressed ? buttons_ | bit : buttons_ & ~bit);
    send_pointer(0);
}

void GuestInput::take_button(const SDL_MouseButtonEvent& event) {
    mouse_x_ = grabbed_ ? mouse_x_ : event.x;
    mouse_y_ = grabbed_ ? mouse_y_ : event.y;
    const bool pressed = event.type == SDL_MOUSEBUTTONDOWN;
    if (pressed)
        check_pointer();
    if (takes_pointer())
        press(button_bit(event.button), pressed);
    else if (pressed) // the click that gives the mouse to the guest is not the guest's
        set_grab(true);
}

// ------------------------------------------------------------------------------------------------ fingers

// A guest whose pointer can be put somewhere has it, pressed, below the finger. One that takes movement only
// gets what a touchpad would give it: sliding moves, a tap clicks, a tap followed by a slide drags.
void GuestInput::take_finger(const SDL_TouchFingerEvent& event) {
    if (SDL_GetTouchDeviceType(event.touchId) != SDL_TOUCH_DEVICE_DIRECT)
        return; // a touchpad moves the mouse already
    const bool begins = event.type == SDL_FINGERDOWN, ends = event.type == SDL_FINGERUP;
    look();
    const auto now = attention_;
    if (begins && finger_ && now - finger_seen_ > kFingerLost) {
        finger_.reset();
        press(kLeft, false);
    }
    if (begins && !finger_) {
        check_pointer();
        finger_ = event.fingerId;
        finger_down_ = now;
        slid_ = rest_x_ = rest_y_ = 0;
    }
    if (finger_ != event.fingerId)
        return;
    finger_seen_ = now;
    if (ends)
        finger_.reset();
    if (absolute_) {
        int width = 0, height = 0;
        SDL_GetWindowSize(window_, &width, &height);
        mouse_x_ = static_cast<int>(std::lround(event.x * static_cast<float>(width - 1)));
        mouse_y_ = static_cast<int>(std::lround(event.y * static_cast<float>(height - 1)));
        moved_ = true;
        if (begins || ends)
            press(kLeft, begins);
        return;
    }
    if (begins) {
        if (now - tapped_ < kTapWithin)
            press(kLeft, true);
    } else if (!ends) {
        slide(event);
    } else if ((buttons_ & kLeft) != 0) {
        press(kLeft, false);
    } else if (now - finger_down_ < kTapWithin && slid_ < kTapSlop) {
        press(kLeft, true);
        press(kLeft, false);
        tapped_ = now;
    }
}

// As far in the guest's picture as on the glass.
void GuestInput::slide(const SDL_TouchFingerEvent& event) {
    int points_w = 0, points_h = 0, pixels_w = 0, pixels_h = 0;
    SDL_GetWindowSize(window_, &points_w, &points_h);
    SDL_GetRendererOutputSize(renderer_, &pixels_w, &pixels_h);
    const float x = event.dx * static_cast<float>(points_w), y = event.dy * static_cast<float>(points_h);
    slid_ += std::abs(x) + std::abs(y);
    const SDL_FRect area = picture_area();
    const SDL_Point size = picture_size();
    const auto scale = [](int dots, float shown, int pixels, int points) {
        return shown < 1 ? 1
                         : static_cast<float>(dots) / shown * static_cast<float>(pixels) /
                               static_cast<float>(std::max(points, 1));
    };
    rest_x_ += x * scale(size.x, area.w, pixels_w, points_w);
    rest_y_ += y * scale(size.y, area.h, pixels_h, points_h);
    const auto whole_x = static_cast<int32_t>(rest_x_), whole_y = static_cast<int32_t>(rest_y_);
    rest_x_ -= static_cast<float>(whole_x);
    rest_y_ -= static_cast<float>(whole_y);
    dx_ += whole_x;
    dy_ += whole_y;
    moved_ = true;
    by_finger_ = true;
}

} // namespace player
