// What of a guest's frames the translation to the host's sockets gets to see, and what of its frames the
// guest. A guest is taken to forge every byte: it may reach what Reach allows, which is neither this computer
// nor, unless granted, its neighbours and other private networks; and it may neither hold more of the host's
// sockets than kMostSockets nor make the library below keep what it cannot deliver. So only this passes:
//   - ARP of addresses in the guest's network;
//   - from at most kMostSources such addresses: UDP, TCP and pings, in one piece (FragmentCollector makes
//   them so),
//     to addresses within reach, to the DHCP server and to the name server's port; and the answers of ports
//     that this computer forwards.
// To the guest comes what is from its network or from within reach: a socket of its UDP hears anybody.
#pragma once
#include "player/host_networks.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace player {

class NetworkFilter {
  public:
    NetworkFilter() = default;
    // `forwarded`: ports of the guest's that this computer's lead to.
    NetworkFilter(appliance_format::Ipv4Network network, Reach reach, std::vector<uint16_t> forwarded)
        : network_(network), reach_(std::move(reach)), forwarded_(std::move(forwarded)) {}
    // This computer's addresses have changed.
    void set_reach(Reach reach) { reach_ = std::move(reach); }

    // In the guest's network: the host's side, its name server, the first address that DHCP gives.
    [[nodiscard]] uint32_t host() const { return network_.address + 2; }
    [[nodiscard]] uint32_t name_server() const { return network_.address + 3; }
    [[nodiscard]] uint32_t first_guest() const { return network_.address + 15; }
    [[nodiscard]] const appliance_format::Ipv4Network& network() const { return network_; }
    static constexpr size_t kMostSockets = 256, kMostSources = 8;
    static constexpr size_t kArpFrame = 42;
    using Mac = std::array<uint8_t, 6>;

    struct Verdict {
        bool passes = false;
        // Where answers to it go, to be given to the library first: it keeps what it has no address for.
        std::optional<std::array<uint8_t, kArpFrame>> announcement;
    };
    // `open_sockets`: how many the guest holds already.
    Verdict judge(std::span<const uint8_t> frame, size_t open_sockets);
    // Whether the guest may see this frame of the translation's.
    [[nodiscard]] bool admits(std::span<const uint8_t> frame) const;

  private:
    struct Source {
        uint32_t address = 0; // 0: free
        Mac mac{};
        bool announced = false;
    };
    Source* source(uint32_t address, const Mac& mac);
    Verdict judge_arp(std::span<const uint8_t> frame);
    Verdict judge_ip(std::span<const uint8_t> frame, size_t open_sockets);
    bool known_udp(uint32_t address, uint16_t port, bool may_open);
    [[nodiscard]] bool is_guest(uint32_t address) const;
    [[nodiscard]] bool leads_somewhere(uint32_t to, uint8_t protocol, std::span<const uint8_t> payload) const;

    appliance_format::Ipv4Network network_{0x0A000200, 24};
    Reach reach_;
    std::vector<uint16_t> forwarded_;
    std::array<Source, kMostSources> sources_{};
    // Senders of UDP that have a socket or had one a while ago, by a hash: at most so many more than allowed.
    std::array<uint64_t, 64> udp_senders_{};
};

} // namespace player
