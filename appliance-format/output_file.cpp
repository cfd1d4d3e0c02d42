#include "appliance-format/output_file.h"

#include "appliance-format/format.h"

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace appliance_format {

namespace {

tl::unexpected<base::Error> cannot_write(const std::string& path, int error) {
    return base::fail(fmt::format("cannot write {}: {}", path, std::strerror(error)), kIo);
}

bool lacks_tmpfile(int error) { return error == EOPNOTSUPP || error == EISDIR || error == EINVAL; }

// The second name that commit() gives a file for a moment: `path`.PID.new.
std::string beside(const std::string& path, pid_t process) { return fmt::format("{}.{}.new", path, process); }

// Removes what processes that were killed in that moment left.
void remove_stale(const std::string& path) {
    namespace fs = std::filesystem;
    const std::string prefix = path.substr(path.rfind('/') + 1) + ".";
    std::error_code ignored;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_of(path), ignored)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(prefix) || !name.ends_with(".new"))
            continue;
        pid_t process = 0;
        const char* end = name.data() + name.size() - 4;
        const auto parsed = std::from_chars(name.data() + prefix.size(), end, process);
        if (parsed.ec == std::errc() && parsed.ptr == end && process > 0 && ::kill(process, 0) != 0 &&
            errno == ESRCH)
            ::unlink(entry.path().c_str());
    }
}

} // namespace

std::string folder_of(const std::string& path) {
    size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

base::Result<base::UniqueFd> scratch_file(const std::string& folder) {
    base::UniqueFd fd{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (!fd.valid() && lacks_tmpfile(errno)) {
        std::string name = folder + "/.encore-XXXXXX";
        fd = base::UniqueFd{::mkostemp(name.data(), O_CLOEXEC)};
        if (fd.valid())
            ::unlink(name.c_str());
    }
    if (!fd.valid())
        return cannot_write("to the folder " + folder, errno);
    return fd;
}

base::Result<> write_all(int fd, std::span<const uint8_t> bytes, const std::string& what) {
    while (!bytes.empty()) {
        ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return cannot_write(what, n == 0 ? ENOSPC : errno);
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return {};
}

base::Result<OutputFile> OutputFile::create(const std::string& path, Audience audience) {
    std::string folder = folder_of(path);
    struct stat info;
    const bool replaces = ::stat(path.c_str(), &info) == 0;
    if (replaces && !S_ISREG(info.st_mode))
        return base::fail(fmt::format("{} exists and is not a file", path), kIo);
    remove_stale(path);
    base::UniqueFd fd{
        ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, audience == Audience::Owner ? 0600 : 0644)};
    std::string temporary;
    if (!fd.valid() && lacks_tmpfile(errno)) {
        temporary = path + ".XXXXXX";
        fd = base::UniqueFd{::mkostemp(temporary.data(), O_CLOEXEC)};
        if (!fd.valid())
            temporary.clear();
        else if (audience == Audience::Others)
            ::fchmod(fd.get(), 0644);
    }
    if (!fd.valid())
        return cannot_write(path, errno);
    if (replaces && audience == Audience::Others)
        ::fchmod(fd.get(), info.st_mode & 0777);
    return OutputFile{path, std::move(fd), std::move(temporary)};
}

OutputFile::~OutputFile() {
    if (!temporary_.empty())
        ::unlink(temporary_.c_str());
}

base::Result<> OutputFile::commit() {
    if (::fsync(fd_.get()) != 0)
        return cannot_write(path_, errno);
    std::string source = fmt::format("/proc/self/fd/{}", fd_.get());
    if (temporary_.empty()) {
        // linkat cannot replace; a second name next to it, renamed over the first, can.
        if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) == 0)
            return {};
        if (errno != EEXIST)
            return cannot_write(path_, errno);
        const std::string second = beside(path_, ::getpid());
        ::unlink(second.c_str()); // of a process of this number that was killed between the two steps
        if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, second.c_str(), AT_SYMLINK_FOLLOW) != 0)
            return cannot_write(path_, errno);
        temporary_ = second;
    }
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
        return cannot_write(path_, errno);
    temporary_.clear();
    base::UniqueFd folder{::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (folder.valid())
        ::fsync(folder.get()); // best effort: not every file system offers it
    return {};
}

} // namespace appliance_format
