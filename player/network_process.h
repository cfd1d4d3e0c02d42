// The network process: libslirp's user-mode network address translation, alone in a process of its own. It
// gets a guest's frames (frame_channel.h) and its orders (network_orders.h) and has nothing else: what it
// parses is forged by guests and by the internet alike, and libslirp is written in C. So the filter and the
// collector of fragments, which parse the same, are here too and not with the player, who has keys, files and
// a window.
#pragma once

namespace player {

// The descriptors that it starts with.
inline constexpr int kOrdersDescriptor = 3, kChannelDescriptor = 4; // and the two after that

// How it ends.
inline constexpr int kEndTold = 0, kEndStart = 1, kEndOrders = 2, kEndFrames = 3;

// Its whole life. The answer is its exit status.
int run_network_process();

} // namespace player
