// What a person would do at the screen, said beforehand: wait for a text, type, press keys, in that order.
// Texts are POSIX extended regular expressions (regcomp(3)), matched without backtracking, because what they
// are matched against comes from the guest.
#pragma once
#include "player/session.h"

#include <memory>
#include <optional>
#include <regex.h>

namespace player {

struct ScriptStep {
    enum class Kind : uint8_t { ExpectSerial, ExpectScreen, ExpectPicture, Type, Keys };
    Kind kind = Kind::ExpectSerial;
    std::string text; // ExpectPicture: "640x480", the smallest size that will do
};

// In TEXT of the command line: \n \t \b \e \\ .
base::Result<std::string> unescape(std::string_view text);

class RunScript {
  public:
    // Steps that type before anything is expected wait until the session is `type_after` old.
    // Errors: a regular expression or size that does not exist.
    static base::Result<RunScript> create(std::vector<ScriptStep> steps,
                                          std::chrono::milliseconds type_after);
    // Before the first tick: what it types must be on the session's keyboard. Errors: a character or key that
    // is not, or a keyboard that this computer does not know.
    base::Result<void> prepare(const Session& session);

    enum class State : uint8_t {
        Going,
        Matched, // the last step, an expectation, has come true
        Typed,   // the last step was typing, and all of it is typed
    };
    State tick(Session& session);

    // The guest has halted for good, and what the next step waits for has had its time to be seen.
    bool hopeless(const Session& session);

    [[nodiscard]] bool empty() const { return steps_.empty(); }
    // What the next steps wait for, for a message.
    [[nodiscard]] std::string waiting_for() const;

  private:
    struct FreeRegex {
        void operator()(regex_t* regex) const {
            ::regfree(regex);
            delete regex;
        }
    };
    struct Step {
        ScriptStep step;
        uint32_t width = 0, height = 0; // ExpectPicture
        std::unique_ptr<regex_t, FreeRegex> regex;
    };
    RunScript() = default;
    bool step_done(Session& session, const Step& step);
    bool serial_matches(Session& session, const regex_t& regex);
    bool picture_stands(Session& session, const Step& step);

    std::vector<Step> steps_;
    std::shared_ptr<const KeyboardLayout> layout_;
    size_t next_ = 0;
    std::chrono::milliseconds type_after_{};
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), screen_looked_at_{};
    uint64_t serial_position_ = 0;
    std::string serial_; // what no step has consumed
    bool serial_changed_ = true;
    std::vector<uint32_t> picture_; // the last one looked at
    vmm::Activity picture_since_;   // since when it has not changed
    uint64_t picture_reverts_ = 0;  // the session's reverts then: each sets the guest's time
    std::optional<std::chrono::steady_clock::time_point> halted_since_;
};

} // namespace player
