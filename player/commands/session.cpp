// encore session: sessions that are carried from one place to another.
#include "appliance-format/json_text.h"
#include "appliance-format/session_file.h"
#include "player/commands/command.h"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace player {
namespace {

namespace format = appliance_format;
using nlohmann::json;

constexpr size_t kMaxAnswer = 64u << 10;

struct Options {
    std::string file, control;
    bool end = false, json = false;
};

base::Result<base::UniqueFd> connect_to(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return base::fail(fmt::format("'{}' is too long for a control socket", path), kExitUsage);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid() || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return base::fail(fmt::format("no session answers at {} ({}); start one with: encore run X.encore "
                                      "--control {}",
                                      path, std::strerror(errno), path));
    return fd;
}

// One request, one answer; both are a line.
base::Result<json> ask(const std::string& control, const json& request) {
    const base::UniqueFd fd = TRY(connect_to(control));
    const std::string line = appliance_format::json_text(request) + "\n";
    for (size_t sent = 0; sent < line.size();) {
        const ssize_t n = ::send(fd.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return base::fail(fmt::format("the session at {} does not listen any more", control));
        sent += static_cast<size_t>(n);
    }
    std::string answer;
    while (answer.find('\n') == std::string::npos && answer.size() < kMaxAnswer) {
        char buffer[4096];
        const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return base::fail(fmt::format("the session at {} ended without an answer", control));
        answer.append(buffer, static_cast<size_t>(n));
    }
    json reply = appliance_format::parse_json(answer.substr(0, answer.find('\n')));
    if (!reply.is_object() || !reply.contains("ok"))
        return base::fail(fmt::format("what answers at {} is not a session", control));
    if (reply["ok"] != true)
        return base::fail(reply.contains("error") && reply["error"].is_string()
                              ? reply["error"].get<std::string>()
                              : "the session could not do it");
    return reply;
}

base::Result<> save(const Options& options) {
    std::error_code failed;
    const std::string file = std::filesystem::absolute(options.file, failed);
    const json request = {{"do", "save"}, {"file", file}, {"end", options.end}};
    const json reply = TRY(ask(options.control, request));
    const auto size = std::filesystem::file_size(file, failed);
    fmt::print("{}: saved, {:.1f} MiB{}\n", options.file,
               failed ? 0.0 : static_cast<double>(size) / (1 << 20),
               options.end ? "; the session has ended" : "");
    return {};
}

std::string utc(uint64_t seconds) {
    const auto time = static_cast<time_t>(seconds);
    tm parts{};
    char buffer[64];
    if (::gmtime_r(&time, &parts) == nullptr ||
        std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M UTC", &parts) == 0)
        return "an unknown time";
    return buffer;
}

base::Result<> show(const Options& options) {
    const auto session = TRY(format::SessionFile::open(options.file));
    const format::SessionInfo& info = session->info();
    const std::string root = signing::to_hex(info.bundle_root);
    if (options.json) {
        const json answer = {{"bundle", {{"file", info.bundle_file}, {"root", root}}},
                             {"title", info.title},
                             {"publisher", info.publisher},
                             {"scene", info.scene},
                             {"seconds", info.elapsed_seconds},
                             {"saved_at", info.saved_at},
                             {"size", session->file_size()}};
        fmt::print("{}\n", appliance_format::json_text(answer, appliance_format::JsonLayout::Indented));
        return {};
    }
    fmt::print("{}, {} (what the file says; nobody signed it)\n", info.title, info.publisher);
    fmt::print("bundle   {}\nroot     {}\n", info.bundle_file, root);
    fmt::print("scene    {}\n", info.scene.empty() ? "(power-on)" : info.scene);
    fmt::print("saved    {}, after {} min {} s\n", utc(info.saved_at), info.elapsed_seconds / 60,
               info.elapsed_seconds % 60);
    fmt::print("size     {:.1f} MiB\n", static_cast<double>(session->file_size()) / (1 << 20));
    return {};
}

} // namespace

Command session_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand("session", "Save a running session, to go on with it elsewhere");
    app->require_subcommand(1);
    cli::App* save_app = app->add_subcommand("save", "Write what a running session holds beyond its bundle "
                                                     "to a file. Go on with: encore run --session FILE");
    save_app->add_option("file", options->file, "The file to write")->required()->type_name("FILE");
    save_app
        ->add_option("--control", options->control, "The session's control socket (see: encore run --help)")
        ->required()
        ->type_name("PATH");
    save_app->add_flag("--end", options->end, "End the session once the file is there");
    cli::App* show_app = app->add_subcommand("show", "Say what a saved session is");
    show_app->add_option("file", options->file, "The saved session")->required()->type_name("FILE");
    show_app->add_flag("--json", options->json, "Answer in JSON");
    return {app, [=]() -> base::Result<> { return save_app->parsed() ? save(*options) : show(*options); }};
}

} // namespace player
