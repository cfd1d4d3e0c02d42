// The machine as one object: what its threads do to one another.
#include "vmm/machine.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <future>
#include <thread>

using namespace vmm;

namespace {

// A disk whose first read takes until it is told to go on.
class SlowDisk final : public BlockPort {
  public:
    [[nodiscard]] uint64_t size_bytes() const override { return 1u << 20; }
    [[nodiscard]] bool read_only() const override { return false; }
    base::Result<void> read(uint64_t, std::span<uint8_t> to) override {
        if (!asked_) {
            asked_ = true;
            reading.set_value();
            go_on.get_future().wait();
        }
        std::fill(to.begin(), to.end(), uint8_t{0});
        return {};
    }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override { return {}; }
    base::Result<void> flush() override { return {}; }

    std::promise<void> reading, go_on;

  private:
    bool asked_ = false;
};

} // namespace

TEST_CASE("machine: may go while a disk is in the middle of a request", "[machine]") {
    // The request ends somewhere between the first and the last thing that is taken apart.
    for (int i = 0; i < 40; ++i) {
        const auto disk = std::make_shared<SlowDisk>();
        MachineConfig config;
        config.platform.ram_bytes = 16u << 20;
        config.platform.media = {{MediumKind::Disk, disk}};
        config.platform.boot_order = {BootDevice::Disk};
        auto machine = Machine::create(config);
        REQUIRE(machine);
        (*machine)->start();
        REQUIRE(disk->reading.get_future().wait_for(std::chrono::seconds(60)) == std::future_status::ready);
        (*machine)->stop();
        REQUIRE((*machine)->wait(60000) == ExitReason::Stopped);
        std::thread finisher([&] {
            std::this_thread::sleep_for(std::chrono::microseconds(50 * i));
            disk->go_on.set_value();
        });
        machine->reset();
        finisher.join();
    }
}
