#include "appliance-format/network_rules.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace appliance_format {
namespace {

// The number at the beginning of `text`, which loses it. No signs, no leading zeros.
std::optional<uint32_t> take_number(std::string_view& text, uint32_t most) {
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const auto length = static_cast<size_t>(end - text.data());
    if (error != std::errc() || value > most || (length > 1 && text[0] == '0'))
        return std::nullopt;
    text.remove_prefix(length);
    return value;
}

bool take(std::string_view& text, char character) {
    if (text.empty() || text[0] != character)
        return false;
    text.remove_prefix(1);
    return true;
}

} // namespace

std::optional<Ipv4Network> ipv4_network_from(std::string_view text) {
    Ipv4Network network;
    for (int i = 0; i < 4; ++i) {
        if (i > 0 && !take(text, '.'))
            return std::nullopt;
        const auto part = take_number(text, 255);
        if (!part)
            return std::nullopt;
        network.address = network.address << 8 | *part;
    }
    if (take(text, '/')) {
        const auto length = take_number(text, 32);
        if (!length || *length < kLeastPrefix)
            return std::nullopt;
        network.length = *length;
    }
    if (!text.empty() || (network.address & ~network.mask()) != 0)
        return std::nullopt;
    return network;
}

std::string to_string(const Ipv4Network& network) {
    return fmt::format("{}.{}.{}.{}/{}", network.address >> 24, network.address >> 16 & 0xFF,
                       network.address >> 8 & 0xFF, network.address & 0xFF, network.length);
}

std::optional<PortForward> port_forward_from(std::string_view text) {
    constexpr uint32_t kLeast = 1024; // below are the system's
    const auto host = take_number(text, 65535);
    const bool both = take(text, ':');
    const auto guest = take_number(text, 65535);
    if (!host || *host < kLeast || !both || !guest || *guest == 0 || !text.empty())
        return std::nullopt;
    return PortForward{static_cast<uint16_t>(*host), static_cast<uint16_t>(*guest)};
}

std::vector<Ipv4Network> networks_of(std::span<const std::string> texts) {
    std::vector<Ipv4Network> networks;
    for (const std::string& text : texts)
        if (const auto network = ipv4_network_from(text))
            networks.push_back(*network);
    return networks;
}

std::vector<PortForward> forwards_of(std::span<const std::string> texts) {
    std::vector<PortForward> forwards;
    for (const std::string& text : texts)
        if (const auto forward = port_forward_from(text))
            forwards.push_back(*forward);
    return forwards;
}

std::vector<std::string> common_networks(std::span<const std::string> one,
                                         std::span<const std::string> other) {
    std::vector<std::string> common;
    for (const Ipv4Network& a : networks_of(one))
        for (const Ipv4Network& b : networks_of(other)) {
            const std::string smaller = to_string(a.length >= b.length ? a : b);
            if (a.overlaps(b) && std::ranges::find(common, smaller) == common.end())
                common.push_back(smaller);
        }
    return common;
}

} // namespace appliance_format
