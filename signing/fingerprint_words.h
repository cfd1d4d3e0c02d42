// A certificate's fingerprint as words that two people can compare by telephone.
//
// They are its first 128 bits, 16 a word, most significant first: consonant, vowel, consonant, vowel,
// consonant, a consonant for 4 bits and a vowel for 2 (the "proquints" of D. Wilkerson, arXiv:0901.4016). No
// list of words is needed, and they are the same in every language. 128 bits leave room for people who let
// letters pass that sound alike: with each consonant worth 2 bits, 80 remain.
#pragma once
#include <string>
#include <string_view>

namespace signing {

// "lusab babad gutih tugad gutuk bisog mudof sakat". `fingerprint`: hexadecimal digits, 32 or more; anything
// else gives an empty text.
[[nodiscard]] std::string fingerprint_words(std::string_view fingerprint);

} // namespace signing
