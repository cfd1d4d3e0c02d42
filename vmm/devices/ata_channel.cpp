#include "vmm/devices/ata_channel.h"

#include "vmm/base/log.h"
#include "vmm/base/verify.h"

#include <algorithm>

namespace vmm {

using namespace ata;

namespace {

constexpr unsigned kData = 0, kError = 1, kCount = 2, kLbaLow = 3, kDevice = 6, kStatus = 7;
constexpr uint8_t kExecuteDiagnostic = 0x90;
constexpr uint8_t kFloating = 0xFF; // an empty cable: nobody drives the bus

// Device control register.
constexpr uint8_t kControlNien = 0x02, kControlSrst = 0x04, kControlHob = 0x80;

// Bus-master command and status registers.
constexpr unsigned kMasterCommand = 0, kMasterStatus = 2, kMasterTable = 4;
constexpr uint8_t kStart = 0x01, kToMemory = 0x08;
constexpr uint8_t kActive = 0x01, kMasterError = 0x02, kMasterInterrupt = 0x04, kDriveCapable = 0x60;

constexpr uint32_t kEntryBytes = 8, kMaxRegion = 0x10000;
constexpr uint32_t kEndOfTable = 0x80000000;

} // namespace

AtaChannel::AtaChannel(Platform& platform, unsigned irq_line, std::string name)
    : platform_(platform), irq_line_(irq_line), name_(std::move(name)) {}

void AtaChannel::attach(unsigned unit, std::unique_ptr<AtaDrive> drive) {
    VERIFY(unit < kUnits && drives_[unit] == nullptr);
    drives_[unit] = std::move(drive);
}

void AtaChannel::reset() {
    select_ = control_ = 0;
    master_command_ = master_status_ = 0;
    table_ = next_entry_ = 0;
    region_ = {};
    absent_.fill(0);
    for (const auto& drive : drives_)
        if (drive)
            drive->power_on();
    interrupt_changed();
}

void AtaChannel::drain() {
    for (const auto& drive : drives_)
        if (drive)
            drive->drain();
}

// INTRQ is the selected drive's, and floats (pulled low) while nIEN is set (ATA/ATAPI-6, 5.2.9).
void AtaChannel::interrupt_changed() {
    const AtaDrive* drive = selected();
    const bool level = drive != nullptr && drive->interrupt() && (control_ & kControlNien) == 0;
    if (level && !interrupt_line_)
        master_status_ |= kMasterInterrupt;
    if (level == interrupt_line_)
        return;
    interrupt_line_ = level;
    if (platform_.irq != nullptr)
        platform_.irq->set_irq(irq_line_, level);
}

uint32_t AtaChannel::command_read(unsigned offset, unsigned size) {
    if (offset == kData) {
        AtaDrive* drive = selected();
        return drive != nullptr ? drive->read_data(size) : 0xFFFFFFFF;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= static_cast<uint32_t>(offset + i <= kStatus ? read_byte(offset + i) : kFloating) << (8 * i);
    return value;
}

void AtaChannel::command_write(unsigned offset, unsigned size, uint32_t value) {
    if (offset == kData) {
        if (AtaDrive* drive = selected())
            drive->write_data(size, value);
        return;
    }
    for (unsigned i = 0; i < size && offset + i <= kStatus; ++i)
        write_byte(offset + i, static_cast<uint8_t>(value >> (8 * i)));
}

uint8_t AtaChannel::read_byte(unsigned offset) {
    if (empty())
        return kFloating;
    if (offset == kStatus && (control_ & kControlSrst) != 0)
        return kStatusBsy;
    AtaDrive* drive = selected();
    if (drive == nullptr)
        return offset == kStatus ? 0 : absent_[offset];
    if (offset == kStatus) {
        const uint8_t status = drive->status();
        drive->clear_interrupt();
        return status;
    }
    return drive->read_register(static_cast<AtaRegister>(offset), (control_ & kControlHob) != 0);
}

void AtaChannel::write_byte(unsigned offset, uint8_t value) {
    if ((control_ & kControlSrst) != 0)
        return;                                     // the drives are held in reset
    control_ &= static_cast<uint8_t>(~kControlHob); // any command block write (ATA/ATAPI-6, 7.4)
    if (offset == kStatus) {
        if (value == kExecuteDiagnostic)
            execute_diagnostic();
        else if (AtaDrive* drive = selected())
            drive->command(value);
        return;
    }
    for (const auto& drive : drives_)
        if (drive)
            drive->write_register(static_cast<AtaRegister>(offset), value);
    if (offset != kError)
        absent_[offset] = value;
    if (offset == kDevice) {
        select_ = (value & kDeviceDev) != 0 ? 1 : 0;
        interrupt_changed();
    }
}

// Both drives run it, whichever is selected (ATA/ATAPI-6, 8.9); device 0 reports and is selected afterwards.
void AtaChannel::execute_diagnostic() {
    for (const auto& drive : drives_)
        if (drive && (drive->status() & (kStatusBsy | kStatusDrq)) != 0)
            return;
    select_ = 0;
    for (const auto& drive : drives_)
        if (drive)
            drive->run_diagnostic(kDiagnosticPassed);
    absent_.fill(0);
    absent_[kError] = absent_[kCount] = absent_[kLbaLow] = 1;
    if (AtaDrive* drive = selected())
        drive->announce();
}

uint8_t AtaChannel::alternate_status() const {
    if (empty())
        return kFloating;
    if ((control_ & kControlSrst) != 0)
        return kStatusBsy;
    const AtaDrive* drive = selected();
    return drive != nullptr ? drive->status() : 0;
}

void AtaChannel::device_control(uint8_t value) {
    const uint8_t rising = static_cast<uint8_t>(value & ~control_);
    control_ = value;
    if ((rising & kControlSrst) != 0) {
        select_ = 0;
        absent_.fill(0);
        absent_[kError] = absent_[kCount] = absent_[kLbaLow] = 1;
        for (const auto& drive : drives_)
            if (drive)
                drive->software_reset();
    }
    interrupt_changed();
}

uint8_t AtaChannel::master_read(unsigned offset) const {
    switch (offset) {
    case kMasterCommand:
        return master_command_;
    case kMasterStatus:
        return master_status_;
    default:
        return offset >= kMasterTable ? static_cast<uint8_t>(table_ >> (8 * (offset - kMasterTable))) : 0;
    }
}

void AtaChannel::master_write(unsigned offset, uint8_t value, bool mastering_allowed) {
    if (offset == kMasterCommand) {
        const bool was_started = (master_command_ & kStart) != 0;
        // The direction "must not be changed when the bus master function is active".
        const uint8_t direction = (master_status_ & kActive) != 0 ? master_command_ : value;
        master_command_ = static_cast<uint8_t>((value & kStart) | (direction & kToMemory));
        if ((value & kStart) == 0) {
            master_status_ &= static_cast<uint8_t>(~kActive); // stops for good: it cannot be resumed
            region_ = {};
        } else if (!was_started && mastering_allowed) {
            master_status_ |= kActive;
            next_entry_ = table_;
            region_ = {};
            run_dma();
        }
    } else if (offset == kMasterStatus) {
        const auto cleared = static_cast<uint8_t>(value & (kMasterError | kMasterInterrupt));
        master_status_ =
            static_cast<uint8_t>((master_status_ & ~kDriveCapable & ~cleared) | (value & kDriveCapable));
    } else if (offset >= kMasterTable) {
        const unsigned shift = 8 * (offset - kMasterTable);
        table_ = (table_ & ~(0xFFu << shift)) | static_cast<uint32_t>(value) << shift;
        table_ &= ~3u;
    }
}

bool AtaChannel::answers(uint32_t address) const {
    return platform_.memory.entry(address >> kPageShift).kind != PageKind::None;
}

// Physical region descriptor: address, then byte count (0 = 64 KiB) with end-of-table in bit 31.
void AtaChannel::fetch_region() {
    const auto address = platform_.memory.read<uint32_t>(next_entry_);
    const auto word = platform_.memory.read<uint32_t>(next_entry_ + 4);
    const uint32_t count = word & 0xFFFE;
    region_.address = address & ~1u;
    region_.bytes = count == 0 ? kMaxRegion : count;
    region_.last = (word & kEndOfTable) != 0;
    next_entry_ += kEntryBytes;
}

bool AtaChannel::move(std::span<uint8_t> data, AtaDrive::DmaDirection direction) {
    while (!data.empty()) {
        const uint32_t address = region_.address;
        const size_t piece = std::min<size_t>(data.size(), kPageSize - (address & (kPageSize - 1)));
        if (!answers(address))
            return false;
        if (direction == AtaDrive::DmaDirection::ToMemory)
            platform_.memory.write(address, data.data(), piece);
        else
            platform_.memory.read(address, data.data(), piece);
        region_.address += static_cast<uint32_t>(piece);
        region_.bytes -= static_cast<uint32_t>(piece);
        data = data.subspan(piece);
    }
    return true;
}

// Moves whatever drive and descriptors allow now. Bounded: each descriptor moves at least two bytes of a
// drive's buffer, which a command refills only through the medium. Active clears when the last
// descriptor is used up, whatever the drive still wants.
void AtaChannel::run_dma() {
    if (running_dma_)
        return;
    running_dma_ = true;
    const auto direction = (master_command_ & kToMemory) != 0 ? AtaDrive::DmaDirection::ToMemory
                                                              : AtaDrive::DmaDirection::FromMemory;
    AtaDrive* drive = selected();
    while (drive != nullptr && (master_status_ & kActive) != 0) {
        const std::span<uint8_t> window = drive->dma_window(direction);
        if (window.empty())
            break;
        if (region_.bytes == 0) {
            if (!answers(next_entry_)) {
                base::log(base::LogLevel::Info, "{}: DMA descriptor at {:#x} is not in memory", name_,
                          next_entry_);
                master_status_ = static_cast<uint8_t>((master_status_ & ~kActive) | kMasterError);
                break;
            }
            fetch_region();
        }
        const size_t bytes = std::min<size_t>(window.size(), region_.bytes);
        if (!move(window.first(bytes), direction)) {
            base::log(base::LogLevel::Info, "{}: DMA to {:#x} is not in memory", name_, region_.address);
            master_status_ = static_cast<uint8_t>((master_status_ & ~kActive) | kMasterError);
            break;
        }
        if (region_.bytes == 0 && region_.last != 0)
            master_status_ &= static_cast<uint8_t>(~kActive);
        drive->dma_advance(bytes);
    }
    running_dma_ = false;
}

void AtaChannel::serialize(base::StateArchive& archive) {
    // Drives first: letting their requests finish may move DMA and change everything below.
    for (unsigned unit = 0; unit < kUnits; ++unit)
        if (drives_[unit])
            drives_[unit]->serialize(archive, name_ + (unit == 0 ? "-device0" : "-device1"));
    archive.begin(name_, 1);
    auto line = static_cast<uint8_t>(interrupt_line_);
    archive.bytes_field("absent", absent_);
    archive.field("select", select_);
    archive.field("control", control_);
    archive.field("interrupt-line", line);
    archive.field("master-command", master_command_);
    archive.field("master-status", master_status_);
    archive.field("table", table_);
    archive.field("next-entry", next_entry_);
    archive.field("region-address", region_.address);
    archive.field("region-bytes", region_.bytes);
    archive.field("region-last", region_.last);
    archive.end();
    if (!archive.loading())
        return;
    select_ &= 1;
    master_command_ &= kStart | kToMemory;
    master_status_ &= kActive | kMasterError | kMasterInterrupt | kDriveCapable;
    table_ &= ~3u;
    next_entry_ &= ~3u;
    region_.address &= ~1u;
    region_.bytes = std::min(region_.bytes, kMaxRegion) & ~1u;
    interrupt_line_ = line != 0; // the 8259 pair restores its own inputs
}

} // namespace vmm
