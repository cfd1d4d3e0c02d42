// The presenter's window: scenes with their pictures, the notes of the one that is on, a clock, and the keys
// that a talk needs. The guest has a window of its own, over the whole of another display if there is one.
#pragma once
#include "kiosk/catalog.h"
#include "kiosk/control.h"
#include "kiosk/guest_process.h"
#include "kiosk/scene_picker.h"
#include "kiosk/settings.h"

#include <wx/frame.h>
#include <wx/timer.h>

namespace kiosk {

class PresenterFrame final : public wxFrame {
  public:
    PresenterFrame(Settings settings, Appliance appliance, std::function<bool()> asked_to_stop);
    ~PresenterFrame() override;

  private:
    void tick();
    void follow_displays();
    void paint();
    void lay_out();
    void start(const std::optional<std::string>& scene);
    void go_to(size_t scene);
    void step(int by);
    void start_over();
    void set_black(bool black);
    void end();
    void take_chord(char letter);
    bool take_key(int key, wchar_t character, bool control);
    [[nodiscard]] wxString clock_text() const;

    Settings settings_;
    Appliance appliance_;
    std::function<bool()> asked_to_stop_;
    std::unique_ptr<GuestProcess> guest_;
    std::optional<wxPoint> projector_; // a point on it, while there is one
    std::vector<std::unique_ptr<GuestProcess>> leaving_;
    wxWindow* page_;
    std::vector<SceneTile*> tiles_;
    std::vector<Control*> controls_;
    Button *next_ = nullptr, *black_button_ = nullptr, *again_ = nullptr, *end_button_ = nullptr;
    size_t current_ = 0;
    bool black_ = false, closing_ = false, good_receipt_ = false;
    uint64_t chords_seen_ = 0;
    wxString status_;
    Clock::time_point began_ = Clock::now(), shown_second_{};
    wxTimer timer_;
};

} // namespace kiosk
