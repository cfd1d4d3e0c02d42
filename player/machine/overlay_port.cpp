#include "player/machine/overlay_port.h"

#include "vmm/base/file_io.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace machine {
bool OverlayBudget::take(uint64_t bytes) {
    uint64_t used = used_;
    do {
        if (bytes > limit_ || used > limit_ - bytes)
            return false;
    } while (!used_.compare_exchange_weak(used, used + bytes));
    return true;
}

OverlayPort::OverlayPort(std::shared_ptr<vmm::BlockPort> base, base::UniqueFd file,
                         std::shared_ptr<OverlayBudget> budget, Notice notice)
    : base_(std::move(base)), file_(std::move(file)), budget_(std::move(budget)), notice_(std::move(notice)) {
}

OverlayPort::~OverlayPort() { budget_->give_back(taken_); }

void OverlayPort::drop() {
    const std::lock_guard lock(mutex_);
    slots_.clear();
    budget_->give_back(std::exchange(taken_, 0));
    told_ = false;
    if (::ftruncate(file_.get(), 0) != 0) {
        // The room is given back when the session ends; what is in the file is reachable no more.
    }
}

size_t OverlayPort::changed_chunks() const {
    const std::lock_guard lock(mutex_);
    return slots_.size();
}

std::vector<uint64_t> OverlayPort::changed_list() const {
    const std::lock_guard lock(mutex_);
    std::vector<uint64_t> chunks;
    for (const auto& [chunk, slot] : slots_)
        chunks.push_back(chunk);
    std::ranges::sort(chunks);
    return chunks;
}

base::Result<void> OverlayPort::check_range(uint64_t offset, size_t length) const {
    if (offset > size_bytes() || length > size_bytes() - offset)
        return base::fail("access beyond the end of the disk");
    return {};
}

base::Result<void> OverlayPort::full(const std::string& why) {
    if (!told_ && notice_)
        notice_(why);
    told_ = true;
    return base::fail(why);
}

base::Result<void> OverlayPort::read(uint64_t offset, std::span<uint8_t> to) {
    TRY(check_range(offset, to.size()));
    const std::lock_guard lock(mutex_);
    while (!to.empty()) {
        const uint64_t chunk = offset / kOverlayChunk, within = offset % kOverlayChunk;
        size_t length = std::min<uint64_t>(to.size(), kOverlayChunk - within);
        if (auto slot = slots_.find(chunk); slot != slots_.end()) {
            const ssize_t got =
                base::read_at(file_.get(), to.first(length), slot->second * kOverlayChunk + within);
            if (got != static_cast<ssize_t>(length)) // the file may have become shorter than what was written
                return base::fail(
                    fmt::format("cannot read session data: {}", std::strerror(got < 0 ? errno : EIO)));
        } else {
            // Untouched chunks in a row are one request to the disk below.
            while (length < to.size() && !slots_.contains((offset + length) / kOverlayChunk))
                length += std::min<uint64_t>(to.size() - length, kOverlayChunk);
            TRY(base_->read(offset, to.first(length)));
        }
        offset += length;
        to = to.subspan(length);
    }
    return {};
}

// Into the session's file, however long that takes.
base::Result<void> OverlayPort::keep(std::span<const uint8_t> content, uint64_t at) {
    SpaceGate::Stay stay(budget_->room());
    while (!base::write_at(file_.get(), content, at)) {
        const int error = errno;
        if (SpaceGate::is_shortage(error) && stay.again(std::strerror(error)))
            continue;
        return full(fmt::format("cannot keep what the machine writes ({}): writes fail inside the machine",
                                std::strerror(error)));
    }
    return {};
}

// A chunk is known only once all of it is in the file, so that a failed write leaves the old content.
base::Result<void> OverlayPort::add_chunk(uint64_t chunk, size_t within, std::span<const uint8_t> from) {
    std::vector<uint8_t> content(std::min(kOverlayChunk, size_bytes() - chunk * kOverlayChunk));
    if (from.size() < content.size())
        TRY(base_->read(chunk * kOverlayChunk, content));
    std::ranges::copy(from, content.begin() + static_cast<ptrdiff_t>(within));
    if (!budget_->take(kOverlayChunk))
        return full(fmt::format("the session has written as much as it may ({} MiB): further writes fail "
                                "inside the machine",
                                budget_->limit() >> 20));
    const uint64_t slot = slots_.size();
    if (auto kept = keep(content, slot * kOverlayChunk); !kept) {
        budget_->give_back(kOverlayChunk);
        return kept;
    }
    taken_ += kOverlayChunk;
    slots_.emplace(chunk, slot);
    told_ = false; // there was room again: the next shortage is news
    return {};
}

base::Result<void> OverlayPort::write(uint64_t offset, std::span<const uint8_t> from) {
    TRY(check_range(offset, from.size()));
    const std::lock_guard lock(mutex_);
    while (!from.empty()) {
        const uint64_t chunk = offset / kOverlayChunk, within = offset % kOverlayChunk;
        const size_t length = std::min<uint64_t>(from.size(), kOverlayChunk - within);
        if (auto slot = slots_.find(chunk); slot != slots_.end()) {
            TRY(keep(from.first(length), slot->second * kOverlayChunk + within));
        } else {
            TRY(add_chunk(chunk, within, from.first(length)));
        }
        offset += length;
        from = from.subspan(length);
    }
    return {};
}

} // namespace machine
