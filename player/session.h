// One sitting with an appliance: from a bundle whose publisher was checked to the moment everything the guest
// wrote is dropped. The one interface that the window, the headless runner, the control socket and the kiosk
// share; functions may be called from any thread unless said otherwise.
#pragma once
#include "appliance-format/session_file.h"
#include "player/bundle_machine.h"
#include "player/network.h"
#include "player/operations_log.h"
#include "player/operator_settings.h"
#include "player/scene_capture.h"
#include "player/serial_log.h"
#include "player/session_identity.h"
#include "player/typist.h"

#include <atomic>
#include <chrono>

namespace player {

class Session;

struct SessionOptions {
    std::string bundle;
    MachineChanges changes;
    uint64_t overlay_limit = 8ull << 30;
    std::string cache_home; // empty: the user's
    // The scene to begin at; empty: power-on. Not given: where the publisher says.
    std::optional<std::string> scene;
    // A file that save() wrote: the session goes on there. An empty `bundle` is looked for by the name that
    // the file has.
    std::string saved_session;
    // Makes the machine's identity a function of this number; not given: the publisher's policy decides.
    std::optional<uint64_t> seed;
    // The bundle's own publisher, who prepares it: limits of time, scenes and dates are for those who play it
    // (the operator's hold for everybody), and scenes captured while it runs are signed. Null: it is played.
    std::shared_ptr<const signing::Signer> author;
    // Something the person should know, one plain line; called from any thread.
    std::function<void(const std::string&)> notice;
    // A window to be shown before there is a machine: called by open() once the bundle is verified, and by
    // jump(), while preview() holds the scene's stored picture; on the thread that calls them. An error ends
    // open().
    std::function<base::Result<void>(Session&)> before_machine;
    // The shell around the session (shell_link.h) applies its limits of time until shell_left().
    bool timed_by_shell = false;
    // The time that the policy's limits run by.
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
    // Not given: the operator's files of this computer.
    std::optional<std::vector<appliance_format::OperatorFile>> operator_files{};
    // Who hears the guest, if the policy lets it be heard; null: nobody.
    std::shared_ptr<vmm::AudioPort> audio{};
    // What is printed on the guest's keyboard, for what is typed by name and by character. Null: what the
    // bundle says.
    std::shared_ptr<const KeyboardLayout> keyboard_layout{};
    // Where the session's start, scenes, reverts and end are noted; null: nowhere.
    std::shared_ptr<OperationsLog> log{};
};

enum class SessionEnd : uint8_t {
    None,      // it goes on
    PowerOff,  // the guest turned itself off
    Reset,     // the guest restarted and the publisher's rules end the session there
    TimeLimit, // policy.max_minutes are over
    Idle,      // nobody touched it for policy.idle_seconds
    Asked,     // end() was called
    Halted,    // the guest halted for good, and whoever ran it has no use for that
    Failed,    // failure() says why
};

// "power-off", "idle", ...: one word, for logs.
[[nodiscard]] const char* to_string(SessionEnd end);

class Session {
  public:
    // Opens the bundle and checks who signed it, that an author is who signed it, and whether its policy,
    // tightened by the operator, lets it be played now; nothing of the guest has run when this fails. Errors:
    // those of Bundle::open and authenticate, each with its own code; kRefused for what the policy forbids.
    static base::Result<std::unique_ptr<Session>> open(SessionOptions options);
    ~Session(); // ends it
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void start();
    // Carries the session on: notices what the guest did, applies the publisher's rules. Call it some twenty
    // times a second from one thread.
    SessionEnd poll();
    void end(SessionEnd why = SessionEnd::Asked); // poll() reports it
    // Drops everything the guest wrote and goes back to where the session began: its scene, in place and in
    // milliseconds, or power-on.
    base::Result<void> revert();
    // The same, to another scene (empty: power-on), which becomes the one that revert() goes back to.
    base::Result<void> jump(const std::string& scene);
    // Reverts and, before the guest goes on, compares everything that was touched with the scene's signed
    // roots. The answer is the RAM's root in hexadecimal; an error names what differs.
    base::Result<std::string> revert_with_receipt();
    // Why the machine is kept from running, "disk full (...)"; empty: it is not. It goes on by itself when
    // there is room; resume() looks at once.
    [[nodiscard]] std::string paused_because() const;
    void resume();

    // Writes all that the machine holds beyond its bundle to a file, from which a session goes on exactly
    // here. The guest rests only while that is set aside, or, when it shall end, for good once the file is
    // there.
    enum class AfterSave : uint8_t { GoOn, End };
    base::Result<void> save(const std::string& file, AfterSave after);
    // Captures the machine as a new scene of its bundle file. The guest rests only while what it holds is set
    // aside, and goes on whatever comes of it.
    base::Result<void> capture(const SceneLabel& label, const signing::Signer& signer,
                               appliance_format::WriterOptions options);

    // The guest halted its processor with interrupts disabled, as after a crash or to be turned off: nothing
    // inside the machine brings it back. The session goes on, for whoever looks at it or reverts it.
    [[nodiscard]] bool guest_halted() const;

    [[nodiscard]] SessionEnd state() const;
    [[nodiscard]] base::Error failure() const;

    // The machine of the moment; a revert may replace it. Null only before the first, in before_machine.
    [[nodiscard]] std::shared_ptr<machine::Client> machine() const;
    [[nodiscard]] SerialLog& serial() { return *serial_; }
    [[nodiscard]] Typist& typist() { return *typist_; }
    // Errors: this computer does not know the layout that the bundle names.
    [[nodiscard]] base::Result<std::shared_ptr<const KeyboardLayout>> keyboard_layout() const;

    [[nodiscard]] const appliance_format::Manifest& manifest() const { return bundle_->manifest(); }
    // The rules that hold: the publisher's, tightened by the operator.
    [[nodiscard]] const appliance_format::EffectivePolicy& policy() const { return policy_; }
    // Somebody is there: what the person does starts the idle time anew. Keys and scripts count by
    // themselves.
    void note_activity();
    // Until the session ends by itself; nothing: never.
    [[nodiscard]] std::optional<std::chrono::seconds> time_left() const;
    [[nodiscard]] std::optional<std::chrono::seconds> idle_left() const;
    // More time than max_minutes gives; for staff, who have shown their PIN.
    void extend(std::chrono::minutes more);
    // Nobody outside keeps its limits of time any more: from now on it does itself.
    void shell_left() { timed_by_shell_ = false; }
    [[nodiscard]] const signing::Publisher& publisher() const { return publisher_; }
    [[nodiscard]] std::string title() const; // "<appliance> — <publisher>", and whether it was saved
    // Whether the machine stems from a saved session, which no publisher signed; a revert ends that.
    [[nodiscard]] bool resumed() const { return resumed_; }
    [[nodiscard]] uint64_t overlay_bytes() const { return machine()->overlay_bytes(); }
    [[nodiscard]] uint64_t revert_count() const { return reverts_; }
    // Null: the guest has no network.
    [[nodiscard]] std::shared_ptr<const UserNetwork> network() const;
    // The same by options.author; an empty name stands for the next free "scene-N". The answer is the name.
    base::Result<std::string> capture_as_author(std::string name);
    [[nodiscard]] bool may_capture() const { return options_.author != nullptr; }
    // What to show until the machine of a scene is there: its stored picture, a PNG. Null: the machine's own.
    [[nodiscard]] std::shared_ptr<const std::vector<uint8_t>> preview() const;
    // Who the machine is at the moment; a revert or jump may make it another.
    [[nodiscard]] SessionIdentity identity() const;
    [[nodiscard]] std::string scene() const; // empty: the session began at power-on
    [[nodiscard]] std::chrono::microseconds last_revert() const { return last_revert_; }
    [[nodiscard]] std::chrono::microseconds last_pause() const { return last_pause_; } // of a capture
    [[nodiscard]] std::chrono::seconds age() const;

  private:
    Session() = default;
    // `before`: what the clock chip said of the machine that goes, if one does.
    [[nodiscard]] base::Result<std::shared_ptr<machine::Client>> start_machine();
    base::Result<void> set_up(machine::Client& machine, std::optional<uint64_t> before);
    std::shared_ptr<vmm::NetworkPort> plug_network();
    [[nodiscard]] vmm::Arrival arrival(machine::Client& machine, std::optional<uint64_t> before) const;
    [[nodiscard]] std::string first_scene() const;
    base::Result<void> choose_scene(const std::string& name);
    base::Result<void> open_saved();
    base::Result<void> join_saved();
    void leave_saved();
    [[nodiscard]] const appliance_format::Scene* moment() const; // the machine was opened at; null: power-on
    [[nodiscard]] base::Result<appliance_format::BlobReader> open_blob(std::string_view name) const;
    base::Result<std::unique_ptr<appliance_format::Bundle>> bundle_as_it_is() const;
    base::Result<FrozenMachine> freeze_for(const appliance_format::Bundle& bundle);
    [[nodiscard]] base::Result<SessionIdentity> choose_identity() const;
    base::Result<void> show_preview();
    base::Result<void> replace_machine();
    base::Result<void> revert_in_place(std::string* receipt);
    void rest(const std::function<void()>& work); // pauses, works, goes on
    void heed_full_disk();
    [[nodiscard]] std::string full_disk_advice() const;
    void let_run(machine::Client& machine); // unless something keeps it; mutex_ is held
    void finish(SessionEnd why, base::Error failure = {});
    base::Result<void> check_policy();
    void check_time();
    void check_idle();
    void log(std::string_view event, std::initializer_list<OperationsLog::Field> fields) const;
    void tell(const std::string& text) const;

    SessionOptions options_;
    std::unique_ptr<appliance_format::Bundle> bundle_;
    signing::Publisher publisher_;
    std::unique_ptr<SessionStorage> storage_;
    std::unique_ptr<BundleMachine> recipe_;
    std::optional<SessionIdentity> identity_;              // guarded by turn_
    const appliance_format::Scene* scene_ = nullptr;       // of bundle_; null: power-on. Guarded by turn_
    std::unique_ptr<appliance_format::SessionFile> saved_; // until the first revert. Guarded by turn_
    std::chrono::seconds played_before_{0};                // by the sessions that were saved
    std::optional<NetworkAccess> network_access_;          // nothing: not allowed
    std::unique_ptr<machine::FrameCarrier> cable_;         // from the network to the machine; null: none
    std::shared_ptr<SerialLog> serial_;
    std::chrono::steady_clock::time_point started_;
    std::chrono::minutes warned_at_ = std::chrono::minutes::max(); // the last warning's time left
    appliance_format::EffectivePolicy policy_;
    std::atomic<std::chrono::steady_clock::time_point> touched_{};
    std::atomic<std::chrono::minutes> extension_{};
    std::atomic<bool> timed_by_shell_{false};
    bool idle_warned_ = false, halt_told_ = false;

    mutable std::mutex turn_; // one revert, capture or poll at a time
    mutable std::mutex mutex_;
    std::shared_ptr<machine::Client> machine_; // the mutex guards these
    std::shared_ptr<UserNetwork> network_;     // the machines', one after the other; null: none
    std::shared_ptr<const std::vector<uint8_t>> preview_;
    SessionEnd end_ = SessionEnd::None;
    base::Error failure_;
    bool running_ = false;
    bool held_ = false; // by a full disk
    std::atomic<bool> resumed_{false};
    std::atomic<uint64_t> reverts_{0};
    std::atomic<std::chrono::microseconds> last_revert_{}, last_pause_{};
    std::unique_ptr<Typist> typist_; // last: its thread uses machine_
};

} // namespace player
