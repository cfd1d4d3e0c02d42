// A desk whose bundle has a scene, and sessions at it in the test's own process.
#pragma once
#include "player/session.h"
#include "tests/player/session_desk.h"

namespace session_test {

using player::Session;
using player::SessionOptions;

inline const std::string kSign = " --key k.key --cert k.crt";

// A desk whose bundle opens at a moment of its guest; of the session guest, after it has written to its disk.
struct SceneDesk : Desk {
    explicit SceneDesk(const std::string& policy = {}, const char* guest = SESSION_GUEST,
                       const std::string& moment = "--expect pristine --type w --at written");
    [[nodiscard]] std::unique_ptr<Session> open(std::optional<std::string> scene = {}) const;
    [[nodiscard]] size_t size() const { return fs::file_size(path + "/x.encore"); }
};

// Everything the guest has said since `from`, which moves on; waits until it ends with `text`.
bool hears(Session& session, uint64_t& from, const std::string& text);

} // namespace session_test
