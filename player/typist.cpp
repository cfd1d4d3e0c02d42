#include "player/typist.h"

#include "player/key_names.h"

#include <algorithm>
#include <chrono>

namespace player {
namespace {

// What a fast typist's keys are apart, for programs that look at the keyboard's state now and then.
constexpr auto kEventTime = std::chrono::milliseconds(8);
constexpr size_t kMaxWaiting = 64u << 10;

} // namespace

Typist::~Typist() {
    {
        const std::lock_guard lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

base::Result<void> Typist::add(const std::vector<Chord>& chords) {
    {
        const std::lock_guard lock(mutex_);
        size_t events = 0;
        for (const auto& chord : chords)
            events += 2 * chord.size();
        if (queue_.size() + events > kMaxWaiting)
            return base::fail("too much is waiting to be typed");
        for (const auto& chord : chords) {
            for (const uint16_t key : chord)
                queue_.push_back({key, true});
            for (auto key = chord.rbegin(); key != chord.rend(); ++key)
                queue_.push_back({*key, false});
        }
    }
    changed_.notify_all();
    return {};
}

base::Result<void> Typist::type(std::string_view text, const KeyboardLayout& layout) {
    if (text.size() > kMaxWaiting)
        return base::fail("too much to type");
    return add(TRY(keys_for_text(text, layout)));
}

base::Result<void> Typist::press(std::string_view chord, const KeyboardLayout& layout) {
    return add({TRY(parse_chord(chord, layout))});
}

void Typist::forget() {
    const std::lock_guard lock(mutex_);
    std::erase_if(queue_, [](const vmm::KeyEvent& event) { return event.pressed; });
}

size_t Typist::waiting() const {
    const std::lock_guard lock(mutex_);
    return queue_.size() + (sending_ ? 1 : 0);
}

bool Typist::all_pressed() const {
    const std::lock_guard lock(mutex_);
    return std::ranges::none_of(queue_, &vmm::KeyEvent::pressed);
}

void Typist::work() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
        if (queue_.empty()) {
            changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
            continue;
        }
        const vmm::KeyEvent event = queue_.front();
        lock.unlock();
        const bool takes = takes_(event);
        lock.lock();
        if (!takes) {
            changed_.wait_for(lock, kEventTime, [&] { return ended_; });
            continue;
        }
        if (queue_.empty() || queue_.front() != event)
            continue; // forgotten meanwhile
        queue_.pop_front();
        sending_ = true;
        lock.unlock();
        send_(event);
        lock.lock();
        sending_ = false;
        changed_.wait_for(lock, kEventTime, [&] { return ended_; });
    }
}

} // namespace player
