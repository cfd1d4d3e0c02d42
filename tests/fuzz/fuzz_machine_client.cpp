// What a machine's process that was taken over may say to the player.
#include "player/machine/client.h"
#include "tests/fuzz/machine_packets.h"
#include "vmm/base/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto ends = machine::Channel::pair();
    VERIFY(ends);
    base::UniqueFd own = std::move((*ends)[0]);
    auto client = machine::Client::with(std::move((*ends)[1]), {});
    VERIFY(client);
    // Answers to questions that wait: the pictures' and the text's are numbers 1 and 2.
    std::thread asks([&] { (void)(*client)->picture(); });
    std::thread asks_too([&] { (void)(*client)->freeze({}); });
    fuzz::send_packets(own, {data, size});
    ::shutdown(own.get(), SHUT_WR);
    asks.join();
    asks_too.join();
    (*client)->wait_for_end();
    VERIFY((*client)->has_ended());
    return 0;
}
