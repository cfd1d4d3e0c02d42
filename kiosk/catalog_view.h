// The first screen: every bundle as a tile, live search when there are many.
#pragma once
#include "kiosk/tile.h"

namespace kiosk {

class CatalogView final : public wxWindow {
  public:
    CatalogView(wxWindow* parent, wxString headline);

    std::function<void(const Appliance&)> on_choose;

    void show(const ApplianceList& list);
    bool handle_key(int key, bool shift);
    bool handle_character(wxChar character);
    // As the next visitor should find it: from the top, all tiles, the first one next.
    void begin_anew();
    // To the tile that had it last, else the first.
    void take_focus();

  private:
    void paint();
    void lay_out();
    void scroll_to(int offset);
    void filter();
    void clear_search();
    void focus_first();
    void show_focused();
    [[nodiscard]] wxRect search_field() const;

    wxString headline_, query_;
    ApplianceList list_;
    wxWindow* viewport_;
    std::vector<Tile*> tiles_; // those that match, in order
    std::vector<Tile*> all_;
    Tile* last_ = nullptr; // had the focus last
    int scroll_ = 0, drag_start_ = 0, content_height_ = 0;
};

} // namespace kiosk
