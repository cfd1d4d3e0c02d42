#include "vmm/firmware/bios_keys.h"

#include <catch2/catch.hpp>

using namespace vmm;

TEST_CASE("bios keys: a full ring has no room until a key is taken, or nobody takes any for long",
          "[firmware]") {
    constexpr uint64_t kSecond = 1'000'000'000;
    auto memory = GuestMemory::create(16u << 20).value();
    BiosKeys keys;
    CHECK(keys.has_room(*memory, 0)); // not set up
    memory->write<uint16_t>(0x480, 0x1E);
    memory->write<uint16_t>(0x482, 0x3E);
    const auto ring = [&](uint16_t head, uint16_t tail) {
        memory->write<uint16_t>(0x41A, head);
        memory->write<uint16_t>(0x41C, tail);
    };
    ring(0x1E, 0x1E);
    CHECK(keys.has_room(*memory, 1 * kSecond));
    ring(0x1E, 0x3A); // 14
    CHECK(keys.has_room(*memory, 2 * kSecond));
    ring(0x1E, 0x3C); // 15
    CHECK_FALSE(keys.has_room(*memory, 3 * kSecond));
    ring(0x20, 0x3C);
    CHECK(keys.has_room(*memory, 4 * kSecond));
    ring(0x20, 0x1E);
    CHECK_FALSE(keys.has_room(*memory, 8 * kSecond));
    CHECK_FALSE(keys.has_room(*memory, 17 * kSecond));
    CHECK(keys.has_room(*memory, 19 * kSecond)); // the program hooks the interrupt, and this is left over
    CHECK(keys.has_room(*memory, 20 * kSecond));
    ring(0x22, 0x20);
    CHECK_FALSE(keys.has_room(*memory, 21 * kSecond));
    CHECK_FALSE(keys.has_room(*memory, 5 * kSecond)); // reverted
    ring(0x21, 0x20);
    CHECK(keys.has_room(*memory, 6 * kSecond)); // not the BIOS's
}
