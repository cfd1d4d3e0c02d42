#include "appliance-format/vmdk_writer.h"

#include "appliance-format/format.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <vector>
#include <zlib.h>

namespace appliance_format {

namespace {

static_assert(std::endian::native == std::endian::little, "the structures below are written as they lie");

constexpr uint64_t kSector = 512;
constexpr uint64_t kGrainSectors = 128, kGrain = kGrainSectors * kSector;
constexpr uint64_t kTableEntries = 512, kTableSectors = kTableEntries * sizeof(uint32_t) / kSector;
constexpr uint64_t kDescriptorAt = 1, kDescriptorSectors = 20, kOverhead = 128;
constexpr uint64_t kAtEnd = ~uint64_t{0}; // the directory: see the footer

// "Hosted Sparse Extent Header" and "Stream-Optimized Compressed Sparse Extents".
struct [[gnu::packed]] Header {
    char magic[4] = {'K', 'D', 'M', 'V'};
    uint32_t version = 3;
    uint32_t flags = 0x30001; // line ends can be checked; compressed grains; markers
    uint64_t capacity = 0;
    uint64_t grain = kGrainSectors;
    uint64_t descriptor = kDescriptorAt, descriptor_size = kDescriptorSectors;
    uint32_t table_entries = kTableEntries;
    uint64_t second_directory = 0, directory = kAtEnd;
    uint64_t overhead = kOverhead;
    uint8_t dirty = 0;
    char line_ends[4] = {'\n', ' ', '\r', '\n'};
    uint16_t compression = 1; // deflate
    uint8_t padding[433] = {};
};
static_assert(sizeof(Header) == kSector);

struct [[gnu::packed]] Marker {
    uint64_t sectors = 0; // that follow
    uint32_t size = 0;    // zero: no grain
    enum Type : uint32_t { kEnd = 0, kTable = 1, kDirectory = 2, kFooter = 3 } type = kEnd;
    uint8_t padding[496] = {};
};
static_assert(sizeof(Marker) == kSector);

struct [[gnu::packed]] GrainMarker {
    uint64_t first_sector = 0;
    uint32_t size = 0;
};

template <class T> std::span<const uint8_t> bytes_of(const T& object) {
    return {reinterpret_cast<const uint8_t*>(&object), sizeof object};
}

constexpr uint64_t in_sectors(uint64_t bytes) { return (bytes + kSector - 1) / kSector; }

// As IDE disks describe themselves (ATA-5 6.2): 16 heads, 63 sectors, at most 16383 cylinders.
uint64_t cylinders(uint64_t capacity) {
    constexpr uint64_t kHeads = 16, kSectors = 63, kMost = 16383;
    return std::clamp<uint64_t>(capacity / (kHeads * kSectors), 1, kMost);
}

class Writer {
  public:
    Writer(const BlobReader& disk, const VmdkOptions& options, const ByteSink& sink)
        : disk_(disk), options_(options), sink_(sink), capacity_(in_sectors(disk.size())), grain_(kGrain) {}

    base::Result<> write() {
        header_.capacity = capacity_;
        TRY(put(bytes_of(header_)));
        TRY(put_description());
        const uint64_t grains = (disk_.size() + kGrain - 1) / kGrain;
        for (uint64_t first = 0; first < grains; first += kTableEntries)
            TRY(put_table(first, std::min(grains, first + kTableEntries)));
        const uint64_t directory = directory_.size() * sizeof(uint32_t);
        TRY(put(bytes_of(Marker{in_sectors(directory), 0, Marker::kDirectory})));
        header_.directory = sector();
        TRY(put({reinterpret_cast<const uint8_t*>(directory_.data()), directory}));
        TRY(pad());
        TRY(put(bytes_of(Marker{1, 0, Marker::kFooter})));
        TRY(put(bytes_of(header_)));
        return put(bytes_of(Marker{}));
    }

  private:
    base::Result<> put(std::span<const uint8_t> bytes) {
        written_ += bytes.size();
        return sink_(bytes);
    }

    base::Result<> pad_to(uint64_t bytes) {
        const std::vector<uint8_t> zeros(bytes - written_);
        return put(zeros);
    }
    base::Result<> pad() { return pad_to(in_sectors(written_) * kSector); }

    // Where the next byte goes; always at the beginning of a sector when it is asked for.
    [[nodiscard]] uint32_t sector() const { return static_cast<uint32_t>(written_ / kSector); }

    base::Result<> put_description() {
        const std::string text =
            fmt::format("# Disk DescriptorFile\nversion=1\nCID={:02x}{:02x}{:02x}{:02x}\n"
                        "parentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"
                        "# Extent description\nRW {} SPARSE \"{}\"\n\n"
                        "# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"
                        "ddb.geometry.cylinders = \"{}\"\nddb.geometry.heads = \"16\"\n"
                        "ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n",
                        id(0), id(1), id(2), id(3), capacity_, options_.name, cylinders(capacity_));
        TRY(put({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
        return pad_to(kOverhead * kSector);
    }
    // The same for the same content. All ones would mean that there is none.
    [[nodiscard]] uint8_t id(size_t byte) const { return disk_.info().root.hash[byte] & 0x7f; }

    // Grains [first, end), and the table that says where each is; none where all are zero.
    base::Result<> put_table(uint64_t first, uint64_t end) {
        std::vector<uint32_t> table(kTableEntries);
        bool any = false;
        for (uint64_t grain = first; grain < end; ++grain) {
            if (options_.progress && !options_.progress(grain * kGrain))
                return base::fail("stopped; nothing was written", kCancelled);
            const uint32_t at = sector();
            if (!TRY(put_grain(grain)))
                continue;
            table[grain - first] = at;
            any = true;
        }
        if (!any) {
            directory_.push_back(0);
            return {};
        }
        TRY(put(bytes_of(Marker{kTableSectors, 0, Marker::kTable})));
        directory_.push_back(sector());
        if (written_ / kSector > UINT32_MAX - kTableEntries * (kGrainSectors + 1))
            return base::fail("the disk holds more than a VMDK of this kind can, 2 TB", kIo);
        return put({reinterpret_cast<const uint8_t*>(table.data()), table.size() * sizeof(uint32_t)});
    }

    // False: there is nothing but zeros in it.
    base::Result<bool> put_grain(uint64_t grain) {
        const uint64_t from = grain * kGrain, length = std::min(kGrain, disk_.size() - from);
        if (TRY(disk_.is_zero(from, length)))
            return false;
        std::memset(grain_.data() + length, 0, kGrain - length);
        TRY(disk_.read(from, std::span(grain_).first(length)));
        if (std::ranges::all_of(grain_, [](uint8_t byte) { return byte == 0; }))
            return false;
        uLongf size = compressBound(kGrain);
        packed_.resize(sizeof(GrainMarker) + size);
        if (compress2(packed_.data() + sizeof(GrainMarker), &size, grain_.data(), kGrain, options_.level) !=
            Z_OK)
            return base::fail("out of memory while compressing a disk", kIo);
        const GrainMarker marker{grain * kGrainSectors, static_cast<uint32_t>(size)};
        std::memcpy(packed_.data(), &marker, sizeof marker);
        TRY(put(std::span(packed_).first(sizeof marker + size)));
        TRY(pad());
        return true;
    }

    const BlobReader& disk_;
    const VmdkOptions& options_;
    const ByteSink& sink_;
    uint64_t capacity_; // in sectors
    Header header_;
    std::vector<uint8_t> grain_, packed_;
    std::vector<uint32_t> directory_; // the sector of each table
    uint64_t written_ = 0;
};

} // namespace

base::Result<> write_vmdk(const BlobReader& disk, const VmdkOptions& options, const ByteSink& sink) {
    return Writer(disk, options, sink).write();
}

} // namespace appliance_format
