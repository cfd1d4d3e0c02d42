#include "appliance-format/tar_layout.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <set>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

namespace appliance_format {

namespace {

struct ArchiveDeleter {
    void operator()(archive* a) const { archive_read_free(a); }
};

bool all_zero(std::span<const uint8_t> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

void put_octal(uint8_t* field, int digits, uint64_t value) {
    for (int i = digits - 1; i >= 0; --i, value >>= 3)
        field[i] = static_cast<uint8_t>('0' + (value & 7));
}

base::Result<> expect_zero(int fd, uint64_t offset, uint64_t size, std::string_view where) {
    std::array<uint8_t, kTarEnd> buffer;
    VERIFY(size <= buffer.size());
    TRY(read_exactly(fd, offset, buffer.data(), size));
    if (!all_zero({buffer.data(), size}))
        return base::fail(fmt::format("the file was changed or is damaged: stray bytes {}", where), kDamaged);
    return {};
}

// What libarchive makes of the member must be a plain file and nothing more.
bool is_plain_file(archive_entry* entry) {
    return archive_entry_filetype(entry) == AE_IFREG && archive_entry_size_is_set(entry) &&
           archive_entry_size(entry) >= 0 && !archive_entry_hardlink(entry) &&
           !archive_entry_symlink(entry) && archive_entry_sparse_count(entry) == 0 &&
           archive_entry_xattr_count(entry) == 0;
}

} // namespace

std::array<uint8_t, kTarBlock> canonical_header(std::string_view name, uint64_t size) {
    VERIFY(name.size() < 100 && size < uint64_t{1} << 33);
    std::array<uint8_t, kTarBlock> header{};
    std::copy(name.begin(), name.end(), header.begin());
    auto text = [&](size_t at, std::string_view value) {
        std::copy(value.begin(), value.end(), &header[at]);
    };
    text(100, std::string_view("000644 \0", 8)); // mode
    text(108, std::string_view("000000 \0", 8)); // uid
    text(116, std::string_view("000000 \0", 8)); // gid
    put_octal(&header[124], 11, size);
    header[135] = ' ';
    text(136, "00000000000 "); // mtime: bundles are reproducible
    text(148, "        ");     // checksum counts as blanks
    header[156] = '0';
    text(257, std::string_view("ustar\0"
                               "00",
                               8));
    text(329, std::string_view("000000 \0", 8)); // device numbers
    text(337, std::string_view("000000 \0", 8));
    unsigned sum = 0;
    for (uint8_t byte : header)
        sum += byte;
    put_octal(&header[148], 6, sum);
    header[154] = 0;
    header[155] = ' ';
    return header;
}

base::Result<std::vector<TarMember>> read_layout(int fd, const ArchiveKind& kind) {
    struct stat info;
    if (::fstat(fd, &info) != 0)
        return base::fail(fmt::format("cannot be read: {}", std::strerror(errno)), kIo);
    if (!S_ISREG(info.st_mode))
        return base::fail("is not a file", kNotABundle);
    const auto file_size = static_cast<uint64_t>(info.st_size);

    // Before libarchive sees a byte: does it begin like a bundle? Anything else is simply another kind of
    // file.
    std::array<uint8_t, kTarBlock> header;
    const auto expected = canonical_header(kind.first_member, 0);
    if (file_size < kTarBlock)
        return base::fail(file_size ? fmt::format("is cut short or is not {}", kind.name) : "is empty",
                          kNotABundle);
    TRY(read_exactly(fd, 0, header.data(), header.size()));
    if (!std::equal(header.begin(), header.begin() + 100, expected.begin()))
        return base::fail(fmt::format("is not {} (or its first bytes were changed)", kind.name), kNotABundle);

    std::unique_ptr<archive, ArchiveDeleter> reader{archive_read_new()};
    VERIFY(reader);
    archive_read_support_format_tar(reader.get());
    if (::lseek(fd, 0, SEEK_SET) != 0 || archive_read_open_fd(reader.get(), fd, 16 << 10) != ARCHIVE_OK)
        return base::fail(fmt::format("is not {}", kind.name), kNotABundle);

    std::vector<TarMember> members;
    std::set<std::string, std::less<>> names;
    uint64_t position = 0; // where the next header must be
    for (;;) {
        archive_entry* entry = nullptr;
        int status = archive_read_next_header(reader.get(), &entry);
        if (status == ARCHIVE_EOF)
            break;
        if (status != ARCHIVE_OK)
            return base::fail(fmt::format("the archive header at byte {} is damaged", position), kDamaged);
        if (members.size() == kMaxPacks + kMaxFrontMembers)
            return base::fail("has too many members", kDamaged);
        const char* raw_name = archive_entry_pathname(entry);
        std::string name = raw_name ? raw_name : "";
        if (!is_safe_path(name))
            return base::fail(fmt::format("the member at byte {} has a name that is not allowed", position),
                              kDamaged);
        if (!is_plain_file(entry))
            return base::fail(fmt::format("member {} is not a plain file", name), kDamaged);
        if (!names.insert(name).second)
            return base::fail(fmt::format("member {} is there twice", name), kDamaged);
        const auto size = static_cast<uint64_t>(archive_entry_size(entry));
        if (size > kMaxPackSize || position > file_size || member_span(size) > file_size - position)
            return base::fail(fmt::format("member {} is cut short or too large", name), kDamaged);
        TRY(read_exactly(fd, position, header.data(), header.size()));
        if (header != canonical_header(name, size) ||
            archive_read_header_position(reader.get()) != static_cast<la_int64_t>(position))
            return base::fail(fmt::format("the archive header of member {} was changed or is damaged", name),
                              kDamaged);
        members.push_back({name, position + kTarBlock, size});
        position += member_span(size);
        uint64_t data_end = members.back().offset + size;
        TRY(expect_zero(fd, data_end, position - data_end, "after member " + name));
    }
    if (file_size != position + kTarEnd)
        return base::fail(file_size < position + kTarEnd ? "the file is cut short at its end"
                                                         : "the file has stray bytes at its end",
                          kDamaged);
    TRY(expect_zero(fd, position, kTarEnd, "at its end"));
    return members;
}

} // namespace appliance_format
