#include "player/machine/scene_source.h"

#include "vmm/base/thread_work.h"
#include "vmm/memory/guest_memory.h"

#include <algorithm>
#include <cstring>
#include <future>

namespace machine {
namespace {

namespace format = appliance_format;

constexpr uint64_t kMaxState = 64u << 20, kMaxHotPages = 4u << 20;

base::Result<std::vector<uint32_t>> hot_pages(const format::BlobReader& blob, uint64_t pages) {
    const auto bytes = TRY(blob.read_all(kMaxHotPages));
    std::vector<uint32_t> list(bytes.size() / sizeof(uint32_t));
    std::memcpy(list.data(), bytes.data(), list.size() * sizeof(uint32_t));
    std::erase_if(list, [&](uint32_t page) { return page >= pages; });
    return list;
}

base::Result<vmm::SavedVideo> read_video(const format::BlobReader& blob) {
    if (blob.size() > vmm::kMaxAddedBackingBytes || blob.size() % vmm::kPageSize != 0)
        return base::fail("the scene's picture does not fit the display");
    vmm::SavedVideo video;
    for (uint32_t page = 0; page < blob.size() >> vmm::kPageShift; ++page)
        if (!TRY(blob.is_zero(uint64_t{page} << vmm::kPageShift, vmm::kPageSize)))
            video.pages.push_back(page);
    video.bytes.resize(video.pages.size() << vmm::kPageShift);
    std::span<uint8_t> to(video.bytes);
    for (const uint32_t page : video.pages) {
        TRY(blob.read(uint64_t{page} << vmm::kPageShift, to.first(vmm::kPageSize)));
        to = to.subspan(vmm::kPageSize);
    }
    return video;
}

// Reads and checks it on a thread of its own, while the machine is being put together.
std::function<base::Result<vmm::SavedVideo>()> fetch_video(format::BlobReader video) {
    auto fetched = std::make_shared<std::future<base::Result<vmm::SavedVideo>>>(
        std::async(std::launch::async, [video = std::move(video)] {
            base::begin_work("read-ahead");
            return read_video(video);
        }));
    return [fetched] { return fetched->get(); };
}

} // namespace

ScenePages::ScenePages(format::BlobReader ram, std::vector<uint32_t> hot_pages)
    : ram_(std::move(ram)), hot_pages_(std::move(hot_pages)) {
    if (!hot_pages_.empty())
        thread_ = std::thread([this] { prefetch(); });
}

ScenePages::~ScenePages() {
    stop_ = true;
    if (thread_.joinable())
        thread_.join();
}

void ScenePages::prefetch() {
    base::begin_work("read-ahead");
    // Read into blocks that the kernel hands out and takes back as wholes: by pages, a heap grows and faults
    // beside all else that starts now.
    std::shared_ptr<Block> block;
    size_t used = kBlockPages, left = kMaxStaged / sizeof(Block);
    for (const uint32_t page : hot_pages_) {
        if (stop_)
            return;
        {
            const std::lock_guard lock(mutex_);
            if (taken_.contains(page))
                continue;
        }
        if (used == kBlockPages) {
            if (left-- == 0)
                return;
            block = std::make_shared_for_overwrite<Block>();
            used = 0;
        }
        const Page content(block, &(*block)[used]);
        // A damaged page is the machine's to find, if it ever needs it.
        if (!ram_.read(uint64_t{page} << vmm::kPageShift, *content))
            continue;
        ++used;
        const std::lock_guard lock(mutex_);
        if (!taken_.contains(page))
            staged_.insert_or_assign(page, content);
    }
}

base::Result<void> ScenePages::read(uint32_t page, std::span<uint8_t> to) {
    if (!hot_pages_.empty()) {
        const std::lock_guard lock(mutex_);
        taken_.insert(page);
        if (const auto found = staged_.find(page); found != staged_.end()) {
            std::ranges::copy(*found->second, to.begin());
            staged_.erase(found);
            return {};
        }
    }
    return ram_.read(uint64_t{page} << vmm::kPageShift, to);
}

base::Result<vmm::SavedMachine> open_scene(const SceneBlobs& scene) {
    vmm::SavedMachine saved;
    saved.state = TRY(scene.devices.read_all(kMaxState));
    std::vector<uint32_t> hot;
    if (scene.hot_pages)
        hot = TRY(hot_pages(*scene.hot_pages, scene.ram.size() >> vmm::kPageShift));
    saved.memory = std::make_shared<ScenePages>(scene.ram, std::move(hot));
    if (scene.video)
        saved.video = fetch_video(*scene.video);
    return saved;
}

} // namespace machine
