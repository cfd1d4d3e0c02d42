#include "player/doctor.h"

#include "appliance-format/json_text.h"
#include "appliance-format/output_file.h"
#include "player/high_water_clock.h"
#include "player/host_features.h"
#include "player/installed_files.h"
#include "player/operator_settings.h"
#include "player/session_storage.h"
#include "signing/small_file.h"
#include "signing/trust_store.h"
#include "vmm/base/unique_fd.h"
#include "vmm/jail/foreign_program.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace player {
namespace {

using Level = Finding::Level;
using nlohmann::ordered_json;

constexpr uint64_t kMiB = 1u << 20, kGiB = 1u << 30;
constexpr uint64_t kLittleMemory = 512 * kMiB, kSomeMemory = 1536 * kMiB;
constexpr uint64_t kLittleDisk = 256 * kMiB, kSomeDisk = 2 * kGiB;
// What a machine reserves (vmm/README.md): 96 windows with their guards, 40 GiB each, and what else there is.
constexpr uint64_t kAddressSpace = 4096 * kGiB;
constexpr int64_t kFewMappings = 65530; // Linux' own default
constexpr uint64_t kFewFiles = 256;
constexpr int64_t kDay = 24 * 3600, kTooEarly = 1'704'067'200; // 2024-01-01: before any release

std::string size_text(uint64_t bytes) {
    return bytes >= kGiB ? fmt::format("{:.1f} GB", static_cast<double>(bytes) / kGiB)
                         : fmt::format("{} MB", bytes / kMiB);
}

// "MemAvailable:  123 kB" of /proc/meminfo, in bytes.
std::optional<uint64_t> meminfo(const std::string& text, std::string_view name) {
    const size_t at = text.find(fmt::format("{}:", name));
    if (at == std::string::npos)
        return std::nullopt;
    const size_t digits = text.find_first_of("0123456789", at);
    uint64_t value = 0;
    if (digits == std::string::npos ||
        std::from_chars(text.data() + digits, text.data() + text.size(), value).ec != std::errc())
        return std::nullopt;
    return value << 10;
}

Finding check_processor() {
    const auto missing = missing_host_features();
    if (missing.empty())
        return {Level::Ok, "processor", "has all that guests are promised", ""};
    return {Level::Problem, "processor", fmt::format("lacks {}", fmt::join(missing, ", ")),
            "use a computer with a newer processor, or one whose virtual machine passes these on"};
}

Finding check_memory() {
    const auto text = signing::read_small_file("/proc/meminfo");
    const auto free = text ? meminfo(*text, "MemAvailable") : std::nullopt;
    if (!free)
        return {Level::Note, "memory", "cannot tell how much is free", "see that /proc is mounted"};
    const auto limit = meminfo(*text, "CommitLimit"), committed = meminfo(*text, "Committed_AS");
    const auto strict = signing::read_small_file("/proc/sys/vm/overcommit_memory");
    if (strict && strict->starts_with("2") && limit && committed && *limit < *committed + kLittleMemory)
        return {Level::Problem, "memory",
                fmt::format("{} free, but vm.overcommit_memory is 2 and nearly all is promised to programs",
                            size_text(*free)),
                "close programs, or have the administrator set vm.overcommit_memory to 0"};
    if (*free < kLittleMemory)
        return {Level::Problem, "memory", fmt::format("only {} free", size_text(*free)),
                "close other programs before you play"};
    if (*free < kSomeMemory)
        return {Level::Note, "memory", fmt::format("{} free", size_text(*free)),
                "enough for small appliances; close other programs for large ones"};
    return {Level::Ok, "memory", fmt::format("{} free", size_text(*free)), ""};
}

Finding check_address_space() {
    void* reserved =
        ::mmap(nullptr, kAddressSpace, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return {Level::Problem, "address space",
                fmt::format("{} cannot be reserved ({})", size_text(kAddressSpace), std::strerror(errno)),
                "remove the limit on virtual memory (ulimit -v unlimited) for this account"};
    ::munmap(reserved, kAddressSpace);
    return {Level::Ok, "address space", "no limit that matters", ""};
}

Finding check_mappings() {
    const auto text = signing::read_small_file("/proc/sys/vm/max_map_count");
    int64_t count = 0;
    if (!text || std::from_chars(text->data(), text->data() + text->size(), count).ec != std::errc())
        return {Level::Note, "mappings", "cannot read vm.max_map_count", "see that /proc is mounted"};
    if (count < kFewMappings)
        return {Level::Problem, "mappings", fmt::format("vm.max_map_count is {}", count),
                fmt::format("have the administrator run: sysctl vm.max_map_count={}", kFewMappings)};
    return {Level::Ok, "mappings", fmt::format("vm.max_map_count is {}", count), ""};
}

// The translator writes code into one mapping of a nameless file and runs it in another.
Finding check_executable_memory() {
    const base::UniqueFd file(::memfd_create("encore-doctor", MFD_CLOEXEC));
    void* code = MAP_FAILED;
    if (file.valid() && ::ftruncate(file.get(), 4096) == 0)
        code = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file.get(), 0);
    if (code == MAP_FAILED)
        return {Level::Problem, "code memory", fmt::format("not allowed ({})", std::strerror(errno)),
                "a security policy forbids programs to make code; ask the administrator to allow it"};
    ::munmap(code, 4096);
    return {Level::Ok, "code memory", "may be made and run", ""};
}

Finding check_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kFewFiles)
        return {Level::Problem, "open files", fmt::format("at most {} allowed", limit.rlim_cur),
                fmt::format("raise the limit: ulimit -n {}", kFewFiles * 4)};
    return {Level::Ok, "open files", "no limit that matters", ""};
}

Finding check_trust() {
    auto entries = trust_store().list();
    std::erase_if(entries,
                  [](const auto& entry) { return entry.role == signing::TrustStore::Role::TimeStamps; });
    if (entries.empty())
        return {Level::Note, "publishers", "none is trusted yet, so no bundle opens",
                "add the ones you know: encore trust add PUBLISHER.crt"};
    const signing::TrustedTime now = trusted_now();
    std::vector<std::string> expired;
    for (const auto& entry : entries)
        if (!signing::check_dates(entry.publisher, now))
            expired.push_back(entry.publisher.common_name + (signing::check_dates(entry.publisher, now.clock)
                                                                 ? " (by the latest date that was seen here)"
                                                                 : ""));
    const std::string count =
        fmt::format("{} trusted publisher{}", entries.size(), entries.size() == 1 ? "" : "s");
    if (!expired.empty())
        return {Level::Note, "publishers",
                fmt::format("{}; out of date: {}", count, fmt::join(expired, ", ")),
                "ask those publishers for newly signed bundles and certificates"};
    return {Level::Ok, "publishers", count, ""};
}

Finding check_operator() {
    const auto files = load_operator_files();
    if (!files)
        return {Level::Problem, "operator's rules", files.error().message,
                "correct the file; nothing is played until then"};
    if (files->empty())
        return {Level::Ok, "operator's rules", "none", ""};
    std::vector<std::string> paths;
    for (const auto& file : *files)
        paths.push_back(file.path);
    return {Level::Ok, "operator's rules", fmt::format("{}", fmt::join(paths, ", ")), ""};
}

Finding check_cache() {
    const auto storage = SessionStorage::open();
    if (!storage)
        return {Level::Problem, "disk", storage.error().message, "set XDG_CACHE_HOME to a folder of yours"};
    return check_disk((*storage)->directory());
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; }

// Replaces `what` where it stands alone, not as a part of a longer word.
void replace_word(std::string& text, const std::string& what, std::string_view with) {
    if (what.empty())
        return;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos;) {
        const size_t end = at + what.size();
        const bool whole = (at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]));
        if (whole)
            text.replace(at, what.size(), with);
        at += whole ? with.size() : 1;
    }
}

std::string value_after(const std::string& text, std::string_view key, char end) {
    const size_t at = text.find(key);
    if (at == std::string::npos)
        return {};
    const size_t from = at + key.size();
    return text.substr(from, text.find(end, from) - from);
}

} // namespace

const char* to_string(Finding::Level level) {
    return level == Level::Ok ? "ok" : level == Level::Note ? "note" : "problem";
}

Finding check_clock(int64_t now, int64_t remembered, const std::string& remembered_in) {
    const auto date = signing::date_text;
    if (now < kTooEarly)
        return {Level::Problem, "clock", fmt::format("says {}, which cannot be", date(now)),
                "set this computer's date"};
    if (now < remembered - kDay)
        return {Level::Problem, "clock",
                fmt::format("says {}, but it has been {} here before", date(now), date(remembered)),
                fmt::format("set this computer's date; if it is right now and was wrong then, the "
                            "administrator removes {}",
                            remembered_in)};
    return {Level::Ok, "clock", fmt::format("says {}", date(now)), ""};
}

Finding check_firmware(const std::vector<std::string>& files) {
    for (const std::string& file : files)
        if (struct stat info{}; ::stat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
                                info.st_size == 0 || ::access(file.c_str(), R_OK) != 0)
            return {Level::Problem, "firmware", fmt::format("{} is missing or cannot be read", file),
                    "install the package seabios"};
    return {Level::Ok, "firmware", "the PC's firmware is there", ""};
}

Finding check_disk(const std::string& folder) {
    struct statvfs space {};
    if (::statvfs(folder.c_str(), &space) != 0)
        return {Level::Problem, "disk", fmt::format("cannot look at {}: {}", folder, std::strerror(errno)),
                "set XDG_CACHE_HOME to a folder of yours"};
    if (::access(folder.c_str(), W_OK) != 0)
        return {Level::Problem, "disk", fmt::format("{} cannot be written", folder),
                "set XDG_CACHE_HOME to a folder of yours"};
    const uint64_t free = uint64_t{space.f_bavail} * space.f_frsize;
    const std::string says = fmt::format("{} free for sessions in {}", size_text(free), folder);
    if (free < kLittleDisk)
        return {Level::Problem, "disk", says, "free some space, or set XDG_CACHE_HOME to a larger disk"};
    if (free < kSomeDisk)
        return {Level::Note, "disk", says, "long sessions that write much may fill it"};
    return {Level::Ok, "disk", says, ""};
}

// What parses what guests, the internet and strangers' disk images hold does so behind walls.
Finding check_walls(const jail::Walls& walls) {
    constexpr const char* kHow = "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                                 "kernel.apparmor_restrict_unprivileged_userns=0) or boot with lsm=landlock";
    const std::string says =
        fmt::format("around guests, their networks and readers of disk images: {}", jail::to_string(walls));
    if (!walls.filter)
        return {Level::Note, "walls", says + "; no bundle is played, images that are not raw are not read",
                "boot a kernel that has seccomp filters (CONFIG_SECCOMP_FILTER)"};
    if (!walls.namespaces && !walls.landlock)
        return {Level::Note, "walls", says + "; VMDK images are not read", kHow};
    return {Level::Ok, "walls", says, ""};
}

std::vector<Finding> examine_host(const std::vector<Check>& more) {
    const HighWaterClock clock = HighWaterClock::standard();
    std::vector<Finding> findings{
        check_processor(),
        check_memory(),
        check_address_space(),
        check_mappings(),
        check_executable_memory(),
        check_files(),
        check_cache(),
        check_firmware({find_data("seabios/bios-256k.bin"), find_data("seabios/vgabios-stdvga.bin")}),
        check_trust(),
        check_operator(),
        check_clock(std::time(nullptr), clock.remembered(), clock.path()),
    };
    if (const auto walls = jail::possible_walls())
        findings.push_back(check_walls(*walls));
    else
        findings.push_back({Level::Note, "walls", "cannot be tried: " + walls.error().message,
                            "images that are not raw may not be read; end some programs, then look again"});
    for (const Check& check : more)
        findings.push_back(check());
    return findings;
}

Private Private::of_this_process() {
    Private secrets;
    const passwd* account = ::getpwuid(::getuid());
    const char* home = std::getenv("HOME");
    secrets.home = home != nullptr && home[0] == '/' ? home : account != nullptr ? account->pw_dir : "";
    secrets.user = account != nullptr ? account->pw_name : "";
    utsname system{};
    if (::uname(&system) == 0)
        secrets.host = system.nodename;
    return secrets;
}

std::string redacted(std::string_view text, const Private& secrets) {
    std::string out(text);
    if (secrets.home.size() > 1) // everything is below "/"
        replace_word(out, secrets.home, "~");
    replace_word(out, secrets.host, "HOST");
    replace_word(out, secrets.host.substr(0, secrets.host.find('.')), "HOST");
    replace_word(out, secrets.user, "USER");
    return out;
}

std::string report_json(const std::vector<Finding>& findings, const Private& secrets) {
    const auto clean = [&](std::string_view text) { return redacted(text, secrets); };
    const std::string release = signing::read_small_file("/etc/os-release").value_or("");
    const std::string cpus = signing::read_small_file("/proc/cpuinfo", 16u << 20).value_or("");
    const std::string memory = signing::read_small_file("/proc/meminfo").value_or("");
    utsname system{};
    ::uname(&system);
    const auto environment = [&](const char* name) {
        const char* value = std::getenv(name);
        return value != nullptr ? ordered_json(clean(value)) : ordered_json(nullptr);
    };
    ordered_json list = ordered_json::array();
    for (const Finding& finding : findings)
        list.push_back({{"topic", finding.topic},
                        {"level", to_string(finding.level)},
                        {"says", clean(finding.says)},
                        {"advice", clean(finding.advice)}});
    const ordered_json report = {
        {"report", "encore doctor"},
        {"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))},
        {"system", clean(value_after(release, "PRETTY_NAME=\"", '"'))},
        {"kernel", clean(system.release)},
        {"processor", clean(value_after(cpus, "model name\t: ", '\n'))},
        {"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
        {"memory_bytes", meminfo(memory, "MemTotal").value_or(0)},
        {"session_type", environment("XDG_SESSION_TYPE")},
        {"desktop", environment("XDG_CURRENT_DESKTOP")},
        {"language", environment("LANG")},
        {"findings", list}};
    return appliance_format::json_text(report, appliance_format::JsonLayout::Indented) + "\n";
}

base::Result<void> save_report(const std::vector<Finding>& findings, const std::string& path) {
    const std::string text = report_json(findings, Private::of_this_process());
    auto file = TRY(appliance_format::OutputFile::create(path));
    ::fchmod(file.fd(), 0600);
    TRY(appliance_format::write_all(file.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                                    path));
    return file.commit();
}

} // namespace player
