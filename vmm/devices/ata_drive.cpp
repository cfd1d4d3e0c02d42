#include "vmm/devices/ata_drive.h"

#include "vmm/base/verify.h"

#include <algorithm>

namespace vmm {

using namespace ata;

void ata::put_identify_string(std::span<uint16_t> words, std::string_view text) {
    for (size_t i = 0; i < words.size(); ++i) {
        const auto at = [&](size_t n) {
            return n < text.size() ? static_cast<uint8_t>(text[n]) : uint8_t{' '};
        };
        words[i] = static_cast<uint16_t>(at(2 * i) << 8 | at(2 * i + 1));
    }
}

std::vector<uint8_t> ata::identify_image(const std::array<uint16_t, 256>& words) {
    std::vector<uint8_t> image;
    image.reserve(kSectorBytes);
    for (const uint16_t word : words) {
        image.push_back(static_cast<uint8_t>(word));
        image.push_back(static_cast<uint8_t>(word >> 8));
    }
    return image;
}

AtaDrive::AtaDrive(AtaHost& host, std::unique_ptr<BlockWorker> worker)
    : worker_(std::move(worker)), host_(host) {}

uint8_t AtaDrive::status() const {
    // A reset does not complete before the medium request it caught under way has: this bounds what a
    // guest can pile up by resetting.
    const bool stale_request = phase_ != Phase::Working && worker_ && worker_->busy();
    return stale_request ? kStatusBsy : status_;
}

uint8_t AtaDrive::read_register(AtaRegister which, bool high_order) const {
    const TaskFile& file = high_order ? previous_ : now_;
    switch (which) {
    case AtaRegister::ErrorFeatures:
        return error_;
    case AtaRegister::Count:
        return file.count;
    case AtaRegister::LbaLow:
        return file.lba_low;
    case AtaRegister::LbaMid:
        return file.lba_mid;
    case AtaRegister::LbaHigh:
        return file.lba_high;
    case AtaRegister::Device:
        return device_;
    case AtaRegister::StatusCommand:
        return status();
    case AtaRegister::Data:
        break;
    }
    return 0;
}

void AtaDrive::write_register(AtaRegister which, uint8_t value) {
    // "Shall only be written when BSY and DRQ are zero" (ATA/ATAPI-6, 7.x): otherwise ignored.
    // The device register alone is latched by both drives of the cable whatever they do.
    if (which != AtaRegister::Device && (status() & (kStatusBsy | kStatusDrq)) != 0)
        return;
    const auto push = [value](uint8_t& current, uint8_t& earlier) {
        earlier = current;
        current = value;
    };
    switch (which) {
    case AtaRegister::ErrorFeatures:
        push(now_.features, previous_.features);
        break;
    case AtaRegister::Count:
        push(now_.count, previous_.count);
        break;
    case AtaRegister::LbaLow:
        push(now_.lba_low, previous_.lba_low);
        break;
    case AtaRegister::LbaMid:
        push(now_.lba_mid, previous_.lba_mid);
        break;
    case AtaRegister::LbaHigh:
        push(now_.lba_high, previous_.lba_high);
        break;
    case AtaRegister::Device:
        device_ = value;
        break;
    default:
        break;
    }
}

void AtaDrive::command(uint8_t opcode) {
    clear_interrupt();
    if ((status() & (kStatusBsy | kStatusDrq)) != 0 && !interrupts_busy(opcode))
        return;
    if (interrupts_busy(opcode)) {
        execute(opcode);
        return;
    }
    drop_command();
    error_ = 0;
    status_ = kStatusBsy | kStatusDrdy;
    execute(opcode);
}

uint32_t AtaDrive::read_data(unsigned size) {
    if (phase_ != Phase::PioIn)
        return 0xFFFFFFFF;
    uint32_t value = 0;
    const size_t count = std::min<size_t>(size, block_end_ - position_);
    for (size_t i = 0; i < count; ++i)
        value |= static_cast<uint32_t>(buffer_[position_ + i]) << (8 * i);
    position_ += count;
    if (position_ == block_end_)
        block_done();
    return value;
}

void AtaDrive::write_data(unsigned size, uint32_t value) {
    if (phase_ != Phase::PioOut)
        return;
    const size_t count = std::min<size_t>(size, block_end_ - position_);
    for (size_t i = 0; i < count; ++i)
        buffer_[position_ + i] = static_cast<uint8_t>(value >> (8 * i));
    position_ += count;
    if (position_ == block_end_)
        block_done();
}

std::span<uint8_t> AtaDrive::dma_window(DmaDirection direction) {
    if (phase_ != (direction == DmaDirection::ToMemory ? Phase::DmaIn : Phase::DmaOut))
        return {};
    return std::span(buffer_).subspan(position_);
}

void AtaDrive::dma_advance(size_t bytes) {
    VERIFY((phase_ == Phase::DmaIn || phase_ == Phase::DmaOut) && bytes <= buffer_.size() - position_);
    position_ += bytes;
    if (position_ == buffer_.size())
        block_done();
}

void AtaDrive::clear_interrupt() {
    interrupt_ = false;
    host_.interrupt_changed();
}

void AtaDrive::raise_interrupt() {
    interrupt_ = true;
    host_.interrupt_changed();
}

void AtaDrive::drop_command() {
    ++generation_;
    phase_ = Phase::Idle;
    buffer_.clear();
    position_ = block_end_ = 0;
}

void AtaDrive::power_on() {
    restore_defaults();
    software_reset();
}

void AtaDrive::software_reset() {
    run_diagnostic(kDiagnosticPassed);
    clear_interrupt();
}

void AtaDrive::run_diagnostic(uint8_t error) {
    drop_command();
    now_ = previous_ = {};
    device_ = 0;
    error_ = error;
    reset_drive();
    set_signature();
}

void AtaDrive::device_reset() {
    const uint8_t selected = device_ & kDeviceDev;
    software_reset();
    device_ = selected;
}

void AtaDrive::finish(uint8_t status, uint8_t error) {
    drop_command();
    status_ = status;
    error_ = error;
    raise_interrupt();
}

void AtaDrive::abort_command() { finish(kStatusDrdy | kStatusDsc | kStatusErr, kErrorAbrt); }

void AtaDrive::finish_quietly() {
    drop_command();
    status_ = kStatusDrdy | kStatusDsc;
}

void AtaDrive::offer_block(Phase phase, size_t bytes, Notify notify) {
    VERIFY(bytes > 0 && bytes <= buffer_.size() - position_);
    phase_ = phase;
    block_end_ = position_ + bytes;
    status_ = kStatusDrdy | kStatusDsc | kStatusDrq;
    if (notify == Notify::Interrupt)
        raise_interrupt();
}

void AtaDrive::offer_dma(Phase phase) {
    VERIFY(position_ < buffer_.size());
    phase_ = phase;
    // BSY stays set through a DMA data phase (ATA/ATAPI-6, 6.5: BSY or DRQ).
    status_ = kStatusDrdy | kStatusBsy;
    host_.dma_requested();
}

BlockWorker::Completion AtaDrive::guarded(Then then) {
    phase_ = Phase::Working;
    status_ = kStatusBsy | kStatusDrdy;
    return [this, generation = generation_, then = std::move(then)](BlockOutcome outcome) {
        if (generation == generation_)
            then(std::move(outcome));
    };
}

void AtaDrive::read_medium(uint64_t offset, size_t length, Then then) {
    worker_->read(offset, length, guarded(std::move(then)));
}

void AtaDrive::write_medium(uint64_t offset, std::vector<uint8_t> data, Then then) {
    worker_->write(offset, std::move(data), guarded(std::move(then)));
}

void AtaDrive::flush_medium(Then then) { worker_->flush(guarded(std::move(then))); }

void AtaDrive::drain() {
    if (worker_)
        worker_->drain();
}

void AtaDrive::serialize(base::StateArchive& archive, std::string_view section) {
    if (archive.loading())
        drop_command(); // what is under way belongs to the state being replaced
    drain();
    archive.begin(section, 1);
    archive.field("task-file", now_);
    archive.field("task-file-previous", previous_);
    archive.field("device", device_);
    archive.field("error", error_);
    archive.field("status", status_);
    auto phase = static_cast<uint8_t>(phase_);
    auto interrupt = static_cast<uint8_t>(interrupt_);
    auto position = static_cast<uint32_t>(position_), block_end = static_cast<uint32_t>(block_end_);
    archive.field("phase", phase);
    archive.field("interrupt", interrupt);
    archive.field("position", position);
    archive.field("block-end", block_end);
    archive.vector_field("buffer", buffer_, kMaxBuffer);
    if (archive.loading()) {
        interrupt_ = interrupt != 0;
        phase_ = static_cast<Phase>(phase);
        position_ = position;
        block_end_ = block_end;
        const bool pio = phase_ == Phase::PioIn || phase_ == Phase::PioOut;
        const bool dma = phase_ == Phase::DmaIn || phase_ == Phase::DmaOut;
        const bool sound = pio   ? position_ < block_end_ && block_end_ <= buffer_.size()
                           : dma ? position_ < buffer_.size()
                                 : phase_ == Phase::Idle;
        if (!sound) {
            archive.set_error("saved machine state of a drive is inconsistent");
            drop_command();
            status_ = kStatusDrdy | kStatusDsc;
        }
    }
    serialize_drive(archive);
    archive.end();
}

} // namespace vmm
