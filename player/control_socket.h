// The control protocol on a Unix socket that only its owner can open. Serves on a thread of its own; clients
// that send nonsense, too much, or never read their answers cost nobody but themselves.
#pragma once
#include "player/control_protocol.h"
#include "vmm/base/unique_fd.h"

#include <memory>
#include <thread>

namespace player {

class ControlSocket {
  public:
    // Makes the socket at `path` (replacing one that nobody serves any more) and begins to serve. `session`
    // and `display` (null: no window) must outlive this object.
    static base::Result<std::unique_ptr<ControlSocket>> open(Session& session, std::string path,
                                                             DisplayState* display = nullptr);
    ~ControlSocket(); // removes the socket
    ControlSocket(const ControlSocket&) = delete;
    ControlSocket& operator=(const ControlSocket&) = delete;

  private:
    struct Client {
        base::UniqueFd fd;
        std::string input, output;
        bool skipping = false; // the rest of a line that was too long
        bool closing = false;  // nothing more to read; goes when its answers are out
    };
    ControlSocket(Session& session, DisplayState* display) : protocol_(session, display) {}
    void serve();
    void accept_client();
    bool receive(Client& client);
    void take_lines(Client& client);
    static bool send(Client& client);

    ControlProtocol protocol_;
    std::string path_;
    base::UniqueFd listener_, wake_;
    std::vector<Client> clients_;
    std::thread thread_;
};

} // namespace player
