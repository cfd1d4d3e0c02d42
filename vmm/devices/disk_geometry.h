// The cylinders, heads and sectors that a disk of a given size reports (ATA/ATAPI-5 6.2: 16383 x 16 x 63 at
// the most), and that the AT's CMOS lists for systems that ask it instead of the BIOS or the disk.
#pragma once
#include <algorithm>
#include <cstdint>

namespace vmm {

struct DiskGeometry {
    uint16_t cylinders = 0;
    uint8_t heads = 16, sectors = 63;
};

inline DiskGeometry disk_geometry(uint64_t bytes) {
    constexpr uint32_t kSectorBytes = 512;
    DiskGeometry geometry;
    const uint64_t cylinders = bytes / kSectorBytes / (uint32_t{geometry.heads} * geometry.sectors);
    geometry.cylinders = static_cast<uint16_t>(std::clamp<uint64_t>(cylinders, 1, 16383));
    return geometry;
}

} // namespace vmm
