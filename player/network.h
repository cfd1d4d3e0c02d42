// The network of a guest whose policy allows one: libslirp's user-mode network address translation. The guest
// has a network of its own (choose_guest_network) and reaches the internet as this user's programs do,
// through ordinary sockets: nothing on the host is configured, nobody can connect to the guest but programs
// of this computer's at ports that the rules forward, and what it may not reach NetworkFilter drops. IPv4
// only. The library is loaded when the first such session begins.
#pragma once
#include "player/host_networks.h"
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

class UserNetwork final : public vmm::NetworkPort {
  public:
    using Notice = std::function<void(const std::string&)>;
    using HostSource = std::function<std::optional<HostNetworks>()>;
    // `notice` is told which ports are taken, from any thread. Errors: the library is not installed.
    static base::Result<std::shared_ptr<UserNetwork>> create(NetworkAccess access, Notice notice = {},
                                                             HostSource host = read_host_networks);
    ~UserNetwork() override;

    bool send(std::span<const uint8_t> frame) override;
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override;
    void set_ready(std::function<void()> ready) override;
    void disconnect() override;
    // Of the host's, held for the guest at the moment.
    [[nodiscard]] size_t open_sockets() const;

  private:
    struct Impl;
    explicit UserNetwork(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace player
