// Drawing in the kiosk's terms: cards, pictures that fill a shape, text that is cut or wrapped to its box. x
// coordinates are those of a left-to-right layout; a canvas of a right-to-left screen mirrors boxes and
// alignment (never pictures or the text itself).
#pragma once
#include "kiosk/theme.h"

#include <memory>
#include <vector>
#include <wx/bitmap.h>
#include <wx/dc.h>
#include <wx/graphics.h>
#include <wx/image.h>

class wxAutoBufferedPaintDC;
class wxWindowDC;

namespace kiosk {

enum class Align : uint8_t { Start, Middle, End };
enum class Glyph : uint8_t {
    Check,
    Shield,
    Clock,
    Cross,
    Search,
    Back,
    Help,
    Restart,
    Scenes,
    Lock,
    Warning,
    Next,
    Moon,
    Delete,
    Tray
};

class Canvas {
  public:
    Canvas(wxGraphicsContext& context, wxSize size);

    void fill(const wxRect& box, const wxColour& colour, double radius = 0);
    void outline(const wxRect& box, const wxColour& colour, double width, double radius = 0);
    // Covers the box, cutting what sticks out; `focus` moves the cut, 0..1 each way.
    void picture(const wxBitmap& bitmap, const wxRect& box, double radius = 0, double opacity = 1,
                 double zoom = 1);
    // Fits into the box.
    void whole_picture(const wxBitmap& bitmap, const wxRect& box);
    // One line, cut with an ellipsis.
    void text(const wxString& text, const wxRect& box, const wxFont& font, const wxColour& colour,
              Align align = Align::Start);
    // Up to `lines` lines; returns the height used.
    int paragraph(const wxString& text, const wxRect& box, const wxFont& font, const wxColour& colour,
                  int lines, Align align = Align::Start);
    void glyph(Glyph glyph, const wxRect& box, const wxColour& colour, double width = 2);
    // The lines that a text takes: broken at blanks, or anywhere where there are none. Where it goes on after
    // the last of them, that one ends in an ellipsis.
    [[nodiscard]] std::vector<wxString> wrap(const wxString& text, int width, const wxFont& font,
                                             size_t most);
    [[nodiscard]] int line_height(const wxFont& font);
    // How far one has read in something longer than its box: the part that is seen, of all.
    void scroll_mark(const wxRect& box, double from, double to);
    [[nodiscard]] wxSize measure(const wxString& text, const wxFont& font);
    [[nodiscard]] wxGraphicsContext& context() { return gc_; }
    [[nodiscard]] wxRect mirrored(const wxRect& box) const;

  private:
    wxString cut(const wxString& text, int width);
    wxGraphicsContext& gc_;
    wxSize size_;
};

// A PNG as a picture; an empty one when it is none, or so large that it would only be there to harm.
[[nodiscard]] wxImage decode_picture(const std::vector<uint8_t>& png, int largest_side);

} // namespace kiosk
