#include "tests/vmm/devices/storage_fixture.h"
#include "vmm/devices/block_worker.h"

using namespace vmm;

TEST_CASE("block worker: a completion runs only when the vCPU thread takes it", "[storage]") {
    StorageFixture machine;
    auto port = std::make_shared<MemoryBlockPort>(4096);
    fill_pattern(port->data);
    BlockWorker worker(port, machine.platform.events, 512, "disk");
    BlockOutcome outcome;
    bool done = false;
    worker.read(512, 1024, [&](BlockOutcome result) {
        outcome = std::move(result);
        done = true;
    });
    REQUIRE_FALSE(done);
    REQUIRE(worker.busy());
    REQUIRE(machine.wait([&] { return done; }));
    REQUIRE_FALSE(worker.busy());
    REQUIRE(outcome.ok);
    REQUIRE(outcome.data.size() == 1024);
    REQUIRE(outcome.data[3] == pattern(515));
}

TEST_CASE("block worker: a failing request tells how much of it is good", "[storage]") {
    StorageFixture machine;
    auto port = std::make_shared<MemoryBlockPort>(8192);
    fill_pattern(port->data);
    port->bad_from = 2048;
    port->bad_to = 2560;
    BlockWorker worker(port, machine.platform.events, 512, "disk");
    BlockOutcome read, write;
    worker.read(0, 4096, [&](BlockOutcome result) { read = std::move(result); });
    worker.write(1536, std::vector<uint8_t>(1024, 0xAB),
                 [&](BlockOutcome result) { write = std::move(result); });
    worker.drain();
    REQUIRE_FALSE(read.ok);
    REQUIRE(read.good_bytes == 2048);
    REQUIRE(read.data[2047] == pattern(2047));
    REQUIRE_FALSE(write.ok);
    REQUIRE(write.good_bytes == 512);
    REQUIRE(port->data[2047] == 0xAB);
    REQUIRE(port->data[2048] == pattern(2048));
}

TEST_CASE("block worker: drain also finishes requests that completions start", "[storage]") {
    StorageFixture machine;
    auto port = std::make_shared<MemoryBlockPort>(4096);
    BlockWorker worker(port, machine.platform.events, 512, "disk");
    int finished = 0;
    std::function<void(BlockOutcome)> next = [&](BlockOutcome) {
        if (++finished < 5)
            worker.flush(next);
    };
    worker.flush(next);
    worker.drain();
    REQUIRE(finished == 5);
    machine.platform.events.run_all(); // the wake-ups find nothing left to do
    REQUIRE(finished == 5);
}

TEST_CASE("block worker: destruction writes what was handed over and drops completions", "[storage]") {
    StorageFixture machine;
    auto port = std::make_shared<MemoryBlockPort>(4096);
    bool called = false;
    {
        BlockWorker worker(port, machine.platform.events, 512, "disk");
        worker.write(0, std::vector<uint8_t>(512, 0x5A), [&](BlockOutcome) { called = true; });
    }
    machine.platform.events.run_all();
    REQUIRE(port->data[511] == 0x5A);
    REQUIRE_FALSE(called);
}

TEST_CASE("file block port: reads and writes an image in place", "[storage]") {
    std::vector<uint8_t> contents(8192);
    fill_pattern(contents);
    const TemporaryImage image(contents);
    auto port = FileBlockPort::open(image.path, FileAccess::ReadWrite);
    REQUIRE(port.has_value());
    REQUIRE((*port)->size_bytes() == 8192);
    REQUIRE_FALSE((*port)->read_only());
    const std::vector<uint8_t> patch(700, 0xC3);
    REQUIRE((*port)->write(1000, patch).has_value());
    REQUIRE((*port)->flush().has_value());
    std::vector<uint8_t> back(8192);
    REQUIRE((*port)->read(0, back).has_value());
    REQUIRE(back[999] == pattern(999));
    REQUIRE(back[1000] == 0xC3);
    REQUIRE(back[1699] == 0xC3);
    REQUIRE(back[1700] == pattern(1700));
}

TEST_CASE("file block port: refuses what it cannot do", "[storage]") {
    const TemporaryImage image(std::vector<uint8_t>(1024, 1));
    auto read_only = FileBlockPort::open(image.path, FileAccess::ReadOnly);
    REQUIRE(read_only.has_value());
    std::vector<uint8_t> data(512);
    REQUIRE_FALSE((*read_only)->write(0, data).has_value());
    REQUIRE_FALSE((*read_only)->read(513, data).has_value());
    REQUIRE_FALSE((*read_only)->read(UINT64_MAX - 10, data).has_value());
    REQUIRE((*read_only)->read(512, data).has_value());
    REQUIRE_FALSE(FileBlockPort::open(image.path + ".missing", FileAccess::ReadOnly).has_value());
    REQUIRE_FALSE(FileBlockPort::open("/dev/null", FileAccess::ReadOnly).has_value());
    auto writer = FileBlockPort::open(image.path, FileAccess::ReadWrite);
    REQUIRE(writer.has_value());
    REQUIRE_FALSE(FileBlockPort::open(image.path, FileAccess::ReadWrite).has_value());
}
