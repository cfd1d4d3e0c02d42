// What RAM held at the saved moment, for the pages that were written since: the undo log behind a revert that
// costs only what was touched.
//
// A page's content is kept at its first write (a copy, or a note that it was zero). A revert puts the copies
// back and *keeps them*: the pages stay writable and count as written, because the next session will write
// them again and a needless copy (0.6 us) is cheaper than a write fault (4 us). A page that was not written
// for several reverts in a row leaves the log. The copies are bounded: a page for which there is no room is
// only noted, and is read from its source again after the revert.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace vmm {

class PageUndo {
  public:
    // Keeps at most `max_copies` copies; address space for them is reserved at once, memory as they come.
    static base::Result<std::unique_ptr<PageUndo>> create(uint32_t max_copies);
    ~PageUndo();
    PageUndo(const PageUndo&) = delete;
    PageUndo& operator=(const PageUndo&) = delete;

    // `page` is about to be written for the first time; `content` is what it holds.
    void keep(uint32_t page, const uint8_t* content);

    // What revert() leaves to its caller.
    struct Actions {
        // Whether someone depends on the page's content (translated code), and must hear of the bytes
        // [offset, offset+length) before they change back.
        std::function<bool(uint32_t page)> is_observed;
        std::function<void(uint32_t page, uint32_t offset, uint32_t length)> changing;
        // Written, but not kept: its content must come from the source again.
        std::function<void(uint32_t page)> reload;
        // Idle for long: from now on its next write must be announced by keep() again.
        std::function<void(uint32_t page)> retire;
    };
    struct Report {
        uint32_t kept = 0;    // pages looked at
        uint32_t changed = 0; // of those, put back
        uint32_t reloads = 0; // pages whose content comes from the source again
    };
    // `memory` is page 0's content.
    Report revert(uint8_t* memory, const Actions& actions);

    [[nodiscard]] size_t pages() const { return kept_.size() + unkept_.size(); }

  private:
    static constexpr uint32_t kZero = 0xFFFFFFFF;
    struct Kept {
        uint32_t page = 0;
        uint32_t copy = kZero; // index of the copy; kZero: the page was zero
        uint8_t idle = 0;      // reverts in a row that found it unwritten
    };

    PageUndo() = default;
    [[nodiscard]] uint8_t* copy_at(uint32_t index) const;

    uint8_t* arena_ = nullptr;
    uint32_t max_copies_ = 0, used_ = 0;
    std::vector<uint32_t> free_;
    std::vector<Kept> kept_;
    std::vector<uint32_t> unkept_;
};

} // namespace vmm
