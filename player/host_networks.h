// Which addresses this computer has and which networks it is part of, at the moment: what a guest is kept
// from, and what its own network must not be mistaken for.
#pragma once
#include "appliance-format/network_rules.h"
#include "vmm/base/unique_fd.h"

#include <optional>
#include <vector>

namespace player {

struct HostNetworks {
    std::vector<uint32_t> own; // its addresses, and those to which all of a network listen
    std::vector<appliance_format::Ipv4Network> attached, routed;
};

// Nothing: the system does not say.
[[nodiscard]] std::optional<HostNetworks> read_host_networks();

// Says when they may have changed (rtnetlink(7)).
class HostNetworkWatch {
  public:
    HostNetworkWatch();
    [[nodiscard]] int fd() const { return fd_.get(); } // readable when changed() would say so
    [[nodiscard]] bool changed() const;                // since it was asked last

  private:
    base::UniqueFd fd_;
};

// What a guest may reach outside of its own network: the internet, and of private networks those it was
// granted; never what is not routed, nor this computer itself.
class Reach {
  public:
    Reach() = default; // of a computer without any network
    Reach(std::vector<appliance_format::Ipv4Network> granted, std::optional<HostNetworks> host)
        : granted_(std::move(granted)), known_(host.has_value()),
          host_(std::move(host).value_or(HostNetworks{})) {}
    [[nodiscard]] bool allows(uint32_t address) const;

  private:
    std::vector<appliance_format::Ipv4Network> granted_;
    bool known_ = true;
    HostNetworks host_;
};

// Where a guest's network is put: 10.0.2.0/24, unless this computer has such a network or it is to be
// reached.
[[nodiscard]] appliance_format::Ipv4Network
choose_guest_network(const std::optional<HostNetworks>& host,
                     const std::vector<appliance_format::Ipv4Network>& granted);

} // namespace player
