// Systems that offer less than this one, and users who may less than whoever runs the tests.
#pragma once
#include "vmm/base/unique_fd.h"
#include "vmm/base/verify.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace jail_test {

constexpr uid_t kNobody = 65534;

inline std::string make_folder() {
    std::string name = "/tmp/encore-jail-XXXXXX";
    VERIFY(::mkdtemp(name.data()) != nullptr);
    return name;
}

// A copy of a program where every user can get at it; the folder it was built in may be private.
class PublicCopy {
  public:
    explicit PublicCopy(const std::string& program) : folder_(make_folder()), path(folder_ + "/program") {
        std::filesystem::copy_file(program, path);
        ::chmod(path.c_str(), 0755);
        ::chmod(folder_.c_str(), 0755);
    }
    ~PublicCopy() { std::filesystem::remove_all(folder_); }
    PublicCopy(const PublicCopy&) = delete;

  private:
    std::string folder_;

  public:
    const std::string path;
};

// What a system may lack.
struct Lacks {
    bool namespaces = false, landlock = false;
    bool privileges = false; // in namespaces, as where AppArmor restricts them
};

// From now on the kernel says no to them, as one without does.
inline void do_without(const Lacks& lacks) {
    constexpr uint32_t kLandlock = 444;
    const auto refuse = [](uint32_t error) { return SECCOMP_RET_ERRNO | error; };
    std::vector<sock_filter> steps{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    if (lacks.landlock) {
        steps.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kLandlock, 0, 1));
        steps.push_back(BPF_STMT(BPF_RET | BPF_K, refuse(ENOSYS)));
    }
    for (const uint32_t call : {SYS_mount, SYS_pivot_root, SYS_umount2}) {
        if (!lacks.privileges)
            break;
        steps.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
        steps.push_back(BPF_STMT(BPF_RET | BPF_K, refuse(EACCES)));
    }
    if (lacks.namespaces) {
        steps.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
        steps.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)));
        steps.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER, 0, 1));
        steps.push_back(BPF_STMT(BPF_RET | BPF_K, refuse(EPERM)));
    }
    steps.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog program{static_cast<unsigned short>(steps.size()), steps.data()};
    VERIFY(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0);
}

inline void become_nobody() {
    VERIFY(::setgroups(0, nullptr) == 0 && ::setresgid(kNobody, kNobody, kNobody) == 0 &&
           ::setresuid(kNobody, kNobody, kNobody) == 0);
    // Else /proc/self would stay root's, and with it the way to a namespace: as if logged in.
    VERIFY(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
}

// Runs `work` in a process of its own, and hands on what it answers.
inline std::string apart(const std::function<std::string()>& work) {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe2(pipe.data(), O_CLOEXEC) == 0);
    base::UniqueFd ours{pipe[0]}, theirs{pipe[1]};
    const pid_t child = ::fork();
    if (child == 0) {
        const std::string answer = work();
        (void)!::write(theirs.get(), answer.data(), answer.size());
        ::_exit(0);
    }
    theirs.reset();
    std::string answer;
    char bytes[4096];
    for (ssize_t got = 0; (got = ::read(ours.get(), bytes, sizeof bytes)) > 0;)
        answer.append(bytes, static_cast<size_t>(got));
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    return answer;
}

// Whoever runs the tests, and an ordinary user; each of them here and wherever a wall or two cannot be built.
inline void everywhere(const std::function<void(bool user, const Lacks&)>& judge) {
    const bool already_one = ::geteuid() != 0;
    for (const bool user : {false, true})
        for (const Lacks& lacks : {Lacks{}, Lacks{.namespaces = true}, Lacks{.landlock = true},
                                   Lacks{true, true, false}, Lacks{.privileges = true}}) {
            if (user && already_one)
                continue;
            INFO((user ? "an ordinary user" : "whoever runs this")
                 << ", without namespaces: " << lacks.namespaces << ", without Landlock: " << lacks.landlock
                 << ", without privileges in namespaces: " << lacks.privileges);
            judge(user, lacks);
        }
}

} // namespace jail_test
