// pread(2) and pwrite(2) that go on until everything has been moved. errno says why they did not.
#pragma once
#include <cstdint>
#include <span>
#include <sys/types.h>

namespace base {

// The number of bytes read, which is less than asked for only at the end of the file; -1 on failure.
[[nodiscard]] ssize_t read_at(int fd, std::span<uint8_t> to, uint64_t offset);
// False on failure; some of it may have been written.
[[nodiscard]] bool write_at(int fd, std::span<const uint8_t> from, uint64_t offset);

} // namespace base
