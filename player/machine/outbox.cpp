#include "player/machine/outbox.h"

#include "vmm/base/thread_work.h"

#include <algorithm>

namespace machine {
namespace {

constexpr size_t kMostSerialWaiting = 16u << 20, kMostSounds = 128, kMostItems = 1024;
// Serial output comes byte by byte: a little later, many are one message.
constexpr auto kGather = std::chrono::milliseconds(1);

} // namespace

Outbox::Outbox(Channel& channel) : channel_(channel), thread_([this] { work(); }) {}

Outbox::~Outbox() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Outbox::send(uint8_t byte) {
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        if (serial_.size() >= kMostSerialWaiting)
            return;
        first = serial_.empty();
        serial_.push_back(byte);
    }
    if (first)
        changed_.notify_all();
}

void Outbox::add(Item item) {
    {
        const std::lock_guard lock(mutex_);
        if (items_.size() >= kMostItems)
            return;
        sounds_ += item.kind == Kind::Sound ? 1 : 0;
        if (sounds_ > kMostSounds) { // the oldest goes
            items_.erase(std::ranges::find(items_, Kind::Sound, &Item::kind));
            --sounds_;
        }
        items_.push_back(std::move(item));
    }
    changed_.notify_all();
}

void Outbox::play(std::span<const int16_t> samples, uint32_t rate) {
    constexpr size_t kMostSamples = kMostSound / sizeof(int16_t);
    while (!samples.empty()) {
        const auto part = samples.first(std::min(samples.size(), kMostSamples));
        samples = samples.subspan(part.size());
        const auto* bytes = reinterpret_cast<const uint8_t*>(part.data());
        add({Kind::Sound, encode(Sound{rate, {bytes, bytes + part.size_bytes()}})});
    }
}

void Outbox::silence() {
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(items_, [](const Item& item) { return item.kind == Kind::Sound; });
        sounds_ = 0;
    }
    add({Kind::Silence, {}});
}

void Outbox::notice(const std::string& text) { add({Kind::Notice, encode(Notice{text})}); }
void Outbox::damaged(const base::Error& error) {
    add({Kind::Damaged, encode(Damaged{{error.code, error.message}})});
}
void Outbox::stalled(const std::string& why) { add({Kind::Stalled, encode(Stalled{why})}); }

void Outbox::set_look(std::function<State()> look) {
    const std::lock_guard sending(sending_);
    look_ = std::move(look);
}

void Outbox::state_changed() {
    {
        const std::lock_guard lock(mutex_);
        state_changed_ = true;
    }
    changed_.notify_all();
}

void Outbox::flush() {
    const std::lock_guard sending(sending_);
    std::vector<uint8_t> serial;
    std::deque<Item> items;
    bool look = false;
    {
        const std::lock_guard lock(mutex_);
        look = look_ && std::exchange(state_changed_, false);
    }
    // Before the rest is taken: what the guest said before it came to this state goes before the news of it.
    const State state = look ? look_() : State{};
    {
        const std::lock_guard lock(mutex_);
        serial.swap(serial_);
        items.swap(items_);
        sounds_ = 0;
    }
    for (std::span<const uint8_t> rest = serial; !rest.empty();) {
        const auto part = rest.first(std::min(rest.size(), kMostSerial));
        channel_.send(Serial{{part.begin(), part.end()}});
        rest = rest.subspan(part.size());
    }
    for (const Item& item : items)
        channel_.send(item.kind, 0, item.body);
    if (look)
        channel_.send(state);
}

void Outbox::answer(uint32_t number, std::span<const uint8_t> body) {
    flush();
    channel_.send(Kind::Answer, number, body);
}

void Outbox::work() {
    base::begin_work("events");
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(
            lock, [&] { return ended_ || !serial_.empty() || !items_.empty() || (state_changed_ && look_); });
        if (ended_)
            return;
        if (items_.empty() && !state_changed_)
            changed_.wait_for(lock, kGather, [&] { return ended_ || !items_.empty() || state_changed_; });
        lock.unlock();
        flush();
        lock.lock();
    }
}

} // namespace machine
