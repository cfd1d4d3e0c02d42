#include "player/machine/space_gate.h"

#include <cerrno>
#include <chrono>

namespace machine {
namespace {

constexpr auto kRetryInterval = std::chrono::milliseconds(500);

} // namespace

bool SpaceGate::is_shortage(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

SpaceGate::Stay::~Stay() {
    if (!waiting_)
        return;
    {
        const std::lock_guard lock(gate_.mutex_);
        if (--gate_.waiting_ != 0)
            return;
        gate_.why_.clear();
    }
    if (gate_.on_change_)
        gate_.on_change_({});
}

bool SpaceGate::Stay::again(const std::string& why) {
    std::unique_lock lock(gate_.mutex_);
    if (gate_.abandoned_)
        return false;
    if (!waiting_) {
        waiting_ = true;
        gate_.why_ = why;
        if (gate_.waiting_++ == 0 && gate_.on_change_) {
            lock.unlock();
            gate_.on_change_(why);
            lock.lock();
        }
    }
    const unsigned seen = gate_.retries_;
    gate_.changed_.wait_for(lock, kRetryInterval, [&] { return gate_.abandoned_ || gate_.retries_ != seen; });
    return !gate_.abandoned_;
}

std::string SpaceGate::why() const {
    const std::lock_guard lock(mutex_);
    return why_;
}

void SpaceGate::retry() {
    {
        const std::lock_guard lock(mutex_);
        ++retries_;
    }
    changed_.notify_all();
}

void SpaceGate::abandon() {
    {
        const std::lock_guard lock(mutex_);
        abandoned_ = true;
    }
    changed_.notify_all();
}

void SpaceGate::reopen() {
    const std::lock_guard lock(mutex_);
    abandoned_ = false;
}

} // namespace machine
