#include "vmm/base/operation.h"
#include "vmm/bus/clock.h"

#include <catch2/catch.hpp>

#include <ctime>
#include <string>

using vmm::Clock;
using vmm::kNever;

TEST_CASE("clock: timers fire in order of deadline, not of creation", "[bus]") {
    Clock clock;
    clock.set_manual(0);
    std::string fired;
    const auto a = clock.add_timer("a", [&] { fired += 'a'; });
    const auto b = clock.add_timer("b", [&] { fired += 'b'; });
    clock.arm(a, 20);
    clock.arm(b, 10);
    CHECK(clock.next_deadline() == 10);
    clock.set_manual(9);
    clock.run_due();
    CHECK(fired.empty());
    clock.set_manual(20);
    clock.run_due();
    CHECK(fired == "ba");
    CHECK(clock.next_deadline() == kNever);
    clock.run_due();
    CHECK(fired == "ba");
}

TEST_CASE("clock: a timer that re-arms in the past fires at most 64 times a call", "[bus]") {
    Clock clock;
    clock.set_manual(100);
    unsigned fired = 0;
    Clock::TimerId timer = 0;
    timer = clock.add_timer("storm", [&] {
        ++fired;
        clock.arm(timer, 1);
    });
    clock.arm(timer, 1);
    clock.run_due();
    CHECK(fired == 64);
    CHECK(clock.deadline(timer) == 1);
}

TEST_CASE("clock: a callback may add timers and disarm others", "[bus]") {
    Clock clock;
    clock.set_manual(10);
    bool second = false, added = false;
    const auto victim = clock.add_timer("victim", [&] { second = true; });
    const auto first = clock.add_timer("first", [&] {
        clock.disarm(victim);
        for (int i = 0; i < 100; ++i)
            clock.arm(clock.add_timer("new", [&] { added = true; }), 5);
    });
    clock.arm(first, 1);
    clock.arm(victim, 2);
    clock.run_due();
    CHECK_FALSE(second);
    CHECK(added);
}

TEST_CASE("clock: only an earlier deadline calls the waker", "[bus]") {
    Clock clock;
    clock.set_manual(0);
    uint64_t planned = 0;
    unsigned calls = 0;
    clock.set_on_earlier([&](uint64_t deadline) {
        planned = deadline;
        ++calls;
    });
    const auto a = clock.add_timer("a", [] {});
    const auto b = clock.add_timer("b", [] {});
    clock.arm(a, 50);
    CHECK((calls == 1 && planned == 50));
    clock.arm(b, 60);
    CHECK(calls == 1);
    clock.arm(b, 40);
    CHECK((calls == 2 && planned == 40));
    clock.arm(b, 45);
    CHECK(calls == 2);
}

TEST_CASE("clock: host time passes only while it runs", "[bus]") {
    Clock clock;
    const auto wait = [] {
        timespec t{0, 2'000'000};
        ::nanosleep(&t, nullptr);
    };
    wait();
    CHECK(clock.now() == 0);
    clock.start();
    wait();
    clock.stop();
    const uint64_t stopped = clock.now();
    CHECK(stopped >= 2'000'000);
    wait();
    CHECK(clock.now() == stopped);
    clock.set(5);
    CHECK(clock.now() == 5);
    clock.start();
    const base::Operation operation;
    CHECK(clock.now() >= 5);
    CHECK(clock.now() < stopped + vmm::kNanosPerSecond);
}

TEST_CASE("clock: an operation has one moment, however slow the host is", "[bus]") {
    Clock clock;
    uint64_t host = 0;
    clock.set_host([&] { return host += 9'000'000; });
    clock.start();
    uint64_t first = 0;
    {
        const base::Operation operation;
        first = clock.now();
        const base::Operation within; // DMA into another device's registers
        CHECK(clock.now() == first);
        host += vmm::kNanosPerSecond;
        CHECK(clock.now() == first);
    }
    const base::Operation next;
    CHECK(clock.now() >= first + vmm::kNanosPerSecond);
}

TEST_CASE("clock: what falls due while timers fire is for the next call, and is not lost", "[bus]") {
    Clock clock;
    uint64_t host = 0;
    clock.set_host([&] { return host; });
    clock.start();
    uint64_t fired_at = 0;
    const auto late = clock.add_timer("late", [&] { fired_at = clock.now(); });
    const auto slow = clock.add_timer("slow", [&] {
        host += 1000; // while it works
        clock.arm(late, clock.now() + 10);
    });
    clock.arm(slow, 5);
    host = 5;
    clock.run_due();
    CHECK(fired_at == 0);
    CHECK(clock.next_deadline() == 15);
    clock.run_due();
    CHECK(fired_at == 1005);
    CHECK(clock.next_deadline() == kNever);
}

TEST_CASE("clock: a deadline's host time needs no reading of the clock", "[bus]") {
    using HostTime = std::chrono::steady_clock::time_point;
    using std::chrono::nanoseconds;
    Clock clock;
    clock.set_manual(1000);
    clock.start(50'000);
    CHECK(clock.host_time(1500) == HostTime(nanoseconds(50'500)));
    CHECK(clock.host_time(10) == HostTime(nanoseconds(50'000))); // it has passed
    CHECK(clock.host_time(uint64_t{1} << 63) == HostTime::max());
    CHECK(clock.host_time(kNever - 1) == HostTime::max());
}
