#include "kiosk/kiosk_frame.h"

#include "kiosk/key_codes.h"
#include "player/doctor.h"
#include "player/operator_settings.h"
#include "player/scan_codes.h"
#include "player/staff_pin.h"
#include "player/user_folders.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <wx/app.h>
#include <wx/datetime.h>
#include <wx/intl.h>

namespace kiosk {

using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr int kTickMs = 20;
constexpr auto kFailureShownFor = 20s;
constexpr auto kSheetLeftFor = 60s;  // without a touch: nobody is in front of it
constexpr auto kWakingLasts = 500ms; // the touch that ends the show, until it is over
constexpr auto kStaffTouchesWithin = 4s;
constexpr size_t kStaffTouches = 5;
constexpr int kStaffCorner = 96;
constexpr uint16_t kPrint = 0xE037, kFakeShift = 0xE02A;

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

} // namespace

KioskFrame::KioskFrame(Settings settings, std::function<bool()> asked_to_stop)
    : settings_(std::move(settings)), asked_to_stop_(std::move(asked_to_stop)), timer_(this) {
    const long style = settings_.window ? wxDEFAULT_FRAME_STYLE : wxBORDER_NONE;
    Create(nullptr, wxID_ANY, "Encore", wxDefaultPosition, wxDefaultSize, style);
    SetBackgroundColour(palette().background);
    const wxString headline =
        settings_.headline.empty() ? _("What would you like to try?") : utf8(settings_.headline);
    tiles_ = new CatalogView(this, headline);
    session_ = new SessionView(this);
    attract_ = new AttractView(this);
    tiles_->on_choose = [this](const Appliance& appliance) { choose(appliance); };
    session_->on_scenes = [this] { open_scenes(); };
    session_->on_restart = [this] { restart(); };
    session_->on_help = [this] { open_help(); };
    session_->on_end = [this] { end_session("visitor"); };
    attract_->Bind(wxEVT_LEFT_DOWN, [this](wxMouseEvent&) { end_show(); });
    tiles_->Bind(wxEVT_LEFT_UP,
                 [this](wxMouseEvent& event) { staff_touch(event.GetPosition()), event.Skip(); });
    Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { lay_out(), event.Skip(); });
    Bind(wxEVT_MOVE,
         [this](wxMoveEvent& event) { lay_out(), event.Skip(); }); // somebody moved it: back at once
    Bind(wxEVT_TIMER, [this](wxTimerEvent&) { tick(); });
    Bind(wxEVT_CLOSE_WINDOW, [this](wxCloseEvent& event) {
        if (locked() && event.CanVeto())
            event.Veto(); // staff leave by their PIN, nobody otherwise
        else
            leave();
    });
    if (locked())
        take_window_from_manager(*this);
    watch_keys(*this, [this](const SeatKey& key) { return take_key(key); });
    if (settings_.window)
        SetClientSize(settings_.window->first, settings_.window->second);
    show_screen(Screen::Tiles);
    Show();
    lay_out();
    catalog_ =
        std::make_unique<Catalog>(Catalog::Options{settings_.folders, settings_.removable_media, [this] {
                                                       CallAfter([this] { tiles_->show(catalog_->list()); });
                                                   }});
    timer_.Start(kTickMs);
    if (const auto rules = player::load_operator_files())
        if (auto log = player::open_log(*rules))
            log_ = std::move(*log);
    note("kiosk-start");
}

KioskFrame::~KioskFrame() {
    timer_.Stop();
    catalog_.reset();
}

// ------------------------------------------------------------------------------------------------ screens

void KioskFrame::lay_out() {
    if (locked()) {
        const wxRect screen = screen_rect();
        if (GetRect() != screen)
            SetSize(screen);
    }
    const wxSize size = GetClientSize();
    if (tiles_ == nullptr || session_ == nullptr || attract_ == nullptr)
        return; // the first size comes before everything is there
    for (wxWindow* view : {static_cast<wxWindow*>(tiles_), static_cast<wxWindow*>(session_),
                           static_cast<wxWindow*>(attract_), static_cast<wxWindow*>(sheet_)})
        if (view != nullptr)
            view->SetSize(0, 0, size.x, size.y);
    if (running_)
        running_->hole->place(session_->guest_area());
}

void KioskFrame::show_screen(Screen screen) {
    if (screen != Screen::Tiles)
        tiles_->clear_search(); // whoever comes back to them sees them all
    screen_ = screen;
    tiles_->Show(screen == Screen::Tiles);
    session_->Show(screen == Screen::Session);
    attract_->Show(screen == Screen::Attract);
    if (screen == Screen::Tiles) {
        tiles_since_ = Clock::now();
        tiles_->focus_first();
    } else if (screen == Screen::Session) {
        session_->SetFocus();
    }
    if (catalog_)
        catalog_->rest(screen == Screen::Session);
}

// What ended it is for no tile. A touch moves the pointer and then presses; the idle time may be seen to end
// between the two, and before a key that was pressed arrives.
void KioskFrame::end_show() {
    show_ended_ = Clock::now();
    ignore_presses_until(show_ended_ + kWakingLasts);
    show_screen(Screen::Tiles);
}

// A staff menu that nobody closed is anybody's, and other sheets keep the next visitor from the tiles.
bool KioskFrame::sheet_left_alone() const {
    const bool closes = sheet_kind_ == SheetKind::Pin || sheet_kind_ == SheetKind::Staff ||
                        (sheet_kind_ == SheetKind::Message && screen_ != Screen::Session);
    return sheet_ != nullptr && closes && seat_idle() > kSheetLeftFor;
}

void KioskFrame::tick() {
    if (asked_to_stop_()) {
        leave();
        return;
    }
    watch_session();
    watch_leaving();
    watch_clock();
    const auto now = Clock::now();
    if (screen_ == Screen::Attract) {
        attract_->tick();
        if (seat_idle() < 500ms)
            end_show();
    } else if (screen_ == Screen::Tiles && sheet_ == nullptr && settings_.attract.count() > 0 &&
               catalog_->ready() && seat_idle() > settings_.attract &&
               now - tiles_since_ > settings_.attract) {
        tiles_since_ = now;
        if (attract_->begin(catalog_->list()))
            show_screen(Screen::Attract);
    }
    if (sheet_ != nullptr) {
        sheet_->tick();
        if ((sheet_until_ != Clock::time_point{} && now > sheet_until_) || sheet_left_alone())
            close_sheet();
    }
    if (locked() && now - top_checked_ > 250ms) {
        top_checked_ = now;
        hold_keyboard(*this);
        keep_on_top(*this);
        lay_out();
    }
}

// ------------------------------------------------------------------------------------------------ sessions

void KioskFrame::choose(const Appliance& appliance) {
    for (const auto& known : catalog_->list()) {
        if (known->path != appliance.path)
            continue;
        if (known->refusal == Refusal::None)
            start_session(known, known->begin);
        else
            tell(utf8(known->title),
                 refusal_sentence(known->refusal) + "\n" + _("Please ask staff, or try another demo."),
                 known->details, {{_("OK"), ButtonStyle::Primary, [this] { close_sheet(); }}});
        return;
    }
}

void KioskFrame::start_session(const std::shared_ptr<const Appliance>& appliance,
                               std::optional<std::string> scene) {
    close_sheet();
    if (running_)
        end_session("another");
    auto running = std::make_unique<Running>();
    running->appliance = appliance;
    running->scene = scene ? *scene : appliance->start;
    running->began = Clock::now();
    session_->begin(*appliance, scene);
    show_screen(Screen::Session);
    running->hole = std::make_unique<GuestHole>(*this);
    running->hole->place(session_->guest_area());
    GuestProcess::Options options;
    options.encore = settings_.encore;
    options.bundle = appliance->path;
    options.scene = std::move(scene);
    options.embed = running->hole->id();
    options.folder = settings_.folder;
    auto process = GuestProcess::start(options);
    if (!process) {
        show_screen(Screen::Tiles);
        tell(_("This demo could not start"), _("Please try again in a moment, or ask staff."),
             process.error().message, {{_("OK"), ButtonStyle::Primary, [this] { close_sheet(); }}});
        return;
    }
    running->process = std::move(*process);
    SessionTimes times;
    times.warning = settings_.warning;
    if (appliance->minutes)
        times.maximum = std::chrono::minutes(*appliance->minutes);
    if (appliance->idle_seconds)
        times.idle = std::chrono::seconds(*appliance->idle_seconds);
    clock_ = SessionClock(times, running->began);
    running_ = std::move(running);
    held_.reset();
    note("kiosk-session", {{"appliance", appliance->name}, {"scene", running_->scene}});
}

// The tiles are there at once; reverting and comparing goes on behind them.
void KioskFrame::end_session(const char* why) {
    if (!running_)
        return;
    close_sheet();
    release_keys();
    running_->hole->show(false);
    running_->end = why;
    running_->process->leave([this, left = running_.get()](const base::Result<std::string>& root) {
        if (root)
            note("kiosk-receipt", {{"appliance", left->appliance->name}, {"pristine", *root}});
        else
            note("kiosk-receipt", {{"appliance", left->appliance->name}, {"error", root.error().message}});
    });
    note("kiosk-session-end", {{"appliance", running_->appliance->name}, {"why", std::string(why)}});
    leaving_.push_back(std::move(running_));
    show_screen(Screen::Tiles);
}

// Its process ended by itself, or does not answer any more.
void KioskFrame::lose_session(GuestProcess::State state) {
    const auto lost = std::move(running_);
    close_sheet();
    lost->hole->show(false);
    const bool hung = state == GuestProcess::State::Hung;
    if (hung)
        lost->process->kill();
    const int status = lost->process->exit_status().value_or(-1);
    const bool by_guest = !hung && status == 0; // it was turned off inside
    note("kiosk-session-end", {{"appliance", lost->appliance->name},
                               {"why", by_guest ? "guest"
                                       : hung   ? "hung"
                                                : "crashed"},
                               {"status", int64_t{status}}});
    show_screen(Screen::Tiles);
    if (by_guest)
        return;
    tiles_->Update(); // they are what the message lies on
    const auto appliance = lost->appliance;
    const std::string said = lost->process->said().empty()
                                 ? (hung ? "the session's process did not answer"
                                         : "the session's process ended: status " + std::to_string(status))
                                 : lost->process->said();
    const bool never_ran = !lost->was_live && !hung && status > 0;
    tell(never_ran ? _("This demo could not start") : _("The demo stopped"),
         never_ran ? _("Please ask staff, or try another demo.")
                   : _("Something went wrong inside it. Nothing is lost: you can start a fresh one, or "
                       "choose another."),
         said,
         {{_("Show all demos"), ButtonStyle::Plain, [this] { close_sheet(); }},
          {_("Start again"), ButtonStyle::Primary,
           [this, appliance] { start_session(appliance, appliance->begin); }}});
    sheet_until_ = Clock::now() + kFailureShownFor;
}

void KioskFrame::watch_session() {
    if (!running_)
        return;
    const auto state = running_->process->poll();
    if (state == GuestProcess::State::Ended || state == GuestProcess::State::Hung) {
        lose_session(state);
        return;
    }
    if (state == GuestProcess::State::Starting)
        running_->hole->show(sheet_ == nullptr && running_->process->status().shown);
    if (state == GuestProcess::State::Live && !running_->was_live) {
        running_->was_live = true;
        const auto took =
            std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - running_->began);
        note("kiosk-live",
             {{"appliance", running_->appliance->name}, {"milliseconds", int64_t{took.count()}}});
        session_->set_live(true);
    }
    running_->hole->show(running_->was_live && sheet_ == nullptr);
}

void KioskFrame::watch_leaving() {
    for (auto& left : leaving_) {
        const auto state = left->process->poll();
        if (state == GuestProcess::State::Hung) {
            left->process->kill();
            note("kiosk-receipt", {{"appliance", left->appliance->name},
                                   {"error", std::string("the session did not answer")}});
        }
    }
    std::erase_if(leaving_, [](const auto& left) { return left->process->exit_status().has_value(); });
}

void KioskFrame::watch_clock() {
    if (!running_)
        return;
    const auto now = Clock::now();
    const auto verdict = clock_.look(now, seat_idle());
    using Phase = SessionClock::Phase;
    session_->show_time(clock_.left(now), clock_.share_used(now), verdict.phase == Phase::TimeWarning);
    const long seconds = std::max<long>(1, (static_cast<long>(verdict.left.count()) + 999) / 1000);
    const double ring =
        static_cast<double>(verdict.left.count()) /
        std::max<double>(1, static_cast<double>(clock_.warning_length(verdict.phase).count()));
    switch (verdict.phase) {
    case Phase::IdleOver:
        end_session("idle");
        break;
    case Phase::TimeOver:
        if (sheet_kind_ != SheetKind::Pin &&
            sheet_kind_ != SheetKind::Staff) // who give it more time just now
            end_session("time");
        break;
    case Phase::IdleWarning:
        if (sheet_kind_ != SheetKind::Idle && sheet_kind_ != SheetKind::Pin &&
            sheet_kind_ != SheetKind::Staff) {
            open_sheet(SheetKind::Idle, new MessageSheet(this, backdrop(),
                                                         {Glyph::Clock,
                                                          false,
                                                          _("Are you still there?"),
                                                          {},
                                                          {},
                                                          {{_("I am still here"), ButtonStyle::Primary,
                                                            [this] { close_sheet(); }}}}));
        }
        if (sheet_kind_ == SheetKind::Idle)
            static_cast<MessageSheet*>(sheet_)->set_text(
                wxString::Format(wxPLURAL("Resetting in %ld second: touch to stay.",
                                          "Resetting in %ld seconds: touch to stay.", seconds),
                                 seconds),
                ring);
        break;
    case Phase::TimeWarning:
    case Phase::Going:
        if (sheet_kind_ == SheetKind::Idle)
            close_sheet();
        break;
    }
}

void KioskFrame::jump(const std::string& scene) {
    close_sheet();
    if (!running_)
        return;
    release_keys();
    running_->scene = scene;
    running_->process->ask({{"do", "jump"}, {"scene", scene}});
    note("kiosk-jump", {{"appliance", running_->appliance->name}, {"scene", scene}});
}

void KioskFrame::restart() {
    close_sheet();
    if (!running_)
        return;
    release_keys();
    running_->process->ask({{"do", "revert"}});
    note("kiosk-revert", {{"appliance", running_->appliance->name}});
}

// ------------------------------------------------------------------------------------------------ sheets

void KioskFrame::open_sheet(SheetKind kind, Sheet* sheet) {
    drop_sheet();
    sheet_ = sheet;
    sheet_kind_ = kind;
    sheet_until_ = {};
    release_keys();
    if (running_)
        running_->hole->show(false);
    const wxSize size = GetClientSize();
    sheet_->SetSize(0, 0, size.x, size.y);
    sheet_->Raise();
}

// Its action may be what is running.
void KioskFrame::drop_sheet() {
    if (sheet_ == nullptr)
        return;
    sheet_->Hide();
    wxTheApp->ScheduleForDestruction(std::exchange(sheet_, nullptr));
}

// What a sheet lies on; one that follows another lies on the same.
const wxBitmap& KioskFrame::backdrop() {
    if (sheet_ == nullptr)
        backdrop_ = snapshot(*this);
    return backdrop_;
}

void KioskFrame::close_sheet() {
    if (sheet_ == nullptr)
        return;
    drop_sheet();
    sheet_kind_ = SheetKind::None;
    sheet_until_ = {};
    if (screen_ == Screen::Tiles)
        tiles_->focus_first();
    else
        session_->SetFocus();
}

void KioskFrame::tell(const wxString& title, const wxString& text, const std::string& details,
                      std::vector<MessageSheet::Choice> choices) {
    if (!details.empty())
        choices.insert(choices.begin(),
                       {_("Save a report"), ButtonStyle::Quiet, [this, details] { save_report(details); }});
    auto* sheet = new MessageSheet(this, backdrop(),
                                   {Glyph::Warning, true, title, text, utf8(details), std::move(choices)});
    sheet->on_cancel = [this] { close_sheet(); };
    open_sheet(SheetKind::Message, sheet);
}

// For a support desk, without names of people and computers. One file a day, so that curious visitors fill no
// disk.
void KioskFrame::save_report(const std::string& details) {
    auto findings = player::examine_host();
    findings.push_back({player::Finding::Level::Problem, "kiosk", details, ""});
    auto folder = player::state_folder();
    base::Result<void> saved =
        folder ? player::make_private_folder(*folder) : tl::make_unexpected(folder.error());
    const std::string path =
        folder ? *folder + wxDateTime::Now().Format("/report-%Y-%m-%d.json").utf8_string() : std::string();
    if (saved)
        saved = player::save_report(findings, path);
    auto* sheet = new MessageSheet(
        this, backdrop(),
        {saved ? Glyph::Check : Glyph::Warning,
         !saved,
         saved ? _("Report saved") : _("The report could not be saved"),
         saved ? _("Staff find it on this computer. It names no person and no computer.") : wxString(),
         utf8(saved ? path : saved.error().message),
         {{_("OK"), ButtonStyle::Primary, [this] { close_sheet(); }}}});
    sheet->on_cancel = [this] { close_sheet(); };
    open_sheet(SheetKind::Message, sheet);
}

void KioskFrame::open_scenes() {
    if (!running_)
        return;
    auto* sheet = new ScenePicker(this, backdrop(), *running_->appliance, running_->scene);
    sheet->on_cancel = [this] { close_sheet(); };
    sheet->on_pick = [this](const std::string& scene) { jump(scene); };
    sheet->on_restart = [this] { restart(); };
    sheet->on_help = [this] { open_help(); };
    sheet->on_end = [this] { end_session("visitor"); };
    open_sheet(SheetKind::Scenes, sheet);
}

void KioskFrame::open_help() {
    if (!running_)
        return;
    auto* sheet =
        new MessageSheet(this, backdrop(),
                         {Glyph::Help,
                          false,
                          utf8(running_->appliance->title),
                          utf8(running_->appliance->help),
                          {},
                          {{_("Back to the demo"), ButtonStyle::Primary, [this] { close_sheet(); }}}});
    sheet->on_cancel = [this] { close_sheet(); };
    open_sheet(SheetKind::Message, sheet);
}

// ------------------------------------------------------------------------------------------------ staff

void KioskFrame::staff_touch(const wxPoint& at) {
    const int x = right_to_left() ? tiles_->GetClientSize().x - at.x : at.x;
    const auto now = Clock::now();
    std::erase_if(staff_touches_, [&](auto time) { return now - time > kStaffTouchesWithin; });
    if (x > kStaffCorner || at.y > kStaffCorner) {
        staff_touches_.clear();
        return;
    }
    staff_touches_.push_back(now);
    if (staff_touches_.size() >= kStaffTouches) {
        staff_touches_.clear();
        CallAfter([this] { open_staff_menu(); });
    }
}

void KioskFrame::ask_pin(const wxString& title, std::function<void()> then) {
    const auto pin = player::StaffPin::standard();
    if (!pin || !pin->is_set()) {
        tell(_("Staff only"), _("No staff PIN is set on this computer, so nothing opens here."),
             pin ? "Set one from a terminal of this account: encore pin set" : pin.error().message,
             {{_("OK"), ButtonStyle::Primary, [this] { close_sheet(); }}});
        return;
    }
    auto* sheet = new PinSheet(this, backdrop(), title);
    sheet->on_cancel = [this] { close_sheet(); };
    sheet->on_pin = [this, sheet, then = std::move(then)](const std::string& typed) {
        try_pin(*sheet, typed, then);
    };
    open_sheet(SheetKind::Pin, sheet);
    sheet->SetFocus();
}

void KioskFrame::try_pin(PinSheet& sheet, const std::string& typed, const std::function<void()>& then) {
    using Verdict = player::StaffPin::Verdict;
    auto pin = player::StaffPin::standard();
    if (!pin) {
        sheet.refuse(utf8(pin.error().message));
        return;
    }
    const auto answer = pin->check(typed);
    if (!answer) {
        sheet.refuse(utf8(answer.error().message));
        return;
    }
    note("kiosk-staff-pin", {{"right", answer->verdict == Verdict::Right}});
    if (answer->verdict == Verdict::Right) {
        then();
        return;
    }
    const auto wait = static_cast<long>(answer->wait.count());
    if (wait > 0)
        sheet.refuse(wxString::Format(
            wxPLURAL("Wrong PIN. Try again in %ld second.", "Wrong PIN. Try again in %ld seconds.", wait),
            wait));
    else
        sheet.refuse(_("Wrong PIN."));
}

void KioskFrame::open_staff_menu() {
    if (sheet_kind_ == SheetKind::Pin)
        return;
    ask_pin(_("Staff only"), [this] {
        std::vector<MessageSheet::Choice> choices;
        choices.push_back({_("Close the kiosk"), ButtonStyle::Danger, [this] { leave(); }});
        if (running_ && running_->appliance->minutes)
            choices.push_back({_("More time"), ButtonStyle::Plain, [this] { give_more_time(); }});
        choices.push_back({_("Back"), ButtonStyle::Primary, [this] { close_sheet(); }});
        auto* sheet = new MessageSheet(
            this, backdrop(),
            {Glyph::Lock, false, _("Staff"), _("What would you like to do?"), {}, std::move(choices)});
        sheet->on_cancel = [this] { close_sheet(); };
        open_sheet(SheetKind::Staff, sheet);
    });
}

void KioskFrame::give_more_time() {
    close_sheet();
    if (!running_)
        return;
    clock_.extend(Clock::now(), settings_.extension);
    note("kiosk-extended",
         {{"appliance", running_->appliance->name}, {"minutes", int64_t{settings_.extension.count()}}});
}

void KioskFrame::leave() {
    note("kiosk-end");
    timer_.Stop();
    running_.reset();
    leaving_.clear();
    release_keyboard(*this);
    Destroy();
}

// ------------------------------------------------------------------------------------------------ keys

bool KioskFrame::take_key(const SeatKey& key) {
    if (key.down && key.control && key.alt && key.shift && key.letter == 'x') {
        if (sheet_kind_ != SheetKind::Pin)
            CallAfter([this] { open_staff_menu(); });
        return true;
    }
    if (screen_ == Screen::Attract) {
        if (key.down)
            end_show();
        return true;
    }
    if (sheet_ != nullptr) {
        if (!key.down)
            return true;
        if (sheet_kind_ == SheetKind::Idle) { // any key means that somebody is there
            close_sheet();
            return true;
        }
        if (!sheet_->handle_key(key.key != 0 ? key.key : static_cast<int>(key.character), key.shift))
            sheet_->handle_character(static_cast<wxChar>(key.character));
        return true;
    }
    if (screen_ == Screen::Session) {
        if (key.super) {
            if (key.down)
                CallAfter([this] { open_scenes(); });
            return true;
        }
        forward_key(key);
        return true;
    }
    if (Clock::now() - show_ended_ < kWakingLasts)
        return true;
    if (key.down && !key.control && !key.alt && !tiles_->handle_key(key.key, key.shift))
        tiles_->handle_character(static_cast<wxChar>(key.character));
    return true;
}

void KioskFrame::forward_key(const SeatKey& key) {
    if (!running_)
        return;
    const uint16_t code = player::scan_code_with_modifiers(scan_code_for_x11(key.code), key.control, key.alt);
    if (code == 0 || (!key.down && !held_.test(code)))
        return;
    held_.set(code, key.down);
    GuestProcess& guest = *running_->process;
    // Print comes with a shift of its own (IBM PS/2 Technical Reference, "Keyboard", key 124).
    if (code == kPrint && key.down)
        guest.key(kFakeShift, true);
    guest.key(code, key.down);
    if (code == kPrint && !key.down)
        guest.key(kFakeShift, false);
}

// Keys that go up while a sheet has them would stay down in the guest.
void KioskFrame::release_keys() {
    if (held_.none())
        return;
    for (size_t code = 0; code < held_.size(); ++code)
        if (held_.test(code) && running_)
            running_->process->key(static_cast<uint16_t>(code), false);
    held_.reset();
}

// ------------------------------------------------------------------------------------------------ log

void KioskFrame::note(std::string_view event, std::initializer_list<player::OperationsLog::Field> fields) {
    if (log_)
        log_->record(event, fields);
}

} // namespace kiosk
