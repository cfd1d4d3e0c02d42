#include "vmm/firmware/bios_keys.h"

namespace vmm {
namespace {

constexpr uint32_t kData = 0x400, kHead = kData + 0x1A, kTail = kData + 0x1C, kStart = kData + 0x80,
                   kEnd = kData + 0x82;
constexpr uint64_t kForgottenAfterNanos = 10'000'000'000;
constexpr uint16_t kEntry = 2; // ASCII and scan code

} // namespace

bool BiosKeys::has_room(GuestMemory& memory, uint64_t now) {
    const auto head = memory.read<uint16_t>(kHead), tail = memory.read<uint16_t>(kTail);
    const auto start = memory.read<uint16_t>(kStart), end = memory.read<uint16_t>(kEnd);
    const auto inside = [&](uint16_t at) { return at >= start && at < end && (at - start) % kEntry == 0; };
    if (!inside(head) || !inside(tail))
        return true; // another system's memory
    const int next = tail + kEntry < end ? tail + kEntry : start;
    if (next != head) {
        full_ = false;
        return true;
    }
    if (!full_ || head != head_ || now < since_) { // time goes back when a machine is reverted
        full_ = true;
        head_ = head;
        since_ = now;
    }
    return now - since_ >= kForgottenAfterNanos;
}

} // namespace vmm
