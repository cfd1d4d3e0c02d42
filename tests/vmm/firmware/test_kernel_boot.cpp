#include "tests/vmm/devices/chipset_fixture.h"
#include "vmm/firmware/kernel_boot.h"

#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

using namespace vmm;

namespace {

constexpr size_t kSetupBytes = 5 * 512;

template <class T> void put(std::vector<uint8_t>& to, size_t at, T value) {
    std::memcpy(&to[at], &value, sizeof value);
}
template <class T> T get(const std::vector<uint8_t>& from, size_t at) {
    T value;
    std::memcpy(&value, &from[at], sizeof value);
    return value;
}

// A header of protocol 2.10 with four setup sectors and 1000 bytes of kernel.
KernelBoot sample() {
    KernelBoot boot;
    boot.kernel.assign(kSetupBytes + 1000, 0x5A);
    std::fill_n(boot.kernel.begin() + 0x1F1, 0x268 - 0x1F1, uint8_t{0});
    boot.kernel[0x1F1] = 4;
    put<uint16_t>(boot.kernel, 0x1FE, 0xAA55);
    put<uint32_t>(boot.kernel, 0x202, 0x53726448);
    put<uint16_t>(boot.kernel, 0x206, 0x020A);
    boot.kernel[0x211] = 1;
    put<uint32_t>(boot.kernel, 0x22C, 0x7FFFFFFF);
    put<uint32_t>(boot.kernel, 0x238, 2047);
    put<uint64_t>(boot.kernel, 0x258, 0x100000);
    put<uint32_t>(boot.kernel, 0x260, 0x200000);
    boot.initrd.assign(5000, 0x77);
    boot.command_line = "console=ttyS0 vga=0x317 quiet";
    return boot;
}

constexpr uint64_t kRam = ChipsetFixture::kRam;

std::string refusal(const KernelBoot& boot, uint64_t ram = kRam) {
    const auto plan = plan_kernel_boot(boot, ram);
    return plan ? "" : plan.error().message;
}

} // namespace

TEST_CASE("kernel boot: the setup header is completed as the protocol asks", "[firmware]") {
    const auto plan = plan_kernel_boot(sample(), kRam).value();
    CHECK(plan.setup.size() == kSetupBytes);
    CHECK(plan.kernel_offset == kSetupBytes);
    CHECK(plan.kernel_bytes == 1000);
    CHECK(plan.setup[0x210] == 0xFF);
    CHECK(get<uint64_t>(plan.setup, 0x250) == KernelLayout::kSeedAddress);
    CHECK(plan.setup[0x211] == 0x81);
    CHECK(get<uint16_t>(plan.setup, 0x224) == 0xDE00);
    CHECK(get<uint32_t>(plan.setup, 0x228) == 0x1E000);
    CHECK(get<uint32_t>(plan.setup, 0x21C) == 5000);
    CHECK(get<uint16_t>(plan.setup, 0x1FA) == 0x317);
    const auto initrd = get<uint32_t>(plan.setup, 0x218);
    CHECK(initrd == plan.initrd_address);
    CHECK(initrd % kPageSize == 0);
    CHECK(initrd >= 0x300000);
    CHECK(initrd + 5000 <= kRam - (1u << 20));
}

TEST_CASE("kernel boot: a protocol without a place for the seed gets none", "[firmware]") {
    KernelBoot boot = sample();
    put<uint16_t>(boot.kernel, 0x206, 0x0208);
    CHECK(get<uint64_t>(plan_kernel_boot(boot, kRam).value().setup, 0x250) == 0);
}

TEST_CASE("kernel boot: the initrd respects the kernel's address limit", "[firmware]") {
    KernelBoot boot = sample();
    put<uint32_t>(boot.kernel, 0x22C, 0x7FFFFF);
    const auto plan = plan_kernel_boot(boot, kRam).value();
    CHECK(plan.initrd_address + 5000 <= 0x800000);
    CHECK(plan.initrd_address + 5000 + kPageSize >= 0x800000);
    put<uint32_t>(boot.kernel, 0x22C, 0x2FFFFF);
    CHECK_FALSE(refusal(boot).empty());
    boot.initrd.clear();
    CHECK(plan_kernel_boot(boot, kRam).value().initrd_address == 0);
}

TEST_CASE("kernel boot: hostile and unsuitable images are refused", "[firmware]") {
    REQUIRE(refusal(sample()).empty());
    const auto broken = [](auto change) {
        KernelBoot boot = sample();
        change(boot);
        return refusal(boot);
    };
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel.clear(); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel.resize(0x300); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel.resize(kSetupBytes); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x1F1] = 255; }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x1F1] = 64; }).empty()); // longer than the file
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x1FE] = 0; }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x202] = 0; }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x206] = 1; }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.kernel[0x211] = 0; }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { put<uint64_t>(b.kernel, 0x258, ~uint64_t{0}); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { put<uint32_t>(b.kernel, 0x260, ~0u); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { put<uint32_t>(b.kernel, 0x22C, 0); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.initrd.resize(kRam); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) { b.command_line.assign(2048, 'x'); }).empty());
    CHECK_FALSE(broken([](KernelBoot& b) {
                    put<uint32_t>(b.kernel, 0x238, ~0u);
                    b.command_line.assign(0x2000, 'x');
                }).empty());
}

TEST_CASE("kernel boot: the option ROM is bootable and sums to zero", "[firmware]") {
    const auto rom = kernel_boot_rom();
    CHECK(rom.size() == rom[2] * 512u);
    CHECK(get<uint16_t>(rom, 0) == 0xAA55);
    CHECK(static_cast<uint8_t>(std::accumulate(rom.begin(), rom.end(), 0)) == 0);
    const size_t pnp = get<uint16_t>(rom, 0x1A);
    CHECK(std::string(rom.begin() + static_cast<ptrdiff_t>(pnp),
                      rom.begin() + static_cast<ptrdiff_t>(pnp) + 4) == "$PnP");
    CHECK(static_cast<uint8_t>(std::accumulate(rom.begin() + 0x20, rom.begin() + 0x40, 0)) == 0);
    const size_t entry = get<uint16_t>(rom, pnp + 26);
    CHECK(rom[entry] == 0xFA); // cli
    // The failure branch lands on sti.
    CHECK(rom[entry + 0x13] == 0x75);
    CHECK(rom[entry + 0x15 + rom[entry + 0x14]] == 0xFB);
}

TEST_CASE("kernel boot: the port places everything where the header says", "[firmware]") {
    ChipsetFixture pc;
    pc.platform.config.kernel = std::make_shared<KernelBoot>(sample());
    pc.platform.config.identity.seed.fill(0x5E);
    const auto device = make_kernel_boot(pc.platform);
    CHECK(pc.platform.io.read(0x51C, 1) == 0);
    pc.platform.io.write(0x51C, 1, 1);
    CHECK(pc.platform.io.read(0x51C, 1) == 1);
    GuestMemory& memory = *pc.memory;
    CHECK(memory.read<uint32_t>(0x10202) == 0x53726448);
    CHECK(memory.read<uint8_t>(0x100000 + 999) == 0x5A);
    CHECK(memory.read<uint8_t>(0x100000 + 1000) == 0);
    const auto initrd = memory.read<uint32_t>(0x10218);
    CHECK(memory.read<uint8_t>(initrd) == 0x77);
    CHECK(memory.read<uint8_t>(initrd + 4999) == 0x77);
    CHECK(std::string(reinterpret_cast<char*>(memory.data()) + 0x1E000) == sample().command_line);
    // One setup_data node, type 9: the seed, and how often a kernel was placed.
    const auto node = memory.read<uint64_t>(0x10250);
    CHECK(node == 0x1FF00);
    CHECK(memory.read<uint64_t>(0x1FF00) == 0);
    CHECK(memory.read<uint32_t>(0x1FF08) == 9);
    CHECK(memory.read<uint32_t>(0x1FF0C) == 36);
    CHECK(memory.read<uint32_t>(0x1FF10) == 0x5E5E5E5E);
    CHECK(memory.read<uint32_t>(0x1FF2C) == 0x5E5E5E5E);
    CHECK(memory.read<uint32_t>(0x1FF30) == 0);
    pc.platform.io.write(0x51C, 1, 1);
    CHECK(memory.read<uint32_t>(0x1FF30) == 1);
    const auto state = ChipsetFixture::saved(*device);
    device->reset();
    CHECK(pc.platform.io.read(0x51C, 1) == 0);
    ChipsetFixture::load(*device, state);
    CHECK(pc.platform.io.read(0x51C, 1) == 1);
    memory.set_a20(false);
    pc.platform.io.write(0x51C, 1, 1);
    CHECK(pc.platform.io.read(0x51C, 1) == 0);
}

TEST_CASE("kernel boot: without a kernel there is no device", "[firmware]") {
    ChipsetFixture pc;
    CHECK(make_kernel_boot(pc.platform) == nullptr);
}

TEST_CASE("kernel boot: memtest86+ is accepted when installed", "[firmware]") {
    std::ifstream file("/boot/memtest86+ia32.bin", std::ios::binary);
    if (!file) {
        WARN("memtest86+ is not installed: not checked");
        return;
    }
    KernelBoot boot;
    boot.kernel.assign(std::istreambuf_iterator<char>(file), {});
    CHECK(refusal(boot, 64u << 20).empty());
}
