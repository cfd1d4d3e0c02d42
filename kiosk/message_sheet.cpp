#include "kiosk/message_sheet.h"

#include <algorithm>
#include <cmath>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kNarrow = 680, kWide = 860;
constexpr int kBadge = 64, kBeside = kSheetPad + kBadge + 24; // where text begins
constexpr size_t kShort = 5;                                  // lines of text in a narrow card
constexpr size_t kMostTitle = 2, kMostText = 1000, kMostDetails = 8;

} // namespace

MessageSheet::MessageSheet(wxWindow* parent, const wxBitmap& backdrop, Content content)
    : Sheet(parent, backdrop, {kNarrow, 320}), content_(std::move(content)) {
    if (!content_.details.empty())
        content_.choices.insert(content_.choices.begin(), {_("Details"), ButtonStyle::Quiet, [this] {
                                                               details_shown_ = !details_shown_;
                                                               refit();
                                                           }});
    for (const Choice& choice : content_.choices) {
        auto* button = new Button(this, choice.label, choice.style);
        button->on_activate = choice.act;
        button->set_behind(palette().surface);
        buttons_.push_back(button);
        controls_.push_back(button);
    }
    set_spoken(content_.title, content_.text);
    scroll_by_hand();
    refit();
    if (!buttons_.empty())
        buttons_.back()->take_focus();
}

// As high as what it says; a long text makes it wide, a longer one is read in parts.
wxSize MessageSheet::wanted_card() {
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(this));
    const wxSize window = GetClientSize();
    Canvas canvas(*gc, window);
    int width = 0;
    for (const int card : {kNarrow, kWide}) {
        width = std::min(card, window.x - 32);
        const int line = width - kBeside - kSheetPad;
        title_ = canvas.wrap(content_.title, line, font(Type::Title, true), kMostTitle);
        text_ = canvas.wrap(content_.text, line - 16, font(Type::Body), kMostText);
        if (text_.size() <= kShort && !details_shown_)
            break;
    }
    int around = 2 * kSheetPad + 10 +
                 static_cast<int>(title_.size()) * canvas.line_height(font(Type::Title, true)) + kSheetFoot -
                 8;
    details_.clear();
    if (details_shown_) {
        details_ = canvas.wrap(content_.details, width - 2 * kSheetPad - 32, font(Type::Small), kMostDetails);
        around += static_cast<int>(details_.size()) * canvas.line_height(font(Type::Small)) + 44;
    }
    const int step = canvas.line_height(font(Type::Body)), all = static_cast<int>(text_.size());
    shown_ = std::clamp((window.y - 64 - around) / step, 1, std::max(all, 1));
    scroll(0);
    return {width, std::max(around + shown_ * step, 2 * kSheetPad + kBadge + kSheetFoot - 8)};
}

bool MessageSheet::scroll(int lines) {
    const int last = static_cast<int>(text_.size()) - shown_;
    if (last <= 0) {
        first_ = 0;
        return false;
    }
    first_ = std::clamp(first_ + lines, 0, last);
    Refresh();
    return true;
}

void MessageSheet::scroll_by_hand() {
    Bind(wxEVT_MOUSEWHEEL, [this](wxMouseEvent& event) { scroll(event.GetWheelRotation() < 0 ? 3 : -3); });
    Bind(wxEVT_LEFT_DOWN, [this](wxMouseEvent& event) {
        drag_from_ = event.GetY();
        drag_first_ = first_;
        event.Skip();
    });
    Bind(wxEVT_MOTION, [this](wxMouseEvent& event) {
        if (event.LeftIsDown())
            scroll(drag_first_ - first_ + (drag_from_ - event.GetY()) / GetTextExtent("Ag").y);
    });
}

bool MessageSheet::handle_key(int key, bool shift) {
    const int page = std::max(shown_ - 1, 1);
    const int by = key == WXK_DOWN       ? 1
                   : key == WXK_UP       ? -1
                   : key == WXK_PAGEDOWN ? page
                   : key == WXK_PAGEUP   ? -page
                                         : 0;
    return (by != 0 && scroll(by)) || Sheet::handle_key(key, shift);
}

void MessageSheet::set_text(const wxString& text, double ring) {
    if (text == content_.text && std::abs(ring - ring_) < 0.002)
        return;
    const bool first = content_.text.empty(), other = text != content_.text;
    if (first) // a countdown is said once, not every second
        set_spoken(content_.title, text);
    content_.text = text;
    ring_ = ring;
    if (other)
        refit();
    Refresh();
}

void MessageSheet::draw(Canvas& canvas, const wxRect& card) {
    const Palette& p = palette();
    const wxColour tint = content_.grave ? p.bad : ring_ >= 0 ? p.warn : p.accent;
    const wxColour soft = content_.grave ? p.bad_soft : ring_ >= 0 ? p.warn_soft : p.accent_soft;
    const wxRect badge(card.x + kSheetPad, card.y + kSheetPad, kBadge, kBadge);
    canvas.fill(badge, soft, 32);
    canvas.glyph(content_.glyph, {badge.x + 16, badge.y + 16, 32, 32}, tint);
    if (ring_ >= 0) {
        const wxRect at = canvas.mirrored(badge);
        wxGraphicsPath arc = canvas.context().CreatePath();
        arc.AddArc(at.x + 32, at.y + 32, 30, -M_PI / 2, -M_PI / 2 + 2 * M_PI * std::min(ring_, 0.9999), true);
        canvas.context().SetPen(canvas.context().CreatePen(wxGraphicsPenInfo(tint, 4).Cap(wxCAP_ROUND)));
        canvas.context().StrokePath(arc);
    }
    const int left = card.x + kBeside, width = card.GetRight() + 1 - kSheetPad - left;
    int y = card.y + kSheetPad;
    const auto lines = [&](const std::vector<wxString>& all, size_t from, size_t count, const wxRect& box,
                           const wxFont& type, const wxColour& colour) {
        const int step = canvas.line_height(type);
        int at = box.y;
        for (size_t i = from; i < std::min(from + count, all.size()); ++i, at += step)
            canvas.text(all[i], {box.x, at, box.width, step}, type, colour);
        return at;
    };
    y = lines(title_, 0, title_.size(), {left, y, width, 0}, font(Type::Title, true), p.ink) + 10;
    const int top = y;
    y = lines(text_, static_cast<size_t>(first_), static_cast<size_t>(shown_), {left, y, width, 0},
              font(Type::Body), p.muted);
    if (const auto all = static_cast<double>(text_.size()); all > shown_)
        canvas.scroll_mark({card.GetRight() + 1 - kSheetPad, top, 6, y - top}, first_ / all,
                           (first_ + shown_) / all);
    if (!details_.empty()) {
        const int height = static_cast<int>(details_.size()) * canvas.line_height(font(Type::Small)) + 24;
        const wxRect box(card.x + kSheetPad, card.GetBottom() + 1 - kSheetFoot - height - 8,
                         card.width - 2 * kSheetPad, height);
        canvas.fill(box, p.raised, 8);
        lines(details_, 0, details_.size(), {box.x + 16, box.y + 12, box.width - 32, 0}, font(Type::Small),
              p.ink);
    }
}

} // namespace kiosk
