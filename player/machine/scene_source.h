// A scene of a bundle as the machine wants it: RAM page by page at first touch, each page checked against the
// signed root before the guest can see it.
#pragma once
#include "appliance-format/blob_reader.h"
#include "vmm/saved_moment.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <unordered_set>

namespace machine {

// RAM of a scene. A thread of its own fetches the pages that the scene's author's machine needed first, in
// that order, into a bounded cache; the machine takes them from there or reads what it needs itself.
class ScenePages final : public vmm::PageSource {
  public:
    ScenePages(appliance_format::BlobReader ram, std::vector<uint32_t> hot_pages);
    ~ScenePages() override;
    base::Result<void> read(uint32_t page, std::span<uint8_t> to) override;

  private:
    static constexpr size_t kMaxStaged = 32u << 20; // bytes
    static constexpr size_t kBlockPages = 64;
    using Block = std::array<std::array<uint8_t, vmm::kPageSize>, kBlockPages>;
    using Page = std::shared_ptr<Block::value_type>; // holds its block

    void prefetch();

    appliance_format::BlobReader ram_;
    std::vector<uint32_t> hot_pages_;
    std::mutex mutex_;
    std::unordered_map<uint32_t, Page> staged_;
    std::unordered_set<uint32_t> taken_; // hot pages that the machine has read already
    std::atomic<bool> stop_{false};
    std::thread thread_; // last: starts when everything above exists
};

// What a scene is made of.
struct SceneBlobs {
    appliance_format::BlobReader devices, ram;
    std::optional<appliance_format::BlobReader> hot_pages, video; // none: see appliance_format::Scene
};

// Errors: those of the bundle.
base::Result<vmm::SavedMachine> open_scene(const SceneBlobs& scene);

} // namespace machine
