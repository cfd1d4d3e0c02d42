// A real X server (Xvfb), what is on its screen, and xdotool as the person in front of it.
#pragma once
#include "tests/player/session_desk.h"

#include <X11/Xlib.h>
#include <X11/Xutil.h>

namespace session_test {

struct Place {
    int x = 0, y = 0, width = 0, height = 0;
};

// An X server of this test's own. Going full screen takes a window manager; kiosks do without.
class XServer {
  public:
    enum class Manager : uint8_t { Absent, Openbox };
    explicit XServer(const std::string& folder, Manager wanted = Manager::Openbox,
                     const std::string& size = "2000x1200");
    // Comes back when it has looked at all windows: one that is mapped before that may never be told so.
    void start_manager();
    ~XServer();
    XServer(const XServer&) = delete;

    bool tool(const std::string& arguments) {
        return std::system(("DISPLAY=" + name + " xdotool " + arguments + " > /dev/null 2>&1").c_str()) == 0;
    }
    // The share of the screen's pixels, in the given rectangle, that have this colour.
    double share(unsigned long colour, int x, int y, int width, int height);
    // What xdotool answers.
    std::string ask(const std::string& arguments) const;
    // Where the player's window is, and its title.
    bool find_window(Place& at, std::string& title);

    std::string name;
    Display* display = nullptr;
    std::string window; // its id

  protected:
    // Any server that takes -displayfd. No display: it did not start.
    XServer(const std::string& folder, std::vector<std::string> command);

  private:
    void log_to(const char* file) const;

    std::string folder_;
    pid_t pid_ = -1, manager_ = -1;
};

} // namespace session_test
