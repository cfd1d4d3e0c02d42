// The sessions of a seat: the one that runs, and those that are over and go back to what their publisher
// signed behind the tiles. Each guest is a process of its own, and each session ends with a receipt in the
// log, whatever ended it.
#pragma once
#include "kiosk/guest_keys.h"
#include "kiosk/guest_process.h"
#include "kiosk/kiosk_log.h"
#include "kiosk/session_view.h"
#include "kiosk/settings.h"

namespace kiosk {

class Sessions {
  public:
    Sessions(wxFrame& frame, SessionView& view, const Settings& settings, const KioskLog& log)
        : frame_(frame), view_(view), settings_(settings), log_(log) {}

    struct Loss { // a session that ended by itself
        std::shared_ptr<const Appliance> appliance;
        bool by_guest = false;  // it was turned off inside
        bool never_ran = false; // it could not even start
        std::string said;
    };
    std::function<void(const Loss&)> on_loss;

    // Where a session begins if not where its publisher says. Errors: its process could not be started.
    base::Result<void> start(std::shared_ptr<const Appliance> appliance, std::optional<std::string> scene);
    void end(const char* why);
    void drop_all(); // the kiosk ends
    void jump(const std::string& scene);
    void restart();
    void extend();
    void pass_on(const SeatKey& key);
    void release_keys();

    // Carries everything on. The guest's window is covered by something while `covered`.
    void tick(bool covered);
    void lay_out();
    // Its time as the ribbon shows it, and whether that, or the visitor's patience, is over.
    SessionClock::Verdict look_at_clock();
    [[nodiscard]] double share_left(const SessionClock::Verdict& verdict) const; // of the warning's time

    [[nodiscard]] bool running() const { return running_ != nullptr; }
    [[nodiscard]] const Appliance& appliance() const { return *running_->appliance; }
    [[nodiscard]] const std::string& scene() const { return running_->scene; }

  private:
    struct Session {
        std::unique_ptr<GuestHole> hole; // outlives the process in it
        std::unique_ptr<GuestProcess> process;
        std::shared_ptr<const Appliance> appliance;
        std::optional<std::string> wanted; // where it began
        std::string scene;                 // where it is
        Clock::time_point began;
        bool was_live = false, noted_receipt = false, is_check = false;
    };
    void lose(GuestProcess::State state);
    void give_up_halted();
    void watch_running(bool covered);
    void watch_leaving();
    void ask_receipt(Session& left);
    void check_start(const Session& dead);
    void note_receipt(Session& left, const base::Result<std::string>& root);

    wxFrame& frame_;
    SessionView& view_;
    const Settings& settings_;
    const KioskLog& log_;
    std::unique_ptr<Session> running_;
    std::vector<std::unique_ptr<Session>> leaving_;
    SessionClock clock_;
    GuestKeys keys_;
};

} // namespace kiosk
