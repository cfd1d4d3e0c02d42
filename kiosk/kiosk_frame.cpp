#include "kiosk/kiosk_frame.h"

#include "kiosk/scene_picker.h"

#include <algorithm>
#include <wx/intl.h>

namespace kiosk {

using namespace std::chrono_literals;

namespace {

constexpr int kTickMs = 20;
constexpr auto kFailureShownFor = 20s;
constexpr auto kTimeUpShownFor = 10s;
constexpr auto kSheetLeftFor = 60s;  // without a touch: nobody is in front of it
constexpr auto kWakingLasts = 500ms; // the touch that ends the show, until it is over

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
    sessions_ = std::make_unique<Sessions>(*this, *session_, settings_, log_);
    connect_parts();
    if (locked() && !on_wayland())
        take_window_from_manager(*this);
    watch_keys(*this, [this](const SeatKey& key) { return take_key(key); });
    if (settings_.window)
        SetClientSize(settings_.window->first, settings_.window->second);
    set_keyboard_in_use(true); // until a finger or a mouse says otherwise, it shows where Return goes
    show_screen(Screen::Tiles);
    Show();
    if (locked() && on_wayland())
        ShowFullScreen(true);
    lay_out();
    const auto changed = [this] { CallAfter([this] { tiles_->show(catalog_->list(), catalog_->ready()); }); };
    catalog_ =
        std::make_unique<Catalog>(Catalog::Options{settings_.folders, settings_.removable_media, changed});
    timer_.Start(kTickMs);
    log_.note("kiosk-start");
}

KioskFrame::~KioskFrame() {
    timer_.Stop();
    catalog_.reset();
}

void KioskFrame::connect_parts() {
    tiles_->on_choose = [this](const Appliance& appliance) { choose(appliance); };
    session_->on_scenes = [this] { open_scenes(); };
    session_->on_restart = [this] { restart(); };
    session_->on_help = [this] { open_help(); };
    session_->on_end = [this] { end_session("visitor"); };
    sessions_->on_loss = [this](const Sessions::Loss& loss) { mourn(loss); };
    sheets_.on_change = [this](bool up) {
        if (up)
            sessions_->release_keys();
        show_views();
    };
    staff_.on_leave = [this] { leave(); };
    staff_.on_more_time = [this] { sessions_->extend(); };
    staff_.time_is_limited = [this] {
        return sessions_->running() && sessions_->appliance().minutes.has_value();
    };
    attract_->Bind(wxEVT_LEFT_DOWN, [this](wxMouseEvent&) { end_show(); });
    tiles_->Bind(wxEVT_LEFT_UP, [this](wxMouseEvent& event) {
        const int x = right_to_left() ? tiles_->GetClientSize().x - event.GetX() : event.GetX();
        staff_.touch({x, event.GetY()});
        event.Skip();
    });
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
}

// ------------------------------------------------------------------------------------------------ screens

void KioskFrame::lay_out() {
    if (locked() && !on_wayland()) {
        const wxRect screen = screen_rect();
        if (GetRect() != screen)
            SetSize(screen);
    }
    const wxSize size = GetClientSize();
    if (!sessions_)
        return; // the first size comes before everything is there
    for (wxWindow* view :
         {static_cast<wxWindow*>(tiles_), static_cast<wxWindow*>(session_), static_cast<wxWindow*>(attract_)})
        view->SetSize(0, 0, size.x, size.y);
    sheets_.lay_out();
    sessions_->lay_out();
}

void KioskFrame::show_screen(Screen screen) {
    if (screen != Screen::Tiles)
        tiles_->begin_anew(); // whoever comes back to them sees them all
    screen_ = screen;
    if (screen == Screen::Tiles)
        tiles_since_ = Clock::now();
    show_views();
    if (catalog_)
        catalog_->rest(screen == Screen::Session);
}

// What a sheet covers is not there, for screen readers either.
void KioskFrame::show_views() {
    const bool covered = sheets_.sheet() != nullptr;
    tiles_->Show(screen_ == Screen::Tiles && !covered);
    session_->Show(screen_ == Screen::Session && !covered);
    attract_->Show(screen_ == Screen::Attract && !covered);
    if (!covered && screen_ == Screen::Tiles)
        tiles_->take_focus();
    else if (!covered && screen_ == Screen::Session)
        session_->SetFocus();
}

void KioskFrame::watch_show() {
    const auto now = Clock::now();
    if (screen_ == Screen::Attract) {
        attract_->tick();
        if (seat_idle() < 500ms)
            end_show();
    } else if (screen_ == Screen::Tiles && sheets_.sheet() == nullptr && settings_.attract.count() > 0 &&
               catalog_->ready() && seat_idle() > settings_.attract &&
               now - tiles_since_ > settings_.attract) {
        tiles_since_ = now;
        if (attract_->begin(catalog_->list()))
            show_screen(Screen::Attract);
    }
}

// What ended it is for no tile. A touch moves the pointer and then presses; the idle time may be seen to end
// between the two, and before a key that was pressed arrives.
void KioskFrame::end_show() {
    show_ended_ = Clock::now();
    ignore_presses_until(show_ended_ + kWakingLasts);
    show_screen(Screen::Tiles);
}

// A staff menu that nobody closed is anybody's, and other sheets keep the next visitor from the tiles.
bool KioskFrame::sheet_left_alone() {
    const bool closes =
        sheets_.is_staffs() || (sheets_.kind() == SheetHost::Kind::Message && screen_ != Screen::Session);
    return sheets_.sheet() != nullptr && closes && seat_idle() > kSheetLeftFor;
}

void KioskFrame::tick() {
    if (asked_to_stop_()) {
        leave();
        return;
    }
    sessions_->tick(sheets_.sheet() != nullptr);
    watch_clock();
    watch_show();
    sheets_.tick();
    if (sheet_left_alone())
        sheets_.close();
    const auto now = Clock::now();
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
            sheets_.tell(utf8(known->title),
                         refusal_sentence(known->refusal) + "\n" +
                             _("Please ask staff, or try another demo."),
                         known->details, {sheets_.closing(_("OK"))});
        return;
    }
}

void KioskFrame::start_session(const std::shared_ptr<const Appliance>& appliance,
                               const std::optional<std::string>& scene) {
    sheets_.close();
    end_session("another");
    session_->begin(*appliance, scene);
    show_screen(Screen::Session);
    if (auto started = sessions_->start(appliance, scene); !started) {
        show_screen(Screen::Tiles);
        sheets_.tell(_("This demo could not start"), _("Please try again in a moment, or ask staff."),
                     started.error().message, {sheets_.closing(_("OK"))});
    }
}

void KioskFrame::end_session(const char* why) {
    if (!sessions_->running())
        return;
    sheets_.close();
    sessions_->end(why);
    show_screen(Screen::Tiles);
}

void KioskFrame::mourn(const Sessions::Loss& loss) {
    sheets_.close();
    show_screen(Screen::Tiles);
    if (loss.by_guest)
        return;
    tiles_->Update(); // they are what the message lies on
    sheets_.tell(loss.never_ran ? _("This demo could not start") : _("The demo stopped"),
                 loss.never_ran
                     ? _("Please ask staff, or try another demo.")
                     : _("Something went wrong inside it. Nothing is lost: you can start a fresh one, or "
                         "choose another."),
                 loss.said,
                 {{_("Show all demos"), ButtonStyle::Plain, [this] { sheets_.close(); }},
                  {_("Start again"), ButtonStyle::Primary,
                   [this, appliance = loss.appliance] { start_session(appliance, appliance->begin); }}});
    sheets_.close_after(kFailureShownFor);
}

void KioskFrame::watch_clock() {
    if (!sessions_->running())
        return;
    using Kind = SheetHost::Kind;
    using Phase = SessionClock::Phase;
    const auto verdict = sessions_->look_at_clock();
    const long seconds = std::max<long>(1, (static_cast<long>(verdict.left.count()) + 999) / 1000);
    switch (verdict.phase) {
    case Phase::IdleOver:
        end_session("idle");
        break;
    case Phase::TimeOver:
        if (!sheets_.is_staffs()) { // who give it more time just now
            end_session("time");
            tell_time_is_up();
        }
        break;
    case Phase::IdleWarning:
        if (sheets_.kind() != Kind::Idle && !sheets_.is_staffs())
            sheets_.open(Kind::Idle, new MessageSheet(this, sheets_.backdrop(),
                                                      {Glyph::Clock,
                                                       false,
                                                       _("Are you still there?"),
                                                       {},
                                                       {},
                                                       {sheets_.closing(_("I am still here"))}}));
        if (sheets_.kind() == Kind::Idle)
            static_cast<MessageSheet*>(sheets_.sheet())
                ->set_text(wxString::Format(wxPLURAL("Resetting in %ld second: touch to stay.",
                                                     "Resetting in %ld seconds: touch to stay.", seconds),
                                            seconds),
                           sessions_->share_left(verdict));
        break;
    case Phase::TimeWarning:
    case Phase::Going:
        if (sheets_.kind() == Kind::Idle)
            sheets_.close();
        break;
    }
}

// Whoever played until now is told why the tiles are back; whoever comes next need not be.
void KioskFrame::tell_time_is_up() {
    tiles_->Update(); // they are what the message lies on
    auto* sheet =
        new MessageSheet(this, sheets_.backdrop(),
                         {Glyph::Clock,
                          false,
                          _("Time is up"),
                          _("The demo is as it was, for the next visitor. Thank you for trying it."),
                          {},
                          {sheets_.closing(_("Show all demos"))}});
    sheet->on_cancel = [this] { sheets_.close(); };
    sheets_.open(SheetHost::Kind::Message, sheet);
    sheets_.close_after(kTimeUpShownFor);
}

void KioskFrame::jump(const std::string& scene) {
    sheets_.close();
    sessions_->jump(scene);
}

void KioskFrame::restart() {
    sheets_.close();
    sessions_->restart();
}

void KioskFrame::open_scenes() {
    if (!sessions_->running())
        return;
    auto* sheet = new ScenePicker(this, sheets_.backdrop(), sessions_->appliance(), sessions_->scene());
    sheet->on_cancel = [this] { sheets_.close(); };
    sheet->on_pick = [this](const std::string& scene) { jump(scene); };
    sheet->on_restart = [this] { restart(); };
    sheet->on_help = [this] { open_help(); };
    sheet->on_end = [this] { end_session("visitor"); };
    sheets_.open(SheetHost::Kind::Scenes, sheet);
}

void KioskFrame::open_help() {
    if (!sessions_->running())
        return;
    auto* sheet = new MessageSheet(this, sheets_.backdrop(),
                                   {Glyph::Help,
                                    false,
                                    utf8(sessions_->appliance().title),
                                    utf8(sessions_->appliance().help),
                                    {},
                                    {sheets_.closing(_("Back to the demo"))}});
    sheet->on_cancel = [this] { sheets_.close(); };
    sheets_.open(SheetHost::Kind::Message, sheet);
}

void KioskFrame::leave() {
    log_.note("kiosk-end");
    timer_.Stop();
    sessions_->drop_all();
    release_keyboard(*this);
    Destroy();
}

// ------------------------------------------------------------------------------------------------ keys

bool KioskFrame::take_key(const SeatKey& key) {
    if (key.down && key.control && key.alt && key.shift && key.letter == 'x') {
        CallAfter([this] { staff_.open(); });
        return true;
    }
    if (screen_ == Screen::Attract) {
        if (key.down)
            end_show();
        return true;
    }
    if (sheets_.sheet() != nullptr)
        return take_sheet_key(key);
    if (screen_ == Screen::Session) {
        if (!key.super)
            sessions_->pass_on(key);
        else if (key.down)
            CallAfter([this] { open_scenes(); });
        return true;
    }
    if (Clock::now() - show_ended_ < kWakingLasts)
        return true;
    if (key.down && !key.control && !key.alt && !tiles_->handle_key(key.key, key.shift))
        tiles_->handle_character(static_cast<wxChar>(key.character));
    return true;
}

bool KioskFrame::take_sheet_key(const SeatKey& key) {
    if (!key.down)
        return true;
    if (sheets_.kind() == SheetHost::Kind::Idle) { // any key means that somebody is there
        sheets_.close();
        return true;
    }
    Sheet& sheet = *sheets_.sheet();
    if (!sheet.handle_key(key.key != 0 ? key.key : static_cast<int>(key.character), key.shift))
        sheet.handle_character(static_cast<wxChar>(key.character));
    return true;
}

} // namespace kiosk
