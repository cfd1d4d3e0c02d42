#include "kiosk/sheet.h"

#include <algorithm>
#include <cmath>
#include <gtk/gtk.h>
#include <wx/dcbuffer.h>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kPad = 32, kFoot = 88;
constexpr int kSceneSide = 800;

} // namespace

// ------------------------------------------------------------------------------------------------ any sheet

Sheet::Sheet(wxWindow* parent, const wxBitmap& backdrop, wxSize card) : backdrop_(backdrop), card_(card) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, {0, 0}, parent->GetClientSize(), wxBORDER_NONE | wxWANTS_CHARS);
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { lay_out(this->card()), event.Skip(); });
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

void Sheet::resize_card(wxSize card) {
    card_ = card;
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
    int x = card.GetRight() + 1 - kPad;
    for (auto button = buttons_.rbegin(); button != buttons_.rend(); ++button) {
        const int width = std::max((*button)->wanted_width(), 112);
        x -= width;
        place(*button, {x, card.GetBottom() + 1 - kFoot + 8, width, 52});
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
    draw(canvas, box);
}

// ------------------------------------------------------------------------------------------------ message

MessageSheet::MessageSheet(wxWindow* parent, const wxBitmap& backdrop, Content content)
    : Sheet(parent, backdrop, {680, 320}), content_(std::move(content)) {
    if (!content_.details.empty())
        content_.choices.insert(content_.choices.begin(),
                                {_("Details"), ButtonStyle::Quiet, [this] {
                                     details_shown_ = !details_shown_;
                                     resize_card({details_shown_ ? 760 : 680, details_shown_ ? 460 : 320});
                                 }});
    for (const Choice& choice : content_.choices) {
        auto* button = new Button(this, choice.label, choice.style);
        button->on_activate = choice.act;
        button->set_behind(palette().surface);
        buttons_.push_back(button);
        controls_.push_back(button);
    }
    set_spoken(content_.title, content_.text);
    lay_out(card());
    if (!buttons_.empty())
        buttons_.back()->take_focus();
}

void MessageSheet::set_text(const wxString& text, double ring) {
    if (text == content_.text && std::abs(ring - ring_) < 0.002)
        return;
    if (content_.text.empty()) // a countdown is said once, not every second
        set_spoken(content_.title, text);
    content_.text = text;
    ring_ = ring;
    Refresh();
}

void MessageSheet::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    const wxColour tint = content_.grave ? p.bad : ring_ >= 0 ? p.warn : p.accent;
    const wxColour soft = content_.grave ? p.bad_soft : ring_ >= 0 ? p.warn_soft : p.accent_soft;
    const wxRect badge(card.x + kPad, card.y + kPad, 64, 64);
    canvas.fill(badge, soft, 32);
    canvas.glyph(content_.glyph, {badge.x + 16, badge.y + 16, 32, 32}, tint);
    if (ring_ >= 0) {
        const wxRect at = canvas.mirrored(badge);
        wxGraphicsPath arc = canvas.context().CreatePath();
        arc.AddArc(at.x + 32, at.y + 32, 30, -M_PI / 2, -M_PI / 2 + 2 * M_PI * std::min(ring_, 0.9999), true);
        canvas.context().SetPen(canvas.context().CreatePen(wxGraphicsPenInfo(tint, 4).Cap(wxCAP_ROUND)));
        canvas.context().StrokePath(arc);
    }
    const int left = card.x + kPad + 64 + 24, width = card.GetRight() + 1 - kPad - left;
    int y = card.y + kPad;
    y += canvas.paragraph(content_.title, {left, y, width, 80}, font(Type::Title, true), p.ink, 2) + 10;
    y += canvas.paragraph(content_.text, {left, y, width, 140}, font(Type::Body), p.muted, 5);
    if (details_shown_) {
        const wxRect box(card.x + kPad, y + 20, card.width - 2 * kPad, card.GetBottom() - kFoot - y - 28);
        canvas.fill(box, p.raised, 8);
        canvas.paragraph(content_.details, {box.x + 16, box.y + 12, box.width - 32, box.height - 24},
                         font(Type::Small), p.ink, 7);
    }
}

// ------------------------------------------------------------------------------------------------ scenes

SceneTile::SceneTile(wxWindow* parent, const SceneCard& scene, int number, bool current, bool on_card)
    : Control(parent, wxString::FromUTF8(scene.title)), title_(wxString::FromUTF8(scene.title)),
      notes_(wxString::FromUTF8(scene.notes)), number_(number), current_(current), on_card_(on_card) {
    if (const wxImage image = decode_picture(scene.picture, kSceneSide); image.IsOk())
        picture_ = wxBitmap(image);
}

void SceneTile::set_current(bool current) {
    if (std::exchange(current_, current) != current)
        Refresh();
}

wxColour SceneTile::behind() const { return on_card_ ? palette().surface : palette().background; }

void SceneTile::draw(Canvas& canvas, wxSize size) {
    const Palette& p = palette();
    const wxRect all(0, 0, size.x, size.y);
    const int foot = 56;
    canvas.fill(all, current_ ? p.accent_soft : p.raised, kRadius);
    const wxRect shot(6, 6, size.x - 12, size.y - foot - 6);
    if (picture_.IsOk()) {
        canvas.picture(picture_, shot);
    } else {
        canvas.fill(shot, p.surface, 8);
        canvas.glyph(Glyph::Scenes, {(size.x - 40) / 2, (shot.height - 40) / 2 + 6, 40, 40}, p.faint, 1.5);
    }
    const wxRect badge(14, size.y - foot + 12, 32, 32);
    canvas.fill(badge, current_ ? p.accent : p.surface, 16);
    canvas.text(number_ <= 9 ? wxString::Format("%d", number_) : wxString(L"\u2022"), badge,
                font(Type::Small, true), current_ ? p.on_accent : p.muted, Align::Middle);
    canvas.text(title_, {56, size.y - foot + 6, size.x - 68, foot - 12}, font(Type::Body, true), p.ink);
    if (focus_visible() || hovered() || current_)
        canvas.outline(all, p.accent, focus_visible() ? 4 : 2, kRadius);
}

ScenePicker::ScenePicker(wxWindow* parent, const wxBitmap& backdrop, const Appliance& appliance,
                         const std::string& current)
    : Sheet(parent, backdrop, {1160, 780}), title_(wxString::FromUTF8(appliance.title)) {
    int number = 0;
    for (const SceneCard& scene : appliance.scenes) {
        names_.push_back(scene.name);
        auto* tile = new SceneTile(this, scene, ++number, scene.name == current);
        tile->on_activate = [this, name = scene.name] { on_pick(name); };
        controls_.push_back(tile);
    }
    const auto add = [this](const wxString& label, ButtonStyle style, std::function<void()> act) {
        auto* button = new Button(this, label, style);
        button->set_behind(palette().surface);
        button->on_activate = std::move(act);
        controls_.push_back(button);
        buttons_.push_back(button);
    };
    add(_("Finish"), ButtonStyle::Quiet, [this] { on_end(); });
    if (!appliance.help.empty())
        add(_("Help"), ButtonStyle::Quiet, [this] { on_help(); });
    add(_("Start over"), ButtonStyle::Quiet, [this] { on_restart(); });
    add(_("Back to the demo"), ButtonStyle::Primary, [this] { on_cancel(); });
    set_spoken(title_, {});
    const int rows = static_cast<int>(names_.size() + 2) / 3;
    resize_card({1120, std::min(128 + rows * 260 + kFoot, 1000)});
    controls_.front()->take_focus();
}

void ScenePicker::lay_out(const wxRect& card) {
    lay_out_buttons(card);
    const int columns = card.width >= 900 ? 3 : 2, gap = 20;
    const int width = (card.width - 2 * kPad - (columns - 1) * gap) / columns, height = 244;
    const int rows = std::max(1, (card.height - 124 - kFoot) / (height + 12));
    for (size_t i = 0; i < names_.size(); ++i) {
        const int row = static_cast<int>(i) / columns - static_cast<int>(first_row_),
                  column = static_cast<int>(i) % columns;
        controls_[i]->Show(row >= 0 && row < rows);
        place(controls_[i],
              {card.x + kPad + column * (width + gap), card.y + 116 + row * (height + 16), width, height});
    }
}

void ScenePicker::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    canvas.text(title_, {card.x + kPad, card.y + 26, card.width - 2 * kPad, 40}, font(Type::Title, true),
                p.ink);
    canvas.text(names_.empty() ? _("This demo has no scenes to jump to.")
                               : _("Press its number, or touch a picture. What you did so far is undone."),
                {card.x + kPad, card.y + 68, card.width - 2 * kPad, 30}, font(Type::Body), p.muted);
}

bool ScenePicker::handle_key(int key, bool shift) {
    if (key >= WXK_NUMPAD1 && key <= WXK_NUMPAD9)
        key = key - WXK_NUMPAD1 + '1';
    if (key >= '1' && key <= '9' && static_cast<size_t>(key - '1') < names_.size()) {
        controls_[static_cast<size_t>(key - '1')]->activate();
        return true;
    }
    if (key == WXK_PAGEDOWN || key == WXK_PAGEUP) { // more scenes than fit
        const size_t rows = (names_.size() + 2) / 3;
        first_row_ = key == WXK_PAGEUP ? first_row_ - std::min<size_t>(first_row_, 1)
                                       : std::min(first_row_ + 1, rows - 1);
        lay_out(card());
        return true;
    }
    return Sheet::handle_key(key, shift);
}

// ------------------------------------------------------------------------------------------------ PIN

PinSheet::PinSheet(wxWindow* parent, const wxBitmap& backdrop, const wxString& title)
    : Sheet(parent, backdrop, {420, 640}), title_(title) {
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
    const int gap = 12, width = (card.width - 2 * kPad - 2 * gap) / 3, height = 64;
    const int top = card.y + 178;
    for (int i = 0; i < 12; ++i) {
        // A number pad is the same in every language.
        const int x = card.x + kPad + i % 3 * (width + gap);
        controls_[static_cast<size_t>(i)]->SetSize(x, top + i / 3 * (height + gap), width, height);
    }
    place(controls_[12], {card.x + kPad, top + 4 * (height + gap) + 16, card.width - 2 * kPad, 52});
}

void PinSheet::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    canvas.text(title_, {card.x + kPad, card.y + 28, card.width - 2 * kPad, 36}, font(Type::Title, true),
                p.ink, Align::Middle);
    canvas.paragraph(message_.empty() ? _("Staff PIN") : message_,
                     {card.x + kPad, card.y + 70, card.width - 2 * kPad, 44}, font(Type::Small),
                     message_.empty() ? p.muted : p.bad, 2, Align::Middle);
    const int count = std::max(6, static_cast<int>(pin_.size()));
    const int step = std::min(28, (card.width - 2 * kPad) / count);
    const int left = card.x + (card.width - (count - 1) * step) / 2;
    for (int i = 0; i < count; ++i) {
        const wxRect dot(left + i * step - 7, card.y + 130, 14, 14);
        if (i < static_cast<int>(pin_.size()))
            canvas.fill(dot, p.ink, 7);
        else
            canvas.outline(dot, p.line, 2, 7);
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
