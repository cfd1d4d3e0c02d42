#include "signing/time_stamp.h"

#include "signing/certificate_internal.h"
#include "signing/cms_profile.h"
#include "signing/outcome.h"
#include "signing/sha256.h"

#include <algorithm>
#include <fmt/format.h>
#include <openssl/ts.h>

namespace signing {
namespace {

// All of `bytes` as one object, or null.
template <class T> T* decode(T* (*read)(T**, const unsigned char**, long), std::span<const uint8_t> bytes) {
    const unsigned char* cursor = bytes.data();
    T* object = read(nullptr, &cursor, static_cast<long>(bytes.size()));
    return object != nullptr && cursor == bytes.data() + bytes.size() ? object : nullptr;
}

// TSTInfo (RFC 3161 section 2.4.2) about exactly this signature.
StampInfoPtr info_about(std::span<const uint8_t> encoded, std::span<const uint8_t> signature) {
    StampInfoPtr info{decode(d2i_TS_TST_INFO, encoded)};
    if (!info || TS_TST_INFO_get_version(info.get()) != 1)
        return nullptr;
    TS_MSG_IMPRINT* imprint = TS_TST_INFO_get_msg_imprint(info.get());
    const ASN1_OBJECT* algorithm = nullptr;
    X509_ALGOR_get0(&algorithm, nullptr, nullptr, TS_MSG_IMPRINT_get_algo(imprint));
    const Der digest = octets_of(TS_MSG_IMPRINT_get_msg(imprint));
    if (OBJ_obj2nid(algorithm) != NID_sha256 || !std::ranges::equal(digest, sha256(signature)))
        return nullptr;
    return info;
}

bool time_of(const TS_TST_INFO* info, std::time_t& out) {
    std::tm fields{};
    const ASN1_GENERALIZEDTIME* time = TS_TST_INFO_get_time(info);
    if (!time || ASN1_TIME_to_tm(time, &fields) != 1)
        return false;
    out = timegm(&fields);
    return true;
}

} // namespace

base::Result<Der> time_stamp_query(std::span<const uint8_t> signature) {
    const Hash digest = sha256(signature);
    StampQueryPtr query{TS_REQ_new()};
    StampImprintPtr imprint{TS_MSG_IMPRINT_new()};
    AlgorithmPtr algorithm{X509_ALGOR_new()};
    // No nonce: an answer to an older question about the same signature is as good.
    const bool made = query && imprint && algorithm &&
                      X509_ALGOR_set0(algorithm.get(), OBJ_nid2obj(NID_sha256), V_ASN1_NULL, nullptr) == 1 &&
                      TS_MSG_IMPRINT_set_algo(imprint.get(), algorithm.get()) == 1 &&
                      TS_MSG_IMPRINT_set_msg(imprint.get(), const_cast<uint8_t*>(digest.data()),
                                             static_cast<int>(digest.size())) == 1 &&
                      TS_REQ_set_version(query.get(), 1) == 1 &&
                      TS_REQ_set_msg_imprint(query.get(), imprint.get()) == 1 &&
                      TS_REQ_set_cert_req(query.get(), 1) == 1;
    const std::string der = made ? to_der(query.get(), i2d_TS_REQ) : std::string();
    if (der.empty())
        return base::fail("cannot make a time-stamp query: " + openssl_reason());
    return Der(der.begin(), der.end());
}

base::Result<Der> time_stamp_token(std::span<const uint8_t> answer, std::span<const uint8_t> signature) {
    const StampAnswerPtr response{decode(d2i_TS_RESP, answer)};
    ERR_clear_error();
    if (!response)
        return base::fail("is not a time-stamp response (RFC 3161)");
    TS_STATUS_INFO* status = TS_RESP_get_status_info(response.get());
    const long number = ASN1_INTEGER_get(TS_STATUS_INFO_get0_status(status));
    PKCS7* token = TS_RESP_get_token(response.get());
    if ((number != TS_STATUS_GRANTED && number != TS_STATUS_GRANTED_WITH_MODS) || !token) {
        std::string why;
        if (const STACK_OF(ASN1_UTF8STRING)* texts = TS_STATUS_INFO_get0_text(status))
            for (int i = 0; i < sk_ASN1_UTF8STRING_num(texts); ++i)
                for (const uint8_t byte : octets_of(sk_ASN1_UTF8STRING_value(texts, i)))
                    why += byte >= 0x20 && byte < 0x7F ? static_cast<char>(byte) : '?';
        return base::fail("says that the authority gave no time stamp" + (why.empty() ? why : ": " + why));
    }
    const std::string der = to_der(token, i2d_PKCS7);
    Der bytes(der.begin(), der.end());
    auto read = read_time_stamp(bytes, signature);
    if (!read)
        return base::fail("cannot be used: " + read.error().message);
    return bytes;
}

base::Result<TimeStamp> read_time_stamp(std::span<const uint8_t> token, std::span<const uint8_t> signature) {
    const auto damaged = [](const char* why) {
        ERR_clear_error();
        return base::fail(why, kTampered);
    };
    const CmsPtr cms{decode(d2i_CMS_ContentInfo, token)};
    if (!cms || OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_pkcs7_signed || !CMS_get0_content(cms.get()) ||
        !*CMS_get0_content(cms.get()))
        return damaged("the time stamp is malformed");
    if (CMS_verify(cms.get(), nullptr, nullptr, nullptr, nullptr, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) !=
        1)
        return damaged("the time stamp lacks its authority's certificate or does not match it");
    if (!matches_profile(cms.get(), token, CmsKind::TimeStampToken))
        return damaged("the time stamp was altered or is not of the form bundles use");
    const StampInfoPtr info = info_about(octets_of(*CMS_get0_content(cms.get())), signature);
    TimeStamp stamp;
    if (!info || !time_of(info.get(), stamp.time))
        return damaged("the time stamp is about another signature");
    STACK_OF(X509)* signers = CMS_get0_signers(cms.get()); // frees the stack only, not the certificates
    X509* certificate = signers && sk_X509_num(signers) == 1 ? sk_X509_value(signers, 0) : nullptr;
    sk_X509_free(signers);
    if (!certificate)
        return damaged("the time stamp is malformed");
    stamp.authority = TRY(publisher_of(certificate)).common_name;
    return stamp;
}

bool is_vouched_for(std::span<const uint8_t> token, std::span<const uint8_t> signature,
                    std::span<const std::string> authorities) {
    const auto stamp = read_time_stamp(token, signature);
    const TokenPtr parsed{decode(d2i_PKCS7, token)};
    StorePtr store{X509_STORE_new()};
    StampCheckPtr check{TS_VERIFY_CTX_new()};
    if (!stamp || !parsed || !store || !check)
        return false;
    for (const std::string& pem : authorities)
        if (auto certificate = read_certificate_pem(pem, "the authority"))
            X509_STORE_add_cert(store.get(), certificate->get());
    // Its certificate has to have been in date then, not now; and whatever certificate is trusted ends the
    // chain, be it the authority's own.
    X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store.get()), stamp->time);
    X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN);
    const Hash digest = sha256(signature);
    auto* imprint = static_cast<unsigned char*>(OPENSSL_memdup(digest.data(), digest.size()));
    if (!imprint)
        return false;
    TS_VERIFY_CTX_set_imprint(check.get(), imprint, static_cast<long>(digest.size())); // its own from now on
    TS_VERIFY_CTX_set_store(check.get(), store.release());                             // likewise
    TS_VERIFY_CTX_set_flags(check.get(), TS_VFY_VERSION | TS_VFY_SIGNATURE | TS_VFY_IMPRINT);
    const bool good = TS_RESP_verify_token(check.get(), parsed.get()) == 1;
    ERR_clear_error();
    return good;
}

base::Result<Der> with_time_stamp(std::span<const uint8_t> cms_der, std::span<const uint8_t> token) {
    const CmsPtr cms{decode(d2i_CMS_ContentInfo, cms_der)};
    STACK_OF(CMS_SignerInfo)* signers = cms ? CMS_get0_SignerInfos(cms.get()) : nullptr;
    if (!signers || sk_CMS_SignerInfo_num(signers) != 1)
        return base::fail("the signature is malformed", kTampered);
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, 0);
    while (CMS_unsigned_get_attr_count(signer) > 0)
        X509_ATTRIBUTE_free(CMS_unsigned_delete_attr(signer, 0));
    if (CMS_unsigned_add1_attr_by_NID(signer, NID_id_smime_aa_timeStampToken, V_ASN1_SEQUENCE, token.data(),
                                      static_cast<int>(token.size())) != 1)
        return base::fail("cannot add the time stamp: " + openssl_reason());
    const std::string der = to_der(cms.get(), i2d_CMS_ContentInfo);
    if (der.empty())
        return base::fail("cannot add the time stamp: " + openssl_reason());
    return Der(der.begin(), der.end());
}

} // namespace signing
