// Intel 82371SB (PIIX3) IDE function at 00:01.1 (datasheet order number 290550, section 2.4 and 2.6): two
// channels at the legacy ports with IRQ 14 and 15, bus-master registers in BAR 4. Also decides which medium
// becomes which drive.
#include "vmm/base/log.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/ata_channel.h"
#include "vmm/devices/ata_disk.h"
#include "vmm/devices/atapi_cdrom.h"
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <array>

namespace vmm {

namespace {

constexpr unsigned kSlot = 1, kFunction = 1;
constexpr unsigned kChannels = 2, kDrives = 4;
constexpr std::array<uint16_t, kChannels> kCommandBlock{0x1F0, 0x170}, kControlBlock{0x3F6, 0x376};
constexpr std::array<unsigned, kChannels> kIrqLine{14, 15};
constexpr std::array<const char*, kChannels> kChannelName{"ide-primary", "ide-secondary"};

constexpr unsigned kMasterBar = 4;
constexpr uint32_t kMasterBytes = 16, kMasterBytesPerChannel = 8;
// Configuration: IDE timing, bit 15 of each word enables decoding of a channel's ports (2.4.8).
constexpr uint8_t kTiming = 0x40, kTimingEnd = 0x45, kDecodeEnable = 0x80;
constexpr size_t kCdBlockBytes = 2048;

class Piix3Ide final : public PciDevice, public IoHandler {
  public:
    explicit Piix3Ide(Platform& platform)
        : platform_(platform), channels_{AtaChannel(platform, kIrqLine[0], kChannelName[0]),
                                         AtaChannel(platform, kIrqLine[1], kChannelName[1])} {
        set_id(0x8086, 0x7010, 0x010180, 0x00); // IDE, legacy ports only, bus master
        set_bar_size(kMasterBar, kMasterBytes, true);
        writable_[4] = 0x05; // I/O space and bus master; the rest of the command register is fixed
        writable_[5] = 0x00;
        writable_[0x3C] = 0x00; // no INTx: the channels use IRQ 14 and 15
        for (unsigned at = kTiming; at < kTimingEnd; ++at)
            writable_[at] = 0xFF;
        place_media();
        platform.pci.attach(kSlot, kFunction, this);
        for (unsigned i = 0; i < kChannels; ++i) {
            platform.io.add(kCommandBlock[i], 8, this, kChannelName[i], 4);
            platform.io.add(kControlBlock[i], 1, this, kChannelName[i], 1);
        }
        reset();
    }
    ~Piix3Ide() override {
        for (unsigned i = 0; i < kChannels; ++i) {
            platform_.io.remove(kCommandBlock[i], 8);
            platform_.io.remove(kControlBlock[i], 1);
        }
        release_master_ports();
    }

    [[nodiscard]] std::string_view name() const override { return "piix3_ide"; }

    void reset() override {
        reset_config();
        for (unsigned at = kTiming; at < kTimingEnd; ++at)
            config_[at] = 0;
        set_word(6, 0x0280); // medium DEVSEL timing, fast back-to-back
        for (AtaChannel& channel : channels_)
            channel.reset();
    }

    void quiesce() override {
        for (AtaChannel& channel : channels_)
            channel.drain();
    }

    void serialize(base::StateArchive& archive) override {
        for (AtaChannel& channel : channels_)
            channel.serialize(archive);
        archive.begin(name(), 1);
        serialize_config(archive);
        archive.end();
    }

    // The guest chooses the address, which may be taken by somebody else's ports: then nobody new answers.
    void bars_changed() override {
        release_master_ports();
        const uint32_t base = bar(kMasterBar);
        if (!io_enabled() || base == 0 || base > 0x10000 - kMasterBytes)
            return;
        if (platform_.io.try_add(static_cast<uint16_t>(base), kMasterBytes, this, "ide-master", 1))
            master_base_ = static_cast<uint16_t>(base);
    }

    uint32_t io_read(uint16_t port, unsigned size) override {
        if (in_master_ports(port)) {
            const unsigned offset = port - master_base_;
            return channels_[offset / kMasterBytesPerChannel].master_read(offset % kMasterBytesPerChannel);
        }
        for (unsigned i = 0; i < kChannels; ++i) {
            if (!decodes(i))
                continue;
            if (port == kControlBlock[i])
                return channels_[i].alternate_status();
            if (port >= kCommandBlock[i] && port < kCommandBlock[i] + 8)
                return channels_[i].command_read(port - kCommandBlock[i], size);
        }
        return 0xFFFFFFFF;
    }

    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        if (in_master_ports(port)) {
            const unsigned offset = port - master_base_;
            channels_[offset / kMasterBytesPerChannel].master_write(
                offset % kMasterBytesPerChannel, static_cast<uint8_t>(value), bus_master_enabled());
            return;
        }
        for (unsigned i = 0; i < kChannels; ++i) {
            if (!decodes(i))
                continue;
            if (port == kControlBlock[i])
                channels_[i].device_control(static_cast<uint8_t>(value));
            else if (port >= kCommandBlock[i] && port < kCommandBlock[i] + 8)
                channels_[i].command_write(port - kCommandBlock[i], size, value);
        }
    }

  private:
    [[nodiscard]] bool decodes(unsigned channel) const {
        return io_enabled() && (config_[kTiming + 2 * channel + 1] & kDecodeEnable) != 0;
    }
    [[nodiscard]] bool in_master_ports(uint16_t port) const {
        return master_base_ != 0 && port >= master_base_ && port < master_base_ + kMasterBytes;
    }
    void release_master_ports() {
        if (master_base_ != 0)
            platform_.io.remove(master_base_, kMasterBytes);
        master_base_ = 0;
    }

    // Disks from the primary master on; then CD-ROMs in what is free, secondary master preferred.
    void place_media() {
        std::array<const Medium*, kDrives> drives{};
        unsigned next_disk = 0;
        for (const Medium& medium : platform_.config.media)
            if (medium.kind == MediumKind::Disk && medium.port != nullptr) {
                if (next_disk < kDrives)
                    drives[next_disk++] = &medium;
                else
                    base::log(base::LogLevel::Warn, "more than {} disks: one is left out", kDrives);
            }
        constexpr std::array<unsigned, kDrives> kCdOrder{2, 3, 0, 1};
        for (const Medium& medium : platform_.config.media) {
            if (medium.kind != MediumKind::Cdrom)
                continue;
            const auto* free = std::find_if(kCdOrder.begin(), kCdOrder.end(),
                                            [&](unsigned drive) { return drives[drive] == nullptr; });
            if (free != kCdOrder.end())
                drives[*free] = &medium;
            else
                base::log(base::LogLevel::Warn, "more than {} drives: a CD-ROM is left out", kDrives);
        }
        for (unsigned i = 0; i < kDrives; ++i)
            if (drives[i] != nullptr)
                channels_[i / 2].attach(i % 2, make_drive(i, *drives[i]));
    }

    std::unique_ptr<AtaDrive> make_drive(unsigned index, const Medium& medium) {
        AtaChannel& channel = channels_[index / 2];
        const bool disk = medium.kind == MediumKind::Disk;
        std::unique_ptr<BlockWorker> worker;
        if (medium.port != nullptr)
            worker = std::make_unique<BlockWorker>(medium.port, platform_.events,
                                                   disk ? ata::kSectorBytes : kCdBlockBytes,
                                                   fmt::format("{} {}", disk ? "disk" : "CD-ROM", index));
        std::string serial = fmt::format("ENCORE{:04}", index + 1);
        if (disk)
            return std::make_unique<AtaDisk>(channel, std::move(worker), std::move(serial));
        return std::make_unique<AtapiCdrom>(channel, std::move(worker), std::move(serial));
    }

    Platform& platform_;
    std::array<AtaChannel, kChannels> channels_;
    uint16_t master_base_ = 0; // 0: not claimed
};

} // namespace

std::unique_ptr<Device> make_piix3_ide(Platform& platform) { return std::make_unique<Piix3Ide>(platform); }

} // namespace vmm
