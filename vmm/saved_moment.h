// A moment that a machine was opened at and can go back to: where RAM comes from, what video memory held, and
// the state of the processor and the devices. Owns everything a revert needs except the undo log of RAM,
// which is GuestMemory's.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/platform.h"
#include "vmm/memory/page_source.h"
#include "vmm/memory/page_undo.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace vmm {

struct SavedMachine {
    std::vector<uint8_t> state;         // CPU and devices (Machine::save_scene_state)
    std::shared_ptr<PageSource> memory; // RAM, fetched at first touch
    // Fills video memory, which is given zeroed; it is needed for the first picture, so all of it comes at
    // once.
    std::function<base::Result<void>(std::span<uint8_t>)> load_video;
    uint64_t undo_bytes = 512ull << 20; // most that the copies for reverting may take
};

class SavedMoment {
  public:
    // The machine has not run. Errors: those of load_video.
    static base::Result<std::unique_ptr<SavedMoment>> open(Platform& platform, SavedMachine saved);

    [[nodiscard]] std::span<const uint8_t> state() const { return state_; }
    // What the machine answers when asked for its state right after it has taken on state(): what a revert is
    // held to.
    [[nodiscard]] std::span<const uint8_t> reference() const { return reference_; }
    void set_reference(std::vector<uint8_t> state) { reference_ = std::move(state); }
    // RAM and video memory as they were. Translated code that changes is reported to `observer`.
    PageUndo::Report put_back();
    // Whether video memory is what it was.
    [[nodiscard]] bool video_unchanged() const;

  private:
    explicit SavedMoment(Platform& platform) : platform_(platform) {}
    void keep_video();
    [[nodiscard]] uint8_t* video_page(uint32_t page) const;
    // Visits the pages of video memory that may differ from what was kept (null: zeros).
    void compare_video(const std::function<void(uint32_t page, const uint8_t* kept)>& differs) const;

    Platform& platform_;
    std::vector<uint8_t> state_, reference_;
    std::vector<uint32_t> video_pages_; // that were not zero, in order; their content is in video_
    std::vector<uint8_t> video_;
};

} // namespace vmm
