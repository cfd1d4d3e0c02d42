// A writable disk over one that is never written: what the guest writes goes, in chunks, to a file that lasts
// as long as the session. Dropping the port drops everything that was written.
//
// The file is never read by anyone but this object (no later session reuses it), so a crash at any moment can
// leave nothing inconsistent behind, and a flush has nothing to make durable.
#pragma once
#include "player/machine/space_gate.h"
#include "vmm/base/unique_fd.h"
#include "vmm/bus/ports.h"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace machine {

inline constexpr uint64_t kOverlayChunk = 64u << 10;

// What all overlays of a session may take of the host's disk together, and where they wait for room on it.
class OverlayBudget {
  public:
    // `used`: where it counts, for others to see; null: nobody looks.
    explicit OverlayBudget(uint64_t limit, std::function<void(const std::string& why)> room_changed = {},
                           std::atomic<uint64_t>* used = nullptr)
        : limit_(limit), room_(std::move(room_changed)), used_(used != nullptr ? *used : own_used_) {}
    [[nodiscard]] bool take(uint64_t bytes);
    void give_back(uint64_t bytes) { used_ -= bytes; }
    [[nodiscard]] uint64_t used() const { return used_; }
    [[nodiscard]] uint64_t limit() const { return limit_; }
    [[nodiscard]] SpaceGate& room() { return room_; }

  private:
    uint64_t limit_;
    SpaceGate room_;
    std::atomic<uint64_t> own_used_{0};
    std::atomic<uint64_t>& used_;
};

class OverlayPort final : public vmm::BlockPort {
  public:
    using Notice = std::function<void(const std::string&)>;

    // `notice` is told, once, when no more may be written or the host's disk fails; the guest gets a write
    // error and runs on. A host's disk without room is another matter: the write waits at budget->room().
    OverlayPort(std::shared_ptr<vmm::BlockPort> base, base::UniqueFd file,
                std::shared_ptr<OverlayBudget> budget, Notice notice);
    ~OverlayPort() override;

    [[nodiscard]] uint64_t size_bytes() const override { return base_->size_bytes(); }
    [[nodiscard]] bool read_only() const override { return false; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override;
    base::Result<void> write(uint64_t offset, std::span<const uint8_t> from) override;
    base::Result<void> flush() override { return {}; }

    // Forgets everything that was written, and gives its room on the host's disk back.
    void drop();
    [[nodiscard]] size_t changed_chunks() const;
    [[nodiscard]] std::vector<uint64_t> changed_list() const; // chunks of kOverlayChunk bytes, in order

  private:
    base::Result<void> check_range(uint64_t offset, size_t length) const;
    base::Result<void> add_chunk(uint64_t chunk, size_t within, std::span<const uint8_t> from);
    base::Result<void> full(const std::string& why);
    base::Result<void> keep(std::span<const uint8_t> content, uint64_t at);

    std::shared_ptr<vmm::BlockPort> base_;
    base::UniqueFd file_;
    std::shared_ptr<OverlayBudget> budget_;
    Notice notice_;
    mutable std::mutex mutex_;
    std::unordered_map<uint64_t, uint64_t> slots_; // chunk of the disk -> place in the file, in chunks
    uint64_t taken_ = 0;                           // of the budget, in bytes
    bool told_ = false;
};

} // namespace machine
