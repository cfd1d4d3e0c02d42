// The first screen: every bundle as a tile, live search when there are many, and - when nobody is there - a
// slow show of the scenes' pictures.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"

#include <chrono>

namespace kiosk {

// The sentence a visitor reads, and a salesperson understands.
[[nodiscard]] wxString refusal_sentence(Refusal refusal);
[[nodiscard]] wxString duration_text(uint32_t minutes);

class Tile final : public Control {
  public:
    Tile(wxWindow* parent, std::shared_ptr<const Appliance> appliance);
    [[nodiscard]] const Appliance& appliance() const { return *appliance_; }
    [[nodiscard]] bool is(const std::shared_ptr<const Appliance>& other) const { return appliance_ == other; }
    static int height_for(int width);

  protected:
    void draw(Canvas& canvas, wxSize size) override;

  private:
    std::shared_ptr<const Appliance> appliance_;
    wxBitmap picture_;
};

class CatalogView final : public wxWindow {
  public:
    CatalogView(wxWindow* parent, wxString headline);

    std::function<void(const Appliance&)> on_choose;

    void show(const ApplianceList& list);
    bool handle_key(int key, bool shift);
    bool handle_character(wxChar character);
    void clear_search();
    [[nodiscard]] size_t tile_count() const { return tiles_.size(); }
    void focus_first();

  private:
    void paint();
    void lay_out();
    void scroll_to(int offset);
    void filter();
    void show_focused();
    [[nodiscard]] wxRect search_field() const;

    wxString headline_, query_;
    ApplianceList list_;
    wxWindow* viewport_;
    std::vector<Tile*> tiles_; // those that match, in order
    std::vector<Tile*> all_;
    int scroll_ = 0, drag_start_ = 0, content_height_ = 0;
};

// Pictures of all scenes, one after the other, until somebody touches anything.
class AttractView final : public wxWindow {
  public:
    explicit AttractView(wxWindow* parent);
    bool begin(const ApplianceList& list); // false: there is nothing to show
    void tick();

  private:
    struct Slide {
        std::vector<uint8_t> png;
        wxString title, line;
    };
    void paint();
    void load(size_t slide, wxBitmap& into);

    std::vector<Slide> slides_;
    size_t current_ = 0;
    wxBitmap now_, next_;
    std::chrono::steady_clock::time_point since_;
};

} // namespace kiosk
