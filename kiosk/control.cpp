#include "kiosk/control.h"

#include <cmath>
#include <gtk/gtk.h>
#include <limits>
#include <wx/dcbuffer.h>
#include <wx/dcclient.h>
#include <wx/utils.h>

namespace kiosk {
namespace {

constexpr int kDragDistance = 14;
bool keyboard_used = false;
Control* focused_control = nullptr;
std::chrono::steady_clock::time_point presses_count_from{};

} // namespace

void set_keyboard_in_use(bool on) { keyboard_used = on; }
bool keyboard_in_use() { return keyboard_used; }
void ignore_presses_until(std::chrono::steady_clock::time_point until) { presses_count_from = until; }

Control::Control(wxWindow* parent, const wxString& name) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    set_name(name);
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    Bind(wxEVT_ENTER_WINDOW, [this](wxMouseEvent&) { hovered_ = true, Refresh(); });
    Bind(wxEVT_LEAVE_WINDOW, [this](wxMouseEvent&) { hovered_ = false, Refresh(); });
    const auto press = [this](wxMouseEvent& event) {
        set_keyboard_in_use(false);
        down_ = event.GetPosition();
        drag_from_ = ClientToScreen(down_).y;
        dragging_ = false;
        pressed_ = enabled_ && std::chrono::steady_clock::now() >= presses_count_from;
        if (!HasCapture())
            CaptureMouse();
        Refresh();
    };
    Bind(wxEVT_LEFT_DOWN, press);
    Bind(wxEVT_LEFT_DCLICK, press);
    Bind(wxEVT_MOTION, [this](wxMouseEvent&) {
        if (!HasCapture() || !on_drag)
            return;
        // Not by the event: it counts from where this control was when it was sent, and the drag moves it.
        const int moved = wxGetMousePosition().y - drag_from_;
        if (!dragging_ && std::abs(moved) > kDragDistance) {
            dragging_ = true;
            pressed_ = false;
            Refresh();
            on_drag(0, true);
        }
        if (dragging_)
            on_drag(moved, false);
    });
    Bind(wxEVT_LEFT_UP, [this](wxMouseEvent& event) {
        // A flick may be over before its movement is told.
        const int moved = wxGetMousePosition().y - drag_from_;
        if (on_drag && HasCapture()) {
            if (!dragging_ && std::abs(moved) > kDragDistance) {
                dragging_ = true;
                on_drag(0, true);
            }
            if (dragging_)
                on_drag(moved, false);
        }
        release(GetClientRect().Contains(event.GetPosition()));
    });
    Bind(wxEVT_MOUSE_CAPTURE_LOST,
         [this](wxMouseCaptureLostEvent&) { pressed_ = dragging_ = false, Refresh(); });
    Bind(wxEVT_MOUSEWHEEL,
         [](wxMouseEvent& event) { event.ResumePropagation(wxEVENT_PROPAGATE_MAX), event.Skip(); });
}

Control::~Control() {
    if (focused_control == this)
        focused_control = nullptr;
}

bool Control::focused() const { return focused_control == this; }

void Control::take_focus() {
    if (focused_control != nullptr && focused_control != this)
        focused_control->Refresh();
    focused_control = this;
    SetFocus();
    // What screen readers follow; the toolkit says it of active windows only.
    atk_object_notify_state_change(gtk_widget_get_accessible(GetHandle()), ATK_STATE_FOCUSED, TRUE);
    Refresh();
    if (on_focus)
        on_focus();
}

void Control::release(bool inside) {
    if (HasCapture())
        ReleaseMouse();
    const bool clicked = pressed_ && inside && !dragging_;
    pressed_ = dragging_ = false;
    Refresh();
    if (clicked)
        activate();
}

void Control::activate() {
    // Afterwards, and a copy: the action may well do away with the control.
    if (enabled_ && on_activate)
        CallAfter([act = on_activate] { act(); });
}

void Control::set_name(const wxString& name, const wxString& description) {
    name_ = name;
    SetName(name);
    AtkObject* accessible = gtk_widget_get_accessible(GetHandle());
    atk_object_set_role(accessible, ATK_ROLE_PUSH_BUTTON);
    atk_object_set_name(accessible, name.utf8_str());
    if (!description.empty())
        atk_object_set_description(accessible, description.utf8_str());
}

void Control::set_enabled(bool enabled) {
    if (enabled_ == enabled)
        return;
    enabled_ = enabled;
    gtk_widget_set_can_focus(GetHandle(), enabled ? TRUE : FALSE);
    Refresh();
}

wxColour Control::behind() const { return palette().background; }

bool Control::focus_visible() const { return keyboard_used && focused(); }

void Control::paint() {
    wxAutoBufferedPaintDC dc(this);
    dc.SetBackground(wxBrush(behind()));
    dc.Clear();
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    if (!gc)
        return;
    Canvas canvas(*gc, GetClientSize());
    draw(canvas, GetClientSize());
}

bool navigate(std::span<Control* const> controls, int key, bool shift) {
    std::vector<Control*> there;
    for (Control* control : controls)
        if (control->IsShownOnScreen() && control->enabled())
            there.push_back(control);
    Control* current = nullptr;
    for (Control* control : there)
        if (control->focused())
            current = control;
    if (current != nullptr && (key == WXK_RETURN || key == WXK_NUMPAD_ENTER || key == WXK_SPACE)) {
        current->activate();
        return true;
    }
    if (key == WXK_NUMPAD_LEFT || key == WXK_NUMPAD_RIGHT || key == WXK_NUMPAD_UP || key == WXK_NUMPAD_DOWN)
        key = key - WXK_NUMPAD_LEFT + WXK_LEFT;
    if ((key == WXK_HOME || key == WXK_END) && !there.empty()) {
        set_keyboard_in_use(true);
        (key == WXK_HOME ? there.front() : there.back())->take_focus();
        return true;
    }
    const bool arrow = key == WXK_LEFT || key == WXK_RIGHT || key == WXK_UP || key == WXK_DOWN;
    if ((!arrow && key != WXK_TAB) || there.empty())
        return false;
    set_keyboard_in_use(true);
    if (current == nullptr) {
        there.front()->take_focus();
        there.front()->Refresh();
        return true;
    }
    if (key == WXK_TAB) {
        const size_t at = static_cast<size_t>(std::ranges::find(there, current) - there.begin());
        there[(at + (shift ? there.size() - 1 : 1)) % there.size()]->take_focus();
        return true;
    }
    const auto centre = [](Control* control) {
        const wxRect box = control->GetScreenRect();
        return wxPoint(box.x + box.width / 2, box.y + box.height / 2);
    };
    const wxPoint from = centre(current);
    Control* best = nullptr;
    long best_cost = std::numeric_limits<long>::max();
    for (Control* control : there) {
        const wxPoint to = centre(control);
        const long dx = to.x - from.x, dy = to.y - from.y;
        const long along = key == WXK_LEFT ? -dx : key == WXK_RIGHT ? dx : key == WXK_UP ? -dy : dy;
        const long across = std::abs(key == WXK_LEFT || key == WXK_RIGHT ? dy : dx);
        const bool sideways = key == WXK_LEFT || key == WXK_RIGHT;
        const int reach = (control->GetSize().y + current->GetSize().y) / 2;
        if (along <= 4 || (sideways && across >= reach)) // sideways stays in its row
            continue;
        // Rows are read before diagonals.
        const long cost = along + across * 3;
        if (cost < best_cost) {
            best_cost = cost;
            best = control;
        }
    }
    if (best != nullptr)
        best->take_focus();
    return true;
}

Button::Button(wxWindow* parent, const wxString& label, ButtonStyle style, std::optional<Glyph> glyph)
    : Control(parent, label), label_(label), style_(style), glyph_(glyph) {
    SetMinSize({kTouch, kTouch});
}

void Button::set_label(const wxString& label) {
    if (label_ == label)
        return;
    label_ = label;
    set_name(label);
    Refresh();
}

int Button::wanted_width() {
    wxClientDC dc(this);
    dc.SetFont(font(type_, true));
    const int text = label_.empty() ? 0 : dc.GetTextExtent(label_).x + 40;
    return std::max(kTouch, text + (glyph_ ? (label_.empty() ? kTouch : 28) : 0));
}

void Button::draw(Canvas& canvas, wxSize size) {
    const Palette& p = palette();
    wxColour back = p.surface, ink = p.ink;
    switch (style_) {
    case ButtonStyle::Primary:
        back = p.accent, ink = p.on_accent;
        break;
    case ButtonStyle::Danger:
        back = p.bad_soft, ink = p.bad;
        break;
    case ButtonStyle::Quiet:
        back = behind();
        break;
    case ButtonStyle::Plain:
        break;
    }
    if (over_.IsOk())
        back = over_, ink = ink_;
    if (!enabled())
        ink = p.faint;
    else if (pressed())
        back = back.ChangeLightness(is_dark() ? 125 : 88);
    else if (hovered())
        back = style_ == ButtonStyle::Primary ? back.ChangeLightness(108) : p.raised;
    const wxRect all(0, 0, size.x, size.y);
    canvas.fill(all, back, kRadius - 2);
    if (style_ == ButtonStyle::Plain && !over_.IsOk())
        canvas.outline(all, p.line, 1, kRadius - 2);
    if (focus_visible())
        canvas.outline(all, style_ == ButtonStyle::Primary ? p.ink : p.accent, 3, kRadius - 2);
    int x = 0;
    const int text = label_.empty() ? 0 : canvas.measure(label_, font(type_, true)).x;
    const int width = text + (glyph_ ? 20 + (label_.empty() ? 0 : 8) : 0);
    x = (size.x - std::min(width, size.x - 16)) / 2;
    if (glyph_) {
        canvas.glyph(*glyph_, {x, (size.y - 20) / 2, 20, 20}, ink);
        x += 28;
    }
    if (!label_.empty())
        canvas.text(label_, {x, 0, size.x - x - 8, size.y}, font(type_, true), ink);
}

void name_screen(wxWindow& window, const wxString& name) {
    gtk_widget_set_can_focus(window.GetHandle(), FALSE);
    AtkObject* accessible = gtk_widget_get_accessible(window.GetHandle());
    atk_object_set_role(accessible, ATK_ROLE_PANEL);
    atk_object_set_name(accessible, name.utf8_str());
}

void place(wxWindow* window, const wxRect& box) {
    const int width = window->GetParent()->GetClientSize().x;
    const int x = right_to_left() ? width - box.x - box.width : box.x;
    window->SetSize(x, box.y, box.width, box.height);
}

} // namespace kiosk
