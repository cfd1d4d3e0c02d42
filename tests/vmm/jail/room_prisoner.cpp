// A process of ours that has been taken over: room_prisoner WHERE ATTEMPT FOLDER PROCESS VARIABLE, where
// WHERE is "network", the room of that process, or "outside", or "explained". It says kInside and which walls
// stand, makes the attempt and says its error number, all on kToTest.
#include "tests/vmm/jail/room_attempts.h"
#include "vmm/jail/filters/filters.h"
#include "vmm/jail/room.h"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <unistd.h>

int main(int count, char** words) {
    using namespace jail_test;
    if (count != 6)
        return 2;
    const std::string where = words[1];
    const RoomAttempt& attempt = kRoomAttempts[std::strtoul(words[2], nullptr, 10)];
    target = {words[3], std::atoi(words[4]), std::strtol(words[5], nullptr, 10)};
    char walls = 0;
    if (where != "outside") {
        if (where == "explained")
            ::dup2(kToTest, STDERR_FILENO);
        const auto stand =
            jail::enter({.descriptors = kDescriptors,
                         .calls = jail::kNetworkCalls,
                         .memory = 512u << 20,
                         .connects = true,
                         .answer = [](int, const std::array<uint64_t, 6>&) { return std::optional<long>(); },
                         .explain = where == "explained"});
        if (!stand || !stand->filter)
            return 3;
        walls = static_cast<char>(stand->bits());
    }
    const std::array<char, 2> inside{kInside, walls};
    if (::write(kToTest, inside.data(), inside.size()) != ssize_t{inside.size()})
        return 4;
    errno = 0;
    const int error = attempt.make() < 0 ? errno : 0;
    if (::write(kToTest, &error, sizeof error) != sizeof error)
        return 5;
    ::_exit(0);
}
