// How staff get in: by a chord, or five touches in the corner where reading begins, then their PIN.
#pragma once
#include "kiosk/kiosk_log.h"
#include "kiosk/sheet_host.h"

namespace kiosk {

class PinSheet;

class StaffDoor {
  public:
    StaffDoor(SheetHost& sheets, const KioskLog& log) : sheets_(sheets), log_(log) {}

    std::function<void()> on_leave, on_more_time;
    std::function<bool()> time_is_limited; // of a session that runs now

    void touch(const wxPoint& at); // in left-to-right terms
    void open();

  private:
    void try_pin(PinSheet& sheet, const std::string& typed);
    void open_menu();

    SheetHost& sheets_;
    const KioskLog& log_;
    std::vector<Clock::time_point> touches_;
};

} // namespace kiosk
