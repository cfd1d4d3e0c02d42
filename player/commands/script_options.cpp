#include "player/commands/script_options.h"

namespace player {

void ScriptOptions::add_to(cli::App& app) {
    app.add_option("--timeout", timeout, "Give up after this many seconds (status 124)")
        ->check(cli::range(0.0, 1e7))
        ->type_name("S");
    app.add_option("--type-after", type_after,
                   "What is typed before anything is expected waits this many seconds")
        ->check(cli::range(0.0, 1e7))
        ->type_name("S");
    const auto step = [&](const char* name, std::vector<std::string>& words, const char* help,
                          const char* type_name) {
        app.add_option(name, words, help)->one_at_a_time()->type_name(type_name);
    };
    step("--expect", expect, "Wait for this (extended regular expression) on the serial line", "REGEX");
    step("--expect-screen", expect_screen, "Wait for this on the text screen", "REGEX");
    step("--expect-picture", expect_picture,
         "Wait until the screen shows graphics of at least this size that stand still", "WxH");
    step("--type", type, "Type this (\\n is Enter)", "TEXT");
    step("--keys", keys, "Press a chord, such as ctrl-alt-delete", "CHORD");
    app.add_option(
           "--keyboard-layout", keyboard_layout,
           "The guest's keyboard, for what is typed, if it is not what the bundle says (us, where it says "
           "nothing): us, uk, de, fr, es, it, ch, ch-fr, ...")
        ->type_name("NAME");
}

base::Result<std::shared_ptr<const KeyboardLayout>> ScriptOptions::layout() const {
    if (keyboard_layout.empty())
        return std::shared_ptr<const KeyboardLayout>();
    return KeyboardLayout::by_name(keyboard_layout);
}

// The order is known across options; the words of each are in their own list.
base::Result<std::vector<ScriptStep>> ScriptOptions::steps(const cli::App& app) const {
    struct Source {
        const char* name;
        ScriptStep::Kind kind;
        const std::vector<std::string>& words;
        size_t next = 0;
    };
    Source sources[] = {{"--expect", ScriptStep::Kind::ExpectSerial, expect},
                        {"--expect-screen", ScriptStep::Kind::ExpectScreen, expect_screen},
                        {"--expect-picture", ScriptStep::Kind::ExpectPicture, expect_picture},
                        {"--type", ScriptStep::Kind::Type, type},
                        {"--keys", ScriptStep::Kind::Keys, keys}};
    std::vector<ScriptStep> steps;
    for (const std::string& name : app.parse_order())
        for (Source& source : sources)
            if (name == source.name && source.next < source.words.size()) {
                std::string word = source.words[source.next++];
                if (source.kind == ScriptStep::Kind::Type)
                    word = TRY(unescape(word));
                steps.push_back({source.kind, std::move(word)});
            }
    return steps;
}

} // namespace player
