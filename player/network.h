// The network of a guest whose policy allows one: libslirp's user-mode network address translation. The guest
// has a network of its own, 10.0.2.0/24, and reaches what this user's programs reach, through ordinary
// sockets: nothing on the host is configured, nobody can connect to the guest, and what it may not reach
// NetworkFilter drops. IPv4 only. The library is loaded when the first such session begins.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/ports.h"

#include <memory>

namespace player {

class UserNetwork final : public vmm::NetworkPort {
  public:
    // Errors: the library is not installed.
    static base::Result<std::shared_ptr<UserNetwork>> create();
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
