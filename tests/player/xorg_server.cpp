#include "tests/player/xorg_server.h"

namespace session_test {

TouchScreen::TouchScreen(const std::string& socket_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(socket_path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size());
    REQUIRE(eventually([&] {
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
            return true;
        ::close(std::exchange(fd_, -1));
        return false;
    }));
    const timeval patience{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const struct {
        uint32_t length = 12, kind = 0;
        uint16_t major = 1, minor = 1;
    } version;
    REQUIRE(::send(fd_, &version, sizeof version, MSG_NOSIGNAL) == sizeof version);
    receive(0); // the server's version
}

void TouchScreen::touch(uint32_t phase, uint32_t finger, double x, double y) {
    struct {
        uint32_t length = kTouchLength, kind = 6, finger, phase, has_unaccelerated = 0;
        uint8_t mask[kValuators / 8] = {3}; // x and y
        alignas(8) double values[kValuators] = {};
        double unaccelerated[kValuators] = {};
        // A request to say when its events have been dealt with. It is never answered on its own: the
        // server looks only after events.
        uint32_t sync_length = 8, sync_kind = 1;
    } event;
    static_assert(offsetof(decltype(event), sync_length) == kTouchLength);
    event.finger = finger;
    event.phase = phase;
    event.values[0] = std::round(x * kAxis);
    event.values[1] = std::round(y * kAxis);
    REQUIRE(::send(fd_, &event, sizeof event, MSG_NOSIGNAL) == sizeof event);
    receive(1);
}

void TouchScreen::receive(uint32_t kind) {
    uint32_t head[2];
    REQUIRE(::recv(fd_, head, sizeof head, MSG_WAITALL) == sizeof head);
    REQUIRE(head[1] == kind);
    REQUIRE(head[0] <= 64);
    char rest[64];
    const ssize_t left = static_cast<ssize_t>(head[0] - sizeof head);
    REQUIRE((left == 0 || ::recv(fd_, rest, static_cast<size_t>(left), MSG_WAITALL) == left));
}

bool XorgServer::missing() {
    for (const char* file : {"/usr/lib/xorg/Xorg", "/usr/lib/xorg/modules/drivers/dummy_drv.so",
                             "/usr/lib/xorg/modules/input/inputtest_drv.so"})
        if (!fs::exists(file)) {
            WARN("skipped: there is no " << file
                                         << "; install xserver-xorg-core and xserver-xorg-video-dummy");
            return true;
        }
    return false;
}

XorgServer::XorgServer(const std::string& folder, Manager wanted, int width, int height)
    : XServer(folder, command(folder)) {
    REQUIRE(display != nullptr); // xorg.txt in the folder says why not
    plug("DUMMY0", {0, 0, width, height}, true);
    if (wanted == Manager::Openbox)
        start_manager();
    touch_.emplace(folder + "/touch");
}

void XorgServer::plug(const std::string& output, const Place& box, bool primary) {
    const std::string mode = fmt::format("encore-{}x{}", box.width, box.height); // not one of the driver's
    // Blanking as short as can be; nothing is ever lit.
    const int across = box.width + 160, down = box.height + 40;
    xrandr(fmt::format("--newmode {0} {1:.2f} {2} {3} {4} {5} {6} {7} {8} {9}", mode,
                       across * down * 60 / 1e6, box.width, box.width + 48, box.width + 80, across,
                       box.height, box.height + 3, box.height + 9, down));
    xrandr(fmt::format("--addmode {} {}", output, mode));
    REQUIRE(xrandr(fmt::format("--output {} --mode {} --pos {}x{}{}", output, mode, box.x, box.y,
                               primary ? " --primary" : "")));
    REQUIRE(xrandr("--query")); // looks again what is connected, as a plugged cable makes it do
    sizes_.insert_or_assign(output, mode);
}

void XorgServer::unplug(const std::string& output) {
    REQUIRE(xrandr("--output " + output + " --off"));
    REQUIRE(xrandr("--delmode " + output + " " + sizes_.at(output)));
    REQUIRE(xrandr("--query"));
}

void XorgServer::tap(int x, int y) {
    finger_down(x, y);
    finger_up(x, y);
}

std::vector<std::string> XorgServer::command(const std::string& folder) {
    std::ofstream(folder + "/xorg.conf") << fmt::format(R"(
Section "ServerFlags"
Option "AutoAddDevices" "false"
Option "AutoEnableDevices" "false"
EndSection
Section "Device"
Identifier "card"
Driver "dummy"
VideoRam 262144
EndSection
Section "Monitor"
Identifier "monitor"
HorizSync 5-1000
VertRefresh 5-400
EndSection
Section "Screen"
Identifier "screen"
Device "card"
Monitor "monitor"
DefaultDepth 24
SubSection "Display"
    Depth 24
    Modes "1280x800"
    Virtual 8192 4096
EndSubSection
EndSection
Section "InputDevice"
Identifier "touch screen"
Driver "inputtest"
Option "SocketPath" "{0}/touch"
Option "DeviceType" "Touch"
Option "TouchCount" "5"
EndSection
Section "InputDevice"
Identifier "keyboard"
Driver "inputtest"
Option "SocketPath" "{0}/keyboard"
Option "DeviceType" "Keyboard"
EndSection
Section "InputDevice"
Identifier "mouse"
Driver "inputtest"
Option "SocketPath" "{0}/mouse"
Option "DeviceType" "Pointer"
EndSection
Section "ServerLayout"
Identifier "layout"
Screen "screen"
InputDevice "keyboard" "CoreKeyboard"
InputDevice "mouse" "CorePointer"
InputDevice "touch screen" "SendCoreEvents"
EndSection
)",
                                                        folder);
    fs::create_directories(folder + "/xorg.conf.d"); // none of this computer's
    return {"/usr/lib/xorg/Xorg",
            "-noreset",
            "-nolisten",
            "tcp",
            "-sharevts",
            "-novtswitch",
            "-config",
            folder + "/xorg.conf",
            "-configdir",
            folder + "/xorg.conf.d",
            "-logfile",
            folder + "/xorg.txt"};
}

Place XorgServer::screen() const {
    XWindowAttributes root{};
    ::XGetWindowAttributes(display, DefaultRootWindow(display), &root);
    return {0, 0, root.width, root.height};
}

} // namespace session_test
