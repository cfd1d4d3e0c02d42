// The fw_cfg interface (public specification: "QEMU Firmware Configuration (fw_cfg) Device"): numbered items
// and a directory of named files, read a byte at a time through ports 510h/511h or in one go by DMA through
// 514h. SeaBIOS takes memory map, boot order, ACPI tables and option ROMs from it. Contents are a function of
// the configuration (and, for the seed, of the session's identity); only the reading position is state.
#include "vmm/bus/device.h"
#include "vmm/bus/platform.h"
#include "vmm/devices/device_list.h"
#include "vmm/firmware/firmware_files.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace vmm {

namespace {

constexpr uint16_t kPortSelector = 0x510, kPortData = 0x511, kPortDma = 0x514;
constexpr unsigned kDmaBytes = 8;

constexpr uint16_t kItemSignature = 0x00, kItemId = 0x01, kItemRamSize = 0x03, kItemCpus = 0x05,
                   kItemBootMenu = 0x0E, kItemMaxCpus = 0x0F, kItemDirectory = 0x19, kItemFirstFile = 0x20;
constexpr uint32_t kIdTraditional = 1, kIdDma = 2;
constexpr size_t kNameBytes = 56;

// DMA control word.
constexpr uint32_t kDmaError = 1u << 0, kDmaRead = 1u << 1, kDmaSkip = 1u << 2, kDmaSelect = 1u << 3,
                   kDmaWrite = 1u << 4;
constexpr uint64_t kDmaSignature = 0x51454D5520434647; // "QEMU CFG"
// Reading past the end of an item gives zeros, of which the guest may ask 4 GiB: bounded, so that no request
// holds up the machine.
constexpr uint32_t kMaxTransfer = 16u << 20;

void put_little(std::vector<uint8_t>& out, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i)
        out.push_back(static_cast<uint8_t>(value >> (8 * i)));
}
void put_big(std::vector<uint8_t>& out, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; ++i)
        out.push_back(static_cast<uint8_t>(value >> (8 * (bytes - 1 - i))));
}

class FwCfg : public Device, public IoHandler {
  public:
    explicit FwCfg(Platform& platform) : platform_(platform), dma_(*this) {
        const PlatformConfig& config = platform.config;
        constexpr std::string_view kSignature = "QEMU";
        items_[kItemSignature] = {kSignature.begin(), kSignature.end()};
        put_little(items_[kItemId], kIdTraditional | kIdDma, 4);
        put_little(items_[kItemRamSize], config.ram_bytes, 8);
        put_little(items_[kItemCpus], 1, 2);
        put_little(items_[kItemMaxCpus], 1, 2);
        put_little(items_[kItemBootMenu], 0, 2); // no menu, hence no wait for one

        const std::vector<FirmwareFile> files = firmware_files(config);
        std::vector<uint8_t>& directory = items_[kItemDirectory];
        put_big(directory, files.size(), 4);
        uint16_t key = kItemFirstFile;
        for (const FirmwareFile& file : files) {
            put_big(directory, file.data.size(), 4);
            put_big(directory, key, 2);
            put_big(directory, 0, 2);
            directory.insert(directory.end(), file.name.begin(), file.name.end());
            directory.insert(directory.end(), kNameBytes - file.name.size(), 0);
            if (file.name == kSeedFile)
                seed_key_ = key;
            items_[key++] = file.data;
        }
        platform.io.add(kPortSelector, 2, this, "fw_cfg", 2);
        platform.io.add(kPortDma, kDmaBytes, &dma_, "fw_cfg dma", 4);
    }

    [[nodiscard]] std::string_view name() const override { return "fw_cfg"; }

    void reset() override {
        selected_ = 0;
        position_ = 0;
        dma_address_ = 0;
    }

    void serialize(base::StateArchive& archive) override {
        archive.begin("fw_cfg", 1);
        archive.field("selected", selected_);
        archive.field("position", position_);
        archive.field("dma_address", dma_address_);
        archive.end();
    }

    uint32_t io_read(uint16_t port, unsigned size) override {
        if (port != kPortData || size != 1)
            return size == 1 ? 0xFF : 0xFFFF;
        uint8_t byte = 0;
        fetch({&byte, 1});
        return byte;
    }

    void io_write(uint16_t port, unsigned size, uint32_t value) override {
        if (port == kPortSelector && size == 2)
            select(static_cast<uint16_t>(value));
        // Items cannot be written: bytes sent to the data port are dropped, as the specification says.
    }

  private:
    // The big-endian 64-bit DMA address register; reading it yields the signature.
    struct DmaPort : IoHandler {
        explicit DmaPort(FwCfg& owner) : device(owner) {}
        uint32_t io_read(uint16_t port, unsigned size) override {
            uint32_t value = 0;
            for (unsigned i = 0; i < size; ++i)
                value |= static_cast<uint32_t>(kDmaSignature >> shift(port + i) & 0xFF) << (8 * i);
            return value;
        }
        void io_write(uint16_t port, unsigned size, uint32_t value) override {
            for (unsigned i = 0; i < size; ++i) {
                const unsigned at = shift(port + i);
                device.dma_address_ =
                    (device.dma_address_ & ~(uint64_t{0xFF} << at)) | uint64_t{value >> (8 * i) & 0xFF} << at;
            }
            if (port + size == kPortDma + kDmaBytes) // the last byte of the low half starts it
                device.transfer();
        }
        static unsigned shift(unsigned port) { return 8 * (kDmaBytes - 1 - (port - kPortDma)); }
        FwCfg& device;
    };

    void select(uint16_t key) {
        selected_ = key;
        position_ = 0;
        if (key == seed_key_) { // a machine that began again has another one
            const auto& seed = platform_.config.identity.seed;
            items_[key].assign(seed.begin(), seed.end());
        }
    }

    // Copies from the reading position; past the end, and for items that do not exist, zeros.
    void fetch(std::span<uint8_t> to) {
        const auto item = items_.find(selected_);
        size_t copied = 0;
        if (item != items_.end() && position_ < item->second.size()) {
            copied = std::min<size_t>(to.size(), item->second.size() - position_);
            std::copy_n(item->second.begin() + position_, copied, to.begin());
        }
        std::fill(to.begin() + static_cast<ptrdiff_t>(copied), to.end(), uint8_t{0});
        advance(to.size());
    }

    void advance(uint64_t bytes) {
        position_ = static_cast<uint32_t>(std::min<uint64_t>(position_ + bytes, UINT32_MAX));
    }

    void transfer() {
        const Physical command = std::exchange(dma_address_, 0);
        if (command > kPhysicalAddressMask - 16)
            return; // beyond physical memory, and so is the place for the error bit
        GuestMemory& memory = platform_.memory;
        const auto control = __builtin_bswap32(memory.read<uint32_t>(command));
        const auto length = __builtin_bswap32(memory.read<uint32_t>(command + 4));
        const auto target = __builtin_bswap64(memory.read<uint64_t>(command + 8));
        if ((control & kDmaSelect) != 0)
            select(static_cast<uint16_t>(control >> 16));
        const uint32_t result = run(control, length, target) ? 0 : kDmaError;
        memory.write<uint32_t>(command, __builtin_bswap32(result));
    }

    bool run(uint32_t control, uint32_t length, uint64_t target) {
        if ((control & kDmaRead) != 0) {
            if (length > kMaxTransfer || target > kPhysicalAddressMask - length)
                return false;
            std::array<uint8_t, kPageSize> buffer;
            while (length > 0) {
                const uint32_t part = std::min<uint32_t>(length, buffer.size());
                fetch({buffer.data(), part});
                platform_.memory.write(target, buffer.data(), part);
                target += part;
                length -= part;
            }
            return true;
        }
        if ((control & kDmaWrite) != 0)
            return false; // read-only
        if ((control & kDmaSkip) != 0)
            advance(length);
        return true;
    }

    Platform& platform_;
    DmaPort dma_;
    std::map<uint16_t, std::vector<uint8_t>> items_;
    uint16_t seed_key_ = 0;
    uint16_t selected_ = 0;
    uint32_t position_ = 0;
    uint64_t dma_address_ = 0;
};

} // namespace

std::unique_ptr<Device> make_fw_cfg(Platform& platform) { return std::make_unique<FwCfg>(platform); }

} // namespace vmm
