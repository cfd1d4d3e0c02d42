#include "player/fragment_collector.h"

#include <algorithm>
#include <iterator>

namespace player {
namespace {

constexpr size_t kEthernet = 14, kMinHeader = 20, kMostPayload = 65535 - kMinHeader;
constexpr uint16_t kMore = 0x2000, kOffset = 0x1FFF;

uint16_t be16(std::span<const uint8_t> bytes, size_t at) {
    return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
uint32_t be32(std::span<const uint8_t> bytes, size_t at) {
    return uint32_t{be16(bytes, at)} << 16 | be16(bytes, at + 2);
}
void put16(std::span<uint8_t> bytes, size_t at, size_t value) {
    bytes[at] = static_cast<uint8_t>(value >> 8);
    bytes[at + 1] = static_cast<uint8_t>(value);
}

// RFC 1071.
uint16_t checksum(std::span<const uint8_t> bytes) {
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < bytes.size(); i += 2)
        sum += be16(bytes, i);
    while (sum >> 16 != 0)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<uint16_t>(~sum);
}

} // namespace

void FragmentCollector::drop(Place packet) {
    bytes_ -= packet->bytes;
    packets_.erase(packet);
}

FragmentCollector::Place FragmentCollector::find(const Key& key, Clock::time_point now) {
    while (!packets_.empty() && now - packets_.front().begun > kPatience)
        drop(packets_.begin());
    const auto known = std::ranges::find(packets_, key, &Packet::key);
    if (known != packets_.end())
        return known;
    if (packets_.size() >= kMostPackets)
        drop(packets_.begin());
    packets_.push_back({key, now, {}, {}, 0, 0});
    return std::prev(packets_.end());
}

// False: it cannot be a piece of this packet.
bool FragmentCollector::add(Packet& packet, size_t offset, std::span<const uint8_t> data, bool last) {
    const size_t end = offset + data.size();
    const auto next = packet.pieces.lower_bound(offset);
    const bool overlaps =
        (next != packet.pieces.end() && next->first < end) ||
        (next != packet.pieces.begin() && std::prev(next)->first + std::prev(next)->second.size() > offset);
    const bool beyond = packet.end != 0 && (end > packet.end || last);
    const bool last_is_not = last && !packet.pieces.empty() &&
                             packet.pieces.rbegin()->first + packet.pieces.rbegin()->second.size() > end;
    if (data.empty() || end > kMostPayload || overlaps || beyond || last_is_not ||
        (!last && data.size() % 8 != 0))
        return false;
    packet.pieces.emplace(offset, std::vector<uint8_t>(data.begin(), data.end()));
    packet.bytes += data.size();
    if (last)
        packet.end = end;
    return true;
}

void FragmentCollector::put_together(const Packet& packet) {
    whole_ = packet.head;
    const size_t header = whole_.size() - kEthernet;
    for (const auto& [offset, data] : packet.pieces)
        whole_.insert(whole_.end(), data.begin(), data.end());
    const auto ip = std::span(whole_).subspan(kEthernet);
    put16(ip, 2, ip.size());
    put16(ip, 6, 0);
    put16(ip, 10, 0);
    put16(ip, 10, checksum(ip.first(header)));
}

std::span<const uint8_t> FragmentCollector::take(std::span<const uint8_t> frame, Clock::time_point now) {
    if (frame.size() < kEthernet + kMinHeader || be16(frame, 12) != 0x0800)
        return frame; // for the filter to judge
    const auto ip = frame.subspan(kEthernet);
    const uint16_t place = be16(ip, 6);
    if ((place & (kMore | kOffset)) == 0)
        return frame;
    const size_t header = 4u * (ip[0] & 0xF), total = be16(ip, 2);
    if (ip[0] >> 4 != 4 || header < kMinHeader || total < header || total > ip.size())
        return {};
    const auto packet = find({be32(ip, 12), be32(ip, 16), be16(ip, 4), ip[9]}, now);
    const size_t offset = 8u * (place & kOffset), before = packet->bytes;
    const bool fits = add(*packet, offset, ip.subspan(header, total - header), (place & kMore) == 0);
    bytes_ += packet->bytes - before;
    if (!fits) {
        drop(packet);
        return {};
    }
    if (offset == 0)
        packet->head.assign(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(kEthernet + header));
    const bool complete = packet->end != 0 && packet->bytes == packet->end &&
                          packet->end + packet->head.size() - kEthernet <= 65535;
    if (complete) {
        put_together(*packet);
        drop(packet);
        return whole_;
    }
    while (bytes_ > kMostBytes)
        drop(packets_.begin());
    return {};
}

} // namespace player
