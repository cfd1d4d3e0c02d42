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
                       const std::string& moment = "--expect pristine --type w --at written")
        : Desk(policy, guest) {
        REQUIRE(run("scene add x.encore --name start --start --warm 0 --timeout 60 " + moment + kSign) == 0);
        ::setenv("XDG_DATA_HOME", (path + "/data").c_str(), 1);
        ::setenv("XDG_CACHE_HOME", (path + "/cache").c_str(), 1);
        ::setenv("XDG_CONFIG_HOME", (path + "/config").c_str(), 1);
        ::setenv("XDG_STATE_HOME", (path + "/state").c_str(), 1);
    }
    [[nodiscard]] std::unique_ptr<Session> open(std::optional<std::string> scene = {}) const {
        SessionOptions options;
        options.bundle = path + "/x.encore";
        options.scene = std::move(scene);
        auto session = Session::open(std::move(options));
        if (!session)
            FAIL(session.error().message);
        return std::move(*session);
    }
    [[nodiscard]] size_t size() const { return fs::file_size(path + "/x.encore"); }
};

// Everything the guest has said since `from`, which moves on; waits until it ends with `text`.
inline bool hears(Session& session, uint64_t& from, const std::string& text) {
    std::string heard;
    return eventually([&] {
        session.poll();
        heard += session.serial().text_since(from);
        return heard.find(text) != std::string::npos;
    });
}

} // namespace session_test
