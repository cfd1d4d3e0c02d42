// The control protocol on a Unix socket that only its owner can open, and on the one that the shell around
// the session left to this process. Serves on a thread of its own; clients that send nonsense, too much, or
// never read their answers cost nobody but themselves.
#pragma once
#include "player/control_protocol.h"
#include "player/shell_link.h"
#include "vmm/base/unique_fd.h"

#include <memory>
#include <thread>

namespace player {

class ControlSocket {
  public:
    // Makes the socket at `path` (empty: none; one that nobody serves any more is replaced) and begins to
    // serve. `session` and `display` (null: no window) must outlive this object.
    static base::Result<std::unique_ptr<ControlSocket>>
    open(Session& session, std::string path, ShellLink shell, DisplayState* display = nullptr);
    ~ControlSocket(); // removes the socket
    ControlSocket(const ControlSocket&) = delete;
    ControlSocket& operator=(const ControlSocket&) = delete;

  private:
    struct Client {
        base::UniqueFd fd;
        ControlProtocol::Caller who = ControlProtocol::Caller::Anybody;
        std::string input{}, output{};
        bool skipping = false; // the rest of a line that was too long
        bool closing = false;  // nothing more to read; goes when its answers are out
    };
    ControlSocket(Session& session, DisplayState* display) : session_(session), protocol_(session, display) {}
    base::Result<void> listen(const std::string& path);
    void serve();
    void accept_client();
    bool receive(Client& client);
    void take_lines(Client& client);
    static bool send(Client& client);

    Session& session_;
    ControlProtocol protocol_;
    std::string path_;
    base::UniqueFd listener_, wake_;
    std::vector<Client> clients_;
    std::thread thread_;
};

} // namespace player
