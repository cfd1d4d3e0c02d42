// The PIN by which staff leave a kiosk or give a session more time. Its hash is in the operator's folder
// ($XDG_CONFIG_HOME/encore/staff-pin, else /etc/xdg/encore/staff-pin), readable by its owner only. Wrong
// tries are counted in the state folder, so that neither a restart nor kill -9 gives new ones; from the third
// in a row on each costs a wait that doubles, up to an hour.
//
// Who has forgotten the PIN sets a new one from a terminal of the account that runs the kiosk:
// `encore pin set`. There is no back door besides.
#pragma once
#include "vmm/base/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace player {

class StaffPin {
  public:
    struct Places {
        std::string own;    // where set() writes, and the first place that is read
        std::string system; // read when there is no own one
        std::string tries;  // the count of wrong tries
    };
    static base::Result<StaffPin> standard();
    explicit StaffPin(Places places, std::function<int64_t()> now = {});

    [[nodiscard]] bool is_set() const;
    base::Result<void> set(std::string_view pin);
    // Sets the system's, for an account whose group reads it; the administrator does that.
    base::Result<void> set_for(std::string_view pin, gid_t readers);
    // Removes the own one. Errors: there is none.
    base::Result<void> remove();

    enum class Verdict : uint8_t {
        Right,
        Wrong,
        Wait,   // too many tries: `wait` says for how long; the PIN was not looked at
        NotSet, // nobody set one: nothing opens
    };
    struct Answer {
        Verdict verdict = Verdict::Wrong;
        std::chrono::seconds wait{0}; // until the next try is looked at
    };
    // Takes about 0.1 s. Errors: the record is damaged or cannot be read.
    base::Result<Answer> check(std::string_view pin);
    // How long until a try is looked at.
    [[nodiscard]] std::chrono::seconds wait() const;

    [[nodiscard]] const Places& places() const { return places_; }

  private:
    struct Tries {
        int64_t wrong = 0, until = 0; // in a row; seconds since 1970
    };
    [[nodiscard]] Tries tries() const;
    void keep(const Tries& tries);
    [[nodiscard]] std::string record_path() const; // empty: not set

    Places places_;
    std::function<int64_t()> now_;   // seconds since 1970
    std::optional<Tries> unwritten_; // the count, while the file cannot be written
};

} // namespace player
