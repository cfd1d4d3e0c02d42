#include "kiosk/catalog_view.h"

#include <algorithm>
#include <wx/app.h>
#include <wx/dcbuffer.h>
#include <wx/intl.h>

namespace kiosk {
namespace {

constexpr int kHeader = 120, kTileWidth = 276, kWidestTile = 560, kOnlyTile = 720; // the least, and the most
constexpr int kScrollMark = 24;   // the margin's part that says how far one has scrolled
constexpr size_t kSearchFrom = 9; // tiles that do not need a search

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

wxRect padded(const wxRect& box, int by) {
    return {box.x + by, box.y + by, box.width - 2 * by, box.height - 2 * by};
}

} // namespace

CatalogView::CatalogView(wxWindow* parent, wxString headline) : headline_(std::move(headline)) {
    SetBackgroundStyle(wxBG_STYLE_PAINT);
    Create(parent, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    viewport_ =
        new wxWindow(this, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxCLIP_CHILDREN);
    viewport_->SetBackgroundColour(palette().background);
    name_screen(*this, headline_);
    name_screen(*viewport_, headline_);
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

void CatalogView::show(const ApplianceList& list, bool complete) {
    if (std::exchange(complete_, complete) != complete)
        Refresh();
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
        tile->on_focus = [this, tile] {
            last_ = tile;
            show_focused();
        };
        kept.push_back(tile);
    }
    for (Tile* tile : all_)
        if (tile != nullptr) {
            if (last_ == tile)
                last_ = nullptr;
            tile->Hide();
            wxTheApp->ScheduleForDestruction(tile); // its action may be what is running
        }
    all_ = std::move(kept);
    if (all_.size() < kSearchFrom)
        query_.clear(); // there is no field any more that would show it
    filter();
    if (IsShownOnScreen())
        take_focus(); // Return opens what has the ring, from the first picture on
}

void CatalogView::filter() {
    tiles_.clear();
    const wxArrayString wanted = wxSplit(query_.Lower(), ' ', 0);
    for (Tile* tile : all_) {
        const Appliance& a = tile->appliance();
        const wxString all = (utf8(a.title) + "\n" + utf8(a.description) + "\n" + utf8(a.publisher)).Lower();
        // In any order, as long as all of them are there.
        const bool match =
            std::ranges::all_of(wanted, [&](const wxString& word) { return all.Contains(word); });
        tile->Show(match);
        if (match)
            tiles_.push_back(tile);
    }
    scroll_ = 0;
    lay_out();
    Refresh();
}

// Tiles as large as all of them can be seen at once, else as small as they can be read.
void CatalogView::choose_grid(const wxSize& size) {
    // Those that a search leaves over stay as they are.
    const int count = std::max<int>(1, static_cast<int>(query_.empty() ? tiles_.size() : all_.size()));
    const int room = size.x - 2 * kMargin + kGap, height = size.y - kHeader;
    const int most = std::clamp(room / (kTileWidth + kGap), 1, 8);
    int width = 0, rows = 0;
    for (columns_ = std::min({2, most, count});; ++columns_) {
        width = std::min(room / columns_ - kGap, count == 1 ? kOnlyTile : kWidestTile);
        rows = (count + columns_ - 1) / columns_;
        if (columns_ >= most || rows * (Tile::least_height(width) + kGap) <= height)
            break;
    }
    row_height_ = Tile::height_for(width) + kGap;
    if (rows * row_height_ > height && rows * (Tile::least_height(width) + kGap) <= height)
        row_height_ = height / rows;
    left_ = tiles_.empty() && query_.empty() ? kMargin : (size.x - columns_ * (width + kGap) + kGap) / 2;
    top_ = rows == 1 && query_.empty() && !tiles_.empty() ? std::max(0, (height - row_height_) / 3) : 0;
}

void CatalogView::lay_out() {
    const wxSize size = GetClientSize();
    if (size.x < 200 || size.y < 200)
        return;
    choose_grid(size);
    const int width = (size.x - 2 * left_ + kGap) / columns_ - kGap;
    const int rows = (static_cast<int>(tiles_.size()) + columns_ - 1) / columns_;
    place(viewport_, {0, top_ + kHeader, size.x - kScrollMark, size.y - kHeader - top_});
    content_height_ = rows * row_height_ + kMargin - 2 * kGap;
    scroll_ = std::clamp(scroll_, 0, std::max(0, content_height_ - viewport_->GetSize().y));
    for (size_t i = 0; i < tiles_.size(); ++i) {
        const int column = static_cast<int>(i) % columns_, row = static_cast<int>(i) / columns_;
        place(tiles_[i],
              {left_ + column * (width + kGap), row * row_height_ - scroll_, width, row_height_ - kGap});
    }
    Refresh();
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
        if (top < 0)
            scroll_to(scroll_ + top);
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

void CatalogView::take_focus() {
    const auto last = std::ranges::find(tiles_, last_);
    if (last != tiles_.end())
        (*last)->take_focus();
    else
        focus_first();
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
    const std::vector<Control*> controls(tiles_.begin(), tiles_.end());
    if (key != WXK_PAGEDOWN && key != WXK_PAGEUP)
        return navigate(controls, key, shift);
    for (int rows = std::max(1, viewport_->GetSize().y / row_height_); rows > 0; --rows)
        navigate(controls, key == WXK_PAGEDOWN ? WXK_DOWN : WXK_UP, false);
    return true;
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

void CatalogView::begin_anew() {
    clear_search();
    last_ = nullptr;
    scroll_to(0);
}

// Empty: few enough to see them all.
wxRect CatalogView::search_field() const {
    const wxSize size = GetClientSize();
    const int width = std::min(360, size.x / 3);
    return all_.size() < kSearchFrom ? wxRect() : wxRect(size.x - left_ - width, 36, width, kTouch + 4);
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
    canvas.text(headline_, {left_, 36 + top_, size.x - 2 * left_ - field - (field > 0 ? kGap : 0), 52},
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
    if (tiles_.empty() && (complete_ || !query_.empty())) {
        const wxRect box = padded(wxRect(0, kHeader, size.x, size.y - kHeader), kMargin);
        const int middle = box.y + box.height / 2 - 80;
        canvas.glyph(query_.empty() ? Glyph::Tray : Glyph::Search, {(size.x - 72) / 2, middle - 40, 72, 72},
                     p.faint, 1.5);
        canvas.text(query_.empty() ? _("No demos here yet") : _("Nothing found"),
                    {box.x, middle + 50, box.width, 36}, font(Type::Title, true), p.ink, Align::Middle);
        canvas.text(query_.empty()
                        ? _("Copy bundles into the catalog folder, or plug in a drive that has some.")
                        : _("Try another word, or press Esc to see everything."),
                    {box.x, middle + 92, box.width, 28}, font(Type::Body), p.muted, Align::Middle);
    }
    viewport_->Show(!tiles_.empty());
    const int view = viewport_->GetSize().y;
    if (const double all = content_height_; !tiles_.empty() && all > view)
        canvas.scroll_mark({size.x - kScrollMark + 6, kHeader, 6, view - kMargin / 2}, scroll_ / all,
                           (scroll_ + view) / all);
}

} // namespace kiosk
