// What answers at A0000h-BFFFFh. Most modes need the VGA's data path, so the pages are Mmio. Where the
// present mode makes CPU access plain bytes, the pages become Ram and cost the guest nothing:
//   - linear DISPI modes: a 64 KiB bank of video memory at A0000h;
//   - chain-4 with an unused data path (mode 13h): the first 64 KiB of video memory, thanks to its layout;
//   - odd/even text (and CGA graphics) at B0000h or B8000h: a separate character/attribute array that
//     holds the truth for those bytes while it is mapped, and is folded into the planes when it is not.
#pragma once
#include "vmm/devices/vga_dispi.h"
#include "vmm/devices/vga_registers.h"
#include "vmm/memory/guest_memory.h"

#include <cstdint>
#include <span>

namespace vmm {

class VgaWindow {
  public:
    // Takes A0000h-BFFFFh for `handler`. vram_page: first backing page of video memory.
    VgaWindow(GuestMemory& memory, MmioHandler* handler, uint32_t vram_page, uint32_t vram_bytes);

    // Brings the mapping in line with the registers; cheap when nothing changed.
    void update(const VgaRegisters& registers, const VgaDispi& dispi);
    // Makes the planes complete: to be called before video memory is read by anything but the window.
    void fold_text();
    // Video memory was replaced as a whole (load, reset): what the window holds is void.
    void discard();

    [[nodiscard]] std::span<uint8_t> vram() { return {memory_.data() + page_bytes(vram_page_), vram_bytes_}; }
    // The bytes the guest reaches without our knowing; empty while all is Mmio.
    [[nodiscard]] std::span<const uint8_t> direct_bytes() const;

  private:
    struct Mapping {
        uint32_t first = 0, count = 0, backing = kNoPage; // count 0: everything is Mmio
        [[nodiscard]] bool operator==(const Mapping&) const = default;
    };
    [[nodiscard]] Mapping wanted(const VgaRegisters& registers, const VgaDispi& dispi) const;
    [[nodiscard]] static uint64_t page_bytes(uint32_t page) { return uint64_t{page} << kPageShift; }
    [[nodiscard]] bool text_mapped() const { return current_.count != 0 && current_.backing == text_page_; }
    [[nodiscard]] std::span<uint8_t> text();
    void leave();

    GuestMemory& memory_;
    uint32_t vram_page_, vram_bytes_, text_page_;
    Mapping current_{};
};

} // namespace vmm
