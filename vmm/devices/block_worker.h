// One thread per medium that carries out a drive's block requests, so that the vCPU thread never waits
// for a disk. A finished request's completion runs on the vCPU thread, through the machine's EventQueue
// or, when a save needs the drive to be quiet, from drain(). Drives keep at most one request under way
// (they are busy meanwhile), which bounds the queue however the guest behaves.
#pragma once
#include "vmm/bus/event_queue.h"
#include "vmm/bus/ports.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace vmm {

// What became of a request. `data` is what was read, or the buffer that was written, handed back.
// A request that fails part-way is retried unit by unit: the first good_bytes are done.
struct BlockOutcome {
    bool ok = false;
    size_t good_bytes = 0;
    std::vector<uint8_t> data;
};

class BlockWorker {
  public:
    using Completion = std::function<void(BlockOutcome)>;

    // unit_bytes: sector size, the granularity of good_bytes. `label` names the drive in log lines.
    BlockWorker(std::shared_ptr<BlockPort> port, EventQueue& events, size_t unit_bytes, std::string label);
    ~BlockWorker(); // waits for the request under way; completions not yet run are dropped
    BlockWorker(const BlockWorker&) = delete;
    BlockWorker& operator=(const BlockWorker&) = delete;

    [[nodiscard]] uint64_t size_bytes() const { return size_bytes_; }
    [[nodiscard]] bool read_only() const { return read_only_; }

    // vCPU thread. The completion always runs later, never inside these calls.
    void read(uint64_t offset, size_t length, Completion done);
    void write(uint64_t offset, std::vector<uint8_t> data, Completion done);
    void flush(Completion done);
    // A request whose completion has not run yet.
    [[nodiscard]] bool busy() const;
    // Runs completions, and the requests they start, until nothing is under way. Call on the vCPU
    // thread, or on another while the vCPU is stopped.
    void drain();

  private:
    struct Shared;
    enum class Kind : uint8_t { Read, Write, Flush };
    struct Request {
        Kind kind = Kind::Read;
        uint64_t offset = 0;
        std::vector<uint8_t> data;
        Completion done;
    };
    void submit(Request request);
    static void run(const std::shared_ptr<Shared>& shared);
    static BlockOutcome perform(Shared& shared, Request& request);
    static void deliver(Shared& shared);

    std::shared_ptr<Shared> shared_;
    uint64_t size_bytes_;
    bool read_only_;
    std::thread thread_;
};

} // namespace vmm
