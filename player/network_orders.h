// What the player and the network process say to each other beside the frames: orders one way, reports the
// other, a message each on a socket that keeps them apart (SOCK_SEQPACKET). Neither believes the other: a
// message is whole, of a known kind, within its bounds and with nothing behind it, or it is none.
#pragma once
#include "appliance-format/network_rules.h"
#include "vmm/jail/walls.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace player {

// What of this computer the network process has to know; it cannot look.
struct Surroundings {
    bool known = false;        // else nothing can be reached: this computer's own addresses could be among it
    std::vector<uint32_t> own; // addresses
    std::vector<appliance_format::Ipv4Network> attached;
    uint32_t name_server = 0; // that this computer asks; 0: none
    bool operator==(const Surroundings&) const = default;
};

// The first order.
struct NetworkOrders {
    appliance_format::Ipv4Network network{}; // the guest's own, of 16 addresses or more
    std::vector<appliance_format::Ipv4Network> granted{};
    std::vector<appliance_format::PortForward> forward{};
    Surroundings around{};
    bool operator==(const NetworkOrders&) const = default;
};

// More of either, and nobody knows whom the guest would reach.
inline constexpr size_t kMostAddresses = 4096;
inline constexpr size_t kLongestOrder = 64u << 10, kReportSize = 12;

[[nodiscard]] std::vector<uint8_t> to_message(const NetworkOrders& orders);
[[nodiscard]] std::vector<uint8_t> to_message(const Surroundings& around);
[[nodiscard]] std::optional<NetworkOrders> orders_from(std::span<const uint8_t> message);
[[nodiscard]] std::optional<Surroundings> surroundings_from(std::span<const uint8_t> message);

struct NetworkReport {
    enum class Kind : uint8_t {
        Ready,         // walled in, by `walls`
        PortTaken,     // `forward` does not lead anywhere, because of `error` (errno)
        NoLibrary,     // libslirp is not installed
        OldLibrary,    // or lacks what we need
        CannotBeWalled // without a filter of system calls it does not begin
    };
    Kind kind = Kind::Ready;
    jail::Walls walls{};
    appliance_format::PortForward forward{};
    uint32_t error = 0;
    bool operator==(const NetworkReport&) const = default;
};
[[nodiscard]] std::vector<uint8_t> to_message(const NetworkReport& report);
[[nodiscard]] std::optional<NetworkReport> report_from(std::span<const uint8_t> message);

} // namespace player
