#include "appliance-format/image_format.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>

namespace appliance_format {

using namespace std::string_view_literals;

namespace {

constexpr uint64_t kSector = 512;
constexpr const char* kFlatten = "make one that stands alone with: qemu-img convert -O qcow2";

tl::unexpected<base::Error> needs_another(const char* name) {
    return base::fail(fmt::format("is a {} image that needs another file; {}", name, kFlatten), kIo);
}
tl::unexpected<base::Error> encrypted(const char* name) {
    return base::fail(
        fmt::format("is a {} image that is encrypted; take the encryption off in the program it is from",
                    name),
        kIo);
}

using Found = base::Result<ImageFormat>;

// QEMU's docs/interop/qcow2.txt, "Header"; version 1 has a shorter one with the same start.
Found qcow(const ImageBytes& image) {
    constexpr uint64_t kBacking = 8, kEncryption = 32, kOldEncryption = 36, kFeatures = 72,
                       kExternalData = 1u << 2;
    const uint32_t version = image.big32(4);
    if (version < 1 || version > 3)
        return base::fail(fmt::format("is a qcow image of an unknown version ({})", version), kIo);
    if (image.big64(kBacking) != 0 || (version == 3 && (image.big64(kFeatures) & kExternalData) != 0))
        return needs_another("qcow2");
    if (image.big32(version == 1 ? kOldEncryption : kEncryption) != 0)
        return encrypted("qcow2");
    return version == 1 ? ImageFormat{"qcow", "qcow"} : ImageFormat{"qcow2", "qcow2"};
}

// VMware "Virtual Disk Format 5.0", sparse extent header. Where its embedded description lies is said in the
// header, but there are readers that look for it in the second sector whatever that says; so both are looked
// at. They go on to the footer too, so this alone does not prove that nothing else is named.
Found vmdk(const ImageBytes& image) {
    constexpr uint64_t kMostDescriptor = 1 << 20, kUsual = kSector, kUsualLength = 20 * kSector;
    const auto capacity = image.little<uint64_t>(12), where = image.little<uint64_t>(28),
               length = image.little<uint64_t>(36);
    const auto text_at = [&](uint64_t at, uint64_t bytes) {
        return at >= image.size() ? std::string() : image.read(at, std::min(bytes, image.size() - at));
    };
    const std::string text = where < image.size() / kSector && length <= kMostDescriptor / kSector
                                 ? text_at(where * kSector, length * kSector)
                                 : std::string();
    const std::string usual = text_at(kUsual, kUsualLength);
    const bool alone = text.find("\"monolithicSparse\"") != std::string::npos ||
                       text.find("\"streamOptimized\"") != std::string::npos;
    for (const std::string& each : {text, usual})
        if (capacity == 0 || !alone || each.find("parentFileNameHint") != std::string::npos)
            return needs_another("VMDK");
    return ImageFormat{"VMDK", "vmdk", false};
}

Found vdi(const ImageBytes& image) { // image type: 1 grows, 2 does not, 3 undo, 4 difference
    const auto type = image.little<uint32_t>(76);
    if (type != 1 && type != 2)
        return needs_another("VDI");
    return ImageFormat{"VDI", "vdi"};
}

// Microsoft "Virtual Hard Disk Image Format Specification", "Hard Disk Footer Format": type 2 fixed, 3
// dynamic (with a copy of the footer in front), 4 differencing.
Found vhd(const ImageBytes& image) {
    constexpr uint64_t kType = 60;
    const bool in_front = image.holds(0, "conectix");
    const uint64_t end = image.size() >= kSector ? image.size() - kSector : 0;
    const uint32_t type = image.big32((in_front ? 0 : end) + kType);
    if (type == 4 || (in_front && image.holds(end, "conectix") && image.big32(end + kType) == 4))
        return needs_another("VHD");
    if (type != (in_front ? 3u : 2u))
        return base::fail(fmt::format("is a VHD image of an unknown type ({})", type), kIo);
    return ImageFormat{"VHD", "vpc"};
}

// [MS-VHDX] 2.2.3 (region table) and 2.6 (metadata): a parent locator is what a differencing disk has.
Found vhdx(const ImageBytes& image) {
    constexpr std::array<uint64_t, 2> kTables{192 << 10, 256 << 10};
    constexpr auto kMetadata = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"sv,
                   kParentLocator = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c"sv;
    constexpr uint64_t kEntry = 32, kMostEntries = 2047, kRegionOffset = 16, kTableHead = 32;
    for (const uint64_t table : kTables) {
        const uint64_t regions = std::min<uint64_t>(image.little<uint32_t>(table + 8), kMostEntries);
        for (uint64_t i = 0; i < regions; ++i) {
            const uint64_t region = table + 16 + i * kEntry;
            if (!image.holds(region, kMetadata))
                continue;
            const auto metadata = image.little<uint64_t>(region + kRegionOffset);
            if (metadata >= image.size())
                continue;
            const uint64_t items = std::min<uint64_t>(image.little<uint16_t>(metadata + 10), kMostEntries);
            for (uint64_t item = 0; item < items; ++item)
                if (image.holds(metadata + kTableHead + item * kEntry, kParentLocator))
                    return needs_another("VHDX");
        }
    }
    return ImageFormat{"VHDX", "vhdx"};
}

Found qed(const ImageBytes& image) { // QEMU's docs/interop/qed_spec.txt, "Header": feature bit 0
    if ((image.little<uint64_t>(16) & 1) != 0)
        return needs_another("QED");
    return ImageFormat{"QED", "qed"};
}

Found bochs(const ImageBytes& image) { // type and subtype; undoable and volatile ones lie over another image
    if (!image.holds(32, "Redolog\0"sv) || !image.holds(48, "Growing\0"sv))
        return needs_another("Bochs");
    return ImageFormat{"Bochs", "bochs"};
}

Found raw_cd(const ImageBytes&) {
    return base::fail("is a CD in whole sectors of 2352 bytes; make an ISO image of it first, with: bchunk",
                      kIo);
}

struct Magic {
    uint64_t at;
    std::string_view bytes;
    Found (*read)(const ImageBytes&);
};
constexpr std::array kReadable{Magic{0, "QFI\xfb"sv, qcow},
                               Magic{0, "KDMV"sv, vmdk},
                               Magic{64, "\x7f\x10\xda\xbe"sv, vdi},
                               Magic{0, "conectix"sv, vhd},
                               Magic{0, "vhdxfile"sv, vhdx},
                               Magic{0, "QED\0"sv, qed},
                               Magic{0, "Bochs Virtual HD Image"sv, bochs},
                               Magic{0, "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0"sv, raw_cd}};

constexpr const char* kConvert = "make one of it that Encore reads with: qemu-img convert -O qcow2";
constexpr const char* kUnpack = "unpack it first";
constexpr const char* kElsewhere = "make a raw image of it in the program it is from";

struct Named {
    uint64_t at;
    std::string_view bytes;
    const char *name, *advice;
};
constexpr std::array kNamed{
    Named{0, "# Disk DescriptorFile"sv, "VMDK description whose disk is in other files", kFlatten},
    Named{0, "COWD"sv, "VMDK image of ESX's older kind (COWD)", kConvert},
    Named{0, "\xbe\xba\xfe\xca\0\0\0\0"sv, "VMDK image of ESX's kind (SEsparse)", kConvert},
    Named{0, "WithoutFreeSpace"sv, "Parallels image, which may be one of a chain", kConvert},
    Named{0, "WithouFreSpacExt"sv, "Parallels image, which may be one of a chain", kConvert},
    Named{0, "#!/bin/sh\n#V2.0 Format\n"sv, "compressed loop image (cloop)", kConvert},
    Named{0, "OOOM"sv, "difference of a user-mode Linux (COW)", kElsewhere},
    Named{0, "EVF\x09\x0d\x0a\xff\0"sv, "forensic image (EWF)", kElsewhere},
    Named{0, "MSWIM\0\0\0"sv, "Windows archive (WIM)", kElsewhere},
    Named{0, "MComprHD"sv, "compressed disk of MAME (CHD)", kElsewhere},
    Named{0, "CISO"sv, "compressed CD (CISO)", kElsewhere},
    Named{0, "ISz!"sv, "compressed CD (ISZ)", kElsewhere},
    Named{0, "DAA\0"sv, "compressed CD (DAA)", kElsewhere},
    Named{0, "IMD "sv, "floppy of ImageDisk", kElsewhere},
    Named{0, "PK\3\4"sv, "zip archive", kUnpack},
    Named{0, "7z\xbc\xaf\x27\x1c"sv, "7-Zip archive", kUnpack},
    Named{0, "Rar!\x1a\x07"sv, "RAR archive", kUnpack},
    Named{257, "ustar"sv, "tar archive", kUnpack},
    Named{0,
          "\x7f"
          "ELF"sv,
          "program", "name a disk"},
};
// Counted from the end.
constexpr std::array kNamedAtEnd{
    Named{512, "koly"sv, "disk image of macOS (dmg)", kConvert},
    Named{12, "NER5"sv, "CD image of Nero", kElsewhere},
    Named{8, "NERO"sv, "CD image of Nero", kElsewhere},
};

// File systems and labels that fill a disk without a partition table.
struct Label {
    uint64_t at;
    std::string_view bytes;
};
constexpr std::array kLabels{
    Label{510, "\x55\xaa"sv},         // boot sector or partition table
    Label{512, "EFI PART"sv},         // GPT
    Label{512, "\x57\x45\x56\x82"sv}, // BSD
    Label{508, "\xda\xbe"sv},         // Sun
    Label{0, "ER"sv},                 // Apple
    Label{1080, "\x53\xef"sv},        // ext2, 3, 4
    Label{1040, "\x7f\x13"sv},        // Minix
    Label{1040, "\x8f\x13"sv},
    Label{1040, "\x68\x24"sv},
    Label{1040, "\x78\x24"sv},
    Label{4086, "SWAPSPACE2"sv}, // swap
    Label{4086, "SWAP-SPACE"sv},
    Label{0, "XFSB"sv},
    Label{32768, "JFS1"sv},
    Label{0x10034, "ReIsEr"sv},
    Label{0x10040, "_BHRfS_M"sv}, // Btrfs
    Label{0, "hsqs"sv},           // SquashFS
    Label{512, "LABELONE"sv},     // LVM
    Label{0, "LUKS\xba\xbe"sv},   // the guest has the key
};

bool is_blank(const ImageBytes& image) {
    constexpr size_t kEnough = 64 << 10;
    const std::string head = image.read(0, std::min<uint64_t>(image.size(), kEnough));
    return head.find_first_not_of('\0') == std::string::npos;
}

std::optional<ImageFormat> bytes_of_a_disk(const ImageBytes& image) {
    constexpr uint64_t kIso = 0x8001, kFatStart = 512;
    if (image.holds(kIso, "CD001") || image.holds(kIso, "BEA01")) // ECMA-119 8.1; ECMA-167 2/9.1
        return ImageFormat{"ISO", "", true, MediaKind::Cdrom};
    const bool labelled =
        std::ranges::any_of(kLabels, [&](const Label& label) { return image.holds(label.at, label.bytes); });
    // Floppies from before boot sectors had a mark: the first entry of the table says what drive they are
    // for.
    const bool old_floppy =
        image.holds(kFatStart + 1, "\xff\xff") && image.little<uint8_t>(kFatStart) >= 0xF0;
    if (is_floppy_size(image.size()) && (labelled || old_floppy || is_blank(image)))
        return ImageFormat{"floppy", "", true, MediaKind::Floppy};
    if (labelled || is_blank(image))
        return ImageFormat{"raw", ""};
    return std::nullopt;
}

} // namespace

base::Result<ImageFormat> image_format(const ImageBytes& image) {
    for (const Magic& magic : kReadable)
        if (image.holds(magic.at, magic.bytes))
            return magic.read(image);
    if (image.size() >= kSector && image.holds(image.size() - kSector, "conectix"))
        return vhd(image);
    for (const Named& named : kNamed)
        if (image.holds(named.at, named.bytes))
            return base::fail(fmt::format("is a {}; {}", named.name, named.advice), kIo);
    for (const Named& named : kNamedAtEnd)
        if (image.size() >= named.at && image.holds(image.size() - named.at, named.bytes))
            return base::fail(fmt::format("is a {}; {}", named.name, named.advice), kIo);
    if (const char* compression = compression_of(image))
        return base::fail(fmt::format("is compressed ({}) more than once; {}", compression, kUnpack), kIo);
    if (const auto raw = bytes_of_a_disk(image)) {
        const uint64_t unit = raw->kind == MediaKind::Cdrom ? 2048 : kSector;
        if (image.size() % unit != 0)
            return base::fail(fmt::format("is cut short: its size is not a multiple of {} bytes", unit), kIo);
        return *raw;
    }
    return base::fail(
        "is no image of a known kind, and has neither a partition table nor a boot sector nor a "
        "file system",
        kUnknownImage);
}

const char* compression_of(const ImageBytes& image) {
    struct Compression {
        std::string_view bytes;
        const char* name;
    };
    constexpr std::array kCompressions{Compression{"\x1f\x8b"sv, "gzip"}, Compression{"BZh"sv, "bzip2"},
                                       Compression{"\xfd"
                                                   "7zXZ\0"sv,
                                                   "xz"},
                                       Compression{"\x28\xb5\x2f\xfd"sv, "zstd"},
                                       Compression{"\x04\x22\x4d\x18"sv, "lz4"}};
    for (const Compression& each : kCompressions)
        if (image.holds(0, each.bytes))
            return each.name;
    return nullptr;
}

bool is_floppy_size(uint64_t bytes) {
    constexpr std::array<uint64_t, 10> kSizes{160, 180, 320, 360, 720, 1200, 1440, 1680, 1722, 2880}; // KiB
    return std::ranges::find(kSizes, bytes / 1024) != kSizes.end() && bytes % 1024 == 0;
}

} // namespace appliance_format
