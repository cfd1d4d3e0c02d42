// The outer archive: which members a file has and where their bytes are.
//
// Bundles use a canonical subset of POSIX pax: plain files only, one fixed header form, no extended headers,
// zero padding, exactly two zero blocks at the end, and nothing after. Every byte outside the members' data
// is thus known beforehand, so a changed bit there is found at open, and what other tar programs see is what
// we see.
#pragma once
#include "appliance-format/read_exactly.h"
#include "vmm/base/result.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

inline constexpr uint64_t kTarBlock = 512;
inline constexpr uint64_t kTarEnd = 2 * kTarBlock;

struct TarMember {
    std::string name;
    uint64_t offset = 0; // of the data, in the file
    uint64_t size = 0;
};

// The only header accepted for a member of this name and size (POSIX.1-2017 pax, "ustar interchange format").
[[nodiscard]] std::array<uint8_t, kTarBlock> canonical_header(std::string_view name, uint64_t size);

// What a bundle begins with: the header of an empty member that nothing but a bundle has, so that programs
// that tell files apart by their first bytes know one. Tar programs list it and go on. Two things keep them
// from calling it a tar archive: it lacks the word "ustar", and its checksum is the sum of *signed* bytes,
// which GNU tar, libarchive, 7-Zip, Python and Go take as well, but file(1), which looks for tar before
// anything else, does not. Bundles made before it begin with the manifest's header, and open too.
inline constexpr std::string_view kBundleMarker = "encore.bundle";
inline constexpr std::string_view kBundleMagic =
    "\x89"
    "encore\r\n\x1a\n";                       // as PNG's: shows what a text transfer does
inline constexpr size_t kBundleMagicAt = 500; // no field of a header
[[nodiscard]] const std::array<uint8_t, kTarBlock>& bundle_marker();

// Header, data and padding of a member of `size` bytes.
[[nodiscard]] constexpr uint64_t member_span(uint64_t size) {
    return kTarBlock + (size + kTarBlock - 1) / kTarBlock * kTarBlock;
}

// What a kind of file is called in messages, the member it begins with, and whether bundle_marker() may
// precede that.
struct ArchiveKind {
    const char* name;
    const char* first_member;
    bool marked = false;
};

// Enumerates the archive without reading the members' data; checks every byte that is not data.
// Errors: kNotABundle, kDamaged, kIo; messages do not name the file.
base::Result<std::vector<TarMember>> read_layout(int fd, const ArchiveKind& kind);

} // namespace appliance_format
