// What the guest says on its serial line: the recent past is kept for matching, everything goes to a sink
// when there is one. Sending never blocks the vCPU, whatever the sink does.
#pragma once
#include "vmm/base/unique_fd.h"
#include "vmm/bus/ports.h"

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace player {

class SerialLog final : public vmm::CharPort {
  public:
    SerialLog() = default;
    ~SerialLog() override;

    void send(uint8_t byte) override;

    // Copies everything sent from now on to `fd`. At most once.
    void write_to(base::UniqueFd fd);
    // Waits, a bounded time, until the sink has everything, and lets go of it.
    void finish();

    // What was sent from the byte numbered `position` on (at most the recent past); `position` becomes the
    // number of the next byte to come.
    [[nodiscard]] std::string text_since(uint64_t& position) const;

  private:
    void pump();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::string recent_;
    uint64_t sent_ = 0; // bytes ever; recent_ ends there
    std::string pending_;
    bool has_sink_ = false, ended_ = false, drained_ = true;
    base::UniqueFd sink_;
    std::thread thread_;
};

} // namespace player
