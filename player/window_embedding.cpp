#include "player/window_embedding.h"

#include <SDL.h>
#include <SDL_syswm.h>
#include <X11/Xlib.h>
#include <fmt/format.h>

namespace player {
namespace {

// The parent belongs to another process and may go at any moment; Xlib's own handler would end this one.
int ignore_error(Display* /*display*/, XErrorEvent* /*event*/) { return 0; }

bool on_x11(SDL_Window* window, SDL_SysWMinfo& info) {
    SDL_VERSION(&info.version)
    return SDL_GetWindowWMInfo(window, &info) == SDL_TRUE && info.subsystem == SDL_SYSWM_X11;
}

} // namespace

base::Result<void> WindowEmbedding::open(SDL_Window* window, uint64_t parent) {
    SDL_SysWMinfo info;
    if (!on_x11(window, info))
        return base::fail("--embed takes a window of an X11 display, and this is another kind");
    XSetErrorHandler(ignore_error);
    window_ = window;
    parent_ = parent;
    XReparentWindow(info.info.x11.display, info.info.x11.window, parent, 0, 0);
    if (!follow())
        return base::fail(fmt::format("there is no window {} to be embedded in", parent));
    SDL_ShowWindow(window);
    return {};
}

bool WindowEmbedding::follow() {
    SDL_SysWMinfo info;
    XWindowAttributes outer{}, inner{};
    if (!on_x11(window_, info) ||
        XGetWindowAttributes(info.info.x11.display, static_cast<Window>(parent_), &outer) == 0 ||
        XGetWindowAttributes(info.info.x11.display, info.info.x11.window, &inner) == 0)
        return false;
    if (outer.width != inner.width || outer.height != inner.height)
        SDL_SetWindowSize(window_, outer.width, outer.height);
    if (inner.x != 0 || inner.y != 0)
        XMoveWindow(info.info.x11.display, info.info.x11.window, 0, 0);
    return true;
}

} // namespace player
