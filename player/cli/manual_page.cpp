#include "player/cli/description.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

namespace cli {
namespace {

// groff_char(7): hyphens are minus signs, as they are typed; a line must not begin like a request.
std::string roff(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
            out += std::string("\\&") + c;
        else
            out += c;
    }
    return out;
}

std::string upper(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
    return text;
}

std::string heading(const OptionText& option) {
    std::string line;
    for (const std::string& name : option.names)
        line += fmt::format("{}\\fB{}\\fP", line.empty() ? "" : ", ", roff(name));
    if (option.names.empty())
        return fmt::format("\\fI{}\\fP", roff(option.value.empty() ? option.place : option.value));
    if (!option.value.empty())
        line += fmt::format(" \\fI{}\\fP", roff(option.value));
    return line;
}

void add_options(std::string& page, const ProgramText& program) {
    for (const OptionText& option : program.options) {
        std::string more;
        if (!option.words.empty())
            more = fmt::format(" ({})", fmt::join(option.words, ", "));
        else if (!option.range.empty())
            more = fmt::format(" ({})", option.range);
        page += fmt::format(".TP\n{}\n{}{}.\n", heading(option), roff(option.help), roff(more));
    }
}

// The words after a program's or verb's name.
std::string usage(const ProgramText& program) {
    std::string line;
    if (std::ranges::any_of(program.options, [](const OptionText& o) { return !o.names.empty(); }))
        line += " [\\fIOPTIONS\\fP]";
    if (!program.verbs.empty())
        line += " \\fIVERB\\fP";
    for (const OptionText& option : program.options)
        if (option.names.empty())
            line += fmt::format("{}{}{}{}", option.required ? " " : " [", heading(option),
                                option.repeated ? " ..." : "", option.required ? "" : "]");
    return line;
}

void add_verbs(std::string& page, const ProgramText& program, const std::string& before) {
    for (const ProgramText& verb : program.verbs) {
        const std::string name = before + " " + verb.name;
        page += fmt::format(".SS \\fB{}\\fP{}\n{}.\n", roff(name), usage(verb), roff(verb.help));
        add_options(page, verb);
        add_verbs(page, verb, name);
    }
}

} // namespace

std::string manual_page(const ProgramText& program) {
    std::string page =
        fmt::format(".\\\" Printed by: {0} --generate manual\n.TH {1} 1 \"\" \"{2}\" \"Encore\"\n",
                    program.name, upper(program.name), program.version);
    std::string summary = program.help.substr(0, program.help.find_last_not_of('.') + 1);
    page += fmt::format(".SH NAME\n{} \\- {}\n", roff(program.name), roff(summary));
    page += fmt::format(".SH SYNOPSIS\n\\fB{}\\fP{}\n", roff(program.name), usage(program));
    page += ".SH OPTIONS\n";
    add_options(page, program);
    if (!program.verbs.empty()) {
        page += ".SH VERBS\n";
        add_verbs(page, program, program.name);
    }
    // "Exit status: 0 done; ..."
    if (const size_t colon = program.footer.find(": "); colon != std::string::npos)
        page += fmt::format(".SH {}\n{}\n", upper(program.footer.substr(0, colon)),
                            roff(program.footer.substr(colon + 2)));
    page += ".SH SEE ALSO\nThe handbook: /usr/share/doc/encore/README.md\n";
    return page;
}

} // namespace cli
