#include "kiosk/theme.h"

#include <algorithm>
#include <array>
#include <wx/fontenum.h>
#include <wx/settings.h>

namespace kiosk {
namespace {

const Palette kLight = {.background = wxColour(0xF3, 0xF4, 0xF1),
                        .surface = wxColour(0xFF, 0xFF, 0xFF),
                        .raised = wxColour(0xEA, 0xEC, 0xE7),
                        .line = wxColour(0xDC, 0xDF, 0xD9),
                        .ink = wxColour(0x16, 0x1C, 0x1E),
                        .muted = wxColour(0x56, 0x61, 0x63),
                        .faint = wxColour(0x8D, 0x96, 0x97),
                        .accent = wxColour(0x0C, 0x62, 0x6B),
                        .on_accent = wxColour(0xFF, 0xFF, 0xFF),
                        .accent_soft = wxColour(0xDD, 0xEC, 0xEC),
                        .good = wxColour(0x1A, 0x75, 0x4C),
                        .warn = wxColour(0x93, 0x50, 0x0A),
                        .warn_soft = wxColour(0xFC, 0xEF, 0xD8),
                        .bad = wxColour(0xA8, 0x2B, 0x1F),
                        .bad_soft = wxColour(0xF9, 0xE3, 0xDF)};

const Palette kDark = {.background = wxColour(0x10, 0x15, 0x17),
                       .surface = wxColour(0x1A, 0x21, 0x24),
                       .raised = wxColour(0x25, 0x2E, 0x31),
                       .line = wxColour(0x2E, 0x38, 0x3B),
                       .ink = wxColour(0xEE, 0xF2, 0xF0),
                       .muted = wxColour(0xA3, 0xAF, 0xB0),
                       .faint = wxColour(0x75, 0x81, 0x83),
                       .accent = wxColour(0x5F, 0xC6, 0xCB),
                       .on_accent = wxColour(0x06, 0x22, 0x25),
                       .accent_soft = wxColour(0x16, 0x35, 0x39),
                       .good = wxColour(0x62, 0xCB, 0x97),
                       .warn = wxColour(0xF0, 0xB6, 0x5E),
                       .warn_soft = wxColour(0x3A, 0x2C, 0x14),
                       .bad = wxColour(0xF5, 0x8E, 0x80),
                       .bad_soft = wxColour(0x42, 0x20, 0x1C)};

bool dark = false, mirrored = false;

// Pixels, not points: a kiosk's layout must not depend on what its monitor claims to measure.
constexpr std::array<int, 6> kSizes = {50, 34, 26, 21, 18, 18};

wxFont make_font(Type type, bool bold) {
    wxFontInfo info(wxSize(0, kSizes[static_cast<size_t>(type)]));
    info.Family(type == Type::Mono ? wxFONTFAMILY_TELETYPE : wxFONTFAMILY_SWISS).Bold(bold);
    const wxString face = type == Type::Mono ? "Noto Sans Mono" : "Noto Sans";
    if (wxFontEnumerator::IsValidFacename(face))
        info.FaceName(face);
    return wxFont(info);
}

} // namespace

void set_theme(Theme theme) {
    dark = theme == Theme::Dark ||
           (theme == Theme::Automatic && wxSystemSettings::GetAppearance().IsUsingDarkBackground());
}

void set_right_to_left(bool on) { mirrored = on; }
bool right_to_left() { return mirrored; }
bool is_dark() { return dark; }
const Palette& palette() { return dark ? kDark : kLight; }

const wxFont& font(Type type, bool bold) {
    static std::array<wxFont, 12> fonts;
    wxFont& wanted = fonts[static_cast<size_t>(type) * 2 + (bold ? 1 : 0)];
    if (!wanted.IsOk())
        wanted = make_font(type, bold);
    return wanted;
}

} // namespace kiosk
