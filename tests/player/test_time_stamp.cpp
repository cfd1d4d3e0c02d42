// Time stamps (RFC 3161) from end to end: the real executable, and stock openssl as the authority. Nothing
// here leaves this computer: where an authority is asked over HTTP, it listens at a loopback address.
#include "appliance-format/bundle_reader.h"
#include "appliance-format/bundle_writer.h"
#include "player/high_water_clock.h"
#include "signing/keys.h"
#include "signing/outcome.h"
#include "signing/time_stamp.h"
#include "tests/player/cli_desk.h"

#include <csignal>

using namespace cli_test;

namespace {

constexpr std::time_t kDay = 86400;

// A desk with a publisher whose certificate ends tomorrow, a bundle of theirs, and an authority.
struct StampDesk : Desk {
    StampDesk() {
        const auto pair = signing::generate_key_pair(
            {.name = "Brief Ltd", .organisation = {}, .valid_days = 2, .starts_in_days = -1});
        REQUIRE((pair && signing::write_key_pair(*pair, path + "/b")));
        REQUIRE(run("trust add b.crt") == 0);
        REQUIRE(run("pack r.toml -o x.encore --key b.key --cert b.crt") == 0);
        make_authority("tsa");
    }
    void make_authority(const std::string& name) {
        write(name + ".cnf", "[tsa]\nserial = " + name +
                                 ".serial\ndefault_policy = 1.2.3.4.1\ndigests = sha256\n"
                                 "signer_digest = sha256\ness_cert_id_alg = sha256\naccuracy = secs:1\n"
                                 "[req]\ndistinguished_name = dn\n[dn]\n");
        REQUIRE(shell("openssl req -x509 -config " + name +
                      ".cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
                      "-keyout " +
                      name + ".key -out " + name + ".crt -days 30 -subj '/CN=" + name +
                      "' -addext extendedKeyUsage=critical,timeStamping -addext "
                      "keyUsage=critical,digitalSignature") == 0);
    }
    // The authority's answer to `query`.Q in `query`.tsr.
    int answer(const std::string& name, const std::string& query) {
        return shell("openssl ts -reply -config " + name + ".cnf -section tsa -queryfile " + query +
                     ".tsq -signer " + name + ".crt -inkey " + name + ".key -out " + query + ".tsr");
    }
    void stamp(const std::string& bundle, const std::string& authority) {
        REQUIRE(run("sign " + bundle + " --timestamp-query q.tsq") == 0);
        REQUIRE(answer(authority, "q") == 0);
        REQUIRE(run("sign " + bundle + " --timestamp q.tsr") == 0);
    }
    // As if a session had been played so much later: the date cannot be set back any more.
    void let_pass(std::time_t time) {
        fs::create_directories(path + "/xdg/encore");
        REQUIRE(player::HighWaterClock(path + "/xdg/encore/clock").remember(std::time(nullptr) + time));
    }
    bool openssl_accepts(const std::string& bundle) {
        REQUIRE(shell("tar xf " + bundle + " manifest.json manifest.cms") == 0);
        return shell("openssl cms -verify -binary -inform DER -in manifest.cms -content manifest.json "
                     "-CAfile b.crt "
                     "-out checked") == 0;
    }
    bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

} // namespace

TEST_CASE("certificates: they end by the latest date ever seen, in every verb", "[time]") {
    StampDesk desk;
    CHECK(desk.run("verify x.encore") == 0);
    desk.let_pass(5 * kDay);
    for (const char* verb :
         {"verify x.encore", "run x.encore --headless --timeout 5", "policy explain x.encore",
          "scene list x.encore", "trust add b.crt", "pack r.toml -o y.encore --key b.key --cert b.crt",
          "sign x.encore --key b.key --cert b.crt"}) {
        INFO(verb);
        CHECK(desk.run(verb) == 6);
        CHECK(desk.one_line());
        CHECK(desk.says("expired on"));
    }
    CHECK(desk.run("inspect x.encore --json") == 0);
    CHECK(desk.says("\"state\": \"expired\""));
    // Today it is not yet so, and a person who looks at the calendar is told why it counts all the same.
    const player::HighWaterClock clock(desk.path + "/xdg/encore/clock");
    for (const char* verb : {"run x.encore --headless", "trust add b.crt", "inspect x.encore",
                             "sign x.encore --key b.key --cert b.crt"}) {
        INFO(verb);
        desk.run(verb);
        CHECK(desk.says("it has been " + signing::date_text(clock.remembered()) +
                        " here before, though this computer's clock says 2"));
        CHECK(desk.says("set the date right, or, if the later one was wrong, remove " + clock.path()));
    }
    CHECK(desk.run("doctor") == 1);
    CHECK(desk.says("Brief Ltd (by the latest date that was seen here)"));
    CHECK_FALSE(fs::exists(desk.path + "/y.encore"));
}

TEST_CASE("time stamp: by files, through stock openssl; the bundle outlives its certificate", "[time]") {
    StampDesk desk;
    const std::string before = desk.read("x.encore");
    REQUIRE(desk.run("sign x.encore --timestamp-query q.tsq") == 0);
    CHECK(desk.says("sign x.encore --timestamp"));
    CHECK(desk.read("x.encore") == before);
    REQUIRE(desk.shell("openssl ts -query -in q.tsq -text") == 0);
    CHECK(desk.says("sha256"));
    REQUIRE(desk.answer("tsa", "q") == 0);
    REQUIRE(desk.run("sign x.encore --timestamp q.tsr") == 0);
    CHECK(desk.openssl_accepts("x.encore"));
    REQUIRE(desk.shell("tar tf x.encore") == 0);
    const std::string members = desk.output;
    desk.write("before.encore", before);
    REQUIRE(desk.shell("tar tf before.encore") == 0);
    CHECK(desk.output == members); // the layout is what it was
    // Stock openssl finds it where RFC 3161 says.
    REQUIRE(desk.shell("openssl cms -cmsout -print -noout -inform DER -in manifest.cms") == 0);
    CHECK(desk.says("id-smime-aa-timeStampToken"));

    desk.let_pass(5 * kDay);
    CHECK(desk.run("verify x.encore") == 6); // anybody may be an authority; this one is not believed yet
    CHECK(desk.one_line());
    CHECK(desk.says("--timestamp-authority"));
    REQUIRE(desk.run("trust add --timestamp-authority tsa.crt") == 0);
    REQUIRE(desk.run("trust list") == 0);
    CHECK(desk.says("tsa  (time stamps)"));
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("verify before.encore") == 6); // the same content, not stamped
    CHECK(desk.run("inspect x.encore") == 0);
    CHECK(desk.says("says tsa"));
    // An authority is no publisher; and trust can be begun late, by what the stamp says.
    CHECK(desk.run("trust remove 'Brief Ltd'") == 0);
    CHECK(desk.run("verify x.encore") == 5);
    CHECK(desk.run("trust add b.crt") == 6);
    CHECK(desk.run("trust add x.encore") == 0);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("trust remove tsa") == 0);
    CHECK(desk.run("verify x.encore") == 6);
}

TEST_CASE("time stamp: of another signature, by another authority, or after the end, it does not count",
          "[time]") {
    StampDesk desk;
    REQUIRE(desk.run("pack r.toml -o y.encore --key b.key --cert b.crt") == 0);
    REQUIRE(desk.run("sign y.encore --timestamp-query y.tsq") == 0);
    REQUIRE(desk.answer("tsa", "y") == 0);
    const std::string before = desk.read("x.encore");
    CHECK(desk.run("sign x.encore --timestamp y.tsr") == 1);
    CHECK(desk.one_line());
    CHECK(desk.says("another signature"));
    CHECK(desk.run("sign x.encore --timestamp y.tsq") == 1);
    CHECK(desk.run("sign x.encore --timestamp y.tsr --key b.key --cert b.crt") == 2);
    CHECK(desk.run("pack r.toml -o z.encore --key b.key --cert b.crt --timestamp y.tsr") == 2);
    CHECK(desk.says("--timestamp-query"));
    CHECK(desk.read("x.encore") == before);
    desk.make_authority("other");
    desk.stamp("x.encore", "other");
    REQUIRE(desk.run("trust add --timestamp-authority tsa.crt") == 0);

    // Signed after the certificate's end: the stamp is true and says so.
    const auto old = signing::generate_key_pair(
        {.name = "Old Ltd", .organisation = {}, .valid_days = 2, .starts_in_days = -9});
    REQUIRE(old);
    const auto late = signing::Signer::from_pem(old->key_pem, old->certificate_pem);
    REQUIRE(
        appliance_format::BundleWriter::sign_again(**appliance_format::Bundle::open(desk.path + "/y.encore"),
                                                   desk.path + "/late.encore", *late, {.progress = {}}));
    desk.write("xdg/encore/trust/old.crt", old->certificate_pem);
    desk.stamp("late.encore", "tsa");
    CHECK(desk.run("verify late.encore") == 6);
    CHECK(desk.says("outside of that"));
    desk.let_pass(5 * kDay);
    CHECK(desk.run("verify x.encore") == 6);
}

TEST_CASE("time stamp: a changed bit of it is a changed bundle", "[time]") {
    StampDesk desk;
    desk.stamp("x.encore", "tsa");
    const auto bundle = appliance_format::Bundle::open(desk.path + "/x.encore");
    REQUIRE(bundle);
    const auto good = (*bundle)->signature();
    REQUIRE((good && !good->time_stamp.empty()));
    for (size_t bit = 0; bit < good->time_stamp.size() * 8; ++bit) {
        signing::Der changed = good->time_stamp;
        changed[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        const auto read = signing::read_time_stamp(changed, good->value);
        INFO("bit " << bit);
        // A changed bit in the authority's self-signature makes it another certificate, hence not believed.
        CHECK((!read || !signing::is_vouched_for(changed, good->value, std::vector{desk.read("tsa.crt")})));
    }
    CHECK(signing::is_vouched_for(good->time_stamp, good->value, std::vector{desk.read("tsa.crt")}));
    // In the file: neither opens it under the same name.
    std::string file = desk.read("x.encore");
    const std::string token(good->time_stamp.begin(), good->time_stamp.end());
    const size_t at = file.find(token);
    REQUIRE(at != std::string::npos);
    file[at + token.size() - 4] ^= 1;
    desk.write("t.encore", file);
    CHECK(desk.run("verify t.encore") == 4);
    CHECK(desk.one_line());
}

TEST_CASE("time stamp: pack and sign ask an authority over HTTP", "[time]") {
    StampDesk desk;
    desk.write("authority.py", R"(
import http.server, subprocess, sys
class Authority(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        if self.headers["Content-Type"] != "application/timestamp-query" or self.path != "/tsa":
            return self.send_error(404)
        open("http.tsq", "wb").write(self.rfile.read(int(self.headers["Content-Length"])))
        subprocess.run("openssl ts -reply -config tsa.cnf -section tsa -queryfile http.tsq -signer tsa.crt "
                       "-inkey tsa.key -out http.tsr".split(), check=True, stderr=subprocess.DEVNULL)
        answer = open("http.tsr", "rb").read()
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Authority)
open("port.new", "w").write(str(server.server_port))
import os; os.rename("port.new", "port")
server.serve_forever()
)");
    const pid_t server = ::fork();
    if (server == 0) {
        if (::chdir(desk.path.c_str()) == 0)
            ::execlp("python3", "python3", "-B", "authority.py", nullptr);
        ::_exit(127);
    }
    for (int tries = 0; tries < 600 && !fs::exists(desk.path + "/port"); ++tries)
        ::usleep(50'000);
    const std::string url = "http://127.0.0.1:" + desk.read("port");
    CHECK(desk.run("pack r.toml -o y.encore --key b.key --cert b.crt --timestamp " + url + "/tsa") == 0);
    CHECK(desk.run("sign x.encore --timestamp " + url + "/tsa") == 0);
    CHECK(desk.run("pack r.toml -o z.encore --key b.key --cert b.crt --timestamp " + url + "/none") == 1);
    CHECK(desk.one_line());
    CHECK(desk.says("404"));
    CHECK_FALSE(fs::exists(desk.path + "/z.encore"));
    ::kill(server, SIGTERM);
    ::waitpid(server, nullptr, 0);
    CHECK(desk.run("pack r.toml -o z.encore --key b.key --cert b.crt --timestamp " + url + "/tsa") == 1);
    CHECK(desk.one_line());
    REQUIRE(desk.run("trust add --timestamp-authority tsa.crt") == 0);
    desk.let_pass(5 * kDay);
    CHECK(desk.run("verify x.encore") == 0);
    CHECK(desk.run("verify y.encore") == 0);
}
