// One sitting with an appliance: from a bundle whose publisher was checked to the moment everything the guest
// wrote is dropped. The one interface that the window, the headless runner, the control socket and the kiosk
// share; functions may be called from any thread unless said otherwise.
#pragma once
#include "player/bundle_machine.h"
#include "player/serial_log.h"
#include "player/typist.h"

#include <atomic>
#include <chrono>

namespace player {

struct SessionOptions {
    std::string bundle;
    MachineChanges changes;
    uint64_t overlay_limit = 8ull << 30;
    std::string cache_home; // empty: the user's
    // Something the person should know, one plain line; called from any thread.
    std::function<void(const std::string&)> notice;
    // The time that policy.max_minutes runs by.
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

enum class SessionEnd : uint8_t {
    None,      // it goes on
    PowerOff,  // the guest turned itself off
    Reset,     // the guest restarted and the publisher's rules end the session there
    TimeLimit, // policy.max_minutes are over
    Asked,     // end() was called
    Failed,    // failure() says why
};

class Session {
  public:
    // Opens the bundle and checks who signed it; nothing of the guest has run when this fails. Errors: those
    // of Bundle::open and authenticate, each with its own code.
    static base::Result<std::unique_ptr<Session>> open(SessionOptions options);
    ~Session(); // ends it
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void start();
    // Carries the session on: notices what the guest did, applies the publisher's rules. Call it some twenty
    // times a second from one thread.
    SessionEnd poll();
    void end(); // poll() reports it
    // Drops everything the guest wrote and starts again from the beginning.
    base::Result<void> revert();

    [[nodiscard]] SessionEnd state() const;
    [[nodiscard]] base::Error failure() const;

    // The machine of the moment; a revert replaces it. Never null.
    [[nodiscard]] std::shared_ptr<vmm::Machine> machine() const;
    [[nodiscard]] SerialLog& serial() { return *serial_; }
    [[nodiscard]] Typist& typist() { return *typist_; }

    [[nodiscard]] const appliance_format::Manifest& manifest() const { return bundle_->manifest(); }
    [[nodiscard]] const signing::Publisher& publisher() const { return publisher_; }
    [[nodiscard]] std::string title() const; // "<appliance> — <publisher>"
    [[nodiscard]] uint64_t overlay_bytes() const { return budget_->used(); }
    [[nodiscard]] uint64_t revert_count() const { return reverts_; }
    [[nodiscard]] std::chrono::seconds age() const;

  private:
    Session() = default;
    base::Result<std::shared_ptr<vmm::Machine>> build();
    base::Result<void> replace_machine();
    void finish(SessionEnd why, base::Error failure = {});
    void check_time();
    void tell(const std::string& text) const;

    SessionOptions options_;
    std::unique_ptr<appliance_format::Bundle> bundle_;
    signing::Publisher publisher_;
    std::unique_ptr<SessionStorage> storage_;
    std::shared_ptr<OverlayBudget> budget_;
    std::unique_ptr<BundleMachine> recipe_;
    std::shared_ptr<SerialLog> serial_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::minutes warned_at_ = std::chrono::minutes::max(); // the last warning's time left

    std::mutex turn_; // one revert or poll at a time
    mutable std::mutex mutex_;
    std::shared_ptr<vmm::Machine> machine_; // the mutex guards these
    SessionEnd end_ = SessionEnd::None;
    base::Error failure_;
    bool running_ = false;
    std::atomic<uint64_t> reverts_{0};
    std::unique_ptr<Typist> typist_; // last: its thread uses machine_
};

} // namespace player
