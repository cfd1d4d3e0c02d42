// The room that our own jailed processes work in: what code that has taken one over can do there.
#include "tests/vmm/jail/room_world.h"
#include "vmm/jail/filters/filters.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <sys/mman.h>
#include <sys/syscall.h>

using namespace jail_test;

namespace {

std::string judge_outside(const std::string& program, bool nobody) {
    if (nobody)
        become_nobody();
    std::string wrong;
    for (size_t i = 0; i < kRoomAttemptCount; ++i) {
        const RoomAttempt& attempt = kRoomAttempts[i];
        World world(program);
        const auto told = world.attempt("outside", i);
        const bool works = attempt.outside == Outside::Replaces
                               ? !told.error && told.end == "ended with status 0"
                               : told.error && *told.error == 0;
        if (!told.inside ||
            (!works && (attempt.outside == Outside::Works || attempt.outside == Outside::Replaces)))
            wrong += fmt::format("{}: {}, {}\n", attempt.name,
                                 told.error ? std::strerror(*told.error) : "no answer", told.end);
    }
    return wrong;
}

} // namespace

TEST_CASE(
    "room: whatever code in the network process tries is denied or ends it, and nothing outside changes",
    "[jail]") {
    CHECK(kRoomAttemptCount >= 60);
    const PublicCopy prisoner(ROOM_PRISONER);
    everywhere([&](bool user, const Lacks& lacks) {
        CHECK(apart([&] {
                  return judge_inside(World::Network::OfThisComputer, prisoner.path, user, lacks,
                                      [](size_t) { return std::vector<std::string>{"network"}; });
              }) == "");
    });
}

TEST_CASE("room: outside of it the same attempts work", "[jail]") {
    const auto user = GENERATE(false, true);
    if (user && ::geteuid() != 0)
        return;
    const PublicCopy prisoner(ROOM_PRISONER);
    CHECK(apart([&] { return judge_outside(prisoner.path, user); }) == "");
}

TEST_CASE("room: while a program is developed it says which call it may not make", "[jail]") {
    size_t number = 0;
    while (std::string(kRoomAttempts[number].name) != "hold a process")
        ++number;
    World world(ROOM_PRISONER);
    const auto told = world.attempt("explained", number);
    CHECK(told.rest.find("system call 434(") != std::string::npos); // pidfd_open
    CHECK(told.end == "ended with status 159");
}

namespace {

// Whether a line leaves room for this protection, mmap(2)'s third argument.
bool admits(const jail::Line& line, uint64_t protection) {
    for (const jail::Condition& condition : line.when) {
        using Kind = jail::Condition::Kind;
        if (condition.kind == Kind::Always || condition.argument != 2)
            continue;
        if ((condition.kind == Kind::Equals && protection != condition.value) ||
            (condition.kind == Kind::Differs && protection == condition.value) ||
            (condition.kind == Kind::BitsAre && (protection & condition.mask) != condition.value))
            return false;
    }
    return line.answer == jail::Answer::Allow;
}

} // namespace

TEST_CASE("room: each line of a table has its reason, and none lets memory be written and run", "[jail]") {
    for (const jail::CallTable* table :
         {&jail::kNetworkCalls, &jail::kMachineCalls, &jail::kMachineOrdersCalls,
          &jail::kMachineRequestsCalls, &jail::kMachineEventsCalls, &jail::kMachineVcpuCalls,
          &jail::kMachineDiskCalls, &jail::kMachineReadAheadCalls, &jail::kMachineCableCalls}) {
        CHECK(table->rest == jail::Answer::Kill);
        for (const jail::Line& line : table->lines) {
            INFO("call " << line.call);
            CHECK(std::strlen(line.why) > 3);
            if (line.call == SYS_mmap || line.call == SYS_mprotect || line.call == SYS_pkey_mprotect)
                CHECK_FALSE(admits(line, PROT_READ | PROT_WRITE | PROT_EXEC));
        }
    }
}

TEST_CASE(
    "room: a machine's threads make no code, threads or descriptors, and nothing that its process may not",
    "[jail]") {
    const auto knows = [](const jail::CallTable& table, int call) {
        return std::ranges::any_of(table.lines, [&](const jail::Line& line) {
            return line.call == call && line.answer == jail::Answer::Allow;
        });
    };
    for (const jail::CallTable* table :
         {&jail::kMachineOrdersCalls, &jail::kMachineRequestsCalls, &jail::kMachineEventsCalls,
          &jail::kMachineVcpuCalls, &jail::kMachineDiskCalls, &jail::kMachineReadAheadCalls,
          &jail::kMachineCableCalls}) {
        CHECK(jail::Filter::compile(*table));
        for (const int call : {SYS_clone, SYS_clone3, SYS_memfd_create, SYS_eventfd2, SYS_socket, SYS_openat,
                               SYS_seccomp, SYS_prctl, SYS_prlimit64, SYS_fcntl, SYS_dup, SYS_ioctl})
            CHECK_FALSE(knows(*table, call));
        for (const jail::Line& line : table->lines) {
            INFO("call " << line.call);
            CHECK((line.answer != jail::Answer::Allow || knows(jail::kMachineCalls, line.call)));
            if (line.call == SYS_mmap || line.call == SYS_mprotect)
                CHECK_FALSE(admits(line, PROT_READ | PROT_EXEC));
        }
    }
}
