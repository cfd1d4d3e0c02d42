#include "vmm/firmware/rom_image.h"

#include "vmm/base/unique_fd.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>

namespace vmm {

namespace {
constexpr size_t kOptionRomLimit = 256u << 10, kOptionRomUnit = 512;
}

base::Result<std::vector<uint8_t>> read_firmware_file(const std::string& path, size_t limit, const char* what,
                                                      const char* package) {
    const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid())
        return base::fail(fmt::format("cannot open the {} {}: {}; it comes with the package '{}'", what, path,
                                      std::strerror(errno), package));
    // One byte more than allowed tells a file that is too long from one that just fits.
    std::vector<uint8_t> bytes(limit + 1);
    size_t filled = 0;
    while (filled < bytes.size()) {
        const ssize_t got = ::read(fd.get(), bytes.data() + filled, bytes.size() - filled);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return base::fail(fmt::format("cannot read the {} {}: {}", what, path, std::strerror(errno)));
        if (got == 0)
            break;
        filled += static_cast<size_t>(got);
    }
    if (filled > limit)
        return base::fail(fmt::format("the {} {} is larger than {} KiB; use the one from the package '{}'",
                                      what, path, limit >> 10, package));
    bytes.resize(filled);
    return bytes;
}

base::Result<std::vector<uint8_t>> load_rom_image(const std::string& path) {
    std::vector<uint8_t> rom = TRY(read_firmware_file(path, kOptionRomLimit, "option ROM", "seabios"));
    if (rom.size() < kOptionRomUnit || rom[0] != 0x55 || rom[1] != 0xAA || rom[2] == 0 ||
        rom[2] * kOptionRomUnit > rom.size())
        return base::fail(fmt::format("{} is not an option ROM; use one from the package 'seabios'", path));
    return rom;
}

} // namespace vmm
