#include "player/network_orders.h"

#include "vmm/base/verify.h"

#include <concepts>

namespace player {
namespace {

using appliance_format::Ipv4Network;
using appliance_format::PortForward;

constexpr uint8_t kBegin = 0xB1, kAround = 0xA1; // and the version of both
constexpr uint32_t kLastError = 4095;
constexpr unsigned kLongestOwnPrefix = 28;

// The same walk over the fields of a message writes one and reads one.
class Writer {
  public:
    static constexpr bool kReads = false;
    template <std::unsigned_integral T> void number(const T& value, uint64_t = 0) {
        for (size_t i = 0; i < sizeof value; ++i)
            bytes_.push_back(static_cast<uint8_t>(uint64_t{value} >> 8 * i));
    }
    std::vector<uint8_t> take() { return std::move(bytes_); }

  private:
    std::vector<uint8_t> bytes_;
};

class Reader {
  public:
    static constexpr bool kReads = true;
    explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}
    // One beyond `most` makes the message none, and reads as 0.
    template <std::unsigned_integral T> void number(T& value, uint64_t most = ~uint64_t{0}) {
        uint64_t read = 0;
        good_ = good_ && left_.size() >= sizeof value;
        for (size_t i = 0; good_ && i < sizeof value; ++i)
            read |= uint64_t{left_[i]} << 8 * i;
        good_ = good_ && read <= most;
        value = good_ ? static_cast<T>(read) : T{0};
        if (good_)
            left_ = left_.subspan(sizeof value);
    }
    void demand(bool holds) { good_ = good_ && holds; }
    [[nodiscard]] bool good() const { return good_; }
    [[nodiscard]] bool complete() const { return good_ && left_.empty(); }

  private:
    std::span<const uint8_t> left_;
    bool good_ = true;
};

template <class Archive, class T> void kind(Archive& archive, T expected) {
    T said = expected;
    archive.number(said);
    if constexpr (Archive::kReads)
        archive.demand(said == expected);
}

template <class Archive, class Network>
void field(Archive& archive,
           Network& network) requires std::same_as<std::remove_const_t<Network>, Ipv4Network> {
    uint8_t length = static_cast<uint8_t>(network.length);
    archive.number(network.address);
    archive.number(length, 32);
    if constexpr (Archive::kReads) {
        network.length = length;
        archive.demand((network.address & ~network.mask()) == 0);
    }
}
template <class Archive, class Forward>
void field(Archive& archive,
           Forward& forward) requires std::same_as<std::remove_const_t<Forward>, PortForward> {
    archive.number(forward.host);
    archive.number(forward.guest);
}
template <class Archive, class Address>
void field(Archive& archive, Address& address) requires std::same_as<std::remove_const_t<Address>, uint32_t> {
    archive.number(address);
}

template <class Archive, class List> void list(Archive& archive, List& list, size_t most) {
    VERIFY(list.size() <= most);
    auto count = static_cast<uint16_t>(list.size());
    archive.number(count, most);
    if constexpr (Archive::kReads)
        list.resize(count); // at most `most`
    for (auto& entry : list)
        field(archive, entry);
}

template <class Archive, class Around> void walk_around(Archive& archive, Around& around) {
    uint8_t known = around.known ? 1 : 0;
    archive.number(known, 1);
    if constexpr (Archive::kReads)
        around.known = known != 0;
    list(archive, around.own, kMostAddresses);
    list(archive, around.attached, kMostAddresses);
    archive.number(around.name_server);
}

template <class Archive, class Orders> void walk_orders(Archive& archive, Orders& orders) {
    kind(archive, kBegin);
    field(archive, orders.network);
    if constexpr (Archive::kReads)
        archive.demand(orders.network.length >= appliance_format::kLeastPrefix &&
                       orders.network.length < kLongestOwnPrefix);
    list(archive, orders.granted, appliance_format::kMaxNetworks);
    list(archive, orders.forward, appliance_format::kMaxForwards);
    walk_around(archive, orders.around);
}

template <class Archive, class Report> void walk_report(Archive& archive, Report& report) {
    auto kind = static_cast<uint8_t>(report.kind);
    auto walls = static_cast<uint8_t>(report.walls.bits());
    uint16_t zero = 0;
    archive.number(kind, static_cast<uint8_t>(NetworkReport::Kind::CannotBeWalled));
    archive.number(walls, jail::Walls{true, true, true}.bits());
    archive.number(zero, 0);
    field(archive, report.forward);
    archive.number(report.error, kLastError);
    if constexpr (Archive::kReads) {
        report.kind = static_cast<NetworkReport::Kind>(kind);
        report.walls = jail::Walls::from_bits(walls);
    }
}

} // namespace

std::vector<uint8_t> to_message(const NetworkOrders& orders) {
    Writer writer;
    walk_orders(writer, orders);
    return writer.take();
}

std::vector<uint8_t> to_message(const Surroundings& around) {
    Writer writer;
    kind(writer, kAround);
    walk_around(writer, around);
    return writer.take();
}

std::optional<NetworkOrders> orders_from(std::span<const uint8_t> message) {
    Reader reader(message);
    NetworkOrders orders;
    walk_orders(reader, orders);
    return reader.complete() ? std::optional(std::move(orders)) : std::nullopt;
}

std::optional<Surroundings> surroundings_from(std::span<const uint8_t> message) {
    Reader reader(message);
    Surroundings around;
    kind(reader, kAround);
    walk_around(reader, around);
    return reader.complete() ? std::optional(std::move(around)) : std::nullopt;
}

std::vector<uint8_t> to_message(const NetworkReport& report) {
    Writer writer;
    walk_report(writer, report);
    return writer.take();
}

std::optional<NetworkReport> report_from(std::span<const uint8_t> message) {
    Reader reader(message);
    NetworkReport report;
    walk_report(reader, report);
    return reader.complete() ? std::optional(report) : std::nullopt;
}

} // namespace player
