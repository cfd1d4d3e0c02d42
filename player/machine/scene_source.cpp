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

// The pages of video memory that are not zero.
struct VideoPages {
    std::vector<uint64_t> offsets;
    std::vector<uint8_t> bytes; // page after page
};

base::Result<VideoPages> read_video(const format::BlobReader& video) {
    VideoPages pages;
    if (video.size() > vmm::kMaxAddedBackingBytes || video.size() % vmm::kPageSize != 0)
        return base::fail("the scene's picture does not fit the display");
    for (uint64_t at = 0; at < video.size(); at += vmm::kPageSize) {
        if (TRY(video.is_zero(at, vmm::kPageSize)))
            continue;
        pages.offsets.push_back(at);
        pages.bytes.resize(pages.bytes.size() + vmm::kPageSize);
        TRY(video.read(at, std::span(pages.bytes).last(vmm::kPageSize)));
    }
    return pages;
}

// Reads and checks it on a thread of its own, while the machine is being put together.
std::function<base::Result<void>(std::span<uint8_t>)> fetch_video(format::BlobReader video) {
    const auto size = video.size();
    std::shared_future<base::Result<VideoPages>> fetched =
        std::async(std::launch::async, [video = std::move(video)] {
            base::begin_work("read-ahead");
            return read_video(video);
        });
    return [fetched, size](std::span<uint8_t> to) -> base::Result<void> {
        const base::Result<VideoPages>& pages = fetched.get();
        if (!pages)
            return tl::make_unexpected(pages.error());
        if (size > to.size())
            return base::fail("the scene's picture does not fit the display");
        for (size_t i = 0; i < pages->offsets.size(); ++i)
            std::copy_n(pages->bytes.begin() + static_cast<ptrdiff_t>(i * vmm::kPageSize), vmm::kPageSize,
                        to.begin() + static_cast<ptrdiff_t>(pages->offsets[i]));
        return {};
    };
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
    size_t staged = 0;
    for (const uint32_t page : hot_pages_) {
        if (stop_ || staged >= kMaxStaged)
            return;
        {
            const std::lock_guard lock(mutex_);
            if (taken_.contains(page))
                continue;
        }
        std::vector<uint8_t> content(vmm::kPageSize);
        // A damaged page is the machine's to find, if it ever needs it.
        if (!ram_.read(uint64_t{page} << vmm::kPageShift, content))
            continue;
        staged += content.size();
        const std::lock_guard lock(mutex_);
        if (!taken_.contains(page))
            staged_.insert_or_assign(page, std::move(content));
    }
}

base::Result<void> ScenePages::read(uint32_t page, std::span<uint8_t> to) {
    if (!hot_pages_.empty()) {
        const std::lock_guard lock(mutex_);
        taken_.insert(page);
        if (const auto found = staged_.find(page); found != staged_.end()) {
            std::ranges::copy(found->second, to.begin());
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
        saved.load_video = fetch_video(*scene.video);
    return saved;
}

} // namespace machine
