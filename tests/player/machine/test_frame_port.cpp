// The network's cable between two processes.
#include "player/machine/frame_port.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <sys/socket.h>

using namespace machine;

namespace {

using Frame = std::vector<uint8_t>;

// What a session's network is: takes frames, has some, and can be closed.
class Network final : public vmm::NetworkPort {
  public:
    bool send(std::span<const uint8_t> frame) override {
        const std::lock_guard lock(mutex);
        if (full)
            return false;
        taken.emplace_back(frame.begin(), frame.end());
        return true;
    }
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override {
        const std::lock_guard lock(mutex);
        if (waiting.empty())
            return 0;
        const Frame next = std::move(waiting.front());
        waiting.pop_front();
        std::copy(next.begin(), next.end(), frame.begin());
        return next.size();
    }
    void set_ready(std::function<void()> to) override {
        const std::lock_guard lock(mutex);
        ready = std::move(to);
    }
    void disconnect() override {
        const std::lock_guard lock(mutex);
        waiting.clear();
        ++disconnects;
    }
    void put(Frame frame) {
        const std::lock_guard lock(mutex);
        waiting.push_back(std::move(frame));
        if (ready)
            ready();
    }
    void make_room() {
        const std::lock_guard lock(mutex);
        full = false;
        if (ready)
            ready();
    }
    size_t taken_count() {
        const std::lock_guard lock(mutex);
        return taken.size();
    }

    std::mutex mutex;
    std::deque<Frame> waiting;
    std::vector<Frame> taken;
    std::function<void()> ready;
    bool full = false;
    int disconnects = 0;
};

struct Cable {
    Cable() {
        std::array<int, 2> sockets{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) == 0);
        card = *FramePort::create(base::UniqueFd(sockets[0]));
        carrier = std::move(*FrameCarrier::create(base::UniqueFd(sockets[1]), network));
    }
    std::shared_ptr<Network> network = std::make_shared<Network>();
    std::shared_ptr<FramePort> card;
    std::unique_ptr<FrameCarrier> carrier;
};

bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 3000; ++i) {
        if (holds())
            return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

Frame next(FramePort& card) {
    std::array<uint8_t, vmm::NetworkPort::kMaxFrame> frame{};
    size_t length = 0;
    eventually([&] { return (length = card.receive(frame)) != 0; });
    return {frame.begin(), frame.begin() + static_cast<ptrdiff_t>(length)};
}

} // namespace

TEST_CASE("frame port: frames go both ways, in order, and the card hears of them", "[machine]") {
    Cable cable;
    std::atomic<int> told = 0;
    cable.card->set_ready([&] { ++told; });
    for (uint8_t i = 0; i < 200; ++i)
        while (!cable.card->send(Frame(60 + i, i)))
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    REQUIRE(eventually([&] { return cable.network->taken_count() == 200; }));
    for (uint8_t i = 0; i < 200; ++i)
        CHECK(cable.network->taken[i] == Frame(60 + i, i));
    std::array<uint8_t, vmm::NetworkPort::kMaxFrame> none{};
    CHECK(cable.card->receive(none) == 0);
    const int before = told;
    cable.network->put(Frame(1514, 7));
    CHECK(eventually([&] { return told > before; }));
    CHECK(next(*cable.card) == Frame(1514, 7));
    for (uint8_t i = 1; i < 100; ++i)
        cable.network->put(Frame(100, i));
    for (uint8_t i = 1; i < 100; ++i)
        CHECK(next(*cable.card) == Frame(100, i));
}

TEST_CASE("frame port: a network without room holds the card up, and tells it when there is some",
          "[machine]") {
    Cable cable;
    cable.network->full = true;
    std::atomic<int> told = 0;
    cable.card->set_ready([&] { ++told; });
    size_t sent = 0;
    while (sent < 100000 && cable.card->send(Frame(1514, 1)))
        ++sent;
    REQUIRE(sent < 100000); // what waits between is bounded
    cable.network->make_room();
    CHECK(eventually([&] { return told > 0; }));
    CHECK(eventually([&] { return cable.network->taken_count() == sent; }));
    CHECK(cable.card->send(Frame(60, 2)));
}

TEST_CASE("frame port: a disconnect drops what was on its way", "[machine]") {
    Cable cable;
    for (int i = 0; i < 20; ++i)
        cable.network->put(Frame(100, 1)); // of connections that are to end
    cable.card->disconnect();
    REQUIRE(eventually([&] {
        std::array<uint8_t, vmm::NetworkPort::kMaxFrame> frame{};
        CHECK(cable.card->receive(frame) == 0);
        const std::lock_guard lock(cable.network->mutex);
        return cable.network->disconnects == 1;
    }));
    cable.network->put(Frame(100, 2));
    CHECK(next(*cable.card) == Frame(100, 2));
}

TEST_CASE("frame port: a carrier lets go of a card that says what cannot be", "[machine]") {
    for (const Frame& packet : {Frame{9}, Frame(1 + 1515, 0), Frame{2}}) {
        std::array<int, 2> sockets{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) == 0);
        const base::UniqueFd card(sockets[0]);
        const auto network = std::make_shared<Network>();
        const auto carrier = FrameCarrier::create(base::UniqueFd(sockets[1]), network);
        REQUIRE(carrier);
        REQUIRE(::send(card.get(), packet.data(), packet.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(packet.size()));
        const Frame frame(61, 0);
        ::send(card.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        CHECK(network->taken_count() == 0);
    }
}
