#include "kiosk/pin_sheet.h"

#include <algorithm>
#include <wx/intl.h>

namespace kiosk {

PinSheet::PinSheet(wxWindow* parent, const wxBitmap& backdrop, const wxString& title)
    : Sheet(parent, backdrop, {420, 178 + 4 * 76 + 84}), title_(title) {
    for (const char* label : {"1", "2", "3", "4", "5", "6", "7", "8", "9", "", "0", ""}) {
        const bool digit = *label != 0, erase = controls_.size() == 9;
        auto* button = new Button(this, label,
                                  digit   ? ButtonStyle::Plain
                                  : erase ? ButtonStyle::Quiet
                                          : ButtonStyle::Primary,
                                  digit   ? std::optional<Glyph>()
                                  : erase ? Glyph::Delete
                                          : Glyph::Check);
        button->set_behind(palette().surface);
        button->set_type(Type::Heading);
        if (digit)
            button->on_activate = [this, c = *label] { add(c); };
        else if (erase)
            button->on_activate = [this] { handle_key(WXK_BACK, false); };
        else
            button->on_activate = [this] { submit(); };
        if (!digit)
            button->set_name(erase ? _("Delete") : _("Enter"));
        controls_.push_back(button);
    }
    auto* cancel = new Button(this, _("Cancel"), ButtonStyle::Quiet);
    cancel->set_behind(palette().surface);
    cancel->on_activate = [this] { on_cancel(); };
    controls_.push_back(cancel);
    set_spoken(title_, _("Staff PIN"));
    lay_out(card());
    SetFocus();
}

void PinSheet::lay_out(const wxRect& card) {
    const int gap = 12, width = (card.width - 2 * kSheetPad - 2 * gap) / 3, height = 64;
    const int top = card.y + 178; // below title, message and dots
    for (int i = 0; i < 12; ++i) {
        // A number pad is the same in every language.
        const int x = card.x + kSheetPad + i % 3 * (width + gap);
        controls_[static_cast<size_t>(i)]->SetSize(x, top + i / 3 * (height + gap), width, height);
    }
    place(controls_[12], {card.x + kSheetPad, top + 4 * (height + gap) + 16, card.width - 2 * kSheetPad, 52});
}

void PinSheet::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    canvas.text(title_, {card.x + kSheetPad, card.y + 28, card.width - 2 * kSheetPad, 36},
                font(Type::Title, true), p.ink, Align::Middle);
    canvas.paragraph(message_.empty() ? _("Staff PIN") : message_,
                     {card.x + kSheetPad, card.y + 70, card.width - 2 * kSheetPad, 44}, font(Type::Small),
                     message_.empty() ? p.muted : p.bad, 2, Align::Middle);
    const int count = std::max(6, static_cast<int>(pin_.size()));
    const int step = std::min(28, (card.width - 2 * kSheetPad) / count);
    const int left = card.x + (card.width - (count - 1) * step) / 2;
    for (int i = 0; i < count; ++i) {
        const wxRect dot(left + i * step - 7, card.y + 130, 14, 14);
        if (i < static_cast<int>(pin_.size()))
            canvas.fill(dot, p.ink, 7);
        else
            canvas.outline(dot, p.faint, 2, 7);
    }
}

void PinSheet::add(char digit) {
    if (pin_.size() < 16)
        pin_.push_back(digit);
    message_.clear();
    Refresh();
}

void PinSheet::submit() {
    if (!pin_.empty())
        on_pin(std::exchange(pin_, {}));
    Refresh();
}

void PinSheet::refuse(const wxString& why) {
    message_ = why;
    set_spoken(title_, why);
    pin_.clear();
    Refresh();
}

bool PinSheet::handle_character(wxChar character) {
    if (character < '0' || character > '9')
        return false;
    add(static_cast<char>(character));
    return true;
}

bool PinSheet::handle_key(int key, bool shift) {
    if (key == WXK_BACK) {
        if (!pin_.empty())
            pin_.pop_back();
        Refresh();
        return true;
    }
    const bool enter = key == WXK_RETURN || key == WXK_NUMPAD_ENTER;
    const bool moved = std::ranges::any_of(controls_, [](Control* control) { return control->focused(); });
    if (enter && (!moved || !pin_.empty())) {
        submit();
        return true;
    }
    if ((key >= '0' && key <= '9') || (key >= WXK_NUMPAD0 && key <= WXK_NUMPAD9)) {
        add(static_cast<char>(key >= WXK_NUMPAD0 ? key - WXK_NUMPAD0 + '0' : key));
        return true;
    }
    return Sheet::handle_key(key, shift);
}

} // namespace kiosk
