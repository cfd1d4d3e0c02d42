// What of a guest's frames the translation to the host's sockets gets to see. A guest is taken to forge every
// byte: it may reach what lies beyond this computer, as any program of the user's does, but neither this
// computer's own services at its loopback addresses nor what only a neighbour on the wire may reach; and it
// may neither hold more of the host's sockets than kMostSockets nor make the library below keep what it
// cannot deliver. So only this passes:
//   - ARP of addresses in the guest's network;
//   - from at most kMostSources such addresses: UDP, TCP and pings, in one piece (no fragments to collect),
//   to
//     addresses that a router passes on (RFC 6890: not 0/8, 127/8, 169.254/16, 224/3), to the DHCP server and
//     to the name server's port.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace player {

class NetworkFilter {
  public:
    // The guest's network 10.0.2.0/24: the host's side, its name server, the first address that DHCP gives.
    static constexpr uint32_t kNetwork = 0x0A000200, kMask = 0xFFFFFF00, kHost = 0x0A000202,
                              kNameServer = 0x0A000203, kFirstGuest = 0x0A00020F;
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

    std::array<Source, kMostSources> sources_{};
    // Senders of UDP that have a socket or had one a while ago, by a hash: at most so many more than allowed.
    std::array<uint64_t, 64> udp_senders_{};
};

} // namespace player
