// A machine's process that was taken over, with a machine in it and all its threads:
//   machine_prisoner THREAD ATTEMPT FOLDER PROCESS VARIABLE   makes the attempt in that thread when its work
//   begins machine_prisoner says HEX COUNT                           says these bytes to the player, with so
//   many descriptors
// The test's descriptors are those of room_attempts.h; for "says", the player's socket follows them.
#include "player/machine/host.h"
#include "player/machine/walls.h"
#include "tests/vmm/jail/room_attempts.h"
#include "vmm/base/thread_work.h"
#include "vmm/base/verify.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace jail_test;

namespace {

constexpr int kPlayer = 3, kOtherEnd = 5, kOtherCable = 6;

std::string thread_name;
long (*attempt)() = nullptr;
base::WorkHook close_wall = nullptr;
char walls = 0;
std::string bytes;
int descriptors = 0;

void try_it(std::string_view name, int descriptor) {
    close_wall(name, descriptor);
    if (name != thread_name)
        return;
    const std::array<char, 2> inside{kInside, walls};
    if (::write(STDERR_FILENO, inside.data(), inside.size()) != ssize_t{inside.size()})
        ::_exit(4);
    errno = 0;
    const int error = attempt() < 0 ? errno : 0;
    (void)!::write(STDERR_FILENO, &error, sizeof error);
    ::_exit(0);
}

void say_it(std::string_view name, int descriptor) {
    close_wall(name, descriptor);
    if (name != "events")
        return;
    iovec piece{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (descriptors != 0) {
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        *reinterpret_cast<int*>(CMSG_DATA(rights)) = kReadOnly;
    }
    if (::sendmsg(kPlayer, &message, MSG_NOSIGNAL) < 0)
        ::_exit(4);
}

base::UniqueFd memory(off_t size) {
    base::UniqueFd fd(::memfd_create("prisoner", MFD_CLOEXEC));
    VERIFY(fd.valid() && ::ftruncate(fd.get(), size) == 0);
    return fd;
}

// A machine with a disk that can be written and a network, asked for by a player that lies in the same
// process.
void ask_for_machine(const base::UniqueFd& player, int cable) {
    constexpr off_t kDisk = 1 << 20;
    const vmm::PlatformConfig defaults;
    auto shared = machine::SharedMemory::create();
    VERIFY(shared);
    const base::UniqueFd bios(::open(defaults.bios_path.c_str(), O_RDONLY | O_CLOEXEC));
    const base::UniqueFd vga_bios(::open(defaults.vga_bios_path.c_str(), O_RDONLY | O_CLOEXEC));
    const base::UniqueFd image = memory(kDisk), writes = memory(0);
    machine::Setup setup;
    setup.ram_bytes = 16u << 20;
    setup.overlay_limit = 1u << 20;
    setup.bios = {0, "bios"};
    setup.vga_bios = {1, "vga bios"};
    setup.shared = {2, ""};
    setup.media = {
        {vmm::MediumKind::Disk, {}, machine::HostFile{3, "image"}, machine::HostFile{4, "writes"}}};
    setup.network_card = true;
    setup.network = machine::HostFile{5, "cable"};
    machine::Channel channel(base::UniqueFd(::fcntl(player.get(), F_DUPFD_CLOEXEC, 0)), machine::End::Player);
    VERIFY(
        channel.send(machine::Kind::Setup, 1, machine::encode(setup),
                     std::array{bios.get(), vga_bios.get(), shared->fd(), image.get(), writes.get(), cable}));
}

} // namespace

int main(int count, char** words) {
    const bool says = count == 4 && std::string(words[1]) == "says";
    if (count != 6 && !says)
        return 2;
    VERIFY(::dup2(kToTest, STDERR_FILENO) >= 0);
    if (says) {
        const std::string hex = words[2];
        for (size_t i = 0; i + 1 < hex.size(); i += 2)
            bytes += static_cast<char>(std::strtoul(hex.substr(i, 2).c_str(), nullptr, 16));
        descriptors = std::atoi(words[3]);
        VERIFY(::dup2(kToTest + kDescriptors, kPlayer) >= 0);
    } else {
        thread_name = words[1];
        attempt = kRoomAttempts[std::strtoul(words[2], nullptr, 10)].make;
        constexpr int kAbove = 40; // what a machine makes is below
        target = {words[3], std::atoi(words[4]), std::strtol(words[5], nullptr, 10), kAbove};
        auto ends = machine::Channel::pair();
        std::array<int, 2> cable{};
        VERIFY(ends && ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, cable.data()) == 0);
        ask_for_machine((*ends)[0], cable[0]);
        const int other = ::fcntl((*ends)[0].get(), F_DUPFD, kAbove);
        const int far = ::fcntl(cable[1], F_DUPFD, kAbove);
        VERIFY(::dup2((*ends)[1].get(), kPlayer) >= 0);
        for (auto& end : *ends)
            end.reset();
        VERIFY(::dup2(other, kOtherEnd) >= 0 && ::dup2(far, kOtherCable) >= 0);
    }
    const auto stand = machine::wall_in(says ? kDescriptors : kOtherCable - kPlayer + 1);
    if (!stand)
        return 3;
    walls = static_cast<char>(stand->bits());
    close_wall = base::work_hook;
    base::work_hook = says ? say_it : try_it;
    if (thread_name == "read-ahead") // which only a scene has
        std::thread([] { base::begin_work("read-ahead"); }).join();
    machine::Host host{base::UniqueFd(kPlayer), *stand, machine::close_walls};
    const auto served = host.serve();
    if (says)
        ::_exit(served ? 0 : 1);
    for (;;) // the attempt is another thread's
        ::sched_yield();
}
