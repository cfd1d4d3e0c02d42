#include "vmm/devices/block_worker.h"

#include "vmm/base/log.h"
#include "vmm/base/quiet_thread.h"
#include "vmm/base/thread_work.h"
#include "vmm/base/verify.h"

#include <condition_variable>
#include <deque>
#include <mutex>

namespace vmm {

namespace {
// More than any drive keeps under way; reaching it is a bug of the drive.
constexpr size_t kMaxOutstanding = 8;
} // namespace

// Outlives the worker for as long as a posted wake-up refers to it.
struct BlockWorker::Shared {
    std::shared_ptr<BlockPort> port;
    EventQueue* events = nullptr;
    size_t unit_bytes = 512;
    std::string label;

    struct Finished {
        Completion done;
        BlockOutcome outcome;
    };
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Request> queue;
    std::deque<Finished> finished;
    size_t outstanding = 0; // submitted, completion not yet taken to be run
    bool stop = false;
};

BlockWorker::BlockWorker(std::shared_ptr<BlockPort> port, EventQueue& events, size_t unit_bytes,
                         std::string label)
    : shared_(std::make_shared<Shared>()), size_bytes_(port->size_bytes()), read_only_(port->read_only()) {
    shared_->port = std::move(port);
    shared_->events = &events;
    shared_->unit_bytes = unit_bytes;
    shared_->label = std::move(label);
    thread_ = base::quiet_thread([shared = shared_] {
        base::begin_work("disk");
        run(shared);
    });
}

BlockWorker::~BlockWorker() {
    {
        const std::lock_guard lock(shared_->mutex);
        shared_->stop = true;
        shared_->finished.clear();
    }
    shared_->changed.notify_all();
    thread_.join();
    const std::lock_guard lock(shared_->mutex);
    shared_->finished.clear();
    shared_->queue.clear();
}

void BlockWorker::read(uint64_t offset, size_t length, Completion done) {
    submit({Kind::Read, offset, std::vector<uint8_t>(length), std::move(done)});
}

void BlockWorker::write(uint64_t offset, std::vector<uint8_t> data, Completion done) {
    submit({Kind::Write, offset, std::move(data), std::move(done)});
}

void BlockWorker::flush(Completion done) { submit({Kind::Flush, 0, {}, std::move(done)}); }

void BlockWorker::submit(Request request) {
    {
        const std::lock_guard lock(shared_->mutex);
        VERIFY(shared_->outstanding < kMaxOutstanding);
        ++shared_->outstanding;
        shared_->queue.push_back(std::move(request));
    }
    shared_->changed.notify_all();
}

bool BlockWorker::busy() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->outstanding != 0;
}

void BlockWorker::drain() {
    for (;;) {
        {
            std::unique_lock lock(shared_->mutex);
            if (shared_->outstanding == 0)
                return;
            shared_->changed.wait(lock, [&] { return !shared_->finished.empty(); });
        }
        deliver(*shared_);
    }
}

void BlockWorker::run(const std::shared_ptr<Shared>& shared) {
    for (;;) {
        Request request;
        {
            std::unique_lock lock(shared->mutex);
            shared->changed.wait(lock, [&] { return shared->stop || !shared->queue.empty(); });
            // What the guest was told nothing about yet still gets written.
            if (shared->queue.empty())
                return;
            request = std::move(shared->queue.front());
            shared->queue.pop_front();
        }
        BlockOutcome outcome = perform(*shared, request);
        {
            const std::lock_guard lock(shared->mutex);
            if (shared->stop)
                continue;
            shared->finished.push_back({std::move(request.done), std::move(outcome)});
        }
        shared->changed.notify_all();
        shared->events->post([weak = std::weak_ptr<Shared>(shared)] {
            if (const auto alive = weak.lock())
                deliver(*alive);
        });
    }
}

BlockOutcome BlockWorker::perform(Shared& shared, Request& request) {
    BlockOutcome outcome;
    outcome.data = std::move(request.data);
    const auto transfer = [&](size_t from, size_t count) -> base::Result<void> {
        const auto part = std::span(outcome.data).subspan(from, count);
        return request.kind == Kind::Read ? shared.port->read(request.offset + from, part)
                                          : shared.port->write(request.offset + from, part);
    };
    const size_t length = outcome.data.size();
    auto result = request.kind == Kind::Flush ? shared.port->flush() : transfer(0, length);
    if (result) {
        outcome.ok = true;
        outcome.good_bytes = length;
        return outcome;
    }
    if (request.kind != Kind::Flush && length > shared.unit_bytes) {
        while (outcome.good_bytes < length) {
            const size_t count = std::min(shared.unit_bytes, length - outcome.good_bytes);
            auto one = transfer(outcome.good_bytes, count);
            if (!one) {
                result = std::move(one);
                break;
            }
            outcome.good_bytes += count;
        }
        outcome.ok = outcome.good_bytes == length; // a transient failure heals
    }
    if (!outcome.ok)
        base::log(base::LogLevel::Warn, "{}: {} failed at byte {}: {}", shared.label,
                  request.kind == Kind::Read    ? "read"
                  : request.kind == Kind::Write ? "write"
                                                : "flush",
                  request.offset + outcome.good_bytes, result.error().message);
    return outcome;
}

// Runs each finished completion without the lock: it may submit the next request.
void BlockWorker::deliver(Shared& shared) {
    for (;;) {
        Shared::Finished next;
        {
            const std::lock_guard lock(shared.mutex);
            if (shared.finished.empty())
                return;
            next = std::move(shared.finished.front());
            shared.finished.pop_front();
            --shared.outstanding;
        }
        next.done(std::move(next.outcome));
    }
}

} // namespace vmm
