#include "signing/keys.h"

#include "signing/openssl_ptr.h"
#include "vmm/base/unique_fd.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

namespace signing {

namespace {

constexpr size_t kMaxCommonName = 64; // RFC 5280 appendix A, ub-common-name and ub-organization-name
constexpr int kMaxDays = 36500;
constexpr int kSecondsPerDay = 86400;

base::Result<std::string> pem_text(const BioPtr& bio) {
    char* text = nullptr;
    long length = BIO_get_mem_data(bio.get(), &text);
    if (length <= 0)
        return base::fail("out of memory while writing a key");
    return std::string(text, static_cast<size_t>(length));
}

bool add_extension(X509* certificate, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    ExtensionPtr extension{X509V3_EXT_conf_nid(nullptr, &context, nid, value)};
    return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_name(X509_NAME* name, const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
}

// RFC 5280 4.1.2.2: positive, at most 20 octets; random so that certificates of one name differ.
bool set_serial(X509* certificate) {
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (bytes[0] & 0x7F) | 0x40;
    NumberPtr number{BN_bin2bn(bytes, sizeof bytes, nullptr)};
    return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate));
}

base::Result<> write_new_file(const std::string& path, const std::string& content, mode_t mode) {
    base::UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)};
    if (!fd.valid() && errno == EEXIST)
        return base::fail(fmt::format("{} exists already; choose another --out or move it away", path));
    if (!fd.valid())
        return base::fail(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
    size_t done = 0;
    while (done < content.size()) {
        ssize_t n = ::write(fd.get(), content.data() + done, content.size() - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = errno;
            ::unlink(path.c_str());
            return base::fail(fmt::format("cannot write {}: {}", path, std::strerror(error)));
        }
        done += static_cast<size_t>(n);
    }
    return {};
}

} // namespace

base::Result<KeyPair> generate_key_pair(const KeyRequest& request) {
    if (request.name.empty() || request.name.size() > kMaxCommonName)
        return base::fail(fmt::format("--name needs 1 to {} characters", kMaxCommonName));
    if (request.organisation.size() > kMaxCommonName)
        return base::fail(fmt::format("--organisation takes at most {} characters", kMaxCommonName));
    if (request.valid_days < 1 || request.valid_days > kMaxDays)
        return base::fail(fmt::format("--days needs a number from 1 to {}", kMaxDays));

    KeyPtr key{request.kind == KeyKind::EcdsaP256 ? EVP_EC_gen("P-256") : EVP_RSA_gen(3072)};
    CertificatePtr certificate{X509_new()};
    if (!key || !certificate)
        return base::fail("cannot make a key: " + openssl_reason());

    X509_NAME* subject = X509_get_subject_name(certificate.get());
    long start = static_cast<long>(request.starts_in_days) * kSecondsPerDay;
    long end = start + static_cast<long>(request.valid_days) * kSecondsPerDay;
    bool made = X509_set_version(certificate.get(), X509_VERSION_3) == 1 && set_serial(certificate.get()) &&
                X509_gmtime_adj(X509_getm_notBefore(certificate.get()), start) &&
                X509_gmtime_adj(X509_getm_notAfter(certificate.get()), end) &&
                X509_set_pubkey(certificate.get(), key.get()) == 1 && add_name(subject, "CN", request.name) &&
                (request.organisation.empty() || add_name(subject, "O", request.organisation)) &&
                X509_set_issuer_name(certificate.get(), subject) == 1 &&
                add_extension(certificate.get(), NID_basic_constraints, "critical,CA:FALSE") &&
                add_extension(certificate.get(), NID_key_usage, "critical,digitalSignature") &&
                add_extension(certificate.get(), NID_subject_key_identifier, "hash") &&
                X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0;
    if (!made)
        return base::fail("cannot make a certificate: " + openssl_reason());

    const std::string& secret = request.passphrase;
    BioPtr key_bio{BIO_new(BIO_s_mem())}, certificate_bio{BIO_new(BIO_s_mem())};
    if (!key_bio || !certificate_bio ||
        PEM_write_bio_PKCS8PrivateKey(key_bio.get(), key.get(), secret.empty() ? nullptr : EVP_aes_256_cbc(),
                                      secret.empty() ? nullptr : secret.data(),
                                      static_cast<int>(secret.size()), nullptr, nullptr) != 1 ||
        PEM_write_bio_X509(certificate_bio.get(), certificate.get()) != 1)
        return base::fail("cannot encode the key: " + openssl_reason());
    KeyPair pair;
    pair.key_pem = TRY(pem_text(key_bio));
    pair.certificate_pem = TRY(pem_text(certificate_bio));
    return pair;
}

base::Result<std::string> read_passphrase(const std::string& path) {
    constexpr size_t kMost = 1000;                                       // OpenSSL takes 1024
    const base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}; // a pipe's writer is waited for
    std::string text;
    char c = 0;
    ssize_t n = fd.valid() ? 1 : -1;
    while (n > 0 && text.size() <= kMost) {
        while ((n = ::read(fd.get(), &c, 1)) < 0 && errno == EINTR) {
        }
        if (n > 0 && c == '\n')
            break;
        if (n > 0)
            text.push_back(c);
    }
    if (n < 0)
        return base::fail(fmt::format("cannot read the passphrase from {}: {}", path, std::strerror(errno)));
    if (!text.empty() && text.back() == '\r')
        text.pop_back();
    if (text.empty() || text.size() > kMost)
        return base::fail(
            fmt::format("{}: its first line has to be a passphrase of 1 to {} bytes", path, kMost));
    return text;
}

base::Result<> write_key_pair(const KeyPair& pair, const std::string& prefix) {
    struct stat info;
    std::string certificate_path = prefix + ".crt", key_path = prefix + ".key";
    if (::lstat(certificate_path.c_str(), &info) == 0)
        return base::fail(
            fmt::format("{} exists already; choose another --out or move it away", certificate_path));
    TRY(write_new_file(key_path, pair.key_pem, 0600));
    auto written = write_new_file(certificate_path, pair.certificate_pem, 0644);
    if (!written)
        ::unlink(key_path.c_str()); // half a pair is of no use and would block the next try
    return written;
}

} // namespace signing
