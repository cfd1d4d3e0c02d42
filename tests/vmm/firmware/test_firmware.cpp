// BIOS and option ROM loading, boot order.
#include "vmm/firmware/bios.h"
#include "vmm/firmware/firmware_files.h"
#include "vmm/firmware/rom_image.h"

#include <catch2/catch.hpp>

#include <cstdio>
#include <fstream>
#include <unistd.h>

using namespace vmm;

namespace {

// A file that goes away with the test.
struct TemporaryFile {
    explicit TemporaryFile(const std::vector<uint8_t>& bytes) {
        char name[] = "/tmp/encore-test-XXXXXX";
        const int fd = ::mkstemp(name);
        REQUIRE(fd >= 0);
        ::close(fd);
        path = name;
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    ~TemporaryFile() { std::remove(path.c_str()); }
    std::string path;
};

std::vector<uint8_t> fake_bios() {
    std::vector<uint8_t> image(256u << 10);
    for (size_t i = 0; i < image.size(); ++i)
        image[i] = static_cast<uint8_t>(i >> 12 ^ i);
    return image;
}

struct NoBlocks : BlockPort {
    uint64_t size_bytes() const override { return 0; }
    bool read_only() const override { return true; }
    base::Result<void> read(uint64_t, std::span<uint8_t>) override { return {}; }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override { return {}; }
    base::Result<void> flush() override { return {}; }
};
Medium medium(MediumKind kind) { return {kind, std::make_shared<NoBlocks>()}; }

} // namespace

TEST_CASE("bios: the image ends at 4 GiB and its last 128 KiB show at E0000h", "[firmware]") {
    const TemporaryFile file(fake_bios());
    const auto image = fake_bios();
    auto memory = GuestMemory::create(16u << 20).value();
    Platform platform({}, *memory);
    platform.config.bios_path = file.path;
    REQUIRE(setup_firmware(platform).has_value());
    std::vector<uint8_t> seen(image.size());
    memory->read(0u - static_cast<uint32_t>(image.size()), seen.data(), seen.size());
    CHECK(seen == image);
    seen.resize(128u << 10);
    memory->read(0xE0000, seen.data(), seen.size());
    CHECK(std::equal(seen.begin(), seen.end(), image.end() - (128 << 10)));
    memory->write<uint8_t>(0xFFFFFFF0, static_cast<uint8_t>(~image[image.size() - 16]));
    CHECK(memory->read<uint8_t>(0xFFFFFFF0) == image[image.size() - 16]);
}

TEST_CASE("bios: a second setup maps the same pages again, even with A20 closed", "[firmware]") {
    const TemporaryFile file(fake_bios());
    auto memory = GuestMemory::create(16u << 20).value();
    Platform platform({}, *memory);
    platform.config.bios_path = file.path;
    REQUIRE(setup_firmware(platform).has_value());
    const uint64_t backing = memory->backing_bytes();
    memory->map(0xE0, 32, PageKind::Ram, 0xE0);
    memory->set_a20(false);
    REQUIRE(setup_firmware(platform).has_value());
    CHECK(memory->backing_bytes() == backing);
    CHECK(memory->a20());
    CHECK(memory->entry(0xFF).backing == memory->entry(0xFFFFF).backing);
}

TEST_CASE("bios: a missing or wrong image says which package has it", "[firmware]") {
    auto memory = GuestMemory::create(16u << 20).value();
    Platform platform({}, *memory);
    platform.config.bios_path = "/nonexistent/bios.bin";
    auto missing = setup_firmware(platform);
    REQUIRE_FALSE(missing.has_value());
    CHECK(missing.error().message.find("/nonexistent/bios.bin") != std::string::npos);
    CHECK(missing.error().message.find("seabios") != std::string::npos);
    for (size_t bytes : {size_t{0}, size_t{1000}, size_t{64} << 10, (size_t{1} << 20) + 1}) {
        const TemporaryFile file{std::vector<uint8_t>(bytes)};
        platform.config.bios_path = file.path;
        CHECK_FALSE(setup_firmware(platform).has_value());
    }
}

TEST_CASE("rom image: accepts an option ROM and refuses what is not", "[firmware]") {
    std::vector<uint8_t> rom(1024);
    rom[0] = 0x55, rom[1] = 0xAA, rom[2] = 2;
    CHECK(load_rom_image(TemporaryFile(rom).path).value() == rom);
    rom[2] = 3; // longer than the file
    CHECK_FALSE(load_rom_image(TemporaryFile(rom).path).has_value());
    rom[2] = 2, rom[0] = 0;
    CHECK_FALSE(load_rom_image(TemporaryFile(rom).path).has_value());
    CHECK_FALSE(load_rom_image("/nonexistent").has_value());
}

TEST_CASE("boot order: paths are those SeaBIOS compares", "[firmware]") {
    PlatformConfig config;
    config.media = {medium(MediumKind::Floppy), medium(MediumKind::Disk), medium(MediumKind::Cdrom)};
    config.boot_order = {BootDevice::Kernel, BootDevice::Cdrom, BootDevice::Floppy, BootDevice::Disk};
    CHECK(boot_order_paths(config) == std::string("/rom@genroms/encore-kernel.bin\n"
                                                  "/pci@i0cf8/ide@1,1/drive@1/disk@0\n"
                                                  "/pci@i0cf8/isa@1/fdc@03f0/floppy@0\n"
                                                  "/pci@i0cf8/ide@1,1/drive@0/disk@0") +
                                          '\0');
    // Disks fill from the primary master, CD-ROMs what is left, secondary master first.
    config.media = {medium(MediumKind::Cdrom), medium(MediumKind::Disk), medium(MediumKind::Disk),
                    medium(MediumKind::Disk), medium(MediumKind::Cdrom)};
    config.boot_order = {BootDevice::Cdrom, BootDevice::Disk};
    CHECK(boot_order_paths(config) == std::string("/pci@i0cf8/ide@1,1/drive@1/disk@1\n"
                                                  "/pci@i0cf8/ide@1,1/drive@0/disk@0\n"
                                                  "/pci@i0cf8/ide@1,1/drive@0/disk@1\n"
                                                  "/pci@i0cf8/ide@1,1/drive@1/disk@0") +
                                          '\0');
    config.media.clear();
    config.boot_order = {BootDevice::Disk};
    CHECK(boot_order_paths(config).empty());
}
