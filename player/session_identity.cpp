#include "player/session_identity.h"

#include "signing/sha256.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/random.h>

namespace player {
namespace {

void put(std::vector<uint8_t>& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
    out.push_back(0);
}

void put(std::vector<uint8_t>& out, uint64_t number) {
    for (unsigned shift = 0; shift < 64; shift += 8)
        out.push_back(static_cast<uint8_t>(number >> shift));
}

template <size_t kSize> std::array<uint8_t, kSize> first_of(const std::array<uint8_t, 32>& bytes) {
    std::array<uint8_t, kSize> out;
    std::copy_n(bytes.begin(), kSize, out.begin());
    return out;
}

} // namespace

base::Result<SessionIdentity> SessionIdentity::fresh() {
    Bytes root;
    size_t have = 0;
    while (have < root.size()) {
        const ssize_t got = ::getrandom(root.data() + have, root.size() - have, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return base::fail(fmt::format("the system gives no random numbers: {}", std::strerror(errno)));
        have += static_cast<size_t>(got);
    }
    return SessionIdentity(root, true);
}

SessionIdentity SessionIdentity::from_seed(uint64_t seed) {
    std::vector<uint8_t> text;
    put(text, "encore session");
    put(text, seed);
    return SessionIdentity(signing::sha256(text), false);
}

SessionIdentity SessionIdentity::of_appliance(std::string_view name) {
    std::vector<uint8_t> text;
    put(text, "encore appliance");
    put(text, name);
    return SessionIdentity(signing::sha256(text), false);
}

SessionIdentity::Bytes SessionIdentity::derive(std::string_view purpose, uint64_t number) const {
    std::vector<uint8_t> text(root_.begin(), root_.end());
    put(text, purpose);
    put(text, number);
    return signing::sha256(text);
}

std::array<uint8_t, 6> SessionIdentity::mac() const {
    auto mac = first_of<6>(derive("mac", 0));
    constexpr uint8_t kGroup = 0x01, kLocal = 0x02; // IEEE 802, 8.2
    mac[0] = static_cast<uint8_t>((mac[0] & ~kGroup) | kLocal);
    return mac;
}

std::array<uint8_t, 16> SessionIdentity::generation_id() const {
    return first_of<16>(derive("generation", generation_));
}

std::array<uint8_t, 32> SessionIdentity::seed() const { return derive("seed", generation_); }

std::string SessionIdentity::generation_text() const {
    std::string text;
    for (const uint8_t byte : generation_id())
        text += fmt::format("{:02x}", byte);
    return text;
}

} // namespace player
