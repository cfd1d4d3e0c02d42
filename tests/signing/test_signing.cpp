#include "signing/certificate.h"
#include "signing/fingerprint_words.h"
#include "signing/keys.h"
#include "signing/outcome.h"
#include "signing/pin.h"
#include "signing/sha256.h"
#include "signing/sign.h"
#include "signing/trust_store.h"
#include "signing/verify.h"
#include "tests/folder.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sys/stat.h>

using namespace signing;
using Bytes = std::vector<uint8_t>;

namespace {

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

KeyPair make_pair(KeyKind kind = KeyKind::EcdsaP256, const char* name = "Acme Ltd") {
    auto pair = generate_key_pair({.name = name, .organisation = "Acme", .kind = kind});
    REQUIRE(pair);
    return *pair;
}

int stock_verify(const Bytes& content, const Bytes& cms, const KeyPair& pair) {
    Folder folder;
    write_file(folder / "manifest.json", content);
    write_file(folder / "manifest.cms", cms);
    write_file(folder / "cert", bytes_of(pair.certificate_pem));
    std::string command = "openssl cms -verify -binary -inform DER -in " + (folder / "manifest.cms") +
                          " -content " + (folder / "manifest.json") + " -CAfile " + (folder / "cert") +
                          " -out /dev/null 2>/dev/null";
    return std::system(command.c_str());
}

} // namespace

TEST_CASE("sha256: the standard's example, and hexadecimal both ways", "[signing]") {
    Hash hash = sha256(bytes_of("abc"));
    CHECK(to_hex(hash) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Hash back;
    CHECK(from_hex(to_hex(hash), back));
    CHECK(back == hash);
    CHECK_FALSE(from_hex("BA", back));
    CHECK_FALSE(from_hex(std::string(64, 'G'), back));
}

TEST_CASE("signature: good ones name their publisher and stock openssl agrees", "[signing]") {
    for (KeyKind kind : {KeyKind::EcdsaP256, KeyKind::Rsa3072}) {
        KeyPair pair = make_pair(kind);
        Bytes content = bytes_of("{\"format\":1}\r\n binary \n");
        auto cms = Signer::from_pem(pair.key_pem, pair.certificate_pem)->sign(content);
        REQUIRE(cms);
        auto signature = verify_signature(content, *cms);
        REQUIRE(signature);
        const Publisher* publisher = &signature->publisher;
        CHECK(publisher->common_name == "Acme Ltd");
        CHECK(publisher->organisation == "Acme");
        CHECK(publisher->fingerprint == parse_certificate(pair.certificate_pem, "x")->fingerprint);
        CHECK(stock_verify(content, *cms, pair) == 0);
        Bytes other = content;
        other[3] ^= 1;
        CHECK(verify_signature(other, *cms).error().code == kTampered);
        CHECK(stock_verify(other, *cms, pair) != 0);
        CHECK(verify_signature(content, {}).error().code == kUnsigned);
    }
}

TEST_CASE(
    "signature: any changed bit or length of the signature file is refused or names another certificate",
    "[signing]") {
    KeyPair pair = make_pair();
    Bytes content = bytes_of("content");
    Bytes cms = *Signer::from_pem(pair.key_pem, pair.certificate_pem)->sign(content);
    std::string fingerprint = parse_certificate(pair.certificate_pem, "x")->fingerprint;
    for (size_t bit = 0; bit < cms.size() * 8; ++bit) {
        Bytes changed = cms;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        auto publisher = verify_signature(content, changed);
        INFO("bit " << bit);
        // A changed bit in the certificate's own (self-)signature makes it another certificate, hence
        // untrusted.
        CHECK((!publisher || publisher->publisher.fingerprint != fingerprint));
    }
    for (size_t size = 1; size < cms.size(); size += 7)
        CHECK(verify_signature(content, std::span(cms).first(size)).error().code == kTampered);
    cms.push_back(0);
    CHECK(verify_signature(content, cms).error().code == kTampered);
}

namespace {

// A publisher's key, their certificate with the one above it, and the root's, made by stock openssl.
struct Issued {
    std::string key, chain, root;
};

Issued make_issued() {
    Folder folder;
    write_file(folder / "x.cnf", bytes_of("[req]\ndistinguished_name = dn\n[dn]\n[ca]\n"
                                          "basicConstraints = critical,CA:TRUE\n[end]\n"
                                          "basicConstraints = critical,CA:FALSE\n"));
    const std::string make = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config x.cnf",
                      sign = "openssl x509 -req -CAcreateserial -days 9 -extfile x.cnf ";
    REQUIRE(std::system(("cd " + (folder / ".") +
                         " && (openssl req -x509 -days 9 -extensions ca -subj /CN=Root " + make +
                         " -keyout r.key -out r.crt && openssl req -new -subj /CN=Below " + make +
                         " -keyout b.key -out b.csr && openssl req -new -subj /CN=End " + make +
                         " -keyout e.key -out e.csr && " + sign +
                         "-in b.csr -CA r.crt -CAkey r.key -extensions ca -out b.crt && " + sign +
                         "-in e.csr -CA b.crt -CAkey b.key -extensions end -out e.crt) 2>/dev/null")
                            .c_str()) == 0);
    const auto read = [&](const char* name) {
        std::ifstream in(folder / name, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(in), {});
    };
    return {read("e.key"), read("e.crt") + read("b.crt"), read("r.crt")};
}

} // namespace

TEST_CASE("signature: with issuers in it, a changed bit or length is refused, or leads nowhere",
          "[signing]") {
    const Issued issued = make_issued();
    Folder folder;
    const TrustStore store{folder / "user", folder / "system", std::time(nullptr)};
    REQUIRE(store.add(issued.root, "root", TrustStore::Role::Issuer));
    const Bytes content = bytes_of("content");
    Bytes cms = *Signer::from_pem(issued.key, issued.chain)->sign(content);
    const auto accepted = [&](std::span<const uint8_t> signature) {
        const auto read = verify_signature(content, signature);
        return read && store.check(*read);
    };
    REQUIRE(accepted(cms));
    CHECK(verify_signature(content, cms)->issuers.size() == 1);
    for (size_t bit = 0; bit < cms.size() * 8; bit += 5) {
        Bytes changed = cms;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        INFO("bit " << bit);
        CHECK_FALSE(accepted(changed));
    }
    for (size_t size = 1; size < cms.size(); size += 7)
        CHECK_FALSE(accepted(std::span(cms).first(size)));
    cms.push_back(0);
    CHECK_FALSE(accepted(cms));
}

TEST_CASE("keys: the files have safe modes, are not overwritten, and must belong together", "[signing]") {
    Folder folder;
    KeyPair pair = make_pair();
    REQUIRE(write_key_pair(pair, folder / "k"));
    struct stat info;
    REQUIRE(::stat((folder / "k.key").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK_FALSE(write_key_pair(pair, folder / "k"));
    CHECK(Signer::load(folder / "k.key", folder / "k.crt", std::time(nullptr)));
    REQUIRE(write_key_pair(make_pair(), folder / "other"));
    auto mixed = Signer::load(folder / "k.key", folder / "other.crt", std::time(nullptr));
    REQUIRE_FALSE(mixed);
    CHECK(mixed.error().message.find("do not belong together") != std::string::npos);
    CHECK_FALSE(generate_key_pair({.name = "", .organisation = ""}));
    CHECK_FALSE(generate_key_pair({.name = std::string(65, 'x'), .organisation = ""}));
    CHECK_FALSE(generate_key_pair({.name = "x", .organisation = "", .valid_days = 0}));
}

// The private half of one key beside the public half of another (RFC 5915), as PEM.
std::string forged_key(const KeyPair& own, const KeyPair& other) {
    Folder folder;
    write_file(folder / "own.pem", bytes_of(own.key_pem));
    write_file(folder / "other.pem", bytes_of(other.key_pem));
    const auto der = [&](const char* name) {
        REQUIRE(std::system(("openssl pkcs8 -topk8 -nocrypt -in " + (folder / name) +
                             ".pem -outform DER -out " + (folder / name) + ".der")
                                .c_str()) == 0);
        std::ifstream in(folder / (std::string(name) + ".der"), std::ios::binary);
        return Bytes(std::istreambuf_iterator<char>(in), {});
    };
    Bytes mixed = der("own");
    const Bytes theirs = der("other");
    constexpr ptrdiff_t kPoint = 65; // uncompressed, of P-256: it ends the file
    REQUIRE(mixed.size() == theirs.size());
    std::copy(theirs.end() - kPoint, theirs.end(), mixed.end() - kPoint);
    write_file(folder / "mixed.der", mixed);
    REQUIRE(std::system(("(echo -----BEGIN PRIVATE KEY-----; base64 " + (folder / "mixed.der") +
                         "; echo -----END PRIVATE KEY-----) > " + (folder / "mixed.pem"))
                            .c_str()) == 0);
    std::ifstream in(folder / "mixed.pem");
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST_CASE("keys: a file that only names the certificate's public half is not its key", "[signing]") {
    const KeyPair acme = make_pair(), mallory = make_pair(KeyKind::EcdsaP256, "Mallory");
    const auto forged = Signer::from_pem(forged_key(mallory, acme), acme.certificate_pem);
    REQUIRE_FALSE(forged);
    CHECK(forged.error().message.find("do not belong together") != std::string::npos);
    CHECK(Signer::from_pem(forged_key(acme, acme), acme.certificate_pem));
}

TEST_CASE("keys: nothing is signed under a certificate that is out of date", "[signing]") {
    Folder folder;
    const auto day = [&](int starts, const char* name) {
        auto pair =
            generate_key_pair({.name = name, .organisation = "", .valid_days = 2, .starts_in_days = starts});
        REQUIRE((pair && write_key_pair(*pair, folder / name)));
        return Signer::load(folder / (std::string(name) + ".key"), folder / (std::string(name) + ".crt"),
                            std::time(nullptr));
    };
    const auto old = day(-9, "old"), early = day(3, "early");
    REQUIRE_FALSE(old);
    CHECK(old.error().code == kExpired);
    CHECK(old.error().message.find("expired on") != std::string::npos);
    REQUIRE_FALSE(early);
    CHECK(early.error().code == kExpired);
    CHECK(early.error().message.find("valid only from") != std::string::npos);
    CHECK(day(-1, "now"));
}

TEST_CASE("certificate: names with control characters are made harmless", "[signing]") {
    auto pair = generate_key_pair({.name = "Evil\x1b[2J\xc2\x9b", .organisation = ""});
    REQUIRE(pair);
    CHECK(parse_certificate(pair->certificate_pem, "x")->common_name == "Evil?[2J?");
}

TEST_CASE("trust store: add, list, remove, and the answers of check", "[signing]") {
    Folder folder;
    const std::time_t now = std::time(nullptr);
    const auto at = [&](std::time_t time) { return TrustStore{folder / "user", folder / "system", time}; };
    const TrustStore store = at(now);
    CHECK(store.list().empty());
    KeyPair acme = make_pair(), other = make_pair(KeyKind::EcdsaP256, "Other"),
            twin = make_pair(KeyKind::EcdsaP256, "Acme Ltd");
    auto publisher = *parse_certificate(acme.certificate_pem, "x");
    CHECK(store.check({publisher}).error().code == kUntrusted);
    REQUIRE(store.add(acme.certificate_pem, "x"));
    REQUIRE(store.add(acme.certificate_pem, "x"));
    CHECK(store.list().size() == 1);
    CHECK(store.check({publisher}));
    CHECK(at(publisher.not_after + 1).check({publisher}).error().code == kExpired);
    CHECK(at(publisher.not_before - 1).check({publisher}).error().code == kExpired);
    CHECK(store.check({*parse_certificate(twin.certificate_pem, "x")}).error().code == kUntrusted);
    CHECK_FALSE(store.add("no certificate", "x"));

    REQUIRE(store.add(twin.certificate_pem, "x"));
    CHECK(store.remove("Acme Ltd").error().message.find("several") != std::string::npos);
    CHECK_FALSE(store.remove(publisher.fingerprint.substr(0, 7)));
    CHECK(store.remove(publisher.fingerprint.substr(0, 8)));
    CHECK(store.check({publisher}).error().code == kUntrusted);
    CHECK(store.remove("Acme Ltd"));
    CHECK(store.list().empty());

    std::filesystem::create_directories(folder / "system");
    write_file(folder / "system/site.pem", bytes_of(other.certificate_pem));
    write_file(folder / "system/broken.pem", bytes_of("broken"));
    CHECK(store.list().size() == 1);
    CHECK(store.list()[0].scope == TrustStore::Scope::System);
    CHECK(store.check({*parse_certificate(other.certificate_pem, "x")}));
    CHECK(store.remove("Other").error().message.find("administrator") != std::string::npos);
}

TEST_CASE("pin: only the right one matches, salted anew each time, damaged records are errors", "[pin]") {
    auto record = hash_pin("2468");
    REQUIRE(record);
    CHECK(record->find("2468") == std::string::npos);
    CHECK(*hash_pin("2468") != *record);
    CHECK(pin_matches("2468", *record) == true);
    CHECK(pin_matches("2469", *record) == false);
    CHECK(pin_matches("", *record) == false);
    CHECK(pin_matches(std::string(5000, '2'), *record) == false);
    CHECK_FALSE(hash_pin("123"));
    CHECK_FALSE(hash_pin(std::string(65, '1')));
    CHECK_FALSE(hash_pin("12\n45"));
    const auto damaged = [&](const std::string& from, const std::string& to) {
        std::string text = *record;
        text.replace(text.find(from), from.size(), to);
        return !pin_matches("2468", text);
    };
    CHECK(damaged("ln=15", "ln=30")); // 128 GiB
    CHECK(damaged("ln=15", "ln=1"));
    CHECK(damaged("r=8", "r=9"));
    CHECK(damaged("$scrypt", "$md5"));
    CHECK_FALSE(pin_matches("2468", ""));
    CHECK_FALSE(pin_matches("2468", record->substr(0, record->size() - 1)));
    CHECK_FALSE(pin_matches("2468", *record + "0"));
}

TEST_CASE("fingerprint words: the published examples, and every bit of the first 128 counts", "[signing]") {
    // arXiv:0901.4016: 127.0.0.1, 63.84.220.193, 63.118.7.35, 140.98.193.141
    const std::string digits = "7f0000013f54dcc13f7607238c62c18d";
    CHECK(fingerprint_words(digits) == "lusab babad gutih tugad gutuk bisog mudof sakat");
    CHECK(fingerprint_words(digits + std::string(32, 'f')) == fingerprint_words(digits));
    std::set<std::string> different = {fingerprint_words(digits)};
    for (size_t digit = 0; digit < digits.size(); ++digit)
        for (const int bit : {1, 2, 4, 8}) {
            std::string changed = digits;
            const int value = std::stoi(changed.substr(digit, 1), nullptr, 16) ^ bit;
            changed[digit] = "0123456789abcdef"[value];
            different.insert(fingerprint_words(changed));
        }
    CHECK(different.size() == 129);
    CHECK(fingerprint_words("").empty());
    CHECK(fingerprint_words(digits.substr(1)).empty());
    CHECK(fingerprint_words("x" + digits.substr(1)).empty());
    CHECK(fingerprint_words("-" + digits.substr(1)).empty());
}
