// What everything a finger, a key or a screen reader can act on is made of: a drawn rectangle that can be
// hovered, pressed, focused and activated, with a name. Also the keys that move between controls of one
// screen.
#pragma once
#include "kiosk/canvas.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <vector>
#include <wx/window.h>

namespace kiosk {

class Control : public wxWindow {
  public:
    Control(wxWindow* parent, const wxString& name);
    ~Control() override;

    // Where keys go. The kiosk keeps count itself: without a window manager the toolkit's windows are never
    // active, and then it says that none has the focus.
    void take_focus();
    [[nodiscard]] bool focused() const;

    std::function<void()> on_activate, on_focus;
    void activate();
    void set_name(const wxString& name, const wxString& description = {}); // for screen readers
    [[nodiscard]] const wxString& name() const { return name_; }
    void set_enabled(bool enabled);
    [[nodiscard]] bool enabled() const { return enabled_; }
    bool AcceptsFocus() const override { return enabled_; }

    // Where the reader starts drags that scroll what the control lies on.
    std::function<void(int dy, bool begins)> on_drag;

  protected:
    virtual void draw(Canvas& canvas, wxSize size) = 0;
    [[nodiscard]] virtual wxColour behind() const; // what shows at rounded corners
    [[nodiscard]] bool hovered() const { return hovered_; }
    [[nodiscard]] bool pressed() const { return pressed_; }
    [[nodiscard]] bool focus_visible() const;

  private:
    void paint();
    void release(bool inside);

    wxString name_;
    bool enabled_ = true, hovered_ = false, pressed_ = false, dragging_ = false;
    wxPoint down_;
    int drag_from_ = 0;
};

// Whether the last thing the person used was the keyboard: only then focus is drawn.
void set_keyboard_in_use(bool on);
[[nodiscard]] bool keyboard_in_use();
// Until then, a touch of any control is not meant for it.
void ignore_presses_until(std::chrono::steady_clock::time_point until);

// Moves focus with the arrow and tab keys among the visible controls, by where they are; activates with Enter
// and Space. False: the key means something else.
bool navigate(std::span<Control* const> controls, int key, bool shift);

enum class ButtonStyle : uint8_t { Primary, Plain, Quiet, Danger };

class Button final : public Control {
  public:
    Button(wxWindow* parent, const wxString& label, ButtonStyle style, std::optional<Glyph> glyph = {});
    void set_label(const wxString& label);
    void set_colours(const wxColour& background, const wxColour& ink) { over_ = background, ink_ = ink; }
    void set_behind(const wxColour& colour) { behind_ = colour; }
    void set_type(Type type) { type_ = type; }
    [[nodiscard]] int wanted_width();

  protected:
    void draw(Canvas& canvas, wxSize size) override;
    [[nodiscard]] wxColour behind() const override { return behind_.IsOk() ? behind_ : Control::behind(); }

  private:
    wxString label_;
    ButtonStyle style_;
    Type type_ = Type::Body;
    std::optional<Glyph> glyph_;
    wxColour over_, ink_, behind_;
};

// What a window is called that only holds controls: the focus is never its own.
void name_screen(wxWindow& window, const wxString& name);

// Places a child window in left-to-right terms.
void place(wxWindow* window, const wxRect& box);

} // namespace kiosk
