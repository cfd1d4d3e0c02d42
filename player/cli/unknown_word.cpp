#include "player/cli/description.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

namespace cli {
namespace {

// Single letters changed, left out, put in or swapped with the next (optimal string alignment).
size_t distance(const std::string& a, const std::string& b) {
    std::vector<size_t> before, last(b.size() + 1), now(b.size() + 1);
    std::iota(last.begin(), last.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
        now[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = std::min(now[j], before[j - 2] + 1);
        }
        before = std::exchange(last, now);
    }
    return last[b.size()];
}

std::string complaint(const char* what, const std::string& word, const std::vector<std::string>& known) {
    const auto nearest =
        std::ranges::min_element(known, {}, [&](const std::string& one) { return distance(word, one); });
    if (nearest == known.end() || distance(word, *nearest) > std::max<size_t>(1, word.size() / 3))
        return fmt::format("there is no {} {}", what, word);
    return fmt::format("there is no {} {} (did you mean {}?)", what, word, *nearest);
}

} // namespace

std::string unknown_word(const ProgramText& program, const std::vector<std::string>& words) {
    const ProgramText* verb = &program;
    for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
        const std::string name = words[i].substr(0, words[i].find('='));
        if (name.size() > 1 && name[0] == '-') {
            const auto option = std::ranges::find_if(verb->options, [&](const OptionText& one) {
                return std::ranges::find(one.names, name) != one.names.end();
            });
            if (option == verb->options.end() && name[1] != '-')
                continue; // short ones may be joined, or be a number
            std::vector<std::string> known;
            for (const OptionText& one : verb->options)
                known.insert(known.end(), one.names.begin(), one.names.end());
            if (option == verb->options.end())
                return complaint("option", name, known);
            if (!option->value.empty() && name == words[i])
                ++i; // its value
            continue;
        }
        if (verb->verbs.empty())
            continue;
        const auto next = std::ranges::find(verb->verbs, words[i], &ProgramText::name);
        std::vector<std::string> known;
        for (const ProgramText& one : verb->verbs)
            known.push_back(one.name);
        if (next == verb->verbs.end())
            return complaint("verb", words[i], known);
        verb = &*next;
    }
    if (verb->verbs.empty())
        return {};
    std::vector<std::string> known;
    for (const ProgramText& one : verb->verbs)
        known.push_back(one.name);
    return fmt::format("a verb is missing: {}", fmt::join(known, ", "));
}

} // namespace cli
