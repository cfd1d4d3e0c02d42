#include "player/cli/description.h"

#include <fmt/format.h>
#include <functional>

namespace cli {
namespace {

// What fits in a menu: up to the first full stop or colon that ends a sentence or a clause.
std::string brief(const std::string& help) {
    size_t end = help.size();
    for (const char* mark : {". ", ": ", "; "})
        end = std::min(end, help.find(mark));
    return help.substr(0, end);
}

// A word of sh, bash and zsh.
std::string quoted(const std::string& text) {
    std::string word = "'";
    for (const char c : text)
        c == '\'' ? word += "'\\''" : word += c;
    return word + "'";
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, " ")); }

using Visit = std::function<void(const ProgramText&, const std::vector<std::string>& path)>;

void each(const ProgramText& program, std::vector<std::string>& path, const Visit& visit) {
    visit(program, path);
    for (const ProgramText& verb : program.verbs) {
        path.push_back(verb.name);
        each(verb, path, visit);
        path.pop_back();
    }
}

std::string function_name(const ProgramText& program, const std::vector<std::string>& path) {
    std::string name = "_" + program.name;
    for (const std::string& verb : path)
        name += "_" + verb;
    for (char& c : name)
        c = c == '-' ? '_' : c;
    return name;
}

} // namespace

ValueKind value_kind(const OptionText& option) {
    if (!option.words.empty() || option.value.empty())
        return ValueKind::Other;
    if (option.value.find("FOLDER") != std::string::npos)
        return ValueKind::Folder;
    for (const char* word : {"FILE", "PATH", "PREFIX", "ISO", "IMAGE", "SOCKET", "."})
        if (option.value.find(word) != std::string::npos)
            return ValueKind::File;
    return ValueKind::Other;
}

std::vector<std::string> file_endings(const OptionText& option) {
    std::vector<std::string> endings;
    size_t begin = 0;
    while (begin <= option.value.size()) {
        const size_t end = std::min(option.value.find('|', begin), option.value.size());
        const std::string one = option.value.substr(begin, end - begin);
        const size_t dot = one.rfind('.');
        if (dot == std::string::npos)
            return {}; // something that has no ending of its own
        endings.push_back(one.substr(dot + 1));
        begin = end + 1;
    }
    return endings;
}

std::string bash_completion(const ProgramText& program) {
    const std::string self = function_name(program, {});
    std::string paths, cases;
    std::vector<std::string> path;
    const auto files = [](const OptionText& option) -> std::string {
        if (value_kind(option) == ValueKind::Folder)
            return "folders=1";
        const auto endings = file_endings(option);
        return endings.empty() ? "files='*'" : fmt::format("files='*.@({})'", fmt::join(endings, "|"));
    };
    each(program, path, [&](const ProgramText& verb, const std::vector<std::string>& where) {
        const std::string at = where.empty() ? "" : fmt::format("/{}", fmt::join(where, "/"));
        if (!at.empty())
            paths += (paths.empty() ? "" : "|") + at;
        std::string values, options, place;
        for (const OptionText& option : verb.options) {
            if (option.names.empty()) {
                if (value_kind(option) != ValueKind::Other)
                    place = " " + files(option);
                continue;
            }
            options += (options.empty() ? "" : " ") + joined(option.names);
            if (option.value.empty())
                continue;
            const std::string takes = !option.words.empty() ? "words=" + quoted(joined(option.words))
                                      : value_kind(option) != ValueKind::Other ? files(option)
                                                                               : std::string(":");
            values += fmt::format("                {}) {} ;;\n", fmt::join(option.names, "|"), takes);
        }
        std::vector<std::string> verbs;
        for (const ProgramText& one : verb.verbs)
            verbs.push_back(one.name);
        cases += fmt::format(
            "        {})\n            case $before in\n{}                *) words={} options={}{} ;;\n"
            "            esac\n            ;;\n",
            at.empty() ? "''" : at, values, quoted(joined(verbs)), quoted(options), place);
    });
    return fmt::format(R"(# bash completion, printed by: {program} --generate bash
{self}() {{
    local now=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
    local at= words= options= files= folders= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case $at/${{COMP_WORDS[i]}} in
            {paths}) at=$at/${{COMP_WORDS[i]}} ;;
        esac
    done
    case $at in
{cases}    esac
    case $now in
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$now"); return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$now")
    [ -n "$files$folders" ] || return 0
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -d -- "$now")
    [ -z "$files" ] || mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(
        shopt -s extglob
        compgen -f -- "$now" | while IFS= read -r name; do
            # shellcheck disable=SC2053 # a pattern
            [ -d "$name" ] || [[ $name != $files ]] || printf '%s\n' "$name"
        done
    )
}}
complete -F {self} {program}
)",
                       fmt::arg("program", program.name), fmt::arg("self", self),
                       fmt::arg("paths", paths.empty() ? "/-" : paths), fmt::arg("cases", cases));
}

std::string zsh_completion(const ProgramText& program) {
    // zshcompsys(1), "_arguments": colons and brackets are its own.
    const auto escaped = [](const std::string& plain) {
        std::string out;
        for (const char c : plain) {
            if (c == '[' || c == ']' || c == ':' || c == '\\')
                out += '\\';
            out += c;
        }
        return out;
    };
    const auto text = [&](const std::string& help) { return escaped(brief(help)); };
    const auto action = [&](const OptionText& option) -> std::string {
        if (!option.words.empty())
            return fmt::format("({})", escaped(joined(option.words)));
        switch (value_kind(option)) {
        case ValueKind::Folder:
            return "_files -/";
        case ValueKind::File:
            if (const auto endings = file_endings(option); !endings.empty())
                return fmt::format("_files -g \"*.({})(-.)\"", fmt::join(endings, "|"));
            return "_files";
        case ValueKind::Other:
            break;
        }
        return " ";
    };
    std::string functions;
    std::vector<std::string> path;
    each(program, path, [&](const ProgramText& verb, const std::vector<std::string>& where) {
        std::string body;
        for (const OptionText& option : verb.options) {
            const std::string value =
                option.value.empty() ? "" : fmt::format(":{}:{}", text(option.value), action(option));
            if (option.names.empty()) {
                body += " \\\n        " +
                        quoted(fmt::format("{}{}",
                                           option.repeated   ? "*"
                                           : option.required ? ""
                                                             : ":",
                                           option.value.empty() ? ":" + option.place + ": " : value));
                continue;
            }
            const std::string all = joined(option.names);
            for (const std::string& name : option.names)
                body += " \\\n        " +
                        quoted(fmt::format("{}{}[{}]{}", option.repeated ? "*" : fmt::format("({})", all),
                                           name, text(option.help), value));
        }
        const std::string self = function_name(program, where);
        if (verb.verbs.empty()) {
            functions += fmt::format("{}() {{\n    _arguments -s{}\n}}\n", self, body);
            return;
        }
        std::string verbs, cases;
        for (const ProgramText& one : verb.verbs) {
            verbs += "        " + quoted(one.name + ":" + text(one.help)) + "\n";
            auto below = where;
            below.push_back(one.name);
            cases += fmt::format("            {}) {} ;;\n", one.name, function_name(program, below));
        }
        functions += fmt::format(
            "{}() {{\n    local state line\n    local -a verbs=(\n{}    )\n    _arguments -C{} \\\n"
            "        '1: :->verb' '*:: :->rest'\n    case $state in\n        verb) _describe verb "
            "verbs ;;\n        rest) case $words[1] in\n{}        esac ;;\n    esac\n}}\n",
            self, verbs, body, cases);
    });
    return fmt::format("#compdef {0}\n# zsh completion, printed by: {0} --generate zsh\n{1}{2} \"$@\"\n",
                       program.name, functions, function_name(program, {}));
}

std::string fish_completion(const ProgramText& program) {
    std::string out =
        fmt::format("# fish completion, printed by: {0} --generate fish\ncomplete -c {0} -f\n", program.name);
    const auto text = [](const std::string& help) {
        std::string word = "'";
        for (const char c : brief(help)) {
            if (c == '\'' || c == '\\')
                word += '\\';
            word += c;
        }
        return word + "'";
    };
    std::vector<std::string> path;
    each(program, path, [&](const ProgramText& verb, const std::vector<std::string>& where) {
        std::string here;
        for (const std::string& one : where)
            here += fmt::format("{}__fish_seen_subcommand_from {}", here.empty() ? "" : "; and ", one);
        std::string no_more = here;
        if (!verb.verbs.empty()) {
            std::vector<std::string> names;
            for (const ProgramText& one : verb.verbs)
                names.push_back(one.name);
            no_more += fmt::format("{}not __fish_seen_subcommand_from {}", here.empty() ? "" : "; and ",
                                   joined(names));
            for (const ProgramText& one : verb.verbs)
                out += fmt::format("complete -c {} -n '{}' -a {} -d {}\n", program.name, no_more, one.name,
                                   text(one.help));
        }
        const std::string begin =
            fmt::format("complete -c {}{}", program.name, no_more.empty() ? "" : " -n '" + no_more + "'");
        const auto takes = [](const OptionText& option) -> std::string {
            if (!option.words.empty())
                return fmt::format(" -xa '{}'", joined(option.words));
            switch (value_kind(option)) {
            case ValueKind::Folder:
                return " -xa '(__fish_complete_directories)'";
            case ValueKind::File:
                return " -rF";
            case ValueKind::Other:
                break;
            }
            return option.value.empty() ? "" : " -x";
        };
        for (const OptionText& option : verb.options) {
            if (option.names.empty()) {
                if (value_kind(option) == ValueKind::File)
                    out += begin + " -F\n";
                continue;
            }
            std::string names;
            for (const std::string& name : option.names)
                names += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
            out += fmt::format("{}{}{} -d {}\n", begin, names, takes(option), text(option.help));
        }
    });
    return out;
}

} // namespace cli
