#include "kiosk/session_view.h"

#include <algorithm>
#include <wx/dcbuffer.h>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kPictureSide = 1600;

} // namespace

SessionView::SessionView(wxWindow* parent) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    name_screen(*this, {});
    const auto make = [this](const wxString& label, ButtonStyle style, Glyph glyph,
                             std::function<void()> SessionView::*act) {
        auto* button = new Button(this, label, style, glyph);
        button->set_behind(palette().surface);
        // Keys are the guest's: the ribbon is for fingers, mice and the menu key.
        button->on_activate = [this, act] {
            if (this->*act)
                (this->*act)();
        };
        return button;
    };
    scenes_ = make(_("Scenes"), ButtonStyle::Quiet, Glyph::Scenes, &SessionView::on_scenes);
    restart_ = make(_("Start over"), ButtonStyle::Quiet, Glyph::Restart, &SessionView::on_restart);
    help_ = make(_("Help"), ButtonStyle::Quiet, Glyph::Help, &SessionView::on_help);
    end_ = make(_("Finish"), ButtonStyle::Primary, Glyph::Cross, &SessionView::on_end);
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { lay_out(), event.Skip(); });
}

void SessionView::begin(const Appliance& appliance, const std::optional<std::string>& scene) {
    title_ = wxString::FromUTF8(appliance.title);
    publisher_ = wxString::FromUTF8(appliance.publisher);
    name_screen(*this, title_);
    picture_ = wxBitmap();
    const std::string name = scene ? *scene : appliance.start;
    for (const SceneCard& card : appliance.scenes)
        if (card.name == name)
            if (const wxImage image = decode_picture(card.picture, kPictureSide); image.IsOk())
                picture_ = wxBitmap(image);
    scenes_->Show(appliance.scenes.size() > 1);
    help_->Show(!appliance.help.empty());
    live_ = false;
    time_.clear();
    share_ = -1;
    lay_out();
    Refresh();
}

void SessionView::set_live(bool live) {
    if (std::exchange(live_, live) != live)
        Refresh();
}

void SessionView::show_time(std::optional<std::chrono::milliseconds> left, double share_used, bool warning) {
    wxString text;
    if (left) {
        const long seconds = std::max<long>(0, (static_cast<long>(left->count()) + 999) / 1000);
        text = seconds >= 3600
                   ? wxString::Format("%ld:%02ld:%02ld", seconds / 3600, seconds / 60 % 60, seconds % 60)
                   : wxString::Format("%ld:%02ld", seconds / 60, seconds % 60);
    }
    if (text == time_ && warning == warning_)
        return;
    time_ = text;
    share_ = left ? share_used : -1;
    warning_ = warning;
    RefreshRect({0, 0, GetClientSize().x, kRibbonHeight});
}

wxRect SessionView::guest_area() const {
    const wxSize size = GetClientSize();
    return {0, kRibbonHeight, size.x, std::max(1, size.y - kRibbonHeight)};
}

void SessionView::lay_out() {
    int x = GetClientSize().x - 12;
    for (Button* button : {end_, help_, restart_, scenes_}) {
        if (!button->IsShown())
            continue;
        const int width = button->wanted_width();
        x -= width;
        place(button, {x, (kRibbonHeight - kTouch) / 2, width, kTouch});
        x -= 6;
    }
    buttons_width_ = GetClientSize().x - x;
    Refresh();
}

void SessionView::paint() {
    wxAutoBufferedPaintDC dc(this);
    dc.SetBackground(*wxBLACK_BRUSH);
    dc.Clear();
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    const Palette& p = palette();
    const wxSize size = GetClientSize();
    Canvas canvas(*gc, size);
    if (!live_) {
        canvas.whole_picture(picture_, guest_area());
        if (!picture_.IsOk())
            canvas.text(_("Starting..."), guest_area(), font(Type::Title), wxColour(214, 222, 222),
                        Align::Middle);
    }
    canvas.fill({0, 0, size.x, kRibbonHeight}, p.surface);
    const int room = size.x - buttons_width_ - 20;
    int time_width = 0;
    if (!time_.empty()) {
        time_width = canvas.measure(time_, font(Type::Heading, true)).x + 56;
        const wxRect pill(20 + room - time_width - 16, 10, time_width, 44);
        canvas.fill(pill, warning_ ? p.warn_soft : p.raised, 22);
        canvas.glyph(Glyph::Clock, {pill.x + 12, pill.y + 12, 20, 20}, warning_ ? p.warn : p.muted);
        canvas.text(time_, {pill.x + 38, pill.y, time_width - 44, 44}, font(Type::Heading, true),
                    warning_ ? p.warn : p.ink);
    }
    const int text = room - time_width - 32;
    canvas.text(title_, {20, 8, text, 28}, font(Type::Heading, true), p.ink);
    canvas.glyph(Glyph::Shield, {18, 36, 18, 18}, p.good);
    canvas.text(publisher_, {40, 34, text - 20, 22}, font(Type::Small), p.good);
    // The ribbon's lower edge is the time used up.
    canvas.fill({0, kRibbonHeight - 3, size.x, 3}, p.line);
    if (share_ >= 0)
        canvas.fill({0, kRibbonHeight - 3, static_cast<int>(size.x * share_), 3},
                    warning_ ? p.warn : p.accent);
}

} // namespace kiosk
