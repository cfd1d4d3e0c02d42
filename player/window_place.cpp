#include "player/window_place.h"

#include <SDL.h>
#include <SDL_syswm.h>
#include <X11/Xlib.h>
#include <X11/extensions/Xrandr.h>
#include <algorithm>
#include <chrono>
#include <thread>

namespace player {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kMapWithin = 3s, kAskAgainAfter = 250ms;

bool on_x11(SDL_Window* window, SDL_SysWMinfo& info) {
    SDL_VERSION(&info.version)
    return SDL_GetWindowWMInfo(window, &info) == SDL_TRUE && info.subsystem == SDL_SYSWM_X11;
}

bool is_mapped(const SDL_SysWMinfo& info) {
    XWindowAttributes attributes{};
    return XGetWindowAttributes(info.info.x11.display, info.info.x11.window, &attributes) != 0 &&
           attributes.map_state != IsUnmapped;
}

} // namespace

// SDL_ShowWindow() waits for the server to say that the window is mapped, without an end: with a window
// manager that has taken over mapping but does not do it, because it is only starting, for ever.
void WindowPlace::show() {
    SDL_SysWMinfo info;
    if (on_x11(window_, info)) {
        Display* display = info.info.x11.display;
        const Window window = info.info.x11.window;
        const auto end = std::chrono::steady_clock::now() + kMapWithin;
        auto ask = std::chrono::steady_clock::time_point{};
        while (!is_mapped(info)) {
            const auto now = std::chrono::steady_clock::now();
            if (now >= end) { // Nobody is asked then (Xlib Programming Manual, "Override Redirect Flag").
                XSetWindowAttributes attributes{};
                attributes.override_redirect = True;
                XChangeWindowAttributes(display, window, CWOverrideRedirect, &attributes);
            }
            if (now >= ask) {
                XMapRaised(display, window);
                ask = now + kAskAgainAfter;
            }
            if (now >= end)
                break;
            std::this_thread::sleep_for(2ms);
        }
    }
    SDL_ShowWindow(window_);
}

bool WindowPlace::managed() const {
    SDL_SysWMinfo info;
    if (!on_x11(window_, info))
        return true;
    XWindowAttributes root{};
    XGetWindowAttributes(info.info.x11.display, DefaultRootWindow(info.info.x11.display), &root);
    return (root.all_event_masks & SubstructureRedirectMask) != 0; // ICCCM 4.3: one client can have it
}

// SDL knows the displays as they were when it started.
std::vector<WindowPlace::Box> WindowPlace::displays() const {
    std::vector<Box> found;
    SDL_SysWMinfo info;
    if (on_x11(window_, info)) {
        int count = 0;
        Display* display = info.info.x11.display;
        XRRMonitorInfo* all = XRRGetMonitors(display, DefaultRootWindow(display), True, &count);
        for (int i = 0; i < count; ++i)
            if (all[i].width > 0 && all[i].height > 0)
                found.push_back({all[i].x, all[i].y, all[i].width, all[i].height});
        if (all != nullptr)
            XRRFreeMonitors(all);
    }
    for (int i = 0; found.empty() && i < SDL_GetNumVideoDisplays(); ++i)
        if (SDL_Rect box{}; SDL_GetDisplayBounds(i, &box) == 0)
            found.push_back({box.x, box.y, box.w, box.h});
    return found;
}

// The nearest one, for a point that none shows any more.
WindowPlace::Box WindowPlace::display_at(int x, int y) const {
    Box best;
    int64_t best_distance = INT64_MAX;
    for (const Box& box : displays()) {
        const int64_t dx = x - std::clamp(x, box.x, box.x + box.width - 1),
                      dy = y - std::clamp(y, box.y, box.y + box.height - 1);
        if (dx * dx + dy * dy < best_distance) {
            best_distance = dx * dx + dy * dy;
            best = box;
        }
    }
    return best;
}

WindowPlace::Box WindowPlace::place() const {
    Box box;
    SDL_GetWindowPosition(window_, &box.x, &box.y);
    SDL_GetWindowSize(window_, &box.width, &box.height);
    return box;
}

// What panels and the window's own frame leave of a display.
WindowPlace::Box WindowPlace::usable(const Box& display) const {
    Box box = display;
    for (int i = 0; i < SDL_GetNumVideoDisplays(); ++i) {
        SDL_Rect all{}, free{};
        if (SDL_GetDisplayBounds(i, &all) == 0 && Box{all.x, all.y, all.w, all.h} == display &&
            SDL_GetDisplayUsableBounds(i, &free) == 0)
            box = {free.x, free.y, free.w, free.h};
    }
    int top = 0, left = 0, bottom = 0, right = 0;
    if (SDL_GetWindowBordersSize(window_, &top, &left, &bottom, &right) == 0)
        box = {box.x + left, box.y + top, box.width - left - right, box.height - top - bottom};
    return box;
}

void WindowPlace::put(const Box& box) {
    SDL_SetWindowSize(window_, std::max(1, box.width), std::max(1, box.height));
    SDL_SetWindowPosition(window_, box.x, box.y);
}

void WindowPlace::set_full_screen(bool on) {
    if (on == full_screen_)
        return;
    full_screen_ = on;
    if (on) {
        before_full_screen_ = place();
        by_manager_ = managed();
        if (by_manager_)
            SDL_SetWindowFullscreen(window_, SDL_WINDOW_FULLSCREEN_DESKTOP);
        else
            follow_displays();
        return;
    }
    if (std::exchange(by_manager_, false))
        SDL_SetWindowFullscreen(window_, 0);
    else if (before_full_screen_)
        put(*before_full_screen_);
}

void WindowPlace::move_to(int x, int y, bool full_screen) {
    const Box display = display_at(x, y);
    if (display.width <= 0)
        return;
    set_full_screen(false);
    const Box free = usable(display);
    // Not the size that it has now: a window manager may still be busy with the whole of the display.
    Box box = place();
    if (fitted_width_ > 0 && fitted_height_ > 0)
        box = {0, 0, fitted_width_, fitted_height_};
    const double shrink = std::min({1.0, static_cast<double>(free.width) / std::max(box.width, 1),
                                    static_cast<double>(free.height) / std::max(box.height, 1)});
    box.width = std::max(1, static_cast<int>(box.width * shrink));
    box.height = std::max(1, static_cast<int>(box.height * shrink));
    box.x = free.x + (free.width - box.width) / 2;
    box.y = free.y + (free.height - box.height) / 2;
    put(box);
    set_full_screen(full_screen);
}

void WindowPlace::fit(int width, int height) {
    fitted_width_ = width;
    fitted_height_ = height;
    if (full_screen_ || width <= 0 || height <= 0 ||
        (SDL_GetWindowFlags(window_) & SDL_WINDOW_MAXIMIZED) != 0)
        return;
    const Box was = place();
    const Box free = usable(display_at(was.x + was.width / 2, was.y + was.height / 2));
    if (free.width <= 0 || free.height <= 0)
        return;
    const double shrink =
        std::min({1.0, static_cast<double>(free.width) / width, static_cast<double>(free.height) / height});
    Box box;
    box.width = std::max(1, static_cast<int>(width * shrink));
    box.height = std::max(1, static_cast<int>(height * shrink));
    if (managed()) { // the title bar stays where the person has put it, if it can
        box.x = std::clamp(was.x, free.x, free.x + free.width - box.width);
        box.y = std::clamp(was.y, free.y, free.y + free.height - box.height);
    } else { // nobody can move it
        box.x = free.x + (free.width - box.width) / 2;
        box.y = free.y + (free.height - box.height) / 2;
    }
    if (!(box == was))
        put(box);
}

void WindowPlace::follow_displays() {
    const bool manager = managed();
    if (full_screen_ && manager != by_manager_) { // one has come or gone
        by_manager_ = manager;
        SDL_SetWindowFullscreen(window_, manager ? SDL_WINDOW_FULLSCREEN_DESKTOP : 0);
    }
    if (manager)
        return; // who moves and resizes windows then
    const Box was = place();
    const Box display = display_at(was.x + was.width / 2, was.y + was.height / 2);
    if (display.width <= 0)
        return;
    if (full_screen_) {
        if (!(was == display))
            put(display);
        return;
    }
    const bool within = was.x >= display.x && was.y >= display.y &&
                        was.x + was.width <= display.x + display.width &&
                        was.y + was.height <= display.y + display.height;
    if (!within)
        fit(fitted_width_, fitted_height_);
}

} // namespace player
