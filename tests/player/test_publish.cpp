// A publisher's other verbs, by the real executable: signing what is there already.
#include "signing/keys.h"
#include "tests/player/cli_desk.h"

using namespace cli_test;

namespace {

// Stock openssl's opinion of a bundle's signature, by the certificate CERT.crt.
bool openssl_accepts(Desk& desk, const std::string& bundle, const std::string& cert) {
    REQUIRE(desk.shell("tar xf " + bundle + " manifest.json manifest.cms") == 0);
    return desk.shell(
               "openssl cms -verify -binary -inform DER -in manifest.cms -content manifest.json -CAfile " +
               cert + ".crt -out checked") == 0;
}

} // namespace

TEST_CASE("sign: an unsigned bundle gets a signature and keeps its content", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.run("pack r.toml -o u.encore --unsigned") == 0);
    CHECK(desk.run("sign u.encore --key k.key --cert k.crt -o x.encore") == 0);
    CHECK(desk.one_line());
    CHECK(desk.output.find("x.encore: signed by Acme Ltd") == 0);
    CHECK(desk.output.find("until now by nobody") != std::string::npos);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("verify u.encore") == 3);
    CHECK(openssl_accepts(desk, "x.encore", "k"));
    // The same as packing it signed would have made, but for the signature.
    REQUIRE(desk.run("pack r.toml -o y.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.shell("mkdir x y && tar xf x.encore -C x && tar xf y.encore -C y && "
                       "diff -r --exclude=manifest.cms x y") == 0);
}

TEST_CASE("sign: another key or a renewed certificate takes the place of the old signature", "[cli]") {
    Desk desk;
    REQUIRE(desk.run("pack r.toml -o x.encore --key k.key --cert k.crt") == 0);
    REQUIRE(desk.run("keygen --name 'Other GmbH' --rsa --out other") == 0);
    // Somebody else's content is not signed before one trusts them.
    const std::string bytes = desk.read("x.encore");
    CHECK(desk.run("sign x.encore --key other.key --cert other.crt") == 5);
    CHECK(desk.one_line());
    CHECK(desk.read("x.encore") == bytes);
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.shell("tar xf x.encore manifest.json && mv manifest.json before.json") == 0);
    CHECK(desk.run("sign x.encore --key other.key --cert other.crt") == 0);
    CHECK(desk.output.find("signed by Other GmbH") != std::string::npos);
    CHECK(desk.output.find("until now by Acme Ltd") != std::string::npos);
    CHECK(desk.run("verify x.encore") == 5);
    REQUIRE(desk.run("trust add other.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(openssl_accepts(desk, "x.encore", "other"));
    CHECK_FALSE(openssl_accepts(desk, "x.encore", "k"));
    CHECK(desk.read("manifest.json") == desk.read("before.json"));
}

TEST_CASE("sign: an expired certificate is renewed, a changed byte or a key that does not fit is refused",
          "[cli]") {
    Desk desk;
    const auto old = signing::generate_key_pair(
        {.name = "Acme Ltd", .organisation = {}, .valid_days = 2, .starts_in_days = -9});
    REQUIRE(old);
    REQUIRE(signing::write_key_pair(*old, desk.path + "/old"));
    REQUIRE(desk.run("pack r.toml -o x.encore --key old.key --cert old.crt") == 0);
    REQUIRE(desk.run("trust add old.crt") == 0);
    REQUIRE(desk.run("trust add k.crt") == 0);
    REQUIRE(desk.run("verify x.encore") == 6);
    CHECK(desk.run("sign x.encore --key k.key --cert k.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    std::string bytes = desk.read("x.encore");
    REQUIRE(desk.run("keygen --name Other --out other") == 0);
    CHECK(desk.run("sign x.encore --key other.key --cert k.crt") == 1);
    CHECK(desk.one_line());
    CHECK(desk.run("sign x.encore") == 2);
    bytes[bytes.size() / 2] ^= 1;
    desk.write("x.encore", bytes);
    CHECK(desk.run("sign x.encore --key k.key --cert k.crt") == 4);
    CHECK(desk.one_line());
    CHECK(desk.output.find("blobs/chunks.0") != std::string::npos);
    CHECK(desk.read("x.encore") == bytes);
    CHECK(desk.run("sign r.toml --key k.key --cert k.crt") == 8);
}
