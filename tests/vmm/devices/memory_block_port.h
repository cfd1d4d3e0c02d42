// A medium in memory, for tests.
#pragma once
#include "vmm/bus/ports.h"

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <vector>

namespace vmm {

// Reads and writes that touch [bad_from, bad_to) fail; `gate` holds requests back.
class MemoryBlockPort final : public BlockPort {
  public:
    explicit MemoryBlockPort(size_t bytes) : data(bytes) {}
    [[nodiscard]] uint64_t size_bytes() const override { return data.size(); }
    [[nodiscard]] bool read_only() const override { return write_protected; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override {
        const std::lock_guard lock(gate);
        ++reads;
        if (bad(offset, to.size()))
            return base::fail("bad sector");
        std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
        return {};
    }
    base::Result<void> write(uint64_t offset, std::span<const uint8_t> from) override {
        const std::lock_guard lock(gate);
        if (bad(offset, from.size()))
            return base::fail("bad sector");
        std::copy(from.begin(), from.end(), data.begin() + static_cast<std::ptrdiff_t>(offset));
        return {};
    }
    base::Result<void> flush() override {
        const std::lock_guard lock(gate);
        ++flushes;
        return {};
    }

    std::vector<uint8_t> data;
    uint64_t bad_from = 0, bad_to = 0;
    bool write_protected = false;
    unsigned reads = 0, flushes = 0;
    std::mutex gate;

  private:
    [[nodiscard]] bool bad(uint64_t offset, size_t length) const {
        return offset + length > data.size() || (offset < bad_to && offset + length > bad_from);
    }
};

} // namespace vmm
