#include "vmm/saved_moment.h"

#include <algorithm>
#include <cstring>

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
    if (saved.load_video)
        TRY(saved.load_video({platform.memory.data() + (uint64_t{video.first_page} << kPageShift),
                              size_t{video.pages} << kPageShift}));
    moment->keep_video();
    return moment;
}

uint8_t* SavedMoment::video_page(uint32_t page) const {
    return platform_.memory.data() + (uint64_t{page} << kPageShift);
}

void SavedMoment::keep_video() {
    const Platform::VideoMemory& video = platform_.video;
    for_each_resident(platform_.memory, video, [&](uint32_t page) {
        const uint8_t* content = video_page(page);
        if (is_zero_page(content))
            return;
        video_pages_.push_back(page);
        video_.insert(video_.end(), content, content + kPageSize);
    });
}

void SavedMoment::compare_video(
    const std::function<void(uint32_t page, const uint8_t* kept)>& differs) const {
    const Platform::VideoMemory& video = platform_.video;
    size_t next = 0;
    for_each_resident(platform_.memory, video, [&](uint32_t page) {
        const bool kept = next < video_pages_.size() && video_pages_[next] == page;
        const uint8_t* wanted = kept ? &video_[next++ << kPageShift] : nullptr;
        const uint8_t* content = video_page(page);
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
            std::memcpy(video_page(page), kept, kPageSize);
        else
            std::memset(video_page(page), 0, kPageSize);
    });
    return report;
}

bool SavedMoment::video_unchanged() const {
    bool same = true;
    compare_video([&](uint32_t, const uint8_t*) { same = false; });
    return same;
}

} // namespace vmm
