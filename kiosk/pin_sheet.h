// Where staff type their PIN, by touch or keys.
#pragma once
#include "kiosk/sheet.h"

namespace kiosk {

// Digits behind dots; what is typed is handed over whole.
class PinSheet final : public Sheet {
  public:
    PinSheet(wxWindow* parent, const wxBitmap& backdrop, const wxString& title);
    std::function<void(const std::string& pin)> on_pin;
    bool handle_key(int key, bool shift) override;
    bool handle_character(wxChar character) override;
    void refuse(const wxString& why); // empties the field

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override;

  private:
    void add(char digit);
    void submit();
    wxString title_, message_;
    std::string pin_;
};

} // namespace kiosk
