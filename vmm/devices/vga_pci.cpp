#include "vmm/devices/vga_pci.h"

#include "vmm/base/log.h"
#include "vmm/devices/device_list.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>

namespace vmm {

namespace {

constexpr unsigned kPciDevice = 2;
constexpr uint16_t kVendor = 0x1234, kDeviceId = 0x1111;
constexpr uint32_t kClassVga = 0x030000;
constexpr unsigned kBarFrameBuffer = 0, kBarRegisters = 2;
constexpr uint8_t kConfigBar0 = 0x10, kConfigRomBar = 0x30, kBarPrefetchable = 0x08, kRomEnable = 0x01;
constexpr uint32_t kRegisterBarBytes = 4096;

constexpr uint32_t kMinVramBytes = 1u << 20, kMaxVramBytes = 128u << 20;
constexpr uint32_t kMaxRomBytes = 256 * 1024;
constexpr uint32_t kVramChunk = 64 * 1024; // unit of saved state

constexpr uint16_t kPortMonoFirst = 0x3B0, kPortMonoCount = 12; // 3BCh on is a parallel port's
constexpr uint16_t kPortVgaFirst = 0x3C0, kPortVgaCount = 32;
constexpr uint16_t kPortDispiIndex = 0x1CE, kPortDispiData = 0x1CF, kPortDispiCount = 3;

constexpr uint32_t kApertureVgaPorts = 0x400, kApertureDispi = 0x500, kApertureDispiEnd = 0x516;

// BARs decode powers of two.
uint32_t usable_vram(uint32_t configured) {
    return std::bit_floor(std::clamp(configured, kMinVramBytes, kMaxVramBytes));
}

uint64_t mix(uint64_t state, uint64_t value) { return std::rotl(state ^ value, 29) * 0x9E3779B97F4A7C15u; }

// Four independent lanes, so that the multiplications overlap: several bytes a cycle.
uint64_t fingerprint_of(std::span<const uint8_t> bytes) {
    uint64_t lanes[4] = {1, 2, 3, 4};
    size_t at = 0;
    for (; at + sizeof lanes <= bytes.size(); at += sizeof lanes) {
        uint64_t words[4];
        std::memcpy(words, &bytes[at], sizeof words);
        for (unsigned i = 0; i < 4; ++i)
            lanes[i] = mix(lanes[i], words[i]);
    }
    for (; at < bytes.size(); ++at)
        lanes[0] = mix(lanes[0], bytes[at]);
    return mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
}

} // namespace

Vga::Vga(Platform& platform)
    : platform_(platform), vram_bytes_(usable_vram(platform.config.vram_bytes)),
      vram_page_(platform.memory.add_backing(vram_bytes_ >> kPageShift)), dispi_(vram_bytes_),
      window_(platform.memory, this, vram_page_, vram_bytes_),
      frame_buffer_(platform.memory, PageKind::Ram, vram_page_, vram_bytes_ >> kPageShift) {
    set_id(kVendor, kDeviceId, kClassVga, 0);
    set_bar_size(kBarFrameBuffer, vram_bytes_, false);
    config_[kConfigBar0] |= kBarPrefetchable;
    set_bar_size(kBarRegisters, kRegisterBarBytes, false);
    load_rom(platform.config);

    platform.video = {vram_page_, vram_bytes_ >> kPageShift};
    platform.pci.attach(kPciDevice, 0, this);
    platform.io.add(kPortMonoFirst, kPortMonoCount, this, "vga");
    platform.io.add(kPortVgaFirst, kPortVgaCount, this, "vga");
    platform.io.add(kPortDispiIndex, kPortDispiCount, this, "vga", 2);

    platform.outputs.picture = [this](const Canvas& canvas) { vga_render(view(), canvas); };
    platform.outputs.text_screen = [this] { return vga_text_screen(view()); };
    platform.outputs.picture_generation = [this] { return picture_generation(); };
    platform.outputs.prefer_size = [this](uint32_t width, uint32_t height) {
        const DisplaySize size =
            nearest_mode({width, height}, {VgaDispi::kMaxXres, VgaDispi::kMaxYres}, vram_bytes_);
        monitor_ = size.width == 0 ? std::nullopt : std::optional(make_edid(size));
    };
    reset();
}

void Vga::load_rom(const PlatformConfig& config) {
    const std::string& path = config.vga_bios_path;
    if (path.empty())
        return;
    std::vector<uint8_t> image = config.vga_bios;
    if (image.empty()) {
        std::ifstream file(path, std::ios::binary);
        image.assign(std::istreambuf_iterator<char>(file), {});
    }
    if (image.empty() || image.size() > kMaxRomBytes) {
        base::log(base::LogLevel::Warn,
                  "cannot use display BIOS {}: the machine starts without a display; install package seabios",
                  path);
        return;
    }
    const uint32_t bytes = std::max(std::bit_ceil(static_cast<uint32_t>(image.size())), kPageSize);
    const uint32_t page = platform_.memory.add_backing(bytes >> kPageShift);
    std::copy(image.begin(), image.end(), platform_.memory.data() + (uint64_t{page} << kPageShift));
    rom_.emplace(platform_.memory, PageKind::Rom, page, bytes >> kPageShift);
    const uint32_t writable = ~(bytes - 1) | kRomEnable;
    for (unsigned i = 0; i < 4; ++i)
        writable_[kConfigRomBar + i] = static_cast<uint8_t>(writable >> (8 * i));
}

void Vga::reset() {
    registers_.reset();
    frame_.reset();
    dispi_.reset();
    planes_.reset();
    window_.update(registers_, dispi_);
    std::fill_n(config_.begin() + kConfigRomBar, 4, uint8_t{0});
    reset_config();
    changed_ = true;
}

uint32_t Vga::rom_bar() const {
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i)
        value |= static_cast<uint32_t>(config_[kConfigRomBar + i]) << (8 * i);
    return value;
}

void Vga::config_write(uint8_t offset, unsigned size, uint32_t value) {
    PciDevice::config_write(offset, size, value);
    if (offset < kConfigRomBar + 4 && offset + size > kConfigRomBar)
        bars_changed();
}

void Vga::bars_changed() {
    frame_buffer_.move(memory_enabled(), bar(kBarFrameBuffer));
    register_bar_.move(memory_enabled(), bar(kBarRegisters));
    if (rom_)
        rom_->move(memory_enabled() && (rom_bar() & kRomEnable) != 0, rom_bar());
}

// --- ports ---------------------------------------------------------------------------------------------

uint8_t Vga::read_vga_port(uint16_t port) {
    const bool status = registers_.is_input_status1(port);
    return registers_.read_port(port,
                                status ? frame_.read_status(registers_, platform_.clock.now()) : uint8_t{0});
}

void Vga::write_vga_port(uint16_t port, uint8_t value) {
    const VgaFrameStart before = vga_written_start(registers_);
    registers_.write_port(port, value);
    if (vga_written_start(registers_) != before)
        frame_.written(before, registers_, platform_.clock.now());
    switch (port) {
    case 0x3C2: // miscellaneous output, sequencer and graphics data: what the memory window follows
    case 0x3C5:
    case 0x3CF:
        window_.update(registers_, dispi_);
        break;
    default:
        break;
    }
    changed_ = true;
}

uint32_t Vga::io_read(uint16_t port, unsigned size) {
    if (port >= kPortMonoFirst)
        return read_vga_port(port);
    const uint16_t value = port == kPortDispiIndex ? dispi_.index() : dispi_.read(dispi_.index());
    if (size == 1 && port > kPortDispiData) // high byte of the data word
        return value >> 8;
    return size == 1 ? value & 0xFF : value;
}

void Vga::io_write(uint16_t port, unsigned size, uint32_t value) {
    if (port >= kPortMonoFirst)
        write_vga_port(port, static_cast<uint8_t>(value));
    else if (port == kPortDispiIndex)
        dispi_.set_index(static_cast<uint16_t>(value));
    else if (port == kPortDispiData && size == 2)
        write_dispi(dispi_.index(), static_cast<uint16_t>(value));
    // The data port takes words only: half a register has no meaning.
}

void Vga::write_dispi(uint16_t index, uint16_t value) {
    const bool clear = dispi_.write(index, value);
    registers_.set_dac_8bit(dispi_.dac_8bit());
    window_.update(registers_, dispi_); // before clearing, so that text is folded into memory first
    if (clear)
        clear_dispi_mode();
    changed_ = true;
}

void Vga::clear_dispi_mode() {
    const DispiGeometry geometry = dispi_.geometry();
    size_t bytes = size_t{geometry.row_bytes} * geometry.height;
    if (geometry.bits_per_pixel == 4) { // cells are shuffled within 64 Ki plane offsets
        constexpr size_t kGroup = 4 * 65536;
        bytes = (bytes * 4 + kGroup - 1) / kGroup * kGroup;
    }
    const std::span<uint8_t> vram = window_.vram();
    std::fill_n(vram.begin(), std::min(bytes, vram.size()), uint8_t{0});
}

// --- memory --------------------------------------------------------------------------------------------

uint32_t Vga::mmio_read(Physical address, unsigned size) {
    if (dispi_.linear()) // outside the bank, which is mapped
        return 0xFFFFFFFF;
    const uint32_t first = dispi_.enabled() ? dispi_.bank_start() : 0;
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= static_cast<uint32_t>(
                     planes_.read(registers_, window_.vram(), static_cast<uint32_t>(address) + i, first))
                 << (8 * i);
    return value;
}

void Vga::mmio_write(Physical address, unsigned size, uint32_t value) {
    if (dispi_.linear())
        return;
    const uint32_t first = dispi_.enabled() ? dispi_.bank_start() : 0;
    for (unsigned i = 0; i < size; ++i)
        planes_.write(registers_, window_.vram(), static_cast<uint32_t>(address) + i,
                      static_cast<uint8_t>(value >> (8 * i)), first);
    changed_ = true;
}

void Vga::RegisterBar::move(bool decoded, uint32_t base) {
    GuestMemory& memory = vga_.platform_.memory;
    const uint32_t page = decoded ? base >> kPageShift : kNoPage;
    if (page == page_)
        return;
    if (taken_)
        memory.unmap_mmio(this);
    page_ = page;
    const WholeMap whole(memory);
    taken_ = page != kNoPage && bar_page_free(memory, page);
    if (taken_)
        memory.map_mmio(page, 1, this);
}

uint32_t Vga::RegisterBar::mmio_read(Physical address, unsigned size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i) {
        const auto at = static_cast<uint32_t>(address + i) & (kPageSize - 1);
        uint32_t byte = 0;
        if (vga_.monitor_ && at < vga_.monitor_->size())
            byte = (*vga_.monitor_)[at];
        else if (at - kApertureVgaPorts < kPortVgaCount)
            byte = vga_.read_vga_port(static_cast<uint16_t>(kPortVgaFirst + (at - kApertureVgaPorts)));
        else if (at >= kApertureDispi && at < kApertureDispiEnd)
            byte =
                vga_.dispi_.read(static_cast<uint16_t>((at - kApertureDispi) / 2)) >> (8 * (at & 1)) & 0xFF;
        value |= byte << (8 * i);
    }
    return value;
}

void Vga::RegisterBar::mmio_write(Physical address, unsigned size, uint32_t value) {
    const uint32_t at = address & (kPageSize - 1);
    if (at - kApertureVgaPorts < kPortVgaCount) {
        for (unsigned i = 0; i < size; ++i)
            vga_.write_vga_port(static_cast<uint16_t>(kPortVgaFirst + (at - kApertureVgaPorts) + i),
                                static_cast<uint8_t>(value >> (8 * i)));
    } else if (at >= kApertureDispi && at < kApertureDispiEnd && size >= 2) {
        for (unsigned i = 0; i < size; i += 2)
            vga_.write_dispi(static_cast<uint16_t>((at - kApertureDispi + i) / 2),
                             static_cast<uint16_t>(value >> (8 * i)));
    }
}

// --- outputs -------------------------------------------------------------------------------------------

VgaView Vga::view() {
    window_.fold_text();
    const uint64_t now = platform_.clock.now();
    return {registers_, dispi_, window_.vram(), vga_blink(now), frame_.shown(registers_, now)};
}

// What the guest may have changed without a call to us, boiled down to a number.
uint64_t Vga::direct_fingerprint() {
    if (dispi_.linear()) {
        const VgaVisibleBytes visible = vga_visible_bytes(dispi_.geometry());
        return fingerprint_of(window_.vram().subspan(visible.first, visible.count));
    }
    uint64_t state = fingerprint_of(window_.direct_bytes());
    if (!dispi_.enabled() && !registers_.graphics()) {
        const VgaBlink blink = vga_blink(platform_.clock.now());
        state = mix(state, blink.cursor_on * 2u + blink.characters_on);
    }
    return state;
}

uint64_t Vga::picture_generation() {
    const uint64_t fingerprint = direct_fingerprint();
    const VgaFrameStart start = frame_.shown(registers_, platform_.clock.now());
    if (changed_ || fingerprint != fingerprint_ || start != start_)
        ++generation_;
    changed_ = false;
    start_ = start;
    fingerprint_ = fingerprint;
    return generation_;
}

// --- saved state ---------------------------------------------------------------------------------------

// Chunks that are all zero are not saved; most of video memory is never touched.
void Vga::serialize_vram(base::StateArchive& archive) {
    const std::span<uint8_t> vram = window_.vram();
    for (size_t at = 0; at < vram.size(); at += kVramChunk) {
        const std::span<uint8_t> chunk = vram.subspan(at, kVramChunk);
        const bool zero = chunk[0] == 0 && std::memcmp(chunk.data(), chunk.data() + 1, chunk.size() - 1) == 0;
        if (archive.loading() && !zero)
            std::fill(chunk.begin(), chunk.end(), uint8_t{0});
        if (archive.loading() || !zero)
            archive.bytes_field(fmt::format("vram_{:04x}", at / kVramChunk), chunk);
    }
}

void Vga::serialize(base::StateArchive& archive) {
    if (archive.loading())
        window_.discard();
    else
        window_.fold_text();
    archive.begin("vga", 1);
    serialize_config(archive);
    registers_.serialize(archive);
    frame_.serialize(archive, registers_, platform_.clock.now());
    dispi_.serialize(archive);
    planes_.serialize(archive);
    uint8_t apart = platform_.video.apart ? 1 : 0;
    if (archive.loading())
        apart = 0; // states of before scenes have no such field
    archive.field("memory_apart", apart);
    if (apart == 0)
        serialize_vram(archive);
    archive.end();
    if (!archive.loading())
        return;
    registers_.set_dac_8bit(dispi_.dac_8bit());
    window_.update(registers_, dispi_);
    bars_changed();
    changed_ = true;
}

std::unique_ptr<Device> make_vga(Platform& platform) { return std::make_unique<Vga>(platform); }

} // namespace vmm
