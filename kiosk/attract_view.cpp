#include "kiosk/attract_view.h"

#include "kiosk/control.h"

#include <algorithm>
#include <cmath>
#include <wx/dcbuffer.h>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kSlideSide = 2600;

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

} // namespace

AttractView::AttractView(wxWindow* parent) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    name_screen(*this, _("Touch to begin"));
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
}

bool AttractView::begin(const ApplianceList& list) {
    slides_.clear();
    for (const auto& appliance : list) {
        if (appliance->refusal != Refusal::None)
            continue;
        for (const SceneCard& scene : appliance->scenes)
            if (!scene.picture.empty())
                slides_.push_back({scene.picture, utf8(appliance->title), utf8(scene.title)});
        if (appliance->scenes.empty() && !appliance->picture.empty())
            slides_.push_back({appliance->picture, utf8(appliance->title), utf8(appliance->line)});
    }
    if (slides_.empty())
        return false;
    current_ = 0;
    load(0, now_);
    load(1 % slides_.size(), next_);
    since_ = std::chrono::steady_clock::now();
    return true;
}

void AttractView::load(size_t slide, wxBitmap& into) {
    const wxImage image = decode_picture(slides_[slide].png, kSlideSide);
    into = image.IsOk() ? wxBitmap(image) : wxBitmap();
}

void AttractView::tick() {
    using namespace std::chrono_literals;
    if (std::chrono::steady_clock::now() - since_ >= 9s && slides_.size() > 1) {
        current_ = (current_ + 1) % slides_.size();
        now_ = next_;
        load((current_ + 1) % slides_.size(), next_);
        since_ = std::chrono::steady_clock::now();
    }
    Refresh();
}

void AttractView::paint() {
    wxAutoBufferedPaintDC dc(this);
    dc.SetBackground(*wxBLACK_BRUSH);
    dc.Clear();
    if (slides_.empty())
        return;
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    const wxSize size = GetClientSize();
    Canvas canvas(*gc, size);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - since_).count();
    const wxRect all(0, 0, size.x, size.y);
    canvas.picture(now_, all, 0, 1, 1.02 + 0.006 * seconds);
    const double fade = slides_.size() > 1 ? std::clamp(seconds - 8, 0.0, 1.0) : 0;
    if (fade > 0)
        canvas.picture(next_, all, 0, fade, 1.02);
    const Slide& named = slides_[(current_ + (fade > 0.5 ? 1 : 0)) % slides_.size()];
    const int band = 190;
    gc->SetPen(*wxTRANSPARENT_PEN);
    gc->SetBrush(gc->CreateLinearGradientBrush(0, size.y - band - 130, 0, size.y, wxColour(8, 12, 14, 0),
                                               wxColour(8, 12, 14, 245)));
    gc->DrawRectangle(0, size.y - band - 130, size.x, band + 130);
    const wxColour white(255, 255, 255), soft(214, 222, 222);
    canvas.text(named.title, {kMargin + 8, size.y - 164, size.x - 460, 52}, font(Type::Display, true), white);
    canvas.text(named.line, {kMargin + 8, size.y - 108, size.x - 460, 30}, font(Type::Heading), soft);
    const wxString invitation = _("Touch to begin");
    const int width = canvas.measure(invitation, font(Type::Heading, true)).x + 72;
    const wxRect pill(size.x - kMargin - width, size.y - 152, width, 64);
    const double pulse = 0.5 + 0.5 * std::sin(seconds * 2);
    canvas.fill(pill, wxColour(0x5F, 0xC6, 0xCB, static_cast<unsigned char>(215 + 40 * pulse)), 32);
    canvas.text(invitation, pill, font(Type::Heading, true), wxColour(6, 34, 37), Align::Middle);
}

} // namespace kiosk
