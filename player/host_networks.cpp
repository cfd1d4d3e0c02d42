#include "player/host_networks.h"

#include <algorithm>
#include <arpa/inet.h>
#include <bit>
#include <fstream>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <sstream>
#include <string>
#include <sys/socket.h>

namespace player {
namespace {

using Network = appliance_format::Ipv4Network;

// RFC 6890, RFC 1122 section 3.2.1.3: "this network", loopback, link-local; groups, reserved, broadcast.
constexpr Network kNever[] = {{0x00000000, 8}, {0x7F000000, 8}, {0xA9FE0000, 16}, {0xE0000000, 3}};
// RFC 1918; carriers' (RFC 6598); protocol assignments; benchmarks (RFC 2544).
constexpr Network kPrivate[] = {{0x0A000000, 8},  {0xAC100000, 12}, {0xC0A80000, 16},
                                {0x64400000, 10}, {0xC0000000, 24}, {0xC6120000, 15}};

bool any_contains(std::span<const Network> networks, uint32_t address) {
    return std::ranges::any_of(networks, [&](const Network& network) { return network.contains(address); });
}

std::optional<uint32_t> address_of(const sockaddr* address) {
    if (address == nullptr || address->sa_family != AF_INET)
        return std::nullopt;
    return ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
}

// A network by its mask, unless that is as good as everything: a default route, or half of one.
void add_network(std::vector<Network>& networks, uint32_t address, uint32_t mask) {
    const auto length = static_cast<unsigned>(std::countl_one(mask));
    if (length >= appliance_format::kLeastPrefix)
        networks.push_back({address & mask, length});
}

// proc(5), /proc/net/route: interface, destination, gateway, flags, ..., mask; numbers as they are in memory.
void read_routes(std::vector<Network>& networks) {
    std::ifstream in("/proc/net/route");
    std::string line;
    std::getline(in, line); // the heading
    while (std::getline(in, line)) {
        std::istringstream words(line);
        std::string interface, skipped;
        uint32_t destination = 0, mask = 0;
        words >> interface >> std::hex >> destination;
        for (int i = 0; i < 5; ++i)
            words >> skipped;
        if (words >> mask)
            add_network(networks, ntohl(destination), ntohl(mask));
    }
}

} // namespace

std::optional<HostNetworks> read_host_networks() {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return std::nullopt;
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> all(first, ::freeifaddrs);
    HostNetworks host;
    for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
        const auto address = address_of(entry->ifa_addr), mask = address_of(entry->ifa_netmask);
        if (!address)
            continue;
        host.own.push_back(*address);
        if (const auto everybody = address_of(entry->ifa_broadaddr)) // of a tunnel: its other end
            host.own.push_back(*everybody);
        if (mask)
            add_network(host.attached, *address, *mask);
    }
    read_routes(host.routed);
    return host;
}

HostNetworkWatch::HostNetworkWatch()
    : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;
    if (fd_.valid() && ::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        fd_ = base::UniqueFd();
}

bool HostNetworkWatch::changed() const {
    char message[8192];
    bool any = false;
    // ENOBUFS: some were lost.
    while (fd_.valid() &&
           (::recv(fd_.get(), message, sizeof message, 0) > 0 || errno == ENOBUFS || errno == EINTR))
        any = true;
    return any;
}

bool Reach::allows(uint32_t address) const {
    if (!known_ || any_contains(kNever, address) || std::ranges::find(host_.own, address) != host_.own.end())
        return false;
    return any_contains(granted_, address) ||
           (!any_contains(kPrivate, address) && !any_contains(host_.attached, address));
}

Network choose_guest_network(const std::optional<HostNetworks>& host, const std::vector<Network>& granted) {
    constexpr Network kPlaces[] = {{0x0A000200, 24}, {0xAC1EFE00, 24}, {0xC0A8FE00, 24},
                                   {0x0AFEFE00, 24}, {0x647FFE00, 24}, {0xC613FE00, 24}};
    const auto is_free = [&](const Network& place) {
        const auto apart = [&](const Network& other) { return !other.overlaps(place); };
        return std::ranges::all_of(granted, apart) && (!host || (std::ranges::all_of(host->attached, apart) &&
                                                                 std::ranges::all_of(host->routed, apart)));
    };
    const auto* place = std::ranges::find_if(kPlaces, is_free);
    return place != std::end(kPlaces) ? *place : kPlaces[0];
}

} // namespace player
