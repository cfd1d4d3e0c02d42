// One end of the socket between the player and the machine's process: whole messages, in order, with
// descriptors. The socket keeps the borders of packets (SOCK_SEQPACKET); what is longer than one packet comes
// in several, and nothing comes between them.
#pragma once
#include "player/machine/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <mutex>
#include <span>

namespace machine {

enum class End : uint8_t { Player, Machine };

struct Message {
    Kind kind = Kind::Start;
    uint32_t number = 0; // of a request, and of its answer; else 0
    std::vector<uint8_t> body;
    std::vector<base::UniqueFd> files;
};

class Channel {
  public:
    // What comes in is held to what the other end may say.
    Channel(base::UniqueFd socket, End own);

    // The two ends' sockets.
    static base::Result<std::array<base::UniqueFd, 2>> pair();

    // All or nothing; any thread. False: the other end is gone, or takes nothing any more.
    bool send(Kind kind, uint32_t number, std::span<const uint8_t> body, std::span<const int> files = {});
    template <class T> bool send(T message) { return send(T::kKind, 0, encode(std::move(message))); }

    // The next message; one thread. Nothing: the other end is gone. Errors: it broke the rules.
    base::Result<std::optional<Message>> receive();

    // Wakes receive() and ends the conversation.
    void shut();

  private:
    base::Result<std::optional<Message>> receive_packet(bool& more);

    base::UniqueFd socket_;
    End own_;
    std::mutex sending_; // held while the packets of a message are sent
    std::vector<uint8_t> buffer_;
};

} // namespace machine
