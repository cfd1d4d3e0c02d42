#include "vmm/devices/atapi_cdrom.h"

#include <algorithm>

namespace vmm {

using namespace ata;

namespace {

enum Command : uint8_t {
    kDeviceReset = 0x08,
    kPacket = 0xA0,
    kIdentifyPacketDevice = 0xA1,
    kStandbyImmediate = 0xE0,
    kIdleImmediate = 0xE1,
    kCheckPowerMode = 0xE5,
    kSleep = 0xE6,
    kIdentifyDevice = 0xEC,
    kSetFeatures = 0xEF,
};
constexpr uint8_t kReadSectors = 0x20;

// Interrupt reason in the count register (ATA/ATAPI-6, 8.23.x): C/D and I/O.
constexpr uint8_t kReasonCommand = 0x01, kReasonToHost = 0x02;
constexpr uint8_t kSignatureMid = 0x14, kSignatureHigh = 0xEB;
constexpr uint8_t kFeatureDma = 0x01, kFeatureOverlap = 0x02;
constexpr uint32_t kChunkBlocks = 64;
constexpr uint16_t kMaxByteLimit = 0xFFFE;
constexpr uint8_t kPowerActive = 0xFF;

} // namespace

AtapiCdrom::AtapiCdrom(AtaHost& host, std::unique_ptr<BlockWorker> worker, std::string serial)
    : AtaDrive(host, std::move(worker)), serial_(std::move(serial)) {
    power_on();
}

void AtapiCdrom::restore_defaults() {
    tray_open_ = false;
    media_event_ = medium_present() ? 2 : 0; // new media
}

void AtapiCdrom::reset_drive() {
    in_packet_ = in_identify_ = dma_ = chunk_failed_ = false;
    remaining_ = 0;
    locked_ = false;
    sense_ = {};
    attention_ = {0x06, 0x29, 0x00}; // power on, reset, or bus device reset occurred
}

void AtapiCdrom::signature_registers() {
    now_.count = 1;
    now_.lba_low = 1;
    now_.lba_mid = kSignatureMid;
    now_.lba_high = kSignatureHigh;
}

void AtapiCdrom::set_signature() {
    signature_registers();
    status_ = 0; // DRDY stays clear until the first packet-set command (ATA/ATAPI-6, 9.12)
}

bool AtapiCdrom::interrupts_busy(uint8_t opcode) const { return opcode == kDeviceReset; }

void AtapiCdrom::execute(uint8_t opcode) {
    switch (opcode) {
    case kDeviceReset:
        device_reset();
        break;
    case kPacket:
        begin_packet();
        break;
    case kIdentifyPacketDevice:
        identify();
        break;
    case kSetFeatures:
        set_features();
        break;
    case kIdentifyDevice:
    case kReadSectors:
        // How a driver that takes this for a disk learns better (ATA/ATAPI-6, 8.15.5.2).
        signature_registers();
        abort_command();
        break;
    case kCheckPowerMode:
        now_.count = kPowerActive;
        [[fallthrough]];
    case kStandbyImmediate:
    case kIdleImmediate:
    case kSleep:
        finish(kStatusDrdy | kStatusDsc, 0);
        break;
    default:
        abort_command();
        break;
    }
}

// ATA/ATAPI-6, 8.16.
void AtapiCdrom::identify() {
    std::array<uint16_t, 256> w{};
    w[0] = 0x85C0; // packet device, CD-ROM, removable, DRQ within 50 us, 12-byte packets
    put_identify_string(std::span(w).subspan(10, 10), serial_);
    put_identify_string(std::span(w).subspan(23, 4), "1.0");
    put_identify_string(std::span(w).subspan(27, 20), "Encore DVD-ROM");
    w[49] = 0x0F00; // IORDY, LBA, DMA
    w[50] = 0x4000;
    w[51] = 0x0200;
    w[53] = 0x0002;
    w[63] = 0x0407; // multiword DMA 0-2, mode 2 selected
    w[64] = 0x0003;
    w[65] = w[66] = w[67] = w[68] = 120;
    w[80] = 0x0070; // ATA/ATAPI-4 to -6
    w[82] = 0x0210; // DEVICE RESET, PACKET
    w[83] = 0x4000;
    w[84] = 0x4000;
    w[85] = 0x0210;
    w[87] = 0x4000;
    buffer_ = identify_image(w);
    position_ = 0;
    in_identify_ = true;
    offer_block(Phase::PioIn, buffer_.size(), Notify::Interrupt);
}

void AtapiCdrom::set_features() {
    constexpr uint8_t kSetTransferMode = 0x03;
    const unsigned kind = now_.count >> 3, mode = now_.count & 7;
    const bool known = (kind == 0 && mode <= 1) || (kind == 1 && mode <= 4) || (kind == 4 && mode <= 2);
    if (now_.features == kSetTransferMode && known)
        finish(kStatusDrdy | kStatusDsc, 0);
    else
        abort_command();
}

// Asks for the packet: no interrupt, the driver polls for DRQ (IDENTIFY word 0 bits 6-5).
void AtapiCdrom::begin_packet() {
    if ((now_.features & kFeatureOverlap) != 0) {
        abort_command();
        return;
    }
    dma_ = (now_.features & kFeatureDma) != 0;
    byte_limit_ = static_cast<uint16_t>(now_.lba_high << 8 | now_.lba_mid);
    // FFFFh means FFFEh, and an odd limit the even one below it (ATA/ATAPI-6, 8.23.4); drivers that leave
    // zero there want no limit.
    if (byte_limit_ == 0 || byte_limit_ == 0xFFFF)
        byte_limit_ = kMaxByteLimit;
    byte_limit_ = static_cast<uint16_t>(std::max(2, byte_limit_ & ~1));
    in_identify_ = false;
    in_packet_ = true;
    buffer_.assign(kPacketBytes, 0);
    position_ = 0;
    now_.count = kReasonCommand;
    offer_block(Phase::PioOut, kPacketBytes, Notify::No);
}

void AtapiCdrom::block_done() {
    if (in_packet_) {
        std::copy_n(buffer_.begin(), std::min(buffer_.size(), packet_.size()), packet_.begin());
        in_packet_ = false;
        run_packet();
    } else if (in_identify_) {
        in_identify_ = false;
        finish_quietly();
    } else if (position_ < buffer_.size()) {
        offer_next_block();
    } else {
        chunk_sent();
    }
}

void AtapiCdrom::send_data() {
    position_ = 0;
    if (buffer_.empty())
        chunk_sent();
    else if (dma_)
        offer_dma(Phase::DmaIn);
    else
        offer_next_block();
}

void AtapiCdrom::offer_next_block() {
    const size_t bytes = std::min<size_t>(byte_limit_, buffer_.size() - position_);
    now_.count = kReasonToHost;
    now_.lba_mid = static_cast<uint8_t>(bytes);
    now_.lba_high = static_cast<uint8_t>(bytes >> 8);
    offer_block(Phase::PioIn, bytes, Notify::Interrupt);
}

void AtapiCdrom::read_blocks(uint32_t lba, uint32_t count) {
    if (lba > blocks() || count > blocks() - lba) {
        fail({0x05, 0x21, 0x00}); // logical block address out of range
        return;
    }
    lba_ = lba;
    remaining_ = count;
    if (count == 0)
        succeed();
    else
        next_read_chunk();
}

void AtapiCdrom::next_read_chunk() {
    const uint32_t chunk = std::min(remaining_, kChunkBlocks);
    read_medium(uint64_t{lba_} * kBlockBytes, size_t{chunk} * kBlockBytes,
                [this, chunk](BlockOutcome outcome) {
                    chunk_failed_ = !outcome.ok;
                    lba_ += chunk;
                    remaining_ -= chunk;
                    buffer_ = std::move(outcome.data);
                    buffer_.resize(outcome.good_bytes);
                    send_data();
                });
}

void AtapiCdrom::chunk_sent() {
    if (chunk_failed_)
        fail({0x03, 0x11, 0x00}); // unrecovered read error
    else if (remaining_ > 0)
        next_read_chunk();
    else
        succeed();
}

void AtapiCdrom::succeed() {
    sense_ = {};
    now_.count = kReasonToHost | kReasonCommand;
    finish(kStatusDrdy | kStatusDsc, 0);
}

void AtapiCdrom::fail(Sense sense) {
    sense_ = sense;
    remaining_ = 0;
    chunk_failed_ = false;
    now_.count = kReasonToHost | kReasonCommand;
    // Sense key in bits 7-4 of the error register, ABRT for commands that were not valid.
    finish(kStatusDrdy | kStatusDsc | kStatusErr,
           static_cast<uint8_t>(sense.key << 4 | (sense.key == 0x05 ? kErrorAbrt : 0)));
}

void AtapiCdrom::serialize_drive(base::StateArchive& archive) {
    const auto flag = [&archive](std::string_view name, bool& value) {
        auto byte = static_cast<uint8_t>(value);
        archive.field(name, byte);
        value = byte != 0;
    };
    archive.field("packet", packet_);
    flag("in-packet", in_packet_);
    flag("in-identify", in_identify_);
    flag("dma", dma_);
    archive.field("byte-limit", byte_limit_);
    archive.field("lba", lba_);
    archive.field("remaining", remaining_);
    flag("chunk-failed", chunk_failed_);
    archive.field("sense", sense_);
    archive.field("attention", attention_);
    flag("tray-open", tray_open_);
    flag("locked", locked_);
    archive.field("media-event", media_event_);
    if (!archive.loading())
        return;
    if (byte_limit_ < 2)
        byte_limit_ = kMaxByteLimit;
    if (remaining_ > 0 && (worker_ == nullptr || lba_ > blocks() || remaining_ > blocks() - lba_)) {
        archive.set_error("saved machine state of a CD-ROM drive is inconsistent");
        power_on();
    }
}

} // namespace vmm
