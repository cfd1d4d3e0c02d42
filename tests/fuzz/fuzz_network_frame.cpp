// The filter between a guest's card and the host's sockets: whatever frames a guest sends, what passes is a
// whole packet of a protocol and to a place that it may reach.
// Fragments are put together first, as the guest's network does, in bounded room.
//
// Input: frames, each after its length (two bytes, little endian).
#include "player/fragment_collector.h"
#include "player/network_filter.h"
#include "vmm/base/verify.h"

using player::NetworkFilter;

namespace {

void check_passed(std::span<const uint8_t> frame) {
    VERIFY(frame.size() >= 42);
    if (frame[12] == 0x08 && frame[13] == 0x06)
        return;
    VERIFY(frame[12] == 0x08 && frame[13] == 0x00 && frame[14] >> 4 == 4);
    const size_t header = (frame[14] & 0xFu) * 4, total = frame[16] << 8 | frame[17];
    VERIFY(header >= 20 && total >= header + 8 && 14 + total <= frame.size());
    VERIFY((frame[20] & 0x3F) == 0 && frame[21] == 0);
    VERIFY(frame[23] == 1 || frame[23] == 6 || frame[23] == 17);
    const uint8_t* to = &frame[30];
    VERIFY(to[0] != 0 && to[0] != 127 && (to[0] != 169 || to[1] != 254));
    VERIFY((to[0] != 192 || to[1] != 168) && (to[0] != 172 || to[1] >> 4 != 1) &&
           (to[0] != 10 || (to[1] == 0 && to[2] == 2)));
    const uint8_t* payload = &frame[14 + header];
    const unsigned port = frame[23] == 1 ? 0 : payload[2] << 8 | payload[3];
    if (to[0] >= 224)
        VERIFY(frame[23] == 17 && port == 67);
    if (to[0] == 10 && to[1] == 0 && to[2] == 2)
        VERIFY((to[3] == 2 && (port == 0 || port == 67)) || (to[3] == 3 && (port == 0 || port == 53)));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    NetworkFilter filter;
    player::FragmentCollector collector;
    std::span<const uint8_t> left(data, size);
    for (size_t count = 0; left.size() >= 2; ++count) {
        const size_t length = std::min<size_t>(left[0] | left[1] << 8, left.size() - 2);
        const auto frame = collector.take(left.subspan(2, length), {});
        left = left.subspan(2 + length);
        VERIFY(collector.held_bytes() <= player::FragmentCollector::kMostBytes);
        const NetworkFilter::Verdict verdict = filter.judge(frame, count * 64 % 512);
        VERIFY(verdict.passes || !verdict.announcement);
        if (verdict.passes)
            check_passed(frame);
    }
    return 0;
}
