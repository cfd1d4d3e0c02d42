// The stub of a link, where a direct exit goes that leads to no block: `mov eip, number`, and then one of two
// tails of the same length. Either it says which link it is and goes to the dispatcher, or it goes through
// the context's jump table. The registers are the translator's choice (RegisterPlan).
#pragma once
#include <array>
#include <cstdint>
#include <cstring>

namespace vmm {

class LinkStub {
  public:
    static constexpr uint32_t kMoveEip = 6, kTail = 11, kBytes = kMoveEip + kTail;
    using Load = std::array<uint8_t, 3>; // mov target, [jump_table + disp32], up to the displacement

    LinkStub() = default;
    // All from r8 on; the jump table's needs no SIB byte.
    constexpr LinkStub(uint8_t target, uint8_t jump_table)
        : move_{0x41, static_cast<uint8_t>(0xB8 | (target & 7))},
          load_{0x45, 0x8B, static_cast<uint8_t>(0x80 | (target & 7) << 3 | (jump_table & 7))},
          jump_{0x41, 0xFF, static_cast<uint8_t>(0xE0 | (target & 7)), 0x90} {}

    [[nodiscard]] const Load& load() const { return load_; }

    // mov target, link; jmp leave_link, which is that far from the stub's end.
    void write_leave(uint8_t* tail, uint32_t link, uint32_t distance) const {
        constexpr uint8_t kJump = 0xE9;
        std::memcpy(tail, move_.data(), move_.size());
        std::memcpy(tail + 2, &link, sizeof link);
        tail[6] = kJump;
        std::memcpy(tail + 7, &distance, sizeof distance);
    }
    // mov target, [jump_table + displacement]; jmp target; nop.
    void write_table(uint8_t* tail, uint32_t displacement) const {
        std::memcpy(tail, load_.data(), load_.size());
        std::memcpy(tail + 3, &displacement, sizeof displacement);
        std::memcpy(tail + 7, jump_.data(), jump_.size());
    }

  private:
    std::array<uint8_t, 2> move_{};
    Load load_{};
    std::array<uint8_t, 4> jump_{};
};

} // namespace vmm
