// A session in a process of its own that takes requests.
#pragma once
#include "tests/player/session_client.h"

namespace session_test {

// `encore run ARGUMENTS`, with its control socket at "c".
struct Running {
    Running(Desk& the_desk, std::vector<std::string> arguments) : desk(the_desk) {
        arguments.insert(arguments.end(), {"--headless", "--serial", "serial.txt", "--control", "c"});
        fs::remove(desk.path + "/serial.txt");
        child = desk.start(std::move(arguments));
        client = std::make_unique<Client>(desk.path + "/c");
    }
    ~Running() {
        if (child > 0)
            Desk::finish(child, SIGKILL);
    }
    bool says(const std::string& text) {
        return eventually([&] { return desk.says(text); });
    }
    std::string state() { return client->ask(R"({"do":"status"})").at("state"); }
    int finish() { return Desk::finish(std::exchange(child, -1)); }
    Desk& desk;
    pid_t child = -1;
    std::unique_ptr<Client> client;
};

} // namespace session_test
