// The show when nobody is there: pictures of all scenes, one after the other, until somebody touches
// anything.
#pragma once
#include "kiosk/canvas.h"
#include "kiosk/catalog.h"

#include <chrono>
#include <wx/window.h>

namespace kiosk {

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
