#include "tests/player/scene_desk.h"

namespace session_test {

SceneDesk::SceneDesk(const std::string& policy, const char* guest, const std::string& moment)
    : Desk(policy, guest) {
    REQUIRE(run("scene add x.encore --name start --start --warm 0 --timeout 60 " + moment + kSign) == 0);
    enter();
}

std::unique_ptr<Session> SceneDesk::open(std::optional<std::string> scene) const {
    SessionOptions options;
    options.bundle = path + "/x.encore";
    options.scene = std::move(scene);
    auto session = Session::open(std::move(options));
    if (!session)
        FAIL(session.error().message);
    return std::move(*session);
}

bool hears(Session& session, uint64_t& from, const std::string& text) {
    std::string heard;
    return eventually([&] {
        session.poll();
        heard += session.serial().text_since(from);
        return heard.find(text) != std::string::npos;
    });
}

} // namespace session_test
