// What a guest's frames may reach, and the user-mode network behind the card. Nothing here leaves this
// computer: where sockets are opened, it is in a network namespace that has only a loopback device.
#include "player/network.h"
#include "player/network_filter.h"

#include <arpa/inet.h>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <dirent.h>
#include <net/if.h>
#include <optional>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using player::NetworkFilter;
using player::UserNetwork;

namespace {

using Frame = std::vector<uint8_t>;
constexpr uint32_t kGuest = 0x0A00020F, kOutside = 0xC0000201; // 10.0.2.15, 192.0.2.1
constexpr uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kSyn = 0x02, kAck = 0x10;

void put16(Frame& to, size_t at, uint32_t value) {
    to[at] = static_cast<uint8_t>(value >> 8);
    to[at + 1] = static_cast<uint8_t>(value);
}
void put32(Frame& to, size_t at, uint32_t value) {
    put16(to, at, value >> 16);
    put16(to, at + 2, value & 0xFFFF);
}
uint32_t get32(const Frame& from, size_t at) {
    return uint32_t{from[at]} << 24 | from[at + 1] << 16 | from[at + 2] << 8 | from[at + 3];
}
// The checksum of RFC 1071.
uint16_t checksum(const uint8_t* bytes, size_t count, uint32_t sum = 0) {
    for (size_t i = 0; i < count; ++i)
        sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

Frame ethernet(uint16_t type, size_t payload) {
    Frame frame(14 + payload);
    std::fill_n(frame.begin(), 6, uint8_t{0xFF});
    frame[6] = 0x02;
    frame[11] = 0x55;
    put16(frame, 12, type);
    return frame;
}

struct Packet {
    uint8_t protocol = kUdp;
    uint32_t to = kOutside, from = kGuest;
    uint16_t to_port = 4000, from_port = 5000;
    uint8_t flags = kSyn;  // of TCP
    uint16_t fragment = 0; // of IP
    Frame data{};
};

Frame make(const Packet& packet) {
    const size_t header = packet.protocol == kTcp ? 20 : 8;
    const size_t length = header + packet.data.size();
    Frame frame = ethernet(0x0800, 20 + length);
    frame[14] = 0x45;
    put16(frame, 16, static_cast<uint32_t>(20 + length));
    put16(frame, 20, packet.fragment);
    frame[22] = 64;
    frame[23] = packet.protocol;
    put32(frame, 26, packet.from);
    put32(frame, 30, packet.to);
    put16(frame, 24, checksum(&frame[14], 20));
    std::copy(packet.data.begin(), packet.data.end(), frame.begin() + static_cast<ptrdiff_t>(34 + header));
    if (packet.protocol == kIcmp) {
        frame[34] = 8; // echo
        put16(frame, 38, packet.from_port);
        put16(frame, 36, checksum(&frame[34], length));
        return frame;
    }
    put16(frame, 34, packet.from_port);
    put16(frame, 36, packet.to_port);
    if (packet.protocol == kUdp) {
        put16(frame, 38, static_cast<uint32_t>(length)); // no checksum (RFC 768)
        return frame;
    }
    if (packet.protocol != kTcp)
        return frame;
    frame[46] = 5 << 4;
    frame[47] = packet.flags;
    put16(frame, 48, 0x2000);
    uint32_t pseudo = kTcp + static_cast<uint32_t>(length);
    for (size_t at = 26; at < 34; at += 2)
        pseudo += frame[at] << 8 | frame[at + 1];
    put16(frame, 50, checksum(&frame[34], length, pseudo));
    return frame;
}

Frame arp(uint32_t sender, uint32_t target) {
    Frame frame = ethernet(0x0806, 28);
    constexpr uint8_t kHead[] = {0, 1, 0x08, 0, 6, 4, 0, 1};
    std::copy(std::begin(kHead), std::end(kHead), frame.begin() + 14);
    std::copy_n(frame.begin() + 6, 6, frame.begin() + 22);
    put32(frame, 28, sender);
    put32(frame, 38, target);
    return frame;
}

Frame dhcp_discover() {
    Packet packet{.to = 0xFFFFFFFF, .from = 0, .to_port = 67, .from_port = 68, .data = Frame(300)};
    packet.data[0] = packet.data[1] = 1; // a request, over Ethernet
    packet.data[2] = 6;
    packet.data[28] = 0x02;
    packet.data[33] = 0x55;
    constexpr uint8_t kOptions[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
    std::copy(std::begin(kOptions), std::end(kOptions), packet.data.begin() + 236);
    return make(packet);
}

bool passes(const Frame& frame, size_t sockets = 0) { return NetworkFilter{}.judge(frame, sockets).passes; }

// A guest's end of the network.
struct Guest {
    Guest() : network(UserNetwork::create().value()) {
        network->set_ready([this] {
            { const std::lock_guard lock(mutex); }
            changed.notify_all();
        });
    }
    ~Guest() { network->set_ready({}); }
    void send(const Frame& frame) {
        while (!network->send(frame))
            wait([] { return false; }, 1);
    }
    std::optional<Frame> receive() {
        std::array<uint8_t, UserNetwork::kMaxFrame> frame;
        const size_t length = network->receive(frame);
        return length == 0 ? std::nullopt : std::optional(Frame(frame.begin(), frame.begin() + length));
    }
    // The first frame that is wanted.
    std::optional<Frame> expect(const std::function<bool(const Frame&)>& wanted) {
        std::optional<Frame> found;
        wait([&] {
            while (auto frame = receive())
                if (wanted(*frame)) {
                    found = frame;
                    return true;
                }
            return false;
        });
        return found;
    }
    bool wait(const std::function<bool()>& holds, unsigned milliseconds = 60'000) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
        while (!holds()) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            std::unique_lock lock(mutex);
            changed.wait_for(lock, std::chrono::milliseconds(5));
        }
        return true;
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::shared_ptr<UserNetwork> network;
};

bool is_echo_reply(const Frame& frame, uint16_t id) {
    return frame.size() >= 42 && frame[12] == 0x08 && frame[13] == 0 && frame[23] == kIcmp &&
           frame[34] == 0 && (frame[38] << 8 | frame[39]) == id;
}

size_t open_files() {
    size_t count = 0;
    DIR* folder = ::opendir("/proc/self/fd");
    while (::readdir(folder) != nullptr)
        ++count;
    ::closedir(folder);
    return count;
}

// Runs it in a child process with a network of its own, whose loopback device has 192.0.2.1 too. Not at all
// where this computer's users may not have one.
void in_own_network(const std::function<bool()>& holds) {
    constexpr int kHolds = 0, kFails = 1, kNotAllowed = 77;
    const pid_t child = ::fork();
    if (child == 0) {
        if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
            ::_exit(kNotAllowed);
        const int control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq request{};
        std::copy_n("lo", 3, request.ifr_name);
        request.ifr_flags = IFF_UP;
        bool ready = ::ioctl(control, SIOCSIFFLAGS, &request) == 0;
        std::copy_n("lo:1", 5, request.ifr_name);
        auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
        *address = {};
        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(kOutside);
        ready = ready && ::ioctl(control, SIOCSIFADDR, &request) == 0;
        ::close(control);
        ::_exit(ready && holds() ? kHolds : kFails);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == kNotAllowed)
        WARN("skipped: no network namespaces here");
    else
        CHECK(WEXITSTATUS(status) == kHolds);
}

} // namespace

TEST_CASE("network filter: what lies beyond this computer passes", "[network]") {
    CHECK(passes(make({.protocol = kUdp})));
    CHECK(passes(make({.protocol = kTcp})));
    CHECK(passes(make({.protocol = kIcmp})));
    CHECK(passes(make({.to = 0xC0A80001}))); // the home's router
    CHECK(passes(make({.to = NetworkFilter::kNameServer, .to_port = 53})));
    CHECK(passes(make({.protocol = kTcp, .to = NetworkFilter::kNameServer, .to_port = 53})));
    CHECK(passes(make({.protocol = kIcmp, .to = NetworkFilter::kHost})));
    CHECK(passes(dhcp_discover()));
    CHECK(passes(arp(kGuest, NetworkFilter::kHost)));
    CHECK(passes(arp(0, kGuest)));
}

TEST_CASE("network filter: this computer's own services and its neighbours on the wire are out of reach",
          "[network]") {
    for (const uint8_t protocol : {kUdp, kTcp, kIcmp})
        for (const uint32_t to :
             {0x7F000001u, 0x7F000035u, 0x7FFFFFFFu, 0x00000000u, 0x00000001u, 0xA9FEA9FEu, 0xE00000FBu,
              0xEFFFFFFAu, 0xF0000001u, 0xFFFFFFFFu, 0x0A0002FFu, 0x0A000201u})
            CHECK_FALSE(passes(make({.protocol = protocol, .to = to})));
    for (const uint16_t port : {22, 25, 67, 69, 80, 631, 5353}) {
        CHECK_FALSE(passes(make({.protocol = kTcp, .to = NetworkFilter::kHost, .to_port = port})));
        CHECK_FALSE(passes(make({.protocol = kTcp, .to = NetworkFilter::kNameServer, .to_port = port})));
        if (port != 67)
            CHECK_FALSE(passes(make({.to = NetworkFilter::kHost, .to_port = port})));
        CHECK_FALSE(passes(make({.to = NetworkFilter::kNameServer, .to_port = port})));
    }
}

TEST_CASE("network filter: malformed frames, fragments and other protocols are dropped", "[network]") {
    const Frame good = make({.protocol = kTcp});
    for (size_t length = 0; length < good.size(); ++length)
        CHECK_FALSE(passes(Frame(good.begin(), good.begin() + static_cast<ptrdiff_t>(length))));
    CHECK_FALSE(passes(make({.fragment = 0x2000})));
    CHECK_FALSE(passes(make({.fragment = 0x0001})));
    CHECK(passes(make({.fragment = 0x4000})));   // "do not fragment" is what everybody says
    CHECK_FALSE(passes(make({.protocol = 41}))); // IPv6 in IPv4
    const auto changed = [&](size_t at, uint8_t value) {
        Frame frame = good;
        frame[at] = value;
        return passes(frame);
    };
    CHECK_FALSE(changed(14, 0x44)); // header too short
    CHECK_FALSE(changed(14, 0x4F)); // longer than the packet
    CHECK_FALSE(changed(14, 0x65)); // version 6
    CHECK_FALSE(changed(12, 0x86)); // not IPv4
    CHECK_FALSE(changed(6, 0x03));  // from a group
    CHECK_FALSE(changed(17, 0xFF)); // total length beyond the frame
    CHECK_FALSE(passes(make({.from = 0xC0A80001})));
    CHECK_FALSE(passes(make({.from = NetworkFilter::kHost})));
    CHECK_FALSE(passes(make({.from = 0})));
    Frame forged = arp(kGuest, NetworkFilter::kHost);
    forged[27] = 0x66; // another's address inside
    CHECK_FALSE(passes(forged));
    CHECK_FALSE(passes(arp(NetworkFilter::kHost, kGuest)));
    CHECK_FALSE(passes(arp(0xC0A80001, NetworkFilter::kHost)));
}

TEST_CASE("network filter: few senders, each announced before its first packet", "[network]") {
    NetworkFilter filter;
    const auto first = filter.judge(make({}), 0);
    REQUIRE(first.announcement);
    const Frame told(first.announcement->begin(), first.announcement->end());
    CHECK(get32(told, 28) == kGuest);
    CHECK(get32(told, 38) == kGuest);
    CHECK(told[22] == 0x02);
    CHECK(told[27] == 0x55);
    CHECK_FALSE(filter.judge(make({}), 0).announcement);
    CHECK(filter.judge(dhcp_discover(), 0).passes);
    CHECK(filter.judge(make({}), 0).announcement); // the library may have forgotten it
    Frame other = make({});
    other[11] = 0x77; // another card, same address
    CHECK(filter.judge(other, 0).announcement);
    size_t passed = 0;
    for (uint32_t i = 0; i < 100; ++i)
        passed += filter.judge(make({.from = kGuest + 1 + i}), 0).passes;
    CHECK(passed == NetworkFilter::kMostSources - 1);
    CHECK(filter.judge(make({}), 0).passes);
}

TEST_CASE("network filter: at the limit of sockets only what has one goes on", "[network]") {
    constexpr size_t kFull = NetworkFilter::kMostSockets;
    NetworkFilter filter;
    CHECK(filter.judge(make({.from_port = 1000}), kFull - 1).passes);
    CHECK(filter.judge(make({.from_port = 1000}), kFull).passes);
    CHECK_FALSE(filter.judge(make({.from_port = 1001}), kFull).passes);
    CHECK_FALSE(filter.judge(make({.protocol = kTcp, .flags = kSyn}), kFull).passes);
    CHECK(filter.judge(make({.protocol = kTcp, .flags = kAck}), kFull).passes);
    CHECK_FALSE(filter.judge(make({.protocol = kIcmp}), kFull).passes);
}

TEST_CASE("network: DHCP gives an address, the host's side answers pings, IPv6 is silent", "[network]") {
    Guest guest;
    guest.send(dhcp_discover());
    const auto offer =
        guest.expect([](const Frame& frame) { return frame.size() > 62 && frame[23] == kUdp; });
    REQUIRE(offer);
    CHECK(get32(*offer, 58) == kGuest);
    guest.send(make({.protocol = kIcmp, .to = NetworkFilter::kHost, .from_port = 77}));
    CHECK(guest.expect([](const Frame& frame) { return is_echo_reply(frame, 77); }));
    CHECK(guest.network->open_sockets() == 0);
}

TEST_CASE("network: a flood that nobody reads the answers of takes bounded room", "[network]") {
    Guest guest;
    const Frame ping = make({.protocol = kIcmp, .to = NetworkFilter::kHost, .data = Frame(1400)});
    for (unsigned i = 0; i < 20'000; ++i)
        guest.send(ping);
    size_t waiting = 0;
    while (guest.receive())
        ++waiting;
    CHECK(waiting >= 256);
    CHECK(waiting <= 1024 + 256); // and those that were made while we took
    guest.send(make({.protocol = kIcmp, .to = NetworkFilter::kHost, .from_port = 78}));
    CHECK(guest.expect([](const Frame& frame) { return is_echo_reply(frame, 78); }));
}

TEST_CASE("network: disconnecting drops what is on the way and serves as new", "[network]") {
    Guest guest;
    for (unsigned i = 0; i < 100; ++i)
        guest.send(make({.protocol = kIcmp, .to = NetworkFilter::kHost, .from_port = 1}));
    guest.network->disconnect();
    CHECK_FALSE(guest.receive());
    guest.send(make({.protocol = kIcmp, .to = NetworkFilter::kHost, .from_port = 2}));
    bool old = false;
    CHECK(guest.expect([&](const Frame& frame) {
        old = old || is_echo_reply(frame, 1);
        return is_echo_reply(frame, 2);
    }));
    CHECK_FALSE(old);
}

TEST_CASE("network: datagrams and connections reach a server; a revert closes all of them", "[network]") {
    in_own_network([] {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(kOutside);
        address.sin_port = htons(4000);
        const int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const int tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval patience{10, 0};
        ::setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(tcp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (::bind(udp, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
            ::bind(tcp, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(tcp, 5) != 0)
            return false;
        Guest guest;
        guest.send(make({.data = {'h', 'i'}}));
        char text[8];
        sockaddr_in peer{};
        socklen_t size = sizeof peer;
        if (::recvfrom(udp, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&peer), &size) != 2)
            return false;
        if (::sendto(udp, "you", 3, 0, reinterpret_cast<sockaddr*>(&peer), size) != 3)
            return false;
        const bool answered = guest
                                  .expect([](const Frame& frame) {
                                      return frame.size() >= 45 && frame[23] == kUdp && frame[42] == 'y';
                                  })
                                  .has_value();
        guest.send(make({.protocol = kTcp}));
        const bool accepted =
            guest
                .expect([](const Frame& frame) {
                    return frame.size() >= 54 && frame[23] == kTcp && frame[47] == (kSyn | kAck);
                })
                .has_value();
        const int connection = ::accept4(tcp, nullptr, nullptr, SOCK_CLOEXEC);
        ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        const bool open = guest.network->open_sockets() == 2;
        guest.network->disconnect();
        const bool closed = ::recv(connection, text, sizeof text, 0) <= 0 && errno != EAGAIN;
        const bool none = guest.wait([&] { return guest.network->open_sockets() == 0; });
        return answered && accepted && connection >= 0 && open && closed && none;
    });
}

TEST_CASE("network: a guest cannot take more sockets than the limit, and they all come back", "[network]") {
    in_own_network([] {
        const size_t before = open_files();
        size_t most = 0;
        bool none = false;
        {
            Guest guest;
            for (uint32_t i = 0; i < 4000; ++i) {
                guest.send(make({.from_port = static_cast<uint16_t>(1024 + i)}));
                guest.send(make({.protocol = kTcp, .from_port = static_cast<uint16_t>(1024 + i)}));
                guest.send(make({.protocol = kIcmp, .from_port = static_cast<uint16_t>(i)}));
                most = std::max(most, guest.network->open_sockets());
                while (guest.receive())
                    ;
            }
            guest.network->disconnect();
            none = guest.wait([&] { return guest.network->open_sockets() == 0; });
        }
        return most > 100 && most <= NetworkFilter::kMostSockets + 64 && none && open_files() == before;
    });
}
