// The execution phase of the floppy controller's data commands. A command moves one or two runs of sectors
// (MT continues on head 1); each run is one medium request, its data going to or from the guest by
// DMA channel 2 or, in non-DMA mode, through the FIFO.
#include "vmm/devices/floppy82077.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr unsigned kDmaChannel = 2;
constexpr uint32_t kSectorBytes = FloppyGeometry::kSectorBytes;
constexpr uint8_t kSizeCode512 = 2; // N: 128 << N bytes
constexpr uint8_t kFlagMultiTrack = 0x80, kFlagMfm = 0x40;
constexpr uint8_t kDorDmaGate = 0x08;

constexpr uint8_t kSt0Abnormal = 0x40;
constexpr uint8_t kSt1MissingMark = 0x01, kSt1NotWritable = 0x02, kSt1NoData = 0x04, kSt1Overrun = 0x10,
                  kSt1DataError = 0x20, kSt1EndOfCylinder = 0x80;
constexpr uint8_t kSt2WrongCylinder = 0x10, kSt2DataError = 0x20, kSt2ControlMark = 0x40;
constexpr uint8_t kReadTrack = 0x02, kReadDeletedData = 0x0C, kImpliedSeek = 0x40;

} // namespace

BlockWorker::Completion Floppy82077::guarded(std::function<void(BlockOutcome)> then) {
    phase_ = Phase::Busy;
    return [this, generation = generation_, then = std::move(then)](BlockOutcome outcome) {
        if (generation == generation_)
            then(std::move(outcome));
    };
}

// Result bytes C, H, R, N come from command_, where the transfer keeps them up to date.
void Floppy82077::end_transfer(uint8_t st0, uint8_t st1, uint8_t st2) {
    ++generation_;
    operation_ = Operation::None;
    data_.clear();
    st0 |= command_[1] & 0x07;
    command_.resize(9);
    give_result({st0, st1, st2, command_[2], command_[3], command_[4], command_[5]});
    set_transfer_interrupt(true);
}

void Floppy82077::read_id() {
    FloppyDrive* found = drive(command_[1] & 3);
    const uint8_t head = command_[1] >> 2 & 1;
    const bool mfm = (command_[0] & kFlagMfm) != 0;
    command_.resize(9);
    if (found == nullptr || !mfm || !found->readable(head, rate_)) {
        end_transfer(kSt0Abnormal, kSt1MissingMark, 0);
        return;
    }
    command_[2] = found->cylinder;
    command_[3] = head;
    command_[4] = 1;
    command_[5] = kSizeCode512;
    end_transfer(0, 0, 0);
}

void Floppy82077::start_transfer(Operation operation) {
    const unsigned select = command_[1] & 3;
    const uint8_t head = command_[1] >> 2 & 1;
    FloppyDrive* found = drive(select);
    last_eot_ = command_[6];
    if (found != nullptr && (configuration_ & kImpliedSeek) != 0) {
        present_cylinder_[select] = command_[2];
        found->move_head(command_[2]);
    }
    // DEVIATION: without a disk the controller would wait for an index pulse for ever; report at once.
    if (found == nullptr || (command_[0] & kFlagMfm) == 0 || !found->readable(head, rate_)) {
        end_transfer(kSt0Abnormal, kSt1MissingMark, 0);
        return;
    }
    if (operation == Operation::Write && found->worker->read_only()) {
        end_transfer(kSt0Abnormal, kSt1NotWritable, 0);
        return;
    }
    if ((command_[0] & 0x1F) == kReadTrack)
        command_[4] = 1; // from the index hole on, whatever R says
    if (command_[2] != found->cylinder) {
        end_transfer(kSt0Abnormal, kSt1NoData, kSt2WrongCylinder);
        return;
    }
    const uint8_t sector = command_[4];
    if (command_[3] != head || command_[5] != kSizeCode512 || sector == 0 ||
        sector > found->geometry.sectors) {
        end_transfer(kSt0Abnormal, kSt1NoData, 0);
        return;
    }
    operation_ = operation;
    unit_ = static_cast<uint8_t>(select);
    head_ = head;
    sector_ = sector;
    multi_track_ = (command_[0] & kFlagMultiTrack) != 0;
    last_sector_ = command_[6];
    next_run();
}

uint64_t Floppy82077::run_offset() const {
    const FloppyDrive& drive = drives_[unit_];
    const uint32_t track = uint32_t{drive.cylinder} * drive.geometry.heads + head_;
    return uint64_t{track * drive.geometry.sectors + sector_ - 1} * kSectorBytes;
}

void Floppy82077::next_run() {
    FloppyDrive& drive = active();
    // An EOT that never comes by lets the controller run to the end of the track.
    const bool ends_at_eot = last_sector_ >= sector_ && last_sector_ <= drive.geometry.sectors;
    const uint8_t end = ends_at_eot ? last_sector_ : drive.geometry.sectors;
    const size_t bytes = size_t{static_cast<uint8_t>(end - sector_ + 1)} * kSectorBytes;
    chunk_failed_ = false;
    data_position_ = 0;
    if (operation_ == Operation::Write) {
        data_.assign(bytes, 0);
        collect_run();
        return;
    }
    // An image shorter than its format reads as zeros behind its end.
    const uint64_t size = drive.worker->size_bytes(), offset = std::min(run_offset(), size);
    const auto stored = static_cast<size_t>(std::min<uint64_t>(bytes, size - offset));
    drive.worker->read(offset, stored, guarded([this, bytes](BlockOutcome outcome) {
                           outcome.data.resize(outcome.ok ? bytes
                                                          : outcome.good_bytes / kSectorBytes * kSectorBytes);
                           run_read(std::move(outcome));
                       }));
}

void Floppy82077::run_read(BlockOutcome outcome) {
    chunk_failed_ = !outcome.ok;
    data_ = std::move(outcome.data);
    data_position_ = 0;
    deliver_run();
}

void Floppy82077::deliver_run() {
    const auto sectors = static_cast<uint32_t>(data_.size() / kSectorBytes);
    if (operation_ == Operation::Verify || data_.empty()) {
        run_finished(sectors, false);
        return;
    }
    if (!dma_mode()) {
        phase_ = Phase::FifoIn;
        set_transfer_interrupt(true);
        return;
    }
    IsaDma::Progress progress;
    if (platform_.dma != nullptr && (dor_ & kDorDmaGate) != 0)
        progress = platform_.dma->to_memory(kDmaChannel, data_);
    const auto done = static_cast<uint32_t>((progress.bytes + kSectorBytes - 1) / kSectorBytes);
    if (!progress.terminal_count && progress.bytes < data_.size())
        end_transfer(kSt0Abnormal, kSt1Overrun, 0); // nobody took the data
    else
        run_finished(done, progress.terminal_count);
}

void Floppy82077::collect_run() {
    if (!dma_mode()) {
        phase_ = Phase::FifoOut;
        set_transfer_interrupt(true);
        return;
    }
    IsaDma::Progress progress;
    if (platform_.dma != nullptr && (dor_ & kDorDmaGate) != 0)
        progress = platform_.dma->from_memory(kDmaChannel, data_);
    if (!progress.terminal_count && progress.bytes < data_.size())
        end_transfer(kSt0Abnormal, kSt1Overrun, 0);
    else
        run_collected(progress.bytes, progress.terminal_count);
}

// A sector that the terminal count cuts short is filled up with zeros (datasheet section 6.1.2).
void Floppy82077::run_collected(size_t bytes, bool terminal_count) {
    const size_t sectors = (bytes + kSectorBytes - 1) / kSectorBytes;
    data_.resize(sectors * kSectorBytes);
    std::fill(data_.begin() + static_cast<std::ptrdiff_t>(bytes), data_.end(), uint8_t{0});
    const uint64_t offset = run_offset();
    active().worker->write(offset, std::move(data_), guarded([this, terminal_count](BlockOutcome outcome) {
                               chunk_failed_ = !outcome.ok;
                               data_.clear();
                               // A failed write outweighs the terminal count.
                               run_finished(static_cast<uint32_t>(outcome.good_bytes / kSectorBytes),
                                            terminal_count && outcome.ok);
                           }));
}

// Sectors of the run are done: sets the result address (datasheet table 6-2) and ends or goes on.
void Floppy82077::run_finished(uint32_t sectors_done, bool terminal_count) {
    const uint32_t next = sector_ + sectors_done;
    const bool past_eot = sectors_done > 0 && next == last_sector_ + 1u;
    const bool to_other_head = past_eot && multi_track_ && head_ == 0 && active().geometry.heads > 1;
    const uint8_t st2 =
        (command_[0] & 0x1F) == kReadDeletedData ? kSt2ControlMark : uint8_t{0}; // the data is not deleted
    if (past_eot && !to_other_head) {
        command_[2] = static_cast<uint8_t>(command_[2] + 1);
        command_[3] = multi_track_ ? 0 : command_[3];
        command_[4] = 1;
    } else if (to_other_head) {
        command_[3] = 1;
        command_[4] = 1;
    } else {
        command_[4] = static_cast<uint8_t>(next);
    }
    if (terminal_count) {
        end_transfer(0, 0, st2);
    } else if (chunk_failed_) {
        end_transfer(kSt0Abnormal, kSt1DataError, kSt2DataError);
    } else if (to_other_head) {
        head_ = 1;
        sector_ = 1;
        next_run();
    } else if (past_eot) {
        // VERIFY ends at EOT without a terminal count; data transfers should have had one.
        if (operation_ == Operation::Verify)
            end_transfer(0, 0, st2);
        else
            end_transfer(kSt0Abnormal, kSt1EndOfCylinder, st2);
    } else {
        end_transfer(kSt0Abnormal, kSt1NoData, st2);
    }
}

// FORMAT TRACK: four bytes (C, H, R, N) per sector from the guest, then the whole track is filled. Images
// hold only their own format: anything else leaves the track unreadable, which is what gets reported.
void Floppy82077::start_format() {
    FloppyDrive* found = drive(command_[1] & 3);
    const uint8_t head = command_[1] >> 2 & 1, size_code = command_[2], sectors = command_[3];
    if (found == nullptr || (command_[0] & kFlagMfm) == 0 || !found->readable(head, rate_) ||
        size_code != kSizeCode512 || sectors != found->geometry.sectors) {
        end_transfer(kSt0Abnormal, kSt1MissingMark, 0);
        return;
    }
    if (found->worker->read_only()) {
        end_transfer(kSt0Abnormal, kSt1NotWritable, 0);
        return;
    }
    operation_ = Operation::Format;
    unit_ = command_[1] & 3;
    head_ = head;
    sector_ = 1;
    data_.assign(size_t{sectors} * 4, 0);
    data_position_ = 0;
    if (!dma_mode()) {
        phase_ = Phase::FifoOut;
        set_transfer_interrupt(true);
        return;
    }
    IsaDma::Progress progress;
    if (platform_.dma != nullptr && (dor_ & kDorDmaGate) != 0)
        progress = platform_.dma->from_memory(kDmaChannel, data_);
    if (progress.bytes < data_.size())
        end_transfer(kSt0Abnormal, kSt1Overrun, 0);
    else
        format_collected();
}

void Floppy82077::format_collected() {
    FloppyDrive& drive = active();
    for (size_t at = 0; at + 4 <= data_.size(); at += 4) {
        const uint8_t sector = data_[at + 2];
        if (data_[at] != drive.cylinder || data_[at + 1] != head_ || sector == 0 ||
            sector > drive.geometry.sectors || data_[at + 3] != kSizeCode512) {
            end_transfer(kSt0Abnormal, kSt1MissingMark, 0);
            return;
        }
    }
    std::vector<uint8_t> track(size_t{drive.geometry.sectors} * kSectorBytes, command_[5]);
    drive.worker->write(run_offset(), std::move(track), guarded([this](BlockOutcome outcome) {
                            if (outcome.ok)
                                end_transfer(0, 0, 0);
                            else
                                end_transfer(kSt0Abnormal, kSt1DataError, 0);
                        }));
}

// Non-DMA mode: the guest has moved the last byte. There is no terminal count on this path.
void Floppy82077::fifo_data_moved() {
    set_transfer_interrupt(false);
    phase_ = Phase::Busy;
    switch (operation_) {
    case Operation::Format:
        format_collected();
        break;
    case Operation::Write:
        run_collected(data_.size(), false);
        break;
    default:
        run_finished(static_cast<uint32_t>(data_.size() / kSectorBytes), false);
        break;
    }
}

} // namespace vmm
