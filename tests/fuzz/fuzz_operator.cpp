#include "appliance-format/operator_file.h"
#include "vmm/base/verify.h"

// Whatever a file says that can be read, nothing of what the publisher forbids becomes allowed by it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace appliance_format;
    auto file = parse_operator_file({reinterpret_cast<const char*>(data), size}, "o.toml");
    VERIFY(file || file.error().message.starts_with("o.toml:"));
    if (!file)
        return 0;
    Policy publisher;
    publisher.max_minutes = 30;
    publisher.idle_seconds = 60;
    publisher.sound = false;
    publisher.scenes = {"start", "books"};
    publisher.watermark = "Acme";
    publisher.expires = "2027-06-30";
    publisher.grace_days = 2;
    const std::string scenes[] = {"start", "books", "end"};
    const auto held = EffectivePolicy::merge(publisher, "demo", scenes, file->policies);
    const Policy& policy = held.policy();
    VERIFY(policy.max_minutes && *policy.max_minutes <= 30 && *policy.max_minutes >= 1);
    VERIFY(policy.idle_seconds && *policy.idle_seconds <= 60);
    VERIFY(!held.sound() && !held.network() && !held.clipboard());
    VERIFY(!held.allows_scene("end") && !held.allows_scene(""));
    VERIFY(policy.watermark.starts_with("Acme"));
    VERIFY(policy.expires <= "2027-06-30" && is_date(policy.expires));
    VERIFY(policy.grace_days.value_or(0) <= 2);
    VERIFY(policy.power_off_ends_session);
    VERIFY(file->trust_ask.size() <= 200 && file->trust_ask.find('\n') == std::string::npos);
    return 0;
}
