// The packet commands of the CD-ROM drive: replies as laid out in SPC-2 and MMC-3.
#include "vmm/devices/atapi_cdrom.h"

#include <algorithm>

namespace vmm {

namespace {

enum Operation : uint8_t {
    kTestUnitReady = 0x00,
    kRequestSense = 0x03,
    kInquiry = 0x12,
    kModeSense6 = 0x1A,
    kStartStopUnit = 0x1B,
    kPreventAllow = 0x1E,
    kReadCapacity = 0x25,
    kRead10 = 0x28,
    kSeek10 = 0x2B,
    kReadSubchannel = 0x42,
    kReadToc = 0x43,
    kGetConfiguration = 0x46,
    kGetEventStatus = 0x4A,
    kReadDiscInformation = 0x51,
    kModeSense10 = 0x5A,
    kRead12 = 0xA8,
    kSetCdSpeed = 0xBB,
    kMechanismStatus = 0xBD,
    kReadCd = 0xBE,
};

// Sense key, additional code.
constexpr uint8_t kNotReady = 0x02, kIllegalRequest = 0x05, kUnitAttention = 0x06;
constexpr uint8_t kInvalidOpcode = 0x20, kAddressOutOfRange = 0x21, kInvalidField = 0x24,
                  kMediumChanged = 0x28, kSavingNotSupported = 0x39, kNoMedium = 0x3A,
                  kRemovalPrevented = 0x53, kIllegalTrackMode = 0x64;
constexpr uint8_t kTrayClosedNoMedium = 0x01, kTrayOpenNoMedium = 0x02;

constexpr uint8_t kEventNone = 0, kEventNewMedia = 2, kEventMediaRemoved = 3;

// A CD holds 80 minutes of 75 blocks a second; more is a DVD.
constexpr uint32_t kMaxCdBlocks = 80 * 60 * 75;
constexpr uint16_t kProfileCd = 0x0008, kProfileDvd = 0x0010;
constexpr uint32_t kPregapBlocks = 150; // LBA 0 is MSF 00:02:00
constexpr uint8_t kDataTrack = 0x14;    // ADR 1 (position), control 4 (data)
constexpr uint8_t kLeadOut = 0xAA;

void put16(std::vector<uint8_t>& out, uint32_t value) {
    out.push_back(static_cast<uint8_t>(value >> 8));
    out.push_back(static_cast<uint8_t>(value));
}
void put32(std::vector<uint8_t>& out, uint32_t value) {
    put16(out, value >> 16);
    put16(out, value & 0xFFFF);
}
void set16(std::vector<uint8_t>& out, size_t at, size_t value) {
    out[at] = static_cast<uint8_t>(value >> 8);
    out[at + 1] = static_cast<uint8_t>(value);
}
void put_text(std::vector<uint8_t>& out, std::string_view text, size_t width) {
    for (size_t i = 0; i < width; ++i)
        out.push_back(static_cast<uint8_t>(i < text.size() ? text[i] : ' '));
}
// An address field of the TOC: an LBA, or minutes, seconds and frames.
void put_address(std::vector<uint8_t>& out, uint32_t lba, bool msf) {
    if (!msf) {
        put32(out, lba);
        return;
    }
    const uint32_t frames = lba + kPregapBlocks;
    out.push_back(0);
    out.push_back(static_cast<uint8_t>(std::min<uint32_t>(frames / 75 / 60, 0xFF)));
    out.push_back(static_cast<uint8_t>(frames / 75 % 60));
    out.push_back(static_cast<uint8_t>(frames % 75));
}
void put_track(std::vector<uint8_t>& out, uint8_t track, uint32_t lba, bool msf) {
    out.insert(out.end(), {0, kDataTrack, track, 0});
    put_address(out, lba, msf);
}

} // namespace

uint32_t AtapiCdrom::blocks() const {
    if (worker_ == nullptr)
        return 0;
    return static_cast<uint32_t>(std::min<uint64_t>(worker_->size_bytes() / kBlockBytes, 0xFFFFFFFE));
}

uint16_t AtapiCdrom::be16(size_t at) const {
    return static_cast<uint16_t>(packet_[at] << 8 | packet_[at + 1]);
}

uint32_t AtapiCdrom::be32(size_t at) const { return static_cast<uint32_t>(be16(at)) << 16 | be16(at + 2); }

void AtapiCdrom::reply(Reply data, size_t allocation_length) {
    buffer_ = std::move(data);
    if (buffer_.size() > allocation_length)
        buffer_.resize(allocation_length);
    remaining_ = 0;
    chunk_failed_ = false;
    send_data();
}

void AtapiCdrom::run_packet() {
    const uint8_t opcode = packet_[0];
    // These report a unit attention or pass it by (SPC-2, 5.9.x; MMC-3, 4.1.x).
    const bool informational = opcode == kInquiry || opcode == kRequestSense || opcode == kGetConfiguration ||
                               opcode == kGetEventStatus;
    if (attention_.key != 0 && !informational) {
        const Sense attention = std::exchange(attention_, {});
        fail(attention);
        return;
    }
    const bool needs_medium = opcode == kTestUnitReady || opcode == kReadCapacity || opcode == kRead10 ||
                              opcode == kRead12 || opcode == kReadCd || opcode == kSeek10 ||
                              opcode == kReadToc || opcode == kReadSubchannel ||
                              opcode == kReadDiscInformation;
    if (needs_medium && !medium_present()) {
        fail({kNotReady, kNoMedium, tray_open_ ? kTrayOpenNoMedium : kTrayClosedNoMedium});
        return;
    }
    dispatch(opcode);
}

void AtapiCdrom::dispatch(uint8_t opcode) {
    switch (opcode) {
    case kTestUnitReady:
    case kSetCdSpeed:
        succeed();
        break;
    case kRequestSense:
        request_sense();
        break;
    case kInquiry:
        inquiry();
        break;
    case kModeSense6:
        mode_sense(false);
        break;
    case kModeSense10:
        mode_sense(true);
        break;
    case kStartStopUnit:
        start_stop();
        break;
    case kPreventAllow:
        locked_ = (packet_[4] & 1) != 0;
        succeed();
        break;
    case kReadCapacity:
        read_capacity();
        break;
    case kRead10:
        read_blocks(be32(2), be16(7));
        break;
    case kRead12:
        read_blocks(be32(2), be32(6));
        break;
    case kReadCd:
        read_cd();
        break;
    case kSeek10:
        if (be32(2) < blocks())
            succeed();
        else
            fail({kIllegalRequest, kAddressOutOfRange, 0});
        break;
    case kReadSubchannel:
        read_subchannel();
        break;
    case kReadToc:
        read_toc();
        break;
    case kGetConfiguration:
        get_configuration();
        break;
    case kGetEventStatus:
        get_event_status();
        break;
    case kReadDiscInformation:
        read_disc_information();
        break;
    case kMechanismStatus:
        mechanism_status();
        break;
    default:
        fail({kIllegalRequest, kInvalidOpcode, 0});
        break;
    }
}

// SPC-2, 7.20: fixed-format sense data, which is spent by reading it.
void AtapiCdrom::request_sense() {
    Sense sense = sense_;
    if (sense.key == 0 && attention_.key != 0)
        sense = std::exchange(attention_, {});
    Reply data(18, 0);
    data[0] = 0x70; // current error
    data[2] = sense.key;
    data[7] = 10; // bytes that follow
    data[12] = sense.code;
    data[13] = sense.qualifier;
    reply(std::move(data), packet_[4]);
}

void AtapiCdrom::inquiry() {
    if ((packet_[1] & 0x03) != 0 || packet_[2] != 0) { // vital product data is not offered
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    Reply data{0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0}; // CD/DVD, removable, ATAPI response format
    put_text(data, "Encore", 8);
    put_text(data, "DVD-ROM", 16);
    put_text(data, "1.0", 4);
    reply(std::move(data), be16(3));
}

void AtapiCdrom::read_capacity() {
    Reply data;
    put32(data, blocks() == 0 ? 0 : blocks() - 1);
    put32(data, kBlockBytes);
    reply(std::move(data), 8);
}

// MMC-3, 6.25: formats 0 (tracks) and 1 (sessions).
void AtapiCdrom::read_toc() {
    const bool msf = (packet_[1] & 0x02) != 0;
    // SFF-8020i drivers put the format into the top of the control byte.
    const uint8_t format = (packet_[2] & 0x0F) != 0 ? packet_[2] & 0x0F : packet_[9] >> 6;
    const uint8_t first = packet_[6];
    Reply data{0, 0, 1, 1};
    if (format == 0) {
        if (first > 1 && first != kLeadOut) {
            fail({kIllegalRequest, kInvalidField, 0});
            return;
        }
        if (first <= 1)
            put_track(data, 1, 0, msf);
        put_track(data, kLeadOut, blocks(), msf);
    } else if (format == 1) {
        put_track(data, 1, 0, msf); // first track of the last complete session
    } else {
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    set16(data, 0, data.size() - 2);
    reply(std::move(data), be16(7));
}

// MMC-3, 6.x: read error recovery (01h) and capabilities (2Ah).
void AtapiCdrom::mode_sense(bool ten) {
    constexpr uint8_t kRecoveryPage = 0x01, kCapabilitiesPage = 0x2A, kAllPages = 0x3F;
    const uint8_t page = packet_[2] & 0x3F, control = packet_[2] >> 6;
    if (control == 3) {
        fail({kIllegalRequest, kSavingNotSupported, 0});
        return;
    }
    if (page != kRecoveryPage && page != kCapabilitiesPage && page != kAllPages) {
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    const bool changeable_mask = control == 1; // nothing can be changed
    Reply pages;
    const auto add = [&](std::vector<uint8_t> bytes) {
        if (changeable_mask)
            std::fill(bytes.begin() + 2, bytes.end(), uint8_t{0});
        pages.insert(pages.end(), bytes.begin(), bytes.end());
    };
    if (page != kCapabilitiesPage)
        add({kRecoveryPage, 6, 0, 5, 0, 0, 0, 0}); // five retries
    if (page != kRecoveryPage) {
        constexpr uint16_t kSpeed = 5540; // kB/s: 4x DVD
        std::vector<uint8_t> bytes{kCapabilitiesPage,
                                   18,
                                   0x0B, // reads CD-R, CD-RW, DVD-ROM
                                   0x00, // writes nothing
                                   0x70, // mode 2 forms 1 and 2, multi-session
                                   0x00,
                                   static_cast<uint8_t>(0x29 | (locked_ ? 0x02 : 0)), // tray, eject, lock
                                   0x00};
        put16(bytes, kSpeed);
        put16(bytes, 0);   // volume levels
        put16(bytes, 128); // KiB of buffer
        put16(bytes, kSpeed);
        put32(bytes, 0);
        add(std::move(bytes));
    }
    const uint8_t medium_type = tray_open_ ? 0x71 : worker_ == nullptr ? 0x70 : 0x01;
    Reply data;
    if (ten) {
        data = {0, 0, medium_type, 0, 0, 0, 0, 0};
        set16(data, 0, data.size() + pages.size() - 2);
    } else {
        data = {static_cast<uint8_t>(3 + pages.size()), medium_type, 0, 0};
    }
    data.insert(data.end(), pages.begin(), pages.end());
    reply(std::move(data), ten ? be16(7) : packet_[4]);
}

// MMC-3, 5.3 and 6.6: the features of a reading drive.
void AtapiCdrom::get_configuration() {
    const uint8_t request_type = packet_[1] & 0x03;
    const uint16_t starting = be16(2);
    const uint16_t current = !medium_present() ? 0 : blocks() > kMaxCdBlocks ? kProfileDvd : kProfileCd;
    if (request_type == 3) {
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    Reply data;
    put32(data, 0);
    put16(data, 0);
    put16(data, current);
    // flags: version in bits 5-2, persistent in bit 1, current in bit 0.
    const auto feature = [&](uint16_t code, uint8_t flags, std::vector<uint8_t> body) {
        const bool wanted = request_type == 2   ? code == starting
                            : request_type == 1 ? code >= starting && (flags & 1) != 0
                                                : code >= starting;
        if (!wanted)
            return;
        put16(data, code);
        data.push_back(flags);
        data.push_back(static_cast<uint8_t>(body.size()));
        data.insert(data.end(), body.begin(), body.end());
    };
    const auto current_flag = [&](bool value) { return static_cast<uint8_t>(value ? 1 : 0); };
    feature(0x0000, 0x03,
            {0x00, kProfileDvd, current_flag(current == kProfileDvd), 0, 0x00, kProfileCd,
             current_flag(current == kProfileCd), 0});
    feature(0x0001, 0x0B, {0, 0, 0, 0x02, 0x01, 0, 0, 0}); // core: ATAPI, device busy events
    feature(0x0002, 0x07, {0x02, 0, 0, 0});                // morphing: polled events
    feature(0x0003, 0x03, {0x29, 0, 0, 0});                // removable: tray, eject, lock
    feature(0x0010, static_cast<uint8_t>(current_flag(current != 0)),
            {0, 0, 0x08, 0x00, 0, 0x10, 0x01, 0}); // random readable, 2048-byte blocks
    feature(0x001E, static_cast<uint8_t>(0x08 | current_flag(current == kProfileCd)), {0, 0, 0, 0});
    feature(0x001F, current_flag(current == kProfileDvd), {});
    feature(0x0100, 0x03, {}); // power management
    const auto length = static_cast<uint32_t>(data.size() - 4);
    set16(data, 0, length >> 16);
    set16(data, 2, length & 0xFFFF);
    reply(std::move(data), be16(7));
}

// MMC-3, 6.7: media events, polled only.
void AtapiCdrom::get_event_status() {
    constexpr uint8_t kMediaClass = 4, kMediaClassBit = 1 << kMediaClass, kNoEventAvailable = 0x80;
    if ((packet_[1] & 1) == 0) { // asynchronous notification
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    Reply data;
    if ((packet_[4] & kMediaClassBit) != 0) {
        const auto status = static_cast<uint8_t>((medium_present() ? 0x02 : 0) | (tray_open_ ? 0x01 : 0));
        data = {0, 6, kMediaClass, kMediaClassBit, media_event_, status, 0, 0};
        media_event_ = kEventNone;
    } else {
        data = {0, 2, kNoEventAvailable, kMediaClassBit};
    }
    reply(std::move(data), be16(7));
}

void AtapiCdrom::start_stop() {
    const bool start = (packet_[4] & 1) != 0, load_eject = (packet_[4] & 2) != 0;
    if (!load_eject) { // spin up or down: nothing to wait for
        if (start && !medium_present())
            fail({kNotReady, kNoMedium, tray_open_ ? kTrayOpenNoMedium : kTrayClosedNoMedium});
        else
            succeed();
        return;
    }
    if (!start && locked_) {
        fail({kIllegalRequest, kRemovalPrevented, 0x02});
        return;
    }
    const bool was_open = std::exchange(tray_open_, !start);
    if (was_open != tray_open_ && worker_ != nullptr) {
        media_event_ = tray_open_ ? kEventMediaRemoved : kEventNewMedia;
        if (!tray_open_)
            attention_ = {kUnitAttention, kMediumChanged, 0};
    }
    succeed();
}

// MMC-3, 6.22: one complete session with one track.
void AtapiCdrom::read_disc_information() {
    if ((packet_[1] & 0x07) != 0) {
        fail({kIllegalRequest, kInvalidField, 0});
        return;
    }
    Reply data(34, 0);
    set16(data, 0, data.size() - 2);
    data[2] = 0x0E;                            // complete disc, complete last session
    data[3] = data[4] = data[5] = data[6] = 1; // first track, sessions, tracks of the last session
    data[7] = 0x20;                            // unrestricted use
    std::fill(data.begin() + 16, data.begin() + 24, uint8_t{0xFF}); // no further lead-in or lead-out
    reply(std::move(data), be16(7));
}

void AtapiCdrom::mechanism_status() {
    Reply data(8, 0);
    data[1] = tray_open_ ? 0x10 : 0x00;
    data[5] = 0; // no changer: no slot table
    reply(std::move(data), be16(8));
}

// MMC-3, 6.30: no audio, so never an audio status; the position of a data track is of no use to anybody.
void AtapiCdrom::read_subchannel() {
    constexpr uint8_t kNoAudioStatus = 0x15;
    if ((packet_[2] & 0x40) == 0 || packet_[3] != 1) {
        reply({0, kNoAudioStatus, 0, 0}, be16(7));
        return;
    }
    Reply data{0, kNoAudioStatus, 0, 12, 1, kDataTrack, 1, 1};
    put_address(data, 0, (packet_[1] & 0x02) != 0);
    put_address(data, 0, false);
    reply(std::move(data), be16(7));
}

// MMC-3, 6.19: user data of data sectors; an image has no raw sectors, sub-channels or audio.
void AtapiCdrom::read_cd() {
    constexpr uint8_t kAnySector = 0, kMode1 = 2, kUserData = 0x10;
    const uint8_t type = packet_[1] >> 2 & 7, wanted = packet_[9] & 0xFE, subchannel = packet_[10] & 7;
    const uint32_t count =
        static_cast<uint32_t>(packet_[6]) << 16 | static_cast<uint32_t>(packet_[7]) << 8 | packet_[8];
    if ((type != kAnySector && type != kMode1) || subchannel != 0 || (wanted != kUserData && wanted != 0))
        fail({kIllegalRequest, kIllegalTrackMode, 0});
    else
        read_blocks(be32(2), wanted == 0 ? 0 : count);
}

} // namespace vmm
