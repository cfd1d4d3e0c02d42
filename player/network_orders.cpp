#include "player/network_orders.h"

#include "player/wire.h"
#include "vmm/base/verify.h"

namespace player {
namespace {

using appliance_format::Ipv4Network;
using appliance_format::PortForward;

constexpr uint8_t kBegin = 0xB1, kAround = 0xA1;
constexpr uint32_t kLastError = 4095;
constexpr unsigned kLongestOwnPrefix = 28;

void kind(auto& wire, uint8_t expected) {
    uint8_t said = expected;
    wire.number(said);
    wire.demand(said == expected);
}

constexpr auto kNetworkFields = [](auto& wire, Ipv4Network& network) {
    auto length = static_cast<uint8_t>(network.length);
    wire.number(network.address);
    wire.number(length);
    network.length = length;
    wire.demand(length <= 32 && (network.address & ~network.mask()) == 0);
};
constexpr auto kForwardFields = [](auto& wire, PortForward& forward) {
    wire.number(forward.host);
    wire.number(forward.guest);
};

void surroundings_fields(auto& wire, Surroundings& around) {
    wire.flag(around.known);
    wire.numbers(around.own, kMostAddresses);
    wire.list(around.attached, kMostAddresses, kNetworkFields);
    wire.number(around.name_server);
}

// The messages, each a value with its fields.
struct Begin {
    NetworkOrders orders;
    void fields(auto& wire) {
        kind(wire, kBegin);
        kNetworkFields(wire, orders.network);
        wire.demand(orders.network.length >= appliance_format::kLeastPrefix &&
                    orders.network.length < kLongestOwnPrefix);
        wire.list(orders.granted, appliance_format::kMaxNetworks, kNetworkFields);
        wire.list(orders.forward, appliance_format::kMaxForwards, kForwardFields);
        surroundings_fields(wire, orders.around);
    }
};
struct Around {
    Surroundings around;
    void fields(auto& wire) {
        kind(wire, kAround);
        surroundings_fields(wire, around);
    }
};
struct Report {
    NetworkReport report;
    void fields(auto& wire) {
        auto walls = static_cast<uint8_t>(report.walls.bits());
        uint16_t zero = 0;
        wire.choice(report.kind, NetworkReport::Kind::CannotBeWalled);
        wire.number(walls);
        wire.number(zero);
        kForwardFields(wire, report.forward);
        wire.number(report.error);
        wire.demand(walls <= jail::Walls{true, true, true}.bits() && zero == 0 && report.error <= kLastError);
        report.walls = jail::Walls::from_bits(walls);
    }
};

void verify_bounds(const Surroundings& around) {
    VERIFY(around.own.size() <= kMostAddresses && around.attached.size() <= kMostAddresses);
}

} // namespace

std::vector<uint8_t> to_message(const NetworkOrders& orders) {
    VERIFY(orders.granted.size() <= appliance_format::kMaxNetworks &&
           orders.forward.size() <= appliance_format::kMaxForwards);
    verify_bounds(orders.around);
    return wire::encode(Begin{orders});
}

std::vector<uint8_t> to_message(const Surroundings& around) {
    verify_bounds(around);
    return wire::encode(Around{around});
}

std::vector<uint8_t> to_message(const NetworkReport& report) { return wire::encode(Report{report}); }

std::optional<NetworkOrders> orders_from(std::span<const uint8_t> message) {
    auto begin = wire::decode<Begin>(message);
    return begin ? std::optional(std::move(begin->orders)) : std::nullopt;
}

std::optional<Surroundings> surroundings_from(std::span<const uint8_t> message) {
    auto around = wire::decode<Around>(message);
    return around ? std::optional(std::move(around->around)) : std::nullopt;
}

std::optional<NetworkReport> report_from(std::span<const uint8_t> message) {
    const auto report = wire::decode<Report>(message);
    return report ? std::optional(report->report) : std::nullopt;
}

} // namespace player
