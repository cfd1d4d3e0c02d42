// The display adapter as the machine sees it: PCI 1234:1111 at 00:02.0 with the VGA's legacy ports and memory
// window, a linear frame buffer (BAR0), memory-mapped registers (BAR2) and its BIOS (expansion ROM).
// Ties together vga_registers (port-visible state), vga_dispi (Bochs VBE registers), vga_memory (planar
// access), vga_window (A0000h-BFFFFh), vga_timing and vga_frame (retrace) and vga_render/vga_text (the
// picture).
#pragma once
#include "vmm/bus/platform.h"
#include "vmm/devices/vga_bar_pages.h"
#include "vmm/devices/vga_dispi.h"
#include "vmm/devices/vga_edid.h"
#include "vmm/devices/vga_frame.h"
#include "vmm/devices/vga_memory.h"
#include "vmm/devices/vga_registers.h"
#include "vmm/devices/vga_render.h"
#include "vmm/devices/vga_window.h"

#include <optional>
#include <string>

namespace vmm {

// DEVIATION: the legacy ports and A0000h-BFFFFh answer whatever the PCI command register says, so that a
// machine whose firmware enables nothing still has a display.
class Vga final : public PciDevice, public IoHandler, public MmioHandler {
  public:
    // Appends video memory and ROM to the guest memory's backing: before the machine runs.
    explicit Vga(Platform& platform);

    [[nodiscard]] std::string_view name() const override { return "vga"; }
    void reset() override;
    void serialize(base::StateArchive& archive) override;

    void config_write(uint8_t offset, unsigned size, uint32_t value) override;
    void bars_changed() override;

    uint32_t io_read(uint16_t port, unsigned size) override;
    void io_write(uint16_t port, unsigned size, uint32_t value) override;

    // A0000h-BFFFFh where it is not mapped as memory.
    uint32_t mmio_read(Physical address, unsigned size) override;
    void mmio_write(Physical address, unsigned size, uint32_t value) override;

  private:
    // BAR2, laid out as the Bochs display interface publishes it: VGA ports 3C0h-3DFh at 400h, DISPI
    // registers, one word each, at 500h; the monitor's EDID at 000h when the session has asked for a size.
    class RegisterBar : public MmioHandler {
      public:
        explicit RegisterBar(Vga& vga) : vga_(vga) {}
        void move(bool decoded, uint32_t base);
        uint32_t mmio_read(Physical address, unsigned size) override;
        void mmio_write(Physical address, unsigned size, uint32_t value) override;

      private:
        Vga& vga_;
        uint32_t page_ = kNoPage; // where it decodes
        bool taken_ = false;      // and whether that page was free to take
    };

    uint8_t read_vga_port(uint16_t port);
    void write_vga_port(uint16_t port, uint8_t value);
    void write_dispi(uint16_t index, uint16_t value);
    void clear_dispi_mode();
    void load_rom(const PlatformConfig& config);
    void serialize_vram(base::StateArchive& archive);
    [[nodiscard]] uint32_t rom_bar() const;

    [[nodiscard]] VgaView view();
    [[nodiscard]] uint64_t picture_generation();
    [[nodiscard]] uint64_t direct_fingerprint();

    Platform& platform_;
    uint32_t vram_bytes_, vram_page_;
    VgaRegisters registers_;
    VgaFrame frame_;
    VgaDispi dispi_;
    VgaMemory planes_;
    VgaWindow window_;
    BarPages frame_buffer_;
    std::optional<BarPages> rom_;
    RegisterBar register_bar_{*this};

    std::optional<EdidBlock> monitor_; // the host's affair: neither reset nor saved
    uint64_t generation_ = 1, fingerprint_ = 0;
    VgaFrameStart start_; // as picture_generation() last saw it
    bool changed_ = true; // something that may show was written since picture_generation() last looked
};

} // namespace vmm
