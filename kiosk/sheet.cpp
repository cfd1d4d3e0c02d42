#include "kiosk/sheet.h"

#include <algorithm>
#include <gtk/gtk.h>
#include <wx/dcbuffer.h>

namespace kiosk {

Sheet::Sheet(wxWindow* parent, const wxBitmap& backdrop, wxSize card) : backdrop_(backdrop), card_(card) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, {0, 0}, parent->GetClientSize(), wxBORDER_NONE | wxWANTS_CHARS);
    name_screen(*this, {});
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { refit(), event.Skip(); });
    Bind(wxEVT_LEFT_UP, [this](wxMouseEvent& event) {
        if (on_cancel && !this->card().Contains(event.GetPosition()))
            CallAfter([act = on_cancel] { act(); });
    });
}

wxRect Sheet::card() const {
    const wxSize size = GetClientSize();
    const int width = std::min(card_.x, size.x - 32), height = std::min(card_.y, size.y - 32);
    return {(size.x - width) / 2, (size.y - height) / 2, width, height};
}

void Sheet::refit() {
    card_ = wanted_card();
    lay_out(this->card());
    Refresh();
}

bool Sheet::handle_key(int key, bool shift) {
    if (key == WXK_ESCAPE && on_cancel) {
        CallAfter([act = on_cancel] { act(); });
        return true;
    }
    return navigate(controls_, key, shift) || key == WXK_ESCAPE;
}

void Sheet::set_spoken(const wxString& title, const wxString& text) {
    AtkObject* accessible = gtk_widget_get_accessible(GetHandle());
    atk_object_set_role(accessible, ATK_ROLE_ALERT);
    atk_object_set_name(accessible, title.utf8_str());
    atk_object_set_description(accessible, text.utf8_str());
}

void Sheet::lay_out_buttons(const wxRect& card) {
    int x = card.GetRight() + 1 - kSheetPad;
    for (auto button = buttons_.rbegin(); button != buttons_.rend(); ++button) {
        const int width = std::max((*button)->wanted_width(), 112);
        x -= width;
        place(*button, {x, card.GetBottom() + 1 - kSheetFoot + 8, width, 52});
        x -= 12;
    }
}

void Sheet::paint() {
    wxAutoBufferedPaintDC dc(this);
    dc.SetBackground(wxBrush(palette().background));
    dc.Clear();
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    const wxSize size = GetClientSize();
    if (backdrop_.IsOk())
        gc->DrawBitmap(backdrop_, 0, 0, size.x, size.y);
    Canvas canvas(*gc, size);
    canvas.fill({0, 0, size.x, size.y}, wxColour(8, 12, 14, 150));
    const wxRect box = card();
    for (int i = 3; i > 0; --i) // a soft edge
        canvas.fill({box.x - i * 3, box.y - i * 3 + 4, box.width + i * 6, box.height + i * 6},
                    wxColour(0, 0, 0, 22), kRadius + 6 + i * 3);
    canvas.fill(box, palette().surface, kRadius + 4);
    if (is_dark())
        canvas.outline(box, palette().line, 1, kRadius + 4); // no shadow is seen there
    draw(canvas, box);
}

} // namespace kiosk
