// Work handed to the vCPU thread by others (I/O completions, input, the session's requests). Posting is
// thread-safe and wakes the vCPU; closures run in order on the vCPU thread between guest instructions.
#pragma once
#include <functional>
#include <mutex>
#include <vector>

namespace vmm {

class EventQueue {
  public:
    void post(std::function<void()> work);
    void run_all(); // vCPU thread only
    void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }
    [[nodiscard]] bool empty();

  private:
    std::mutex mutex_;
    std::vector<std::function<void()>> work_;
    std::function<void()> wake_;
};

} // namespace vmm
