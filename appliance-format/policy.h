// The rules of a session: what the publisher's signed manifest says, tightened (never loosened) by what the
// operator of this computer says, each rule with where it comes from. One table in policy.cpp says for every
// rule what "tighter" means; the recipe, the manifest and the operator's file share the readers.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

// The time of day that a session's guest finds in its clock chip when it begins at a scene, reverts or jumps.
// Counters (time-stamp counter, timers) always go on from the scene's moment, as the guest's memory does.
enum class ClockPolicy : uint8_t {
    Host,      // the host's time now
    Frozen,    // the moment of capture, each time
    Continues, // goes on from the moment of capture; a revert or jump does not set it back
};
[[nodiscard]] const char* to_string(ClockPolicy policy);
[[nodiscard]] std::optional<ClockPolicy> clock_policy_from(std::string_view text);

// Whether sessions can be told apart by what the machine says it is (VM Generation ID, MAC address, seed).
enum class IdentityPolicy : uint8_t { Fresh, Same };
[[nodiscard]] const char* to_string(IdentityPolicy policy);
[[nodiscard]] std::optional<IdentityPolicy> identity_policy_from(std::string_view text);

// As one author states it. What is optional and absent is not stated.
struct Policy {
    std::optional<uint32_t> max_minutes{};  // longest session; none: no limit
    std::optional<uint32_t> idle_seconds{}; // a session nobody touches for so long ends; none: no limit
    std::vector<std::string> scenes{};      // where sessions may be; "power-on" is the start without a scene
    std::optional<bool> network{};          // may the guest reach a network; not stated: no
    std::optional<bool> clipboard{};        // is the host's clipboard shared; not stated: no
    std::optional<bool> sound{};            // is the guest heard; not stated: yes
    std::vector<std::string> networks{};    // beyond the internet; those asked for, those granted
    std::vector<std::string> forward{};     // this computer's ports that lead to the guest's, "8080:80"
    bool power_off_ends_session = true;
    bool reset_ends_session = false;
    std::string watermark{}; // a line drawn over the guest's picture; empty: none
    std::string expires{};   // YYYY-MM-DD, the last day (UTC) on which sessions begin; empty: never
    std::optional<uint32_t> grace_days{}; // days after `expires` on which sessions begin, with a warning
    // The publisher's alone: what the machine is, not what a person may do.
    ClockPolicy clock = ClockPolicy::Host;
    IdentityPolicy identity = IdentityPolicy::Fresh;
    bool operator==(const Policy&) const = default;
};

inline constexpr const char* kPowerOn = "power-on"; // in Policy::scenes

// Bounds of the numbers and texts above.
inline constexpr uint32_t kMaxMinutes = 7 * 24 * 60, kMinIdleSeconds = 10, kMaxIdleSeconds = 24 * 3600,
                          kMaxGraceDays = 366;
inline constexpr size_t kMaxWatermark = 200, kMaxPolicyScenes = 256;

// "2026-02-28" and the like: a day that exists, in the years 2000 to 9999.
[[nodiscard]] bool is_date(std::string_view text);
// Days since 1970-01-01; `date` must be one.
[[nodiscard]] int64_t days_of(std::string_view date);

// What is wrong with a policy's values, or an empty text.
[[nodiscard]] std::string policy_fault(const Policy& policy);

// Whether a player that does not know the rules beyond max_minutes and the two "ends_session" would be more
// lenient than `policy` wants. Such manifests name kSessionRules as a critical feature.
[[nodiscard]] bool needs_session_rules(const Policy& policy);
inline constexpr const char* kSessionRules = "session-rules";

enum class Rule : uint8_t {
    Scenes,
    MaxMinutes,
    IdleSeconds,
    Network,
    Networks,
    Forward,
    Clipboard,
    Sound,
    PowerOffEndsSession,
    ResetEndsSession,
    Watermark,
    Expires,
    GraceDays,
};
inline constexpr size_t kRules = 13;
[[nodiscard]] const char* to_string(Rule rule); // the key in recipes, manifests and operator files

// A rule as an operator states it, and where.
struct OperatorPolicy {
    struct Stated {
        Rule rule = Rule::Scenes;
        unsigned line = 0;
    };
    std::string file;
    std::string appliance; // the appliance it is about; empty: all
    Policy policy;
    std::vector<Stated> stated; // in the file's order; nothing else of `policy` counts
};

struct RuleSource {
    enum class From : uint8_t { Default, Publisher, Operator };
    From from = From::Default;
    std::string file; // From::Operator: the line that decided
    unsigned line = 0;
};

// What holds for sessions with one bundle on this computer.
class EffectivePolicy {
  public:
    // `scenes` are the names in the bundle.
    static EffectivePolicy merge(const Policy& publisher, std::string_view appliance,
                                 std::span<const std::string> scenes,
                                 std::span<const OperatorPolicy> operators);

    [[nodiscard]] const Policy& policy() const { return policy_; }
    [[nodiscard]] bool network() const { return policy_.network.value_or(false); }
    // What of the private networks that the publisher asks for every operator who says something grants, and
    // at least one does.
    [[nodiscard]] const std::vector<std::string>& networks() const { return policy_.networks; }
    [[nodiscard]] const std::vector<std::string>& asked_networks() const { return asked_networks_; }
    [[nodiscard]] bool clipboard() const { return policy_.clipboard.value_or(false); }
    [[nodiscard]] bool sound() const { return policy_.sound.value_or(true); }
    [[nodiscard]] bool limits_scenes() const { return scenes_limited_; }
    // May a session be at this scene (empty: power-on)?
    [[nodiscard]] bool allows_scene(std::string_view scene) const;

    [[nodiscard]] const RuleSource& source(Rule rule) const { return sources_[static_cast<size_t>(rule)]; }
    // "publisher's manifest", "/etc/xdg/encore/operator.toml:3" or "default".
    [[nodiscard]] std::string source_text(Rule rule) const;
    // What holds, for people: "30 minutes", "all", "off".
    [[nodiscard]] std::string value_text(Rule rule) const;

    // Lines of the operator that would have loosened something, or name what is not there: not applied.
    struct Ignored {
        std::string file;
        unsigned line = 0;
        std::string why; // one sentence
    };
    [[nodiscard]] const std::vector<Ignored>& ignored() const { return ignored_; }

    enum class Validity : uint8_t { Valid, Grace, Expired };
    // `now` in seconds since 1970. Whoever asks does so before a session, never during one.
    [[nodiscard]] Validity validity(int64_t now) const;

  private:
    using Ignore = std::function<void(std::string why)>;
    void apply(const OperatorPolicy& stated, std::span<const std::string> scenes);
    bool apply_scenes(const Policy& wanted, std::span<const std::string> scenes, const Ignore& ignore);
    bool apply_networks(const Policy& wanted, const Ignore& ignore);
    bool apply_forward(const Policy& wanted, const Ignore& ignore);

    Policy policy_;
    std::vector<std::string> asked_networks_;
    bool networks_decided_ = false; // by an operator
    bool scenes_limited_ = false;   // then an empty list allows nothing
    std::array<RuleSource, kRules> sources_;
    std::vector<Ignored> ignored_;
};

} // namespace appliance_format
