// What a session's window and the shell around it (kiosk, presenter) tell each other, through the control
// socket: any thread may read and write it.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

namespace player {

struct DisplayState {
    std::atomic<bool> shown{false}; // a picture of the guest has been on the screen
    std::atomic<bool> black{false}; // the shell wants a black screen for a while
    // Ctrl+Alt+letter belongs to the shell: how often one was pressed, and the last one (a lower-case
    // letter).
    std::atomic<bool> shell_takes_chords{false};
    std::atomic<uint64_t> chords{0}; // count << 8 | letter

    // Where the shell wants the window: on the display that shows this point of all displays together.
    struct Place {
        int x = 0, y = 0;
        bool full_screen = false;
    };
    void want_place(const Place& place) {
        const std::lock_guard lock(place_mutex_);
        place_ = place;
    }
    std::optional<Place> take_place() { // once for each time that it was wanted
        const std::lock_guard lock(place_mutex_);
        return std::exchange(place_, std::nullopt);
    }

    void note_chord(char letter) { chords = ((chords >> 8) + 1) << 8 | static_cast<uint8_t>(letter); }

  private:
    std::mutex place_mutex_;
    std::optional<Place> place_;
};

} // namespace player
