// What other programs' packages vouch for their files with: digests by name, and plain signatures over a file
// by a certificate that comes along. Nothing here makes anybody trusted.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace signing {

class FileDigest {
  public:
    // "SHA1", "SHA256", "SHA384", "SHA512", in any case, with a hyphen or without. Error: no such digest.
    static base::Result<FileDigest> named(std::string_view name);
    FileDigest(FileDigest&&) noexcept;
    FileDigest& operator=(FileDigest&&) = delete;
    ~FileDigest();

    void update(std::span<const uint8_t> bytes);
    [[nodiscard]] std::string finish(); // lower-case hexadecimal; once

  private:
    struct Context;
    explicit FileDigest(std::unique_ptr<Context> context);
    std::unique_ptr<Context> context_;
};

// Whether `signature` (hexadecimal) is one over `content` with that digest by the key of the first
// certificate in `pem`: that certificate's name if so. `where` names the certificate in errors.
base::Result<std::string> check_file_signature(std::string_view pem, std::string_view digest,
                                               std::string_view content, std::string_view signature,
                                               const std::string& where);

} // namespace signing
