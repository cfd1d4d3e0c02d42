// The memory translated code lives in: one memfd mapped twice, writable here and executable below
// 2 GiB, so that no page is ever both.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <cstdint>

namespace vmm {

class CodeMemory {
  public:
    static base::Result<CodeMemory> create(uint32_t bytes);
    CodeMemory() = default;
    CodeMemory(CodeMemory&& other) noexcept { *this = std::move(other); }
    CodeMemory& operator=(CodeMemory&& other) noexcept;
    ~CodeMemory();

    [[nodiscard]] uint8_t* writable(uint32_t host) const { return writable_ + (host - executable_); }
    [[nodiscard]] uint32_t executable() const { return executable_; } // host address, < 2 GiB
    [[nodiscard]] uint32_t size() const { return size_; }
    [[nodiscard]] bool contains(uint64_t host) const {
        return host >= executable_ && host < uint64_t{executable_} + size_;
    }

  private:
    base::UniqueFd fd_;
    uint8_t* writable_ = nullptr;
    uint32_t executable_ = 0, size_ = 0;
};

// Makes the rel32 at `site` lead to `target`.
void patch_jump(CodeMemory& memory, uint32_t site, uint32_t target);

// Maps anonymous memory below 2 GiB (bytes a multiple of the page size); null when there is no room.
void* map_low(uint32_t bytes, int protection);

} // namespace vmm
