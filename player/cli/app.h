// The command line of our programs: options, flags and verbs. Over CLI11, whose headers take ten seconds a
// file to compile; app.cpp alone includes them.
#pragma once
#include "player/cli/description.h"

#include <deque>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
} // namespace CLI

namespace cli {

// What a value must be; --help shows it.
struct Check {
    enum class Kind { Whole, Real, OneOf, NotNegative } kind;
    double least = 0, most = 0;
    std::vector<std::string> words;
};
[[nodiscard]] Check range(int least, int most);
[[nodiscard]] Check range(double least, double most);
[[nodiscard]] Check one_of(std::initializer_list<const char*> words);
[[nodiscard]] Check not_negative();

// An option, a flag or a word in its place. Each function returns it, so that they can be chained.
class Option {
  public:
    explicit Option(CLI::Option& option) : option_(option) {}

    Option* required();
    Option* type_name(const std::string& name);
    Option* check(const Check& check);
    Option* expected(int words);
    Option* delimiter(char between);
    // A list takes one word each time it is named.
    Option* one_at_a_time();
    // --help shows the value that the variable has now.
    Option* capture_default_str();

    // By name, or the options themselves.
    template <class... Other> Option* excludes(const Other&... others) {
        (exclude(others), ...);
        return this;
    }
    template <class... Other> Option* needs(Other*... others) {
        (need(*others), ...);
        return this;
    }

  private:
    friend class App;
    void exclude(const char* name);
    void exclude(const Option* other);
    void need(const Option& other);

    CLI::Option& option_;
    std::string value_;              // as type_name() said
    std::vector<std::string> words_; // as check() said
    std::string range_;
};

// What parse() came to. Message: what is wrong, for WrongUsage.
struct Parsed {
    enum class What { Go, HelpShown, WrongUsage } what = What::Go;
    std::string message;
};

// A program, or one of its verbs.
class App {
  public:
    App(const std::string& name, const std::string& description);
    ~App();
    App(const App&) = delete;
    App& operator=(const App&) = delete;

    App* add_subcommand(const std::string& name, const std::string& help);
    void require_subcommand(int count);
    void footer(const std::string& text);
    // Of a program: what --version prints. Also declares --generate, which prints the manual page and
    // completions.
    void version(const std::string& text);

    // The variable keeps its value where the option is not given. app.cpp lists the types.
    template <class T> Option* add_option(const std::string& names, T& to, const std::string& help);
    Option* add_flag(const std::string& names, bool& to, const std::string& help);
    // Else parse() says that the first is missing.
    void require_one_of(std::initializer_list<const Option*> options);

    // Prints what --help and --version ask for.
    Parsed parse(int argc, const char* const* argv);
    // This verb was given.
    [[nodiscard]] bool parsed() const;
    // The verb that was given, empty for none.
    [[nodiscard]] std::string verb() const;
    // The name of each option given, as often and in the order as it was.
    [[nodiscard]] std::vector<std::string> parse_order() const;
    // All that was declared so far.
    [[nodiscard]] ProgramText describe() const;

  private:
    explicit App(CLI::App& verb);
    Option* keep(CLI::Option& option);

    std::unique_ptr<CLI::App> owned_; // a program's
    CLI::App& app_;
    std::string version_;
    std::deque<Option> options_;
    std::vector<std::unique_ptr<App>> verbs_;
};

} // namespace cli
