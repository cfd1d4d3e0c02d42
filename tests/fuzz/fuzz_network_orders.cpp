// What the player and the network process say to each other, which neither believes: whatever bytes come, a
// message that is taken is within its bounds and would be sent as it came.
//
// Input: one message.
#include "player/network_orders.h"
#include "vmm/base/verify.h"

#include <algorithm>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::span<const uint8_t> message(data, size);
    if (const auto orders = player::orders_from(message)) {
        VERIFY(orders->granted.size() <= appliance_format::kMaxNetworks &&
               orders->forward.size() <= appliance_format::kMaxForwards &&
               orders->around.own.size() <= player::kMostAddresses &&
               orders->around.attached.size() <= player::kMostAddresses);
        VERIFY(orders->network.length >= appliance_format::kLeastPrefix && orders->network.length <= 27);
        VERIFY(std::ranges::equal(to_message(*orders), message));
    }
    if (const auto around = player::surroundings_from(message))
        VERIFY(std::ranges::equal(to_message(*around), message));
    if (const auto report = player::report_from(message)) {
        VERIFY(report->kind <= player::NetworkReport::Kind::CannotBeWalled && report->error < 4096);
        VERIFY(std::ranges::equal(to_message(*report), message));
    }
    return 0;
}
