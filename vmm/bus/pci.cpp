// Configuration space as in the PCI Local Bus Specification 2.1, chapter 6.
#include "vmm/bus/pci.h"

#include "vmm/base/verify.h"

namespace vmm {

namespace {
constexpr unsigned kCommand = 0x04, kStatus = 0x06, kRevision = 0x08, kCacheLine = 0x0C, kLatency = 0x0D,
                   kBar0 = 0x10, kInterruptLine = 0x3C, kHeaderEnd = 0x40;
// I/O space, memory space, bus master, parity response, SERR#.
constexpr uint16_t kCommandWritable = 0x0147;
constexpr uint32_t kBarIo = 1;

uint32_t load32(const std::array<uint8_t, 256>& config, unsigned offset) {
    return config[offset] | config[offset + 1] << 8 | config[offset + 2] << 16 |
           static_cast<uint32_t>(config[offset + 3]) << 24;
}
void store32(std::array<uint8_t, 256>& config, unsigned offset, uint32_t value) {
    for (unsigned i = 0; i < 4; ++i)
        config[offset + i] = static_cast<uint8_t>(value >> (8 * i));
}
} // namespace

uint32_t PciDevice::config_read(uint8_t offset, unsigned size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= static_cast<uint32_t>(offset + i < config_.size() ? config_[offset + i] : 0xFF) << (8 * i);
    return value;
}

void PciDevice::config_write(uint8_t offset, unsigned size, uint32_t value) {
    bool decoding_changed = false;
    for (unsigned i = 0; i < size && offset + i < config_.size(); ++i) {
        const unsigned at = offset + i;
        const auto byte = static_cast<uint8_t>(value >> (8 * i));
        const auto merged = static_cast<uint8_t>((config_[at] & ~writable_[at]) | (byte & writable_[at]));
        const bool decodes = at == kCommand || (at >= kBar0 && at < kBar0 + 4 * bar_size_.size());
        decoding_changed |= decodes && merged != config_[at];
        config_[at] = merged;
    }
    if (decoding_changed)
        bars_changed();
}

uint32_t PciDevice::bar(unsigned index) const {
    VERIFY(index < bar_size_.size());
    const uint32_t raw = load32(config_, kBar0 + 4 * index);
    return raw & ((raw & kBarIo) != 0 ? ~0x3u : ~0xFu);
}

void PciDevice::set_id(uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision) {
    store32(config_, 0, vendor | static_cast<uint32_t>(device) << 16);
    store32(config_, kRevision, class_code << 8 | revision);
    writable_[kCommand] = kCommandWritable & 0xFF;
    writable_[kCommand + 1] = kCommandWritable >> 8;
    writable_[kCacheLine] = writable_[kLatency] = writable_[kInterruptLine] = 0xFF;
}

void PciDevice::set_bar_size(unsigned index, uint32_t bytes, bool io) {
    VERIFY(index < bar_size_.size() && bytes >= (io ? 4u : 16u) && (bytes & (bytes - 1)) == 0);
    bar_size_[index] = bytes;
    // Size is discovered by writing ones: the low bits stay zero (PCI 2.1, 6.2.5.1).
    store32(writable_, kBar0 + 4 * index, ~(bytes - 1));
    store32(config_, kBar0 + 4 * index, io ? kBarIo : 0);
}

void PciDevice::set_word(uint8_t offset, uint16_t value) {
    VERIFY(offset < config_.size() - 1);
    config_[offset] = static_cast<uint8_t>(value);
    config_[offset + 1u] = static_cast<uint8_t>(value >> 8);
}

void PciDevice::serialize_config(base::StateArchive& archive) {
    const std::array<uint8_t, 256> before = config_;
    archive.bytes_field("config", config_);
    if (!archive.loading())
        return;
    // A saved state is hostile input: it may not change what identifies the device or how it decodes.
    for (unsigned at = 0; at < kHeaderEnd; ++at)
        if (at != kStatus && at != kStatus + 1)
            config_[at] = static_cast<uint8_t>((before[at] & ~writable_[at]) | (config_[at] & writable_[at]));
    bars_changed();
}

void PciDevice::reset_config() {
    for (unsigned at : {kCommand, kCommand + 1, kCacheLine, kLatency, kInterruptLine})
        config_[at] = static_cast<uint8_t>(config_[at] & ~writable_[at]);
    for (unsigned at = kBar0; at < kBar0 + 4 * bar_size_.size(); ++at)
        config_[at] = static_cast<uint8_t>(config_[at] & ~writable_[at]);
    bars_changed();
}

void PciBus::attach(unsigned device, unsigned function, PciDevice* target) {
    VERIFY(device < slots_.size() && function < slots_[0].size() && slots_[device][function] == nullptr);
    slots_[device][function] = target;
}

PciDevice* PciBus::at(unsigned device, unsigned function) const {
    return device < slots_.size() && function < slots_[0].size() ? slots_[device][function] : nullptr;
}

namespace {
// CF8h: bus 23-16, device 15-11, function 10-8, register 7-0 (PCI 2.1, 3.7.4.1).
PciDevice* decode(const PciBus& bus, uint32_t address) {
    return (address >> 16 & 0xFF) == 0 ? bus.at(address >> 11 & 0x1F, address >> 8 & 7) : nullptr;
}
} // namespace

uint32_t PciBus::config_read(uint32_t address, unsigned size) {
    PciDevice* target = decode(*this, address);
    if (target == nullptr) // master abort
        return size == 4 ? 0xFFFFFFFF : (1u << (8 * size)) - 1;
    return target->config_read(static_cast<uint8_t>(address), size);
}

void PciBus::config_write(uint32_t address, unsigned size, uint32_t value) {
    if (PciDevice* target = decode(*this, address))
        target->config_write(static_cast<uint8_t>(address), size, value);
}

} // namespace vmm
