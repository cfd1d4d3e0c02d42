#include "kiosk/catalog_view.h"

#include <algorithm>
#include <cmath>
#include <wx/app.h>
#include <wx/dcbuffer.h>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kHeader = 128, kTextHeight = 152, kTileWidth = 336;
constexpr size_t kSearchFrom = 9; // tiles that do not need a search
constexpr int kPictureSide = 1100, kSlideSide = 2600;

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

wxRect padded(const wxRect& box, int by) {
    return {box.x + by, box.y + by, box.width - 2 * by, box.height - 2 * by};
}

} // namespace

wxString refusal_sentence(Refusal refusal) {
    switch (refusal) {
    case Refusal::None:
        return {};
    case Refusal::Unsigned:
        return _("Not signed by a publisher, so it will not be played.");
    case Refusal::Changed:
        return _("Changed or damaged since it was signed, so it will not be played.");
    case Refusal::Untrusted:
        return _("This computer does not trust its publisher yet.");
    case Refusal::Expired:
        return _("Its publisher's certificate has expired.");
    case Refusal::Newer:
        return _("It needs a newer version of Encore.");
    case Refusal::Unreadable:
        return _("This file cannot be read as a demo.");
    case Refusal::Over:
        return _("Its publisher offered it until a day that has passed.");
    case Refusal::Forbidden:
        return _("The rules of this computer do not allow it.");
    case Refusal::Rules:
        return _("The rules of this computer cannot be read: staff have to look at them.");
    }
    return {};
}

wxString duration_text(uint32_t minutes) {
    return wxString::Format(wxPLURAL("%u minute", "%u minutes", minutes), minutes);
}

// ------------------------------------------------------------------------------------------------ tile

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
    canvas.text(utf8(appliance_->title), {left, y, width, 28}, font(Type::Heading, true),
                refused ? p.muted : p.ink);
    y += 32;
    const int foot = size.y - 36;
    if (refused) {
        canvas.paragraph(refusal_sentence(appliance_->refusal), {left, y, width, foot - y}, font(Type::Body),
                         p.bad, 3);
        canvas.glyph(Glyph::Lock, {left - 2, foot, 20, 20}, p.faint);
        canvas.text(_("Not available"), {left + 24, foot - 2, width - 24, 24}, font(Type::Small), p.muted);
        return;
    }
    canvas.paragraph(utf8(appliance_->line), {left, y, width, foot - y}, font(Type::Body), p.muted, 2);
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

// ------------------------------------------------------------------------------------------------ the screen

CatalogView::CatalogView(wxWindow* parent, wxString headline) : headline_(std::move(headline)) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    viewport_ =
        new wxWindow(this, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxCLIP_CHILDREN);
    viewport_->SetBackgroundColour(palette().background);
    Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { lay_out(), event.Skip(); });
    const auto wheel = [this](wxMouseEvent& event) {
        scroll_to(scroll_ - event.GetWheelRotation() * 120 / std::max(event.GetWheelDelta(), 1));
    };
    Bind(wxEVT_LEFT_UP, [this](wxMouseEvent& event) {
        const wxRect field = search_field();
        if (!query_.empty() &&
            field.Contains(right_to_left() ? GetClientSize().x - event.GetX() : event.GetX(), event.GetY()))
            clear_search(); // whoever has no Esc key
        event.Skip();
    });
    Bind(wxEVT_MOUSEWHEEL, wheel);
    viewport_->Bind(wxEVT_MOUSEWHEEL, wheel);
}

void CatalogView::show(const ApplianceList& list) {
    if (list_ == list && !all_.empty())
        return;
    list_ = list;
    std::vector<Tile*> kept;
    for (const auto& appliance : list_) {
        const auto old =
            std::ranges::find_if(all_, [&](Tile* tile) { return tile != nullptr && tile->is(appliance); });
        if (old != all_.end()) {
            kept.push_back(*old);
            *old = nullptr;
            continue;
        }
        auto* tile = new Tile(viewport_, appliance);
        tile->on_activate = [this, appliance] {
            if (on_choose)
                on_choose(*appliance);
        };
        tile->on_drag = [this](int dy, bool begins) {
            if (begins)
                drag_start_ = scroll_;
            else
                scroll_to(drag_start_ - dy);
        };
        tile->on_focus = [this] { show_focused(); };
        kept.push_back(tile);
    }
    for (Tile* tile : all_)
        if (tile != nullptr) {
            tile->Hide();
            wxTheApp->ScheduleForDestruction(tile); // its action may be what is running
        }
    all_ = std::move(kept);
    if (all_.size() < kSearchFrom)
        query_.clear(); // there is no field any more that would show it
    filter();
}

void CatalogView::filter() {
    tiles_.clear();
    const wxString wanted = query_.Lower();
    for (Tile* tile : all_) {
        const Appliance& a = tile->appliance();
        const wxString all = (utf8(a.title) + "\n" + utf8(a.description) + "\n" + utf8(a.publisher)).Lower();
        const bool match = wanted.empty() || all.Contains(wanted);
        tile->Show(match);
        if (match)
            tiles_.push_back(tile);
    }
    scroll_ = 0;
    lay_out();
    Refresh();
}

void CatalogView::lay_out() {
    const wxSize size = GetClientSize();
    if (size.x < 200 || size.y < 200)
        return;
    viewport_->SetSize(0, kHeader, size.x, size.y - kHeader);
    const int room = size.x - 2 * kMargin + kGap;
    // As large as all of them can be seen at once, else as small as they can be read.
    const int most = std::clamp(room / (kTileWidth + kGap), 1, 8);
    int columns = std::min(2, most), width = 0, height = 0, rows = 0;
    for (;; ++columns) {
        width = std::min(room / columns - kGap, 560);
        height = Tile::height_for(width);
        rows = (static_cast<int>(tiles_.size()) + columns - 1) / columns;
        if (columns == most || rows * (height + kGap) + 8 <= size.y - kHeader)
            break;
    }
    content_height_ = rows * (height + kGap) + kMargin - kGap;
    scroll_ = std::clamp(scroll_, 0, std::max(0, content_height_ - (size.y - kHeader)));
    for (size_t i = 0; i < tiles_.size(); ++i) {
        const int column = static_cast<int>(i) % columns, row = static_cast<int>(i) / columns;
        place(tiles_[i],
              {kMargin + column * (width + kGap), 4 + row * (height + kGap) - scroll_, width, height});
    }
}

void CatalogView::scroll_to(int offset) {
    scroll_ = offset;
    lay_out();
    viewport_->Refresh();
}

void CatalogView::show_focused() {
    for (Tile* tile : tiles_) {
        if (!tile->focused() || !keyboard_in_use())
            continue;
        const int top = tile->GetPosition().y, height = tile->GetSize().y, view = viewport_->GetSize().y;
        if (top < 4)
            scroll_to(scroll_ + top - 4);
        else if (top + height > view - 16)
            scroll_to(scroll_ + top + height - view + 16);
    }
}

void CatalogView::focus_first() {
    if (!tiles_.empty())
        tiles_.front()->take_focus();
    else
        SetFocus();
}

bool CatalogView::handle_key(int key, bool shift) {
    if (key == WXK_ESCAPE || (key == WXK_BACK && !query_.empty())) {
        query_ = key == WXK_ESCAPE ? wxString() : query_.Left(query_.length() - 1);
        filter();
        focus_first();
        return true;
    }
    if (key == WXK_SPACE && !query_.empty())
        return false; // part of what is searched for
    return navigate(std::vector<Control*>(tiles_.begin(), tiles_.end()), key, shift);
}

bool CatalogView::handle_character(wxChar character) {
    if (all_.size() < kSearchFrom || !wxIsprint(character) || query_.length() >= 60 ||
        (character == ' ' && query_.empty()))
        return false;
    query_ += character;
    set_keyboard_in_use(true);
    filter();
    focus_first(); // Return opens what was found
    return true;
}

void CatalogView::clear_search() {
    if (!query_.empty()) {
        query_.clear();
        filter();
    }
}

// Empty: few enough to see them all.
wxRect CatalogView::search_field() const {
    const wxSize size = GetClientSize();
    const int width = std::min(360, size.x / 3);
    return all_.size() < kSearchFrom ? wxRect() : wxRect(size.x - kMargin - width, 40, width, kTouch + 4);
}

void CatalogView::paint() {
    wxAutoBufferedPaintDC dc(this);
    const Palette& p = palette();
    dc.SetBackground(wxBrush(p.background));
    dc.Clear();
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    const wxSize size = GetClientSize();
    Canvas canvas(*gc, size);
    const wxRect search = search_field();
    const int field = search.width;
    canvas.text(headline_, {kMargin, 40, size.x - 2 * kMargin - field - (field > 0 ? kGap : 0), 52},
                font(Type::Display, true), p.ink);
    if (field > 0) {
        canvas.fill(search, p.surface, kRadius);
        canvas.outline(search, query_.empty() ? p.line : p.accent, query_.empty() ? 1 : 2, kRadius);
        canvas.glyph(Glyph::Search, {search.x + 14, search.y + 14, 24, 24}, p.muted);
        canvas.text(query_.empty() ? _("Type to search") : query_,
                    {search.x + 50, search.y, search.width - 98, search.height}, font(Type::Body),
                    query_.empty() ? p.muted : p.ink);
        if (!query_.empty())
            canvas.glyph(Glyph::Cross, {search.GetRight() - 34, search.y + 16, 20, 20}, p.muted);
    }
    if (tiles_.empty()) {
        const wxRect box = padded(wxRect(0, kHeader, size.x, size.y - kHeader), kMargin);
        const int middle = box.y + box.height / 2 - 80;
        canvas.glyph(query_.empty() ? Glyph::Moon : Glyph::Search, {(size.x - 72) / 2, middle - 40, 72, 72},
                     p.faint, 1.5);
        canvas.text(query_.empty() ? _("No demos here yet") : _("Nothing found"),
                    {box.x, middle + 50, box.width, 36}, font(Type::Title, true), p.ink, Align::Middle);
        canvas.text(query_.empty()
                        ? _("Copy bundles into the catalog folder, or plug in a drive that has some.")
                        : _("Try another word, or press Esc to see everything."),
                    {box.x, middle + 92, box.width, 28}, font(Type::Body), p.muted, Align::Middle);
    }
    viewport_->Show(!tiles_.empty());
}

// ------------------------------------------------------------------------------------------------ attract

AttractView::AttractView(wxWindow* parent) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
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
