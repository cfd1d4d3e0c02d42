// What is printed on a keyboard's keys: the keys that type a character, by the layout's name.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace player {

using Chord =
    std::vector<uint16_t>; // the keys that are down together, in order; set 1 codes, as vmm::KeyEvent

class KeyboardLayout {
  public:
    // "us", "de", "fr", "ch-fr": a layout of the X keyboard database, and a variant of it after a dash; "uk"
    // too. May be called from any thread. Errors: no such layout, or the database is not installed.
    static base::Result<std::shared_ptr<const KeyboardLayout>> by_name(std::string_view name);
    // Needs no database.
    static std::shared_ptr<const KeyboardLayout> us();

    [[nodiscard]] const std::string& name() const { return name_; }
    // The chords that type a character, one after the other: more than one when it takes a dead key. Empty:
    // it cannot be typed.
    [[nodiscard]] std::vector<Chord> chords_for(char32_t character) const;
    // The key that types this character alone; 0: none.
    [[nodiscard]] uint16_t key_for(char32_t character) const;

  private:
    explicit KeyboardLayout(std::string name) : name_(std::move(name)) {}

    std::string name_;
    std::map<char32_t, std::vector<Chord>> chords_;
};

// The first character of a UTF-8 text, which loses it. Errors: that is no character.
base::Result<char32_t> take_character(std::string_view& text);
// For a message: 'ü' (U+00FC).
std::string describe_character(char32_t character);

} // namespace player
