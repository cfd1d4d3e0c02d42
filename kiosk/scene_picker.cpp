#include "kiosk/scene_picker.h"

#include <algorithm>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kSceneSide = 800;
constexpr int kTop = 116, kTileHeight = 244, kTileGap = 20;

} // namespace

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
        tile->on_drag = [this](int dy, bool begins) {
            if (begins)
                drag_row_ = first_row_;
            else
                scroll_to(drag_row_ - dy / ((kTileHeight + kTileGap) / 2));
        };
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
    Bind(wxEVT_MOUSEWHEEL,
         [this](wxMouseEvent& event) { scroll_to(first_row_ + (event.GetWheelRotation() < 0 ? 1 : -1)); });
    refit();
    controls_.front()->take_focus();
}

int ScenePicker::columns(int card_width) const {
    const int most = card_width >= 900 ? 3 : 2;
    return std::clamp(static_cast<int>(names_.size()), 1, most);
}

wxSize ScenePicker::wanted_card() {
    const int width = names_.empty() ? 760 : names_.size() <= 2 ? 800 : 1120;
    const int column = columns(std::min(width, GetClientSize().x - 32));
    const int rows = (static_cast<int>(names_.size()) + column - 1) / column;
    const int most = std::max(1, (GetClientSize().y - 32 - kTop - kSheetFoot) / (kTileHeight + kTileGap));
    rows_ = std::min(rows, most);
    return {width, kTop + rows_ * (kTileHeight + kTileGap) + kSheetFoot};
}

void ScenePicker::lay_out(const wxRect& card) {
    lay_out_buttons(card);
    const int across = columns(card.width);
    const int width = (card.width - 2 * kSheetPad - (across - 1) * kTileGap) / across;
    for (size_t i = 0; i < names_.size(); ++i) {
        const int row = static_cast<int>(i) / across - first_row_, column = static_cast<int>(i) % across;
        controls_[i]->Show(row >= 0 && row < rows_);
        place(controls_[i], {card.x + kSheetPad + column * (width + kTileGap),
                             card.y + kTop + row * (kTileHeight + kTileGap), width, kTileHeight});
    }
}

// The row of the scene that has the focus is among those that are seen.
void ScenePicker::bring_into_view() {
    const int across = columns(card().width);
    for (size_t i = 0; i < names_.size(); ++i) {
        if (!controls_[i]->focused())
            continue;
        const int row = static_cast<int>(i) / across;
        const int wanted = std::clamp(first_row_, row - rows_ + 1, row);
        scroll_to(wanted);
    }
}

void ScenePicker::scroll_to(int row) {
    const int across = columns(card().width);
    const int rows = (static_cast<int>(names_.size()) + across - 1) / across;
    const int wanted = std::clamp(row, 0, std::max(0, rows - rows_));
    if (std::exchange(first_row_, wanted) != wanted)
        refit();
}

void ScenePicker::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    canvas.text(title_, {card.x + kSheetPad, card.y + 26, card.width - 2 * kSheetPad, 40},
                font(Type::Title, true), p.ink);
    canvas.text(names_.empty() ? _("This demo has no scenes to jump to.")
                               : _("Press its number, or touch a picture. What you did so far is undone."),
                {card.x + kSheetPad, card.y + 68, card.width - 2 * kSheetPad, 30}, font(Type::Body), p.muted);
    const int across = columns(card.width);
    const double rows = (static_cast<int>(names_.size()) + across - 1) / across;
    if (rows > rows_)
        canvas.scroll_mark({card.GetRight() + 1 - kSheetPad / 2 - 3, card.y + kTop, 6,
                            rows_ * (kTileHeight + kTileGap) - kTileGap},
                           first_row_ / rows, (first_row_ + rows_) / rows);
}

bool ScenePicker::handle_key(int key, bool shift) {
    if (key >= WXK_NUMPAD1 && key <= WXK_NUMPAD9)
        key = key - WXK_NUMPAD1 + '1';
    if (key >= '1' && key <= '9' && static_cast<size_t>(key - '1') < names_.size()) {
        controls_[static_cast<size_t>(key - '1')]->activate();
        return true;
    }
    // More scenes than fit: the arrows go on to rows that are not seen yet.
    const int across = columns(card().width);
    const int rows = (static_cast<int>(names_.size()) + across - 1) / across;
    const auto focused = std::ranges::find_if(controls_, [](Control* control) { return control->focused(); });
    const auto at = static_cast<int>(focused - controls_.begin());
    const int step = key == WXK_UP || key == WXK_PAGEUP       ? -across
                     : key == WXK_DOWN || key == WXK_PAGEDOWN ? across
                                                              : 0;
    if (rows > rows_ && step != 0 && at < static_cast<int>(names_.size())) {
        const int to = std::min(at + step, static_cast<int>(names_.size()) - 1);
        if (to >= 0 && to / across != at / across) {
            set_keyboard_in_use(true);
            controls_[static_cast<size_t>(to)]->take_focus();
            bring_into_view();
            return true;
        }
    }
    return Sheet::handle_key(key, shift);
}

} // namespace kiosk
