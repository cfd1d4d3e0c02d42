#include "signing/certificate_internal.h"

#include "signing/fingerprint_words.h"
#include "signing/outcome.h"
#include "signing/sha256.h"

#include <fmt/format.h>
#include <openssl/x509v3.h>

namespace signing {

namespace {

constexpr size_t kMaxNameBytes = 128;

// A certificate is written by a stranger and its name is shown on terminals and title bars, so control
// characters (escape sequences) never get through.
std::string name_entry(const X509_NAME* name, int nid) {
    int index = X509_NAME_get_index_by_NID(name, nid, -1);
    if (index < 0)
        return {};
    const ASN1_STRING* value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index));
    unsigned char* utf8 = nullptr;
    int length = ASN1_STRING_to_UTF8(&utf8, value);
    if (length < 0) {
        ERR_clear_error();
        return {};
    }
    std::string text(reinterpret_cast<char*>(utf8), static_cast<size_t>(length));
    OPENSSL_free(utf8);
    if (text.size() > kMaxNameBytes) {
        text.resize(kMaxNameBytes);
        while (!text.empty() && (text.back() & 0x80)) // do not leave half a character behind
            text.pop_back();
    }
    for (size_t i = 0; i < text.size(); ++i) {
        auto byte = static_cast<unsigned char>(text[i]);
        bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
        bool direction =
            byte == 0xE2 && i + 2 < text.size() && (text[i + 1] == '\x80' || text[i + 1] == '\x81');
        if (byte < 0x20 || byte == 0x7F)
            text[i] = '?';
        else if (c1)
            text.replace(i, 2, "?");
        else if (direction) // U+2000..U+207F: among them the overrides of writing direction
            text.replace(i, 3, "?");
    }
    return text;
}

bool to_time(const ASN1_TIME* time, std::time_t& out) {
    std::tm fields{};
    if (!time || ASN1_TIME_to_tm(time, &fields) != 1)
        return false;
    out = timegm(&fields);
    return true;
}

} // namespace

base::Result<Publisher> publisher_of(const X509* certificate) {
    Publisher publisher;
    const X509_NAME* subject = X509_get_subject_name(certificate);
    publisher.common_name = name_entry(subject, NID_commonName);
    publisher.organisation = name_entry(subject, NID_organizationName);
    if (publisher.common_name.empty())
        publisher.common_name = publisher.organisation.empty() ? "(unnamed)" : publisher.organisation;
    std::string der = to_der(certificate, i2d_X509);
    if (der.empty() || !to_time(X509_get0_notBefore(certificate), publisher.not_before) ||
        !to_time(X509_get0_notAfter(certificate), publisher.not_after))
        return base::fail("the publisher's certificate is malformed", kTampered);
    publisher.fingerprint = to_hex(sha256({reinterpret_cast<const uint8_t*>(der.data()), der.size()}));
    BioPtr bio{BIO_new(BIO_s_mem())};
    char* text = nullptr;
    if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1)
        return base::fail("out of memory while reading a certificate");
    long length = BIO_get_mem_data(bio.get(), &text);
    publisher.certificate_pem.assign(text, static_cast<size_t>(length));
    return publisher;
}

base::Result<CertificatePtr> read_certificate_pem(std::string_view pem, const std::string& where) {
    BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    CertificatePtr certificate{bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr};
    if (!certificate)
        return base::fail(fmt::format("{}: no PEM certificate found ({})", where, openssl_reason()));
    return certificate;
}

base::Result<Publisher> parse_certificate(std::string_view pem, const std::string& where) {
    CertificatePtr certificate = TRY(read_certificate_pem(pem, where));
    return publisher_of(certificate.get());
}

bool may_issue(const Publisher& certificate) {
    const auto read = read_certificate_pem(certificate.certificate_pem, "");
    return read && X509_check_ca(read->get()) == 1;
}

std::string describe(const Publisher& publisher) {
    return fmt::format("{} (fingerprint {}, in words: {})", publisher.common_name, publisher.fingerprint,
                       fingerprint_words(publisher.fingerprint));
}

} // namespace signing
