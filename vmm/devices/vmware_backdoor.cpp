// VMware's backdoor port 5658h: version, timing and the absolute pointer ("vmmouse"). Sources: VMware's
// open-vm-tools (backdoor_def.h) and "Mechanisms to determine if software is running in a VMware virtual
// machine" (KB 1009458) for the protocol, Linux's vmmouse driver for what a guest expects.
//
// A call is IN EAX, DX with EAX = magic, ECX = command, DX = port; results come back in EAX, EBX, ECX and
// EDX. Positions wait here; that there are some is told by an (empty) packet of the PS/2 mouse, whose
// interrupt the guest's driver already has.
#include "vmm/arch/state.h"
#include "vmm/arch/tsc.h"
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <array>
#include <utility>

namespace vmm {
namespace {

constexpr uint16_t kPort = 0x5658;
constexpr uint32_t kMagic = 0x564D5868; // "VMXh"
constexpr uint32_t kFailed = 0xFFFFFFFF;
constexpr uint32_t kGetVersion = 10, kAbsPointerData = 39, kAbsPointerStatus = 40, kAbsPointerCommand = 41,
                   kGetHz = 45, kAbsPointerRestrict = 86;
constexpr uint32_t kVersion = 6, kProductType = 4; // workstation
constexpr uint32_t kPointerEnable = 0x45414552, kPointerDisable = 0x000000F5, kPointerRelative = 0x4C455252,
                   kPointerAbsolute = 0x53424152;
constexpr uint32_t kPointerVersion = 0x3442554A;
constexpr uint32_t kStatusError = 0xFFFF0000;
constexpr uint32_t kRelativePacket = 0x00010000;
constexpr uint32_t kLeft = 0x20, kRight = 0x10, kMiddle = 0x08;
constexpr unsigned kPacketWords = 4, kMaxPackets = 64;

class VmwareBackdoor final : public Device, public IoHandler {
  public:
    explicit VmwareBackdoor(Platform& platform) : platform_(platform), mouse_(platform.outputs.pointer) {
        platform.io.add(kPort, 4, this, name(), 4); // one doubleword port
        // The machine's pointer is this one while a guest driver has asked for it, else the PS/2 mouse.
        platform.outputs.pointer = [this](const PointerEvent& event) { pointer(event); };
        platform.outputs.pointer_is_absolute = [this] { return enabled_ != 0 && absolute_ != 0; };
    }

    [[nodiscard]] std::string_view name() const override { return "vmware_backdoor"; }

    void reset() override { disable(); }

    uint32_t io_read(uint16_t port, unsigned size) override {
        if (port != kPort || size != 4 || !platform_.cpu_register || reg(Reg::Eax) != kMagic)
            return size == 4 ? kFailed : (1u << (8 * size)) - 1;
        switch (reg(Reg::Ecx) & 0xFFFF) {
        case kGetVersion:
            reg(Reg::Ebx) = kMagic;
            reg(Reg::Ecx) = kProductType;
            return kVersion;
        case kGetHz: {
            const uint64_t hz = uint64_t{platform_.tsc_khz ? platform_.tsc_khz() : tsc_khz()} * 1000;
            reg(Reg::Ebx) = static_cast<uint32_t>(hz >> 32);
            reg(Reg::Ecx) = kApicBusKhz * 1000;
            return static_cast<uint32_t>(hz);
        }
        case kAbsPointerStatus:
            return enabled_ == 0 ? kStatusError : words_;
        case kAbsPointerData:
            return read_data(reg(Reg::Ebx));
        case kAbsPointerCommand:
            return pointer_command(reg(Reg::Ebx));
        case kAbsPointerRestrict:
            return 0; // the port obeys IOPL and the I/O bitmap anyway
        default:
            return kFailed;
        }
    }

    void io_write(uint16_t /*port*/, unsigned /*size*/, uint32_t /*value*/) override {} // calls are IN

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.field("enabled", enabled_);
        archive.field("absolute", absolute_);
        archive.field("queue", queue_);
        archive.field("words", words_);
        archive.end();
        if (archive.loading()) {
            words_ = std::min<uint32_t>(words_, queue_.size());
            last_status_ = kFailed;
            last_moves_ = false;
        }
    }

  private:
    uint32_t& reg(Reg index) { return platform_.cpu_register(static_cast<unsigned>(index)); }

    void disable() { enabled_ = absolute_ = 0, words_ = 0; }

    uint32_t pointer_command(uint32_t command) {
        switch (command) {
        case kPointerEnable: // answered with the version, read like a position
            disable();
            enabled_ = 1;
            queue_[words_++] = kPointerVersion;
            break;
        case kPointerDisable:
            disable();
            break;
        case kPointerRelative:
            absolute_ = 0;
            break;
        case kPointerAbsolute:
            absolute_ = enabled_;
            break;
        default:
            break;
        }
        return 0;
    }

    // Hands out `count` words (at most four) in EAX, EBX, ECX and EDX. Asking for more than there is, or in
    // an unknown size, is an error that stops the device until the driver enables it again.
    uint32_t read_data(uint32_t count) {
        if (enabled_ == 0 || count == 0 || count > kPacketWords || count > words_) {
            disable();
            return kFailed;
        }
        std::array<uint32_t, kPacketWords> out{};
        std::copy_n(queue_.begin(), count, out.begin());
        std::move(queue_.begin() + count, queue_.begin() + words_, queue_.begin());
        words_ -= count;
        constexpr Reg kTargets[] = {Reg::Eax, Reg::Ebx, Reg::Ecx, Reg::Edx};
        for (unsigned i = 1; i < count; ++i)
            reg(kTargets[i]) = out[i];
        return out[0];
    }

    void pointer(const PointerEvent& event) {
        if (enabled_ == 0 || absolute_ == 0) {
            if (mouse_)
                mouse_(event);
            return;
        }
        const uint32_t status =
            ((event.buttons & 1) != 0 ? kLeft : 0) | ((event.buttons & 2) != 0 ? kRight : 0) |
            ((event.buttons & 4) != 0 ? kMiddle : 0) | (event.absolute ? 0 : kRelativePacket);
        const auto coordinate = [&](int32_t value) {
            return static_cast<uint32_t>(event.absolute ? std::clamp(value, 0, 0xFFFF) : value);
        };
        // Relative movement here is +y up, as on the PS/2 wire.
        const std::array<uint32_t, kPacketWords> packet{
            status, coordinate(event.x),
            coordinate(event.absolute ? event.y : -std::max(event.y, -INT32_MAX)),
            static_cast<uint32_t>(event.wheel)};
        const bool moves = packet[0] == std::exchange(last_status_, packet[0]) && packet[3] == 0;
        if (!replaces_last(packet, std::exchange(last_moves_, moves) && moves)) {
            if (words_ + kPacketWords > queue_.size())
                words_ -= kPacketWords; // a driver that does not read keeps the latest position
            std::copy(packet.begin(), packet.end(), queue_.begin() + words_);
            words_ += kPacketWords;
        } else {
            std::copy(packet.begin(), packet.end(), queue_.begin() + words_ - kPacketWords);
        }
        if (mouse_)
            mouse_(PointerEvent{});
    }

    // A pure movement makes an unread one obsolete, but never the press or release before it: where that
    // happened is what a drag or a quick tap is about. (An odd number of words means the version has not been
    // read yet: positions then are not aligned, and nothing is replaced.)
    [[nodiscard]] bool replaces_last(const std::array<uint32_t, kPacketWords>& packet, bool both_move) const {
        return both_move && words_ >= kPacketWords && words_ % kPacketWords == 0 &&
               (packet[0] & kRelativePacket) == 0;
    }

    Platform& platform_;
    std::function<void(const PointerEvent&)> mouse_; // the PS/2 mouse
    uint8_t enabled_ = 0, absolute_ = 0;
    // Of the last packet; no part of the machine's state: after a load one packet more is kept.
    uint32_t last_status_ = 0;
    bool last_moves_ = false;
    std::array<uint32_t, kPacketWords * kMaxPackets> queue_{};
    uint32_t words_ = 0;
};

} // namespace

std::unique_ptr<Device> make_vmware_backdoor(Platform& platform) {
    return std::make_unique<VmwareBackdoor>(platform);
}

} // namespace vmm
