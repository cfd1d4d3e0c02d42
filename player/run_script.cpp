#include "player/run_script.h"

#include "player/key_names.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <unordered_set>

namespace player {
namespace {

constexpr auto kScreenInterval = std::chrono::milliseconds(100);
// A finished picture: more colours than a text console has, and still while the guest has nothing to do. A
// guest at work may be between two steps of building its screen, for seconds where the host is busy; but some
// never rest, so a picture that stands for long is taken as well. Rest is what the guest says of itself, by
// HLT and in its own time: of a host that is busy with other things, little processor time says nothing.
constexpr auto kPictureInterval = std::chrono::milliseconds(500);
constexpr uint64_t kPictureStillNs = 2'500'000'000, kPictureStillAtWorkNs = 20'000'000'000;
constexpr uint64_t kWorkShare = 10; // at rest it works less than a 10th of the time
constexpr size_t kManyColours = 64;
// A guest that halted for good says nothing more; its screen has yet to be looked at, and a picture to stand.
constexpr std::chrono::milliseconds kLastLook(300), kLastPicture(6000);
constexpr size_t kMaxUnmatched = 64u << 10; // serial text a match may reach back

bool is_expectation(ScriptStep::Kind kind) {
    return kind == ScriptStep::Kind::ExpectSerial || kind == ScriptStep::Kind::ExpectScreen ||
           kind == ScriptStep::Kind::ExpectPicture;
}

bool has_many_colours(const std::vector<uint32_t>& pixels) {
    std::unordered_set<uint32_t> colours;
    for (const uint32_t pixel : pixels)
        if (colours.insert(pixel & 0xFFFFFF).second && colours.size() >= kManyColours)
            return true;
    return false;
}

} // namespace

base::Result<std::string> unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out.push_back(text[i]);
            continue;
        }
        constexpr std::string_view kNames = "ntbe\\", kMeanings = "\n\t\b\x1b\\";
        const size_t which = i + 1 < text.size() ? kNames.find(text[++i]) : std::string_view::npos;
        if (which == std::string_view::npos)
            return base::fail("in a text to type, \\ is followed by n, t, b, e or another \\", 2);
        out.push_back(kMeanings[which]);
    }
    return out;
}

base::Result<RunScript> RunScript::create(std::vector<ScriptStep> steps,
                                          std::chrono::milliseconds type_after) {
    RunScript script;
    script.type_after_ = type_after;
    for (ScriptStep& step : steps) {
        Step ready;
        if (step.kind == ScriptStep::Kind::ExpectPicture) {
            int end = 0;
            if (std::sscanf(step.text.c_str(), "%5ux%5u%n", &ready.width, &ready.height, &end) != 2 ||
                static_cast<size_t>(end) != step.text.size())
                return base::fail(fmt::format("a picture's size is written 640x480, not '{}'", step.text), 2);
        } else if (is_expectation(step.kind)) {
            auto regex = std::make_unique<regex_t>();
            const int failed = ::regcomp(regex.get(), step.text.c_str(), REG_EXTENDED | REG_NEWLINE);
            if (failed != 0) {
                char why[200];
                ::regerror(failed, regex.get(), why, sizeof why);
                return base::fail(fmt::format("'{}' is no regular expression: {}", step.text, why), 2);
            }
            ready.regex.reset(regex.release());
        }
        ready.step = std::move(step);
        script.steps_.push_back(std::move(ready));
    }
    return script;
}

base::Result<void> RunScript::prepare(const Session& session) {
    for (const Step& step : steps_) {
        if (is_expectation(step.step.kind))
            continue;
        if (!layout_)
            layout_ = TRY(session.keyboard_layout());
        if (step.step.kind == ScriptStep::Kind::Keys) {
            if (auto chord = parse_chord(step.step.text, *layout_); !chord)
                return base::fail(chord.error().message, 2);
        } else if (auto keys = keys_for_text(step.step.text, *layout_); !keys) {
            return base::fail(keys.error().message, 2);
        }
    }
    return {};
}

bool RunScript::serial_matches(Session& session, const regex_t& regex) {
    std::string fresh = session.serial().text_since(serial_position_);
    if (!fresh.empty()) {
        std::erase_if(fresh, [](char c) { return c == '\r' || c == '\0'; });
        serial_ += fresh;
        if (serial_.size() > kMaxUnmatched)
            serial_.erase(0, serial_.size() - kMaxUnmatched);
        serial_changed_ = true;
    }
    if (!serial_changed_)
        return false;
    serial_changed_ = false;
    regmatch_t match{};
    if (::regexec(&regex, serial_.c_str(), 1, &match, 0) != 0)
        return false;
    serial_.erase(0, static_cast<size_t>(match.rm_eo));
    serial_changed_ = true;
    return true;
}

bool RunScript::picture_stands(Session& session, const Step& step) {
    const auto now = std::chrono::steady_clock::now();
    if (now - screen_looked_at_ < kPictureInterval)
        return false;
    screen_looked_at_ = now;
    const auto machine = session.machine();
    if (!machine->text_screen().empty())
        return false;
    vmm::Picture picture = machine->picture();
    if (picture.width < step.width || picture.height < step.height)
        return false;
    const vmm::Activity activity = machine->activity();
    if (picture.pixels != picture_ || session.revert_count() != picture_reverts_) {
        picture_ = std::move(picture.pixels);
        picture_since_ = activity;
        picture_reverts_ = session.revert_count();
        return false;
    }
    const uint64_t still = activity.time_ns - picture_since_.time_ns;
    const uint64_t halted = activity.halted_ns - picture_since_.halted_ns;
    const bool at_rest = still - std::min(still, halted) < still / kWorkShare;
    return still >= (at_rest ? kPictureStillNs : kPictureStillAtWorkNs) && has_many_colours(picture_);
}

bool RunScript::step_done(Session& session, const Step& step) {
    const auto now = std::chrono::steady_clock::now();
    switch (step.step.kind) {
    case ScriptStep::Kind::ExpectSerial:
        return serial_matches(session, *step.regex);
    case ScriptStep::Kind::ExpectScreen:
        if (now - screen_looked_at_ < kScreenInterval)
            return false;
        screen_looked_at_ = now;
        return ::regexec(step.regex.get(), session.machine()->text_screen().c_str(), 0, nullptr, 0) == 0;
    case ScriptStep::Kind::ExpectPicture:
        return picture_stands(session, step);
    case ScriptStep::Kind::Type:
    case ScriptStep::Kind::Keys:
        break;
    }
    const bool expected_before = std::any_of(steps_.begin(), steps_.begin() + static_cast<ptrdiff_t>(next_),
                                             [](const Step& s) { return is_expectation(s.step.kind); });
    if (!expected_before && now - start_ < type_after_)
        return false;
    // prepare() made sure that all keys exist; a full queue empties in time.
    Typist& typist = session.typist();
    return step.step.kind == ScriptStep::Kind::Type ? typist.type(step.step.text, *layout_).has_value()
                                                    : typist.press(step.step.text, *layout_).has_value();
}

RunScript::State RunScript::tick(Session& session) {
    while (next_ < steps_.size()) {
        if (!step_done(session, steps_[next_]))
            return State::Going;
        ++next_;
    }
    if (steps_.empty())
        return State::Typed;
    if (is_expectation(steps_.back().step.kind))
        return State::Matched;
    return session.typist().all_pressed() ? State::Typed : State::Going;
}

bool RunScript::hopeless(const Session& session) {
    if (!session.guest_halted()) {
        halted_since_.reset();
        return false;
    }
    const auto now = std::chrono::steady_clock::now();
    if (!halted_since_)
        halted_since_ = now;
    const bool picture = next_ < steps_.size() && steps_[next_].step.kind == ScriptStep::Kind::ExpectPicture;
    return now - *halted_since_ >= (picture ? kLastPicture : kLastLook);
}

std::string RunScript::waiting_for() const {
    if (next_ >= steps_.size())
        return "the machine to turn itself off";
    const ScriptStep& step = steps_[next_].step;
    switch (step.kind) {
    case ScriptStep::Kind::ExpectSerial:
        return fmt::format("'{}' on the serial line", step.text);
    case ScriptStep::Kind::ExpectScreen:
        return fmt::format("'{}' on the screen", step.text);
    case ScriptStep::Kind::ExpectPicture:
        return fmt::format("a picture of at least {} that stands still", step.text);
    case ScriptStep::Kind::Type:
    case ScriptStep::Kind::Keys:
        break;
    }
    return "the time to type";
}

} // namespace player
