// The kiosk's one window and what happens in it: tiles, sessions, the show when nobody is there, and the
// sheets that come up over them. Every guest is a process of its own; one that crashes, hangs or is killed
// leaves the tiles.
#pragma once
#include "kiosk/catalog_view.h"
#include "kiosk/guest_process.h"
#include "kiosk/seat.h"
#include "kiosk/session_view.h"
#include "kiosk/settings.h"
#include "kiosk/sheet.h"
#include "player/operations_log.h"

#include <bitset>
#include <wx/frame.h>
#include <wx/timer.h>

namespace kiosk {

class KioskFrame final : public wxFrame {
  public:
    KioskFrame(Settings settings, std::function<bool()> asked_to_stop);
    ~KioskFrame() override;
    [[nodiscard]] bool locked() const { return !settings_.window; }

  private:
    enum class Screen : uint8_t { Tiles, Attract, Session };
    enum class SheetKind : uint8_t { None, Message, Idle, Scenes, Pin, Staff };
    struct Running {
        std::unique_ptr<GuestHole> hole; // outlives the process in it
        std::unique_ptr<GuestProcess> process;
        std::shared_ptr<const Appliance> appliance;
        std::string scene, end;
        Clock::time_point began;
        bool was_live = false;
    };

    void tick();
    void lay_out();
    void show_screen(Screen screen);
    void end_show();
    [[nodiscard]] bool sheet_left_alone() const;

    void choose(const Appliance& appliance);
    void start_session(const std::shared_ptr<const Appliance>& appliance, std::optional<std::string> scene);
    void end_session(const char* why);
    void lose_session(GuestProcess::State state);
    void watch_session();
    void watch_leaving();
    void watch_clock();
    void jump(const std::string& scene);
    void restart();

    void open_sheet(SheetKind kind, Sheet* sheet);
    void close_sheet();
    void drop_sheet();
    const wxBitmap& backdrop();
    void open_scenes();
    void open_help();
    void tell(const wxString& title, const wxString& text, const std::string& details,
              std::vector<MessageSheet::Choice> choices);

    void ask_pin(const wxString& title, std::function<void()> then);
    void try_pin(PinSheet& sheet, const std::string& pin, const std::function<void()>& then);
    void give_more_time();
    void save_report(const std::string& details);
    void open_staff_menu();
    void staff_touch(const wxPoint& at);
    void leave();

    bool take_key(const SeatKey& key);
    void forward_key(const SeatKey& key);
    void release_keys();
    void note(std::string_view event, std::initializer_list<player::OperationsLog::Field> fields = {});

    Settings settings_;
    std::function<bool()> asked_to_stop_;
    std::unique_ptr<Catalog> catalog_;
    CatalogView* tiles_ = nullptr;
    SessionView* session_ = nullptr;
    AttractView* attract_ = nullptr;
    Sheet* sheet_ = nullptr;
    wxBitmap backdrop_;
    SheetKind sheet_kind_ = SheetKind::None;
    Screen screen_ = Screen::Tiles;
    std::unique_ptr<Running> running_;
    std::vector<std::unique_ptr<Running>> leaving_;
    SessionClock clock_;
    std::bitset<65536> held_; // keys that the guest believes are down
    wxTimer timer_;
    Clock::time_point sheet_until_{}, tiles_since_{}, top_checked_{}, show_ended_{};
    std::vector<Clock::time_point> staff_touches_;
    std::shared_ptr<player::OperationsLog> log_; // null: it cannot be written
};

} // namespace kiosk
