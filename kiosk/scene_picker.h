// Scenes as pictures to choose from, and the menu of a session that is made of them.
#pragma once
#include "kiosk/sheet.h"

namespace kiosk {

// One scene of a picker or the presenter's list.
class SceneTile final : public Control {
  public:
    SceneTile(wxWindow* parent, const SceneCard& scene, int number, bool current, bool on_card = true);
    void set_current(bool current);

  protected:
    void draw(Canvas& canvas, wxSize size) override;
    [[nodiscard]] wxColour behind() const override;

  private:
    wxString title_, notes_;
    wxBitmap picture_;
    int number_;
    bool current_, on_card_;
};

// The menu of a session: its scenes with their pictures (keys 1 to 9 jump at once), and all the ribbon can
// do.
class ScenePicker final : public Sheet {
  public:
    ScenePicker(wxWindow* parent, const wxBitmap& backdrop, const Appliance& appliance,
                const std::string& current);
    std::function<void(const std::string&)> on_pick;
    std::function<void()> on_restart, on_help, on_end;
    bool handle_key(int key, bool shift) override;

  protected:
    void draw(Canvas& canvas, const wxRect& card) override;
    void lay_out(const wxRect& card) override;
    [[nodiscard]] wxSize wanted_card() override;

  private:
    [[nodiscard]] int columns(int card_width) const;
    void bring_into_view();
    void scroll_to(int row);

    wxString title_;
    std::vector<std::string> names_;
    int first_row_ = 0, rows_ = 1; // of pictures: the first that is seen, and how many are
    int drag_row_ = 0;
};

} // namespace kiosk
