// One end of a channel, held by a test that may say anything.
#pragma once
#include "player/machine/channel.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <sys/socket.h>

namespace machine_test {

using Bytes = std::vector<uint8_t>;

inline Bytes packet(machine::Kind kind, uint32_t number, const Bytes& body = {}, uint8_t more = 0) {
    Bytes packet{static_cast<uint8_t>(kind), more, 0, 0, 0, 0, 0, 0};
    std::memcpy(packet.data() + 4, &number, sizeof number);
    packet.insert(packet.end(), body.begin(), body.end());
    return packet;
}

template <class T> Bytes packet_of(T message, uint32_t number = 0) {
    return packet(T::kKind, number, machine::encode(std::move(message)));
}

class RawEnd {
  public:
    RawEnd() {
        auto ends = machine::Channel::pair();
        REQUIRE(ends);
        own_ = std::move((*ends)[0]);
        other = std::move((*ends)[1]);
    }
    void say(const Bytes& packet, int file = -1) const {
        iovec piece{const_cast<uint8_t*>(packet.data()), packet.size()};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        if (file >= 0) {
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            cmsghdr* rights = CMSG_FIRSTHDR(&message);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof file);
            std::memcpy(CMSG_DATA(rights), &file, sizeof file);
        }
        CHECK(::sendmsg(own_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(packet.size()));
    }
    // The next packet; empty: the other end is gone.
    [[nodiscard]] Bytes hear() const {
        Bytes packet(64u << 10);
        const ssize_t got = ::recv(own_.get(), packet.data(), packet.size(), 0);
        packet.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
        return packet;
    }
    // What the answer to request `number` says; what comes before it is passed over.
    template <class T> std::optional<base::Result<T>> answer(uint32_t number) const {
        for (;;) {
            const Bytes packet = hear();
            if (packet.size() < 8)
                return std::nullopt;
            if (packet[0] != static_cast<uint8_t>(machine::Kind::Answer))
                continue;
            uint32_t heard = 0;
            std::memcpy(&heard, packet.data() + 4, sizeof heard);
            CHECK(heard == number);
            return machine::decode_answer<T>(std::span(packet).subspan(8));
        }
    }
    void close() { own_.reset(); }

    base::UniqueFd other;

  private:
    base::UniqueFd own_;
};

} // namespace machine_test
