// The person's keyboard, mouse and fingers, as the guest's keyboard and mouse. Belongs to the display's
// thread.
#pragma once
#include "player/session.h"

#include <SDL.h>
#include <bitset>
#include <chrono>
#include <functional>
#include <optional>

namespace player {

class GuestInput {
  public:
    // Inside a shell the pointer is never captured: its controls have to stay in reach.
    enum class Pointer : uint8_t { MayBeCaptured, StaysFree };
    GuestInput(Session& session, SDL_Window* window, SDL_Renderer* renderer, Pointer pointer)
        : session_(session), window_(window), renderer_(renderer), pointer_(pointer) {}

    // The keys that are the player's own: true if it was one.
    std::function<bool(const SDL_Keysym& key)> on_chord;
    // Where the guest's picture is, in the renderer's pixels.
    std::function<SDL_FRect()> picture_area;
    // The size of that picture in the guest's.
    std::function<SDL_Point()> picture_size;

    void take(const SDL_Event& event);
    void tick(); // sends what was held back; looks which kind of pointer the guest has

    void release_keys();
    void toggle_grab(); // for guests that take movement only
    void set_grab(bool grab);
    [[nodiscard]] bool grabbed() const { return grabbed_; }
    // Over the whole screen the desktop's own shortcuts belong to the guest too.
    void set_full_screen(bool on);

  private:
    using Clock = std::chrono::steady_clock;

    void take_key(const SDL_KeyboardEvent& event);
    void send_key(SDL_Scancode scan_code, uint16_t modifiers, bool pressed);
    void take_button(const SDL_MouseButtonEvent& event);
    void look();
    void take_finger(const SDL_TouchFingerEvent& event);
    void slide(const SDL_TouchFingerEvent& event);
    void press(uint8_t bit, bool pressed);
    void send_motion();
    void check_pointer();
    void send_pointer(int32_t wheel);
    [[nodiscard]] bool takes_pointer() const {
        return absolute_ || grabbed_ || pointer_ == Pointer::StaysFree;
    }

    Session& session_;
    SDL_Window* window_;
    SDL_Renderer* renderer_;
    Pointer pointer_;
    std::bitset<SDL_NUM_SCANCODES> held_; // keys the guest believes are down
    bool absolute_ = false, grabbed_ = false, full_screen_ = false;
    Clock::time_point pointer_checked_{}, motion_sent_{};
    uint8_t buttons_ = 0;
    int32_t dx_ = 0, dy_ = 0; // movement not yet sent
    int mouse_x_ = 0, mouse_y_ = 0;
    bool moved_ = false, by_finger_ = false;

    // The finger that counts: others beside it do nothing.
    std::optional<SDL_FingerID> finger_;
    Clock::time_point looked_at_ = Clock::now();
    Clock::duration finger_down_{}, finger_seen_{}, tapped_{-std::chrono::hours(1)}; // of attention_
    Clock::duration attention_{};
    float slid_ = 0, rest_x_ = 0, rest_y_ = 0; // points; parts of the guest's pixels not sent yet
};

} // namespace player
