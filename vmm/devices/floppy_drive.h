// A floppy drive and the disk in it: geometry from the image's size, head position, and the disk-change
// line. The controller (floppy82077.cpp) owns up to two.
#pragma once
#include "vmm/devices/block_worker.h"

#include <cstdint>
#include <memory>

namespace vmm {

struct FloppyGeometry {
    uint8_t cylinders = 0, heads = 0, sectors = 0;
    uint8_t rates = 0; // bit per data rate select code (0: 500, 1: 300, 2: 250 kb/s, 3: 1 Mb/s) that reads it

    static constexpr uint32_t kSectorBytes = 512;
    [[nodiscard]] uint32_t bytes() const { return uint32_t{cylinders} * heads * sectors * kSectorBytes; }
    // Exact match with a known format, else the smallest 3.5" high-density format that holds the image.
    static FloppyGeometry for_size(uint64_t bytes);
};

struct FloppyDrive {
    static constexpr uint8_t kMaxCylinder = 83; // where the carriage stops

    bool present = false;
    std::unique_ptr<BlockWorker> worker; // null: no disk
    FloppyGeometry geometry;
    uint8_t cylinder = 0; // where the head is
    bool changed = true;  // DSKCHG, latched until the head moves over a disk

    [[nodiscard]] bool has_disk() const { return present && worker != nullptr; }
    // Whether the head at its place finds sector marks at this data rate.
    [[nodiscard]] bool readable(uint8_t head, uint8_t rate) const {
        return has_disk() && (geometry.rates >> rate & 1) != 0 && cylinder < geometry.cylinders &&
               head < geometry.heads;
    }
    void move_head(uint8_t to) {
        cylinder = to < kMaxCylinder ? to : kMaxCylinder;
        if (has_disk())
            changed = false;
    }
};

} // namespace vmm
