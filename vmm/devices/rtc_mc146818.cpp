// The Motorola MC146818 real-time clock with its battery-backed CMOS RAM, ports 70h/71h, IRQ8 (datasheet
// MC146818/D). The time is the virtual clock plus an offset; nothing ticks unless the guest enabled an
// interrupt. The CMOS bytes beyond the clock are the PC/AT's as SeaBIOS reads them.
#include "vmm/devices/device_list.h"
#include "vmm/devices/disk_geometry.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace vmm {
namespace {

constexpr uint16_t kIndexPort = 0x70;
constexpr unsigned kRtcIrq = 8;

enum Register : uint8_t {
    kSeconds = 0x00,
    kSecondsAlarm = 0x01,
    kMinutes = 0x02,
    kMinutesAlarm = 0x03,
    kHours = 0x04,
    kHoursAlarm = 0x05,
    kDayOfWeek = 0x06,
    kDayOfMonth = 0x07,
    kMonth = 0x08,
    kYear = 0x09,
    kRegisterA = 0x0A,
    kRegisterB = 0x0B,
    kRegisterC = 0x0C,
    kRegisterD = 0x0D,
    kFloppyTypes = 0x10,
    kDiskTypes = 0x12,
    kEquipment = 0x14,
    kBaseMemoryLow = 0x15,
    kExtendedMemoryLow = 0x17,
    kExtendedDiskType = 0x19,
    kUserDisk = 0x1B,
    kChecksumHigh = 0x2E,
    kExtendedMemoryLow2 = 0x30,
    kCentury = 0x32,
    kMemoryAbove16MLow = 0x34,
    kBootFlag1 = 0x38,
    kDiskTranslation = 0x39,
    kBootFlag2 = 0x3D,
};

constexpr uint8_t kUip = 0x80, kDividerReset = 0x60, kRateMask = 0x0F;
constexpr uint8_t kSet = 0x80, kPie = 0x40, kAie = 0x20, kUie = 0x10, kSqwe = 0x08, kDm = 0x04,
                  k24Hour = 0x02;
constexpr uint8_t kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;
constexpr uint8_t kVrt = 0x80;
constexpr uint8_t kPm = 0x80; // in the hours register, 12-hour mode
constexpr uint8_t kAlarmDontCare = 0xC0;
// UIP rises 244 us before the update cycle, which takes 1984 us (datasheet, "Update cycle").
constexpr uint64_t kUipNanos = 244'000 + 1'984'000;
constexpr uint64_t kTimeBaseHz = 32768;
// An alarm recurs daily at the latest, so no more than a day of missed seconds needs looking at.
constexpr uint64_t kDaySeconds = 86'400;

uint8_t to_bcd(unsigned value) { return static_cast<uint8_t>(value / 10 % 10 << 4 | value % 10); }
unsigned from_bcd(uint8_t value) { return (value >> 4) * 10u + (value & 15u); }

class RtcMc146818 final : public Device, public IoHandler {
  public:
    explicit RtcMc146818(Platform& platform) : platform_(platform) {
        platform.io.add(kIndexPort, 2, this, name());
        timer_ = platform.clock.add_timer(name(), [this] {
            advance();
            schedule();
        });
        cmos_[kRegisterA] = 0x26; // 32.768 kHz, 1024 Hz
        cmos_[kRegisterB] = k24Hour;
        const uint64_t start = platform.config.rtc_start_seconds != 0
                                   ? platform.config.rtc_start_seconds
                                   : static_cast<uint64_t>(std::max<std::time_t>(std::time(nullptr), 0));
        offset_ = static_cast<int64_t>(std::min(start, kMaxSeconds) * kNanosPerSecond) -
                  static_cast<int64_t>(now());
        fill_configuration();
        last_advance_ = now();
        reset();
        platform.outputs.time_of_day = [this] { return rtc_nanos(now()); };
        // As if someone had set the clock between two of its ticks: what lies between raises no alarm.
        platform.outputs.set_time_of_day = [this](uint64_t nanos) {
            advance();
            offset_ = static_cast<int64_t>(std::min(nanos, kMaxSeconds * kNanosPerSecond)) -
                      static_cast<int64_t>(now());
            schedule();
        };
    }

    [[nodiscard]] std::string_view name() const override { return "rtc_mc146818"; }

    // The RESET pin touches neither time nor RAM (datasheet, "RESET").
    void reset() override {
        index_ = 0;
        cmos_[kRegisterB] &= static_cast<uint8_t>(~(kPie | kAie | kUie | kSqwe));
        cmos_[kRegisterC] = 0;
        update_irq();
        schedule();
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        return port == kIndexPort ? 0xFF : read_register(index_); // 70h is write-only on the AT
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        if (port == kIndexPort)
            index_ = value & 0x7F; // bit 7 masks NMI, of which this machine has none
        else
            write_register(index_, static_cast<uint8_t>(value));
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        archive.bytes_field("cmos", cmos_);
        archive.field("index", index_);
        archive.field("offset", offset_);
        archive.end();
        if (archive.loading()) {
            index_ &= 0x7F;
            const auto time = static_cast<int64_t>(now());
            offset_ = std::clamp(offset_, -time, static_cast<int64_t>(kMaxSeconds * kNanosPerSecond) - time);
            last_advance_ = now();
            update_irq();
            schedule();
        }
    }

  private:
    // Year 2199: 64-bit nanoseconds stay far from overflow.
    static constexpr uint64_t kMaxSeconds = 7'258'118'399;

    [[nodiscard]] uint64_t now() const { return platform_.clock.now(); }
    [[nodiscard]] uint64_t rtc_nanos(uint64_t at) const {
        return static_cast<uint64_t>(std::max<int64_t>(static_cast<int64_t>(at) + offset_, 0));
    }
    // SET or a divider chain held in reset: the registers are what the guest wrote.
    [[nodiscard]] bool held() const {
        return (cmos_[kRegisterB] & kSet) != 0 || (cmos_[kRegisterA] & kDividerReset) == kDividerReset;
    }

    // -- encodings of the time registers ------------------------------------------------------------
    [[nodiscard]] uint8_t encode(unsigned value) const {
        return (cmos_[kRegisterB] & kDm) != 0 ? static_cast<uint8_t>(value) : to_bcd(value);
    }
    [[nodiscard]] unsigned decode(uint8_t value) const {
        return (cmos_[kRegisterB] & kDm) != 0 ? value : from_bcd(value);
    }
    [[nodiscard]] uint8_t encode_hour(unsigned hour) const {
        if ((cmos_[kRegisterB] & k24Hour) != 0)
            return encode(hour);
        return static_cast<uint8_t>(encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? kPm : 0));
    }
    [[nodiscard]] unsigned decode_hour(uint8_t value) const {
        if ((cmos_[kRegisterB] & k24Hour) != 0)
            return decode(value);
        return decode(value & 0x7F) % 12 + ((value & kPm) != 0 ? 12 : 0);
    }

    void time_to_registers() {
        const auto seconds = static_cast<std::time_t>(rtc_nanos(now()) / kNanosPerSecond);
        std::tm tm{};
        ::gmtime_r(&seconds, &tm);
        cmos_[kSeconds] = encode(static_cast<unsigned>(tm.tm_sec));
        cmos_[kMinutes] = encode(static_cast<unsigned>(tm.tm_min));
        cmos_[kHours] = encode_hour(static_cast<unsigned>(tm.tm_hour));
        cmos_[kDayOfWeek] = encode(static_cast<unsigned>(tm.tm_wday + 1));
        cmos_[kDayOfMonth] = encode(static_cast<unsigned>(tm.tm_mday));
        cmos_[kMonth] = encode(static_cast<unsigned>(tm.tm_mon + 1));
        cmos_[kYear] = encode(static_cast<unsigned>(tm.tm_year % 100));
        cmos_[kCentury] = to_bcd(static_cast<unsigned>((tm.tm_year + 1900) / 100));
    }

    // Values out of range carry over as timegm() does; it is bounded by two digits a field.
    void registers_to_time(uint64_t sub_second_nanos) {
        std::tm tm{};
        tm.tm_sec = static_cast<int>(decode(cmos_[kSeconds]));
        tm.tm_min = static_cast<int>(decode(cmos_[kMinutes]));
        tm.tm_hour = static_cast<int>(decode_hour(cmos_[kHours]));
        tm.tm_mday = static_cast<int>(decode(cmos_[kDayOfMonth]));
        tm.tm_mon = static_cast<int>(decode(cmos_[kMonth])) - 1;
        const unsigned century = std::clamp(from_bcd(cmos_[kCentury]), 19u, 21u);
        tm.tm_year = static_cast<int>(century * 100 + decode(cmos_[kYear]) % 100) - 1900;
        const auto seconds = static_cast<uint64_t>(std::max<std::time_t>(::timegm(&tm), 0));
        offset_ = static_cast<int64_t>(std::min(seconds, kMaxSeconds) * kNanosPerSecond + sub_second_nanos) -
                  static_cast<int64_t>(now());
        last_advance_ = now();
    }

    // -- registers ----------------------------------------------------------------------------------
    static bool is_time(uint8_t index) {
        return index == kCentury || index == kSeconds || index == kMinutes || index == kHours ||
               (index >= kDayOfWeek && index <= kYear);
    }

    uint8_t read_register(uint8_t index) {
        if (is_time(index) && !held())
            time_to_registers();
        switch (index) {
        case kRegisterA: {
            const bool updating =
                !held() && rtc_nanos(now()) % kNanosPerSecond >= kNanosPerSecond - kUipNanos;
            return static_cast<uint8_t>(cmos_[kRegisterA] | (updating ? kUip : 0));
        }
        case kRegisterC: {
            advance();
            const uint8_t flags = cmos_[kRegisterC];
            cmos_[kRegisterC] = 0;
            update_irq();
            schedule();
            return flags;
        }
        case kRegisterD:
            return kVrt;
        default:
            return cmos_[index];
        }
    }

    void write_register(uint8_t index, uint8_t value) {
        advance();
        const bool was_held = held();
        if (!was_held && (is_time(index) || index == kRegisterA || index == kRegisterB))
            time_to_registers();
        const uint64_t sub_second = rtc_nanos(now()) % kNanosPerSecond;
        switch (index) {
        case kRegisterA:
            cmos_[index] = value & static_cast<uint8_t>(~kUip);
            break;
        case kRegisterB: // setting SET clears UIE
            cmos_[index] = (value & kSet) != 0 ? value & static_cast<uint8_t>(~kUie) : value;
            break;
        case kRegisterC:
        case kRegisterD:
            return; // read-only
        default:
            cmos_[index] = value;
        }
        if (is_time(index) && !was_held)
            registers_to_time(sub_second);
        else if (was_held && !held()) // after a divider reset the first update is half a second away
            registers_to_time(index == kRegisterA ? kNanosPerSecond / 2 : 0);
        update_irq();
        schedule();
    }

    // -- interrupts ---------------------------------------------------------------------------------
    // Period of the periodic interrupt in time-base ticks; 0 = none (datasheet, table "Periodic interrupt
    // rate": RS 1 and 2 repeat 8 and 9).
    [[nodiscard]] uint64_t periodic_ticks() const {
        const unsigned rate = cmos_[kRegisterA] & kRateMask;
        return rate == 0 ? 0 : uint64_t{1} << (rate <= 2 ? rate + 6 : rate - 1);
    }
    static uint64_t base_ticks(uint64_t ns) {
        return static_cast<uint64_t>(static_cast<unsigned __int128>(ns) * kTimeBaseHz / kNanosPerSecond);
    }

    // Sets the flags of all that has happened since the last call, enabled or not.
    void advance() {
        const uint64_t from = last_advance_, to = now();
        if (to <= from)
            return;
        last_advance_ = to;
        if (const uint64_t period = periodic_ticks();
            period != 0 && base_ticks(to) / period != base_ticks(from) / period)
            cmos_[kRegisterC] |= kPf;
        if (!held()) {
            const uint64_t first = rtc_nanos(from) / kNanosPerSecond + 1,
                           last = rtc_nanos(to) / kNanosPerSecond;
            if (first <= last)
                cmos_[kRegisterC] |= kUf;
            for (uint64_t second = std::max(first, last - std::min(last, kDaySeconds)); second <= last;
                 ++second)
                if (alarm_matches(second)) {
                    cmos_[kRegisterC] |= kAf;
                    break;
                }
        }
        update_irq();
    }

    [[nodiscard]] bool alarm_matches(uint64_t second) const {
        const auto of_day = static_cast<unsigned>(second % kDaySeconds);
        const auto matches = [&](uint8_t alarm, uint8_t value) {
            return alarm >= kAlarmDontCare || alarm == value;
        };
        return matches(cmos_[kSecondsAlarm], encode(of_day % 60)) &&
               matches(cmos_[kMinutesAlarm], encode(of_day / 60 % 60)) &&
               matches(cmos_[kHoursAlarm], encode_hour(of_day / 3600));
    }

    void update_irq() {
        const uint8_t enabled = cmos_[kRegisterB] & cmos_[kRegisterC] & (kPf | kAf | kUf);
        cmos_[kRegisterC] = static_cast<uint8_t>((cmos_[kRegisterC] & ~kIrqf) | (enabled != 0 ? kIrqf : 0));
        if (platform_.irq != nullptr)
            platform_.irq->set_irq(kRtcIrq, enabled != 0);
    }

    void schedule() {
        uint64_t deadline = kNever;
        const uint64_t time = now();
        const uint8_t flags = cmos_[kRegisterC];
        if (const uint64_t period = periodic_ticks();
            period != 0 && (cmos_[kRegisterB] & kPie) != 0 && (flags & kPf) == 0) {
            const uint64_t next = (base_ticks(time) / period + 1) * period;
            const auto scaled = static_cast<unsigned __int128>(next) * kNanosPerSecond;
            deadline = static_cast<uint64_t>((scaled + kTimeBaseHz - 1) / kTimeBaseHz);
        }
        if (!held() && (cmos_[kRegisterB] & (kAie | kUie)) != 0)
            deadline = std::min(deadline, time + kNanosPerSecond - rtc_nanos(time) % kNanosPerSecond);
        platform_.clock.arm(timer_, deadline);
    }

    // -- the PC/AT's use of the RAM -----------------------------------------------------------------
    void set_word(uint8_t index, uint64_t value) {
        cmos_[index] = static_cast<uint8_t>(value);
        cmos_[index + 1u] = static_cast<uint8_t>(value >> 8);
    }

    void fill_configuration() {
        const PlatformConfig& config = platform_.config;
        constexpr uint64_t k1M = 1u << 20, k16M = 16u << 20;
        const uint64_t ram = GuestMemory::low_ram(config.ram_bytes);
        set_word(kBaseMemoryLow, 640); // KiB
        const uint64_t extended = std::min<uint64_t>((std::max(ram, k1M) - k1M) >> 10, 0xFFFF);
        set_word(kExtendedMemoryLow, extended);
        set_word(kExtendedMemoryLow2, extended);
        const uint64_t above = (std::max(ram, k16M) - k16M) >> 16; // 64 KiB units
        set_word(kMemoryAbove16MLow, std::min<uint64_t>(above, 0xFFFF));

        constexpr uint8_t k1440K = 4;
        const auto floppies = static_cast<unsigned>(std::min<ptrdiff_t>(
            std::count_if(config.media.begin(), config.media.end(),
                          [](const Medium& medium) { return medium.kind == MediumKind::Floppy; }),
            2));
        cmos_[kFloppyTypes] =
            static_cast<uint8_t>((floppies > 0 ? k1440K << 4 : 0) | (floppies > 1 ? k1440K : 0));
        // FPU and PS/2 mouse present; bits 7-6 number of floppy drives less one, bit 0 any at all.
        cmos_[kEquipment] =
            static_cast<uint8_t>(0x06 | (floppies > 0 ? 0x01 : 0) | (floppies > 1 ? 0x40 : 0));
        cmos_[kDiskTranslation] = 0x55; // LBA-assisted CHS for all four drives

        fill_disks();

        // Three nibbles: first and second choice in BOOTFLAG2, third in the high half of BOOTFLAG1, whose
        // bit 0 lets floppies without a boot signature start.
        std::array<uint8_t, 3> order{};
        size_t used = 0;
        for (BootDevice device : config.boot_order) {
            const uint8_t code = device == BootDevice::Floppy  ? 1
                                 : device == BootDevice::Disk  ? 2
                                 : device == BootDevice::Cdrom ? 3
                                                               : 0;
            if (code != 0 && used < order.size())
                order[used++] = code;
        }
        cmos_[kBootFlag2] = static_cast<uint8_t>(order[1] << 4 | order[0]);
        cmos_[kBootFlag1] = static_cast<uint8_t>(order[2] << 4 | 1);

        unsigned sum = 0; // of 10h-2Dh, high byte first
        for (unsigned index = kFloppyTypes; index < kChecksumHigh; ++index)
            sum += cmos_[index];
        cmos_[kChecksumHigh] = static_cast<uint8_t>(sum >> 8);
        cmos_[kChecksumHigh + 1] = static_cast<uint8_t>(sum);
    }

    // For systems that look here for their first two disks: "type 15, see the extended type", which is 47,
    // and that is "as described in the nine bytes of this drive", by the common convention of AT BIOSes.
    void fill_disks() {
        constexpr unsigned kDescriptionBytes = 9;
        unsigned drive = 0;
        for (const Medium& medium : platform_.config.media) {
            if (medium.kind != MediumKind::Disk || medium.port == nullptr || drive == 2)
                continue;
            const DiskGeometry geometry = disk_geometry(medium.port->size_bytes());
            cmos_[kDiskTypes] |= static_cast<uint8_t>(drive == 0 ? 0xF0 : 0x0F);
            cmos_[kExtendedDiskType + drive] = 47;
            const auto at = static_cast<uint8_t>(kUserDisk + kDescriptionBytes * drive);
            set_word(at, geometry.cylinders);
            cmos_[at + 2u] = geometry.heads;
            set_word(static_cast<uint8_t>(at + 3), 0xFFFF);             // no write precompensation
            cmos_[at + 5u] = 0xC8;                                      // no retries; more than eight heads
            set_word(static_cast<uint8_t>(at + 6), geometry.cylinders); // landing zone
            cmos_[at + 8u] = geometry.sectors;
            ++drive;
        }
    }

    Platform& platform_;
    std::array<uint8_t, 128> cmos_{};
    uint8_t index_ = 0;
    int64_t offset_ = 0; // RTC nanoseconds since 1970 less the virtual clock's
    uint64_t last_advance_ = 0;
    Clock::TimerId timer_ = 0;
};

} // namespace

std::unique_ptr<Device> make_rtc_mc146818(Platform& platform) {
    return std::make_unique<RtcMc146818>(platform);
}

} // namespace vmm
