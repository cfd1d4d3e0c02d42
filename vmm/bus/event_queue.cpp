#include "vmm/bus/event_queue.h"

#include "vmm/base/operation.h"

#include <utility>

namespace vmm {

void EventQueue::post(std::function<void()> work) {
    {
        const std::lock_guard lock(mutex_);
        work_.push_back(std::move(work));
    }
    if (wake_)
        wake_();
}

void EventQueue::run_all() {
    // What is posted while running waits for the next call (its post has woken the vCPU again), so that work
    // which posts itself cannot keep the guest from running.
    std::vector<std::function<void()>> batch;
    {
        const std::lock_guard lock(mutex_);
        batch.swap(work_);
    }
    for (auto& work : batch) {
        const base::Operation operation;
        work();
    }
}

bool EventQueue::empty() {
    const std::lock_guard lock(mutex_);
    return work_.empty();
}

} // namespace vmm
