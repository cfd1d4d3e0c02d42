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

// Header, data and padding of a member of `size` bytes.
[[nodiscard]] constexpr uint64_t member_span(uint64_t size) {
    return kTarBlock + (size + kTarBlock - 1) / kTarBlock * kTarBlock;
}

// What a kind of file is called in messages, and the member it begins with.
struct ArchiveKind {
    const char* name;
    const char* first_member;
};

// Enumerates the archive without reading the members' data; checks every byte that is not data.
// Errors: kNotABundle, kDamaged, kIo; messages do not name the file.
base::Result<std::vector<TarMember>> read_layout(int fd, const ArchiveKind& kind);

} // namespace appliance_format
