#include "vmm/devices/rtl8139_receiver.h"

#include "vmm/bus/ports.h"

#include <algorithm>
#include <cstring>

namespace vmm {
namespace {

// Receive configuration (RCR).
constexpr uint32_t kAcceptAll = 1u << 0, kAcceptStation = 1u << 1, kAcceptMulticast = 1u << 2,
                   kAcceptBroadcast = 1u << 3, kNoWrap = 1u << 7;
constexpr unsigned kRingSizeShift = 11, kRingSizeMask = 3;
constexpr uint32_t kConfigWritable = 0x0F03FFBF;

// Status in front of each frame.
constexpr uint16_t kStatusOk = 1u << 0, kBroadcast = 1u << 13, kStation = 1u << 14, kMulticast = 1u << 15;

constexpr uint32_t kHeaderBytes = 4, kFcsBytes = 4, kMinFrame = 60, kAddressBytes = 6;
constexpr uint32_t kMissedMask = 0xFFFFFF;
constexpr uint32_t kLargestRing = 64u << 10; // of this size, frames always wrap

constexpr uint32_t align4(uint32_t bytes) { return (bytes + 3) & ~3u; }

constexpr auto make_crc_table() {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < table.size(); ++i) {
        uint32_t value = i;
        for (unsigned bit = 0; bit < 8; ++bit)
            value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320 : 0);
        table[i] = value;
    }
    return table;
}
constexpr auto kCrcTable = make_crc_table();

// IEEE 802.3, 3.2.9, before the final complement.
uint32_t crc(std::span<const uint8_t> bytes) {
    uint32_t value = 0xFFFFFFFF;
    for (const uint8_t byte : bytes)
        value = value >> 8 ^ kCrcTable[(value ^ byte) & 0xFF];
    return value;
}

// The hash is the six most significant bits of the sequence as it goes over the wire, most significant first.
unsigned multicast_bit(std::span<const uint8_t> address) {
    const uint32_t value = crc(address);
    unsigned hash = 0;
    for (unsigned bit = 0; bit < 6; ++bit)
        hash = hash << 1 | (value >> bit & 1);
    return hash;
}

} // namespace

void Rtl8139Receiver::soft_reset() {
    state_.read = State{}.read;
    state_.base = state_.write = state_.config = state_.missed = 0;
}

uint8_t Rtl8139Receiver::address_byte(unsigned offset) const {
    constexpr unsigned kMulticastAt = 8;
    if (offset >= kMulticastAt)
        return state_.multicast[(offset - kMulticastAt) % state_.multicast.size()];
    return offset < state_.station.size() ? state_.station[offset] : 0;
}

void Rtl8139Receiver::set_address_byte(unsigned offset, uint8_t value) {
    constexpr unsigned kMulticastAt = 8;
    if (offset >= kMulticastAt)
        state_.multicast[(offset - kMulticastAt) % state_.multicast.size()] = value;
    else if (offset < state_.station.size())
        state_.station[offset] = value;
}

void Rtl8139Receiver::set_ring_base(uint32_t base) {
    state_.base = base;
    state_.write = 0;
}

void Rtl8139Receiver::set_config(uint32_t value) {
    state_.config = value & kConfigWritable;
    state_.write %= ring_bytes();
}

uint32_t Rtl8139Receiver::ring_bytes() const {
    return 8192u << (state_.config >> kRingSizeShift & kRingSizeMask);
}

// The pointers are equal when the ring is empty, so it is never filled to the last byte.
uint32_t Rtl8139Receiver::free_bytes() const {
    const uint32_t ring = ring_bytes();
    return ring - (state_.write - read_offset()) % ring - 1;
}

bool Rtl8139Receiver::has_room() const {
    return align4(kHeaderBytes + NetworkPort::kMaxFrame + kFcsBytes) <= free_bytes();
}

uint16_t Rtl8139Receiver::classify(std::span<const uint8_t> frame) const {
    const auto to = frame.first(kAddressBytes);
    const bool all = (state_.config & kAcceptAll) != 0;
    if (std::ranges::all_of(to, [](uint8_t byte) { return byte == 0xFF; }))
        return all || (state_.config & kAcceptBroadcast) != 0 ? kBroadcast | kStatusOk : 0;
    if ((to[0] & 1) != 0) {
        const unsigned bit = multicast_bit(to);
        const bool wanted = (state_.multicast[bit / 8] >> bit % 8 & 1) != 0;
        return all || ((state_.config & kAcceptMulticast) != 0 && wanted) ? kMulticast | kStatusOk : 0;
    }
    const bool mine = std::ranges::equal(to, state_.station);
    if (mine && (all || (state_.config & kAcceptStation) != 0))
        return kStation | kStatusOk;
    return all ? kStatusOk : 0;
}

uint16_t Rtl8139Receiver::accept(std::span<const uint8_t> frame) {
    if (frame.size() < kAddressBytes || frame.size() > NetworkPort::kMaxFrame)
        return 0;
    const uint16_t status = classify(frame);
    if (status == 0)
        return 0;
    // What comes off a wire has the shortest length that Ethernet knows at least.
    std::array<uint8_t, NetworkPort::kMaxFrame + kFcsBytes> bytes;
    auto length = static_cast<uint32_t>(frame.size());
    std::ranges::copy(frame, bytes.begin());
    if (length < kMinFrame) {
        std::fill(bytes.begin() + length, bytes.begin() + kMinFrame, uint8_t{0});
        length = kMinFrame;
    }
    const uint32_t fcs = ~crc(std::span(bytes).first(length));
    std::memcpy(bytes.data() + length, &fcs, kFcsBytes);
    length += kFcsBytes;
    if (align4(kHeaderBytes + length) > free_bytes()) {
        state_.missed = (state_.missed + 1) & kMissedMask;
        return kOverflow;
    }
    const uint32_t header = status | length << 16;
    const uint32_t start = state_.write;
    put(&header, kHeaderBytes);
    put(bytes.data(), length);
    state_.write = (start + align4(kHeaderBytes + length)) % ring_bytes();
    return kOk;
}

// From the write pointer on. With WRAP set a frame that reaches the end goes on beyond it, where the driver
// has left room.
void Rtl8139Receiver::put(const void* bytes, uint32_t count) {
    const uint32_t ring = ring_bytes();
    const auto* from = static_cast<const uint8_t*>(bytes);
    uint32_t before_end = count;
    if ((state_.config & kNoWrap) == 0 || ring == kLargestRing)
        before_end = std::min(count, ring - state_.write % ring);
    memory_.write(state_.base + state_.write, from, before_end);
    if (before_end != count)
        memory_.write(state_.base, from + before_end, count - before_end);
    // Between header and frame the pointer may pass the end for a moment; accept() brings it back.
    state_.write += count;
    if ((state_.config & kNoWrap) == 0 || ring == kLargestRing)
        state_.write %= ring;
}

void Rtl8139Receiver::serialize(base::StateArchive& archive) {
    archive.field("receiver", state_);
    if (!archive.loading())
        return;
    state_.config &= kConfigWritable;
    state_.missed &= kMissedMask;
    state_.write = state_.write % ring_bytes() & ~3u;
}

} // namespace vmm
