#include "vmm/devices/vga_frame.h"

#include "vmm/bus/clock.h"
#include "vmm/devices/vga_timing.h"

#include <algorithm>

namespace vmm {

namespace {
// A guest that has not looked for so long does something else: the clock alone decides.
constexpr uint64_t kPatience = 100'000'000;
} // namespace

bool VgaFrame::latch(uint32_t address, uint64_t now) {
    if (latch_at_ > now)
        return false;
    latched_ = address;
    latch_at_ = kNever;
    return true;
}

void VgaFrame::show(const VgaRegisters& registers, bool new_frame) {
    const VgaFrameStart written = vga_written_start(registers);
    shown_.address = latched_;
    shown_.panning = written.panning;
    if (new_frame || latch_at_ == kNever) // else it waits for the start address that it belongs to
        shown_.preset_row_scan = written.preset_row_scan;
}

uint8_t VgaFrame::read_status(const VgaRegisters& registers, uint64_t now) {
    uint8_t status = vga_input_status1(registers, now);
    if (latch(registers.start_address(), now) && now < watched_until_)
        status |= kVgaVerticalRetrace | kVgaDisplayDisabled; // also if it is over by now
    const bool retrace = (status & kVgaVerticalRetrace) != 0;
    if (!retrace)
        show(registers, in_retrace_);
    in_retrace_ = retrace;
    watched_until_ = now + kPatience;
    return status;
}

void VgaFrame::written(const VgaFrameStart& before, const VgaRegisters& registers, uint64_t now) {
    const VgaFrameStart after = vga_written_start(registers);
    if (after.address != before.address) {
        latch(before.address, now);
        latch_at_ = std::min(latch_at_, vga_next_retrace(registers, now));
    }
    if (after.panning != before.panning && !in_retrace_)
        shown_.panning = after.panning;
}

const VgaFrameStart& VgaFrame::shown(const VgaRegisters& registers, uint64_t now) {
    if (now >= watched_until_) {
        latch(registers.start_address(), now);
        show(registers, false);
        in_retrace_ = false;
    }
    return shown_;
}

void VgaFrame::serialize(base::StateArchive& archive, const VgaRegisters& registers, uint64_t now) {
    if (archive.loading()) { // an earlier version's state has none of this
        *this = {};
        shown_ = vga_written_start(registers);
        latched_ = shown_.address;
    }
    archive.field("shown_address", shown_.address);
    archive.field("shown_preset_row_scan", shown_.preset_row_scan);
    archive.field("shown_panning", shown_.panning);
    archive.field("latched_address", latched_);
    archive.field("latch_at", latch_at_);
    archive.field("watched_until", watched_until_);
    archive.field("in_retrace", in_retrace_);
    if (!archive.loading())
        return;
    shown_.address &= 0xFFFF;
    shown_.panning &= 0x0F;
    latched_ &= 0xFFFF;
    if (latch_at_ != kNever)
        latch_at_ = std::min(latch_at_, vga_next_retrace(registers, now));
    watched_until_ = std::min(watched_until_, now + kPatience);
}

} // namespace vmm
