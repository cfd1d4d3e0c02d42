#include "kiosk/presenter_frame.h"

#include "kiosk/seat.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <wx/datetime.h>
#include <wx/dcbuffer.h>
#include <wx/display.h>
#include <wx/intl.h>

namespace kiosk {

using namespace std::chrono_literals;
using nlohmann::json;

namespace {

constexpr int kTickMs = 40;
constexpr int kListWidth = 380, kTileHeight = 236, kTop = 96, kBottom = 108;

wxString utf8(const std::string& text) { return wxString::FromUTF8(text); }

} // namespace

PresenterFrame::PresenterFrame(Settings settings, Appliance appliance, std::function<bool()> asked_to_stop)
    : settings_(std::move(settings)), appliance_(std::move(appliance)),
      asked_to_stop_(std::move(asked_to_stop)), timer_(this) {
    Create(nullptr, wxID_ANY, utf8(appliance_.title) + L" \u2014 Encore");
    if (appliance_.scenes.empty()) // a bundle without scenes has one: its start
        appliance_.scenes.push_back({"", utf8(appliance_.title).utf8_string(), "", appliance_.picture});
    page_ = new wxWindow;
    page_->SetBackgroundStyle(wxBG_STYLE_PAINT);
    page_->Create(this, wxID_ANY, wxDefaultPosition, wxDefaultSize, wxBORDER_NONE | wxWANTS_CHARS);
    page_->Bind(wxEVT_PAINT, [this](wxPaintEvent&) { paint(); });
    page_->Bind(wxEVT_SIZE, [this](wxSizeEvent& event) { lay_out(), event.Skip(); });
    int number = 0;
    for (const SceneCard& scene : appliance_.scenes) {
        auto* tile = new SceneTile(page_, scene, ++number, false, false);
        tile->on_activate = [this, index = tiles_.size()] { go_to(index); };
        tiles_.push_back(tile);
        controls_.push_back(tile);
    }
    const auto make = [this](const wxString& label, ButtonStyle style, std::optional<Glyph> glyph,
                             std::function<void()> act) {
        auto* button = new Button(page_, label, style, glyph);
        button->on_activate = std::move(act);
        controls_.push_back(button);
        return button;
    };
    next_ = make(_("Next scene"), ButtonStyle::Primary, Glyph::Next, [this] { step(1); });
    black_button_ = make(_("Black screen"), ButtonStyle::Plain, Glyph::Moon, [this] { set_black(!black_); });
    again_ = make(_("Start over"), ButtonStyle::Plain, Glyph::Restart, [this] { start_over(); });
    end_button_ = make(_("End"), ButtonStyle::Quiet, Glyph::Cross, [this] { end(); });
    watch_keys(*this, [this](const SeatKey& key) {
        return key.down && take_key(key.key, key.character, key.control || key.alt);
    });
    Bind(wxEVT_TIMER, [this](wxTimerEvent&) { tick(); });
    Bind(wxEVT_CLOSE_WINDOW, [this](wxCloseEvent&) { end(); });
    const auto start_at = std::ranges::find(appliance_.scenes, appliance_.start, &SceneCard::name);
    current_ =
        start_at == appliance_.scenes.end() ? 0 : static_cast<size_t>(start_at - appliance_.scenes.begin());
    SetClientSize(settings_.window ? wxSize(settings_.window->first, settings_.window->second)
                                   : wxSize(1200, 780));
    SetMinClientSize({900, 600});
    if (wxDisplay::GetCount() > 1) // window managers might take the one that the mouse happens to be on
        SetPosition(screen_rect().GetTopLeft());
    Show();
    start(appliance_.begin);
    timer_.Start(kTickMs);
}

PresenterFrame::~PresenterFrame() { timer_.Stop(); }

void PresenterFrame::start(const std::optional<std::string>& scene) {
    GuestProcess::Options options;
    options.encore = settings_.encore;
    options.bundle = appliance_.path;
    options.scene = scene;
    // The display that this window is not on is the projector. A point names it: the toolkits number displays
    // each in its own way.
    projector_ = other_display(*this);
    if (projector_) {
        options.full_screen = true;
        options.at = fmt::format("{},{}", projector_->x, projector_->y);
    }
    auto guest = GuestProcess::start(options);
    if (!guest) {
        status_ = utf8(guest.error().message);
        return;
    }
    guest_ = std::move(*guest);
    guest_->ask({{"do", "chords"}, {"on", true}});
    chords_seen_ = 0;
    black_ = false;
    status_ = _("Starting...");
    began_ = Clock::now();
    for (size_t i = 0; i < tiles_.size(); ++i)
        tiles_[i]->set_current(i == current_);
    page_->Refresh();
}

// The cable is pulled, or put in, in the middle of the show: without a projector the guest is a window beside
// the notes, which stay in sight.
void PresenterFrame::follow_displays() {
    const wxPoint here = own_display(*this);
    if (const wxRect frame = GetRect(); wxDisplay::GetFromWindow(this) == wxNOT_FOUND && !frame.IsEmpty())
        SetPosition(screen_rect().GetTopLeft()); // its display is gone, and no window manager moved it
    const auto projector = other_display(*this);
    if (projector == projector_)
        return;
    projector_ = projector;
    const wxPoint to = projector.value_or(here);
    if (guest_)
        guest_->ask({{"do", "place"}, {"x", to.x}, {"y", to.y}, {"full_screen", projector.has_value()}});
    if (!projector)
        Raise();
}

void PresenterFrame::tick() {
    if (asked_to_stop_() && !closing_)
        end();
    for (auto& left : leaving_)
        if (left->poll() == GuestProcess::State::Hung)
            left->kill();
    std::erase_if(leaving_, [](const auto& left) { return left->exit_status().has_value(); });
    if (closing_ && leaving_.empty()) {
        timer_.Stop();
        Destroy();
        return;
    }
    if (guest_) {
        const bool was_live = guest_->status().shown;
        const auto state = guest_->poll();
        if (state == GuestProcess::State::Ended || state == GuestProcess::State::Hung) {
            const bool quietly = guest_->exit_status() == 0;
            good_receipt_ = false;
            status_ = quietly ? _("The session has ended. Choose a scene to start again.")
                              : _("The session stopped. Choose a scene to start again.");
            if (!quietly && !guest_->said().empty())
                status_ = utf8(guest_->said()).BeforeLast('\n').AfterLast('\n');
            guest_.reset();
            page_->Refresh();
        } else if (state == GuestProcess::State::Live && !was_live) {
            status_.clear();
            page_->Refresh();
        }
        if (guest_ && guest_->status().chords != chords_seen_) {
            chords_seen_ = guest_->status().chords;
            take_chord(guest_->status().chord);
        }
    }
    if (Clock::now() - shown_second_ > 500ms) {
        shown_second_ = Clock::now();
        if (!closing_)
            follow_displays();
        page_->RefreshRect({0, 0, page_->GetClientSize().x, kTop});
    }
}

void PresenterFrame::go_to(size_t scene) {
    if (scene >= tiles_.size())
        return;
    current_ = scene;
    for (size_t i = 0; i < tiles_.size(); ++i)
        tiles_[i]->set_current(i == scene);
    status_.clear();
    if (guest_)
        guest_->ask({{"do", "jump"}, {"scene", appliance_.scenes[scene].name}}, [this](const json& answer) {
            if (!answer.value("ok", false))
                status_ = utf8(answer.value("error", std::string()));
            page_->Refresh();
        });
    else
        start(appliance_.scenes[scene].name);
    set_black(false);
    lay_out();
}

void PresenterFrame::step(int by) {
    const auto next = static_cast<int64_t>(current_) + by;
    if (next >= 0 && next < static_cast<int64_t>(tiles_.size()))
        go_to(static_cast<size_t>(next));
}

void PresenterFrame::start_over() {
    if (!guest_) {
        go_to(current_);
        return;
    }
    // A bundle without scenes has nothing to compare with.
    const bool scene = !appliance_.scenes[current_].name.empty();
    guest_->ask({{"do", "revert"}, {"receipt", scene}}, [this, scene](const json& answer) {
        good_receipt_ = scene && answer.value("ok", false);
        status_ = good_receipt_ ? wxString::Format(_("Pristine again: %s"),
                                                   utf8(answer.value("root", std::string())).Left(16))
                                : utf8(answer.value("error", std::string()));
        page_->Refresh();
    });
    set_black(false);
}

void PresenterFrame::set_black(bool black) {
    if (std::exchange(black_, black) == black)
        return;
    if (guest_)
        guest_->ask({{"do", "black"}, {"on", black}});
    black_button_->set_label(black ? _("Show again") : _("Black screen"));
    lay_out();
}

void PresenterFrame::end() {
    if (std::exchange(closing_, true))
        return;
    Hide();
    if (!guest_)
        return;
    guest_->leave([](const base::Result<std::string>& root) {
        if (root)
            fmt::print("pristine {}\n", *root);
        std::fflush(stdout);
    });
    leaving_.push_back(std::move(guest_));
}

void PresenterFrame::take_chord(char letter) {
    switch (letter) {
    case 'n':
        step(1);
        break;
    case 'p':
        step(-1);
        break;
    case 'b':
        set_black(!black_);
        break;
    case 'r':
        start_over();
        break;
    case 'q':
        end();
        break;
    default:
        break;
    }
}

bool PresenterFrame::take_key(int key, wchar_t character, bool control) {
    if (control)
        return false;
    if (key == WXK_PAGEDOWN || key == WXK_PAGEUP) { // what presentation remotes send
        step(key == WXK_PAGEDOWN ? 1 : -1);
        return true;
    }
    if (character >= '1' && character <= '9') {
        go_to(static_cast<size_t>(character - '1'));
        return true;
    }
    if (character == '.')
        character = 'b'; // remotes again
    for (const char letter : {'n', 'p', 'b', 'r'})
        if (character == letter) {
            take_chord(letter);
            return true;
        }
    return navigate(controls_, key, false);
}

wxString PresenterFrame::clock_text() const {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - began_).count();
    return seconds >= 3600
               ? wxString::Format("%d:%02d:%02d", static_cast<int>(seconds / 3600),
                                  static_cast<int>(seconds / 60 % 60), static_cast<int>(seconds % 60))
               : wxString::Format("%d:%02d", static_cast<int>(seconds / 60), static_cast<int>(seconds % 60));
}

void PresenterFrame::lay_out() {
    if (end_button_ == nullptr)
        return;
    const wxSize size = page_->GetClientSize();
    // As many scenes as fit, the current one among them.
    const size_t fit = static_cast<size_t>(std::max(1, (size.y - kTop - 16) / (kTileHeight + 12)));
    const size_t first = current_ >= fit ? current_ - fit + 1 : 0;
    for (size_t i = 0; i < tiles_.size(); ++i) {
        tiles_[i]->Show(i >= first && i < first + fit);
        place(tiles_[i], {24, kTop + static_cast<int>(i - std::min(i, first)) * (kTileHeight + 12),
                          kListWidth - 24, kTileHeight});
    }
    int x = size.x - 24;
    for (Button* button : {next_, black_button_, again_, end_button_}) {
        const int width = button->wanted_width();
        x -= width;
        place(button, {x, size.y - 80, width, 56});
        x -= 12;
    }
    page_->Refresh();
}

void PresenterFrame::paint() {
    wxAutoBufferedPaintDC dc(page_);
    const Palette& p = palette();
    dc.SetBackground(wxBrush(p.background));
    dc.Clear();
    const std::unique_ptr<wxGraphicsContext> gc(wxGraphicsContext::Create(dc));
    const wxSize size = page_->GetClientSize();
    Canvas canvas(*gc, size);
    canvas.text(utf8(appliance_.title), {24, 18, size.x - 480, 40}, font(Type::Title, true), p.ink);
    canvas.glyph(Glyph::Shield, {22, 58, 20, 20}, p.good);
    canvas.text(utf8(appliance_.publisher), {46, 56, size.x - 520, 24}, font(Type::Small), p.good);
    const wxString now = wxDateTime::Now().Format("%H:%M");
    canvas.text(clock_text(), {size.x - 424, 14, 250, 60}, font(Type::Display, true), p.ink, Align::End);
    canvas.text(now, {size.x - 150, 20, 126, 52}, font(Type::Title), p.muted, Align::End);
    const wxRect card(kListWidth + 16, kTop, size.x - kListWidth - 40, size.y - kTop - kBottom);
    canvas.fill(card, p.surface, kRadius);
    canvas.outline(card, p.line, 1, kRadius);
    const SceneCard& scene = appliance_.scenes[current_];
    canvas.text(wxString::Format(_("Scene %d of %d"), static_cast<int>(current_) + 1,
                                 static_cast<int>(tiles_.size())),
                {card.x + 32, card.y + 28, card.width - 64, 24}, font(Type::Small, true), p.accent);
    canvas.text(utf8(scene.title), {card.x + 32, card.y + 54, card.width - 64, 44}, font(Type::Title, true),
                p.ink);
    canvas.paragraph(scene.notes.empty() ? _("No notes for this scene.") : utf8(scene.notes),
                     {card.x + 32, card.y + 112, card.width - 64, card.height - 200}, font(Type::Heading),
                     scene.notes.empty() ? p.faint : p.ink, std::max(1, (card.height - 210) / 30));
    if (current_ + 1 < tiles_.size())
        canvas.text(wxString::Format(_("Next: %s"), utf8(appliance_.scenes[current_ + 1].title)),
                    {card.x + 32, card.GetBottom() - 84, card.width - 64, 28}, font(Type::Body, true),
                    p.muted);
    const wxString hint = _("N next, P back, B black, R start over, 1 to 9 a scene. In the demo's window: "
                            "Ctrl+Alt with the letter.");
    const bool told = !status_.empty();
    if (told && good_receipt_)
        canvas.glyph(Glyph::Check, {card.x + 28, card.GetBottom() - 50, 22, 22}, p.good, 3);
    canvas.text(told ? status_ : hint,
                {card.x + (told && good_receipt_ ? 58 : 32), card.GetBottom() - 52, card.width - 90, 26},
                font(Type::Small), told ? (good_receipt_ ? p.good : p.warn) : p.muted);
    if (black_) {
        const wxRect badge(size.x - 560, 22, 150, 44);
        canvas.fill(badge, p.warn_soft, 22);
        canvas.text(_("Screen is black"), badge, font(Type::Small, true), p.warn, Align::Middle);
    }
}

} // namespace kiosk
