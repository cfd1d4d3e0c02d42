// Whether a stretch of execution left memory as it was: keeps what each page held before the first write to
// it since begin(), whoever writes (GuestMemory::watch_writes), and compares in the end. Changed and changed
// back is unchanged.
#pragma once
#include <cstdint>
#include <vector>

namespace vmm {

class WriteWatch {
  public:
    // More pages are not kept: who writes to so many is at work.
    static constexpr unsigned kMostPages = 24;

    void begin() {
        count_ = 0;
        too_many_ = false;
    }
    // Writes to this page need not be told any more.
    [[nodiscard]] bool knows(uint32_t page) const {
        for (unsigned i = 0; i < count_; ++i)
            if (kept_[i].page == page)
                return true;
        return too_many_;
    }
    // The memfd page `page` is about to be written for the first time; `content` is what it holds.
    void keep(uint32_t page, const uint8_t* content);
    // How many bytes are not what they were; kMostPages pages' worth and more when it was no longer watched.
    // `memory` is page 0's content.
    [[nodiscard]] uint32_t changed_bytes(const uint8_t* memory) const;

  private:
    struct Kept {
        uint32_t page = 0;
        std::vector<uint8_t> content;
    };
    std::vector<Kept> kept_;
    unsigned count_ = 0; // of kept_ that are in use
    bool too_many_ = false;
};

} // namespace vmm
