#include "vmm/bus/event_queue.h"

#include <catch2/catch.hpp>

#include <string>
#include <thread>

using vmm::EventQueue;

TEST_CASE("event_queue: work runs in order and each post wakes", "[bus]") {
    EventQueue queue;
    unsigned wakes = 0;
    queue.set_wake([&] { ++wakes; });
    std::string ran;
    queue.post([&] { ran += '1'; });
    queue.post([&] { ran += '2'; });
    CHECK(wakes == 2);
    CHECK_FALSE(queue.empty());
    queue.run_all();
    CHECK(ran == "12");
    CHECK(queue.empty());
}

TEST_CASE("event_queue: work that posts itself waits for the next call", "[bus]") {
    EventQueue queue;
    unsigned runs = 0;
    std::function<void()> again = [&] {
        ++runs;
        queue.post(again);
    };
    queue.post(again);
    queue.run_all();
    CHECK(runs == 1);
    CHECK_FALSE(queue.empty());
}

TEST_CASE("event_queue: nothing posted by other threads is lost", "[bus]") {
    EventQueue queue;
    unsigned runs = 0;
    std::thread poster([&] {
        for (int i = 0; i < 1000; ++i)
            queue.post([&] { ++runs; });
    });
    for (int i = 0; i < 50; ++i)
        queue.run_all();
    poster.join();
    queue.run_all();
    CHECK(runs == 1000);
}
