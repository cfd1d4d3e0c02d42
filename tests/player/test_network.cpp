// What a guest's frames may reach, and the user-mode network behind the card. Nothing here leaves this
// computer: where sockets are opened, it is in a network namespace that has only a loopback device.
#include "player/fragment_collector.h"
#include "player/network.h"
#include "player/network_filter.h"
#include "tests/player/network_guest.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <catch2/catch.hpp>
#include <dirent.h>
#include <net/if.h>
#include <optional>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using player::NetworkFilter;

namespace {

using network_test::Frame;
using network_test::Guest;
constexpr uint32_t kGuest = 0x0A00020F, kOutside = 0xC0000201; // 10.0.2.15, 192.0.2.1
constexpr uint32_t kHost = 0x0A000202, kNameServer = 0x0A000203;
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
    CHECK(passes(make({.to = 0x08080808})));
    CHECK(passes(make({.to = kNameServer, .to_port = 53})));
    CHECK(passes(make({.protocol = kTcp, .to = kNameServer, .to_port = 53})));
    CHECK(passes(make({.protocol = kIcmp, .to = kHost})));
    CHECK(passes(dhcp_discover()));
    CHECK(passes(arp(kGuest, kHost)));
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
        CHECK_FALSE(passes(make({.protocol = kTcp, .to = kHost, .to_port = port})));
        CHECK_FALSE(passes(make({.protocol = kTcp, .to = kNameServer, .to_port = port})));
        if (port != 67)
            CHECK_FALSE(passes(make({.to = kHost, .to_port = port})));
        CHECK_FALSE(passes(make({.to = kNameServer, .to_port = port})));
    }
}

TEST_CASE(
    "network filter: private networks are out of reach unless they are granted, this computer is in any case",
    "[network]") {
    // 10/8, 172.16/12, 192.168/16, carriers' 100.64/10, and where they end.
    for (const uint32_t to : {0x0A000001u, 0x0AFFFFFFu, 0xAC100001u, 0xAC1FFFFFu, 0xC0A80001u, 0xC0A8FFFFu,
                              0x64400001u, 0x647FFFFFu, 0xC6120001u})
        for (const uint8_t protocol : {kUdp, kTcp, kIcmp})
            CHECK_FALSE(passes(make({.protocol = protocol, .to = to})));
    for (const uint32_t to : {0x09FFFFFFu, 0x0B000000u, 0xAC0FFFFFu, 0xAC200000u, 0xC0A7FFFFu, 0xC0A90000u,
                              0x643FFFFFu, 0x64800000u})
        CHECK(passes(make({.protocol = kTcp, .to = to})));

    // 192.168.1.20 in a network of its own, and 203.0.113.9 in one of public addresses.
    const player::HostNetworks host{.own = {0xC0A80114, 0xC0A801FF, 0xCB007109},
                                    .attached = {{0xC0A80100, 24}, {0xCB007100, 24}},
                                    .routed = {}};
    const auto reaches = [&](std::vector<appliance_format::Ipv4Network> granted, uint32_t to) {
        NetworkFilter filter({0x0A000200, 24}, player::Reach(std::move(granted), host), {});
        const bool out = filter.judge(make({.to = to}), 0).passes;
        CHECK(filter.admits(make({.to = kGuest, .from = to})) == out); // nor does it hear from there
        return out;
    };
    CHECK_FALSE(reaches({}, 0xC0A80101));
    CHECK_FALSE(reaches({}, 0xCB007101)); // a neighbour on the wire, whatever its address
    CHECK(reaches({}, 0xCB007201));
    CHECK(reaches({{0xC0A80000, 16}}, 0xC0A80101));
    CHECK(reaches({{0xC0A80101, 32}}, 0xC0A80101));
    CHECK_FALSE(reaches({{0xC0A80101, 32}}, 0xC0A80102));
    for (const uint32_t own : {0xC0A80114u, 0xC0A801FFu, 0xCB007109u}) {
        CHECK_FALSE(reaches({}, own));
        CHECK_FALSE(reaches({{0xC0A80000, 16}, {0xCB000000, 8}}, own));
    }
    CHECK_FALSE(reaches({{0x7F000000, 8}}, 0x7F000001));
    CHECK_FALSE(player::Reach({}, std::nullopt).allows(0x08080808)); // not known which addresses are its own
}

TEST_CASE("network: the guest's own moves out of the way of this computer's and of granted ones",
          "[network]") {
    using player::choose_guest_network;
    CHECK(to_string(choose_guest_network(player::HostNetworks{}, {})) == "10.0.2.0/24");
    player::HostNetworks host;
    host.attached = {{0x0A000200, 24}};
    CHECK_FALSE(choose_guest_network(host, {}).overlaps(host.attached[0]));
    host = {.own = {}, .attached = {}, .routed = {{0x0A000000, 8}, {0xAC100000, 12}}}; // through a tunnel
    const auto moved = choose_guest_network(host, {{0xC0A80000, 16}});
    for (const auto& other : {host.routed[0], host.routed[1], appliance_format::Ipv4Network{0xC0A80000, 16}})
        CHECK_FALSE(moved.overlaps(other));
    NetworkFilter filter(moved, player::Reach(), {});
    const uint32_t guest = moved.address + 15;
    CHECK(filter.judge(make({.from = guest}), 0).passes);
    CHECK(filter.judge(make({.to = filter.name_server(), .from = guest, .to_port = 53}), 0).passes);
    CHECK_FALSE(filter.judge(make({.from = kGuest}), 0).passes); // until it asks for an address again
    CHECK(filter.judge(dhcp_discover(), 0).passes);
}

TEST_CASE("network filter: only answers of forwarded ports go to this computer", "[network]") {
    NetworkFilter filter({0x0A000200, 24}, player::Reach(), {80});
    const auto to_host = [&](uint16_t port, uint8_t flags, uint8_t protocol = kTcp) {
        return filter.judge(make({.protocol = protocol, .to = kHost, .from_port = port, .flags = flags}), 0)
            .passes;
    };
    CHECK(to_host(80, kSyn | kAck));
    CHECK(to_host(80, kAck));
    CHECK_FALSE(to_host(80, kSyn));
    CHECK_FALSE(to_host(81, kAck));
    CHECK_FALSE(to_host(80, kAck, kUdp));
}

namespace {

// A packet cut into pieces of `size` bytes (a multiple of 8).
std::vector<Frame> cut(const Frame& whole, size_t size, uint16_t id = 7) {
    std::vector<Frame> pieces;
    const size_t payload = whole.size() - 34;
    for (size_t at = 0; at < payload; at += size) {
        const size_t length = std::min(size, payload - at);
        Frame piece(whole.begin(), whole.begin() + 34);
        const auto from = whole.begin() + static_cast<ptrdiff_t>(34 + at);
        piece.insert(piece.end(), from, from + static_cast<ptrdiff_t>(length));
        put16(piece, 16, static_cast<uint32_t>(20 + length));
        put16(piece, 18, id);
        put16(piece, 20, static_cast<uint32_t>((at + length < payload ? 0x2000 : 0) | at / 8));
        put16(piece, 24, 0);
        put16(piece, 24, checksum(&piece[14], 20));
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

} // namespace

TEST_CASE("fragments: they make the packet again in whatever order, and nothing else does", "[network]") {
    using player::FragmentCollector;
    const FragmentCollector::Clock::time_point now{};
    Frame data(4000);
    for (size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<uint8_t>(i * 7 >> 3);
    const Frame whole = make({.data = data});
    auto pieces = cut(whole, 1480);
    REQUIRE(pieces.size() == 3);
    std::sort(pieces.begin(), pieces.end());
    do {
        FragmentCollector collector;
        CHECK(collector.take(pieces[0], now).empty());
        CHECK(collector.take(pieces[1], now).empty());
        const auto got = collector.take(pieces[2], now);
        REQUIRE(got.size() == whole.size());
        CHECK(std::equal(got.begin() + 34, got.end(), whole.begin() + 34));
        CHECK(checksum(&got[14], 20) == 0);
        CHECK(passes(Frame(got.begin(), got.end())));
        CHECK(collector.held_bytes() == 0);
    } while (std::next_permutation(pieces.begin(), pieces.end()));
    pieces = cut(whole, 1480);

    FragmentCollector collector;
    const Frame single = make({});
    CHECK(collector.take(single, now).data() == single.data()); // as it is
    collector.take(pieces[0], now);
    CHECK(collector.take(pieces[0], now).empty()); // twice the same: an overlap, and all is forgotten
    CHECK(collector.held_bytes() == 0);
    collector.take(pieces[0], now);
    collector.take(pieces[1], now);
    CHECK(collector.take(pieces[2], now + FragmentCollector::kPatience * 2).empty()); // too late
    CHECK(collector.held_bytes() < 1480);
    Frame odd = pieces[0]; // not the last, and not a multiple of 8
    odd.pop_back();
    put16(odd, 16, static_cast<uint32_t>(odd.size() - 14));
    collector.take(odd, now);
    Frame far = pieces[2]; // beyond 64 KiB
    put16(far, 20, 0x1FFF);
    collector.take(far, now);
    CHECK(collector.held_bytes() < 1480);
}

TEST_CASE("fragments: a flood of beginnings takes bounded room", "[network]") {
    using player::FragmentCollector;
    FragmentCollector collector;
    for (uint32_t i = 0; i < 2'000; ++i) {
        auto pieces =
            cut(make({.to = kOutside + i % 64, .data = Frame(40'000)}), 1480, static_cast<uint16_t>(i));
        collector.take(pieces[i % 20], FragmentCollector::Clock::time_point{});
        CHECK(collector.held_bytes() <= FragmentCollector::kMostBytes);
        CHECK(collector.held_bytes() <= FragmentCollector::kMostPackets * 1480 * 2);
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
    CHECK_FALSE(passes(make({.from = kHost})));
    CHECK_FALSE(passes(make({.from = 0})));
    Frame forged = arp(kGuest, kHost);
    forged[27] = 0x66; // another's address inside
    CHECK_FALSE(passes(forged));
    CHECK_FALSE(passes(arp(kHost, kGuest)));
    CHECK_FALSE(passes(arp(0xC0A80001, kHost)));
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
    guest.send(make({.protocol = kIcmp, .to = kHost, .from_port = 77}));
    CHECK(guest.expect([](const Frame& frame) { return is_echo_reply(frame, 77); }));
    CHECK(guest.network->open_sockets() == 0);
}

TEST_CASE("network: a flood that nobody reads the answers of takes bounded room", "[network]") {
    Guest guest;
    const Frame ping = make({.protocol = kIcmp, .to = kHost, .data = Frame(1400)});
    for (unsigned i = 0; i < 20'000; ++i)
        guest.send(ping);
    size_t waiting = 0;
    while (guest.receive())
        ++waiting;
    CHECK(waiting >= 256);
    CHECK(waiting <= 1024 + 2 * 256); // and the answers to those it had not looked at, or had in hand
    // And it goes on. One of those that were not looked at yet may take the last place before this.
    CHECK(guest.wait([&] {
        guest.send(make({.protocol = kIcmp, .to = kHost, .from_port = 78}));
        while (auto frame = guest.receive())
            if (is_echo_reply(*frame, 78))
                return true;
        return false;
    }));
}

TEST_CASE("network: disconnecting drops what is on the way and serves as new", "[network]") {
    Guest guest;
    for (unsigned i = 0; i < 100; ++i)
        guest.send(make({.protocol = kIcmp, .to = kHost, .from_port = 1}));
    guest.network->disconnect();
    CHECK_FALSE(guest.receive());
    guest.send(make({.protocol = kIcmp, .to = kHost, .from_port = 2}));
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

TEST_CASE("network: large datagrams pass both ways", "[network]") {
    in_own_network([] {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(kOutside);
        address.sin_port = htons(4000);
        const int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const timeval patience{10, 0};
        ::setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (::bind(udp, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            return false;
        Guest guest;
        const Frame data(20'000, 'x');
        for (const Frame& piece : cut(make({.data = data}), 1480))
            guest.send(piece);
        Frame text(65'536);
        sockaddr_in peer{};
        socklen_t size = sizeof peer;
        if (::recvfrom(udp, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&peer), &size) != 20'000)
            return false;
        if (::sendto(udp, text.data(), 9'000, 0, reinterpret_cast<sockaddr*>(&peer), size) != 9'000)
            return false;
        size_t got = 0;
        return guest
            .expect([&](const Frame& frame) {
                if (frame.size() > 34 && frame[12] == 0x08 && frame[13] == 0 && frame[23] == kUdp)
                    got += frame.size() - 34;
                return got == 9'008;
            })
            .has_value();
    });
}

TEST_CASE("network: a forwarded port of this computer's loopback leads to the guest's", "[network]") {
    in_own_network([] {
        Guest guest({.networks = {}, .forward = {{8080, 80}}});
        guest.send(arp(kGuest, kHost)); // where it is
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(8080);
        address.sin_addr.s_addr = htonl(kOutside); // not on this address
        const auto connects = [&] {                // answered by the system, whatever the guest does
            const int tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            return ::connect(tcp, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ? tcp : -1;
        };
        if (connects() >= 0)
            return false;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int tcp = -1;
        if (!guest.wait([&] { return (tcp = connects()) >= 0; }))
            return false;
        const auto asked = guest.expect(
            [](const Frame& frame) { return frame.size() >= 54 && frame[23] == kTcp && frame[47] == kSyn; });
        if (!asked || get32(*asked, 26) != kHost || ((*asked)[36] << 8 | (*asked)[37]) != 80)
            return false;
        // It is accepted: SYN and ACK of what came, and the connection is there for both.
        Frame answer = make({.protocol = kTcp,
                             .to = kHost,
                             .to_port = static_cast<uint16_t>((*asked)[34] << 8 | (*asked)[35]),
                             .from_port = 80,
                             .flags = kSyn | kAck});
        put32(answer, 42, get32(*asked, 38) + 1);
        put16(answer, 50, 0);
        uint32_t pseudo = kTcp + 20;
        for (size_t at = 26; at < 34; at += 2)
            pseudo += static_cast<uint32_t>(answer[at] << 8 | answer[at + 1]);
        put16(answer, 50, checksum(&answer[34], 20, pseudo));
        guest.send(answer);
        return guest
            .expect([](const Frame& frame) {
                return frame.size() >= 54 && frame[23] == kTcp && (frame[47] & (kSyn | kAck)) == kAck;
            })
            .has_value();
    });
}

TEST_CASE("network: this computer's addresses are known, and a new one at once", "[network]") {
    in_own_network([] {
        const player::HostNetworkWatch watch;
        const auto before = player::read_host_networks();
        if (!before || std::ranges::count(before->own, kOutside) == 0 || watch.changed())
            return false;
        const int control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ifreq request{};
        std::copy_n("lo:2", 5, request.ifr_name);
        auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
        address->sin_family = AF_INET;
        address->sin_addr.s_addr = htonl(0xC6336405);
        if (::ioctl(control, SIOCSIFADDR, &request) != 0 || !watch.changed())
            return false;
        const auto after = player::read_host_networks();
        return after && std::ranges::count(after->own, 0xC6336405u) > 0 &&
               !player::Reach({}, after).allows(0xC6336405) && player::Reach({}, before).allows(0xC6336405);
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
