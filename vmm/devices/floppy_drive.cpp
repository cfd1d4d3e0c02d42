#include "vmm/devices/floppy_drive.h"

#include <array>

namespace vmm {

namespace {
constexpr uint8_t k500 = 1, k300 = 2, k250 = 4, k1000 = 8;

// Double-density 5.25" disks turn faster in a high-density drive, which reads them at 300 kb/s.
constexpr std::array<FloppyGeometry, 10> kFormats{{
    {40, 1, 8, k250 | k300}, // 160K
    {40, 1, 9, k250 | k300}, // 180K
    {40, 2, 8, k250 | k300}, // 320K
    {40, 2, 9, k250 | k300}, // 360K
    {80, 2, 9, k250},        // 720K
    {80, 2, 15, k500},       // 1.2M
    {80, 2, 18, k500},       // 1.44M
    {80, 2, 21, k500},       // 1.68M, Microsoft's distribution format
    {82, 2, 21, k500},       // 1.72M
    {80, 2, 36, k1000},      // 2.88M
}};
constexpr size_t kHighDensity = 6, kExtraDensity = 9;
} // namespace

FloppyGeometry FloppyGeometry::for_size(uint64_t bytes) {
    for (const FloppyGeometry& format : kFormats)
        if (format.bytes() == bytes)
            return format;
    return bytes <= kFormats[kHighDensity].bytes() ? kFormats[kHighDensity] : kFormats[kExtraDensity];
}

} // namespace vmm
