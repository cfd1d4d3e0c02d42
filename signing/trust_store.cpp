#include "signing/trust_store.h"

#include "signing/certificate.h"
#include "signing/certificate_chain.h"
#include "signing/outcome.h"
#include "signing/small_file.h"
#include "vmm/base/shell_word.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <pwd.h>
#include <tuple>
#include <unistd.h>

namespace signing {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSystemFolder = "/etc/encore/trust";
constexpr std::pair<TrustStore::Role, const char*> kFolders[] = {
    {TrustStore::Role::Publisher, ""},
    {TrustStore::Role::Issuer, "/issuers"},
    {TrustStore::Role::TimeStamps, "/time-stamps"}};
constexpr size_t kMaxEntries = 4096;
constexpr size_t kMinPrefix = 8; // shorter prefixes of a fingerprint are too easy to collide with

std::string data_home() {
    const char* xdg = std::getenv("XDG_DATA_HOME");
    if (xdg && xdg[0] == '/') // XDG base directory specification: relative paths are to be ignored
        return xdg;
    const char* home = std::getenv("HOME");
    if (!home || !*home) {
        const passwd* user = ::getpwuid(::getuid());
        home = user ? user->pw_dir : "/";
    }
    return std::string(home) + "/.local/share";
}

} // namespace

base::Result<> check_dates(const Publisher& publisher, const TrustedTime& time) {
    if (time.latest > publisher.not_after)
        return base::fail(
            fmt::format("the certificate of {} expired on {}{}", publisher.common_name,
                        date_text(publisher.not_after),
                        time.clock > publisher.not_after ? "" : ", and " + time.why_not_the_clock()),
            kExpired);
    if (time.latest < publisher.not_before)
        return base::fail(fmt::format("the certificate of {} is valid only from {}", publisher.common_name,
                                      date_text(publisher.not_before)),
                          kExpired);
    return {};
}

TrustStore TrustStore::standard(TrustedTime now, std::string carried) {
    return {data_home() + "/encore/trust", kSystemFolder, std::move(now), std::move(carried)};
}

TrustStore::TrustStore(std::string user_folder, std::string system_folder, TrustedTime now,
                       std::string carried)
    : user_folder_(std::move(user_folder)), system_folder_(std::move(system_folder)),
      carried_(std::move(carried)), now_(std::move(now)) {}

void TrustStore::list_folder(const std::string& folder, Scope scope, Role role,
                             std::vector<Entry>& out) const {
    std::error_code error;
    size_t seen = 0;
    for (fs::directory_iterator it{folder, error}, end; !error && it != end && seen < kMaxEntries;
         it.increment(error), ++seen) {
        std::string extension = it->path().extension();
        if (extension != ".pem" && extension != ".crt")
            continue;
        auto text = read_small_file(it->path());
        if (!text)
            continue;
        if (auto publisher = parse_certificate(*text, it->path()))
            out.push_back({*publisher, scope, role, it->path()});
    }
}

std::vector<TrustStore::Entry> TrustStore::list() const {
    std::vector<Entry> entries;
    for (const auto& [folder, scope] :
         {std::pair(user_folder_, Scope::User), {system_folder_, Scope::System}, {carried_, Scope::Folder}}) {
        if (folder.empty())
            continue;
        for (const auto& [role, below] : kFolders)
            list_folder(folder + below, scope, role, entries);
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return std::tie(a.role, a.scope, a.publisher.common_name, a.publisher.fingerprint) <
               std::tie(b.role, b.scope, b.publisher.common_name, b.publisher.fingerprint);
    });
    return entries;
}

base::Result<Publisher> TrustStore::add(std::string_view certificate_pem, const std::string& where, Role role,
                                        const std::optional<TimeStamp>& stamped) const {
    Publisher publisher = TRY(parse_certificate(certificate_pem, where));
    if (role == Role::Issuer && !may_issue(publisher))
        return base::fail(fmt::format("{}: {} may not issue certificates; to trust it as a publisher: encore "
                                      "trust add {}",
                                      where, publisher.common_name, base::shell_word(where)));
    // An authority's old stamps stay good, so its certificate may be of any age.
    if (role != Role::TimeStamps)
        if (auto dates = check_dates(publisher, stamped ? TrustedTime(stamped->time) : now_); !dates)
            return base::fail(
                fmt::format("{}: {}; ask the publisher for the one in use now", where, dates.error().message),
                dates.error().code);
    std::error_code error;
    const std::string folder =
        user_folder_ + std::ranges::find(kFolders, role, &std::pair<Role, const char*>::first)->second;
    fs::create_directories(folder, error);
    std::string path = folder + "/" + publisher.fingerprint + ".pem", temporary = path + ".XXXXXX";
    base::UniqueFd fd{::mkostemp(temporary.data(), O_CLOEXEC)};
    const auto& pem = publisher.certificate_pem;
    bool written = fd.valid() &&
                   ::write(fd.get(), pem.data(), pem.size()) == static_cast<ssize_t>(pem.size()) &&
                   ::fsync(fd.get()) == 0 && ::rename(temporary.c_str(), path.c_str()) == 0;
    if (!written) {
        int reason = errno;
        if (fd.valid())
            ::unlink(temporary.c_str());
        return base::fail(fmt::format("cannot write to {}: {}", folder, std::strerror(reason)));
    }
    return publisher;
}

base::Result<Publisher> TrustStore::remove(std::string_view wanted) const {
    std::string digits;
    for (char c : wanted)
        if (c != ':')
            digits += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::vector<Entry> matches;
    std::string elsewhere; // whose it is
    for (Entry& entry : list()) {
        bool by_digits = digits.size() >= kMinPrefix && entry.publisher.fingerprint.starts_with(digits);
        if (!by_digits && entry.publisher.common_name != wanted)
            continue;
        if (entry.scope == Scope::System)
            elsewhere = fmt::format("this computer's administrator; remove it from {}", system_folder_);
        else if (entry.scope == Scope::Folder)
            elsewhere = fmt::format("the folder that this player came in; remove it from {}", carried_);
        else
            matches.push_back(std::move(entry));
    }
    if (matches.empty() && !elsewhere.empty())
        return base::fail(fmt::format("{} is trusted by {}", wanted, elsewhere));
    if (matches.empty())
        return base::fail(fmt::format("nobody trusted here is called {}; see: encore trust list", wanted));
    for (const Entry& entry : matches)
        if (entry.publisher.fingerprint != matches[0].publisher.fingerprint)
            return base::fail(
                fmt::format("several publishers match {}; give the fingerprint (encore trust list)", wanted));
    for (const Entry& entry : matches)
        if (::unlink(entry.path.c_str()) != 0)
            return base::fail(fmt::format("cannot remove {}: {}", entry.path, std::strerror(errno)));
    return matches[0].publisher;
}

std::vector<std::string> TrustStore::certificates(Role role) const {
    std::vector<std::string> found;
    for (const Entry& entry : list())
        if (entry.role == role)
            found.push_back(entry.publisher.certificate_pem);
    return found;
}

std::optional<TimeStamp> TrustStore::believed(const Signature& signature) const {
    if (signature.time_stamp.empty())
        return std::nullopt;
    const auto authorities = certificates(Role::TimeStamps);
    auto stamp = read_time_stamp(signature.time_stamp, signature.value);
    if (!stamp || !is_vouched_for(signature.time_stamp, signature.value, authorities))
        return std::nullopt;
    return *stamp;
}

base::Result<Publisher> TrustStore::check(const Signature& signature) const {
    const Publisher& publisher = signature.publisher;
    const auto entries = list();
    const bool known = std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
        return entry.role == Role::Publisher && entry.publisher.fingerprint == publisher.fingerprint;
    });
    const auto issuers = known ? std::vector<std::string>() : certificates(Role::Issuer);
    const auto holds = [&](const TrustedTime& time) {
        return known ? check_dates(publisher, time) : check_chain(signature, issuers, time);
    };
    const auto dates = holds(now_);
    if (dates)
        return publisher;
    if (dates.error().code != kExpired)
        return base::fail(fmt::format("the publisher {} is not trusted on this computer{}",
                                      describe(publisher),
                                      issuers.empty() ? "" : fmt::format(" ({})", dates.error().message)),
                          kUntrusted);
    const auto stamp = believed(signature);
    if (stamp && holds(stamp->time))
        return publisher;
    std::string advice = now_.latest < publisher.not_before ? "check this computer's clock"
                                                            : "ask the publisher for a newly signed copy";
    if (!stamp && !signature.time_stamp.empty())
        if (const auto claimed = read_time_stamp(signature.time_stamp, signature.value))
            advice = fmt::format("its time stamp would do, if you trusted the authority {}: encore trust add "
                                 "--timestamp-authority, with the certificate that they publish",
                                 claimed->authority);
    if (stamp)
        advice = fmt::format("and it was signed on {}, outside of that; {}", date_text(stamp->time), advice);
    return base::fail(dates.error().message + "; " + advice, kExpired);
}

} // namespace signing
