// What code that has taken over a thread of a machine's process can do: the attempts that the network's
// process is tried with (tests/vmm/jail), from each kind of thread, with a machine around it; and what it can
// say.
#include "player/machine/client.h"
#include "tests/player/machine/raw_end.h"
#include "tests/vmm/jail/room_world.h"

using namespace jail_test;
using namespace machine;
using namespace machine_test;

namespace {

const std::vector<std::string> kThreads{"orders", "requests", "events",    "vcpu",
                                        "disk",   "cable",    "read-ahead"};

std::string judge(const std::string& program, bool nobody, const Lacks& lacks,
                  const std::function<std::vector<std::string>(size_t number)>& where) {
    return judge_inside(World::Network::None, program, nobody, lacks, where);
}

} // namespace

TEST_CASE("machine's room: whatever code in any of its threads tries is denied or ends it, and nothing "
          "outside changes",
          "[machine]") {
    const PublicCopy prisoner(MACHINE_PRISONER);
    CHECK(apart([&] { return judge(prisoner.path, false, {}, [](size_t) { return kThreads; }); }) == "");
}

TEST_CASE("machine's room: likewise for other users, on systems that offer less", "[machine]") {
    const PublicCopy prisoner(MACHINE_PRISONER);
    size_t turn = 0; // another thread for each of them
    everywhere([&](bool user, const Lacks& lacks) {
        ++turn;
        CHECK(apart([&] {
                  return judge(prisoner.path, user, lacks, [&](size_t number) {
                      return std::vector{kThreads[(number + turn) % kThreads.size()]};
                  });
              }) == "");
    });
}

TEST_CASE("machine's room: what its process may not say to the player ends it, with a sentence",
          "[machine]") {
    struct Saying {
        const char* what;
        Bytes packet;
        int files = 0;
    };
    const Saying sayings[] = {
        {"nothing", {}},
        {"a piece of a head", Bytes(5)},
        {"a kind that there is not", packet(static_cast<Kind>(200), 0)},
        {"what only the player says", packet(Kind::Key, 0, Bytes(3))},
        {"a request", packet(Kind::Pause, 1)},
        {"an answer that nobody waits for", packet(Kind::Answer, 7, Bytes{1})},
        {"an answer without a number", packet(Kind::Answer, 0, Bytes{1})},
        {"an event with a number", packet(Kind::Silence, 3)},
        {"more than an event holds", packet(Kind::Silence, 0, Bytes(9))},
        {"a first part of nothing", packet(Kind::Serial, 0, {}, 1)},
        {"a mark that there is not", packet(Kind::Serial, 0, {}, 7)},
        {"a text that is longer than its message", packet(Kind::Notice, 0, Bytes{255, 255, 255, 255, 'x'})},
        {"sound of no rate", packet_of(Sound{0, Bytes(4)})},
        {"half a sample", packet_of(Sound{48000, Bytes(3)})},
        {"a state that there is not", packet(Kind::State, 0, Bytes(40, 0xEE))},
        {"a descriptor", packet(Kind::Silence, 0), 1},
    };
    for (const Saying& saying : sayings) {
        INFO(saying.what);
        auto ends = Channel::pair();
        std::array<int, 2> report{};
        REQUIRE(ends);
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, report.data()) == 0);
        const base::UniqueFd ours(report[0]), theirs(report[1]),
            file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        std::string hex;
        for (const uint8_t byte : saying.packet)
            hex += fmt::format("{:02x}", byte);
        auto client = Client::with(std::move((*ends)[0]), {});
        REQUIRE(client);
        auto program = jail::Program::start(MACHINE_PRISONER, {"says", hex, fmt::format("{}", saying.files)},
                                            std::array{theirs.get(), file.get(), (*ends)[1].get()},
                                            jail::Program::Network::None);
        REQUIRE(program);
        (*ends)[1].reset();
        (*client)->wait_for_end();
        CHECK((*client)->exit_reason() == vmm::ExitReason::HostError);
        if (!saying.packet.empty()) // which the kernel takes for an end
            CHECK((*client)->failure().message ==
                  "the machine's process broke its rules and was ended; start the session again");
        CHECK(program->wait().starts_with("ended with status"));
    }
}
