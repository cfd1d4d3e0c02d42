// The seat as X11 knows it: how long nobody touched anything, who gets the keys, what lies on top, and the
// window that a guest fills. The only part of the kiosk that speaks X11 and GTK directly.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <wx/bitmap.h>
#include <wx/frame.h>

namespace kiosk {

[[nodiscard]] bool display_there(); // before the toolkit starts, which would say it in its own words
// Before the first window: twice the size on a screen that is made for it and where nobody has said so, which
// in a session of the kiosk's own nobody does.
void choose_scale();
[[nodiscard]] std::chrono::milliseconds seat_idle(); // since the last key, click or movement of anyone

// The X server is one inside a Wayland compositor: there, no X11 client keeps others' windows and keys away,
// and a window that is not managed may not be shown at all. Locking is the compositor's business.
[[nodiscard]] bool on_wayland();

struct SeatKey {
    uint32_t code = 0; // X11's, of the key
    int key = 0;       // the toolkit's, for keys with a function; 0: others
    wchar_t character = 0;
    bool down = false, control = false, alt = false, shift = false;
    bool super = false; // the key with the maker's logo, or the menu key
    char letter = 0;    // a..z by where a US keyboard has them, whatever the layout
};
// Every key of the frame, before the toolkit sees it. The function says whether it was dealt with.
void watch_keys(wxFrame& frame, std::function<bool(const SeatKey&)> take);

[[nodiscard]] wxRect screen_rect(); // of the first display
// The middle of a display that shows something else than the frame's, in the X server's pixels.
[[nodiscard]] std::optional<wxPoint> other_display(wxFrame& frame);
[[nodiscard]] wxPoint own_display(wxFrame& frame); // the middle of the frame's, or of the nearest one

// Before the frame is shown: no window manager decorates, moves, covers or closes it.
void take_window_from_manager(wxFrame& frame);
// Keys go to the frame alone, whatever has the focus: window managers' shortcuts stay without effect. Call it
// again and again; true while it holds.
bool hold_keyboard(wxFrame& frame);
void release_keyboard(wxFrame& frame);
void keep_on_top(wxFrame& frame);

[[nodiscard]] wxBitmap snapshot(wxFrame& frame); // what is to be seen of it now

// A child window in X11's own terms, below which a guest's window is put. The toolkit draws around it.
class GuestHole {
  public:
    explicit GuestHole(wxFrame& frame);
    ~GuestHole();
    GuestHole(const GuestHole&) = delete;
    GuestHole& operator=(const GuestHole&) = delete;

    void place(const wxRect& box); // device-independent pixels of the frame
    void show(bool shown);
    [[nodiscard]] uint64_t id() const { return window_; }

  private:
    wxFrame& frame_;
    uint64_t window_ = 0;
    bool shown_ = false;
    wxRect box_;
};

} // namespace kiosk
