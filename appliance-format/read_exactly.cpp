#include "appliance-format/read_exactly.h"

#include "appliance-format/format.h"
#include "vmm/base/file_io.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace appliance_format {

base::Result<> read_exactly(int fd, uint64_t offset, uint8_t* to, size_t size) {
    const ssize_t got = base::read_at(fd, {to, size}, offset);
    if (got < 0)
        return base::fail(fmt::format("cannot be read: {}", std::strerror(errno)), kIo);
    if (static_cast<size_t>(got) != size)
        return base::fail(fmt::format("the file is cut short at byte {}", offset + static_cast<size_t>(got)),
                          kDamaged);
    return {};
}

} // namespace appliance_format
