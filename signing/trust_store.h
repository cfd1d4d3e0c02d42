// The publishers this computer trusts: one PEM certificate a file, the user's own folder and the
// administrator's.
//
// Trust is pinning: a publisher is trusted when exactly its certificate is here. There is no chain building
// and no way to ignore the answer.
#pragma once
#include "signing/publisher.h"
#include "vmm/base/result.h"

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace signing {

class TrustStore {
  public:
    enum class Scope { User, System };
    struct Entry {
        Publisher publisher;
        Scope scope;
        std::string path;
    };

    // $XDG_DATA_HOME/encore/trust (default ~/.local/share) and /etc/encore/trust.
    static TrustStore standard();
    TrustStore(std::string user_folder, std::string system_folder);

    // All readable entries, user's first, by name. Unreadable files are skipped.
    [[nodiscard]] std::vector<Entry> list() const;

    // Puts a PEM certificate into the user's folder; adding one twice is no error.
    base::Result<Publisher> add(std::string_view certificate_pem, const std::string& where) const;

    // Removes the user's entry with this name or fingerprint (or its first 8 or more digits).
    base::Result<Publisher> remove(std::string_view fingerprint_or_name) const;

    // Passes the publisher of a verified signature on, or says kUntrusted or kExpired.
    base::Result<Publisher> check(const Publisher& publisher, std::time_t now) const;

  private:
    void list_folder(const std::string& folder, Scope scope, std::vector<Entry>& out) const;

    std::string user_folder_;
    std::string system_folder_;
};

} // namespace signing
