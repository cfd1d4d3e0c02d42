#include "signing/fingerprint_words.h"

#include <charconv>
#include <cstdint>

namespace signing {
namespace {

constexpr std::string_view kConsonants = "bdfghjklmnprstvz", kVowels = "aiou";
constexpr size_t kWords = 8, kDigits = 4; // hexadecimal, a word

void append_word(std::string& text, unsigned bits) {
    text += kConsonants[bits >> 12 & 15];
    text += kVowels[bits >> 10 & 3];
    text += kConsonants[bits >> 6 & 15];
    text += kVowels[bits >> 4 & 3];
    text += kConsonants[bits & 15];
}

} // namespace

std::string fingerprint_words(std::string_view fingerprint) {
    if (fingerprint.size() < kWords * kDigits)
        return {};
    std::string text;
    for (size_t word = 0; word < kWords; ++word) {
        const char* begin = fingerprint.data() + word * kDigits;
        uint16_t bits = 0;
        const auto [end, failed] = std::from_chars(begin, begin + kDigits, bits, 16);
        if (failed != std::errc() || end != begin + kDigits)
            return {};
        text += word == 0 ? "" : " ";
        append_word(text, bits);
    }
    return text;
}

} // namespace signing
