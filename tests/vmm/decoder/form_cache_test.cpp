// FormCache answers as Zydis does, for every field. With "[.bench]": what an instruction costs either way.
#include "vmm/decoder/form_cache.h"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>

using namespace vmm;

namespace {

// Compares one instruction; counts those that both decoded.
class Comparison {
  public:
    void check(std::span<const uint8_t> bytes, uint32_t eip, bool code32) {
        GuestInstruction cached, fresh;
        const bool complete = decode(bytes, eip, code32, fresh);
        const bool same =
            forms_.decode(bytes, eip, code32, cached) == complete && (!complete || cached == fresh);
        defined_ += complete && fresh.lowering != Lowering::Undefined;
        if (same)
            return;
        std::string text;
        for (const uint8_t byte : bytes.first(std::min<size_t>(bytes.size(), 15)))
            text += "0123456789abcdef"[byte >> 4], text += "0123456789abcdef"[byte & 15];
        FAIL("differs in " << (code32 ? "32" : "16") << "-bit code: " << text << ", complete " << complete);
    }
    [[nodiscard]] uint64_t defined() const { return defined_; }
    [[nodiscard]] uint64_t hits() const { return forms_.statistics().hits; }

  private:
    FormCache forms_;
    uint64_t defined_ = 0;
};

// Mostly instructions: prefixes as code has them, all opcode maps, values of every kind.
class Generator {
  public:
    std::array<uint8_t, 24> next() {
        std::array<uint8_t, 24> bytes;
        for (uint8_t& byte : bytes)
            byte = static_cast<uint8_t>(random_());
        size_t at = 0;
        constexpr std::array<uint8_t, 11> kPrefixes = {0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x65,
                                                       0x64, 0x2E, 0x36, 0x3E, 0x26};
        for (unsigned left = random_() % 8; left >= 5; --left) // three of eight have some
            bytes[at++] = kPrefixes[random_() % kPrefixes.size()];
        if (const unsigned map = random_() % 8; map >= 4) {
            bytes[at++] = 0x0F;
            if (map == 7)
                bytes[at++] = random_() % 2 == 0 ? 0x38 : 0x3A;
        }
        // Few ModRM and SIB bytes for each opcode, so that forms meet again with other values.
        constexpr std::array<uint8_t, 8> kModrm = {0x00, 0x45, 0x84, 0xC1, 0x05, 0x64, 0xEC, 0x3C};
        bytes[at + 1] = random_() % 4 != 0 ? kModrm[random_() % 8] : bytes[at + 1];
        bytes[at + 2] = random_() % 2 != 0 ? kModrm[random_() % 8] : bytes[at + 2];
        // The ends of what values can be.
        if (random_() % 4 == 0)
            std::fill(bytes.begin() + at + 2 + random_() % 4, bytes.end(), random_() % 2 == 0 ? 0xFF : 0x80);
        return bytes;
    }
    uint32_t number() { return static_cast<uint32_t>(random_()); }

  private:
    std::mt19937 random_{20250131};
};

std::vector<uint8_t> firmware() {
    std::ifstream file("/usr/share/seabios/bios-256k.bin", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

} // namespace

TEST_CASE("form cache: made-up instructions decode as Zydis alone decodes them", "[decoder]") {
    constexpr unsigned kInstructions = 2'000'000;
    Generator generator;
    Comparison comparison;
    for (unsigned i = 0; i < kInstructions; ++i) {
        const auto bytes = generator.next();
        comparison.check(bytes, generator.number(), generator.number() % 4 != 0);
    }
    CHECK(comparison.defined() > kInstructions / 4);
    CHECK(comparison.hits() > kInstructions / 8);
}

TEST_CASE("form cache: firmware decodes the same from every byte on, in both code sizes", "[decoder]") {
    const std::vector<uint8_t> code = firmware();
    REQUIRE(code.size() > 100'000);
    Comparison comparison;
    for (unsigned turn = 0; turn < 2; ++turn)
        for (const bool code32 : {true, false})
            for (size_t at = 0; at < code.size(); ++at)
                comparison.check(std::span(code).subspan(at), static_cast<uint32_t>(0xFFFC0000 + at), code32);
    CHECK(comparison.hits() > code.size());
}

TEST_CASE("form cache: an instruction that the page cuts off is incomplete wherever it is cut", "[decoder]") {
    constexpr unsigned kInstructions = 100'000;
    Generator generator;
    Comparison comparison;
    for (unsigned i = 0; i < kInstructions; ++i) {
        const auto bytes = generator.next();
        const bool code32 = generator.number() % 2 != 0;
        comparison.check(bytes, 0x1000, code32); // known from here on
        for (size_t length = 1; length < 16; ++length)
            comparison.check(std::span(bytes).first(length), 0x1000, code32);
    }
}

TEST_CASE("form cache: shifts by no count write no flags, whatever the same form did before", "[decoder]") {
    FormCache forms;
    for (const uint8_t count : {3, 0, 32, 7}) {
        GuestInstruction shift;
        REQUIRE(forms.decode(std::array<uint8_t, 3>{0xC1, 0xE0, count}, 0, true, shift));
        CHECK((shift.flags_written != 0) == ((count & 31) != 0));
    }
    CHECK(forms.statistics().hits == 3);
}

TEST_CASE("form cache: nanoseconds for an instruction", "[.bench]") {
    const char* file_name = std::getenv("ENCORE_CODE"); // 32-bit code, raw; else firmware, most of it
    std::vector<uint8_t> code = firmware();
    if (file_name != nullptr) {
        std::ifstream file(file_name, std::ios::binary);
        code.assign(std::istreambuf_iterator<char>(file), {});
    }
    FormCache forms;
    for (const bool cached : {false, true, false, true}) {
        GuestInstruction instruction;
        unsigned count = 0;
        const auto begin = std::chrono::steady_clock::now();
        for (size_t at = 0; at + 32 < code.size(); at += instruction.length, ++count) {
            const std::span<const uint8_t> rest = std::span(code).subspan(at);
            (void)(cached ? forms.decode(rest, 0, true, instruction) : decode(rest, 0, true, instruction));
        }
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
        std::printf("%-8s %8.1f ns, %u instructions, %.2f%% by Zydis\n", cached ? "cached" : "Zydis",
                    took.count() / count, count,
                    100.0 * static_cast<double>(forms.statistics().misses) /
                        static_cast<double>(forms.statistics().hits + forms.statistics().misses + !cached));
    }
}
