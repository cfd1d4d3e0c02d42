#include "player/control_protocol.h"

#include "appliance-format/json_text.h"
#include "player/key_names.h"
#include "player/png_writer.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace player {

using nlohmann::json;

namespace {

base::Result<std::string> text_of(const json& request, const char* key) {
    const auto found = request.find(key);
    if (found == request.end() || !found->is_string())
        return base::fail(fmt::format("\"{}\" must be given as a text", key));
    return found->get<std::string>();
}

// `fallback` when absent; clamped, so that no later arithmetic overflows.
base::Result<int32_t> number_of(const json& request, const char* key, int32_t fallback) {
    constexpr double kBound = 1 << 20;
    const auto found = request.find(key);
    if (found == request.end())
        return fallback;
    if (!found->is_number())
        return base::fail(fmt::format("\"{}\" must be a number", key));
    return static_cast<int32_t>(std::clamp(found->get<double>(), -kBound, kBound));
}

base::Result<uint8_t> button_bit(const json& name) {
    if (name == "left")
        return uint8_t{1};
    if (name == "right")
        return uint8_t{2};
    if (name == "middle")
        return uint8_t{4};
    return base::fail("a mouse button is \"left\", \"right\" or \"middle\"");
}

int32_t scale(int32_t pixel, uint32_t size) {
    const int64_t last = std::max<int64_t>(size, 2) - 1;
    return static_cast<int32_t>(std::clamp<int64_t>(pixel, 0, last) * 65535 / last);
}

} // namespace

struct ControlProtocol::Verbs {
    using Answer = base::Result<json>;
    ControlProtocol& self;
    Session& session = self.session_;
    const json& request;
    const Caller caller;

    std::string state() {
        const std::string why = session.paused_because();
        if (session.state() != SessionEnd::None)
            return "ended";
        if (!why.empty())
            return "paused: " + why;
        return session.guest_halted() ? "halted" : "running";
    }
    Answer resume() {
        session.resume();
        return json::object();
    }
    Answer status() {
        const auto machine = session.machine();
        const vmm::Picture picture = machine->picture();
        const auto& appliance = session.manifest().appliance;
        const auto seconds = [](const std::optional<std::chrono::seconds>& left) {
            return left ? json(left->count()) : json(nullptr);
        };
        json answer{{"appliance", appliance.name},
                    {"title", appliance.title},
                    {"publisher", session.publisher().common_name},
                    {"state", state()},
                    {"seconds", session.age().count()},
                    {"seconds_left", seconds(session.time_left())},
                    {"idle_seconds_left", seconds(session.idle_left())},
                    {"resets", machine->reset_count()},
                    {"reverts", session.revert_count()},
                    {"resumed", session.resumed()},
                    {"generation", session.identity().generation_text()},
                    {"overlay_bytes", session.overlay_bytes()},
                    {"width", picture.width},
                    {"height", picture.height},
                    {"pointer", machine->pointer_is_absolute() ? "absolute" : "relative"},
                    {"typing", session.typist().waiting()}};
        const auto described = [](const jail::Walls& walls) {
            return json{
                {"namespaces", walls.namespaces}, {"landlock", walls.landlock}, {"filter", walls.filter}};
        };
        answer["walls"] = {{"machine", described(machine->walls())}};
        if (const auto network = session.network()) {
            const auto walls = network->walls();
            answer["connections"] = network->open_sockets();
            answer["walls"]["network"] = walls ? described(*walls) : json(nullptr);
        }
        if (self.display_ != nullptr) {
            const uint64_t chords = self.display_->chords;
            answer["shown"] = self.display_->shown.load();
            answer["chords"] = chords >> 8;
            if (chords != 0)
                answer["chord"] = std::string(1, static_cast<char>(chords));
        }
        return answer;
    }
    Answer screen_text() { return json{{"text", session.machine()->text_screen()}}; }
    Answer screenshot() {
        const std::string file = TRY(text_of(request, "file"));
        const vmm::Picture picture = session.machine()->picture();
        TRY(write_png(picture, file));
        return json{{"file", file}, {"width", picture.width}, {"height", picture.height}};
    }
    // Of this request's typing: "layout", or the session's.
    base::Result<std::shared_ptr<const KeyboardLayout>> layout() {
        if (!request.contains("layout"))
            return session.keyboard_layout();
        return KeyboardLayout::by_name(TRY(text_of(request, "layout")));
    }
    Answer type() {
        const auto layout = TRY(this->layout());
        TRY(session.typist().type(TRY(text_of(request, "text")), *layout));
        return json::object();
    }
    Answer key() {
        session.note_activity();
        if (const auto number = request.find("code"); number != request.end()) {
            const auto pressed = request.find("pressed");
            if (!number->is_number_unsigned() || *number > 0xFFFF || *number == 0 ||
                pressed == request.end() || !pressed->is_boolean())
                return base::fail("\"code\" is a scan code, 1 to 65535, and \"pressed\" true or false");
            session.machine()->key({number->get<uint16_t>(), pressed->get<bool>()});
            return json::object();
        }
        const auto layout = TRY(this->layout());
        if (!request.contains("key")) {
            TRY(session.typist().press(TRY(text_of(request, "keys")), *layout));
            return json::object();
        }
        const std::string name = TRY(text_of(request, "key"));
        const auto code = key_by_name(name, *layout);
        const auto pressed = request.find("pressed");
        if (!code)
            return base::fail("there is no such key: names are a, 1, f10, enter, ctrl, left, ...");
        if (pressed == request.end() || !pressed->is_boolean())
            return base::fail("\"pressed\" must be true or false");
        session.machine()->key({*code, pressed->get<bool>()});
        return json::object();
    }
    Answer mouse() {
        session.note_activity();
        const auto machine = session.machine();
        vmm::PointerEvent event;
        event.wheel = std::clamp(TRY(number_of(request, "wheel", 0)), -127, 127);
        const bool position = request.contains("x") || request.contains("y");
        event.absolute = machine->pointer_is_absolute();
        if (position && !event.absolute)
            return base::fail("this guest takes movement only: give \"dx\" and \"dy\"");
        if (event.absolute) {
            const vmm::Picture picture = machine->picture();
            if (request.contains("x"))
                self.x_ = scale(TRY(number_of(request, "x", 0)), picture.width);
            if (request.contains("y"))
                self.y_ = scale(TRY(number_of(request, "y", 0)), picture.height);
            const auto step = [](int32_t pixels, uint32_t size) {
                return static_cast<int32_t>(int64_t{pixels} * 65535 / std::max<uint32_t>(size, 1));
            };
            self.x_ = std::clamp(self.x_ + step(TRY(number_of(request, "dx", 0)), picture.width), 0, 65535);
            self.y_ = std::clamp(self.y_ + step(TRY(number_of(request, "dy", 0)), picture.height), 0, 65535);
            event.x = self.x_;
            event.y = self.y_;
        } else {
            event.x = TRY(number_of(request, "dx", 0));
            event.y = TRY(number_of(request, "dy", 0));
        }
        TRY(set_buttons());
        event.buttons = self.buttons_;
        machine->pointer(event);
        if (const auto click = request.find("click"); click != request.end()) {
            const uint8_t bit = TRY(button_bit(*click));
            event.wheel = 0;
            if (!event.absolute)
                event.x = event.y = 0;
            event.buttons = self.buttons_ | bit;
            machine->pointer(event);
            event.buttons = self.buttons_ & static_cast<uint8_t>(~bit);
            machine->pointer(event);
        }
        return json::object();
    }
    base::Result<void> set_buttons() {
        const auto held = request.find("buttons");
        if (held == request.end())
            return {};
        if (!held->is_array())
            return base::fail("\"buttons\" must be a list");
        uint8_t bits = 0;
        for (const json& name : *held)
            bits |= TRY(button_bit(name));
        self.buttons_ = bits;
        return {};
    }
    Answer reset() {
        session.machine()->reset();
        return json::object();
    }
    Answer power() {
        session.machine()->power_button();
        return json::object();
    }
    Answer revert() {
        self.buttons_ = 0;
        const auto receipt = request.find("receipt");
        json answer = json::object();
        if (receipt != request.end() && *receipt == true)
            answer["root"] = TRY(session.revert_with_receipt());
        else
            TRY(session.revert());
        answer["generation"] = session.identity().generation_text();
        if (!session.scene().empty())
            answer["milliseconds"] = static_cast<double>(session.last_revert().count()) / 1000;
        return answer;
    }
    Answer jump() {
        self.buttons_ = 0;
        TRY(session.jump(TRY(text_of(request, "scene"))));
        return json::object();
    }
    Answer capture() {
        const std::string name = TRY(session.capture_as_author(TRY(text_of(request, "scene"))));
        return json{{"scene", name},
                    {"rested_milliseconds", static_cast<double>(session.last_pause().count()) / 1000}};
    }
    Answer save() {
        const std::string file = TRY(text_of(request, "file"));
        const auto end = request.find("end");
        const bool ends = end != request.end() && *end == true;
        TRY(session.save(file, ends ? Session::AfterSave::End : Session::AfterSave::GoOn));
        return json{{"file", file},
                    {"rested_milliseconds", static_cast<double>(session.last_pause().count()) / 1000}};
    }
    Answer scenes() {
        json list = json::array();
        for (const auto& scene : session.manifest().scenes)
            list.push_back({{"name", scene.name},
                            {"title", scene.title},
                            {"notes", scene.notes},
                            {"allowed", session.policy().allows_scene(scene.name)}});
        return json{{"scenes", std::move(list)}, {"scene", session.scene()}};
    }
    base::Result<std::atomic<bool>*> switch_of(std::atomic<bool> DisplayState::*which) {
        if (self.display_ == nullptr)
            return base::fail("this session has no window");
        return &(self.display_->*which);
    }
    Answer set(std::atomic<bool> DisplayState::*which) {
        const auto on = request.find("on");
        if (on == request.end() || !on->is_boolean())
            return base::fail("\"on\" must be true or false");
        *TRY(switch_of(which)) = on->get<bool>();
        return json::object();
    }
    Answer black() { return set(&DisplayState::black); }
    Answer chords() { return set(&DisplayState::shell_takes_chords); }
    Answer place() {
        if (self.display_ == nullptr)
            return base::fail("this session has no window");
        const auto full = request.find("full_screen");
        if (!request.contains("x") || !request.contains("y") ||
            (full != request.end() && !full->is_boolean()))
            return base::fail("\"x\" and \"y\" are a point of a display, \"full_screen\" true or false");
        self.display_->want_place({TRY(number_of(request, "x", 0)), TRY(number_of(request, "y", 0)),
                                   full != request.end() && full->get<bool>()});
        return json::object();
    }
    Answer activity() {
        session.note_activity();
        return json::object();
    }
    Answer extend() {
        const int32_t minutes = TRY(number_of(request, "minutes", 0));
        if (minutes < 1 || minutes > 24 * 60)
            return base::fail("\"minutes\" takes 1 to 1440");
        session.extend(std::chrono::minutes(minutes));
        return json::object();
    }
    Answer quit() {
        session.end();
        return json::object();
    }

    Answer carry_out() {
        struct Verb {
            std::string_view name;
            Answer (Verbs::*run)();
            Caller whose = Caller::Anybody;
        };
        static constexpr Verb kVerbs[] = {
            {"status", &Verbs::status},
            {"screen-text", &Verbs::screen_text},
            {"screenshot", &Verbs::screenshot},
            {"type", &Verbs::type},
            {"key", &Verbs::key},
            {"mouse", &Verbs::mouse},
            {"reset", &Verbs::reset},
            {"power", &Verbs::power},
            {"resume", &Verbs::resume},
            {"revert", &Verbs::revert},
            {"capture", &Verbs::capture},
            {"save", &Verbs::save},
            {"jump", &Verbs::jump},
            {"scenes", &Verbs::scenes},
            {"black", &Verbs::black},
            {"chords", &Verbs::chords},
            {"place", &Verbs::place},
            {"activity", &Verbs::activity, Caller::Shell},
            {"extend", &Verbs::extend, Caller::Shell},
            {"quit", &Verbs::quit},
        };
        if (!request.is_object())
            return base::fail("a request is one JSON object on a line, such as {\"do\":\"status\"}");
        const std::string name = TRY(text_of(request, "do"));
        std::string known;
        for (const Verb& verb : kVerbs) {
            if (verb.name == name && verb.whose == Caller::Shell && caller != Caller::Shell)
                return base::fail(
                    fmt::format("\"{}\" is for the kiosk around the session; the session's rules "
                                "are signed",
                                name));
            if (verb.name == name)
                return (this->*verb.run)();
            if (verb.whose == Caller::Shell && caller != Caller::Shell)
                continue;
            known += (known.empty() ? "" : ", ") + std::string(verb.name);
        }
        return base::fail("\"do\" is one of: " + known);
    }
};

std::string ControlProtocol::answer(std::string_view line, Caller caller) {
    const json request = appliance_format::parse_json(line);
    Verbs verbs{.self = *this, .request = request, .caller = caller};
    auto answer = verbs.carry_out();
    json reply = answer ? std::move(*answer) : json{{"error", answer.error().message}};
    reply["ok"] = answer.has_value();
    return appliance_format::json_text(reply);
}

} // namespace player
