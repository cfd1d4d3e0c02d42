// Xorg with outputs that are plugged, resized and unplugged while it runs, and a touch screen: what Xvfb has
// not. The outputs are those of xserver-xorg-video-dummy, the fingers come through xserver-xorg-core's
// inputtest driver (inputtestdrv(4)). Needs no graphics card, console or root.
#pragma once
#include "tests/player/x_server.h"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <sys/socket.h>
#include <sys/un.h>

namespace session_test {

// Fingers on the whole of an X server's screen. What the driver's socket takes: messages that begin with
// their length and kind, in the server's byte order, protocol 1.1.
class TouchScreen {
  public:
    explicit TouchScreen(const std::string& socket_path);
    ~TouchScreen() { ::close(fd_); }
    TouchScreen(const TouchScreen&) = delete;

    // In shares of the screen's width and height, from 0 to 1. Each comes back when the server has dealt with
    // it.
    void down(double x, double y, uint32_t finger = 0) { touch(18, finger, x, y); } // XI_TouchBegin
    void move(double x, double y, uint32_t finger = 0) { touch(19, finger, x, y); } // XI_TouchUpdate
    void up(double x, double y, uint32_t finger = 0) { touch(20, finger, x, y); }   // XI_TouchEnd

  private:
    static constexpr double kAxis = 65535; // of the driver's two axes
    static constexpr size_t kValuators = 64;
    static constexpr uint32_t kTouchLength = 32 + 2 * 8 * kValuators;

    void touch(uint32_t phase, uint32_t finger, double x, double y);
    void receive(uint32_t kind);

    int fd_ = -1;
};

class XorgServer : public XServer {
  public:
    // Why there is none here; it says so on standard output, which ctest takes for a skipped test.
    static bool missing();

    // One output, DUMMY0, of this size.
    XorgServer(const std::string& folder, Manager wanted, int width, int height);

    // Connects an output (DUMMY0 to DUMMY15), or gives one another place or size.
    void plug(const std::string& output, const Place& box, bool primary = false);
    // Goes dark and is no longer connected, as when a desktop has dealt with a pulled cable.
    void unplug(const std::string& output);
    bool xrandr(const std::string& arguments) const {
        return std::system(("xrandr -d " + name + " " + arguments + " > /dev/null 2>&1").c_str()) == 0;
    }

    // A finger, in pixels of the whole screen.
    void finger_down(int x, int y, uint32_t finger = 0) { touch_->down(share_x(x), share_y(y), finger); }
    void finger_move(int x, int y, uint32_t finger = 0) { touch_->move(share_x(x), share_y(y), finger); }
    void finger_up(int x, int y, uint32_t finger = 0) { touch_->up(share_x(x), share_y(y), finger); }
    void tap(int x, int y);

  private:
    static std::vector<std::string> command(const std::string& folder);
    // Xlib keeps the size that the screen had when the display was opened.
    [[nodiscard]] Place screen() const;
    [[nodiscard]] double share_x(int x) const { return (x + 0.5) / screen().width; }
    [[nodiscard]] double share_y(int y) const { return (y + 0.5) / screen().height; }

    std::map<std::string, std::string> sizes_; // of each output: its mode's name
    std::optional<TouchScreen> touch_;
};

} // namespace session_test
