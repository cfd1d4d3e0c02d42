#include "player/cli/app.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <optional>

namespace cli {

Check range(int least, int most) {
    return {Check::Kind::Whole, static_cast<double>(least), static_cast<double>(most), {}};
}
Check range(double least, double most) { return {Check::Kind::Real, least, most, {}}; }
Check one_of(std::initializer_list<const char*> words) {
    return {Check::Kind::OneOf, 0, 0, {words.begin(), words.end()}};
}
Check not_negative() { return {Check::Kind::NotNegative, 0, 0, {}}; }

Option* Option::required() {
    option_.required();
    return this;
}

Option* Option::type_name(const std::string& name) {
    option_.type_name(name);
    value_ = name;
    return this;
}

Option* Option::check(const Check& check) {
    switch (check.kind) {
    case Check::Kind::Whole:
        option_.check(CLI::Range(static_cast<int>(check.least), static_cast<int>(check.most)));
        range_ = fmt::format("{:.0f} to {:.0f}", check.least, check.most);
        break;
    case Check::Kind::Real:
        option_.check(CLI::Range(check.least, check.most));
        range_ = fmt::format("{:.0f} to {:.0f}", check.least, check.most);
        break;
    case Check::Kind::OneOf:
        option_.check(CLI::IsMember(check.words));
        words_ = check.words;
        break;
    case Check::Kind::NotNegative:
        option_.check(CLI::NonNegativeNumber);
        break;
    }
    return this;
}

Option* Option::expected(int words) {
    option_.expected(words);
    return this;
}

Option* Option::delimiter(char between) {
    option_.delimiter(between);
    return this;
}

Option* Option::one_at_a_time() {
    option_.allow_extra_args(false);
    return this;
}

Option* Option::capture_default_str() {
    option_.capture_default_str();
    return this;
}

void Option::exclude(const char* name) { option_.excludes(std::string(name)); }
void Option::exclude(const Option* other) { option_.excludes(&other->option_); }
void Option::need(const Option& other) { option_.needs(&other.option_); }

App::App(const std::string& name, const std::string& description)
    : owned_(std::make_unique<CLI::App>(description, name)), app_(*owned_) {}
App::App(CLI::App& verb) : app_(verb) {}
App::~App() = default;

App* App::add_subcommand(const std::string& name, const std::string& help) {
    verbs_.push_back(std::unique_ptr<App>(new App(*app_.add_subcommand(name, help))));
    return verbs_.back().get();
}

void App::require_subcommand(int count) { app_.require_subcommand(count); }
void App::footer(const std::string& text) { app_.footer(text); }

void App::version(const std::string& text) {
    version_ = text;
    app_.set_version_flag("--version", text);
    struct Kind {
        const char* name;
        std::string (*print)(const ProgramText&);
    };
    static constexpr Kind kKinds[] = {{"manual", manual_page},
                                      {"bash", bash_completion},
                                      {"zsh", zsh_completion},
                                      {"fish", fish_completion}};
    keep(*app_.add_option_function<std::string>(
             "--generate",
             [this](const std::string& wanted) {
                 for (const Kind& kind : kKinds)
                     if (wanted == kind.name)
                         throw CLI::CallForVersion(kind.print(describe()), 0);
             },
             "Print the manual page, or the completions for a shell"))
        ->check(one_of({"manual", "bash", "zsh", "fish"}))
        ->type_name("WHAT")
        ->option_.trigger_on_parse(true);
}

Option* App::keep(CLI::Option& option) { return &options_.emplace_back(option); }

template <class T> Option* App::add_option(const std::string& names, T& to, const std::string& help) {
    return keep(*app_.add_option(names, to, help));
}
template Option* App::add_option(const std::string&, std::string&, const std::string&);
template Option* App::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Option* App::add_option(const std::string&, int&, const std::string&);
template Option* App::add_option(const std::string&, std::vector<int>&, const std::string&);
template Option* App::add_option(const std::string&, long&, const std::string&);
template Option* App::add_option(const std::string&, uint64_t&, const std::string&);
template Option* App::add_option(const std::string&, std::optional<uint64_t>&, const std::string&);
template Option* App::add_option(const std::string&, double&, const std::string&);

Option* App::add_flag(const std::string& names, bool& to, const std::string& help) {
    return keep(*app_.add_flag(names, to, help));
}

void App::require_one_of(std::initializer_list<const Option*> options) {
    app_.callback([options = std::vector(options)] {
        if (std::ranges::all_of(options, [](const Option* one) { return one->option_.empty(); }))
            throw CLI::RequiredError(options.front()->option_.get_name());
    });
}

Parsed App::parse(int argc, const char* const* argv) {
    try {
        app_.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::Success)) {
            // CLI11 has its own idea of what to complain of first, often what the misspelt word was to bring.
            const std::string unknown = unknown_word(describe(), {argv + 1, argv + argc});
            return {Parsed::What::WrongUsage, unknown.empty() ? error.what() : unknown};
        }
        app_.exit(error);
        return {Parsed::What::HelpShown, {}};
    }
    return {};
}

bool App::parsed() const { return app_.parsed(); }

std::string App::verb() const {
    const auto given = app_.get_subcommands();
    return given.empty() ? std::string() : given[0]->get_name();
}

std::vector<std::string> App::parse_order() const {
    std::vector<std::string> names;
    for (const CLI::Option* option : app_.parse_order())
        names.push_back(option->get_name());
    return names;
}

ProgramText App::describe() const {
    ProgramText text;
    text.name = app_.get_name();
    text.help = app_.get_description();
    text.footer = app_.get_footer();
    text.version = version_;
    for (const CLI::Option* declared : app_.get_options()) {
        OptionText option;
        for (const std::string& name : declared->get_snames())
            option.names.push_back("-" + name);
        for (const std::string& name : declared->get_lnames())
            option.names.push_back("--" + name);
        option.place = declared->get_positional() ? declared->get_name(true) : "";
        option.help = declared->get_description();
        option.required = declared->get_required();
        option.repeated = declared->get_items_expected_max() > 1;
        const auto ours =
            std::ranges::find(options_, declared, [](const Option& one) { return &one.option_; });
        if (declared->get_items_expected_max() != 0) // not a flag
            option.value = "TEXT";
        if (ours != options_.end()) {
            option.words = ours->words_;
            option.range = ours->range_;
            if (!ours->value_.empty())
                option.value = ours->value_;
        }
        text.options.push_back(std::move(option));
    }
    for (const auto& verb : verbs_)
        text.verbs.push_back(verb->describe());
    return text;
}

} // namespace cli
