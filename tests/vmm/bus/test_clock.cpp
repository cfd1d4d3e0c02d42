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
    CHECK(clock.now() >= 5);
    CHECK(clock.now() < stopped + vmm::kNanosPerSecond);
}
