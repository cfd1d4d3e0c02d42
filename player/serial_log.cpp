#include "player/serial_log.h"

#include <cerrno>
#include <chrono>
#include <poll.h>

namespace player {
namespace {

constexpr size_t kRecentBytes = 256u << 10;
// A sink that takes nothing (a stopped terminal) loses output beyond this rather than growing without end.
constexpr size_t kMaxPending = 16u << 20;
constexpr auto kFinishTime = std::chrono::seconds(2);
constexpr int kPollMilliseconds = 50;

} // namespace

SerialLog::~SerialLog() { finish(); }

void SerialLog::send(uint8_t byte) {
    const std::lock_guard lock(mutex_);
    if (recent_.size() >= 2 * kRecentBytes)
        recent_.erase(0, recent_.size() - kRecentBytes);
    recent_.push_back(static_cast<char>(byte));
    ++sent_;
    if (!has_sink_ || pending_.size() >= kMaxPending)
        return;
    pending_.push_back(static_cast<char>(byte));
    if (drained_) {
        drained_ = false;
        changed_.notify_all();
    }
}

void SerialLog::write_to(base::UniqueFd fd) {
    sink_ = std::move(fd);
    {
        const std::lock_guard lock(mutex_);
        has_sink_ = true;
    }
    thread_ = std::thread([this] { pump(); });
}

void SerialLog::pump() {
    std::unique_lock lock(mutex_);
    for (;;) {
        drained_ = pending_.empty();
        changed_.notify_all();
        changed_.wait(lock, [&] { return ended_ || !pending_.empty(); });
        if (ended_)
            return;
        std::string chunk = std::move(pending_);
        pending_.clear();
        size_t done = 0;
        while (done < chunk.size() && !ended_) {
            lock.unlock();
            // The descriptor may be somebody's terminal or pipe: it is not ours to make non-blocking, so wait
            // until a small write will not block.
            pollfd ready{sink_.get(), POLLOUT, 0};
            const int polled = ::poll(&ready, 1, kPollMilliseconds);
            ssize_t put = 0;
            if (polled > 0)
                put = ::write(sink_.get(), chunk.data() + done, std::min<size_t>(chunk.size() - done, 512));
            const bool broken = put < 0 && errno != EINTR && errno != EAGAIN;
            lock.lock();
            if (put > 0)
                done += static_cast<size_t>(put);
            if (broken) { // nobody reads any more
                has_sink_ = false;
                pending_.clear();
                drained_ = true;
                changed_.notify_all();
                return;
            }
        }
    }
}

void SerialLog::finish() {
    if (!thread_.joinable())
        return;
    {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kFinishTime, [&] { return drained_; });
        ended_ = true;
        has_sink_ = false;
    }
    changed_.notify_all();
    thread_.join();
    sink_.reset();
}

std::string SerialLog::text_since(uint64_t& position) const {
    const std::lock_guard lock(mutex_);
    const uint64_t first = sent_ - recent_.size();
    const uint64_t from = std::min(std::max(position, first), sent_);
    position = sent_;
    return recent_.substr(from - first);
}

} // namespace player
