// Where a session's writes wait when the host's disk has no room for them: the guest is not told of an error
// that it could not handle, it rests, and goes on when there is room. One for all disks of a session; any
// thread.
#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

namespace machine {

class SpaceGate {
  public:
    // `changed` is told why, each time that a write begins to wait and no other does, and an empty text when
    // none does any more.
    explicit SpaceGate(std::function<void(const std::string& why)> changed = {})
        : on_change_(std::move(changed)) {}

    // Whether an errno says that there was no room (on the disk, in the quota, under `ulimit -f`).
    [[nodiscard]] static bool is_shortage(int error);

    // One write's stay. Its writer tries, and when there is no room asks again(): true after a while, or as
    // soon as somebody wants it tried; false when nobody wants it done any more.
    class Stay {
      public:
        explicit Stay(SpaceGate& gate) : gate_(gate) {}
        ~Stay();
        Stay(const Stay&) = delete;
        Stay& operator=(const Stay&) = delete;
        bool again(const std::string& why);

      private:
        SpaceGate& gate_;
        bool waiting_ = false;
    };

    // Why writes wait; empty: none does.
    [[nodiscard]] std::string why() const;
    void retry();   // what waits is tried now
    void abandon(); // what waits, and what comes, gives up, until ...
    void reopen();  // ... this

  private:
    std::function<void(const std::string&)> on_change_;
    mutable std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    unsigned waiting_ = 0; // stays that found no room yet
    unsigned retries_ = 0;
    bool abandoned_ = false;
    std::string why_;
};

} // namespace machine
