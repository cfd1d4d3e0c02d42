#include "kiosk/staff_door.h"

#include "kiosk/pin_sheet.h"
#include "player/staff_pin.h"

#include <wx/intl.h>

namespace kiosk {
namespace {

using namespace std::chrono_literals;

constexpr auto kTouchesWithin = 4s;
constexpr size_t kTouches = 5;
constexpr int kCorner = 96;

} // namespace

void StaffDoor::touch(const wxPoint& at) {
    const auto now = Clock::now();
    std::erase_if(touches_, [&](auto time) { return now - time > kTouchesWithin; });
    if (at.x > kCorner || at.y > kCorner) {
        touches_.clear();
        return;
    }
    touches_.push_back(now);
    if (touches_.size() < kTouches)
        return;
    touches_.clear();
    sheets_.parent()->CallAfter([this] { open(); });
}

void StaffDoor::open() {
    if (sheets_.kind() == SheetHost::Kind::Pin)
        return;
    const auto pin = player::StaffPin::standard();
    if (!pin || !pin->is_set()) {
        sheets_.tell(_("Staff only"), _("No staff PIN is set on this computer, so nothing opens here."),
                     pin ? "Set one from a terminal of this account: encore pin set" : pin.error().message,
                     {sheets_.closing(_("OK"))});
        return;
    }
    auto* sheet = new PinSheet(sheets_.parent(), sheets_.backdrop(), _("Staff only"));
    sheet->on_cancel = [this] { sheets_.close(); };
    sheet->on_pin = [this, sheet](const std::string& typed) { try_pin(*sheet, typed); };
    sheets_.open(SheetHost::Kind::Pin, sheet);
    sheet->SetFocus();
}

void StaffDoor::try_pin(PinSheet& sheet, const std::string& typed) {
    using Verdict = player::StaffPin::Verdict;
    auto pin = player::StaffPin::standard();
    if (!pin) {
        sheet.refuse(wxString::FromUTF8(pin.error().message));
        return;
    }
    const auto answer = pin->check(typed);
    if (!answer) {
        sheet.refuse(wxString::FromUTF8(answer.error().message));
        return;
    }
    log_.note("kiosk-staff-pin", {{"right", answer->verdict == Verdict::Right}});
    if (answer->verdict == Verdict::Right) {
        open_menu();
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

void StaffDoor::open_menu() {
    std::vector<MessageSheet::Choice> choices;
    choices.push_back({_("Close the kiosk"), ButtonStyle::Danger, [this] { on_leave(); }});
    if (time_is_limited())
        choices.push_back({_("More time"), ButtonStyle::Plain, [this] {
                               sheets_.close();
                               on_more_time();
                           }});
    choices.push_back(sheets_.closing(_("Back")));
    auto* sheet = new MessageSheet(
        sheets_.parent(), sheets_.backdrop(),
        {Glyph::Lock, false, _("Staff"), _("What would you like to do?"), {}, std::move(choices)});
    sheet->on_cancel = [this] { sheets_.close(); };
    sheets_.open(SheetHost::Kind::Staff, sheet);
}

} // namespace kiosk
