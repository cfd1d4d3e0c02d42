#include "signing/sha256.h"

#include "signing/openssl_ptr.h"
#include "vmm/base/verify.h"

namespace signing {

struct Sha256::Context {
    MdContextPtr md{EVP_MD_CTX_new()};
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
    VERIFY(context_->md && EVP_DigestInit_ex(context_->md.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;

void Sha256::update(std::span<const uint8_t> bytes) {
    VERIFY(EVP_DigestUpdate(context_->md.get(), bytes.data(), bytes.size()) == 1);
}

Hash Sha256::finish() {
    Hash hash;
    unsigned length = 0;
    VERIFY(EVP_DigestFinal_ex(context_->md.get(), hash.data(), &length) == 1 && length == hash.size());
    VERIFY(EVP_DigestInit_ex(context_->md.get(), nullptr, nullptr) == 1);
    return hash;
}

Hash sha256(std::span<const uint8_t> bytes) {
    thread_local Sha256 context; // fetching the digest anew costs more than hashing a small chunk
    context.update(bytes);
    return context.finish();
}

std::string to_hex(const Hash& hash) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(2 * hash.size());
    for (uint8_t byte : hash) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

bool from_hex(std::string_view text, Hash& hash) {
    if (text.size() != 2 * hash.size())
        return false;
    auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (size_t i = 0; i < hash.size(); ++i) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash[i] = static_cast<uint8_t>(high << 4 | low);
    }
    return true;
}

} // namespace signing
