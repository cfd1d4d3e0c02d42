// Bytes a PS/2 device has ready for its host: answers to commands, which go first, and reports (keys or
// movement). Both bounded; the last byte sent is kept for the "resend" command.
#pragma once
#include "vmm/base/state_archive.h"

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace vmm {

template <unsigned kCapacity> class ByteRing {
  public:
    [[nodiscard]] unsigned size() const { return count_; }
    void clear() { count_ = 0; }
    // All of them or, when they do not fit, none: half a key or packet would desynchronize the host.
    bool push(std::initializer_list<uint8_t> bytes) {
        if (count_ + bytes.size() > kCapacity)
            return false;
        for (uint8_t byte : bytes)
            ring_[(first_ + count_++) % kCapacity] = byte;
        return true;
    }
    uint8_t pop() { // not empty
        const uint8_t byte = ring_[first_ % kCapacity];
        first_ = static_cast<uint16_t>((first_ + 1) % kCapacity);
        --count_;
        return byte;
    }
    void serialize(base::StateArchive& archive, const std::string& prefix) {
        archive.bytes_field(prefix + "ring", ring_);
        archive.field(prefix + "first", first_);
        archive.field(prefix + "count", count_);
        first_ %= kCapacity;
        count_ = count_ > kCapacity ? uint16_t{kCapacity} : count_;
    }

  private:
    std::array<uint8_t, kCapacity> ring_{};
    uint16_t first_ = 0, count_ = 0;
};

class Ps2Queue {
  public:
    [[nodiscard]] bool empty() const { return answers_.size() + reports_.size() == 0; }
    [[nodiscard]] bool has_reports() const { return reports_.size() != 0; }
    void clear_reports() { reports_.clear(); }
    void clear() {
        reports_.clear();
        answers_.clear();
    }
    // A host that sends commands without reading the answers loses the old ones.
    void answer(std::initializer_list<uint8_t> bytes) {
        if (!answers_.push(bytes)) {
            answers_.clear();
            answers_.push(bytes);
        }
    }
    bool report(std::initializer_list<uint8_t> bytes) { return reports_.push(bytes); }
    uint8_t pop() { // not empty
        last_ = answers_.size() != 0 ? answers_.pop() : reports_.pop();
        return last_;
    }
    [[nodiscard]] uint8_t last() const { return last_; }
    void serialize(base::StateArchive& archive, const std::string& prefix) {
        answers_.serialize(archive, prefix + "answers.");
        reports_.serialize(archive, prefix + "reports.");
        archive.field(prefix + "last", last_);
    }

  private:
    ByteRing<16> answers_;
    ByteRing<256> reports_;
    uint8_t last_ = 0;
};

} // namespace vmm
