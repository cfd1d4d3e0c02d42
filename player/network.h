// The network of a guest whose policy allows one: user-mode network address translation. The guest has a
// network of its own (choose_guest_network) and reaches the internet as this user's programs do, through
// ordinary sockets: nothing on the host is configured, nobody can connect to the guest but programs of this
// computer's at ports that the rules forward, and what it may not reach NetworkFilter drops. IPv4 only.
//
// The translation is done in a process of its own (network_process.h), walled in, which is started here, told
// what it cannot see, and watched. It lives as long as a guest's moment: a revert ends it, and the next one
// begins with nothing that the guest before could have left in it.
#pragma once
#include "player/host_networks.h"
#include "player/network_orders.h"
#include "vmm/base/result.h"
#include "vmm/bus/ports.h"

#include <functional>
#include <memory>
#include <string>

namespace player {

// What the rules of a session say.
struct NetworkAccess {
    std::vector<appliance_format::Ipv4Network> networks{}; // granted beyond the internet
    std::vector<appliance_format::PortForward> forward{};
};

class UserNetwork {
  public:
    // Both are called from a thread of the network's own.
    struct Hearers {
        std::function<void(const std::string&)>
            notice{}; // which ports are taken, or why there is none at all
        std::function<void(const base::Error&)> failed{}; // its process ended while the guest was using it
    };
    using HostSource = std::function<std::optional<HostNetworks>()>;
    // `program`: encore-network; empty: the one that belongs to this program. Errors: nothing to start it
    // with.
    static base::Result<std::shared_ptr<UserNetwork>> create(NetworkAccess access, Hearers hearers,
                                                             std::string program = {},
                                                             HostSource host = read_host_networks);
    ~UserNetwork();

    // The cable's end for a machine's card. The one before is pulled: it takes and gives nothing any more. It
    // may outlive this.
    [[nodiscard]] std::shared_ptr<vmm::NetworkPort> plug();
    // The machine is elsewhere in time: every connection is closed, frames on their way are dropped.
    void disconnect();

    // Of this computer's, held for the guest at the moment.
    [[nodiscard]] size_t open_sockets() const;
    // Around the network process; nothing: there is none at the moment.
    [[nodiscard]] std::optional<jail::Walls> walls() const;
    // Its number; 0 likewise.
    [[nodiscard]] pid_t process() const;

  private:
    class Plug;
    struct Impl;
    explicit UserNetwork(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

} // namespace player
