// Intel 82441FX (i440FX) host bridge at 00:00.0 (datasheet order number 290549): PCI configuration mechanism
// #1 at CF8h/CFCh, the PAM registers that shadow C0000h-FFFFFh, and the reset control register at CF9h (which
// belongs to the PIIX3 but shares the CF8h dword, so one owner decodes both).
//
// Each PAM segment says separately where reads and writes go. Reads that miss RAM go to PCI, where only
// E0000h-FFFFFh is decoded, as an alias of the BIOS at the top of 4 GiB; whatever is mapped there is what
// appears below 1 MiB. A page kind cannot say "read ROM, write RAM", so that transitional setting is Mmio:
// slow, but only firmware copying itself into shadow RAM uses it.
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"

#include <algorithm>

namespace vmm {

namespace {

constexpr uint16_t kPortAddress = 0xCF8, kPortReset = 0xCF9, kPortData = 0xCFC;
constexpr unsigned kPortCount = 8;
constexpr uint32_t kConfigEnable = 0x80000000, kConfigAddressBits = 0x80FFFFFC;

// Configuration registers (datasheet section 3.2).
constexpr uint8_t kSubsystem = 0x2C, kPmcConfig = 0x50, kPam0 = 0x59, kSmram = 0x72;
constexpr unsigned kPamCount = 7;
// SeaBIOS knows its home by this subsystem ID of the host bridge; without it, it takes the machine for
// unknown hardware and looks for neither fw_cfg nor RAM.
constexpr uint16_t kSubsystemVendor = 0x1AF4, kSubsystemDevice = 0x1100;

constexpr uint8_t kPamRead = 1, kPamWrite = 2;

// Reset control register: a 0-to-1 change of RCPU resets; SRST chooses hard or soft.
constexpr uint8_t kResetCpu = 0x04, kResetHard = 0x02;

constexpr uint32_t kBiosAliasFirst = 0xE0000 >> kPageShift; // decoded on the ISA side by the PIIX3
constexpr uint32_t kAliasToTop = 0xFFF00000 >> kPageShift;
constexpr uint32_t kMaxSegmentPages = 16;
constexpr uint32_t kOpenBus = 0xFFFFFFFF;

// One of the thirteen ranges that PAM controls; also the handler of its pages while reads go to ROM and
// writes to RAM.
class PamSegment : public MmioHandler {
  public:
    PamSegment() = default;
    void place(GuestMemory& memory, uint32_t first, uint32_t count) {
        memory_ = &memory;
        first_ = first;
        count_ = count;
    }

    void apply(uint8_t attributes) {
        find_bios();
        if (split_)
            memory_->unmap_mmio(this);
        split_ = false;
        if ((attributes & kPamRead) != 0) {
            const PageKind kind = (attributes & kPamWrite) != 0 ? PageKind::Ram : PageKind::Rom;
            memory_->map(first_, count_, kind, first_);
        } else if ((attributes & kPamWrite) != 0) {
            // The mapping underneath is dropped first, so that the range is free to become Mmio.
            memory_->map(first_, count_, PageKind::None);
            memory_->map_mmio(first_, count_, this);
            split_ = true;
        } else {
            for (uint32_t page = first_; page < first_ + count_; ++page) {
                const PageEntry rom = bios_alias(page);
                memory_->map(page, 1, rom.kind, rom.backing);
            }
        }
        attributes_ = attributes;
    }

    uint32_t mmio_read(Physical address, unsigned size) override {
        const PageEntry rom = bios_alias(page_of(address));
        if (rom.kind != PageKind::Rom)
            return kOpenBus;
        uint32_t value = 0;
        const uint64_t offset = (uint64_t{rom.backing} << kPageShift) + (address & (kPageSize - 1));
        std::copy_n(memory_->data() + offset, size, reinterpret_cast<uint8_t*>(&value));
        return value;
    }

    void mmio_write(Physical address, unsigned size, uint32_t value) override {
        const uint32_t page = page_of(address);
        if (page < first_ || page >= first_ + count_)
            return;
        if (!memory_->is_code(page)) { // RAM's memfd page number is its physical page number
            memory_->make_present(page);
            memory_->before_write(page);
            std::copy_n(reinterpret_cast<const uint8_t*>(&value), size, memory_->data() + address);
            return;
        }
        // Code translated while this RAM was visible must learn of the change: write it as RAM.
        const uint8_t attributes = attributes_;
        apply(kPamRead | kPamWrite);
        memory_->write(address, &value, size);
        apply(attributes);
    }

  private:
    // Notes which BIOS pages PCI decodes here. Looking above 1 MiB goes through the A20 gate, so while it is
    // closed what was found earlier stands: the BIOS never moves.
    void find_bios() {
        if (first_ < kBiosAliasFirst || !memory_->a20())
            return;
        for (uint32_t i = 0; i < count_; ++i)
            bios_[i] = memory_->entry(first_ + i + kAliasToTop);
    }
    // What PCI answers at this page: the BIOS alias, or nothing.
    [[nodiscard]] PageEntry bios_alias(uint32_t page) const {
        const uint32_t index = page - first_;
        return index < count_ && bios_[index].kind == PageKind::Rom ? bios_[index] : PageEntry{};
    }

    GuestMemory* memory_ = nullptr;
    uint32_t first_ = 0, count_ = 0;
    std::array<PageEntry, kMaxSegmentPages> bios_{};
    uint8_t attributes_ = 0;
    bool split_ = false; // this object answers for the pages
};

class I440fx : public PciDevice, public IoHandler {
  public:
    explicit I440fx(Platform& platform) : platform_(platform) {
        set_id(0x8086, 0x1237, 0x060000, 0x02);
        set_word(kSubsystem, kSubsystemVendor);
        set_word(kSubsystem + 2, kSubsystemDevice);
        writable_[kPmcConfig] = writable_[kPmcConfig + 1] = 0xFF;
        writable_[kPam0] = 0x30; // the low half is reserved
        for (unsigned i = 1; i < kPamCount; ++i)
            writable_[kPam0 + i] = 0x33;
        // DEVIATION: SMRAM reads as its power-on value and cannot be enabled, because the processor has
        // no system-management mode; software that checks sees that it did not open.
        config_[kSmram] = 0x02;

        // Segment 0 is F0000h-FFFFFh, then 16 KiB ranges from C0000h upwards.
        segments_[0].place(platform.memory, 0xF0, 16);
        for (uint32_t i = 1; i < segments_.size(); ++i)
            segments_[i].place(platform.memory, 0xC0 + 4 * (i - 1), 4);

        platform.pci.attach(0, 0, this);
        platform.io.add(kPortAddress, kPortCount, this, "i440fx", 4);
        reset();
    }

    [[nodiscard]] std::string_view name() const override { return "i440fx"; }

    void reset() override {
        address_ = 0;
        reset_control_ = 0;
        reset_config();
        set_word(4, 0x0006); // memory and bus master are hardwired on
        set_word(6, 0x0280);
        set_word(kPmcConfig, 0);
        std::fill_n(config_.begin() + kPam0, kPamCount, uint8_t{0});
        apply_pam();
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin("i440fx", 1);
        serialize_config(archive);
        archive.field("config_address", address_);
        archive.field("reset_control", reset_control_);
        archive.end();
        if (!archive.loading())
            return;
        address_ &= kConfigAddressBits;
        for (unsigned i = 0; i < kPamCount; ++i)
            config_[kPam0 + i] &= writable_[kPam0 + i];
        config_[kSmram] = 0x02;
        apply_pam();
    }

    void config_write(uint8_t offset, unsigned size, uint32_t value) override {
        const uint8_t status_high = config_[7];
        PciDevice::config_write(offset, size, value);
        set_word(4, 0x0006);
        config_[7] = status_high;
        if (offset < kPam0 + kPamCount && offset + size > kPam0)
            apply_pam();
    }

    uint32_t io_read(uint16_t port, unsigned size) override {
        if (port >= kPortData)
            return (address_ & kConfigEnable) != 0 ? platform_.pci.config_read(address_ | (port & 3u), size)
                                                   : kOpenBus;
        if (port == kPortAddress && size == 4)
            return address_;
        if (port == kPortReset && size == 1)
            return reset_control_;
        return kOpenBus;
    }

    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        if (port >= kPortData) {
            if ((address_ & kConfigEnable) != 0)
                platform_.pci.config_write(address_ | (port & 3u), size, value);
        } else if (port == kPortAddress && size == 4) { // only whole dwords reach CONFADD
            address_ = value & kConfigAddressBits;
        } else if (port == kPortReset && size == 1) {
            const bool starts = (value & kResetCpu) != 0 && (reset_control_ & kResetCpu) == 0;
            reset_control_ = static_cast<uint8_t>(value & (kResetCpu | kResetHard));
            if (starts && platform_.system != nullptr)
                platform_.system->request_reset();
        }
    }

  private:
    // Brings every segment whose attributes differ from what is mapped up to date.
    void apply_pam() {
        segments_[0].apply(static_cast<uint8_t>(config_[kPam0] >> 4 & 3));
        for (unsigned i = 1; i < segments_.size(); ++i) {
            const uint8_t pair = config_[kPam0 + (i + 1) / 2];
            segments_[i].apply(static_cast<uint8_t>((i % 2 != 0 ? pair : pair >> 4) & 3));
        }
    }

    Platform& platform_;
    std::array<PamSegment, 13> segments_;
    uint32_t address_ = 0;
    uint8_t reset_control_ = 0;
};

} // namespace

std::unique_ptr<Device> make_i440fx(Platform& platform) { return std::make_unique<I440fx>(platform); }

} // namespace vmm
