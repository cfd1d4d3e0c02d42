// Runs cases through the engine: flat protected mode at CPL 3, PAE paging with NX, the same linear addresses.
#pragma once
#include "tests/vmm/translator/differential/layout.h"
#include "vmm/translator/engine.h"

#include <memory>

namespace differential {

class EngineRunner {
  public:
    static base::Result<std::unique_ptr<EngineRunner>> create(vmm::EngineConfig config);
    ~EngineRunner();

    // Running the same case again finds its blocks translated (and linked).
    void run(const Case& test, Outcome& outcome);
    // The case's code where the processor does not know it, for what it does there to be forgotten: blocks
    // that run() finds are those, copied to its own addresses.
    void run_elsewhere(const Case& test);
    [[nodiscard]] uint64_t copied_blocks() const { return engine_->code_use().copied; }

  private:
    EngineRunner() = default;
    void build_tables();
    void map_page(uint32_t linear, uint32_t physical, uint64_t flags);
    void put_code(const Slot& slot);
    void load_state(const Registers& registers);
    void prepare(const Case& test);
    void go();

    std::unique_ptr<vmm::GuestMemory> memory_;
    vmm::CpuState state_;
    vmm::IoBus io_;
    std::unique_ptr<vmm::Engine> engine_;
    struct Watchdog;
    std::unique_ptr<Watchdog> watchdog_;
    Slot slot_; // what the code region holds besides sentinels
    bool intercepted_ = false;
    vmm::Fault fault_;
};

} // namespace differential
