// Puts a guest's fragmented IPv4 packets together (RFC 791 section 3.2), so that the filter judges whole
// ones. Few packets, few bytes and a short while: what is beyond is dropped, oldest first, as is a packet
// whose fragments overlap.
#pragma once
#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <vector>

namespace player {

class FragmentCollector {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr size_t kMostPackets = 16, kMostBytes = 256u << 10;
    static constexpr std::chrono::seconds kPatience{5};

    // An Ethernet frame comes in; the frame with the whole packet comes out: the same one if it is in one
    // piece, another, longer one when the last piece of it comes, an empty one until then. It is there until
    // the next call.
    std::span<const uint8_t> take(std::span<const uint8_t> frame, Clock::time_point now);
    [[nodiscard]] size_t held_bytes() const { return bytes_; }

  private:
    struct Key {
        uint32_t from = 0, to = 0;
        uint16_t id = 0;
        uint8_t protocol = 0;
        bool operator==(const Key&) const = default;
    };
    struct Packet {
        Key key;
        Clock::time_point begun;
        std::vector<uint8_t> head;                     // Ethernet and IP headers of the first piece
        std::map<size_t, std::vector<uint8_t>> pieces; // by offset
        size_t bytes = 0;                              // in them
        size_t end = 0;                                // 0: not known yet
    };
    using Place = std::list<Packet>::iterator;
    Place find(const Key& key, Clock::time_point now);
    void drop(Place packet);
    static bool add(Packet& packet, size_t offset, std::span<const uint8_t> data, bool last);
    void put_together(const Packet& packet);

    std::list<Packet> packets_; // in order of their first piece
    size_t bytes_ = 0;
    std::vector<uint8_t> whole_;
};

} // namespace player
