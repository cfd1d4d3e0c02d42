// DMA as an ISA card sees it: DREQ/DACK and terminal count of one channel of the 8237 pair.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace vmm {

class IsaDma {
  public:
    struct Progress {
        size_t bytes = 0;            // moved by this call; 0 while the channel is masked or unusable
        bool terminal_count = false; // the programmed count ran out with the last of them
    };

    virtual ~IsaDma() = default;
    // Channel 0-3 (bytes) or 5-7 (words: lengths are rounded down to even). Moves until the data or the
    // programmed count ends. The mode register must agree with the direction, else nothing moves; in
    // verify mode addresses advance and no data does.
    virtual Progress to_memory(unsigned channel, std::span<const uint8_t> data) = 0;
    virtual Progress from_memory(unsigned channel, std::span<uint8_t> data) = 0;
};

} // namespace vmm
