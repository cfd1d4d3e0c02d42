// The Bochs VBE "DISPI" registers (published with the Bochs project as the VBE_DISPI interface, versions
// B0C0h-B0C5h): a 16-bit index and data port that set up linear modes beyond the VGA's. Owns their values
// and turns them into a geometry that always fits video memory, whatever the guest wrote.
#pragma once
#include "vmm/base/state_archive.h"

#include <array>
#include <cstdint>

namespace vmm {

inline constexpr uint32_t kVgaBankBytes = 64 * 1024;

enum DispiIndex : uint16_t {
    kDispiId = 0,
    kDispiXres = 1,
    kDispiYres = 2,
    kDispiBpp = 3,
    kDispiEnable = 4,
    kDispiBank = 5,
    kDispiVirtWidth = 6,
    kDispiVirtHeight = 7,
    kDispiXOffset = 8,
    kDispiYOffset = 9,
    kDispiVideoMemory64k = 10,
};
enum DispiEnable : uint16_t {
    kDispiEnabled = 0x01,
    kDispiGetCaps = 0x02,
    kDispi8BitDac = 0x20,
    kDispiLfbEnabled = 0x40,
    kDispiNoClearMemory = 0x80,
};

// A linear mode: rows of `row_bytes` from byte `start`; all of them lie within video memory. For 4 bits per
// pixel the unit is a plane offset (four bytes of video memory each).
struct DispiGeometry {
    uint32_t width = 0, height = 0, bits_per_pixel = 0;
    uint32_t row_bytes = 0, start = 0;
    uint32_t virtual_width = 0, virtual_height = 0;
    uint32_t x_offset = 0, y_offset = 0;
};

class VgaDispi {
  public:
    static constexpr uint16_t kMaxXres = 2560, kMaxYres = 1600, kMaxBpp = 32;

    // vram_bytes: at least 1 MiB, so that any row fits.
    explicit VgaDispi(uint32_t vram_bytes) : vram_bytes_(vram_bytes) { reset(); }
    void reset();
    void serialize(base::StateArchive& archive);

    [[nodiscard]] uint16_t index() const { return index_; }
    void set_index(uint16_t index) { index_ = index; }
    [[nodiscard]] uint16_t read(uint16_t index) const;
    // Returns true when a mode was just switched on and video memory is to be cleared.
    bool write(uint16_t index, uint16_t value);

    [[nodiscard]] bool enabled() const { return (registers_[kDispiEnable] & kDispiEnabled) != 0; }
    [[nodiscard]] bool dac_8bit() const { return (registers_[kDispiEnable] & kDispi8BitDac) != 0; }
    // Enabled, and the CPU sees video memory as a flat array of bytes (every depth but 4).
    [[nodiscard]] bool linear() const { return enabled() && registers_[kDispiBpp] >= 8; }
    // Byte (plane offset for 4 bits per pixel) that the A0000h window starts at.
    [[nodiscard]] uint32_t bank_start() const { return registers_[kDispiBank] * kVgaBankBytes; }
    [[nodiscard]] DispiGeometry geometry() const;

  private:
    bool write_enable(uint16_t value);
    [[nodiscard]] uint16_t bank_limit() const { return static_cast<uint16_t>(vram_bytes_ / kVgaBankBytes); }

    uint32_t vram_bytes_;
    uint16_t index_ = 0;
    std::array<uint16_t, 11> registers_{};
};

} // namespace vmm
