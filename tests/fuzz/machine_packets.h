// What one end of a machine's channel hears: an input is packets, each after its length (16 bits, little
// endian).
#pragma once
#include "vmm/base/unique_fd.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <sys/socket.h>

namespace fuzz {

inline void send_packets(const base::UniqueFd& socket, std::span<const uint8_t> input) {
    while (input.size() >= 2) {
        const size_t size = std::min<size_t>(input[0] | input[1] << 8, input.size() - 2);
        (void)!::send(socket.get(), input.data() + 2, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        input = input.subspan(2 + size);
    }
}

} // namespace fuzz
