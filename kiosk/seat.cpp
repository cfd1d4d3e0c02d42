#include "kiosk/seat.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <gdk/gdkkeysyms.h>
#include <gdk/gdkx.h>
#include <gtk/gtk.h>
#include <wx/image.h>
// Last: their macros are everywhere.
#include <X11/extensions/sync.h>

namespace kiosk {
namespace {

constexpr int kDenseFrom = 1800; // rows of pixels on which one size would be too small to touch

Display* x_display() { return GDK_DISPLAY_XDISPLAY(gdk_display_get_default()); }
GdkWindow* gdk_window(wxFrame& frame) { return gtk_widget_get_window(frame.GetHandle()); }

int function_key(guint symbol) {
    switch (symbol) {
    case GDK_KEY_Return:
        return WXK_RETURN;
    case GDK_KEY_KP_Enter:
        return WXK_NUMPAD_ENTER;
    case GDK_KEY_Escape:
        return WXK_ESCAPE;
    case GDK_KEY_BackSpace:
        return WXK_BACK;
    case GDK_KEY_Tab:
    case GDK_KEY_ISO_Left_Tab:
        return WXK_TAB;
    case GDK_KEY_space:
        return WXK_SPACE;
    case GDK_KEY_Left:
    case GDK_KEY_KP_Left:
        return WXK_LEFT;
    case GDK_KEY_Right:
    case GDK_KEY_KP_Right:
        return WXK_RIGHT;
    case GDK_KEY_Up:
    case GDK_KEY_KP_Up:
        return WXK_UP;
    case GDK_KEY_Down:
    case GDK_KEY_KP_Down:
        return WXK_DOWN;
    case GDK_KEY_Home:
    case GDK_KEY_KP_Home:
        return WXK_HOME;
    case GDK_KEY_End:
    case GDK_KEY_KP_End:
        return WXK_END;
    case GDK_KEY_Page_Up:
    case GDK_KEY_KP_Page_Up:
        return WXK_PAGEUP;
    case GDK_KEY_Page_Down:
    case GDK_KEY_KP_Page_Down:
        return WXK_PAGEDOWN;
    default:
        return 0;
    }
}

char us_letter(uint32_t code) {
    static constexpr std::pair<uint32_t, const char*> kRows[] = {
        {24, "qwertyuiop"}, {38, "asdfghjkl"}, {52, "zxcvbnm"}};
    for (const auto& [first, letters] : kRows)
        if (code >= first && code < first + std::strlen(letters))
            return letters[code - first];
    return 0;
}

gboolean any_event(GtkWidget* /*widget*/, GdkEvent* any, gpointer data) {
    if (any->type != GDK_KEY_PRESS && any->type != GDK_KEY_RELEASE)
        return FALSE;
    const GdkEventKey* event = &any->key;
    SeatKey key;
    key.code = event->hardware_keycode;
    key.key = function_key(event->keyval);
    key.character = static_cast<wchar_t>(gdk_keyval_to_unicode(event->keyval));
    key.down = event->type == GDK_KEY_PRESS;
    key.control = (event->state & GDK_CONTROL_MASK) != 0;
    key.alt = (event->state & GDK_MOD1_MASK) != 0;
    key.shift = (event->state & GDK_SHIFT_MASK) != 0;
    key.super =
        event->keyval == GDK_KEY_Super_L || event->keyval == GDK_KEY_Super_R || event->keyval == GDK_KEY_Menu;
    key.letter = us_letter(key.code);
    return (*static_cast<std::function<bool(const SeatKey&)>*>(data))(key) ? TRUE : FALSE;
}

} // namespace

void watch_keys(wxFrame& frame, std::function<bool(const SeatKey&)> take) {
    auto* kept = new std::function<bool(const SeatKey&)>(std::move(take));
    const auto drop = [](gpointer data, GClosure*) {
        delete static_cast<std::function<bool(const SeatKey&)>*>(data);
    };
    // "event" comes before the signals of each kind, which the toolkit has connected to already.
    g_signal_connect_data(frame.GetHandle(), "event", G_CALLBACK(any_event), kept, drop, GConnectFlags(0));
}

bool display_there() {
    Display* display = XOpenDisplay(nullptr);
    if (display != nullptr)
        XCloseDisplay(display);
    return display != nullptr;
}

wxRect screen_rect() {
    GdkDisplay* display = gdk_display_get_default();
    GdkMonitor* monitor = gdk_display_get_primary_monitor(display);
    if (monitor == nullptr)
        monitor = gdk_display_get_monitor(display, 0);
    GdkRectangle box{};
    gdk_monitor_get_geometry(monitor, &box);
    return {box.x, box.y, box.width, box.height};
}

void choose_scale() {
    // A desktop's settings daemon owns this selection (XSETTINGS 0.5) and knows better.
    const Atom settings = XInternAtom(x_display(), "_XSETTINGS_S0", False);
    if (std::getenv("GDK_SCALE") != nullptr || XGetSelectionOwner(x_display(), settings) != None)
        return;
    const wxRect screen = screen_rect();
    if (std::min(screen.width, screen.height) >= kDenseFrom)
        gdk_x11_display_set_window_scale(gdk_display_get_default(), 2);
}

namespace {

wxPoint middle_of(GdkMonitor* monitor) {
    GdkRectangle box{};
    gdk_monitor_get_geometry(monitor, &box);
    const int scale = gdk_monitor_get_scale_factor(monitor);
    return {(box.x + box.width / 2) * scale, (box.y + box.height / 2) * scale};
}

} // namespace

wxPoint own_display(wxFrame& frame) {
    GdkDisplay* display = gdk_display_get_default();
    GdkWindow* window = gdk_window(frame);
    return middle_of(window != nullptr ? gdk_display_get_monitor_at_window(display, window)
                                       : gdk_display_get_monitor(display, 0));
}

std::optional<wxPoint> other_display(wxFrame& frame) {
    GdkDisplay* display = gdk_display_get_default();
    GdkWindow* window = gdk_window(frame);
    if (window == nullptr)
        return {};
    GdkRectangle here{};
    gdk_monitor_get_geometry(gdk_display_get_monitor_at_window(display, window), &here);
    for (int i = 0; i < gdk_display_get_n_monitors(display); ++i) {
        GdkMonitor* monitor = gdk_display_get_monitor(display, i);
        GdkRectangle box{};
        gdk_monitor_get_geometry(monitor, &box);
        if (gdk_rectangle_intersect(&here, &box, nullptr) != FALSE)
            continue; // it mirrors this one
        return middle_of(monitor);
    }
    return {};
}

// The X server's own count (X Synchronization Extension, "System Counters"): unlike MIT-SCREEN-SAVER,
// Xwayland has it too.
std::chrono::milliseconds seat_idle() {
    static const XSyncCounter counter = [] {
        int event = 0, error = 0, major = 0, minor = 0, count = 0;
        if (XSyncQueryExtension(x_display(), &event, &error) == 0 ||
            XSyncInitialize(x_display(), &major, &minor) == 0)
            return XSyncCounter{None};
        XSyncCounter found = None;
        XSyncSystemCounter* all = XSyncListSystemCounters(x_display(), &count);
        for (int i = 0; i < count; ++i)
            if (std::strcmp(all[i].name, "IDLETIME") == 0)
                found = all[i].counter;
        XSyncFreeSystemCounterList(all);
        return found;
    }();
    XSyncValue value;
    if (counter == None || XSyncQueryCounter(x_display(), counter, &value) == 0)
        return {};
    return std::chrono::milliseconds((int64_t{XSyncValueHigh32(value)} << 32) | XSyncValueLow32(value));
}

bool on_wayland() {
    const char* display = std::getenv("WAYLAND_DISPLAY");
    return display != nullptr && *display != 0;
}

void take_window_from_manager(wxFrame& frame) {
    gtk_widget_realize(frame.GetHandle());
    gdk_window_set_override_redirect(gdk_window(frame), TRUE);
}

bool hold_keyboard(wxFrame& frame) {
    GdkWindow* window = gdk_window(frame);
    if (window == nullptr || gdk_window_is_visible(window) == 0)
        return false;
    GdkSeat* seat = gdk_display_get_default_seat(gdk_display_get_default());
    // A grab that is held already is only confirmed.
    const bool held = gdk_seat_grab(seat, window, GDK_SEAT_CAPABILITY_KEYBOARD, TRUE, nullptr, nullptr,
                                    nullptr, nullptr) == GDK_GRAB_SUCCESS;
    // Without a window manager nobody else gives the focus.
    XSetInputFocus(x_display(), GDK_WINDOW_XID(window), RevertToPointerRoot, CurrentTime);
    return held;
}

void release_keyboard(wxFrame&) { gdk_seat_ungrab(gdk_display_get_default_seat(gdk_display_get_default())); }

void keep_on_top(wxFrame& frame) {
    if (GdkWindow* window = gdk_window(frame))
        gdk_window_raise(window);
}

wxBitmap snapshot(wxFrame& frame) {
    GdkWindow* window = gdk_window(frame);
    if (window == nullptr)
        return {};
    int x = 0, y = 0;
    gdk_window_get_origin(window, &x, &y);
    const int window_width = gdk_window_get_width(window), window_height = gdk_window_get_height(window);
    // The guest's window lies in it, and is another process's. Wayland's root window shows nothing.
    GdkPixbuf* pixels = on_wayland() ? gdk_pixbuf_get_from_window(window, 0, 0, window_width, window_height)
                                     : gdk_pixbuf_get_from_window(gdk_get_default_root_window(), x, y,
                                                                  window_width, window_height);
    if (pixels == nullptr)
        return {};
    const int width = gdk_pixbuf_get_width(pixels), height = gdk_pixbuf_get_height(pixels);
    const int stride = gdk_pixbuf_get_rowstride(pixels), channels = gdk_pixbuf_get_n_channels(pixels);
    wxImage image(width, height, false);
    const guchar* from = gdk_pixbuf_read_pixels(pixels);
    unsigned char* to = image.GetData();
    for (int row = 0; row < height; ++row)
        for (int column = 0; column < width; ++column)
            for (int part = 0; part < 3; ++part)
                *to++ = from[row * stride + column * channels + part];
    g_object_unref(pixels);
    return wxBitmap(image);
}

GuestHole::GuestHole(wxFrame& frame) : frame_(frame) {
    Display* display = x_display();
    window_ = XCreateSimpleWindow(display, GDK_WINDOW_XID(gdk_window(frame)), 0, 0, 16, 16, 0, 0, 0);
    XSync(display, False); // the guest's process has to find it
}

GuestHole::~GuestHole() {
    XDestroyWindow(x_display(), window_);
    XFlush(x_display());
}

void GuestHole::place(const wxRect& box) {
    if (box == box_ || box.width <= 0 || box.height <= 0)
        return;
    box_ = box;
    const int scale = gdk_window_get_scale_factor(gdk_window(frame_));
    XMoveResizeWindow(x_display(), window_, box.x * scale, box.y * scale,
                      static_cast<unsigned>(box.width * scale), static_cast<unsigned>(box.height * scale));
    XFlush(x_display());
}

void GuestHole::show(bool shown) {
    if (std::exchange(shown_, shown) == shown)
        return;
    if (shown)
        XMapWindow(x_display(), window_);
    else
        XUnmapWindow(x_display(), window_);
    XFlush(x_display());
}

} // namespace kiosk
