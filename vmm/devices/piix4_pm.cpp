// Intel 82371AB (PIIX4) power management, function 3 of the south bridge at 00:01.3 (datasheet order number
// 290562, chapter 7): the ACPI fixed hardware (PM1 event and control blocks, 24-bit timer, GPE0) in a 64-byte
// I/O block, and the APM ports B2h/B3h. Soft-off (S5) ends the machine; the power button raises the SCI.
//
// DEVIATION: there is no system-management mode. A write to B2h that would raise an SMI is carried out here
// at once for the two commands the FADT names (hand over to ACPI, take back), and APMC_EN in DEVACTB reads as
// set from power-on: to firmware that means that SMM is set up already, so it does not wait for an SMI.
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"
#include "vmm/firmware/acpi_hardware.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr unsigned kSlot = 1, kFunction = 3, kSciPin = 0;

// Configuration registers.
constexpr uint8_t kPmBase = 0x40, kDevActB = 0x58, kPmRegMisc = 0x80, kInterruptPin = 0x3D;
constexpr uint8_t kPmIoEnable = 0x01;
constexpr uint16_t kPmBaseAddress = 0xFFC0;
constexpr uint8_t kApmcEnable = 0x02; // in byte 3 of DEVACTB

// Offsets in the I/O block.
constexpr unsigned kPmStatus = 0x00, kPmEnable = 0x02, kPmControl = 0x04, kPmTimer = 0x08, kGpStatus = 0x0C,
                   kGpEnable = 0x0E, kProcessorControl = 0x10, kGlobalEnable = 0x20, kGlobalControl = 0x28,
                   kGpOutput = 0x34;
constexpr uint16_t kPmBytes = 0x40;

constexpr uint16_t kTimerOverflow = 1u << 0, kGlobalRelease = 1u << 5, kPowerButton = 1u << 8,
                   kRtc = 1u << 10, kResume = 1u << 15;
constexpr uint16_t kStatusBits = kTimerOverflow | 1u << 4 | kGlobalRelease | kPowerButton | kRtc | kResume;
constexpr uint16_t kEnableBits = kTimerOverflow | kGlobalRelease | kPowerButton | kRtc;
constexpr uint16_t kSciEnable = 1u << 0, kSuspendEnable = 1u << 13, kSuspendType = 7u << 10;
constexpr uint16_t kControlBits = kSciEnable | 1u << 1 | kSuspendType;
constexpr uint16_t kSoftOff = 0; // SUS_TYP

constexpr uint64_t kTimerHz = 3'579'545;
constexpr uint32_t kTimerMask = 0xFFFFFF;
constexpr uint64_t kOverflowPeriod = 1u << 23; // TMROF_STS is set whenever bit 23 changes

constexpr uint16_t kApmControl = 0xB2; // and its status at the next port

class Piix4Pm : public PciDevice, public IoHandler {
  public:
    explicit Piix4Pm(Platform& platform) : platform_(platform), apm_(*this) {
        set_id(0x8086, 0x7113, 0x068000, 0x03);
        config_[kInterruptPin] = 1;
        writable_[kPmBase] = kPmBaseAddress & 0xFF;
        writable_[kPmBase + 1] = kPmBaseAddress >> 8;
        for (unsigned at = 0x44; at < 0x64; ++at) // CNTA..DEVRESA: plain storage
            writable_[at] = 0xFF;
        writable_[kPmRegMisc] = kPmIoEnable;
        // The SMBus host (90h, D2h) is absent: its enable bit stays zero, so drivers leave it alone.

        platform.pci.attach(kSlot, kFunction, this);
        platform.io.add(kApmControl, 2, &apm_, "apm");
        overflow_timer_ = platform.clock.add_timer("pm timer overflow", [this] { update_sci(); });
        platform.outputs.power_button = [this] {
            status_ |= kPowerButton;
            update_sci();
        };
        platform.raise_gpe = [this](unsigned bit) {
            gp_status_ = static_cast<uint16_t>(gp_status_ | 1u << (bit & 15));
            update_sci();
        };
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "piix4_pm"; }

    void reset() override {
        std::fill(config_.begin() + kPmBase, config_.begin() + 0x64, uint8_t{0});
        config_[kPmBase] = 1; // an I/O address
        config_[kDevActB + 3] = kApmcEnable;
        config_[kPmRegMisc] = 0;
        status_ = enable_ = control_ = 0;
        gp_status_ = gp_enable_ = 0;
        storage_.fill(0);
        apm_.control = apm_.status = 0;
        next_overflow_ = ticks() / kOverflowPeriod * kOverflowPeriod + kOverflowPeriod;
        reset_config();
        set_word(6, 0x0280);
        claim_ports();
        update_sci();
    }

    void serialize(base::StateArchive& archive) override {
        if (!archive.loading())
            note_overflow(); // what has come and nobody has asked for yet
        archive.begin("piix4_pm", 1);
        serialize_config(archive);
        archive.field("pm_status", status_);
        archive.field("pm_enable", enable_);
        archive.field("pm_control", control_);
        archive.field("gp_status", gp_status_);
        archive.field("gp_enable", gp_enable_);
        archive.bytes_field("registers", storage_);
        archive.field("apm_control", apm_.control);
        archive.field("apm_status", apm_.status);
        archive.field("next_overflow", next_overflow_);
        archive.end();
        if (!archive.loading())
            return;
        status_ &= kStatusBits;
        enable_ &= kEnableBits;
        control_ &= kControlBits;
        next_overflow_ = std::min(next_overflow_, ticks() + kOverflowPeriod);
        claim_ports();
        update_sci();
    }

    void config_write(uint8_t offset, unsigned size, uint32_t value) override {
        const uint8_t status_high = config_[7];
        PciDevice::config_write(offset, size, value);
        config_[7] = status_high;
        claim_ports();
    }

    uint32_t io_read(uint16_t port, unsigned size) override {
        // Each register is read once: bytes of a running timer read one by one would not belong together.
        const unsigned offset = port - claimed_base_, first = offset & ~3u;
        uint64_t registers = read_register(first);
        if (offset + size > first + 4 && first + 4 < kPmBytes)
            registers |= uint64_t{read_register(first + 4)} << 32;
        const uint64_t value = registers >> (8 * (offset & 3));
        return size >= 4 ? static_cast<uint32_t>(value)
                         : static_cast<uint32_t>(value & ((uint64_t{1} << (8 * size)) - 1));
    }

    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        const unsigned offset = port - claimed_base_;
        // Byte lanes: what is not written is neither stored nor, in a status register, cleared.
        for (unsigned i = 0; i < size; ++i)
            write_byte(offset + i, static_cast<uint8_t>(value >> (8 * i)));
        update_sci();
    }

  private:
    // The APM pair at fixed ports.
    struct Apm : IoHandler {
        explicit Apm(Piix4Pm& owner) : pm(owner) {}
        uint32_t io_read(uint16_t port, unsigned) override { return port == kApmControl ? control : status; }
        void io_write(uint16_t port, unsigned, uint32_t value) override {
            (port == kApmControl ? control : status) = static_cast<uint8_t>(value);
            if (port == kApmControl)
                pm.software_smi(control);
        }
        Piix4Pm& pm;
        uint8_t control = 0, status = 0;
    };

    void software_smi(uint8_t command) {
        if (command == acpi_hardware::kAcpiEnable)
            control_ |= kSciEnable;
        else if (command == acpi_hardware::kAcpiDisable)
            control_ &= static_cast<uint16_t>(~kSciEnable);
        update_sci();
    }

    [[nodiscard]] uint64_t ticks() const {
        // 64 bits of nanoseconds times the frequency need more than 64 bits.
        return static_cast<uint64_t>(static_cast<unsigned __int128>(platform_.clock.now()) * kTimerHz /
                                     kNanosPerSecond);
    }

    uint32_t read_register(unsigned offset) {
        switch (offset) {
        case kPmStatus:
            note_overflow();
            return status_ | static_cast<uint32_t>(enable_) << 16;
        case kPmControl:
            return control_;
        case kPmTimer:
            return static_cast<uint32_t>(ticks()) & kTimerMask;
        case kGpStatus:
            return gp_status_ | static_cast<uint32_t>(gp_enable_) << 16;
        default: {
            uint32_t value = 0;
            for (unsigned i = 0; i < 4; ++i)
                value |= static_cast<uint32_t>(storage_[offset + i]) << (8 * i);
            return value;
        }
        }
    }

    static void merge(uint16_t& target, unsigned lane, uint8_t byte, uint16_t allowed) {
        const auto mask = static_cast<uint16_t>(0xFF << (8 * lane));
        target = static_cast<uint16_t>((target & ~mask) | ((byte << (8 * lane)) & mask & allowed));
    }
    static void clear(uint16_t& target, unsigned lane, uint8_t byte) {
        target = static_cast<uint16_t>(target & ~(byte << (8 * lane)));
    }

    void write_byte(unsigned offset, uint8_t byte) {
        const unsigned lane = offset & 1;
        switch (offset & ~1u) {
        case kPmStatus:
            note_overflow(); // what has happened by now is what the guest may clear
            clear(status_, lane, byte);
            break;
        case kPmEnable:
            merge(enable_, lane, byte, kEnableBits);
            break;
        case kPmControl:
            merge(control_, lane, byte, kControlBits);
            if (lane == 1 && (byte << 8 & kSuspendEnable) != 0)
                suspend();
            break;
        case kGpStatus:
            clear(gp_status_, lane, byte);
            break;
        case kGpEnable:
            merge(gp_enable_, lane, byte, 0xFFFF);
            break;
        default: // processor, global and general-purpose output control: kept, without effect
            if ((offset >= kProcessorControl && offset < kProcessorControl + 4) ||
                (offset >= kGlobalEnable && offset < kGlobalEnable + 4) ||
                (offset >= kGlobalControl && offset < kGlobalControl + 8) ||
                (offset >= kGpOutput && offset < kGpOutput + 4))
                storage_[offset] = byte;
        }
    }

    void suspend() {
        // Only S5 is offered in the DSDT; other types would be S1-S4 and are ignored.
        if ((control_ & kSuspendType) == kSoftOff && platform_.system != nullptr)
            platform_.system->request_power_off();
    }

    void note_overflow() {
        const uint64_t now = ticks();
        if (now < next_overflow_)
            return;
        status_ |= kTimerOverflow;
        next_overflow_ = now / kOverflowPeriod * kOverflowPeriod + kOverflowPeriod;
    }

    // The SCI is level-triggered: high while an enabled event is pending and ACPI is in charge.
    void update_sci() {
        note_overflow();
        const bool pending = (status_ & enable_) != 0 || (gp_status_ & gp_enable_) != 0;
        platform_.pci.set_intx(kSlot, kSciPin, pending && (control_ & kSciEnable) != 0);
        // The overflow wakes nobody unless it can interrupt.
        const bool wanted = (enable_ & kTimerOverflow) != 0 && (status_ & kTimerOverflow) == 0;
        const auto at = static_cast<unsigned __int128>(next_overflow_) * kNanosPerSecond / kTimerHz + 1;
        platform_.clock.arm(overflow_timer_, wanted ? static_cast<uint64_t>(at) : kNever);
    }

    // Follows PMBASE and PMREGMISC. Ports that another device holds are not taken from it.
    void claim_ports() {
        const auto base =
            static_cast<uint16_t>((config_[kPmBase] | config_[kPmBase + 1] << 8) & kPmBaseAddress);
        const bool enabled = (config_[kPmRegMisc] & kPmIoEnable) != 0 && base != 0;
        if (claimed_base_ != 0 && (!enabled || claimed_base_ != base)) {
            platform_.io.remove(claimed_base_, kPmBytes);
            claimed_base_ = 0;
        }
        if (enabled && claimed_base_ == 0 && platform_.io.try_add(base, kPmBytes, this, "piix4_pm", 4))
            claimed_base_ = base;
    }

    Platform& platform_;
    Apm apm_;
    Clock::TimerId overflow_timer_ = 0;
    uint16_t claimed_base_ = 0; // 0: none
    uint16_t status_ = 0, enable_ = 0, control_ = 0;
    uint16_t gp_status_ = 0, gp_enable_ = 0;
    std::array<uint8_t, kPmBytes> storage_{}; // registers without an effect here
    uint64_t next_overflow_ = 0;              // in timer ticks
};

} // namespace

std::unique_ptr<Device> make_piix4_pm(Platform& platform) { return std::make_unique<Piix4Pm>(platform); }

} // namespace vmm
