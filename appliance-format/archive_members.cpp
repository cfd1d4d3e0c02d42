#include "appliance-format/archive_members.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "vmm/base/file_io.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <set>

namespace appliance_format {

namespace {

constexpr size_t kMaxMembers = 1000, kPiece = 256 << 10;

// What libarchive reads from.
struct Input {
    const ImageBytes& bytes;
    uint64_t at = 0;
    std::vector<uint8_t> buffer = std::vector<uint8_t>(kPiece);

    static la_ssize_t read(archive*, void* data, const void** out) {
        auto& self = *static_cast<Input*>(data);
        const size_t length = std::min<uint64_t>(self.buffer.size(), self.bytes.size() - self.at);
        if (!self.bytes.read(self.at, {self.buffer.data(), length}))
            return ARCHIVE_FATAL;
        self.at += length;
        *out = self.buffer.data();
        return static_cast<la_ssize_t>(length);
    }
    static la_int64_t skip(archive*, void* data, la_int64_t wanted) {
        auto& self = *static_cast<Input*>(data);
        const uint64_t length =
            std::min<uint64_t>(std::max<la_int64_t>(wanted, 0), self.bytes.size() - self.at);
        self.at += length;
        return static_cast<la_int64_t>(length);
    }
};

struct ArchiveDeleter {
    void operator()(archive* a) const { archive_read_free(a); }
};
using Archive = std::unique_ptr<archive, ArchiveDeleter>;

// A new file, written from front to end; whole blocks of zeros become holes.
class Spool {
  public:
    static base::Result<Spool> create() {
        const char* folder = std::getenv("TMPDIR");
        Spool spool;
        spool.fd_ = TRY(scratch_file(folder != nullptr && *folder != '\0' ? folder : "/var/tmp"));
        return spool;
    }
    base::Result<> write(std::span<const uint8_t> bytes) {
        constexpr size_t kBlock = 4096;
        while (!bytes.empty()) {
            const auto block = bytes.first(std::min(bytes.size(), kBlock - size_ % kBlock));
            if (!std::ranges::all_of(block, [](uint8_t byte) { return byte == 0; }))
                TRY(put(block));
            size_ += block.size();
            bytes = bytes.subspan(block.size());
        }
        return {};
    }
    base::Result<ImageBytes> finish() {
        if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0)
            return failed();
        return ImageBytes{std::move(fd_), 0, size_};
    }

  private:
    base::Result<> put(std::span<const uint8_t> block) {
        if (!base::write_at(fd_.get(), block, size_))
            return failed();
        return {};
    }
    static tl::unexpected<base::Error> failed() {
        return base::fail(
            fmt::format("cannot be unpacked: {} (set TMPDIR to a folder with room)", std::strerror(errno)),
            kIo);
    }
    base::UniqueFd fd_;
    uint64_t size_ = 0;
};

} // namespace

bool is_archive(const ImageBytes& bytes) {
    constexpr uint64_t kMagic = 257; // POSIX.1-2017 pax, "ustar interchange format"
    return bytes.holds(kMagic, "ustar");
}

base::Result<std::vector<ArchiveMember>> list_archive(const ImageBytes& bytes) {
    const auto bad = [](const char* why) {
        return base::fail(
            fmt::format("cannot be read as an archive: {}", why ? why : "it is not a tar archive"), kIo);
    };
    const Archive in{archive_read_new()};
    Input input{bytes};
    if (in == nullptr || archive_read_support_format_tar(in.get()) != ARCHIVE_OK ||
        archive_read_open2(in.get(), &input, nullptr, Input::read, Input::skip, nullptr) != ARCHIVE_OK)
        return bad(in ? archive_error_string(in.get()) : nullptr);
    std::vector<ArchiveMember> members;
    std::set<std::string> names;
    archive_entry* entry = nullptr;
    int result = ARCHIVE_OK;
    while ((result = archive_read_next_header(in.get(), &entry)) == ARCHIVE_OK) {
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_pathname(entry) == nullptr ||
            archive_entry_hardlink(entry) != nullptr || archive_entry_sparse_count(entry) != 0)
            continue;
        if (members.size() == kMaxMembers)
            return bad("too many files in it");
        const auto offset = archive_filter_bytes(in.get(), 0), size = archive_entry_size(entry);
        if (offset < 0 || size < 0 || static_cast<uint64_t>(offset) > bytes.size() ||
            static_cast<uint64_t>(size) > bytes.size() - static_cast<uint64_t>(offset))
            return bad("it is cut short");
        std::string name = archive_entry_pathname(entry);
        if (name.starts_with("./"))
            name.erase(0, 2);
        // With two of one name, it is unknown which was meant, or checked.
        if (!names.insert(name).second)
            return bad(fmt::format("there are two files called {} in it", name).c_str());
        members.push_back({std::move(name), static_cast<uint64_t>(offset), static_cast<uint64_t>(size)});
    }
    if (result != ARCHIVE_EOF)
        return bad(archive_error_string(in.get()));
    return members;
}

base::Result<ImageBytes> unpack(const ImageBytes& compressed) {
    const auto bad = [](archive* in) {
        const char* why = in != nullptr ? archive_error_string(in) : nullptr;
        return base::fail(fmt::format("cannot be unpacked: {}", why ? why : "it is cut short or damaged"),
                          kIo);
    };
    const Archive in{archive_read_new()};
    Input input{compressed};
    // Named one by one: others are read by programs that libarchive starts.
    for (const auto support :
         {archive_read_support_filter_gzip, archive_read_support_filter_bzip2, archive_read_support_filter_xz,
          archive_read_support_filter_zstd, archive_read_support_filter_lz4, archive_read_support_format_raw})
        if (in == nullptr || support(in.get()) != ARCHIVE_OK)
            return bad(in.get());
    archive_entry* entry = nullptr;
    if (archive_read_open2(in.get(), &input, nullptr, Input::read, Input::skip, nullptr) != ARCHIVE_OK ||
        archive_read_next_header(in.get(), &entry) != ARCHIVE_OK ||
        archive_filter_code(in.get(), 0) == ARCHIVE_FILTER_NONE) // too short for its kind: given as it is
        return bad(in.get());
    Spool spool = TRY(Spool::create());
    std::vector<uint8_t> piece(kPiece);
    la_ssize_t length = 0;
    while ((length = archive_read_data(in.get(), piece.data(), piece.size())) > 0)
        TRY(spool.write({piece.data(), static_cast<size_t>(length)}));
    if (length < 0)
        return bad(in.get());
    return spool.finish();
}

base::Result<ImageBytes> join(const std::vector<ImageBytes>& parts) {
    Spool spool = TRY(Spool::create());
    std::vector<uint8_t> piece(kPiece);
    for (const ImageBytes& part : parts)
        for (uint64_t at = 0; at < part.size(); at += kPiece) {
            const auto bytes = std::span(piece).first(std::min<uint64_t>(kPiece, part.size() - at));
            TRY(part.read(at, bytes));
            TRY(spool.write(bytes));
        }
    return spool.finish();
}

} // namespace appliance_format
