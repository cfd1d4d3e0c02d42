// One bundle on the first screen: its picture, what it is, who vouches for it, or why it stays shut.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"

namespace kiosk {

// The sentence a visitor reads, and a salesperson understands.
[[nodiscard]] wxString refusal_sentence(Refusal refusal);
[[nodiscard]] wxString duration_text(uint32_t minutes);

class Tile final : public Control {
  public:
    Tile(wxWindow* parent, std::shared_ptr<const Appliance> appliance);
    [[nodiscard]] const Appliance& appliance() const { return *appliance_; }
    [[nodiscard]] bool is(const std::shared_ptr<const Appliance>& other) const { return appliance_ == other; }
    static int height_for(int width);   // with all of a picture 16 to 9
    static int least_height(int width); // with the lower part of it cut off

  protected:
    void draw(Canvas& canvas, wxSize size) override;

  private:
    std::shared_ptr<const Appliance> appliance_;
    wxBitmap picture_;
};

} // namespace kiosk
