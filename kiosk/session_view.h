// The screen around a running guest: the ribbon with the time left and what can be done, and the room below
// it that the guest's window fills. Until the guest is live, its scene's stored picture stands there.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"
#include "kiosk/session_clock.h"

namespace kiosk {

class SessionView final : public wxWindow {
  public:
    explicit SessionView(wxWindow* parent);

    std::function<void()> on_scenes, on_restart, on_help, on_end;

    void begin(const Appliance& appliance, const std::optional<std::string>& scene);
    void show_time(std::optional<std::chrono::milliseconds> left, double share_used, bool warning);
    void set_live(bool live);
    [[nodiscard]] wxRect guest_area() const; // in this window

  private:
    void paint();
    void lay_out();

    wxString title_, publisher_, time_;
    wxBitmap picture_;
    double share_ = -1;
    bool warning_ = false, live_ = false;
    int buttons_width_ = 0;
    Button *scenes_, *restart_, *help_, *end_;
};

} // namespace kiosk
