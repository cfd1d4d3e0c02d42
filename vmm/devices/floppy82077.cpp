// Intel 82077AA: registers, command and result phases, seeks. See the header for the datasheet.
#include "vmm/devices/floppy82077.h"

#include "vmm/base/log.h"
#include "vmm/devices/device_list.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr uint16_t kFirstPort = 0x3F0, kDirPort = 0x3F7;
constexpr unsigned kFirstPorts = 6; // 3F6h is the IDE function's
constexpr unsigned kIrq = 6;
constexpr unsigned kDor = 2, kTdr = 3, kMsr = 4, kFifo = 5;

constexpr uint8_t kDorSelect = 0x03, kDorNotReset = 0x04, kDorDmaGate = 0x08;
constexpr uint8_t kDsrReset = 0x80, kRateMask = 0x03;
constexpr uint8_t kMsrRqm = 0x80, kMsrDio = 0x40, kMsrNonDma = 0x20, kMsrBusy = 0x10;
constexpr uint8_t kDirChanged = 0x80;

constexpr uint8_t kSt0SeekEnd = 0x20, kSt0AbnormalEquipment = 0x50, kSt0PollingChange = 0xC0;
constexpr uint8_t kConfigureDefault = 0x20; // FIFO disabled, polling enabled
constexpr uint8_t kVersion = 0x90;

// A seek takes this long, near enough: drivers want the interrupt some time after the command.
constexpr uint64_t kSeekNanos = 500'000;

enum Opcode : uint8_t {
    kReadTrack = 0x02,
    kSpecify = 0x03,
    kSenseDriveStatus = 0x04,
    kWriteData = 0x05,
    kReadData = 0x06,
    kRecalibrate = 0x07,
    kSenseInterruptStatus = 0x08,
    kWriteDeletedData = 0x09,
    kReadId = 0x0A,
    kReadDeletedData = 0x0C,
    kFormatTrack = 0x0D,
    kDumpRegisters = 0x0E,
    kSeek = 0x0F,
    kVersionCommand = 0x10,
    kPerpendicularMode = 0x12,
    kConfigure = 0x13,
    kLock = 0x14,
    kVerify = 0x16,
};

// Datasheet section 5, table 5-1: length in bytes and the flag bits (MT, MFM, SK) a command may carry.
struct CommandForm {
    uint8_t opcode, length, flags;
};
constexpr std::array<CommandForm, 18> kCommands{{
    {kReadTrack, 9, 0x40},
    {kSpecify, 3, 0},
    {kSenseDriveStatus, 2, 0},
    {kWriteData, 9, 0xC0},
    {kReadData, 9, 0xE0},
    {kRecalibrate, 2, 0},
    {kSenseInterruptStatus, 1, 0},
    {kWriteDeletedData, 9, 0xC0},
    {kReadId, 2, 0x40},
    {kReadDeletedData, 9, 0xE0},
    {kFormatTrack, 6, 0x40},
    {kDumpRegisters, 1, 0},
    {kSeek, 3, 0xC0},
    {kVersionCommand, 1, 0},
    {kPerpendicularMode, 2, 0},
    {kConfigure, 4, 0},
    {kLock, 1, 0x80},
    {kVerify, 9, 0xE0},
}};
// Bytes of the command that starts with `first`; 0 when there is none.
uint8_t command_length(uint8_t first) {
    for (const CommandForm& form : kCommands)
        if (form.opcode == (first & 0x1F) && (first & 0xE0 & ~form.flags) == 0)
            return form.length;
    return 0;
}

} // namespace

Floppy82077::Floppy82077(Platform& platform)
    : platform_(platform),
      seek_timer_(platform.clock.add_timer("floppy-seek", [this] { seeks_finished(); })) {
    unsigned next = 0;
    for (const Medium& medium : platform.config.media) {
        if (medium.kind != MediumKind::Floppy)
            continue;
        if (next == kDrives) {
            base::log(base::LogLevel::Warn, "more than {} floppy drives: one is left out", kDrives);
            break;
        }
        FloppyDrive& drive = drives_[next];
        drive.present = true;
        if (medium.port != nullptr) {
            drive.worker = std::make_unique<BlockWorker>(
                medium.port, platform.events, FloppyGeometry::kSectorBytes, fmt::format("floppy {}", next));
            drive.geometry = FloppyGeometry::for_size(medium.port->size_bytes());
        }
        ++next;
    }
    platform.io.add(kFirstPort, kFirstPorts, this, name());
    platform.io.add(kDirPort, 1, this, name());
    reset();
}

Floppy82077::~Floppy82077() {
    platform_.clock.disarm(seek_timer_);
    platform_.io.remove(kFirstPort, kFirstPorts);
    platform_.io.remove(kDirPort, 1);
}

void Floppy82077::reset() {
    locked_ = false;
    dor_ = tdr_ = 0;
    rate_ = 2;
    specify_ = {};
    present_cylinder_ = {};
    last_eot_ = 0;
    for (FloppyDrive& drive : drives_)
        drive.changed = true;
    software_reset();
    perpendicular_ = 0;
    status_pending_ = 0;
    set_seek_interrupt(false);
}

// Common to DOR, DSR and hardware resets (datasheet section 4.2): LOCK protects the FIFO's settings only.
void Floppy82077::software_reset() {
    ++generation_;
    phase_ = Phase::Idle;
    operation_ = Operation::None;
    command_.clear();
    result_.clear();
    data_.clear();
    result_position_ = 0;
    data_position_ = 0;
    transfer_interrupt_ = false;
    seeking_ = 0;
    seek_deadline_ = kNever;
    platform_.clock.disarm(seek_timer_);
    perpendicular_ &= 0x3C;
    if (!locked_) {
        configuration_ = kConfigureDefault;
        precompensation_track_ = 0;
    }
    // Drive polling finds all four drives changed (section 7.4). DEVIATION: the interrupt comes even when
    // CONFIGURE has disabled polling, because drivers that do so still wait for it.
    status_pending_ = 0x0F;
    for (unsigned i = 0; i < kSelects; ++i)
        pending_st0_[i] = static_cast<uint8_t>(kSt0PollingChange | i);
}

void Floppy82077::update_interrupt() {
    const bool level = (transfer_interrupt_ || seek_interrupt_) && (dor_ & kDorDmaGate) != 0;
    if (platform_.irq != nullptr)
        platform_.irq->set_irq(kIrq, level);
}

void Floppy82077::set_transfer_interrupt(bool level) {
    transfer_interrupt_ = level;
    update_interrupt();
}

void Floppy82077::set_seek_interrupt(bool level) {
    seek_interrupt_ = level;
    update_interrupt();
}

void Floppy82077::write_dor(uint8_t value) {
    const uint8_t before = std::exchange(dor_, value);
    if ((value & kDorNotReset) == 0) {
        software_reset();
        set_seek_interrupt(false);
    } else if ((before & kDorNotReset) == 0) {
        software_reset();
        set_seek_interrupt(true);
    } else {
        update_interrupt(); // the gate may have changed
    }
}

void Floppy82077::write_dsr(uint8_t value) {
    rate_ = value & kRateMask;
    if ((value & kDsrReset) != 0 && (dor_ & kDorNotReset) != 0) {
        software_reset();
        set_seek_interrupt(true);
    }
}

// A reset may catch a medium request under way; no command is taken before that is over.
bool Floppy82077::waiting_for_stale_request() const {
    if (phase_ == Phase::Busy)
        return false;
    return std::any_of(drives_.begin(), drives_.end(),
                       [](const FloppyDrive& drive) { return drive.worker && drive.worker->busy(); });
}

uint8_t Floppy82077::main_status() const {
    if ((dor_ & kDorNotReset) == 0 || waiting_for_stale_request())
        return 0;
    const uint8_t seeking = seeking_ & 0x0F;
    switch (phase_) {
    case Phase::Idle:
        return kMsrRqm | seeking;
    case Phase::Command:
        return kMsrRqm | kMsrBusy | seeking;
    case Phase::Busy:
        return kMsrBusy | seeking;
    case Phase::FifoIn:
        return kMsrRqm | kMsrDio | kMsrNonDma | kMsrBusy | seeking;
    case Phase::FifoOut:
        return kMsrRqm | kMsrNonDma | kMsrBusy | seeking;
    case Phase::Result:
        return kMsrRqm | kMsrDio | kMsrBusy | seeking;
    }
    return 0;
}

uint32_t Floppy82077::io_read(uint16_t port, unsigned) {
    if (port == kDirPort) {
        FloppyDrive* selected = drive(dor_ & kDorSelect);
        return selected != nullptr && selected->changed ? kDirChanged : 0;
    }
    switch (port - kFirstPort) {
    case kDor:
        return dor_;
    case kTdr:
        return tdr_;
    case kMsr:
        return main_status();
    case kFifo:
        return read_fifo();
    default:
        return 0xFF; // status registers A and B exist in PS/2 modes only
    }
}

void Floppy82077::io_write(uint16_t port, unsigned, uint32_t value) {
    const auto byte = static_cast<uint8_t>(value);
    if (port == kDirPort) {
        rate_ = byte & kRateMask; // configuration control register
        return;
    }
    switch (port - kFirstPort) {
    case kDor:
        write_dor(byte);
        break;
    case kTdr:
        tdr_ = byte & 0x03;
        break;
    case kMsr:
        write_dsr(byte);
        break;
    case kFifo:
        write_fifo(byte);
        break;
    default:
        break;
    }
}

uint8_t Floppy82077::read_fifo() {
    if (phase_ == Phase::FifoIn) {
        const uint8_t value = data_position_ < data_.size() ? data_[data_position_] : 0xFF;
        ++data_position_;
        if (data_position_ >= data_.size())
            fifo_data_moved();
        return value;
    }
    if (phase_ != Phase::Result)
        return 0xFF;
    set_transfer_interrupt(false);
    const uint8_t value = result_position_ < result_.size() ? result_[result_position_] : 0xFF;
    ++result_position_;
    if (result_position_ >= result_.size())
        phase_ = Phase::Idle;
    return value;
}

void Floppy82077::write_fifo(uint8_t value) {
    if ((dor_ & kDorNotReset) == 0 || waiting_for_stale_request())
        return;
    if (phase_ == Phase::FifoOut) {
        if (data_position_ < data_.size())
            data_[data_position_] = value;
        ++data_position_;
        if (data_position_ >= data_.size())
            fifo_data_moved();
        return;
    }
    if (phase_ != Phase::Idle && phase_ != Phase::Command)
        return;
    if (phase_ == Phase::Idle)
        command_.clear();
    phase_ = Phase::Command;
    command_.push_back(value);
    const uint8_t length = command_length(command_[0]);
    if (length == 0)
        invalid_command();
    else if (command_.size() >= length)
        execute();
}

void Floppy82077::give_result(std::initializer_list<uint8_t> bytes) {
    result_ = bytes;
    result_position_ = 0;
    phase_ = Phase::Result;
}

void Floppy82077::execute() {
    phase_ = Phase::Idle; // for the commands without a result
    const uint8_t opcode = command_[0] & 0x1F;
    switch (opcode) {
    case kSpecify:
        specify_ = {command_[1], command_[2]};
        break;
    case kSenseDriveStatus:
        sense_drive();
        break;
    case kSenseInterruptStatus:
        sense_interrupt();
        break;
    case kRecalibrate:
        recalibrate(command_[1] & 3);
        break;
    case kSeek: {
        const unsigned select = command_[1] & 3;
        int target = command_[2];
        if ((command_[0] & 0x80) != 0) // RELATIVE SEEK; bit 6: towards the centre
            target = present_cylinder_[select] + ((command_[0] & 0x40) != 0 ? target : -target);
        seek(select, static_cast<unsigned>(std::clamp(target, 0, 255)), command_[1] & 4);
        break;
    }
    case kReadId:
        read_id();
        break;
    case kReadData:
    case kReadDeletedData:
    case kReadTrack:
        start_transfer(Operation::Read);
        break;
    case kWriteData:
    case kWriteDeletedData:
        start_transfer(Operation::Write);
        break;
    case kVerify:
        start_transfer(Operation::Verify);
        break;
    case kFormatTrack:
        start_format();
        break;
    case kDumpRegisters:
        dump_registers();
        break;
    case kVersionCommand:
        give_result({kVersion});
        break;
    case kPerpendicularMode:
        // Bit 7 (OW) lets the drive bits change.
        perpendicular_ = static_cast<uint8_t>(
            (command_[1] & 0x80) != 0 ? command_[1] & 0x3F : (perpendicular_ & 0x3C) | (command_[1] & 0x03));
        break;
    case kConfigure:
        configuration_ = command_[2] & 0x7F;
        precompensation_track_ = command_[3];
        break;
    case kLock:
        locked_ = (command_[0] & 0x80) != 0;
        give_result({static_cast<uint8_t>(locked_ ? 0x10 : 0x00)});
        break;
    default:
        invalid_command();
        break;
    }
}

void Floppy82077::sense_interrupt() {
    if (status_pending_ == 0) {
        invalid_command();
        return;
    }
    unsigned select = 0;
    while ((status_pending_ >> select & 1) == 0)
        ++select;
    status_pending_ &= static_cast<uint8_t>(~(1u << select));
    give_result({pending_st0_[select], present_cylinder_[select]});
    // One interrupt for all four drives after a reset, but one for each seek.
    const bool more_seeks = [&] {
        for (unsigned i = 0; i < kSelects; ++i)
            if ((status_pending_ >> i & 1) != 0 && (pending_st0_[i] & kSt0PollingChange) != kSt0PollingChange)
                return true;
        return false;
    }();
    set_seek_interrupt(more_seeks);
}

void Floppy82077::sense_drive() {
    const unsigned select = command_[1] & 3;
    const FloppyDrive* found = drive(select);
    uint8_t st3 = static_cast<uint8_t>(0x28 | (command_[1] & 0x07)); // bits 5 and 3 always read 1
    if (found != nullptr && found->cylinder == 0)
        st3 |= 0x10;
    if (found != nullptr && found->has_disk() && found->worker->read_only())
        st3 |= 0x40;
    give_result({st3});
}

void Floppy82077::seek(unsigned select, unsigned cylinder, uint8_t head) {
    seek_target_[select] = static_cast<uint8_t>(cylinder);
    pending_st0_[select] = static_cast<uint8_t>(kSt0SeekEnd | head | select);
    seeking_ |= static_cast<uint8_t>(1u << select);
    seek_deadline_ = platform_.clock.now() + kSeekNanos;
    platform_.clock.arm(seek_timer_, seek_deadline_);
}

void Floppy82077::recalibrate(unsigned select) {
    seek(select, 0, 0);
    if (drive(select) == nullptr) // no TRK0 signal after 79 steps
        pending_st0_[select] |= kSt0AbnormalEquipment;
}

void Floppy82077::seeks_finished() {
    seek_deadline_ = kNever;
    for (unsigned select = 0; select < kSelects; ++select) {
        if ((seeking_ >> select & 1) == 0)
            continue;
        present_cylinder_[select] = seek_target_[select];
        if (FloppyDrive* moved = drive(select))
            moved->move_head(seek_target_[select]);
    }
    status_pending_ |= seeking_;
    if (std::exchange(seeking_, 0) != 0)
        set_seek_interrupt(true);
}

void Floppy82077::dump_registers() {
    const auto lock_byte = static_cast<uint8_t>((locked_ ? 0x80 : 0) | perpendicular_);
    give_result({present_cylinder_[0], present_cylinder_[1], present_cylinder_[2], present_cylinder_[3],
                 specify_[0], specify_[1], last_eot_, lock_byte, configuration_, precompensation_track_});
}

void Floppy82077::quiesce() {
    for (FloppyDrive& drive : drives_)
        if (drive.worker)
            drive.worker->drain();
}

void Floppy82077::serialize(base::StateArchive& archive) {
    if (archive.loading())
        software_reset(); // what is under way belongs to the state being replaced
    quiesce();
    const auto flag = [&archive](std::string_view field, bool& value) {
        auto byte = static_cast<uint8_t>(value);
        archive.field(field, byte);
        value = byte != 0;
    };
    archive.begin(name(), 1);
    archive.field("dor", dor_);
    archive.field("tdr", tdr_);
    archive.field("rate", rate_);
    archive.field("specify", specify_);
    archive.field("configuration", configuration_);
    archive.field("precompensation-track", precompensation_track_);
    archive.field("perpendicular", perpendicular_);
    archive.field("last-eot", last_eot_);
    flag("locked", locked_);
    flag("transfer-interrupt", transfer_interrupt_);
    flag("seek-interrupt", seek_interrupt_);
    archive.field("phase", phase_);
    archive.vector_field("command", command_, 9);
    archive.vector_field("result", result_, 10);
    archive.field("result-position", result_position_);
    archive.field("seeking", seeking_);
    archive.field("present-cylinder", present_cylinder_);
    archive.field("seek-target", seek_target_);
    archive.field("status-pending", status_pending_);
    archive.field("pending-st0", pending_st0_);
    archive.field("seek-deadline", seek_deadline_);
    archive.field("operation", operation_);
    archive.field("unit", unit_);
    archive.field("head", head_);
    archive.field("sector", sector_);
    archive.field("last-sector", last_sector_);
    flag("multi-track", multi_track_);
    flag("chunk-failed", chunk_failed_);
    archive.vector_field("data", data_, kMaxTrackBytes);
    archive.field("data-position", data_position_);
    for (unsigned i = 0; i < kDrives; ++i) {
        archive.field(i == 0 ? "head-cylinder-a" : "head-cylinder-b", drives_[i].cylinder);
        flag(i == 0 ? "changed-a" : "changed-b", drives_[i].changed);
    }
    archive.end();
    if (!archive.loading())
        return;
    rate_ &= kRateMask;
    seeking_ &= 0x0F;
    status_pending_ &= 0x0F;
    for (FloppyDrive& drive : drives_)
        drive.cylinder = std::min(drive.cylinder, FloppyDrive::kMaxCylinder);
    const bool moving = phase_ == Phase::FifoIn || phase_ == Phase::FifoOut;
    const bool command_sound =
        phase_ != Phase::Command || (!command_.empty() && command_.size() < command_length(command_[0]));
    const bool transfer_sound =
        !moving ||
        (operation_ > Operation::None && operation_ <= Operation::Format && unit_ < kDrives &&
         drives_[unit_].has_disk() && command_.size() >= 6 &&
         (operation_ == Operation::Format || command_.size() == 9) && head_ < drives_[unit_].geometry.heads &&
         sector_ >= 1 && sector_ <= drives_[unit_].geometry.sectors &&
         drives_[unit_].cylinder < drives_[unit_].geometry.cylinders && data_position_ < data_.size());
    if (phase_ > Phase::Result || phase_ == Phase::Busy || !command_sound || !transfer_sound ||
        (phase_ == Phase::Result && result_position_ >= result_.size())) {
        archive.set_error("saved machine state of the floppy controller is inconsistent");
        reset();
        return;
    }
    platform_.clock.arm(seek_timer_, seek_deadline_);
}

std::unique_ptr<Device> make_floppy82077(Platform& platform) {
    return std::make_unique<Floppy82077>(platform);
}

} // namespace vmm
