// The guest's screen in a window, and the person's keyboard and mouse in the guest. The only part that knows
// SDL. Belongs to the main thread; the machine runs in its own.
#pragma once
#include "player/display_state.h"
#include "player/session.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace player {

// How pictures of VGA's own modes are shown: a monitor fills its screen of 4:3 with them, whatever their
// size, so that their pixels are not square. Those of larger modes always are.
enum class Aspect : uint8_t {
    ByPlace,    // as a monitor where the screen is filled; dot for dot in a window
    FourThirds, // as a monitor
    Square,     // dot for dot
};

class Display {
  public:
    struct Options {
        bool full_screen = false;
        std::function<void()> on_capture{}; // Ctrl+Alt+S; not given: those keys are the guest's
        DisplayState* state = nullptr;      // shared with a shell; may be null
        uint64_t embed = 0;                 // the shell's X11 window to fill; 0: a window of its own
        int screen = 0;                     // which display a window of its own opens on
        std::function<void()> on_save{};    // Ctrl+Alt+W, as on_capture
        // The middle of a window of its own, in pixels of all displays together; not given: of `screen`'s.
        // Unlike its number, a point means the same display to every program.
        std::optional<std::pair<int, int>> at{};
        Aspect aspect = Aspect::ByPlace; // at first: Ctrl+Alt+A changes it
    };
    // Shows the session's preview at once, if it has one. Errors: no screen to open a window on.
    static base::Result<std::unique_ptr<Display>> open(Session& session, Options options);
    ~Display();
    Display(const Display&) = delete;
    Display& operator=(const Display&) = delete;

    // Takes input, shows a new picture if there is one; returns after about a sixtieth of a second. False:
    // the person closed the window.
    bool frame();

    // Shows a preview while the thread that calls frame() is busy with a jump.
    void show_preview();

    // Shows one line to the person for a while, in the window's title. From any thread.
    void notice(const std::string& text);

  private:
    Display();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// Tells a person who sees no terminal why there is nothing to see. Where no window can be shown, nothing
// happens.
void show_message(const std::string& text);

} // namespace player
