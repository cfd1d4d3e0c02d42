// The network process and the player, each when the other does not do what it should.
#include "player/frame_channel.h"
#include "player/network_orders.h"
#include "player/network_process.h"
#include "signing/small_file.h"
#include "tests/folder.h"
#include "tests/player/network_guest.h"
#include "vmm/jail/foreign_program.h"
#include "vmm/jail/program.h"

#include <csignal>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace player;
using network_test::Frame;
using network_test::Guest;
using End = FrameChannel::End;

namespace {

Frame frame_of(size_t length, uint8_t fill = 0x55) { return Frame(length, fill); }

struct Channel {
    FrameChannel guest, world;
    static Channel make() {
        auto one = FrameChannel::make();
        REQUIRE(one);
        const auto numbers = one->numbers();
        FrameChannel::Descriptors other{base::UniqueFd(::dup(numbers[0])), base::UniqueFd(::dup(numbers[1])),
                                        base::UniqueFd(::dup(numbers[2]))};
        return {FrameChannel::open(std::move(*one), End::Guest).value(),
                FrameChannel::open(std::move(other), End::World).value()};
    }
};

bool rung(const FrameChannel& end) {
    pollfd bell{end.bell(), POLLIN, 0};
    const bool is = ::poll(&bell, 1, 0) == 1;
    end.hear();
    return is;
}

NetworkOrders sample_orders() {
    return {{0x0A000200, 24},
            {{0xC0A80000, 16}, {0xC0A80114, 32}},
            {{8080, 80}},
            {true, {0xC0A80114, 0xC0A801FF}, {{0xC0A80100, 24}}, 0x08080808}};
}

// The real network process, and we are its player.
struct Started {
    explicit Started(const std::vector<uint8_t>& first_order) {
        std::array<int, 2> pair{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) == 0);
        orders = base::UniqueFd(pair[0]);
        const base::UniqueFd theirs(pair[1]);
        auto made = FrameChannel::make();
        REQUIRE(made);
        const auto numbers = made->numbers();
        auto started = jail::Program::start(NETWORK_PROGRAM, {},
                                            std::array{theirs.get(), numbers[0], numbers[1], numbers[2]},
                                            jail::Program::Network::OfThisComputer);
        REQUIRE(started);
        process.emplace(std::move(*started));
        channel.emplace(FrameChannel::open(std::move(*made), End::Guest).value());
        say(first_order);
    }
    void say(const std::vector<uint8_t>& message) const {
        REQUIRE(::send(orders.get(), message.data(), message.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(message.size()));
    }
    [[nodiscard]] std::optional<NetworkReport> report() const {
        std::array<uint8_t, 100> room{};
        const ssize_t length = ::recv(orders.get(), room.data(), room.size(), 0);
        return length > 0 ? report_from({room.data(), static_cast<size_t>(length)}) : std::nullopt;
    }
    [[nodiscard]] bool ready() const {
        const auto said = report();
        return said && said->kind == NetworkReport::Kind::Ready;
    }

    base::UniqueFd orders;
    std::optional<jail::Program> process;
    std::optional<FrameChannel> channel;
};

// A line of /proc/PID/status.
std::string status_of(pid_t process, const std::string& key) {
    const std::string text = signing::read_small_file(fmt::format("/proc/{}/status", process)).value_or("");
    const size_t at = text.find(key + ":\t");
    return at == std::string::npos
               ? ""
               : text.substr(at + key.size() + 2, text.find('\n', at) - at - key.size() - 2);
}

} // namespace

TEST_CASE("frame channel: frames come out as they went in, in order, as many as there is room for",
          "[network]") {
    auto channel = Channel::make();
    Frame frame(FrameChannel::kMaxFrame);
    std::span<uint8_t, FrameChannel::kMaxFrame> out(frame.data(), frame.size());
    CHECK(channel.world.take(out) == 0);
    for (unsigned round = 0; round < 5; ++round) { // around the ring
        unsigned put = 0;
        while (channel.guest.put(frame_of(14 + (put + round) % 1501, static_cast<uint8_t>(put))))
            ++put;
        CHECK(put == FrameChannel::kSlots);
        CHECK(channel.guest.pending() == put);
        for (unsigned i = 0; i < put; ++i) {
            REQUIRE(channel.world.take(out) == 14 + (i + round) % 1501);
            REQUIRE(frame[13] == static_cast<uint8_t>(i));
        }
        CHECK(channel.world.take(out) == 0);
        CHECK(channel.world.put(frame_of(60)));
        CHECK(channel.guest.take(out) == 60);
    }
    CHECK_FALSE(channel.guest.put(frame_of(13)));
    CHECK_FALSE(channel.guest.put(frame_of(FrameChannel::kMaxFrame + 1)));
    CHECK_FALSE(channel.guest.broken());
    channel.world.show_sockets(7);
    CHECK(channel.guest.sockets() == 7);
}

TEST_CASE("frame channel: the bell is rung once for who asked, and not for who did not", "[network]") {
    auto channel = Channel::make();
    Frame frame(FrameChannel::kMaxFrame);
    std::span<uint8_t, FrameChannel::kMaxFrame> out(frame.data(), frame.size());
    channel.guest.put(frame_of(60));
    CHECK_FALSE(rung(channel.world));
    CHECK(channel.world.want_frames()); // there is one
    channel.world.take(out);
    CHECK_FALSE(channel.world.want_frames());
    channel.guest.put(frame_of(60));
    CHECK(rung(channel.world));
    channel.guest.put(frame_of(60));
    CHECK_FALSE(rung(channel.world));
    while (channel.guest.put(frame_of(60))) {
    }
    CHECK_FALSE(channel.guest.want_room());
    for (unsigned i = 0; i < FrameChannel::kSlots / 2 - 1; ++i)
        channel.world.take(out);
    CHECK_FALSE(rung(channel.guest)); // not for a single one
    channel.world.take(out);
    CHECK(rung(channel.guest));
    CHECK(channel.guest.want_room());
}

TEST_CASE("frame channel: what is handed over has to be one", "[network]") {
    CHECK_FALSE(FrameChannel::open({}, End::World));
    auto made = FrameChannel::make();
    REQUIRE(made);
    CHECK(::ftruncate(made->memory.get(), 0) != 0); // nobody can make it fault
    CHECK(::ftruncate(made->memory.get(), 1 << 30) != 0);
    FrameChannel::Descriptors open{base::UniqueFd(::memfd_create("x", MFD_CLOEXEC)),
                                   std::move(made->to_world), std::move(made->to_guest)};
    CHECK_FALSE(FrameChannel::open(std::move(open), End::World));
}

TEST_CASE(
    "network orders: what is said is what is heard, and whatever is cut, longer or out of bounds is nothing",
    "[network]") {
    const NetworkOrders orders = sample_orders();
    auto message = to_message(orders);
    CHECK(orders_from(message) == orders);
    CHECK(surroundings_from(to_message(orders.around)) == orders.around);
    CHECK_FALSE(surroundings_from(message)); // each has its kind
    CHECK_FALSE(orders_from(to_message(orders.around)));
    for (size_t length = 0; length < message.size(); ++length)
        CHECK_FALSE(orders_from(std::span(message).first(length)));
    message.push_back(0);
    CHECK_FALSE(orders_from(message));

    NetworkOrders wrong = orders;
    wrong.network = {0x0A000201, 24}; // an address in it
    CHECK_FALSE(orders_from(to_message(wrong)));
    wrong.network = {0x0A000200, 30}; // no room for a guest
    CHECK_FALSE(orders_from(to_message(wrong)));
    NetworkOrders full = orders;
    full.around.own.assign(kMostAddresses, 1);
    full.around.attached.assign(kMostAddresses, {0x0A000000, 8});
    CHECK(orders_from(to_message(full)) == full);
    CHECK(to_message(full).size() <= kLongestOrder);

    const NetworkReport taken{NetworkReport::Kind::PortTaken, {}, {8080, 80}, EADDRINUSE};
    auto report = to_message(taken);
    CHECK(report.size() == kReportSize);
    CHECK(report_from(report) == taken);
    for (size_t i = 0; i < report.size(); ++i)
        CHECK_FALSE(report_from(std::span(report).first(i)));
    report[2] = 1; // of no use
    CHECK_FALSE(report_from(report));
}

TEST_CASE("network process: behind its walls before it says that it is ready", "[network][jail]") {
    Guest guest;
    REQUIRE(guest.ready());
    const auto possible = jail::possible_walls();
    REQUIRE(possible);
    CHECK(guest.network->walls() == *possible);
    const pid_t process = guest.network->process();
    CHECK(status_of(process, "NoNewPrivs") == "1");
    CHECK(status_of(process, "Seccomp") == "2");
    CHECK(status_of(process, "Threads") == "1");
    CHECK(status_of(process, "CapEff") == "0000000000000000");
    CHECK(status_of(process, "CapPrm") == "0000000000000000");
    if (possible->namespaces)
        CHECK(status_of(process, "NSpid") == fmt::format("{}\t1", process));
}

TEST_CASE("network process: what is not an order ends it, and so do a broken channel and the player's end",
          "[network][jail]") {
    const auto end_of = [](const std::vector<uint8_t>& first, const std::function<void(Started&)>& then) {
        Started started(first);
        then(started);
        return started.process->wait();
    };
    const auto good = to_message(sample_orders());
    const std::string refused = fmt::format("ended with status {}", kEndOrders);
    const auto nothing = [](Started&) {};
    CHECK(end_of({}, [](Started& s) { s.orders.reset(); }) == refused);
    CHECK(end_of({1}, nothing) == refused);
    CHECK(end_of(to_message(sample_orders().around), nothing) == refused);
    CHECK(end_of(std::vector<uint8_t>(kLongestOrder, 0xB1), nothing) == refused);
    for (const auto& later : {std::vector<uint8_t>{9}, good, std::vector<uint8_t>(60'000)})
        CHECK(end_of(good, [&](Started& s) {
                  REQUIRE(s.ready());
                  s.say(later);
              }) == refused);
    CHECK(end_of(good, [](Started& s) {
              REQUIRE(s.ready());
              s.say(to_message(Surroundings{})); // a good one
              s.orders.reset();                  // and then the player is gone
          }) == fmt::format("ended with status {}", kEndTold));
    for (const size_t at : {size_t{0}, size_t{4}, size_t{8192}}) // put, taken, the first frame's length
        CHECK(end_of(good, [&](Started& s) {
                  REQUIRE(s.ready());
                  auto* memory =
                      static_cast<uint8_t*>(::mmap(nullptr, 12288, PROT_READ | PROT_WRITE, MAP_SHARED,
                                                   s.channel->descriptors().memory.get(), 0));
                  const uint32_t nonsense = 1'000'000, one_frame = 1;
                  std::memcpy(memory + at, &nonsense, sizeof nonsense);
                  if (at >= 8192)
                      std::memcpy(memory, &one_frame, sizeof one_frame); // from here on it may be looked at
                  ::munmap(memory, 12288);
                  const uint64_t one = 1;
                  (void)!::write(s.channel->descriptors().to_world.get(), &one, sizeof one);
              }) == fmt::format("ended with status {}", kEndFrames));
}

TEST_CASE("network: when its process ends, whoever asked hears a sentence, and the card is in nothing",
          "[network]") {
    Guest guest;
    REQUIRE(guest.ready());
    REQUIRE(::kill(guest.network->process(), SIGKILL) == 0);
    CHECK(guest.hears(
        "failed: the part of Encore that carries the guest's network was ended by signal 9 (Killed); "
        "the session has ended, open it again"));
    CHECK(guest.network->process() == 0);
    CHECK_FALSE(guest.network->walls());
    for (unsigned i = 0; i < 2000; ++i)
        CHECK(guest.card->send(frame_of(60)));
    CHECK_FALSE(guest.receive());
    guest.network->disconnect();
    CHECK_FALSE(guest.receive());
}

TEST_CASE("network: a process that says or passes what it may not is ended, and so is the session",
          "[network][jail]") {
    const Folder folder;
    const auto part = [&](const std::string& name, const std::string& sentence) {
        INFO(name);
        std::filesystem::copy_file(NETWORK_IMPOSTOR, folder / name);
        Guest guest({}, folder / name);
        CHECK(guest.wait([&] {
            while (guest.receive())
                ;
            guest.card->send(
                frame_of(60)); // a card looks when it is told to, and when it has something to say
            const std::lock_guard lock(guest.mutex);
            return guest.heard.find(sentence) != std::string::npos;
        }));
        CHECK(guest.wait([&] { return guest.network->process() == 0; }));
    };
    for (const char* name : {"says-nothing-valid", "says-too-much", "says-unknown-kind", "says-unknown-error",
                             "says-more-behind-it"})
        part(name, "failed: the part of Encore that carries the guest's network said what it may not say; ");
    for (const char* name : {"counts-too-many-put", "counts-back", "counts-too-many-taken", "passes-too-long",
                             "passes-too-short"})
        part(name, "failed: the part of Encore that carries the guest's network passed on what it may not; ");
    part("ends", "failed: the part of Encore that carries the guest's network ended with status 7; ");
    part("shortens-memory",
         "failed: the part of Encore that carries the guest's network ended with status 7; ");
    part("says-empty", "failed: the part of Encore that carries the guest's network ");
}

TEST_CASE("network: where its process cannot be started there is no network, and a sentence says why",
          "[network]") {
    const Folder folder;
    Guest guest({}, folder / "nothing");
    CHECK(guest.hears("no network: "));
    CHECK(guest.heard.find("install Encore again") != std::string::npos);
    CHECK(guest.card->send(frame_of(60)));
}

TEST_CASE("network: the player's end is its process' end, whatever ended it", "[network]") {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const pid_t player = ::fork();
    if (player == 0) {
        Guest guest;
        guest.ready();
        const pid_t process = guest.network->process();
        (void)!::write(pipe[1], &process, sizeof process);
        for (;;)
            ::pause();
    }
    pid_t process = 0;
    REQUIRE(::read(pipe[0], &process, sizeof process) == sizeof process);
    REQUIRE(process > 0);
    CHECK(::kill(process, 0) == 0);
    REQUIRE(::kill(player, SIGKILL) == 0);
    REQUIRE(::waitpid(player, nullptr, 0) == player);
    bool gone = false; // or waiting for whoever inherited it
    for (unsigned i = 0; i < 6000 && !gone; ++i) {
        gone = ::kill(process, 0) != 0 || status_of(process, "State").starts_with("Z");
        ::usleep(10'000);
    }
    CHECK(gone);
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST_CASE(
    "network: a card that never asked is told of the first frame, also after its connections were closed",
    "[network]") {
    Guest guest({.networks = {}, .forward = {}});
    const auto told = [&](size_t before) {
        return guest.wait([&] {
            const std::lock_guard lock(guest.mutex);
            return guest.calls > before;
        });
    };
    Frame arp(42); // who has 10.0.2.2?
    std::fill_n(arp.begin(), 6, uint8_t{0xFF});
    constexpr uint8_t kRest[] = {2, 0, 0, 0,    0,  0x55, 8, 6,  0, 1, 8, 0, 6, 4, 0,  1, 2, 0,
                                 0, 0, 0, 0x55, 10, 0,    2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2};
    std::copy(std::begin(kRest), std::end(kRest), arp.begin() + 6);
    for (unsigned round = 0; round < 3; ++round) {
        REQUIRE(guest.ready());
        size_t before = 0;
        {
            const std::lock_guard lock(guest.mutex);
            before = guest.calls;
        }
        guest.send(arp);
        CHECK(told(before));
        guest.card->disconnect();
        CHECK_FALSE(guest.receive());
        guest.wait([&] { return false; }, 20);
    }
}

TEST_CASE("network: the next machine has the cable, and the one before a loose end", "[network]") {
    Guest guest({.networks = {}, .forward = {{18473, 80}}});
    REQUIRE(guest.ready());
    const pid_t first = guest.network->process();
    const auto before = guest.card;
    CHECK(before->send(frame_of(60)));
    guest.network->disconnect();
    guest.card = guest.network->plug();
    CHECK(guest.wait([&] { return guest.network->process() != 0 && guest.network->process() != first; }));
    REQUIRE(guest.ready());
    CHECK(before->send(frame_of(60)));
    before->disconnect();
    before->set_ready([] { FAIL("a machine that is gone"); });
    const pid_t second = guest.network->process();
    guest.card->set_ready({});
    guest.wait([] { return false; }, 50);
    CHECK(guest.network->process() == second);
    CHECK(guest.heard == ""); // its port was free again
}
