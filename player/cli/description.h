// A command line as data, for what is made from it besides --help: the manual page and shells' completions.
// All of it is what the programs declare, so it says what they take.
#pragma once
#include <string>
#include <vector>

namespace cli {

struct OptionText {
    std::vector<std::string> names; // "-o", "--output"; none: a word in its place
    std::string place;              // ... which is called this
    std::string value;              // what is given with it, "FILE"; empty: nothing is
    std::vector<std::string> words; // all that the value may be; empty: anything
    std::string range;              // "0 to 63", or empty
    std::string help;
    bool required = false;
    bool repeated = false;
};

struct ProgramText {
    std::string name, help, footer, version;
    std::vector<OptionText> options;
    std::vector<ProgramText> verbs;
};

// What an option's value is, as far as completing it goes.
enum class ValueKind : unsigned char { Other, Folder, File };
[[nodiscard]] ValueKind value_kind(const OptionText& option);
// The endings of files that it takes ("encore", "crt"); none: any.
[[nodiscard]] std::vector<std::string> file_endings(const OptionText& option);

// man(7), section 1.
[[nodiscard]] std::string manual_page(const ProgramText& program);
[[nodiscard]] std::string bash_completion(const ProgramText& program);
[[nodiscard]] std::string zsh_completion(const ProgramText& program);
[[nodiscard]] std::string fish_completion(const ProgramText& program);

// Of a command line that was not understood: the first word that is none of the program's, with the nearest
// one that is, or that a verb is missing. Empty: it is something else.
[[nodiscard]] std::string unknown_word(const ProgramText& program, const std::vector<std::string>& words);

} // namespace cli
