// What may be said to a machine's process: before it has a machine, or (the input's first byte is odd) after.
#include "player/machine/host.h"
#include "tests/fuzz/machine_packets.h"
#include "vmm/base/verify.h"

#include <fcntl.h>
#include <thread>

using namespace machine;

namespace {

void set_up(const base::UniqueFd& socket) {
    const vmm::PlatformConfig defaults;
    auto shared = SharedMemory::create();
    VERIFY(shared);
    const base::UniqueFd bios(::open(defaults.bios_path.c_str(), O_RDONLY | O_CLOEXEC));
    const base::UniqueFd vga_bios(::open(defaults.vga_bios_path.c_str(), O_RDONLY | O_CLOEXEC));
    Setup setup;
    setup.ram_bytes = 16u << 20;
    setup.bios = {0, "bios"};
    setup.vga_bios = {1, "vga bios"};
    setup.shared = {2, ""};
    Channel player(base::UniqueFd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0)), End::Player);
    VERIFY(player.send(Kind::Setup, 1, encode(setup), std::array{bios.get(), vga_bios.get(), shared->fd()}));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0)
        return 0;
    auto ends = Channel::pair();
    VERIFY(ends);
    base::UniqueFd own = std::move((*ends)[0]);
    {
        Host host(std::move((*ends)[1]));
        if ((data[0] & 1) != 0)
            set_up(own);
        std::thread listens([&] { // what is answered must be taken, or the host waits
            std::array<char, 65536> room{};
            while (::recv(own.get(), room.data(), room.size(), 0) > 0) {
            }
        });
        fuzz::send_packets(own, {data + 1, size - 1});
        ::shutdown(own.get(), SHUT_WR);
        (void)host.serve();
        ::shutdown(own.get(), SHUT_RDWR);
        listens.join();
    }
    return 0;
}
