// A file that appears under its name whole or not at all. Until then it has no name (O_TMPFILE), so that
// neither Ctrl-C nor kill -9 nor a full disk leaves anything behind.
#pragma once
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

#include <cstdint>
#include <span>
#include <string>

namespace appliance_format {

[[nodiscard]] std::string folder_of(const std::string& path);

// A nameless scratch file on the same file system as `folder`.
base::Result<base::UniqueFd> scratch_file(const std::string& folder);

// Writes all of `bytes` at the file's position; `what` names the file in errors.
base::Result<> write_all(int fd, std::span<const uint8_t> bytes, const std::string& what);

// Who may read it. What holds a guest's memory, picture or words is its owner's alone, whatever the umask and
// an older file of the name say; other files are as the umask wants them, or like the file that they replace.
enum class Audience : uint8_t { Others, Owner };

class OutputFile {
  public:
    static base::Result<OutputFile> create(const std::string& path, Audience audience = Audience::Others);
    OutputFile(OutputFile&&) noexcept = default;
    OutputFile& operator=(OutputFile&&) = delete;
    ~OutputFile();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] const std::string& path() const { return path_; }
    // Makes the content durable, then visible, replacing what had the name.
    base::Result<> commit();

  private:
    OutputFile(std::string path, base::UniqueFd fd, std::string temporary)
        : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}
    std::string path_;
    std::string temporary_; // name to remove; only where the file system has no O_TMPFILE
    base::UniqueFd fd_;
};

} // namespace appliance_format
