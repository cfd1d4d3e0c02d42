#include "vmm/devices/ata_disk.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <bit>

namespace vmm {

using namespace ata;

namespace {

// Command codes (ATA/ATAPI-6, annex B; the no-retry twins and RECALIBRATE/SEEK ranges from ATA-3).
enum Command : uint8_t {
    kReadSectors = 0x20,
    kReadSectorsNoRetry = 0x21,
    kReadSectorsExt = 0x24,
    kReadDmaExt = 0x25,
    kReadMultipleExt = 0x29,
    kWriteSectors = 0x30,
    kWriteSectorsNoRetry = 0x31,
    kWriteSectorsExt = 0x34,
    kWriteDmaExt = 0x35,
    kWriteMultipleExt = 0x39,
    kReadVerify = 0x40,
    kReadVerifyNoRetry = 0x41,
    kReadVerifyExt = 0x42,
    kInitializeParameters = 0x91,
    kReadMultiple = 0xC4,
    kWriteMultiple = 0xC5,
    kSetMultiple = 0xC6,
    kReadDma = 0xC8,
    kReadDmaNoRetry = 0xC9,
    kWriteDma = 0xCA,
    kWriteDmaNoRetry = 0xCB,
    kStandbyImmediate = 0xE0,
    kIdleImmediate = 0xE1,
    kStandby = 0xE2,
    kIdle = 0xE3,
    kCheckPowerMode = 0xE5,
    kSleep = 0xE6,
    kFlushCache = 0xE7,
    kFlushCacheExt = 0xEA,
    kIdentifyDevice = 0xEC,
    kSetFeatures = 0xEF,
};
// Power commands of ATA-1, same order as E0h-E6h.
constexpr uint8_t kOldPowerFirst = 0x94, kOldPowerLast = 0x99;

constexpr uint32_t kChunkSectors = 256;
constexpr uint8_t kMaxMultiple = 16;
constexpr uint8_t kPowerActive = 0xFF;
constexpr uint64_t kLba28Limit = 0x0FFFFFFF;

} // namespace

AtaDisk::AtaDisk(AtaHost& host, std::unique_ptr<BlockWorker> worker, std::string serial)
    : AtaDrive(host, std::move(worker)), serial_(std::move(serial)) {
    VERIFY(worker_ != nullptr);
    capacity_ = worker_->size_bytes() / kSectorBytes;
    native_ = disk_geometry(worker_->size_bytes());
    power_on();
}

void AtaDisk::restore_defaults() {
    current_ = native_;
    multiple_ = 0;
    mwdma_mode_ = 2;
    write_cache_ = true;
}

void AtaDisk::set_signature() {
    now_.count = 1;
    now_.lba_low = 1;
    now_.lba_mid = now_.lba_high = 0;
    status_ = kStatusDrdy | kStatusDsc;
    transfer_ = Transfer::None;
}

void AtaDisk::execute(uint8_t opcode) {
    using enum Transfer;
    using enum Addressing;
    if ((opcode & 0xF0) == 0x10 || (opcode & 0xF0) == 0x70) { // RECALIBRATE, SEEK
        finish(kStatusDrdy | kStatusDsc, 0);
        return;
    }
    if (opcode >= kOldPowerFirst && opcode <= kOldPowerLast)
        opcode = static_cast<uint8_t>(opcode - kOldPowerFirst + kStandbyImmediate +
                                      (opcode >= 0x98 ? 1 : 0)); // 98h CHECK POWER MODE, 99h SLEEP
    switch (opcode) {
    case kReadSectors:
    case kReadSectorsNoRetry:
        start(PioRead, Bits28, 1);
        break;
    case kReadSectorsExt:
        start(PioRead, Bits48, 1);
        break;
    case kReadMultiple:
        start_multiple(PioRead, Bits28);
        break;
    case kReadMultipleExt:
        start_multiple(PioRead, Bits48);
        break;
    case kReadDma:
    case kReadDmaNoRetry:
        start(DmaRead, Bits28, 1);
        break;
    case kReadDmaExt:
        start(DmaRead, Bits48, 1);
        break;
    case kWriteSectors:
    case kWriteSectorsNoRetry:
        start(PioWrite, Bits28, 1);
        break;
    case kWriteSectorsExt:
        start(PioWrite, Bits48, 1);
        break;
    case kWriteMultiple:
        start_multiple(PioWrite, Bits28);
        break;
    case kWriteMultipleExt:
        start_multiple(PioWrite, Bits48);
        break;
    case kWriteDma:
    case kWriteDmaNoRetry:
        start(DmaWrite, Bits28, 1);
        break;
    case kWriteDmaExt:
        start(DmaWrite, Bits48, 1);
        break;
    case kReadVerify:
    case kReadVerifyNoRetry:
        start(Verify, Bits28, 1);
        break;
    case kReadVerifyExt:
        start(Verify, Bits48, 1);
        break;
    case kFlushCache:
    case kFlushCacheExt:
        flush_cache();
        break;
    case kIdentifyDevice:
        identify();
        break;
    case kSetFeatures:
        set_features();
        break;
    case kSetMultiple:
        set_multiple();
        break;
    case kInitializeParameters:
        initialize_parameters();
        break;
    case kCheckPowerMode:
        now_.count = kPowerActive;
        [[fallthrough]];
    case kStandbyImmediate:
    case kIdleImmediate:
    case kStandby:
    case kIdle:
    case kSleep:
        finish(kStatusDrdy | kStatusDsc, 0);
        break;
    // NOP included: it is defined to abort. SMART, security and HPA are not offered in IDENTIFY.
    default:
        abort_command();
        break;
    }
}

// The sectors the task file names, or nothing when they are not all on the disk.
std::optional<AtaDisk::Extent> AtaDisk::addressed(Addressing addressing) const {
    Extent extent;
    if (addressing == Addressing::Bits48) {
        const auto join = [](uint8_t high, uint8_t low) { return uint64_t{high} << 24 | low; };
        extent.lba = join(previous_.lba_low, now_.lba_low) | join(previous_.lba_mid, now_.lba_mid) << 8 |
                     join(previous_.lba_high, now_.lba_high) << 16;
        extent.sectors = static_cast<uint32_t>(previous_.count << 8 | now_.count);
        if (extent.sectors == 0)
            extent.sectors = 65536;
    } else {
        extent.sectors = now_.count == 0 ? 256 : now_.count;
        const uint32_t middle = static_cast<uint32_t>(now_.lba_high << 8 | now_.lba_mid);
        const uint32_t low_nibble = device_ & 0x0F;
        if ((device_ & kDeviceLba) != 0) {
            extent.lba = uint64_t{low_nibble} << 24 | middle << 8 | now_.lba_low;
        } else {
            if (now_.lba_low == 0 || now_.lba_low > current_.sectors || low_nibble >= current_.heads)
                return std::nullopt;
            extent.lba =
                (uint64_t{middle} * current_.heads + low_nibble) * current_.sectors + now_.lba_low - 1;
        }
    }
    if (extent.lba >= capacity_ || extent.sectors > capacity_ - extent.lba)
        return std::nullopt;
    return extent;
}

// Leaves `lba` in the task file in the command's own addressing: the last sector, or the one that failed.
void AtaDisk::set_address(uint64_t lba) {
    const auto byte = [lba](unsigned shift) { return static_cast<uint8_t>(lba >> shift); };
    if (addressing_ == Addressing::Bits48 || (device_ & kDeviceLba) != 0) {
        now_.lba_low = byte(0);
        now_.lba_mid = byte(8);
        now_.lba_high = byte(16);
        if (addressing_ == Addressing::Bits48) {
            previous_.lba_low = byte(24);
            previous_.lba_mid = byte(32);
            previous_.lba_high = byte(40);
        } else {
            device_ = static_cast<uint8_t>((device_ & 0xF0) | (byte(24) & 0x0F));
        }
        return;
    }
    const uint64_t track = lba / current_.sectors, cylinder = track / current_.heads;
    now_.lba_low = static_cast<uint8_t>(lba % current_.sectors + 1);
    now_.lba_mid = static_cast<uint8_t>(cylinder);
    now_.lba_high = static_cast<uint8_t>(cylinder >> 8);
    device_ = static_cast<uint8_t>((device_ & 0xF0) | track % current_.heads);
}

void AtaDisk::start_multiple(Transfer transfer, Addressing addressing) {
    if (multiple_ == 0)
        abort_command(); // ATA/ATAPI-6, 8.31: SET MULTIPLE MODE comes first
    else
        start(transfer, addressing, multiple_);
}

void AtaDisk::start(Transfer transfer, Addressing addressing, uint32_t block_sectors) {
    transfer_ = transfer;
    addressing_ = addressing;
    block_sectors_ = block_sectors;
    const auto extent = addressed(addressing);
    if (!extent) {
        finish(kStatusDrdy | kStatusDsc | kStatusErr, kErrorIdnf);
        return;
    }
    if (writes() && worker_->read_only()) {
        abort_command();
        return;
    }
    lba_ = extent->lba;
    remaining_ = extent->sectors;
    chunk_failed_ = false;
    if (writes())
        next_write_chunk();
    else
        next_read_chunk();
}

void AtaDisk::next_read_chunk() {
    chunk_ = std::min(remaining_, kChunkSectors);
    read_medium(lba_ * kSectorBytes, chunk_ * kSectorBytes,
                [this](BlockOutcome outcome) { read_done(std::move(outcome)); });
}

void AtaDisk::read_done(BlockOutcome outcome) {
    chunk_failed_ = !outcome.ok;
    buffer_ = std::move(outcome.data);
    buffer_.resize(outcome.good_bytes);
    position_ = 0;
    if (buffer_.empty() || transfer_ == Transfer::Verify) {
        position_ = buffer_.size();
        chunk_done();
    } else if (transfer_ == Transfer::PioRead) {
        offer_next_block(Notify::Interrupt);
    } else {
        offer_dma(Phase::DmaIn);
    }
}

void AtaDisk::next_write_chunk() {
    chunk_ = std::min(remaining_, kChunkSectors);
    buffer_.resize(chunk_ * kSectorBytes);
    position_ = 0;
    const bool first_block = phase_ == Phase::Idle; // no medium request yet
    if (transfer_ == Transfer::PioWrite)
        offer_next_block(first_block ? Notify::No : Notify::Interrupt);
    else
        offer_dma(Phase::DmaOut);
}

void AtaDisk::offer_next_block(Notify notify) {
    const size_t bytes = std::min<size_t>(block_sectors_ * kSectorBytes, buffer_.size() - position_);
    offer_block(transfer_ == Transfer::PioWrite ? Phase::PioOut : Phase::PioIn, bytes, notify);
}

void AtaDisk::block_done() {
    const bool more = position_ < buffer_.size();
    switch (transfer_) {
    case Transfer::None:
        finish_quietly();
        break; // IDENTIFY
    case Transfer::PioRead:
    case Transfer::PioWrite:
        if (more) {
            offer_next_block(Notify::Interrupt);
            break;
        }
        [[fallthrough]];
    default:
        if (writes())
            write_chunk_filled();
        else
            chunk_done();
        break;
    }
}

void AtaDisk::write_chunk_filled() {
    write_medium(lba_ * kSectorBytes, std::move(buffer_), [this](BlockOutcome outcome) {
        chunk_failed_ = !outcome.ok;
        buffer_ = std::move(outcome.data);
        position_ = outcome.good_bytes;
        chunk_done();
    });
}

// The chunk has been through the medium and, when reading, to the guest. position_ is what went well.
void AtaDisk::chunk_done() {
    if (chunk_failed_) {
        media_error(lba_ + position_ / kSectorBytes, writes() ? kErrorAbrt : kErrorUnc);
        return;
    }
    lba_ += chunk_;
    remaining_ -= std::min(chunk_, remaining_);
    chunk_ = 0;
    if (remaining_ == 0)
        complete();
    else if (writes())
        next_write_chunk();
    else
        next_read_chunk();
}

void AtaDisk::complete() {
    set_address(lba_ - 1);
    now_.count = previous_.count = 0;
    if (transfer_ == Transfer::PioRead)
        finish_quietly();
    else if (writes() && !write_cache_)
        flush_cache();
    else
        finish(kStatusDrdy | kStatusDsc, 0);
}

void AtaDisk::media_error(uint64_t lba, uint8_t error) {
    set_address(lba);
    finish(kStatusDrdy | kStatusDsc | kStatusErr, error);
}

void AtaDisk::flush_cache() {
    flush_medium([this](BlockOutcome outcome) {
        if (outcome.ok)
            finish(kStatusDrdy | kStatusDsc, 0);
        else
            abort_command();
    });
}

// ATA/ATAPI-6, 8.15.
void AtaDisk::identify() {
    std::array<uint16_t, 256> w{};
    const auto put32 = [&w](size_t at, uint64_t value) {
        w[at] = static_cast<uint16_t>(value);
        w[at + 1] = static_cast<uint16_t>(value >> 16);
    };
    const uint32_t chs_capacity =
        static_cast<uint32_t>(current_.cylinders) * current_.heads * current_.sectors;
    w[0] = 0x0040; // fixed drive
    w[1] = native_.cylinders;
    w[3] = native_.heads;
    w[6] = native_.sectors;
    put_identify_string(std::span(w).subspan(10, 10), serial_);
    put_identify_string(std::span(w).subspan(23, 4), "1.0");
    put_identify_string(std::span(w).subspan(27, 20), "Encore Disk");
    w[47] = 0x8000 | kMaxMultiple;
    w[49] = 0x0F00; // IORDY may be disabled, IORDY, LBA, DMA
    w[50] = 0x4000;
    w[51] = 0x0200; // PIO mode 2 timing for old drivers
    w[53] = 0x0003; // words 54-58 and 64-70 are valid
    w[54] = current_.cylinders;
    w[55] = current_.heads;
    w[56] = current_.sectors;
    put32(57, chs_capacity);
    w[59] = static_cast<uint16_t>(multiple_ != 0 ? 0x0100 | multiple_ : 0);
    put32(60, std::min(capacity_, kLba28Limit));
    w[63] = static_cast<uint16_t>(0x0007 | 0x0100 << mwdma_mode_); // multiword DMA 0-2, one selected
    w[64] = 0x0003;                                                // PIO 3 and 4
    w[65] = w[66] = w[67] = w[68] = 120;                           // ns per cycle
    w[80] = 0x0078;                                                // ATA-3 to ATA/ATAPI-6
    w[82] = 0x4020;                                                // NOP, write cache
    w[83] = 0x7400;                                                // FLUSH CACHE (EXT), 48-bit addresses
    w[84] = 0x4000;
    w[85] = static_cast<uint16_t>(0x4000 | (write_cache_ ? 0x0020 : 0));
    w[86] = 0x3400;
    w[87] = 0x4000;
    put32(100, capacity_);
    put32(102, capacity_ >> 32);
    w[217] = 0x0001; // ATA8-ACS: not rotating, so that guests do not schedule for a disk arm
    std::vector<uint8_t> image = identify_image(w);
    // Word 255: signature A5h and a checksum that makes the bytes sum to zero.
    image[510] = 0xA5;
    uint8_t sum = 0;
    for (const uint8_t byte : image)
        sum = static_cast<uint8_t>(sum + byte);
    image[511] = static_cast<uint8_t>(-sum);
    transfer_ = Transfer::None;
    buffer_ = std::move(image);
    position_ = 0;
    offer_block(Phase::PioIn, buffer_.size(), Notify::Interrupt);
}

// ATA/ATAPI-6, 8.46.
void AtaDisk::set_features() {
    constexpr uint8_t kEnableWriteCache = 0x02, kSetTransferMode = 0x03, kDisableLookAhead = 0x55,
                      kKeepSettings = 0x66, kDisableWriteCache = 0x82, kEnableLookAhead = 0xAA,
                      kRevertSettings = 0xCC;
    switch (now_.features) {
    case kEnableWriteCache:
        write_cache_ = true;
        break;
    case kDisableWriteCache:
        write_cache_ = false;
        flush_cache();
        return;
    case kSetTransferMode: {
        const unsigned kind = now_.count >> 3, mode = now_.count & 7;
        const bool pio = (kind == 0 && mode <= 1) || (kind == 1 && mode <= 4);
        const bool multiword_dma = kind == 4 && mode <= 2;
        if (multiword_dma)
            mwdma_mode_ = static_cast<uint8_t>(mode);
        if (!pio && !multiword_dma) {
            abort_command();
            return;
        }
        break;
    }
    case kDisableLookAhead:
    case kEnableLookAhead:
    case kKeepSettings:
    case kRevertSettings:
        break; // settings always outlive a software reset
    default:
        abort_command();
        return;
    }
    finish(kStatusDrdy | kStatusDsc, 0);
}

void AtaDisk::set_multiple() {
    if (now_.count > kMaxMultiple || (now_.count != 0 && !std::has_single_bit(now_.count))) {
        abort_command();
        return;
    }
    multiple_ = now_.count;
    finish(kStatusDrdy | kStatusDsc, 0);
}

// ATA-3, 8.9: heads less one in the device register, sectors per track in the count register.
void AtaDisk::initialize_parameters() {
    if (now_.count == 0) {
        abort_command();
        return;
    }
    current_.heads = static_cast<uint8_t>((device_ & 0x0F) + 1);
    current_.sectors = now_.count;
    const uint64_t cylinders = capacity_ / (uint64_t{current_.heads} * current_.sectors);
    current_.cylinders = static_cast<uint16_t>(std::clamp<uint64_t>(cylinders, 1, 65535));
    finish(kStatusDrdy | kStatusDsc, 0);
}

void AtaDisk::serialize_drive(base::StateArchive& archive) {
    auto write_cache = static_cast<uint8_t>(write_cache_), failed = static_cast<uint8_t>(chunk_failed_);
    archive.field("current-cylinders", current_.cylinders);
    archive.field("current-heads", current_.heads);
    archive.field("current-sectors", current_.sectors);
    archive.field("multiple", multiple_);
    archive.field("mwdma-mode", mwdma_mode_);
    archive.field("write-cache", write_cache);
    archive.field("transfer", transfer_);
    archive.field("addressing", addressing_);
    archive.field("lba", lba_);
    archive.field("remaining", remaining_);
    archive.field("chunk", chunk_);
    archive.field("block-sectors", block_sectors_);
    archive.field("chunk-failed", failed);
    if (!archive.loading())
        return;
    write_cache_ = write_cache != 0;
    chunk_failed_ = failed != 0;
    const bool sound = current_.heads >= 1 && current_.heads <= native_.heads && current_.sectors >= 1 &&
                       multiple_ <= kMaxMultiple && mwdma_mode_ <= 2 && transfer_ <= Transfer::Verify &&
                       addressing_ <= Addressing::Bits48 && block_sectors_ >= 1 &&
                       block_sectors_ <= kMaxMultiple && lba_ <= capacity_ &&
                       remaining_ <= capacity_ - lba_ && chunk_ <= remaining_ && chunk_ <= kChunkSectors &&
                       buffer_.size() <= kMaxBuffer && (!writes() || buffer_.size() <= chunk_ * kSectorBytes);
    if (sound)
        return;
    archive.set_error("saved machine state of a disk is inconsistent");
    power_on();
}

} // namespace vmm
