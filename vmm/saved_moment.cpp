#include "vmm/saved_moment.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace vmm {
namespace {

template <class Visit>
void for_each_resident(const GuestMemory& memory, const Platform::VideoMemory& video, Visit&& visit) {
    for (const GuestMemory::Run& run : memory.resident(video.first_page, video.pages))
        for (uint32_t page = run.first; page < run.first + run.count; ++page)
            visit(page);
}

} // namespace

base::Result<std::unique_ptr<SavedMoment>> SavedMoment::open(Platform& platform, SavedMachine saved) {
    std::unique_ptr<SavedMoment> moment(new SavedMoment(platform));
    TRY(platform.memory.attach(std::move(saved.memory), saved.undo_bytes));
    moment->state_ = std::move(saved.state);
    const Platform::VideoMemory& video = platform.video;
    // What firmware drew at power-on goes.
    for_each_resident(platform.memory, video, [&](uint32_t page) {
        std::memset(platform.memory.data() + (uint64_t{page} << kPageShift), 0, kPageSize);
    });
    if (!saved.video)
        return moment;
    moment->video_ = TRY(saved.video());
    const auto& [pages, bytes] = moment->video_;
    if (bytes.size() != pages.size() << kPageShift || (!pages.empty() && pages.back() >= video.pages) ||
        std::ranges::adjacent_find(pages, std::greater_equal<>()) != pages.end())
        return base::fail("the scene's picture does not fit the display");
    for (size_t i = 0; i < pages.size(); ++i)
        std::memcpy(moment->page_content(video.first_page + pages[i]), &bytes[i << kPageShift], kPageSize);
    return moment;
}

uint8_t* SavedMoment::page_content(uint32_t page) const {
    return platform_.memory.data() + (uint64_t{page} << kPageShift);
}

void SavedMoment::compare_video(
    const std::function<void(uint32_t page, const uint8_t* kept)>& differs) const {
    const Platform::VideoMemory& video = platform_.video;
    size_t next = 0;
    for_each_resident(platform_.memory, video, [&](uint32_t page) {
        const bool kept = next < video_.pages.size() && video.first_page + video_.pages[next] == page;
        const uint8_t* wanted = kept ? &video_.bytes[next++ << kPageShift] : nullptr;
        const uint8_t* content = page_content(page);
        if (kept ? std::memcmp(content, wanted, kPageSize) != 0 : !is_zero_page(content))
            differs(page, wanted);
    });
}

PageUndo::Report SavedMoment::put_back() {
    GuestMemory& memory = platform_.memory;
    const PageUndo::Report report = memory.revert();
    compare_video([&](uint32_t page, const uint8_t* kept) {
        memory.note_code_change(page);
        if (kept != nullptr)
            std::memcpy(page_content(page), kept, kPageSize);
        else
            std::memset(page_content(page), 0, kPageSize);
    });
    return report;
}

bool SavedMoment::video_unchanged() const {
    bool same = true;
    compare_video([&](uint32_t, const uint8_t*) { same = false; });
    return same;
}

} // namespace vmm
