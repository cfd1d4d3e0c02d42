// What a session's window and the shell around it (kiosk, presenter) tell each other, through the control
// socket: any thread may read and write it.
#pragma once
#include <atomic>
#include <cstdint>

namespace player {

struct DisplayState {
    std::atomic<bool> shown{false}; // a picture of the guest has been on the screen
    std::atomic<bool> black{false}; // the shell wants a black screen for a while
    // Ctrl+Alt+letter belongs to the shell: how often one was pressed, and the last one (a lower-case
    // letter).
    std::atomic<bool> shell_takes_chords{false};
    std::atomic<uint64_t> chords{0}; // count << 8 | letter

    void note_chord(char letter) { chords = ((chords >> 8) + 1) << 8 | static_cast<uint8_t>(letter); }
};

} // namespace player
