#include "player/machine/frame_port.h"

#include "vmm/base/bell.h"
#include "vmm/base/quiet_thread.h"
#include "vmm/base/thread_work.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

namespace machine {
namespace {

constexpr size_t kMostPacket = 1 + vmm::NetworkPort::kMaxFrame;

base::Result<base::UniqueFd> make_wake() {
    base::UniqueFd wake = base::make_bell();
    if (!wake.valid())
        return base::fail(fmt::format("no network: cannot make an event counter: {}", std::strerror(errno)));
    return wake;
}

enum class Sent : uint8_t { Yes, NoRoom, Gone };
Sent try_send(int socket, std::span<const uint8_t> packet) {
    for (;;) {
        if (::send(socket, packet.data(), packet.size(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return Sent::Yes;
        if (errno != EINTR)
            return errno == EAGAIN ? Sent::NoRoom : Sent::Gone;
    }
}

// Its length; 0: nothing waits; -1: the other end is gone, or broke the protocol.
ssize_t try_receive(int socket, std::span<uint8_t, kMostPacket> packet) {
    for (;;) {
        const ssize_t got = ::recv(socket, packet.data(), packet.size(), MSG_DONTWAIT | MSG_TRUNC);
        if (got > 0 && got <= static_cast<ssize_t>(packet.size()) && packet[0] <= 2)
            return got;
        if (got >= 0)
            return -1;
        if (errno != EINTR)
            return errno == EAGAIN ? 0 : -1;
    }
}

std::vector<uint8_t> packet_of(Packet what, std::span<const uint8_t> frame = {}) {
    std::vector<uint8_t> packet(1 + frame.size());
    packet[0] = static_cast<uint8_t>(what);
    std::ranges::copy(frame, packet.begin() + 1);
    return packet;
}

} // namespace

// ------------------------------------------------------------------------------------------- the card's end

base::Result<std::shared_ptr<FramePort>> FramePort::create(base::UniqueFd socket) {
    std::shared_ptr<FramePort> port(new FramePort(std::move(socket), TRY(make_wake())));
    port->thread_ = std::thread([raw = port.get()] { raw->work(); });
    return port;
}

FramePort::~FramePort() {
    ended_ = true;
    rouse();
    thread_.join();
}

void FramePort::rouse() const { base::ring(wake_.get()); }

void FramePort::work() {
    base::begin_work("cable");
    while (!ended_) {
        pollfd waits[] = {{wake_.get(), POLLIN, 0}, {socket_.get(), 0, 0}};
        {
            const std::lock_guard lock(mutex_);
            waits[1].events = static_cast<short>((listening_ ? POLLIN : 0) |
                                                 (wants_room_ || tell_disconnect_ ? POLLOUT : 0));
        }
        if (::poll(waits, std::size(waits), -1) < 0 && errno != EINTR)
            return;
        base::hear(wake_.get());
        if ((waits[1].revents & (POLLHUP | POLLERR)) != 0)
            return;
        bool tell = false;
        {
            const std::lock_guard lock(mutex_);
            if ((waits[1].revents & POLLOUT) != 0) {
                if (tell_disconnect_ &&
                    try_send(socket_.get(), packet_of(Packet::Disconnect)) != Sent::NoRoom)
                    tell_disconnect_ = false;
                if (!tell_disconnect_)
                    tell = std::exchange(wants_room_, false);
            }
            if ((waits[1].revents & POLLIN) != 0 && std::exchange(listening_, false))
                tell = true;
        }
        const std::lock_guard lock(ready_mutex_);
        if (tell && ready_)
            ready_();
    }
}

bool FramePort::send(std::span<const uint8_t> frame) {
    std::array<uint8_t, kMostPacket> packet;
    packet[0] = static_cast<uint8_t>(Packet::Frame);
    std::copy(frame.begin(), frame.end(), packet.begin() + 1);
    const std::lock_guard lock(mutex_);
    if (!tell_disconnect_ &&
        try_send(socket_.get(), std::span(packet).first(frame.size() + 1)) != Sent::NoRoom)
        return true; // a closed socket takes everything
    wants_room_ = true;
    rouse();
    return false;
}

size_t FramePort::receive(std::span<uint8_t, kMaxFrame> frame) {
    std::array<uint8_t, kMostPacket> packet;
    for (;;) {
        const std::lock_guard lock(mutex_);
        const ssize_t got = try_receive(socket_.get(), packet);
        if (got <= 0) {
            if (!std::exchange(listening_, got == 0) && got == 0)
                rouse();
            return 0;
        }
        const auto what = static_cast<Packet>(packet[0]);
        if (what == Packet::Disconnected && unanswered_ != 0)
            --unanswered_;
        if (what != Packet::Frame || unanswered_ != 0)
            continue;
        const auto length = static_cast<size_t>(got) - 1;
        std::copy_n(packet.begin() + 1, length, frame.begin());
        return length;
    }
}

void FramePort::set_ready(std::function<void()> ready) {
    const std::lock_guard lock(ready_mutex_);
    ready_ = std::move(ready);
}

void FramePort::disconnect() {
    const std::lock_guard lock(mutex_);
    if (tell_disconnect_) // the one that waits says it for both
        return;
    ++unanswered_;
    tell_disconnect_ = try_send(socket_.get(), packet_of(Packet::Disconnect)) == Sent::NoRoom;
    if (tell_disconnect_)
        rouse();
}

// ------------------------------------------------------------------------------------------- the other end

base::Result<std::unique_ptr<FrameCarrier>> FrameCarrier::create(base::UniqueFd socket,
                                                                 std::shared_ptr<vmm::NetworkPort> port) {
    std::unique_ptr<FrameCarrier> carrier(
        new FrameCarrier(std::move(socket), TRY(make_wake()), std::move(port)));
    carrier->port_->set_ready([raw = carrier.get()] { raw->rouse(); });
    carrier->thread_ = base::quiet_thread([raw = carrier.get()] { raw->work(); });
    return carrier;
}

FrameCarrier::~FrameCarrier() {
    port_->set_ready({});
    ended_ = true;
    rouse();
    thread_.join();
}

void FrameCarrier::rouse() const { base::ring(wake_.get()); }

bool FrameCarrier::carry_in() {
    std::array<uint8_t, kMostPacket> packet;
    for (;;) {
        if (from_guest_.empty()) {
            const ssize_t got = try_receive(socket_.get(), packet);
            if (got <= 0)
                return got == 0;
            from_guest_.assign(packet.begin(), packet.begin() + got);
        }
        switch (static_cast<Packet>(from_guest_[0])) {
        case Packet::Frame:
            if (!port_->send(std::span(from_guest_).subspan(1)))
                return true; // it tells when there is room
            break;
        case Packet::Disconnect:
            if (!to_guest_.empty() && to_guest_[0] != static_cast<uint8_t>(Packet::Frame))
                return true; // the answer to the one before first
            port_->disconnect();
            to_guest_ = packet_of(Packet::Disconnected);
            if (!carry_out())
                return false;
            break;
        case Packet::Disconnected:
            return false;
        }
        from_guest_.clear();
    }
}

bool FrameCarrier::carry_out() {
    std::array<uint8_t, vmm::NetworkPort::kMaxFrame> frame;
    for (;;) {
        if (to_guest_.empty()) {
            const size_t length = port_->receive(frame);
            if (length == 0)
                return true;
            to_guest_ = packet_of(Packet::Frame, std::span(frame).first(length));
        }
        const Sent sent = try_send(socket_.get(), to_guest_);
        if (sent != Sent::Yes)
            return sent == Sent::NoRoom;
        to_guest_.clear();
    }
}

void FrameCarrier::work() {
    while (!ended_) {
        if (!carry_in() || !carry_out())
            return;
        const auto wanted =
            static_cast<short>((from_guest_.empty() ? POLLIN : 0) | (to_guest_.empty() ? 0 : POLLOUT));
        pollfd waits[] = {{wake_.get(), POLLIN, 0}, {socket_.get(), wanted, 0}};
        if (::poll(waits, std::size(waits), -1) < 0 && errno != EINTR)
            return;
        base::hear(wake_.get());
    }
}

} // namespace machine
