// The cable of the guest's network card, between the machine's process and the player: a socket that keeps
// packet boundaries. A packet is one byte that says what it is, and a frame.
//
// A disconnect is answered: frames that arrive before the answer belong to closed connections and are
// dropped.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/bus/ports.h"

#include <atomic>
#include <mutex>
#include <thread>

namespace machine {

enum class Packet : uint8_t { Frame, Disconnect, Disconnected };

// The card's end.
class FramePort final : public vmm::NetworkPort {
  public:
    static base::Result<std::shared_ptr<FramePort>> create(base::UniqueFd socket);
    ~FramePort() override;
    bool send(std::span<const uint8_t> frame) override;
    size_t receive(std::span<uint8_t, kMaxFrame> frame) override;
    void set_ready(std::function<void()> ready) override;
    void disconnect() override;

  private:
    FramePort(base::UniqueFd socket, base::UniqueFd wake)
        : socket_(std::move(socket)), wake_(std::move(wake)) {}
    void work();
    void rouse() const;
    bool put(std::span<const uint8_t> packet) const;

    base::UniqueFd socket_, wake_;
    std::mutex mutex_;             // guards what follows
    bool wants_room_ = false;      // send() said no
    bool listening_ = true;        // nothing waits, as far as the card knows
    bool tell_disconnect_ = false; // the socket had no room for it yet
    unsigned unanswered_ = 0;      // disconnects
    std::mutex ready_mutex_;       // held while ready_ is called
    std::function<void()> ready_;
    std::atomic<bool> ended_{false};
    std::thread thread_;
};

// The other end: carries frames between a socket and a port, on a thread of its own, until the socket's other
// end is gone or breaks the protocol.
class FrameCarrier {
  public:
    static base::Result<std::unique_ptr<FrameCarrier>> create(base::UniqueFd socket,
                                                              std::shared_ptr<vmm::NetworkPort> port);
    ~FrameCarrier();
    FrameCarrier(const FrameCarrier&) = delete;

  private:
    FrameCarrier(base::UniqueFd socket, base::UniqueFd wake, std::shared_ptr<vmm::NetworkPort> port)
        : socket_(std::move(socket)), wake_(std::move(wake)), port_(std::move(port)) {}
    void work();
    void rouse() const;
    bool carry_in();  // from the guest; false: it is over
    bool carry_out(); // to the guest

    base::UniqueFd socket_, wake_;
    std::shared_ptr<vmm::NetworkPort> port_;
    std::vector<uint8_t> from_guest_, to_guest_; // that found no room; empty: none
    std::atomic<bool> ended_{false};
    std::thread thread_;
};

} // namespace machine
