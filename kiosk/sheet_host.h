// Which sheet is over the kiosk's screens: one at a time, on a picture of what was there. What lies behind
// is out of reach meanwhile, for fingers, keys and screen readers.
#pragma once
#include "kiosk/guest_process.h"
#include "kiosk/message_sheet.h"

#include <wx/frame.h>

namespace kiosk {

class SheetHost {
  public:
    enum class Kind : uint8_t { None, Message, Idle, Scenes, Pin, Staff };
    explicit SheetHost(wxFrame& frame) : frame_(frame) {}

    std::function<void(bool up)> on_change; // once the first is up, once the last is gone

    // A sheet that is there gives way.
    void open(Kind kind, Sheet* sheet);
    void close();
    void close_after(Clock::duration time) { until_ = Clock::now() + time; }
    void tick();
    void lay_out();

    // A sentence, and what to do; with details, staff can look at them and save them for a support desk.
    void tell(const wxString& title, const wxString& text, const std::string& details,
              std::vector<MessageSheet::Choice> choices);
    [[nodiscard]] MessageSheet::Choice closing(const wxString& label);

    // What a sheet lies on; one that follows another lies on the same.
    [[nodiscard]] const wxBitmap& backdrop();
    [[nodiscard]] wxWindow* parent() { return &frame_; }
    [[nodiscard]] Sheet* sheet() { return sheet_; } // null: none is up
    [[nodiscard]] Kind kind() const { return kind_; }
    [[nodiscard]] bool is_staffs() const { return kind_ == Kind::Pin || kind_ == Kind::Staff; }

  private:
    void drop();
    void save_report(const std::string& details);

    wxFrame& frame_;
    Sheet* sheet_ = nullptr;
    Kind kind_ = Kind::None;
    wxBitmap backdrop_;
    Clock::time_point until_{};
};

} // namespace kiosk
