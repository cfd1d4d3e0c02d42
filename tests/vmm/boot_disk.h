// A machine that boots from a test sector.
#pragma once
#include "tests/guest/guest.h"
#include "vmm/machine.h"

#include <algorithm>
#include <memory>
#include <span>

namespace vmm {

inline void put_boot_code(const guest::Snippet& code, uint64_t offset, std::span<uint8_t> to) {
    std::fill(to.begin(), to.end(), uint8_t{0});
    const std::span<const uint8_t> bytes(code.first, code.last);
    if (offset < bytes.size())
        std::ranges::copy(bytes.subspan(offset, std::min(to.size(), bytes.size() - offset)), to.begin());
}

// A disk that begins with a boot sector, and what it may fetch from the sectors after that.
class BootDisk final : public BlockPort {
  public:
    explicit BootDisk(const guest::Snippet& code) : code_(code) {}
    [[nodiscard]] uint64_t size_bytes() const override { return 1u << 20; }
    [[nodiscard]] bool read_only() const override { return true; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override {
        put_boot_code(code_, offset, to);
        return {};
    }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override { return {}; }
    base::Result<void> flush() override { return {}; }

  private:
    const guest::Snippet& code_;
};

inline MachineConfig booting(const guest::Snippet& code) {
    MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    config.platform.media = {{MediumKind::Disk, std::make_shared<BootDisk>(code)}};
    config.platform.boot_order = {BootDevice::Disk};
    return config;
}

} // namespace vmm
