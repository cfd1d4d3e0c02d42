#include "kiosk/tile.h"

#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kTextHeight = 152;
constexpr int kPictureSide = 1100;

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

} // namespace

wxString refusal_sentence(Refusal refusal) {
    switch (refusal) {
    case Refusal::None:
        return {};
    case Refusal::Unsigned:
        return _("Not signed by a publisher.");
    case Refusal::Changed:
        return _("Changed or damaged since it was signed.");
    case Refusal::Untrusted:
        return _("This computer does not trust its publisher yet.");
    case Refusal::Expired:
        return _("Its publisher's certificate has expired.");
    case Refusal::Newer:
        return _("It needs a newer version of Encore.");
    case Refusal::Unreadable:
        return _("This file cannot be read as a demo.");
    case Refusal::Over:
        return _("Its publisher's offer has ended.");
    case Refusal::Forbidden:
        return _("The rules of this computer do not allow it.");
    case Refusal::Rules:
        return _("The rules of this computer cannot be read. Please tell staff.");
    }
    return {};
}

wxString duration_text(uint32_t minutes) {
    return wxString::Format(wxPLURAL("%u minute", "%u minutes", minutes), minutes);
}

Tile::Tile(wxWindow* parent, std::shared_ptr<const Appliance> appliance)
    : Control(parent, utf8(appliance->title)), appliance_(std::move(appliance)) {
    wxString description = utf8(appliance_->line);
    if (appliance_->refusal != Refusal::None)
        description = refusal_sentence(appliance_->refusal);
    else if (!appliance_->publisher.empty())
        description += ". " + wxString::Format(_("Verified: %s"), utf8(appliance_->publisher));
    set_name(utf8(appliance_->title), description);
    if (const wxImage image = decode_picture(appliance_->picture, kPictureSide); image.IsOk())
        picture_ = wxBitmap(image);
}

int Tile::height_for(int width) { return width * 9 / 16 + kTextHeight; }
int Tile::least_height(int width) { return width * 47 / 100 + kTextHeight; }

void Tile::draw(Canvas& canvas, wxSize size) {
    const Palette& p = palette();
    const bool refused = appliance_->refusal != Refusal::None;
    const wxRect all(0, 0, size.x, size.y);
    const int picture_height = size.y - kTextHeight;
    const wxRect shot(0, 0, size.x, picture_height);
    canvas.fill(all, pressed() ? p.raised : p.surface, kRadius);
    if (picture_.IsOk() && !refused) {
        canvas.picture(picture_, shot);
    } else {
        canvas.fill(shot, p.raised);
        const int side = 56;
        canvas.glyph(refused ? Glyph::Warning : Glyph::Scenes,
                     {(size.x - side) / 2, (picture_height - side) / 2, side, side}, p.faint, 1.5);
    }
    // The corners of the picture: what is behind shows around a rounded card.
    wxGraphicsPath corners = canvas.context().CreatePath();
    corners.AddRectangle(-1, -1, size.x + 2, size.y + 2);
    corners.AddRoundedRectangle(0, 0, size.x, size.y, kRadius);
    canvas.context().SetBrush(wxBrush(behind()));
    canvas.context().SetPen(*wxTRANSPARENT_PEN);
    canvas.context().FillPath(corners, wxODDEVEN_RULE);
    if (focus_visible())
        canvas.outline(all, p.accent, 4, kRadius);
    else
        canvas.outline(all, hovered() && !refused ? p.accent : p.line, hovered() && !refused ? 2 : 1,
                       kRadius);

    const int left = 20, width = size.x - 40;
    int y = picture_height + 14;
    // A title that takes two lines leaves one to the description.
    const auto title = canvas.wrap(utf8(appliance_->title), width, font(Type::Heading, true), 2);
    for (const wxString& line : title) {
        canvas.text(line, {left, y, width, 28}, font(Type::Heading, true), refused ? p.muted : p.ink);
        y += 32;
    }
    const int lines = title.size() > 1 ? 1 : 2;
    const int foot = size.y - 36;
    if (refused) {
        canvas.paragraph(refusal_sentence(appliance_->refusal), {left, y, width, foot - y}, font(Type::Body),
                         p.bad, lines);
        canvas.glyph(Glyph::Lock, {left - 2, foot, 20, 20}, p.faint);
        canvas.text(_("Not available"), {left + 24, foot - 2, width - 24, 24}, font(Type::Small), p.muted);
        return;
    }
    canvas.paragraph(utf8(appliance_->line), {left, y, width, foot - y}, font(Type::Body), p.muted, lines);
    int right = 0;
    if (const auto minutes = appliance_->duration ? appliance_->duration : appliance_->minutes) {
        const wxString text = duration_text(*minutes);
        right = canvas.measure(text, font(Type::Small)).x + 28;
        canvas.glyph(Glyph::Clock, {size.x - 20 - right + 4, foot + 1, 18, 18}, p.muted);
        canvas.text(text, {size.x - 20 - right + 26, foot - 2, right - 26, 24}, font(Type::Small), p.muted,
                    Align::End);
    }
    canvas.glyph(Glyph::Shield, {left - 3, foot, 20, 20}, p.good);
    canvas.text(utf8(appliance_->publisher), {left + 22, foot - 2, width - right - 34, 24}, font(Type::Small),
                p.good);
}

} // namespace kiosk
