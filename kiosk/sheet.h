// What comes up over a screen and takes all input until it is answered: a card on the dimmed picture of what
// was there. The guest's window is hidden meanwhile, so nothing of it can cover the card.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"

#include <chrono>

namespace kiosk {

inline constexpr int kSheetPad = 32, kSheetFoot = 88; // around what a card says, and its row of buttons

class Sheet : public wxWindow {
  public:
    Sheet(wxWindow* parent, const wxBitmap& backdrop, wxSize card);

    virtual bool handle_key(int key, bool shift);
    virtual bool handle_character(wxChar) { return false; }
    virtual void tick() {}
    std::function<void()> on_cancel; // Esc, or a touch beside the card; not given: it has to be answered

  protected:
    virtual void draw(Canvas& canvas, const wxRect& card) = 0;
    virtual void lay_out(const wxRect& card) = 0;
    // Buttons at the foot of the card, the last one at the end of the line.
    void lay_out_buttons(const wxRect& card);
    [[nodiscard]] wxRect card() const;
    // The size that the card should have now, if the window has room for it.
    [[nodiscard]] virtual wxSize wanted_card() { return card_; }
    void refit(); // asks for it again
    // For screen readers: what the card says, which is painted and no control's name.
    void set_spoken(const wxString& title, const wxString& text);

    std::vector<Control*> controls_;
    std::vector<Button*> buttons_;

  private:
    void paint();
    wxBitmap backdrop_;
    wxSize card_;
};

} // namespace kiosk
