#include "signing/file_digest.h"

#include "signing/certificate_internal.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace signing {

namespace {

const EVP_MD* digest_named(std::string_view name) {
    std::string plain;
    for (const char c : name)
        if (c != '-')
            plain += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return plain == "SHA1"     ? EVP_sha1()
           : plain == "SHA256" ? EVP_sha256()
           : plain == "SHA384" ? EVP_sha384()
           : plain == "SHA512" ? EVP_sha512()
                               : nullptr;
}

std::optional<std::vector<uint8_t>> bytes_of(std::string_view hex) {
    const auto digit = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    if (hex.size() % 2 != 0)
        return std::nullopt;
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < hex.size(); i += 2) {
        if (digit(hex[i]) < 0 || digit(hex[i + 1]) < 0)
            return std::nullopt;
        bytes.push_back(static_cast<uint8_t>(digit(hex[i]) << 4 | digit(hex[i + 1])));
    }
    return bytes;
}

} // namespace

struct FileDigest::Context {
    MdContextPtr md{EVP_MD_CTX_new()};
};

FileDigest::FileDigest(std::unique_ptr<Context> context) : context_(std::move(context)) {}
FileDigest::FileDigest(FileDigest&&) noexcept = default;
FileDigest::~FileDigest() = default;

base::Result<FileDigest> FileDigest::named(std::string_view name) {
    const EVP_MD* digest = digest_named(name);
    if (digest == nullptr)
        return base::fail(fmt::format("uses a digest that is not known here ({})", name));
    auto context = std::make_unique<Context>();
    VERIFY(context->md && EVP_DigestInit_ex(context->md.get(), digest, nullptr) == 1);
    return FileDigest{std::move(context)};
}

void FileDigest::update(std::span<const uint8_t> bytes) {
    VERIFY(EVP_DigestUpdate(context_->md.get(), bytes.data(), bytes.size()) == 1);
}

std::string FileDigest::finish() {
    std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    VERIFY(EVP_DigestFinal_ex(context_->md.get(), digest.data(), &length) == 1);
    std::string hex;
    for (unsigned i = 0; i < length; ++i)
        hex += fmt::format("{:02x}", digest[i]);
    return hex;
}

base::Result<std::string> check_file_signature(std::string_view pem, std::string_view digest,
                                               std::string_view content, std::string_view signature,
                                               const std::string& where) {
    const EVP_MD* with = digest_named(digest);
    const auto bytes = bytes_of(signature);
    if (with == nullptr || !bytes)
        return base::fail(fmt::format("{} has no signature that can be checked here", where));
    const CertificatePtr certificate = TRY(read_certificate_pem(pem, where));
    const MdContextPtr context{EVP_MD_CTX_new()};
    EVP_PKEY* key = X509_get0_pubkey(certificate.get());
    const bool right =
        key != nullptr && context && EVP_DigestVerifyInit(context.get(), nullptr, with, nullptr, key) == 1 &&
        EVP_DigestVerify(context.get(), bytes->data(), bytes->size(),
                         reinterpret_cast<const uint8_t*>(content.data()), content.size()) == 1;
    ERR_clear_error();
    if (!right)
        return base::fail(fmt::format("{}: its signature does not match", where));
    std::array<char, 256> name{};
    if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name.data(),
                                  name.size()) <= 0)
        return std::string("a certificate without a name");
    return std::string(name.data());
}

} // namespace signing
