// The publishers this computer trusts, those whose word is taken for publishers (issuers), and the
// authorities whose time stamps it believes: one PEM certificate a file, the user's own folders and the
// administrator's.
//
// A publisher is trusted when exactly its certificate is here, or when an issuer's is that vouches for it
// through the certificates in the signature. There is no way to ignore the answer. Certificates count while
// they are in date: at the moment that a believed time stamp says the signature was made, or else now.
#pragma once
#include "signing/time_stamp.h"
#include "signing/trusted_time.h"
#include "signing/verify.h"
#include "vmm/base/result.h"

#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signing {

// Whether a certificate is in date at `time`. Errors: kExpired, and which day it was.
base::Result<> check_dates(const Publisher& publisher, const TrustedTime& time);

class TrustStore {
  public:
    enum class Scope { User, System, Folder }; // Folder: the one that the player is carried in
    enum class Role { Publisher, Issuer, TimeStamps };
    struct Entry {
        Publisher publisher;
        Scope scope;
        Role role;
        std::string path;
    };

    // $XDG_DATA_HOME/encore/trust (default ~/.local/share) and /etc/encore/trust; issuers and authorities for
    // time stamps are in the folders issuers and time-stamps in each. `now` is the time at which certificates
    // are looked at: the player's (trusted_now), which does not go back. `carried`: what a portable folder
    // brings; who made it also made the player in it.
    static TrustStore standard(TrustedTime now, std::string carried = {});
    TrustStore(std::string user_folder, std::string system_folder, TrustedTime now, std::string carried = {});

    // All readable entries, user's first, by name. Unreadable files are skipped.
    [[nodiscard]] std::vector<Entry> list() const;

    // Puts a PEM certificate into the user's folder; adding one twice is no error.
    // Errors: kExpired: out of date, unless it is an authority's or `stamped` says when a publisher signed;
    // an issuer's that may not issue.
    base::Result<Publisher> add(std::string_view certificate_pem, const std::string& where,
                                Role role = Role::Publisher,
                                const std::optional<TimeStamp>& stamped = std::nullopt) const;

    // Removes the user's entry with this name or fingerprint (or its first 8 or more digits).
    base::Result<Publisher> remove(std::string_view fingerprint_or_name) const;

    // Passes the publisher of a verified signature on, or says kUntrusted or kExpired.
    base::Result<Publisher> check(const Signature& signature) const;

    // The signature's time stamp, if it has one and the authority's word counts here.
    [[nodiscard]] std::optional<TimeStamp> believed(const Signature& signature) const;

  private:
    [[nodiscard]] std::vector<std::string> certificates(Role role) const; // PEM
    void list_folder(const std::string& folder, Scope scope, Role role, std::vector<Entry>& out) const;

    std::string user_folder_;
    std::string system_folder_;
    std::string carried_; // may be empty
    TrustedTime now_;
};

} // namespace signing
