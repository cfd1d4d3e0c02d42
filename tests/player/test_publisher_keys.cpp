// Where a publisher's key may be, and whose word counts for it: the real executable, stock openssl, and
// SoftHSM's token as OpenSSL reaches any token or HSM.
#include "player/high_water_clock.h"
#include "tests/player/cli_desk.h"

using namespace cli_test;

namespace {

constexpr const char* kPack = "pack r.toml -o x.encore ";

struct KeyDesk : Desk {
    KeyDesk() {
        write("secret", "open sesame\n");
        write("wrong", "open barley\n");
    }
    // What stock openssl says of x.encore's signature, with `trusted` as the only certificate that it trusts.
    bool openssl_accepts(const std::string& trusted, const std::string& more = "") {
        REQUIRE(shell("tar xf x.encore manifest.json manifest.cms") == 0);
        return shell("openssl cms -verify -binary -inform DER -in manifest.cms -content manifest.json " +
                     more + " -CAfile " + trusted + " -out checked") == 0;
    }
    bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
    void forget() { fs::remove_all(path + "/xdg/encore/trust"); }
};

// A root, who issues to `below`, who issues to a publisher: NAME.key and NAME.crt each.
struct ChainDesk : KeyDesk {
    ChainDesk() {
        write("x.cnf", "[req]\ndistinguished_name = dn\n[dn]\n"
                       "[ca]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\n"
                       "[end]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n"
                       "[code]\nbasicConstraints = critical,CA:FALSE\nextendedKeyUsage = codeSigning\n"
                       "[web]\nbasicConstraints = critical,CA:FALSE\nextendedKeyUsage = serverAuth\n");
        REQUIRE(shell("openssl req -x509 -config x.cnf -extensions ca " + kNew +
                      " -keyout root.key -out root.crt "
                      "-days 30 -subj /CN=Root") == 0);
        issue("below", "root", "ca", "-days 30");
        issue("end", "below", "end", "-days 30");
        join("chain.crt", {"end", "below"});
        join("full.crt", {"end", "root", "below"});
    }
    void issue(const std::string& name, const std::string& by, const std::string& as,
               const std::string& days) {
        REQUIRE(shell("openssl req -config x.cnf -new " + kNew +
                      fmt::format(" -keyout {0}.key -out {0}.csr -subj /CN={0}", name)) == 0);
        REQUIRE(shell(fmt::format("openssl x509 -req -in {0}.csr -CA {1}.crt -CAkey {1}.key -CAcreateserial "
                                  "-out {0}.crt -extfile x.cnf -extensions {2} {3}",
                                  name, by, as, days)) == 0);
    }
    // As if a session had been played so much later: the date cannot be set back any more.
    void let_pass(std::time_t time) {
        fs::create_directories(path + "/xdg/encore");
        REQUIRE(player::HighWaterClock(path + "/xdg/encore/clock").remember(std::time(nullptr) + time));
    }
    void join(const std::string& to, const std::vector<std::string>& names) {
        std::string text;
        for (const std::string& name : names)
            text += read(name + ".crt");
        write(to, text);
    }
    const std::string kNew = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
};

// A token of SoftHSM's in the desk's folder, with a key made in it.
struct TokenDesk : KeyDesk {
    TokenDesk() {
        fs::create_directory(path + "/tokens");
        write("softhsm2.conf", "directories.tokendir = " + path + "/tokens\nobjectstore.backend = file\n");
        ::setenv("SOFTHSM2_CONF", (path + "/softhsm2.conf").c_str(), 1);
        ::setenv("PKCS11_MODULE_PATH", kModule, 1);
        write("pin", "4321\n");
        REQUIRE(shell("softhsm2-util --init-token --free --label acme --so-pin 12345678 --pin 4321") == 0);
        tool("--keypairgen --key-type EC:prime256v1 --id 01 --label signing");
        tool("--keypairgen --key-type RSA:3072 --id 02 --label rsa");
    }
    ~TokenDesk() {
        ::unsetenv("SOFTHSM2_CONF");
        ::unsetenv("PKCS11_MODULE_PATH");
    }
    void tool(const std::string& arguments) {
        REQUIRE(shell(fmt::format("pkcs11-tool --module {} --token-label acme --login --pin 4321 {}", kModule,
                                  arguments)) == 0);
    }
    // The certificate of a key, as the administrator of a token makes it.
    void certify(const std::string& label, const std::string& id) {
        write("req.cnf", "[req]\ndistinguished_name = dn\n[dn]\n");
        REQUIRE(shell(fmt::format("openssl req -x509 -config req.cnf -engine pkcs11 -keyform engine -key "
                                  "'pkcs11:token=acme;object={0};type=private?pin-value=4321' -days 30 -subj "
                                  "/CN={0} -out {0}.crt",
                                  label)) == 0);
        REQUIRE(shell(fmt::format("openssl x509 -in {0}.crt -outform DER -out {0}.der", label)) == 0);
        tool(fmt::format("--write-object {0}.der --type cert --id {1} --label {0}", label, id));
    }
    static constexpr const char* kModule = "/usr/lib/softhsm/libsofthsm2.so";
};

} // namespace

TEST_CASE("keys: PKCS #12 brings key and certificate, with a passphrase, without, and as Windows writes it",
          "[keys]") {
    KeyDesk desk;
    const std::string export_it = "openssl pkcs12 -export -inkey k.key -in k.crt -out k.p12 ";
    for (const char* kind : {"", "-legacy "}) {
        INFO(kind);
        REQUIRE(desk.shell(export_it + kind + "-passout file:secret") == 0);
        CHECK(desk.run(std::string(kPack) + "--key k.p12 --passphrase-file secret") == 0);
        CHECK(desk.openssl_accepts("k.crt"));
    }
    REQUIRE(desk.shell(export_it + "-passout pass:") == 0);
    CHECK(desk.run(std::string(kPack) + "--key k.p12") == 0);
    CHECK(desk.run(std::string("sign x.encore --key k.p12 --cert k.crt")) == 5);
    REQUIRE(desk.run("trust add k.crt") == 0);
    CHECK(desk.run("sign x.encore --key k.p12 --cert k.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    // One PEM file can hold both, too.
    desk.write("both.pem", desk.read("k.key") + desk.read("k.crt"));
    CHECK(desk.run(std::string(kPack) + "--key both.pem") == 0);
}

TEST_CASE("keys: what is wrong with a PKCS #12 file, a passphrase or a certificate is one line", "[keys]") {
    KeyDesk desk;
    REQUIRE(desk.run("keygen --name Other --out other") == 0);
    REQUIRE(desk.shell("openssl pkcs12 -export -inkey k.key -in k.crt -out k.p12 -passout file:secret") == 0);
    REQUIRE(desk.shell("openssl pkcs12 -export -inkey k.key -nocerts -out bare.p12 -passout pass:") == 0);
    REQUIRE(desk.shell("openssl pkcs12 -export -nokeys -in k.crt -out keyless.p12 -passout pass:") == 0);
    REQUIRE(desk.shell("openssl pkcs12 -export -inkey k.key -in k.crt -out open.p12 -passout pass: -nomac") ==
            0);
    desk.write("cut.p12", desk.read("k.p12").substr(0, 700));
    desk.write("cut.crt", desk.read("k.crt").substr(0, 300));
    desk.write("cut2.crt", desk.read("k.crt") + desk.read("k.crt").substr(0, 300));
    REQUIRE(desk.shell("sh -c 'cat k.crt other.crt >two.crt'") == 0);
    const struct {
        const char* arguments;
        int status;
        const char* says;
    } mistakes[] = {
        {"--key k.p12 --passphrase-file wrong", 1, "the passphrase is not the key's (k.p12)"},
        {"--key k.p12", 1, "passphrase of k.p12 is needed, and there is no terminal"},
        {"--key cut.p12 --passphrase-file secret", 1, "cut.p12: neither a PEM private key nor PKCS #12"},
        {"--key open.p12", 1, "open.p12: it has no MAC"},
        {"--key bare.p12", 2, "bare.p12 has no certificate beside the key; name it with --cert"},
        {"--key keyless.p12", 1, "keyless.p12: there is no private key in it"},
        {"--key k.key", 2, "k.key has no certificate beside the key; name it with --cert"},
        {"--key k.crt --cert k.crt", 1, "k.crt: no usable PEM private key"},
        {"--key k.key --cert cut.crt", 1, "cut.crt: no PEM certificate"},
        {"--key k.key --cert cut2.crt", 1, "cut2.crt: no further PEM certificate"},
        {"--key k.key --cert other.crt", 1, "do not belong together"},
        {"--key k.key --cert two.crt", 1, "Other is no issuer of Acme Ltd; leave it out"},
        {"--cert k.crt", 2, "--key"},
    };
    for (const auto& mistake : mistakes) {
        INFO(mistake.arguments);
        // setsid: without a terminal
        CHECK(desk.shell(std::string("setsid -w " ENCORE_BINARY " ") + kPack + mistake.arguments) ==
              mistake.status);
        INFO(desk.output);
        CHECK(desk.one_line());
        CHECK(desk.says(mistake.says));
        CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
    }
}

TEST_CASE("keys: a program gives the passphrase where ENCORE_ASKPASS names one", "[keys]") {
    KeyDesk desk;
    desk.write("ask", "#!/bin/sh\necho \"$1\" >asked\ncat secret\n");
    desk.write("deny", "#!/bin/sh\nexit 1\n");
    REQUIRE(desk.shell("chmod +x ask deny") == 0);
    REQUIRE(desk.run("keygen --name Acme --out p --passphrase-file secret") == 0);
    const std::string pack = std::string(ENCORE_BINARY " ") + kPack + "--key p.key --cert p.crt";
    CHECK(desk.shell("ENCORE_ASKPASS=./ask " + pack) == 0);
    CHECK(desk.read("asked") == "The passphrase of p.key\n");
    CHECK(desk.shell("ENCORE_ASKPASS=./deny " + pack) == 1);
    CHECK(desk.one_line());
    CHECK(desk.shell("ENCORE_ASKPASS=./nobody " + pack) == 1);
    CHECK(desk.one_line());
    CHECK(desk.says("cannot run ./nobody"));
    // Nobody is asked for what is not needed.
    CHECK(desk.shell("ENCORE_ASKPASS=./deny " ENCORE_BINARY " " + std::string(kPack) +
                     "--key k.key --cert k.crt") == 0);
}

TEST_CASE("keys: a token's key signs and never leaves it; its PIN comes from a file, a program or the URI",
          "[keys]") {
    TokenDesk desk;
    for (const auto& [label, id] : {std::pair("signing", "01"), {"rsa", "02"}}) {
        INFO(label);
        desk.certify(label, id);
        const std::string key = fmt::format("--key 'pkcs11:token=acme;object={}", label);
        const std::string cert = fmt::format(" --cert {}.crt", label);
        CHECK(desk.run(kPack + key + "'" + cert + " --passphrase-file pin") == 0);
        CHECK(desk.openssl_accepts(std::string(label) + ".crt"));
        CHECK(desk.run(kPack + key + ";type=private?pin-value=4321'" + cert) == 0);
        // Its certificate is there, too.
        CHECK(desk.run(kPack + key + "' --passphrase-file pin") == 0);
        CHECK(desk.run(kPack + key + ";type=private' --passphrase-file pin") == 0);
        CHECK(desk.openssl_accepts(std::string(label) + ".crt"));
        REQUIRE(desk.run(fmt::format("trust add {}.crt", label)) == 0);
        CHECK(desk.run("verify x.encore") == 0);
        CHECK(desk.run("sign x.encore " + key + "' --passphrase-file pin") == 0);
        CHECK(desk.run("verify x.encore") == 0);
    }
}

TEST_CASE("keys: a token that is not there, a wrong PIN and a key of another name are one line", "[keys]") {
    TokenDesk desk;
    desk.certify("signing", "01");
    desk.write("bad", "9999\n");
    fs::remove(desk.path + "/x.encore");
    const struct {
        const char *key, *more;
        int status;
        const char* says;
    } mistakes[] = {
        {"pkcs11:token=acme;object=nobody", "--passphrase-file pin", 1, "object=nobody: no key to sign with"},
        {"pkcs11:token=acne;object=signing", "--passphrase-file pin", 1, "no key to sign with"},
        {"pkcs11:token=acme;object=signing", "--passphrase-file bad", 1, "PIN incorrect"},
        {"pkcs11:token=acme;object=signing", "", 1, "PIN of pkcs11:token=acme;object=signing is needed"},
        {"pkcs11:token=acme;object=signing?pin-value=9999", "", 1,
         "pkcs11:token=acme;object=signing: no key"},
        {"pkcs11:rubbish", "", 1, "pkcs11:rubbish: "},
        {"pkcs11:token=acme;object=rsa", "--passphrase-file pin", 2, "no certificate beside the key"},
    };
    for (const auto& mistake : mistakes) {
        INFO(mistake.key << ' ' << mistake.more);
        CHECK(desk.shell(fmt::format("setsid -w {} {} --key '{}' {}", ENCORE_BINARY, kPack, mistake.key,
                                     mistake.more)) == mistake.status);
        INFO(desk.output);
        CHECK(desk.one_line());
        CHECK(desk.says(mistake.says));
        CHECK_FALSE(desk.says("9999"));
        CHECK_FALSE(fs::exists(desk.path + "/x.encore"));
    }
    // A wrong PIN was tried once each, so the token is not locked.
    CHECK(desk.run(std::string(kPack) + "--key 'pkcs11:token=acme;object=signing' --passphrase-file pin") ==
          0);
}

TEST_CASE("issuers: certificates between a publisher's and a root go into the signature, and lead there",
          "[keys]") {
    ChainDesk desk;
    for (const char* cert : {"chain.crt", "full.crt"}) {
        INFO(cert);
        desk.forget();
        REQUIRE(desk.run(std::string(kPack) + "--key end.key --cert " + cert) == 0);
        CHECK(desk.openssl_accepts("root.crt"));
        REQUIRE(desk.shell("openssl pkcs7 -inform DER -in manifest.cms -print_certs -noout") == 0);
        CHECK_FALSE(desk.says("subject=CN = Root")); // who trusts the root has it
        CHECK(desk.run("verify x.encore") == 5);
        CHECK(desk.run("trust add --issuer root.crt") == 0);
        CHECK(desk.run("verify x.encore") == 0);
        CHECK(desk.says("signed by end"));
        CHECK(desk.run("inspect x.encore --json") == 0);
        CHECK(desk.says("\"state\": \"trusted\""));
        CHECK(desk.says("\"below\""));
    }
    // The same out of a PKCS #12 file.
    REQUIRE(desk.shell("openssl pkcs12 -export -inkey end.key -in full.crt -out end.p12 -passout pass:") ==
            0);
    REQUIRE(desk.run(std::string(kPack) + "--key end.p12") == 0);
    CHECK(desk.openssl_accepts("root.crt"));
    CHECK(desk.run("verify x.encore") == 0);
    // Trust can begin below a root, and be taken back.
    REQUIRE(desk.run("trust remove Root") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    REQUIRE(desk.run("trust add --issuer below.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("trust list") == 0);
    CHECK(desk.says("below  (publishers)"));
    CHECK(desk.run("doctor") != 2);
    CHECK_FALSE(desk.says("none is trusted yet"));
    // To trust an issuer's own bundles is another thing than to trust whom it vouches for.
    desk.forget();
    REQUIRE(desk.run("trust add root.crt") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK(desk.run("trust add --issuer end.crt") == 1);
    CHECK(desk.one_line());
    CHECK(desk.says("encore trust add end.crt"));
}

TEST_CASE("issuers: without what lies between, from another root, or for other uses nothing is trusted",
          "[keys]") {
    ChainDesk desk;
    REQUIRE(desk.run("trust add --issuer root.crt") == 0);
    // The link is missing.
    REQUIRE(desk.run(std::string(kPack) + "--key end.key --cert end.crt") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK(desk.one_line());
    CHECK_FALSE(desk.openssl_accepts("root.crt"));
    // A web server's.
    desk.issue("web", "below", "web", "-days 30");
    desk.join("web-chain.crt", {"web", "below"});
    REQUIRE(desk.run(std::string(kPack) + "--key web.key --cert web-chain.crt") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK(desk.says("other uses than signing code"));
    // For signing code.
    desk.issue("code", "below", "code", "-days 30");
    desk.join("code-chain.crt", {"code", "below"});
    REQUIRE(desk.run(std::string(kPack) + "--key code.key --cert code-chain.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.openssl_accepts("root.crt", "-purpose any"));
    // By somebody who may not issue.
    desk.issue("sub", "end", "end", "-days 30");
    desk.join("sub-chain.crt", {"sub", "end", "below"});
    CHECK(desk.run(std::string(kPack) + "--key sub.key --cert sub-chain.crt") == 1);
    CHECK(desk.says("end is no issuer of sub"));
    // A root of the same name is another root.
    const std::string bundle = desk.read("x.encore");
    REQUIRE(desk.shell("openssl req -x509 -config x.cnf -extensions ca " + desk.kNew +
                       " -keyout root2.key -out root2.crt -days 30 -subj /CN=Root") == 0);
    desk.forget();
    REQUIRE(desk.run("trust add --issuer root2.crt") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK_FALSE(desk.openssl_accepts("root2.crt", "-purpose any"));
}

TEST_CASE("issuers: each certificate on the way has to be in date, at signing and at opening", "[keys]") {
    ChainDesk desk;
    REQUIRE(desk.run("trust add --issuer root.crt") == 0);
    desk.issue("late", "root", "ca", "-days -1");
    desk.issue("soon", "late", "end", "-days 30");
    desk.join("late-chain.crt", {"soon", "late"});
    CHECK(desk.run(std::string(kPack) + "--key soon.key --cert late-chain.crt") == 6);
    CHECK(desk.one_line());
    CHECK(desk.says("the certificate of late expired on"));
    // Signed in time, opened late.
    desk.issue("brief", "root", "ca", "-days 2");
    desk.issue("publisher", "brief", "end", "-days 30");
    desk.join("brief-chain.crt", {"publisher", "brief"});
    REQUIRE(desk.run(std::string(kPack) + "--key publisher.key --cert brief-chain.crt") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    desk.let_pass(5 * 86400);
    CHECK(desk.run("verify x.encore") == 6);
    CHECK(desk.one_line());
    CHECK(desk.says("the certificate of brief expired on"));
}
