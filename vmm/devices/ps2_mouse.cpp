#include "vmm/devices/ps2_mouse.h"

#include <algorithm>

namespace vmm {
namespace {

constexpr uint8_t kScaling1To1 = 0xE6, kScaling2To1 = 0xE7, kSetResolution = 0xE8, kStatusRequest = 0xE9,
                  kSetStream = 0xEA, kReadData = 0xEB, kResetWrap = 0xEC, kSetWrap = 0xEE, kSetRemote = 0xF0,
                  kIdentify = 0xF2, kSetSampleRate = 0xF3, kEnable = 0xF4, kDisable = 0xF5,
                  kSetDefaults = 0xF6, kResend = 0xFE, kReset = 0xFF;
constexpr uint8_t kAck = 0xFA, kTestPassed = 0xAA, kStandardId = 0, kWheelId = 3;
constexpr uint8_t kAlwaysOne = 0x08, kXSign = 0x10, kYSign = 0x20;
constexpr int32_t kMaxDelta = 255, kMaxWheel = 7;
// Motion not yet fetched is bounded; a guest that never reads cannot make it overflow.
constexpr int32_t kMaxPending = 1 << 20;

} // namespace

void Ps2Mouse::set_defaults() {
    sample_rate_ = 100;
    resolution_ = 2;
    scaling_ = 0;
    stream_ = 1;
    enabled_ = 0;
    wrap_ = 0;
    motion_count_ = 0;
    expects_parameter_ = 0;
    output_.clear_reports();
}

void Ps2Mouse::reset() {
    set_defaults();
    output_.clear();
    id_ = kStandardId;
    buttons_ = 0;
    knock_ = {};
}

void Ps2Mouse::command(uint8_t byte) {
    if (wrap_ != 0 && byte != kReset && byte != kResetWrap) {
        output_.answer({byte});
        return;
    }
    if (const uint8_t command = expects_parameter_; command != 0) {
        expects_parameter_ = 0;
        if (command == kSetResolution) {
            resolution_ = byte & 3;
        } else {
            sample_rate_ = byte;
            if (knock_[0] == 200 && knock_[1] == 100 && byte == 80)
                id_ = kWheelId;
            knock_ = {knock_[1], byte};
        }
        output_.answer({kAck});
        return;
    }
    switch (byte) {
    case kScaling1To1:
    case kScaling2To1:
        scaling_ = byte == kScaling2To1;
        break;
    case kSetResolution:
    case kSetSampleRate:
        expects_parameter_ = byte;
        break;
    case kStatusRequest: {
        const auto buttons =
            static_cast<uint8_t>((buttons_ & 1) << 2 | (buttons_ & 4) >> 1 | (buttons_ & 2) >> 1);
        const auto status = static_cast<uint8_t>((stream_ != 0 ? 0 : 0x40) | (enabled_ != 0 ? 0x20 : 0) |
                                                 (scaling_ != 0 ? 0x10 : 0) | buttons);
        output_.answer({kAck, status, resolution_, sample_rate_});
        return;
    }
    case kSetStream:
        stream_ = 1;
        break;
    case kSetRemote:
        stream_ = 0;
        break;
    case kReadData:
        output_.answer({kAck});
        output_.clear_reports();
        send_packet();
        return;
    case kSetWrap:
        wrap_ = 1;
        break;
    case kResetWrap:
        wrap_ = 0;
        break;
    case kIdentify:
        output_.answer({kAck, id_});
        return;
    case kEnable:
        enabled_ = 1;
        break;
    case kDisable:
        enabled_ = 0;
        break;
    case kSetDefaults:
        set_defaults();
        break;
    case kResend:
        output_.answer({output_.last()});
        return;
    case kReset:
        reset();
        output_.answer({kAck, kTestPassed, kStandardId});
        return;
    default:
        output_.answer({kResend});
        return;
    }
    output_.answer({kAck});
}

void Ps2Mouse::move(const PointerEvent& event) {
    const auto clamp = [](int32_t value) { return std::clamp(value, -kMaxPending, kMaxPending); };
    add_motion({clamp(event.x), clamp(-clamp(event.y)), clamp(event.wheel),
                static_cast<uint8_t>(event.buttons & 7)});
}

void Ps2Mouse::add_motion(const Motion& motion) {
    if (enabled_ == 0 && stream_ != 0)
        return;
    const bool merges = motion_count_ != 0 && motions_[motion_count_ - 1u].buttons == motion.buttons;
    if (!merges && motion_count_ < kMotions) {
        motions_[motion_count_++] = motion;
        return;
    }
    // The oldest states of the buttons are kept and the last one is brought up to date: no button sticks.
    Motion& last = motions_[motion_count_ - 1u];
    last.dx = std::clamp(last.dx + motion.dx, -kMaxPending, kMaxPending);
    last.dy = std::clamp(last.dy + motion.dy, -kMaxPending, kMaxPending);
    last.dz = std::clamp(last.dz + motion.dz, -kMaxPending, kMaxPending);
    last.buttons = motion.buttons;
}

void Ps2Mouse::send_packet() {
    Motion& next = motions_[0];
    if (motion_count_ == 0)
        next = {0, 0, 0, buttons_};
    const int32_t dx = std::clamp(next.dx, -kMaxDelta, kMaxDelta);
    const int32_t dy = std::clamp(next.dy, -kMaxDelta, kMaxDelta);
    const int32_t dz = id_ == kWheelId ? std::clamp(next.dz, -kMaxWheel, kMaxWheel) : next.dz;
    buttons_ = next.buttons;
    const auto head =
        static_cast<uint8_t>(kAlwaysOne | buttons_ | (dx < 0 ? kXSign : 0) | (dy < 0 ? kYSign : 0));
    if (id_ == kWheelId)
        output_.report({head, static_cast<uint8_t>(dx), static_cast<uint8_t>(dy), static_cast<uint8_t>(dz)});
    else
        output_.report({head, static_cast<uint8_t>(dx), static_cast<uint8_t>(dy)});
    next.dx -= dx;
    next.dy -= dy;
    next.dz -= dz;
    if (motion_count_ != 0 && next.dx == 0 && next.dy == 0 && next.dz == 0) {
        std::move(motions_.begin() + 1, motions_.begin() + motion_count_, motions_.begin());
        --motion_count_;
    }
}

Ps2Queue& Ps2Mouse::output() {
    if (reports_now() && motion_count_ != 0 && !output_.has_reports())
        send_packet();
    return output_;
}

void Ps2Mouse::serialize(base::StateArchive& archive) {
    output_.serialize(archive, "mouse.output.");
    for (unsigned i = 0; i < kMotions; ++i) {
        const std::string prefix = "mouse.motion" + std::to_string(i) + ".";
        archive.field(prefix + "dx", motions_[i].dx);
        archive.field(prefix + "dy", motions_[i].dy);
        archive.field(prefix + "dz", motions_[i].dz);
        archive.field(prefix + "buttons", motions_[i].buttons);
    }
    archive.field("mouse.motion_count", motion_count_);
    archive.field("mouse.buttons", buttons_);
    archive.field("mouse.id", id_);
    archive.field("mouse.sample_rate", sample_rate_);
    archive.field("mouse.resolution", resolution_);
    archive.field("mouse.scaling", scaling_);
    archive.field("mouse.stream", stream_);
    archive.field("mouse.enabled", enabled_);
    archive.field("mouse.wrap", wrap_);
    archive.field("mouse.expects_parameter", expects_parameter_);
    archive.field("mouse.knock", knock_);
    if (!archive.loading())
        return;
    motion_count_ = std::min<uint8_t>(motion_count_, kMotions);
    for (Motion& motion : motions_) {
        motion.dx = std::clamp(motion.dx, -kMaxPending, kMaxPending);
        motion.dy = std::clamp(motion.dy, -kMaxPending, kMaxPending);
        motion.dz = std::clamp(motion.dz, -kMaxPending, kMaxPending);
        motion.buttons &= 7;
    }
    buttons_ &= 7;
}

} // namespace vmm
