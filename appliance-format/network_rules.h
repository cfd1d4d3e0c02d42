// What rules say about networks: which ones a guest may reach beyond the internet, and which of this
// computer's ports lead into it. As text in recipes, manifests and operator files; here as numbers.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

// "192.168.0.0/16"; "192.168.1.20" is a network of one address. Host byte order.
struct Ipv4Network {
    uint32_t address = 0;
    unsigned length = 32;

    [[nodiscard]] uint32_t mask() const { return length == 0 ? 0 : ~uint32_t{0} << (32 - length); }
    [[nodiscard]] bool contains(uint32_t other) const { return (other & mask()) == address; }
    [[nodiscard]] bool overlaps(const Ipv4Network& other) const {
        return contains(other.address) || other.contains(address);
    }
    bool operator==(const Ipv4Network&) const = default;
};
inline constexpr unsigned kLeastPrefix = 8;
[[nodiscard]] std::optional<Ipv4Network> ipv4_network_from(std::string_view text);
[[nodiscard]] std::string to_string(const Ipv4Network& network);

// "8080:80": port 8080 of this computer's loopback address leads to the guest's port 80 (TCP).
struct PortForward {
    uint16_t host = 0, guest = 0;
    bool operator==(const PortForward&) const = default;
};
[[nodiscard]] std::optional<PortForward> port_forward_from(std::string_view text);

inline constexpr size_t kMaxNetworks = 32, kMaxForwards = 16;

// What is in both lists of networks, each as texts.
[[nodiscard]] std::vector<std::string> common_networks(std::span<const std::string> one,
                                                       std::span<const std::string> other);
// Texts that are known to be good, as numbers.
[[nodiscard]] std::vector<Ipv4Network> networks_of(std::span<const std::string> texts);
[[nodiscard]] std::vector<PortForward> forwards_of(std::span<const std::string> texts);

} // namespace appliance_format
