#include "kiosk/sheet_host.h"

#include "kiosk/seat.h"
#include "player/doctor.h"
#include "player/user_folders.h"

#include <wx/app.h>
#include <wx/datetime.h>
#include <wx/intl.h>

namespace kiosk {

void SheetHost::open(Kind kind, Sheet* sheet) {
    const bool first = sheet_ == nullptr;
    drop();
    sheet_ = sheet;
    kind_ = kind;
    until_ = {};
    lay_out();
    sheet_->Raise();
    if (first && on_change)
        on_change(true);
}

// Its action may be what is running.
void SheetHost::drop() {
    if (sheet_ == nullptr)
        return;
    sheet_->Hide();
    wxTheApp->ScheduleForDestruction(std::exchange(sheet_, nullptr));
}

void SheetHost::close() {
    if (sheet_ == nullptr)
        return;
    drop();
    kind_ = Kind::None;
    until_ = {};
    if (on_change)
        on_change(false);
}

void SheetHost::tick() {
    if (sheet_ == nullptr)
        return;
    sheet_->tick();
    if (until_ != Clock::time_point{} && Clock::now() > until_)
        close();
}

void SheetHost::lay_out() {
    const wxSize size = frame_.GetClientSize();
    if (sheet_ != nullptr)
        sheet_->SetSize(0, 0, size.x, size.y);
}

const wxBitmap& SheetHost::backdrop() {
    if (sheet_ == nullptr)
        backdrop_ = snapshot(frame_);
    return backdrop_;
}

MessageSheet::Choice SheetHost::closing(const wxString& label) {
    return {label, ButtonStyle::Primary, [this] { close(); }};
}

void SheetHost::tell(const wxString& title, const wxString& text, const std::string& details,
                     std::vector<MessageSheet::Choice> choices) {
    if (!details.empty())
        choices.insert(choices.begin(),
                       {_("Save a report"), ButtonStyle::Quiet, [this, details] { save_report(details); }});
    auto* sheet = new MessageSheet(
        &frame_, backdrop(),
        {Glyph::Warning, true, title, text, wxString::FromUTF8(details), std::move(choices)});
    sheet->on_cancel = [this] { close(); };
    open(Kind::Message, sheet);
}

// Without names of people and computers. One file a day, so that curious visitors fill no disk.
void SheetHost::save_report(const std::string& details) {
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
        &frame_, backdrop(),
        {saved ? Glyph::Check : Glyph::Warning,
         !saved,
         saved ? _("Report saved") : _("The report could not be saved"),
         saved ? _("Staff find it on this computer. It names no person and no computer.") : wxString(),
         wxString::FromUTF8(saved ? path : saved.error().message),
         {closing(_("OK"))}});
    sheet->on_cancel = [this] { close(); };
    open(Kind::Message, sheet);
}

} // namespace kiosk
