// Puts an SDL window inside another program's X11 window, so that a shell can keep its own controls around
// the guest while the guest stays a process of its own. Apart from display.cpp because Xlib's macros are.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>

struct SDL_Window;

namespace player {

class WindowEmbedding {
  public:
    // `window` must be hidden; it is moved into `parent`, fills it and is shown. Errors: not on X11, or there
    // is no such window.
    base::Result<void> open(SDL_Window* window, uint64_t parent);
    // Gives the window its parent's size again. False: the parent is gone, and the window with it.
    bool follow();

  private:
    SDL_Window* window_ = nullptr;
    uint64_t parent_ = 0;
};

} // namespace player
