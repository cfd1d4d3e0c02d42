#include "tests/player/x_server.h"

namespace session_test {

XServer::XServer(const std::string& folder, Manager wanted, const std::string& size)
    : XServer(folder, {"Xvfb", "-screen", "0", size + "x24", "-nolisten", "tcp"}) {
    REQUIRE(display != nullptr); // is xvfb installed?
    if (wanted == Manager::Openbox)
        start_manager();
}

void XServer::start_manager() {
    const std::string started = folder_ + "/openbox.started";
    fs::remove(started);
    manager_ = ::fork();
    if (manager_ == 0) {
        ::setenv("DISPLAY", name.c_str(), 1);
        ::setenv("HOME", folder_.c_str(), 1);
        log_to("openbox.txt");
        ::execlp("openbox", "openbox", "--sm-disable", "--startup", ("touch '" + started + "'").c_str(),
                 nullptr);
        ::_exit(127);
    }
    REQUIRE(eventually([&] { return fs::exists(started); }));
}

XServer::~XServer() {
    if (display != nullptr)
        ::XCloseDisplay(display);
    for (const pid_t pid : {manager_, pid_}) {
        if (pid <= 0)
            continue;
        ::kill(pid, SIGTERM);
        ::waitpid(pid, nullptr, 0);
    }
}

double XServer::share(unsigned long colour, int x, int y, int width, int height) {
    XImage* image = ::XGetImage(display, DefaultRootWindow(display), x, y, static_cast<unsigned>(width),
                                static_cast<unsigned>(height), AllPlanes, ZPixmap);
    if (image == nullptr) // not all of it on the screen
        return 0;
    int count = 0;
    for (int row = 0; row < height; ++row)
        for (int column = 0; column < width; ++column)
            count += (XGetPixel(image, column, row) & 0xFFFFFF) == colour;
    XDestroyImage(image);
    return static_cast<double>(count) / (width * height);
}

std::string XServer::ask(const std::string& arguments) const {
    std::string answer;
    FILE* pipe = ::popen(("DISPLAY=" + name + " xdotool " + arguments + " 2>/dev/null").c_str(), "r");
    REQUIRE(pipe != nullptr);
    for (int c; (c = std::fgetc(pipe)) != EOF;)
        answer.push_back(static_cast<char>(c));
    ::pclose(pipe);
    return answer.substr(0, answer.find_last_not_of('\n') + 1);
}

bool XServer::find_window(Place& at, std::string& title) {
    window = ask("search --onlyvisible --class encore");
    if (window.empty() || window.find('\n') != std::string::npos)
        return false;
    title = ask("getwindowname " + window);
    const Window id = std::stoul(window);
    XWindowAttributes attributes{};
    Window child{};
    if (::XGetWindowAttributes(display, id, &attributes) == 0 ||
        ::XTranslateCoordinates(display, id, DefaultRootWindow(display), 0, 0, &at.x, &at.y, &child) == 0)
        return false;
    at.width = attributes.width;
    at.height = attributes.height;
    return true;
}

XServer::XServer(const std::string& folder, std::vector<std::string> command) : folder_(folder) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
        command.insert(command.end(), {"-displayfd", std::to_string(ready[1])});
        log_to("xserver.txt");
        std::vector<char*> words;
        for (std::string& word : command)
            words.push_back(word.data());
        words.push_back(nullptr);
        ::execvp(words[0], words.data());
        ::_exit(127);
    }
    ::close(ready[1]);
    char digits[16] = {};
    const ssize_t got = ::read(ready[0], digits, sizeof digits - 1);
    ::close(ready[0]);
    if (got <= 0)
        return;
    name = ":" + std::to_string(std::atoi(digits));
    ::XSetErrorHandler([](Display*, XErrorEvent*) { return 0; }); // windows come and go while we look
    display = ::XOpenDisplay(name.c_str());
    REQUIRE(display != nullptr);
}

void XServer::log_to(const char* file) const {
    const int log = ::open((folder_ + "/" + file).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(log, 1);
    ::dup2(log, 2);
}

} // namespace session_test
