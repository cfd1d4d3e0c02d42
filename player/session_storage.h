// Where a session's overlay files live: the user's cache directory, $XDG_CACHE_HOME/encore/sessions.
//
// A file that never has a name (O_TMPFILE) disappears with the process however the process dies, so that is
// what create_file() makes. On file systems without it (some FUSE and network ones) the session gets a folder
// of its own with a locked file naming its process; the next session to start removes every folder whose lock
// nobody holds.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <memory>
#include <string>

namespace player {

class SessionStorage {
  public:
    enum class Files { Nameless, Named }; // Named: as if the file system had no O_TMPFILE

    // `cache_home` empty: $XDG_CACHE_HOME, else ~/.cache. Removes what dead sessions left behind.
    static base::Result<std::unique_ptr<SessionStorage>> open(std::string cache_home = {},
                                                              Files files = Files::Nameless);
    ~SessionStorage();
    SessionStorage(const SessionStorage&) = delete;
    SessionStorage& operator=(const SessionStorage&) = delete;

    // A new empty file, readable and writable, gone when the session is.
    base::Result<base::UniqueFd> create_file();

    [[nodiscard]] const std::string& directory() const { return directory_; }

  private:
    SessionStorage() = default;
    base::Result<void> make_folder();

    std::string directory_; // .../encore/sessions
    std::string folder_;    // this session's; empty: none was needed
    base::UniqueFd lock_;   // held while the folder exists
    Files files_ = Files::Nameless;
    unsigned next_file_ = 0;
};

} // namespace player
