// The two 8237A DMA controllers of a PC/AT and their page registers (Intel 8237A datasheet 231466; IBM PC/AT
// Technical Reference, "DMA"): channels 0-3 move bytes within 64 KiB pages, 5-7 words within 128 KiB pages.
// Cards ask for transfers through IsaDma.
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <string>

namespace vmm {
namespace {

constexpr uint16_t kBytePorts = 0x00, kWordPorts = 0xC0, kPagePorts = 0x81;
constexpr unsigned kPagePortCount = 15; // 81h-8Fh; 80h shows POST codes
// Channel of each page register; the others are plain storage.
constexpr int kPageChannel[16] = {-1, 2, 3, 1, -1, -1, -1, 0, -1, 6, 7, 5, -1, -1, -1, -1};

enum ControllerRegister : unsigned {
    kCommandStatus = 8,
    kRequest = 9,
    kSingleMask = 10,
    kMode = 11,
    kClearFlipFlop = 12,
    kMasterClear = 13,
    kClearMask = 14,
    kAllMask = 15,
};
constexpr uint8_t kControllerDisable = 0x04; // command
constexpr uint8_t kAutoInit = 0x10, kDecrement = 0x20, kModeSelect = 0xC0, kCascadeMode = 0xC0;
enum TransferType : unsigned { kVerify, kWriteToMemory, kReadFromMemory, kIllegal };

struct Channel {
    uint16_t base_address = 0, base_count = 0, address = 0, count = 0;
    uint8_t mode = 0, page = 0;
};

struct Dma8237 {
    Channel channels[4];
    uint8_t command = 0, mask = 0x0F, terminal_counts = 0, requests = 0, flip_flop = 0;

    void master_clear() {
        command = terminal_counts = requests = flip_flop = 0;
        mask = 0x0F;
    }

    uint8_t read(unsigned reg) {
        if (reg < 8) {
            const Channel& channel = channels[reg / 2];
            const uint16_t value = reg % 2 == 0 ? channel.address : channel.count;
            flip_flop ^= 1;
            return static_cast<uint8_t>(flip_flop != 0 ? value : value >> 8);
        }
        if (reg == kCommandStatus) {
            const uint8_t status = static_cast<uint8_t>(terminal_counts | requests << 4);
            terminal_counts = 0;
            return status;
        }
        return reg == kAllMask ? mask : 0; // the temporary register: memory-to-memory is not wired
    }

    void write(unsigned reg, uint8_t value) {
        const auto bit = static_cast<uint8_t>(1u << (value & 3));
        switch (reg) {
        case kCommandStatus:
            command = value;
            break;
        case kRequest:
            requests = static_cast<uint8_t>((value & 4) != 0 ? requests | bit : requests & ~bit);
            break;
        case kSingleMask:
            mask = static_cast<uint8_t>((value & 4) != 0 ? mask | bit : mask & ~bit);
            break;
        case kMode:
            channels[value & 3].mode = value;
            break;
        case kClearFlipFlop:
            flip_flop = 0;
            break;
        case kMasterClear:
            master_clear();
            break;
        case kClearMask:
            mask = 0;
            break;
        case kAllMask:
            mask = value & 0x0F;
            break;
        default:
            write_channel(channels[reg / 2 & 3], reg % 2 == 0, value);
        }
    }

    // Base and current register together, low byte first.
    void write_channel(Channel& channel, bool is_address, uint8_t value) {
        uint16_t& base = is_address ? channel.base_address : channel.base_count;
        base = static_cast<uint16_t>(flip_flop == 0 ? (base & 0xFF00) | value : (base & 0x00FF) | value << 8);
        flip_flop ^= 1;
        (is_address ? channel.address : channel.count) = base;
    }
};

class Dma8237Pair final : public Device, public IoHandler, public IsaDma {
  public:
    explicit Dma8237Pair(Platform& platform) : platform_(platform) {
        platform.dma = this;
        platform.io.add(kBytePorts, 16, this, name());
        platform.io.add(kWordPorts, 32, this, name());
        platform.io.add(kPagePorts, kPagePortCount, this, name());
    }

    [[nodiscard]] std::string_view name() const override { return "dma8237"; }

    void reset() override {
        controllers_[0].master_clear();
        controllers_[1].master_clear();
    }

    uint32_t io_read(uint16_t port, unsigned /*size*/) override {
        if (port >= kWordPorts)
            return controllers_[1].read((port - kWordPorts) / 2 & 15);
        if (port >= kPagePorts)
            return page(port & 15);
        return controllers_[0].read(port & 15);
    }

    void io_write(uint16_t port, unsigned /*size*/, uint32_t value) override {
        const auto byte = static_cast<uint8_t>(value);
        if (port >= kWordPorts)
            controllers_[1].write((port - kWordPorts) / 2 & 15, byte);
        else if (port >= kPagePorts)
            page(port & 15) = byte;
        else
            controllers_[0].write(port & 15, byte);
    }

    Progress to_memory(unsigned channel, std::span<const uint8_t> data) override {
        return transfer(channel, kWriteToMemory, data.size(),
                        [&](uint32_t address, size_t done, size_t length) {
                            platform_.memory.write(address, data.data() + done, length);
                        });
    }

    Progress from_memory(unsigned channel, std::span<uint8_t> data) override {
        return transfer(channel, kReadFromMemory, data.size(),
                        [&](uint32_t address, size_t done, size_t length) {
                            platform_.memory.read(address, data.data() + done, length);
                        });
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin(name(), 1);
        for (unsigned c = 0; c < 2; ++c) {
            Dma8237& controller = controllers_[c];
            const std::string prefix = "controller" + std::to_string(c) + ".";
            archive.field(prefix + "command", controller.command);
            archive.field(prefix + "mask", controller.mask);
            archive.field(prefix + "terminal_counts", controller.terminal_counts);
            archive.field(prefix + "requests", controller.requests);
            archive.field(prefix + "flip_flop", controller.flip_flop);
            controller.flip_flop &= 1;
            for (unsigned i = 0; i < 4; ++i) {
                Channel& channel = controller.channels[i];
                const std::string name = "channel" + std::to_string(4 * c + i) + ".";
                archive.field(name + "base_address", channel.base_address);
                archive.field(name + "base_count", channel.base_count);
                archive.field(name + "address", channel.address);
                archive.field(name + "count", channel.count);
                archive.field(name + "mode", channel.mode);
                archive.field(name + "page", channel.page);
            }
        }
        archive.bytes_field("spare_pages", spare_pages_);
        archive.end();
    }

  private:
    uint8_t& page(unsigned index) {
        const int channel = kPageChannel[index & 15];
        return channel < 0 ? spare_pages_[index & 15] : controllers_[channel / 4].channels[channel & 3].page;
    }

    // Moves pieces that are contiguous in memory: all of it counting up, one unit at a time counting down.
    // The address wraps within its page; the page register does not count.
    template <class Move>
    Progress transfer(unsigned number, TransferType direction, size_t bytes, Move&& move) {
        if (number > 7 || number == 4) // channel 4 is the first controller's
            return {};
        Dma8237& controller = controllers_[number / 4];
        Channel& channel = controller.channels[number & 3];
        const auto bit = static_cast<uint8_t>(1u << (number & 3));
        const unsigned type = channel.mode >> 2 & 3;
        if ((controller.command & kControllerDisable) != 0 || (controller.mask & bit) != 0 ||
            (channel.mode & kModeSelect) == kCascadeMode || (type != kVerify && type != direction))
            return {};
        const unsigned unit = number < 4 ? 1 : 2;
        Progress progress;
        while (bytes - progress.bytes >= unit && !progress.terminal_count) {
            const bool down = (channel.mode & kDecrement) != 0;
            // A programmed count of n moves n + 1 units.
            size_t units = std::min((bytes - progress.bytes) / unit, size_t{channel.count} + 1);
            units = std::min(units, down ? size_t{1} : size_t{0x10000} - channel.address);
            if (type != kVerify)
                move(physical(channel, unit), progress.bytes, units * unit);
            progress.bytes += units * unit;
            channel.address = static_cast<uint16_t>(down ? channel.address - units : channel.address + units);
            progress.terminal_count = units == size_t{channel.count} + 1;
            channel.count = static_cast<uint16_t>(channel.count - units);
        }
        if (progress.terminal_count) {
            controller.terminal_counts |= bit;
            if ((channel.mode & kAutoInit) != 0) {
                channel.address = channel.base_address;
                channel.count = channel.base_count;
            } else {
                controller.mask |= bit;
            }
        }
        return progress;
    }

    // Word channels: the address counts words and bit 0 of the page register is not used.
    static uint32_t physical(const Channel& channel, unsigned unit) {
        return unit == 1 ? static_cast<uint32_t>(channel.page) << 16 | channel.address
                         : static_cast<uint32_t>(channel.page & 0xFE) << 16 |
                               static_cast<uint32_t>(channel.address) << 1;
    }

    Platform& platform_;
    Dma8237 controllers_[2];
    std::array<uint8_t, 16> spare_pages_{};
};

} // namespace

std::unique_ptr<Device> make_dma8237(Platform& platform) { return std::make_unique<Dma8237Pair>(platform); }

} // namespace vmm
