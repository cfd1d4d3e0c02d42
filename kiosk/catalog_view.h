// The first screen: every bundle as a tile, live search when there are many.
#pragma once
#include "kiosk/tile.h"

namespace kiosk {

class CatalogView final : public wxWindow {
  public:
    CatalogView(wxWindow* parent, wxString headline);

    std::function<void(const Appliance&)> on_choose;

    // `complete`: no more are being looked for.
    void show(const ApplianceList& list, bool complete);
    bool handle_key(int key, bool shift);
    bool handle_character(wxChar character);
    // As the next visitor should find it: from the top, all tiles, the first one next.
    void begin_anew();
    // To the tile that had it last, else the first.
    void take_focus();

  private:
    void paint();
    void lay_out();
    void choose_grid(const wxSize& size);
    void scroll_to(int offset);
    void filter();
    void clear_search();
    void focus_first();
    void show_focused();
    [[nodiscard]] wxRect search_field() const;

    wxString headline_, query_;
    ApplianceList list_;
    bool complete_ = false;
    wxWindow* viewport_;
    std::vector<Tile*> tiles_; // those that match, in order
    std::vector<Tile*> all_;
    Tile* last_ = nullptr;         // had the focus last
    int left_ = kMargin, top_ = 0; // where headline and tiles begin; a single row stands further down
    int columns_ = 1, row_height_ = 1;
    int scroll_ = 0, drag_start_ = 0, content_height_ = 0;
};

} // namespace kiosk
