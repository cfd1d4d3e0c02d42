// A network process that has been taken over, as far as the player can tell: it starts as encore-network
// does, says that it is ready, and then does what its name says. (Only tests know of it.)
#include "player/frame_channel.h"
#include "player/network_orders.h"
#include "player/network_process.h"

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace player;

namespace {

void say(const std::vector<uint8_t>& message) {
    (void)!::send(kOrdersDescriptor, message.data(), message.size(), MSG_NOSIGNAL);
}

std::vector<uint8_t> ready() { return to_message(NetworkReport{NetworkReport::Kind::Ready, {}, {}, 0}); }

// Of frame_channel.cpp: a page of each end's counts, then the slots.
constexpr size_t kPage = 4096, kSlot = 2048, kWorldPut = kPage, kWorldTaken = kPage + 4;
constexpr size_t kToGuest = 2 * kPage + FrameChannel::kSlots * kSlot;

void write_number(size_t at, uint32_t value) {
    static auto* memory = static_cast<uint8_t*>(
        ::mmap(nullptr, kToGuest + kSlot, PROT_READ | PROT_WRITE, MAP_SHARED, kChannelDescriptor, 0));
    std::memcpy(memory + at, &value, sizeof value);
}
void ring() {
    const uint64_t one = 1;
    (void)!::write(kChannelDescriptor + 2, &one, sizeof one);
}

const std::map<std::string, std::function<void()>> kParts{
    {"waits", [] {}},
    {"ends", [] { ::_exit(7); }},
    {"says-nothing-valid",
     [] {
         say({1, 2, 3});
     }},
    {"says-empty", [] { say({}); }},
    {"says-too-much", [] { say(std::vector<uint8_t>(4000)); }},
    {"says-unknown-kind",
     [] {
         auto message = ready();
         message[0] = 200;
         say(message);
     }},
    {"says-unknown-error",
     [] {
         auto message = ready();
         message[11] = 0x7F;
         say(message);
     }},
    {"says-more-behind-it",
     [] {
         auto message = ready();
         message.push_back(0);
         say(message);
     }},
    {"counts-too-many-put",
     [] {
         write_number(kWorldPut, FrameChannel::kSlots + 1);
         ring();
     }},
    {"counts-back", // as if it had put fewer than none
     [] {
         write_number(kWorldPut, ~uint32_t{0});
         ring();
     }},
    {"counts-too-many-taken",
     [] {
         write_number(kWorldTaken, 1'000'000);
         ring();
     }},
    {"passes-too-long",
     [] {
         write_number(kToGuest, 60'000);
         write_number(kWorldPut, 1);
         ring();
     }},
    {"passes-too-short",
     [] {
         write_number(kToGuest, 3);
         write_number(kWorldPut, 1);
         ring();
     }},
    {"shortens-memory",
     [] {
         if (::ftruncate(kChannelDescriptor, 0) == 0) // the player would be ended by SIGBUS
             ring();
         else
             ::_exit(7);
     }},
};

} // namespace

int main(int, char** words) {
    std::vector<uint8_t> room(kLongestOrder);
    const ssize_t length = ::recv(kOrdersDescriptor, room.data(), room.size(), 0);
    if (length <= 0 || !orders_from({room.data(), static_cast<size_t>(length)}))
        return 1;
    say(ready());
    std::string name = words[0];
    name.erase(0, name.rfind('/') + 1);
    kParts.at(name)();
    while (::recv(kOrdersDescriptor, room.data(), room.size(), 0) > 0) {
    }
    return 0;
}
