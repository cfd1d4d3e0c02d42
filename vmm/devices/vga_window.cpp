#include "vmm/devices/vga_window.h"

#include "vmm/devices/vga_memory.h"

#include <algorithm>
#include <array>

namespace vmm {

namespace {
constexpr uint32_t kWindowFirst = 0xA0000 >> kPageShift, kWindowPages = 0x20000 >> kPageShift;
constexpr uint32_t kBankPages = kVgaBankBytes >> kPageShift, kTextPages = kVgaTextBytes >> kPageShift;
constexpr uint32_t kSmallApertureBytes = 0x8000; // memory map selects 2 and 3
constexpr uint8_t kAllPlanes = 0xF, kTextPlanes = 0x3;
} // namespace

VgaWindow::VgaWindow(GuestMemory& memory, MmioHandler* handler, uint32_t vram_page, uint32_t vram_bytes)
    : memory_(memory), vram_page_(vram_page), vram_bytes_(vram_bytes),
      text_page_(memory.add_backing(kTextPages)) {
    memory_.map_mmio(kWindowFirst, kWindowPages, handler);
}

std::span<uint8_t> VgaWindow::text() { return {memory_.data() + page_bytes(text_page_), kVgaTextBytes}; }

std::span<const uint8_t> VgaWindow::direct_bytes() const {
    if (current_.count == 0)
        return {};
    return {memory_.data() + page_bytes(current_.backing), static_cast<size_t>(page_bytes(current_.count))};
}

VgaWindow::Mapping VgaWindow::wanted(const VgaRegisters& registers, const VgaDispi& dispi) const {
    if (dispi.linear())
        return {kWindowFirst, kBankPages, vram_page_ + (dispi.bank_start() >> kPageShift)};
    if (dispi.enabled() || !registers.memory_enabled() || !registers.plain_data_path())
        return {};
    const VgaAperture aperture = registers.aperture();
    const uint8_t map_mask = registers.seq(kSeqMapMask);
    if (registers.chain4()) {
        if (aperture.bytes == kVgaBankBytes && map_mask == kAllPlanes)
            return {kWindowFirst, kBankPages, vram_page_};
        return {};
    }
    // A mapped access leaves the latches alone. Nothing that sets up such a mode uses them before it has
    // left the mode and loaded them anew.
    const bool odd_even =
        registers.odd_even_write() && registers.odd_even_read() && registers.odd_even_address();
    if (odd_even && map_mask == kTextPlanes && (registers.gfx(kGfxReadMapSelect) & 2) == 0 &&
        aperture.bytes == kSmallApertureBytes)
        return {aperture.base >> kPageShift, kTextPages, text_page_};
    return {};
}

void VgaWindow::update(const VgaRegisters& registers, const VgaDispi& dispi) {
    const Mapping next = wanted(registers, dispi);
    if (next == current_)
        return;
    leave();
    current_ = next;
    if (next.count == 0)
        return;
    memory_.map(next.first, next.count, PageKind::Ram, next.backing);
    if (text_mapped()) {
        // Through the accessor rather than text(), so that code translated from these pages notices.
        std::array<uint8_t, kVgaTextBytes> fresh;
        vga_text_from_planes(vram(), fresh);
        if (!std::equal(fresh.begin(), fresh.end(), text().begin()))
            memory_.write(next.first << kPageShift, fresh.data(), fresh.size());
    }
}

void VgaWindow::leave() {
    if (current_.count == 0)
        return;
    fold_text();
    memory_.map(current_.first, current_.count, PageKind::Mmio);
    current_ = {};
}

void VgaWindow::fold_text() {
    if (text_mapped())
        vga_text_to_planes(text(), vram());
}

void VgaWindow::discard() {
    if (current_.count != 0)
        memory_.map(current_.first, current_.count, PageKind::Mmio);
    current_ = {};
}

} // namespace vmm
