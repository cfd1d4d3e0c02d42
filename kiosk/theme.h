// The look of every screen: one palette (light and dark), one type scale, one spacing unit, and the reading
// direction. Sizes are in device-independent pixels; the toolkit scales them.
#pragma once
#include <wx/colour.h>
#include <wx/font.h>

namespace kiosk {

struct Palette {
    wxColour background, surface, raised, line; // pages, cards, pressed cards, hairlines
    wxColour ink, muted, faint;                 // text, secondary text, disabled text
    wxColour accent, on_accent, accent_soft;
    wxColour good, warn, warn_soft, bad, bad_soft;
};

enum class Theme : uint8_t { Automatic, Light, Dark };
enum class Type : uint8_t { Display, Title, Heading, Body, Small, Mono };

// Set once at the start, before any window exists.
void set_theme(Theme theme);
void set_right_to_left(bool on);

[[nodiscard]] const Palette& palette();
[[nodiscard]] bool is_dark();
[[nodiscard]] bool right_to_left();
[[nodiscard]] const wxFont& font(Type type, bool bold = false);

inline constexpr int kUnit = 8;
inline constexpr int kTouch = 48; // the least a finger hits surely
inline constexpr int kMargin = 40, kGap = 24, kRadius = 12;
inline constexpr int kRibbonHeight = 64;

} // namespace kiosk
