// Where the guest's window is and how large: on the screen at all, over a whole display, as large as the
// guest's picture. A screen of X11 may have no window manager, or one that is just starting and never
// answers, and its displays come, go and change their size: what SDL leaves to others or asks only once is
// done here.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

struct SDL_Window;

namespace player {

class WindowPlace {
  public:
    struct Box {
        int x = 0, y = 0, width = 0, height = 0;
        bool operator==(const Box&) const = default;
        [[nodiscard]] bool contains(int at_x, int at_y) const {
            return at_x >= x && at_y >= y && at_x < x + width && at_y < y + height;
        }
    };

    // `window` is hidden, and SDL's; it must outlive this.
    explicit WindowPlace(SDL_Window* window) : window_(window) {}

    // Puts it on the screen. Waits for a window manager, but not for ever: without an answer the window shows
    // itself.
    void show();
    // Over the whole of the display that it is on, or back to where it was.
    void set_full_screen(bool on);
    [[nodiscard]] bool full_screen() const { return full_screen_; }
    // To the display that shows this point of all displays together, in the middle of it or over the whole of
    // it.
    void move_to(int x, int y, bool full_screen);
    // As large as a picture of this size, unless that is more than the display has, and within it.
    void fit(int width, int height);
    // After displays may have changed: what was over the whole of one still is, the rest stays within one.
    void follow_displays();

    // Somebody else decides about windows (and may refuse).
    [[nodiscard]] bool managed() const;

  private:
    [[nodiscard]] std::vector<Box> displays() const;
    [[nodiscard]] Box display_at(int x, int y) const;
    [[nodiscard]] Box place() const;
    [[nodiscard]] Box usable(const Box& display) const;
    void put(const Box& box);

    SDL_Window* window_;
    bool full_screen_ = false;
    bool by_manager_ = false; // it is over the whole display because a window manager made it so
    std::optional<Box> before_full_screen_;
    int fitted_width_ = 0, fitted_height_ = 0; // the picture's
};

} // namespace player
