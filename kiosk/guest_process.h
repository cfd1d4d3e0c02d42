// One guest session as the shell sees it: a child process `encore run`, the socket it inherits, and whether
// it is still well. The guest runs in a process of its own so that whatever happens to it - a crash, a hang,
// a kill
// - happens to it alone. Belongs to one thread; poll() carries everything on.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace kiosk {

using Clock = std::chrono::steady_clock;

struct GuestStatus {
    bool shown = false;  // its picture has been on the screen
    bool halted = false; // for good: nothing will happen in it any more
    uint64_t reverts = 0, overlay_bytes = 0;
    uint64_t chords = 0; // Ctrl+Alt+letter pressed in a window of the guest's own
    char chord = 0;
};

class GuestProcess {
  public:
    struct Options {
        std::string encore; // the player's executable
        std::string bundle;
        std::optional<std::string> scene; // empty text: power-on; not given: where the publisher says
        uint64_t embed = 0;               // an X11 window to fill; 0: a window of its own
        bool full_screen = false, headless = false;
        std::string at{}; // as `encore run --at`; empty: the first display
    };
    enum class State : uint8_t { Starting, Live, Hung, Ended };

    static base::Result<std::unique_ptr<GuestProcess>> start(const Options& options);
    ~GuestProcess(); // kills what still runs
    GuestProcess(const GuestProcess&) = delete;
    GuestProcess& operator=(const GuestProcess&) = delete;

    State poll();

    using Answer = std::function<void(const nlohmann::json&)>; // has "ok"
    void ask(const nlohmann::json& request, Answer answer = {});
    void key(uint16_t scan_code, bool pressed);
    // Reverts, compares with what the publisher signed, and ends. The answer comes from poll(): the receipt's
    // root, or why there is none.
    void leave(std::function<void(const base::Result<std::string>&)> receipt);
    void kill(); // at once, whatever state it is in

    [[nodiscard]] const GuestStatus& status() const { return status_; }
    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] std::optional<int> exit_status() const { return exit_status_; } // or minus the signal
    [[nodiscard]] bool leaving() const { return leaving_; }
    // The last lines that it wrote for a person.
    [[nodiscard]] const std::string& said() const { return said_; }
    [[nodiscard]] std::optional<Clock::duration> time_to_live() const { return time_to_live_; }

  private:
    GuestProcess() = default;
    void reap();
    void read_output();
    void send();
    void receive();
    void take_answer(const std::string& line);
    void take_status(const nlohmann::json& answer);

    pid_t pid_ = -1;
    std::optional<int> exit_status_;
    std::string said_, input_, output_;
    base::UniqueFd socket_, said_fd_;
    std::deque<Answer> waiting_; // in the order asked
    GuestStatus status_;
    Clock::time_point started_, last_asked_, last_heard_;
    std::optional<Clock::duration> time_to_live_;
    bool answered_ = false; // at all
    bool leaving_ = false, status_asked_ = false;
};

} // namespace kiosk
