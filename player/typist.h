// Presses keys as the guest takes them, and no faster than its keyboard driver keeps up with, on a thread of
// its own. None is lost, however slow the guest is.
#pragma once
#include "player/keyboard_layout.h"
#include "vmm/bus/ports.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>

namespace player {

class Typist {
  public:
    using Send = std::function<void(const vmm::KeyEvent&)>;
    using Takes = std::function<bool(const vmm::KeyEvent&)>; // false: not yet

    explicit Typist(
        Send send, Takes takes = [](const vmm::KeyEvent&) { return true; })
        : send_(std::move(send)), takes_(std::move(takes)), thread_([this] { work(); }) {}
    ~Typist();
    Typist(const Typist&) = delete;
    Typist& operator=(const Typist&) = delete;

    // Queue and return at once. Errors: an unknown key or character (nothing is typed then), or far too much
    // waiting already.
    base::Result<void> type(std::string_view text, const KeyboardLayout& layout = *KeyboardLayout::us());
    base::Result<void> press(std::string_view chord, const KeyboardLayout& layout = *KeyboardLayout::us());

    // Forgets what has not been typed yet; keys that are down come up.
    void forget();
    [[nodiscard]] size_t waiting() const; // key events still to come
    // No key is still to be pressed; some may still be down. A guest may act on the last one, and be gone,
    // before it comes up.
    [[nodiscard]] bool all_pressed() const;

  private:
    base::Result<void> add(const std::vector<Chord>& chords);
    void work();

    Send send_;
    Takes takes_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<vmm::KeyEvent> queue_;
    bool ended_ = false, sending_ = false; // sending_: one taken from the queue
    std::thread thread_;                   // last: starts when everything above exists
};

} // namespace player
