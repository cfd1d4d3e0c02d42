// See kernel_boot.h. Field offsets are those of "The Linux/x86 Boot Protocol".
#include "vmm/firmware/kernel_boot.h"

#include "vmm/base/log.h"
#include "vmm/base/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>

namespace vmm {

namespace {

constexpr size_t kSector = 512;
// Real-mode code is at most 32 KiB after the boot sector; its heap and stack end at kHeapEnd.
constexpr unsigned kMaxSetupSectors = 64, kOldSetupSectors = 4;
constexpr size_t kSetupSects = 0x1F1, kVideoMode = 0x1FA, kBootFlag = 0x1FE, kMagic = 0x202, kVersion = 0x206,
                 kLoaderType = 0x210, kLoadFlags = 0x211, kRamdiskImage = 0x218, kRamdiskSize = 0x21C,
                 kHeapEndPtr = 0x224, kCommandLinePtr = 0x228, kInitrdMax = 0x22C, kCommandLineSize = 0x238,
                 kSetupData = 0x250, kPrefAddress = 0x258, kInitSize = 0x260;
constexpr uint32_t kHdrS = 0x53726448;
constexpr uint8_t kLoadedHigh = 0x01, kCanUseHeap = 0x80, kUnregisteredLoader = 0xFF;
constexpr uint32_t kOldInitrdMax = 0x37FFFFFF;
constexpr uint32_t kOldCommandLineSize = 255;
constexpr uint32_t kCommandLineRoom = KernelLayout::kSeedAddress - KernelLayout::kCommandLineAddress - 1;
constexpr uint32_t kSetupRngSeed = 9; // type of a setup_data node
// SeaBIOS keeps ACPI tables and its own data (at most 256 KiB) at the top of RAM.
constexpr uint64_t kFirmwareReserve = 1u << 20;

template <class T> T load(const std::vector<uint8_t>& from, size_t at) {
    VERIFY(at + sizeof(T) <= from.size());
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}
template <class T> void store(std::vector<uint8_t>& to, size_t at, T value) {
    VERIFY(at + sizeof(T) <= to.size());
    std::memcpy(to.data() + at, &value, sizeof value);
}

// "vga=" on the command line is the boot loader's to interpret.
std::optional<uint16_t> video_mode(std::string_view command_line) {
    constexpr std::string_view kOption = "vga=";
    size_t at = command_line.find(kOption);
    while (at != std::string_view::npos && at != 0 && command_line[at - 1] != ' ')
        at = command_line.find(kOption, at + 1);
    if (at == std::string_view::npos)
        return std::nullopt;
    std::string_view word = command_line.substr(at + kOption.size());
    word = word.substr(0, word.find(' '));
    if (word == "normal")
        return uint16_t{0xFFFF};
    if (word == "ext")
        return uint16_t{0xFFFE};
    if (word == "ask")
        return uint16_t{0xFFFD};
    const bool hexadecimal = word.starts_with("0x");
    if (hexadecimal)
        word.remove_prefix(2);
    uint16_t mode = 0;
    const auto [end, error] =
        std::from_chars(word.data(), word.data() + word.size(), mode, hexadecimal ? 16 : 10);
    if (error != std::errc{} || end != word.data() + word.size())
        return std::nullopt;
    return mode;
}

base::Result<void> check_header(const std::vector<uint8_t>& kernel) {
    if (kernel.size() < 2 * kSector || load<uint16_t>(kernel, kBootFlag) != 0xAA55 ||
        load<uint32_t>(kernel, kMagic) != kHdrS)
        return base::fail("the kernel is not a Linux bzImage");
    if (load<uint16_t>(kernel, kVersion) < 0x0202)
        return base::fail("the kernel's boot protocol is older than 2.02 (Linux 2.4)");
    if ((kernel[kLoadFlags] & kLoadedHigh) == 0)
        return base::fail("the kernel is a zImage, which loads low; build a bzImage");
    return {};
}

uint64_t mebibytes(uint64_t bytes) { return (bytes + (1u << 20) - 1) >> 20; }

} // namespace

base::Result<KernelLayout> plan_kernel_boot(const KernelBoot& boot, uint64_t ram_bytes) {
    const std::vector<uint8_t>& kernel = boot.kernel;
    TRY(check_header(kernel));
    const auto version = load<uint16_t>(kernel, kVersion);
    const unsigned sectors = kernel[kSetupSects] == 0 ? kOldSetupSectors : kernel[kSetupSects];
    const size_t setup_bytes = (sectors + 1) * kSector;
    if (sectors > kMaxSetupSectors)
        return base::fail(fmt::format("the kernel's setup code is {} sectors long; at most {} are allowed",
                                      sectors, kMaxSetupSectors));
    if (kernel.size() <= setup_bytes)
        return base::fail("the kernel image is cut short");

    KernelLayout layout;
    layout.setup.assign(kernel.begin(), kernel.begin() + static_cast<ptrdiff_t>(setup_bytes));
    layout.kernel_offset = setup_bytes;
    layout.kernel_bytes = kernel.size() - setup_bytes;

    // Memory in use until the kernel has looked at its initrd: the image, and from 2.10 on the place where it
    // unpacks itself.
    uint64_t busy_end = KernelLayout::kKernelAddress + uint64_t{layout.kernel_bytes};
    if (version >= 0x020A) {
        const auto preferred = load<uint64_t>(kernel, kPrefAddress);
        if (preferred >= uint64_t{1} << 32)
            return base::fail("the kernel wants to run above 4 GiB");
        const uint64_t start = std::max<uint64_t>(preferred, KernelLayout::kKernelAddress);
        busy_end = std::max(busy_end, start + load<uint32_t>(kernel, kInitSize));
    }
    const uint64_t initrd_bytes = boot.initrd.size();
    const uint64_t needed = busy_end + initrd_bytes + kFirmwareReserve + kPageSize;
    const uint64_t low_ram = GuestMemory::low_ram(ram_bytes);
    if (needed > low_ram)
        return base::fail(fmt::format("kernel and initial RAM disk need {} MiB of memory; the machine has {}",
                                      mebibytes(needed), mebibytes(low_ram)));
    if (initrd_bytes > 0) {
        const uint32_t limit = version >= 0x0203 ? load<uint32_t>(kernel, kInitrdMax) : kOldInitrdMax;
        const uint64_t top = std::min<uint64_t>(low_ram - kFirmwareReserve, uint64_t{limit} + 1);
        if (top < busy_end + initrd_bytes + kPageSize)
            return base::fail("the initial RAM disk does not fit below the kernel's address limit for it");
        layout.initrd_address = static_cast<uint32_t>((top - initrd_bytes) & ~uint64_t{kPageSize - 1});
    }

    const uint32_t allowed =
        version >= 0x0206 ? load<uint32_t>(kernel, kCommandLineSize) : kOldCommandLineSize;
    if (boot.command_line.size() > std::min(allowed, kCommandLineRoom))
        return base::fail(fmt::format("the kernel's command line may have {} characters, not {}",
                                      std::min(allowed, kCommandLineRoom), boot.command_line.size()));

    std::vector<uint8_t>& setup = layout.setup;
    setup[kLoaderType] = kUnregisteredLoader;
    setup[kLoadFlags] |= kCanUseHeap;
    store<uint16_t>(setup, kHeapEndPtr, KernelLayout::kHeapEnd - kSector);
    store<uint32_t>(setup, kCommandLinePtr, KernelLayout::kCommandLineAddress);
    store<uint32_t>(setup, kRamdiskImage, layout.initrd_address);
    store<uint32_t>(setup, kRamdiskSize, static_cast<uint32_t>(initrd_bytes));
    if (version >= 0x0209)
        store<uint64_t>(setup, kSetupData, KernelLayout::kSeedAddress);
    if (const auto mode = video_mode(boot.command_line))
        store<uint16_t>(setup, kVideoMode, *mode);
    return layout;
}

namespace {

constexpr uint16_t kLoadPort = 0x51C; // private: next to fw_cfg, used by no PC hardware
constexpr uint8_t kLoadCommand = 0x01, kLoaded = 0x01;

constexpr size_t kRomBytes = 512, kPnpPointer = 0x1A, kPnpHeader = 0x20, kPnpChecksum = kPnpHeader + 9,
                 kVendorText = 0x40, kProductText = 0x50, kEntry = 0x80;
constexpr size_t kPnpHeaderBytes = 32;

// Entered by SeaBIOS in real mode, by a far call, as bootstrap entry vector.
constexpr uint8_t kEntryCode[] = {
    0xFA,                 // cli
    0xFC,                 // cld
    0xE4,           0x92, // in al, 92h         ; A20 on: the kernel goes above 1 MiB
    0x0C,           0x02, // or al, 2
    0x24,           0xFE, // and al, 0FEh       ; but no reset
    0xE6,           0x92, // out 92h, al
    0xBA,           kLoadPort & 0xFF,
    kLoadPort >> 8,               // mov dx, kLoadPort
    0xB0,           kLoadCommand, // mov al, kLoadCommand
    0xEE,                         // out dx, al         ; the VMM places everything now
    0xEC,                         // in al, dx
    0x3C,           kLoaded,      // cmp al, kLoaded
    0x75,           0x23,         // jne failed
    0xB8,           0x00,
    0x10,                 // mov ax, 1000h      ; the setup segment
    0x8E,           0xD8, // mov ds, ax
    0x8E,           0xC0, // mov es, ax
    0x8E,           0xE0, // mov fs, ax
    0x8E,           0xE8, // mov gs, ax
    0x8E,           0xD0, // mov ss, ax
    0xBC,           0x00,
    0xE0,                 // mov sp, kHeapEnd
    0x31,           0xC0, // xor ax, ax
    0x31,           0xDB, // xor bx, bx
    0x31,           0xC9, // xor cx, cx
    0x31,           0xD2, // xor dx, dx
    0x31,           0xF6, // xor si, si
    0x31,           0xFF, // xor di, di
    0x31,           0xED, // xor bp, bp
    0xEA,           0x00,
    0x00,           0x20,
    0x10,                 // jmp 1020h:0000h
    0xFB,                 // failed: sti
    0xCD,           0x18, // int 18h            ; next boot device
    0xCB,                 // retf
};

} // namespace

std::vector<uint8_t> kernel_boot_rom() {
    std::vector<uint8_t> rom(kRomBytes, 0);
    const auto text = [&](size_t at, std::string_view words) {
        std::copy(words.begin(), words.end(), &rom[at]);
    };
    // Option ROM header; initialisation says "I can boot" (AX bit 5, Plug and Play BIOS 1.0A) and returns.
    constexpr uint8_t kHeader[] = {0x55, 0xAA, kRomBytes / 512, 0xB8, 0x20, 0x00, 0xCB};
    std::copy(std::begin(kHeader), std::end(kHeader), rom.begin());
    rom[kPnpPointer] = kPnpHeader;
    // Plug and Play expansion header.
    text(kPnpHeader, "$PnP");
    rom[kPnpHeader + 4] = 0x01; // revision
    rom[kPnpHeader + 5] = kPnpHeaderBytes / 16;
    store<uint16_t>(rom, kPnpHeader + 14, kVendorText);
    store<uint16_t>(rom, kPnpHeader + 16, kProductText);
    rom[kPnpHeader + 21] = 0x04; // initial program load device
    store<uint16_t>(rom, kPnpHeader + 26, kEntry);
    text(kVendorText, "Encore");
    text(kProductText, "Linux kernel");
    std::copy(std::begin(kEntryCode), std::end(kEntryCode), rom.begin() + kEntry);
    // Header and ROM each sum to zero.
    const auto header = rom.begin() + kPnpHeader;
    rom[kPnpChecksum] = static_cast<uint8_t>(-std::accumulate(header, header + kPnpHeaderBytes, 0));
    rom.back() = static_cast<uint8_t>(-std::accumulate(rom.begin(), rom.end(), 0));
    return rom;
}

namespace {

// The port behind the ROM. Its guest may use it at any time: that only loads the kernel again.
class KernelBootPort : public Device, public IoHandler {
  public:
    explicit KernelBootPort(Platform& platform) : platform_(platform) {
        platform.io.add(kLoadPort, 1, this, "kernel_boot");
    }

    [[nodiscard]] std::string_view name() const override { return "kernel_boot"; }
    void reset() override { status_ = 0; }
    void serialize(base::StateArchive& archive) override {
        archive.begin("kernel_boot", 1);
        archive.field("status", status_);
        archive.end();
    }

    uint32_t io_read(uint16_t, unsigned) override { return status_; }
    void io_write(uint16_t, unsigned, uint32_t value) override {
        if (value == kLoadCommand)
            status_ = place() ? kLoaded : 0;
    }

  private:
    bool place() {
        GuestMemory& memory = platform_.memory;
        KernelBoot& boot = *platform_.config.kernel;
        if (boot.load && boot.kernel.empty()) {
            if (auto loaded = boot.load(boot); !loaded) {
                base::log(base::LogLevel::Warn, "the kernel cannot be loaded: {}", loaded.error().message);
                return false;
            }
        }
        const auto plan = plan_kernel_boot(boot, memory.ram_bytes());
        if (!plan || !memory.a20()) // without A20 the kernel would land on the low megabyte
            return false;
        const std::string& line = boot.command_line;
        memory.write(KernelLayout::kSetupAddress, plan->setup.data(), plan->setup.size());
        memory.write(KernelLayout::kCommandLineAddress, line.c_str(), line.size() + 1);
        memory.write(KernelLayout::kKernelAddress, boot.kernel.data() + plan->kernel_offset,
                     plan->kernel_bytes);
        const std::vector<uint8_t> seed = seed_node();
        memory.write(KernelLayout::kSeedAddress, seed.data(), seed.size());
        if (plan->initrd_address != 0)
            memory.write(plan->initrd_address, boot.initrd.data(), boot.initrd.size());
        if (boot.load) // tens of megabytes that only a reset may want again
            boot.kernel = std::vector<uint8_t>(), boot.initrd = std::vector<uint8_t>();
        return true;
    }

    // A list of one setup_data node: next, type, length, data. A restarted kernel gets other bytes.
    std::vector<uint8_t> seed_node() {
        const auto& seed = platform_.config.identity.seed;
        constexpr size_t kHeader = 16;
        std::vector<uint8_t> node(kHeader + seed.size() + sizeof loads_);
        store<uint32_t>(node, 8, kSetupRngSeed);
        store<uint32_t>(node, 12, static_cast<uint32_t>(node.size() - kHeader));
        std::ranges::copy(seed, node.begin() + kHeader);
        store<uint32_t>(node, kHeader + seed.size(), loads_++);
        return node;
    }

    Platform& platform_;
    uint8_t status_ = 0;
    uint32_t loads_ = 0;
};

} // namespace

std::unique_ptr<Device> make_kernel_boot(Platform& platform) {
    return platform.config.kernel != nullptr ? std::make_unique<KernelBootPort>(platform) : nullptr;
}

} // namespace vmm
