// A reader of images that has been taken over: foreign_prisoner FOLDER PARENT ADDRESS SHARED. It says "ready"
// on descriptor 3, waits for a word there, then tries everything and says each attempt's error number.
#include "tests/vmm/jail/foreign_probes.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

std::string folder;
pid_t parent;
sockaddr_un address{};
int shared;

long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
    return ::syscall(number, a, b, c, d, e, f);
}
long pointer(const void* to) { return reinterpret_cast<long>(to); }
const char* in_folder(const char* name) {
    static std::string path;
    path = folder + "/" + name;
    return path.c_str();
}

long try_to(jail_test::Try what) {
    using jail_test::Try;
    const std::string file = folder + "/file";
    std::array<char, 128> room{};
    switch (what) {
    case Try::ReadFile:
        return ::open(file.c_str(), O_RDONLY);
    case Try::ListFolder:
        return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY);
    case Try::ReadProc:
        return ::open("/proc/self/status", O_RDONLY);
    case Try::ReadLibrary:
        return ::open("/lib64/ld-linux-x86-64.so.2", O_RDONLY);
    case Try::MakeFile:
        return ::open(in_folder("new"), O_WRONLY | O_CREAT, 0600);
    case Try::WriteFile:
        return ::open(file.c_str(), O_WRONLY);
    case Try::EmptyFile:
        return ::truncate(file.c_str(), 0);
    case Try::OpenUpFile:
        return ::chmod(file.c_str(), 0666);
    case Try::DateFile:
        return ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0);
    case Try::LinkFile:
        return ::link(file.c_str(), in_folder("second"));
    case Try::RenameFile:
        return ::rename(file.c_str(), in_folder("moved"));
    case Try::RemoveFile:
        return ::unlink(in_folder("moved"));
    case Try::MakeFolder:
        return ::mkdir(in_folder("sub"), 0700);
    case Try::NetworkSocket:
        return ::socket(AF_INET, SOCK_STREAM, 0);
    case Try::LocalSocket:
        return ::socket(AF_UNIX, SOCK_STREAM, 0);
    case Try::Connect: {
        socklen_t length = sizeof address.sun_family + 6; // unix(7): a null byte and five of the kernel's
        return ::connect(jail_test::kUnconnected, reinterpret_cast<sockaddr*>(&address), length);
    }
    case Try::Fork:
    case Try::ForkByClone: {
        const long child = what == Try::Fork ? call(SYS_fork) : call(SYS_clone, SIGCHLD);
        if (child == 0)
            ::_exit(0);
        return child;
    }
    case Try::Thread: {
        pthread_t thread;
        const int error = ::pthread_create(
            &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr);
        errno = error;
        return error == 0 ? ::pthread_join(thread, nullptr) : -1;
    }
    case Try::Signal:
        return ::kill(parent, 0);
    case Try::SignalThread:
        return call(SYS_tgkill, parent, parent, 0);
    case Try::QueueSignal:
        room[8] = room[9] = room[10] = room[11] = -1; // si_code: SI_QUEUE
        return call(SYS_rt_sigqueueinfo, parent, 0, pointer(room.data()));
    case Try::HoldProcess:
        return call(SYS_pidfd_open, parent, 0);
    case Try::LimitProcess:
        return call(SYS_prlimit64, parent, 0, 0, pointer(room.data()));
    case Try::LookIntoProcess:
        return call(SYS_process_vm_readv, parent);
    case Try::ShareMemory:
        return ::shmat(shared, nullptr, SHM_RDONLY) == reinterpret_cast<void*>(-1) ? -1 : 0;
    case Try::LeaveNamespaces:
        return ::unshare(CLONE_FILES);
    case Try::BecomeAnother: {
        std::array<char*, 1> none{};
        return ::execve("/usr/bin/true", none.data(), none.data());
    }
    }
    return 0;
}

} // namespace

int main(int count, char** words) {
    if (count != 5)
        return 2;
    folder = words[1];
    parent = std::atoi(words[2]);
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path + 1, words[3], 5);
    shared = std::atoi(words[4]);
    char word = 0;
    if (::dprintf(jail_test::kToTest, "ready\n") < 0 || ::read(jail_test::kToTest, &word, 1) != 1)
        return 1;
    for (const jail_test::Probe& probe : jail_test::kProbes) {
        errno = 0;
        const int error = try_to(probe.what) < 0 ? errno : 0;
        ::dprintf(jail_test::kToTest, "%s=%d\n", probe.name, error);
    }
    return 0;
}
