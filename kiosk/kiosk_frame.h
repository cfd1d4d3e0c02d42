// The kiosk's one window: which screen it shows - the tiles, a session, the show when nobody is there - and
// who gets the keys.
#pragma once
#include "kiosk/attract_view.h"
#include "kiosk/catalog_view.h"
#include "kiosk/sessions.h"
#include "kiosk/staff_door.h"

#include <wx/timer.h>

namespace kiosk {

class KioskFrame final : public wxFrame {
  public:
    KioskFrame(Settings settings, std::function<bool()> asked_to_stop);
    ~KioskFrame() override;
    [[nodiscard]] bool locked() const { return !settings_.window; }

  private:
    enum class Screen : uint8_t { Tiles, Attract, Session };

    void connect_parts();
    void tick();
    void lay_out();
    void show_screen(Screen screen);
    void show_views();
    void watch_show();
    void end_show();

    void choose(const Appliance& appliance);
    void start_session(const std::shared_ptr<const Appliance>& appliance,
                       const std::optional<std::string>& scene);
    void end_session(const char* why);
    void mourn(const Sessions::Loss& loss);
    void watch_clock();
    void tell_time_is_up();
    void jump(const std::string& scene);
    void restart();
    void open_scenes();
    void open_help();
    [[nodiscard]] bool sheet_left_alone();
    void leave();

    bool take_key(const SeatKey& key);
    bool take_sheet_key(const SeatKey& key);

    Settings settings_;
    std::function<bool()> asked_to_stop_;
    KioskLog log_;
    std::unique_ptr<Catalog> catalog_;
    CatalogView* tiles_ = nullptr;
    SessionView* session_ = nullptr;
    AttractView* attract_ = nullptr;
    SheetHost sheets_{*this};
    StaffDoor staff_{sheets_, log_};
    std::unique_ptr<Sessions> sessions_;
    Screen screen_ = Screen::Tiles;
    wxTimer timer_;
    Clock::time_point tiles_since_{}, top_checked_{}, show_ended_{};
};

} // namespace kiosk
