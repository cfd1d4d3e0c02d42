#include "player/machine/channel.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace machine {
namespace {

constexpr size_t kPacket = 32u << 10; // of body; sockets take several times as much by default
constexpr size_t kMostFiles = 32;
constexpr time_t kPatienceSeconds = 5; // with a machine that takes nothing

// Before each packet's part of the body. Both ends are this computer's.
struct Head {
    uint8_t kind = 0, more = 0; // more: of the same message follows
    uint16_t zero = 0;
    uint32_t number = 0;
};

bool may_say(End end, Manner manner) {
    const bool of_player = manner == Manner::Post || manner == Manner::Request;
    return of_player == (end == End::Player);
}

tl::unexpected<base::Error> broken(const char* why) {
    return base::fail(fmt::format("invalid message: {}", why));
}

} // namespace

Channel::Channel(base::UniqueFd socket, End own)
    : socket_(std::move(socket)), own_(own), buffer_(sizeof(Head) + kPacket) {
    const timeval patience{kPatienceSeconds, 0};
    if (own_ == End::Player) // or a machine that hangs would hang the player
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

base::Result<std::array<base::UniqueFd, 2>> Channel::pair() {
    std::array<int, 2> sockets{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
        return base::fail(fmt::format("cannot make a socket: {}", std::strerror(errno)));
    return std::array{base::UniqueFd(sockets[0]), base::UniqueFd(sockets[1])};
}

bool Channel::send(Kind kind, uint32_t number, std::span<const uint8_t> body, std::span<const int> files) {
    if (body.size() > rule(kind).most_bytes || files.size() > rule(kind).most_files)
        return false;
    const std::lock_guard lock(sending_);
    bool first = true;
    do {
        const auto part = body.first(std::min(body.size(), kPacket));
        body = body.subspan(part.size());
        Head head{static_cast<uint8_t>(kind), static_cast<uint8_t>(!body.empty()), 0, number};
        iovec pieces[] = {{&head, sizeof head}, {const_cast<uint8_t*>(part.data()), part.size()}};
        msghdr packet{};
        packet.msg_iov = pieces;
        packet.msg_iovlen = std::size(pieces);
        alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFiles * sizeof(int))> control{};
        if (first && !files.empty()) {
            packet.msg_control = control.data();
            packet.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
            cmsghdr* rights = CMSG_FIRSTHDR(&packet);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
            std::memcpy(CMSG_DATA(rights), files.data(), files.size() * sizeof(int));
        }
        first = false;
        while (::sendmsg(socket_.get(), &packet, MSG_NOSIGNAL) < 0)
            if (errno != EINTR)
                return false;
    } while (!body.empty());
    return true;
}

base::Result<std::optional<Message>> Channel::receive_packet(bool& more) {
    iovec piece{buffer_.data(), buffer_.size()};
    msghdr packet{};
    packet.msg_iov = &piece;
    packet.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFiles * sizeof(int))> control{};
    packet.msg_control = control.data();
    packet.msg_controllen = control.size();
    ssize_t got = 0;
    while ((got = ::recvmsg(socket_.get(), &packet, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (got <= 0)
        return std::optional<Message>();
    Message message;
    for (cmsghdr* part = CMSG_FIRSTHDR(&packet); part != nullptr; part = CMSG_NXTHDR(&packet, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
            message.files.emplace_back(fd); // whatever becomes of the message, it is closed
        }
    }
    if ((packet.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        return broken("too long");
    Head head;
    if (static_cast<size_t>(got) < sizeof head)
        return broken("too short");
    std::memcpy(&head, buffer_.data(), sizeof head);
    if (head.kind >= kKinds || head.more > 1 || head.zero != 0)
        return broken("no such kind");
    message.kind = static_cast<Kind>(head.kind);
    message.number = head.number;
    const Rule& allowed = rule(message.kind);
    if (!may_say(own_ == End::Player ? End::Machine : End::Player, allowed.manner))
        return broken("from the wrong end");
    const bool numbered = allowed.manner == Manner::Request || allowed.manner == Manner::Answer;
    if (numbered != (message.number != 0))
        return broken("wrong number");
    if (message.files.size() > allowed.most_files)
        return broken("unexpected descriptors");
    more = head.more == 1;
    message.body.assign(buffer_.begin() + sizeof head, buffer_.begin() + got);
    if (message.body.size() > allowed.most_bytes || (more && message.body.empty()))
        return broken("too long");
    return std::optional<Message>(std::move(message));
}

base::Result<std::optional<Message>> Channel::receive() {
    bool more = false;
    auto message = TRY(receive_packet(more));
    while (message && more) {
        const auto next = TRY(receive_packet(more));
        if (!next)
            return std::optional<Message>();
        if (next->kind != message->kind || next->number != message->number || !next->files.empty())
            return broken("interleaved with another");
        if (message->body.size() + next->body.size() > rule(message->kind).most_bytes)
            return broken("too long");
        message->body.insert(message->body.end(), next->body.begin(), next->body.end());
    }
    return message;
}

void Channel::shut() { ::shutdown(socket_.get(), SHUT_RDWR); }

} // namespace machine
