#include "player/network_filter.h"

#include <algorithm>

namespace player {
namespace {

constexpr size_t kEthernetHeader = 14, kMinIpHeader = 20, kUdpHeader = 8, kTcpHeader = 20, kIcmpHeader = 8;
constexpr uint16_t kTypeIp = 0x0800, kTypeArp = 0x0806;
constexpr uint8_t kIcmp = 1, kTcp = 6, kUdp = 17;
constexpr uint8_t kEchoRequest = 8, kSyn = 0x02, kAck = 0x10;
constexpr uint16_t kDhcpServer = 67, kDomain = 53;
constexpr uint16_t kFragmentBits = 0x3FFF; // more fragments, and the offset (RFC 791)
constexpr uint32_t kEverybody = 0xFFFFFFFF;

uint16_t be16(std::span<const uint8_t> bytes, size_t at) {
    return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
uint32_t be32(std::span<const uint8_t> bytes, size_t at) {
    return uint32_t{be16(bytes, at)} << 16 | be16(bytes, at + 2);
}

NetworkFilter::Mac mac_at(std::span<const uint8_t> frame, size_t at) {
    NetworkFilter::Mac mac;
    for (size_t i = 0; i < mac.size(); ++i)
        mac[i] = frame[at + i];
    return mac;
}

// Gratuitous ARP (RFC 5227, section 2.3): who has `address`, and it is `mac`.
std::array<uint8_t, NetworkFilter::kArpFrame> announce(uint32_t address, const NetworkFilter::Mac& mac) {
    std::array<uint8_t, NetworkFilter::kArpFrame> frame{};
    std::fill_n(frame.begin(), 6, uint8_t{0xFF});
    std::ranges::copy(mac, frame.begin() + 6);
    constexpr uint8_t kHead[] = {0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1};
    std::ranges::copy(kHead, frame.begin() + 12);
    std::ranges::copy(mac, frame.begin() + 22);
    for (unsigned i = 0; i < 4; ++i)
        frame[28 + i] = frame[38 + i] = static_cast<uint8_t>(address >> (24 - 8 * i));
    return frame;
}

} // namespace

// An address that one machine in the guest's network may have.
bool NetworkFilter::is_guest(uint32_t address) const {
    return network_.contains(address) && address != network_.address &&
           address != (network_.address | ~network_.mask()) && address != host() && address != name_server();
}

bool NetworkFilter::admits(std::span<const uint8_t> frame) const {
    if (frame.size() < kEthernetHeader + kMinIpHeader || be16(frame, 12) != kTypeIp)
        return true; // ARP, of the library's own
    const uint32_t from = be32(frame, kEthernetHeader + 12);
    return network_.contains(from) || reach_.allows(from);
}

// The parts of a whole packet; `payload` has its protocol's header.
bool NetworkFilter::leads_somewhere(uint32_t to, uint8_t protocol, std::span<const uint8_t> payload) const {
    if (!network_.contains(to))
        return reach_.allows(to);
    if (protocol == kIcmp)
        return to == host() || to == name_server();
    if (to == name_server())
        return be16(payload, 2) == kDomain;
    // An answer; a connection of the guest's own would begin with SYN alone.
    return to == host() && protocol == kTcp && (payload[13] & (kSyn | kAck)) != kSyn &&
           std::ranges::find(forwarded_, be16(payload, 0)) != forwarded_.end();
}

NetworkFilter::Verdict NetworkFilter::judge(std::span<const uint8_t> frame, size_t open_sockets) {
    if (frame.size() < kEthernetHeader || (frame[6] & 1) != 0)
        return {};
    switch (be16(frame, 12)) {
    case kTypeArp:
        return judge_arp(frame);
    case kTypeIp:
        return judge_ip(frame, open_sockets);
    default:
        return {};
    }
}

// The table is full for those who come after; a computer has one address, and a few more while it tries some.
NetworkFilter::Source* NetworkFilter::source(uint32_t address, const Mac& mac) {
    if (!is_guest(address))
        return nullptr;
    for (Source& entry : sources_) { // in order of appearance
        if (entry.address != 0 && entry.address != address)
            continue;
        if (entry.address == 0 || entry.mac != mac)
            entry = {address, mac, false};
        return &entry;
    }
    return nullptr;
}

// RFC 826. A question may come from nobody yet (RFC 5227).
NetworkFilter::Verdict NetworkFilter::judge_arp(std::span<const uint8_t> frame) {
    constexpr uint8_t kKind[] = {0, 1, 0x08, 0x00, 6, 4};
    if (frame.size() < kArpFrame || !std::ranges::equal(frame.subspan(kEthernetHeader, 6), kKind))
        return {};
    const Mac sender = mac_at(frame, 22);
    const uint32_t address = be32(frame, 28);
    if (sender != mac_at(frame, 6) || !network_.contains(be32(frame, 38)))
        return {};
    if (address == 0)
        return {true, {}};
    Source* known = source(address, sender);
    if (known == nullptr)
        return {};
    known->announced = true; // by itself
    return {true, {}};
}

bool NetworkFilter::known_udp(uint32_t address, uint16_t port, bool may_open) {
    const uint64_t sender = uint64_t{address} << 16 | port;
    uint64_t& slot = udp_senders_[(sender * 0x9E3779B97F4A7C15u) >> 58];
    if (slot == sender)
        return true;
    if (may_open)
        slot = sender;
    return may_open;
}

NetworkFilter::Verdict NetworkFilter::judge_ip(std::span<const uint8_t> frame, size_t open_sockets) {
    const auto packet = frame.subspan(kEthernetHeader);
    if (packet.size() < kMinIpHeader || packet[0] >> 4 != 4)
        return {};
    const size_t header = 4u * (packet[0] & 0xF), total = be16(packet, 2);
    if (header < kMinIpHeader || total < header || total > packet.size() ||
        (be16(packet, 6) & kFragmentBits) != 0)
        return {};
    const auto payload = packet.subspan(header, total - header);
    const uint8_t protocol = packet[9];
    const size_t least = protocol == kUdp ? kUdpHeader : protocol == kTcp ? kTcpHeader : kIcmpHeader;
    if ((protocol != kUdp && protocol != kTcp && protocol != kIcmp) || payload.size() < least)
        return {};
    const uint32_t from = be32(packet, 12), to = be32(packet, 16);
    const uint16_t port = protocol == kIcmp ? uint16_t{0} : be16(payload, 2);

    if (protocol == kUdp && port == kDhcpServer && (to == kEverybody || to == host())) {
        if (from != 0 && !is_guest(from))
            return {};
        for (Source& known : sources_) // the library may have to forget others to remember this one
            known.announced = false;
        return {true, {}};
    }
    if (protocol == kIcmp && payload[0] != kEchoRequest)
        return {};
    if (!leads_somewhere(to, protocol, payload))
        return {};
    const bool may_open = open_sockets < kMostSockets;
    const bool ok = protocol == kUdp   ? known_udp(from, be16(payload, 0), may_open)
                    : protocol == kTcp ? may_open || (payload[13] & (kSyn | kAck)) != kSyn
                                       : may_open;
    Source* known = ok ? source(from, mac_at(frame, 6)) : nullptr;
    if (known == nullptr)
        return {};
    Verdict verdict{true, {}};
    if (!known->announced)
        verdict.announcement = announce(from, known->mac);
    known->announced = true;
    return verdict;
}

} // namespace player
