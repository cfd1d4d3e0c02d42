// A moment that a machine was opened at and can go back to: where RAM comes from, what video memory held, and
// the state of the processor and the devices. Owns everything a revert needs except the undo log of RAM,
// which is GuestMemory's.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/zeroed_vector.h"
#include "vmm/bus/platform.h"
#include "vmm/memory/page_source.h"
#include "vmm/memory/page_undo.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace vmm {

// The pages of video memory that are not all zeros, in order, and what they hold, one after another.
struct SavedVideo {
    std::vector<uint32_t> pages;
    base::ZeroedVector<uint8_t> bytes;
};

struct SavedMachine {
    std::vector<uint8_t> state;         // CPU and devices (Machine::save_scene_state)
    std::shared_ptr<PageSource> memory; // RAM, fetched at first touch
    // It is needed for the first picture, so all of it comes at once. None: zeros.
    std::function<base::Result<SavedVideo>()> video;
    uint64_t undo_bytes = 512ull << 20; // most that the copies for reverting may take
};

class SavedMoment {
  public:
    // The machine has not run. Errors: those of video.
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
    [[nodiscard]] uint8_t* page_content(uint32_t page) const;
    // Visits the pages of video memory that may differ from what was kept (null: zeros).
    void compare_video(const std::function<void(uint32_t page, const uint8_t* kept)>& differs) const;

    Platform& platform_;
    std::vector<uint8_t> state_, reference_;
    SavedVideo video_;
};

} // namespace vmm
