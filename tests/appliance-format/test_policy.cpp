#include "tests/appliance-format/bundle_fixture.h"

#include "appliance-format/network_rules.h"
#include "appliance-format/operator_file.h"
#include "appliance-format/recipe.h"

#include <set>

using namespace fixture;

namespace {

const std::vector<std::string> kScenes{"start", "books", "end"};

// What holds when the publisher's recipe and the operator's file say this under their [policy].
EffectivePolicy merged(const std::string& publisher, const std::string& operators,
                       const std::string& section = "[policy]") {
    auto recipe = parse_recipe("[appliance]\nname = \"demo\"\n[machine]\nmemory = \"64M\"\n[[disk]]\n"
                               "image = \"d\"\n[policy]\n" +
                                   publisher + "\n",
                               "r.toml");
    INFO((recipe ? "" : recipe.error().message));
    REQUIRE(recipe);
    auto file = parse_operator_file(section + "\n" + operators + "\n", "op.toml");
    INFO((file ? "" : file.error().message));
    REQUIRE(file);
    return EffectivePolicy::merge(recipe->policy, "demo", kScenes, file->policies);
}

std::string operator_error(const std::string& text) {
    auto file = parse_operator_file(text, "op.toml");
    return file ? "" : file.error().message;
}

} // namespace

TEST_CASE("policy: an operator tightens every rule and loosens none", "[policy]") {
    struct Row {
        Rule rule;
        const char* publisher; // "" : not stated
        const char* operators;
        const char* holds;
        enum { Tightens, Equals, Loosens } effect;
    };
    const Row rows[] = {
        {Rule::MaxMinutes, "", "max_minutes = 20", "20 minutes", Row::Tightens},
        {Rule::MaxMinutes, "max_minutes = 30", "max_minutes = 20", "20 minutes", Row::Tightens},
        {Rule::MaxMinutes, "max_minutes = 30", "max_minutes = 30", "30 minutes", Row::Equals},
        {Rule::MaxMinutes, "max_minutes = 30", "max_minutes = 31", "30 minutes", Row::Loosens},
        {Rule::IdleSeconds, "", "idle_seconds = 60", "60 seconds", Row::Tightens},
        {Rule::IdleSeconds, "idle_seconds = 90", "idle_seconds = 60", "60 seconds", Row::Tightens},
        {Rule::IdleSeconds, "idle_seconds = 90", "idle_seconds = 91", "90 seconds", Row::Loosens},
        {Rule::Network, "", "network = true", "off", Row::Loosens},
        {Rule::Network, "network = true", "network = false", "off", Row::Tightens},
        {Rule::Network, "network = true", "network = true", "on", Row::Equals},
        {Rule::Network, "network = false", "network = true", "off", Row::Loosens},
        {Rule::Clipboard, "", "clipboard = true", "off", Row::Loosens},
        {Rule::Clipboard, "clipboard = true", "clipboard = false", "off", Row::Tightens},
        {Rule::Sound, "", "sound = false", "off", Row::Tightens},
        {Rule::Sound, "", "sound = true", "on", Row::Equals},
        {Rule::Sound, "sound = false", "sound = true", "off", Row::Loosens},
        {Rule::PowerOffEndsSession, "", "power_off_ends_session = false", "yes", Row::Loosens},
        {Rule::PowerOffEndsSession, "power_off_ends_session = false", "power_off_ends_session = true", "yes",
         Row::Tightens},
        {Rule::ResetEndsSession, "", "reset_ends_session = true", "yes", Row::Tightens},
        {Rule::ResetEndsSession, "reset_ends_session = true", "reset_ends_session = false", "yes",
         Row::Loosens},
        {Rule::Watermark, "", "watermark = \"Room 4\"", "Room 4", Row::Tightens},
        {Rule::Watermark, "watermark = \"Acme\"", "watermark = \"Room 4\"", "Acme · Room 4", Row::Tightens},
        {Rule::Watermark, "watermark = \"Acme\"", "watermark = \"\"", "Acme", Row::Loosens},
        {Rule::Expires, "", "expires = 2027-01-31", "2027-01-31", Row::Tightens},
        {Rule::Expires, "expires = 2027-02-01", "expires = \"2027-01-31\"", "2027-01-31", Row::Tightens},
        {Rule::Expires, "expires = 2027-02-01", "expires = 2027-02-02", "2027-02-01", Row::Loosens},
        {Rule::GraceDays, "grace_days = 7", "grace_days = 0", "0 days", Row::Tightens},
        {Rule::GraceDays, "grace_days = 7", "grace_days = 8", "7 days", Row::Loosens},
        {Rule::GraceDays, "", "grace_days = 1", "0 days", Row::Loosens},
    };
    std::set<Rule> tightened, loosened;
    for (const Row& row : rows) {
        INFO(row.publisher << " / " << row.operators);
        const auto effective = merged(row.publisher, row.operators);
        CHECK(effective.value_text(row.rule) == row.holds);
        CHECK(effective.ignored().size() == (row.effect == Row::Loosens ? 1u : 0u));
        CHECK((effective.source_text(row.rule) == "op.toml:2") == (row.effect == Row::Tightens));
        (row.effect == Row::Loosens ? loosened : tightened).insert(row.rule);
        if (row.effect == Row::Loosens)
            CHECK(effective.ignored()[0].line == 2);
        for (size_t i = 0; i < kRules; ++i) // and nothing else moved
            if (const auto other = static_cast<Rule>(i); other != row.rule)
                CHECK(effective.value_text(other) == merged(row.publisher, "").value_text(other));
    }
    CHECK(tightened.size() == kRules - 3); // lists are below
    CHECK(loosened.size() == kRules - 3);
}

TEST_CASE("policy: private networks need the publisher's asking and an operator's grant", "[policy]") {
    const std::string asked = "networks = [\"192.168.0.0/16\", \"10.1.2.3\"]";
    const auto granted = [&](const std::string& operators) {
        return merged(asked, operators).value_text(Rule::Networks);
    };
    CHECK(merged(asked, "").value_text(Rule::Networks) == "none");
    CHECK(merged(asked, "").asked_networks().size() == 2);
    CHECK(merged("", "networks = [\"10.0.0.0/8\"]").value_text(Rule::Networks) == "none");
    CHECK(merged("", "networks = [\"10.0.0.0/8\"]").ignored().size() == 1);
    CHECK(granted("networks = [\"192.168.7.0/24\"]") == "192.168.7.0/24");
    CHECK(granted("networks = [\"192.0.0.0/8\", \"10.0.0.0/8\"]") == "192.168.0.0/16, 10.1.2.3/32");
    CHECK(granted("networks = [\"172.16.0.0/12\"]") == "none");
    CHECK(granted("networks = []") == "none");
    CHECK(merged(asked, "networks = []").source_text(Rule::Networks) == "op.toml:2");
    // Another operator may take away and not add, be it one of all appliances or of this one.
    CHECK(granted("networks = [\"192.168.7.0/24\"]\n[appliance.demo]\nnetworks = [\"192.168.7.9\", "
                  "\"10.1.2.3\"]") == "192.168.7.9/32");
    CHECK(granted("networks = []\n[appliance.demo]\nnetworks = [\"10.1.2.3\"]") == "none");
    CHECK(granted("max_minutes = 3\n[appliance.other]\nnetworks = [\"10.1.2.3\"]") == "none");
}

TEST_CASE("policy: an operator takes forwarded ports away and adds none", "[policy]") {
    const std::string wanted = "forward = [\"8080:80\", \"2222:22\"]";
    CHECK(merged("", "").value_text(Rule::Forward) == "none");
    CHECK(merged(wanted, "").value_text(Rule::Forward) == "8080:80, 2222:22");
    CHECK(merged(wanted, "forward = []").value_text(Rule::Forward) == "none");
    CHECK(merged(wanted, "forward = []").source_text(Rule::Forward) == "op.toml:2");
    const auto less = merged(wanted, "forward = [\"2222:22\", \"8081:80\"]");
    CHECK(less.value_text(Rule::Forward) == "2222:22");
    CHECK(less.ignored().size() == 1);
    for (const char* bad : {"80:80", "8080", "8080:0", "8080:80:1", "70000:80", "8080:+1", " 8080:80", ""})
        CHECK_FALSE(port_forward_from(bad));
    for (const char* bad :
         {"10.0.0.1/8", "10.0.0.0/7", "10.0.0/24", "10.0.0.0/", "10.0.0.0/33", "010.0.0.0/8", "::1", ""})
        CHECK_FALSE(ipv4_network_from(bad));
    CHECK(operator_error("[policy]\nnetworks = [\"192.168.0.1/16\"]\n").rfind("op.toml:2: ", 0) == 0);
    CHECK(operator_error("[policy]\nmax_minutes = 3\nforward = [\"80:80\"]\n").rfind("op.toml:3: ", 0) == 0);
    CHECK(operator_error("[policy]\nforward = \"8080:80\"\n").find("list") != std::string::npos);
}

TEST_CASE("policy: scenes are those that the publisher and every operator allow", "[policy]") {
    const std::string section = "[appliance.demo]";
    auto all = merged("", "");
    CHECK(all.allows_scene("start"));
    CHECK(all.allows_scene(""));
    CHECK(all.source_text(Rule::Scenes) == "default");
    auto some = merged("", "scenes = [\"books\"]", section);
    CHECK(some.allows_scene("books"));
    CHECK_FALSE(some.allows_scene("start"));
    CHECK_FALSE(some.allows_scene("")); // power-on is one like the others
    CHECK(some.source_text(Rule::Scenes) == "op.toml:2");
    auto power = merged("scenes = [\"start\", \"power-on\"]", "scenes = [\"power-on\", \"end\"]", section);
    CHECK(power.allows_scene(""));
    CHECK_FALSE(power.allows_scene("start"));
    CHECK_FALSE(power.allows_scene("end"));
    REQUIRE(power.ignored().size() == 1);
    CHECK(power.ignored()[0].why.find("end") != std::string::npos);
    auto none = merged("scenes = [\"start\"]", "scenes = [\"books\", \"nowhere\"]", section);
    CHECK(none.value_text(Rule::Scenes) == "none");
    CHECK_FALSE(none.allows_scene("start"));
    CHECK_FALSE(none.allows_scene("books"));
    CHECK(none.ignored().size() == 2);
}

TEST_CASE("policy: several operator files tighten one after the other; other appliances' rules do not count",
          "[policy]") {
    auto first = parse_operator_file("[policy]\nmax_minutes = 20\n[appliance.demo]\nmax_minutes = 25\n"
                                     "[appliance.other]\nmax_minutes = 1\nsound = false\n",
                                     "/etc/op.toml");
    auto second = parse_operator_file("\n[policy]\nmax_minutes = 10\n", "/home/op.toml");
    REQUIRE((first && second));
    auto all = first->policies;
    all.insert(all.end(), second->policies.begin(), second->policies.end());
    const auto effective = EffectivePolicy::merge({}, "demo", {}, all);
    CHECK(effective.policy().max_minutes == 10u);
    CHECK(effective.source_text(Rule::MaxMinutes) == "/home/op.toml:3");
    REQUIRE(effective.ignored().size() == 1); // 25 after 20
    CHECK(effective.ignored()[0].line == 4);
    CHECK(effective.sound());
}

TEST_CASE("policy: the last day counts whole, and grace begins after it", "[policy]") {
    using Validity = EffectivePolicy::Validity;
    Policy policy;
    policy.expires = "2024-02-29";
    policy.grace_days = 2;
    const auto effective = EffectivePolicy::merge(policy, "demo", {}, {});
    const int64_t end = 1709251200; // 2024-03-01T00:00:00Z
    CHECK(days_of("1970-01-01") == 0);
    CHECK(days_of("2024-03-01") * 86400 == end);
    CHECK(effective.validity(0) == Validity::Valid);
    CHECK(effective.validity(end - 1) == Validity::Valid);
    CHECK(effective.validity(end) == Validity::Grace);
    CHECK(effective.validity(end + 2 * 86400 - 1) == Validity::Grace);
    CHECK(effective.validity(end + 2 * 86400) == Validity::Expired);
    CHECK(EffectivePolicy::merge({}, "demo", {}, {}).validity(INT64_MAX) == Validity::Valid);
    for (const char* wrong : {"", "2024-2-29", "2023-02-29", "2024-13-01", "2024-00-10", "1999-12-31",
                              "2024-02-29 ", "2024/02/29", "abcd-ef-gh"})
        CHECK_FALSE(is_date(wrong));
}

TEST_CASE("policy: mistakes in an operator's file name their line", "[policy]") {
    const auto at = [](const std::string& text, const std::string& start, const std::string& about) {
        const std::string message = operator_error(text);
        INFO(message);
        return message.rfind(start, 0) == 0 && message.find(about) != std::string::npos;
    };
    CHECK(operator_error("") == "");
    CHECK(at("[polcy]\n", "op.toml:1: ", "polcy"));
    CHECK(at("[policy]\nmax_minuts = 3\n", "op.toml:2: ", "max_minuts"));
    CHECK(at("[policy]\nidle_seconds = 3\n", "op.toml:2: ", "idle_seconds"));
    CHECK(at("[policy]\nidle_seconds = -3\n", "op.toml:2: ", "idle_seconds"));
    CHECK(at("[policy]\nsound = 1\n", "op.toml:2: ", "true or false"));
    CHECK(at("[policy]\nexpires = \"soon\"\n", "op.toml:2: ", "2027-12-31"));
    CHECK(at("[policy]\nexpires = 2027-12-31T10:00:00\n", "op.toml:2: ", "2027-12-31"));
    CHECK(at("[policy]\nscenes = [\"a\"]\n", "op.toml:2: ", "[appliance.NAME]"));
    CHECK(at("[appliance.demo]\nscenes = []\n", "op.toml:2: ", "list"));
    CHECK(at("[appliance.demo]\nscenes = [\"A B\"]\n", "op.toml:2: ", "lower-case"));
    CHECK(at("[appliance]\ndemo = 1\n", "op.toml:2: ", "[appliance.NAME]"));
    CHECK(at("[appliance.\"Big Demo\"]\n", "op.toml:1: ", "[appliance.NAME]"));
    CHECK(at("[policy]\nwatermark = \"a\\u0007\"\n", "op.toml:2: ", "watermark"));
    CHECK(at("[log]\nkilobytes = 1\n", "op.toml:2: ", "kilobytes"));
    CHECK(at("[kiosk]\ncatalog = \"demos\"\n", "op.toml:2: ", "catalog"));
    CHECK(at("[trust]\nby-hand = false\n", "op.toml:2: ", "by-hand"));
    CHECK(at("[trust]\nby_hand = \"no\"\n", "op.toml:2: ", "true or false"));
    CHECK(at("[trust]\nask = \"\"\n", "op.toml:2: ", "ask"));
    CHECK(at("[trust]\nby_hand = false\nask = \"a\\nb\"\n", "op.toml:3: ", "ask"));
    CHECK(at("[policy\n", "op.toml:1: ", "TOML"));
    auto good = parse_operator_file("[log]\nsessions = true\nkilobytes = 64\nfiles = 3\n[kiosk]\n"
                                    "catalog = \"/srv/demos\"\nwarning_seconds = 20\n",
                                    "op.toml");
    REQUIRE(good);
    CHECK(good->log_sessions == true);
    CHECK(good->log_kilobytes == 64u);
    CHECK(good->kiosk_texts.at("catalog") == "/srv/demos");
    CHECK(good->kiosk_numbers.at("warning_seconds") == 20u);
    CHECK_FALSE(good->trust_by_hand.has_value());
    good = parse_operator_file("[trust]\nby_hand = false\nask = \"the IT desk\"\n", "op.toml");
    REQUIRE(good);
    CHECK(good->trust_by_hand == false);
    CHECK(good->trust_ask == "the IT desk");
}

TEST_CASE("policy: survives the manifest; rules an older player would not keep are critical", "[policy]") {
    Content content = small_content();
    content.manifest.appliance.tagline = "Try it";
    content.manifest.appliance.help = "Press\nEnter";
    content.manifest.appliance.duration_minutes = 5;
    content.manifest.scenes[0].notes = "Say hello";
    Policy& policy = content.manifest.policy;
    policy.idle_seconds = 60;
    policy.scenes = {"start", "power-on"};
    policy.network = policy.sound = false;
    policy.clipboard = true;
    policy.networks = {"192.168.0.0/16"};
    policy.forward = {"8080:80"};
    policy.watermark = "Demo · Acme";
    policy.expires = "2027-12-31";
    policy.grace_days = 3;
    policy.reset_ends_session = true;
    Folder folder;
    REQUIRE(write_bundle(content, folder / "x.encore"));
    auto bundle = Bundle::open(folder / "x.encore");
    REQUIRE(bundle);
    CHECK((*bundle)->manifest().policy == policy);
    CHECK((*bundle)->manifest().appliance == content.manifest.appliance);
    CHECK((*bundle)->manifest().scenes[0].notes == "Say hello");

    CHECK_FALSE(needs_session_rules({}));
    CHECK_FALSE(needs_session_rules({.max_minutes = 3}));
    CHECK(needs_session_rules({.idle_seconds = 30}));
    CHECK(needs_session_rules({.scenes = {"a"}}));
    CHECK(needs_session_rules({.sound = false}));
    CHECK(needs_session_rules({.expires = "2027-12-31"}));

    const auto refused = [&](auto change) {
        Manifest m = (*bundle)->manifest();
        change(m);
        return !check_manifest(m) && !parse_manifest(write_manifest(m));
    };
    CHECK(refused([](Manifest& m) { m.policy.idle_seconds = 1; }));
    CHECK(refused([](Manifest& m) { m.policy.expires = "2027-02-30"; }));
    CHECK(refused([](Manifest& m) { m.policy.watermark = "a\nb"; }));
    CHECK(refused([](Manifest& m) { m.policy.scenes = {"Not Simple"}; }));
    CHECK(refused([](Manifest& m) { m.policy.grace_days = 400; }));
    CHECK(refused([](Manifest& m) { m.appliance.duration_minutes = 0; }));
    CHECK(refused([](Manifest& m) { m.appliance.tagline = "a\nb"; }));
    CHECK(refused([](Manifest& m) { m.scenes[0].notes = std::string(5000, 'a'); }));
}
