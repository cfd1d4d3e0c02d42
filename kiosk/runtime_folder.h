// What a kiosk or a presenter holds in $XDG_RUNTIME_DIR while it runs: the lock that makes a kiosk the only
// one of its user, and a folder of its own for its guests' sockets.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <string>

namespace kiosk {

// $XDG_RUNTIME_DIR, or where there is none the folder for temporary files.
[[nodiscard]] std::string runtime_place();

// One kiosk a user: a second one would fight for the keyboard. Held as long as the descriptor is open.
base::Result<base::UniqueFd> take_seat(const std::string& place);

// Only this user can enter it, and it goes with the process. Making one removes those that processes left
// behind which were killed.
class RuntimeFolder {
  public:
    static base::Result<RuntimeFolder> make(const std::string& place);
    ~RuntimeFolder();
    RuntimeFolder(RuntimeFolder&&) = default;
    RuntimeFolder& operator=(RuntimeFolder&&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    RuntimeFolder() = default;
    std::string path_;
    base::UniqueFd lock_; // of the folder: whose lock nobody holds has no process
};

} // namespace kiosk
