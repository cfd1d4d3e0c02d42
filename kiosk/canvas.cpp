#include "kiosk/canvas.h"

#include <algorithm>
#include <cmath>
#include <wx/log.h>
#include <wx/mstream.h>

namespace kiosk {
namespace {

constexpr size_t kLongestLine = 400; // characters that are looked at for one line

} // namespace

Canvas::Canvas(wxGraphicsContext& context, wxSize size) : gc_(context), size_(size) {
    gc_.SetAntialiasMode(wxANTIALIAS_DEFAULT);
    gc_.SetInterpolationQuality(wxINTERPOLATION_BEST);
}

wxRect Canvas::mirrored(const wxRect& box) const {
    return right_to_left() ? wxRect(size_.x - box.x - box.width, box.y, box.width, box.height) : box;
}

void Canvas::fill(const wxRect& box, const wxColour& colour, double radius) {
    const wxRect at = mirrored(box);
    gc_.SetPen(*wxTRANSPARENT_PEN);
    gc_.SetBrush(wxBrush(colour));
    if (radius > 0)
        gc_.DrawRoundedRectangle(at.x, at.y, at.width, at.height, radius);
    else
        gc_.DrawRectangle(at.x, at.y, at.width, at.height);
}

void Canvas::outline(const wxRect& box, const wxColour& colour, double width, double radius) {
    const wxRect at = mirrored(box);
    gc_.SetBrush(*wxTRANSPARENT_BRUSH);
    gc_.SetPen(gc_.CreatePen(wxGraphicsPenInfo(colour, width)));
    const double half = width / 2;
    gc_.DrawRoundedRectangle(at.x + half, at.y + half, at.width - width, at.height - width,
                             std::max(radius - half, 0.0));
}

void Canvas::picture(const wxBitmap& bitmap, const wxRect& box, double radius, double opacity, double zoom) {
    const wxRect at = mirrored(box);
    if (!bitmap.IsOk() || at.width <= 0 || at.height <= 0)
        return;
    const double scale = std::max(static_cast<double>(at.width) / bitmap.GetWidth(),
                                  static_cast<double>(at.height) / bitmap.GetHeight()) *
                         zoom;
    const double width = bitmap.GetWidth() * scale, height = bitmap.GetHeight() * scale;
    gc_.PushState();
    if (opacity < 1)
        gc_.BeginLayer(opacity);
    gc_.Clip(at.x, at.y, at.width, at.height);
    // Screens have their title at the top: what does not fit goes at the bottom.
    const double x = at.x + (at.width - width) / 2;
    const double y = at.y + (zoom > 1 ? (at.height - height) / 2 : 0.0);
    gc_.DrawBitmap(bitmap, x, y, width, height);
    gc_.ResetClip();
    if (opacity < 1)
        gc_.EndLayer();
    gc_.PopState();
    (void)radius;
}

void Canvas::whole_picture(const wxBitmap& bitmap, const wxRect& box) {
    const wxRect at = mirrored(box);
    if (!bitmap.IsOk())
        return;
    const double scale = std::min(static_cast<double>(at.width) / bitmap.GetWidth(),
                                  static_cast<double>(at.height) / bitmap.GetHeight());
    const double width = bitmap.GetWidth() * scale, height = bitmap.GetHeight() * scale;
    gc_.DrawBitmap(bitmap, at.x + (at.width - width) / 2, at.y + (at.height - height) / 2, width, height);
}

wxSize Canvas::measure(const wxString& text, const wxFont& font) {
    double width = 0, height = 0;
    gc_.SetFont(font, *wxBLACK);
    gc_.GetTextExtent(text, &width, &height);
    return {static_cast<int>(std::ceil(width)), static_cast<int>(std::ceil(height))};
}

// The font is set already.
wxString Canvas::cut(const wxString& text, int width) {
    double used = 0;
    gc_.GetTextExtent(text, &used, nullptr);
    if (used <= width)
        return text;
    size_t low = 0, high = text.length();
    while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        gc_.GetTextExtent(text.Left(middle) + L"\u2026", &used, nullptr);
        if (used <= width)
            low = middle;
        else
            high = middle - 1;
    }
    return text.Left(low).Trim() + L"\u2026";
}

void Canvas::text(const wxString& text, const wxRect& box, const wxFont& font, const wxColour& colour,
                  Align align) {
    if (box.width <= 0)
        return;
    const wxRect at = mirrored(box);
    gc_.SetFont(font, colour);
    const wxString line = cut(text.BeforeFirst('\n'), at.width);
    double width = 0, height = 0;
    gc_.GetTextExtent(line, &width, &height);
    const bool right = (align == Align::End) != right_to_left();
    const double x = align == Align::Middle ? at.x + (at.width - width) / 2
                     : right                ? at.x + at.width - width
                                            : at.x;
    gc_.DrawText(line, std::floor(x), std::floor(at.y + (at.height - height) / 2));
}

int Canvas::line_height(const wxFont& font) {
    return static_cast<int>(std::ceil(measure("Ag", font).y * 1.15));
}

std::vector<wxString> Canvas::wrap(const wxString& text, int width, const wxFont& font, size_t most) {
    gc_.SetFont(font, *wxBLACK);
    const auto fits = [&](const wxString& part) {
        double extent = 0;
        gc_.GetTextExtent(part, &extent, nullptr);
        return extent <= width;
    };
    std::vector<wxString> lines;
    wxString rest = text;
    rest.Trim().Trim(false);
    while (!rest.empty() && lines.size() < most) {
        wxString line = rest.BeforeFirst('\n').Left(kLongestLine);
        if (!fits(line)) {
            size_t taken = 0;
            for (size_t blank = line.find(' '); blank != wxString::npos && fits(line.Left(blank));
                 blank = line.find(' ', blank + 1))
                taken = blank;
            if (taken == 0) // one word: as much of it as fits
                for (taken = 1; taken < line.length() && fits(line.Left(taken + 1));)
                    ++taken;
            line = line.Left(taken);
        }
        rest = rest.Mid(line.length());
        if (rest.StartsWith("\n"))
            rest = rest.Mid(1); // one: an empty line stays one
        else
            rest.Trim(false);
        lines.push_back(line.Trim());
    }
    if (!rest.empty() && !lines.empty())
        lines.back() = cut(lines.back() + L" \u2026", width);
    return lines;
}

int Canvas::paragraph(const wxString& text, const wxRect& box, const wxFont& font, const wxColour& colour,
                      int lines, Align align) {
    const int step = line_height(font);
    int y = box.y;
    for (const wxString& line : wrap(text, box.width, font, static_cast<size_t>(lines))) {
        this->text(line, {box.x, y, box.width, step}, font, colour, align);
        y += step;
    }
    return y - box.y;
}

void Canvas::scroll_mark(const wxRect& box, double from, double to) {
    const int top = static_cast<int>(box.height * std::clamp(from, 0.0, 1.0));
    const int height = std::max(24, static_cast<int>(box.height * std::clamp(to - from, 0.0, 1.0)));
    fill(box, palette().raised, box.width / 2.0);
    fill({box.x, box.y + std::min(top, box.height - height), box.width, height}, palette().faint,
         box.width / 2.0);
}

void Canvas::glyph(Glyph glyph, const wxRect& box, const wxColour& colour, double pen) {
    const wxRect at = mirrored(box);
    const double s = std::min(at.width, at.height) / 24.0;
    const double x0 = at.x + (at.width - 24 * s) / 2, y0 = at.y + (at.height - 24 * s) / 2;
    // Arrows point along the reading direction.
    const bool flip =
        right_to_left() && (glyph == Glyph::Back || glyph == Glyph::Next || glyph == Glyph::Delete);
    const auto x = [&](double v) { return x0 + (flip ? 24 - v : v) * s; };
    const auto y = [&](double v) { return y0 + v * s; };
    gc_.SetBrush(*wxTRANSPARENT_BRUSH);
    gc_.SetPen(gc_.CreatePen(wxGraphicsPenInfo(colour, pen * s).Cap(wxCAP_ROUND).Join(wxJOIN_ROUND)));
    wxGraphicsPath path = gc_.CreatePath();
    const auto line = [&](std::initializer_list<std::pair<double, double>> points) {
        bool first = true;
        for (const auto& [px, py] : points) {
            if (first)
                path.MoveToPoint(x(px), y(py));
            else
                path.AddLineToPoint(x(px), y(py));
            first = false;
        }
    };
    switch (glyph) {
    case Glyph::Check:
        line({{5, 12.5}, {10, 17.5}, {19, 7}});
        break;
    case Glyph::Shield:
        line({{12, 3}, {19, 6}, {19, 11.5}, {17, 16.5}, {12, 21}, {7, 16.5}, {5, 11.5}, {5, 6}, {12, 3}});
        line({{8.8, 12}, {11.2, 14.4}, {15.4, 9.6}});
        break;
    case Glyph::Clock:
        path.AddCircle(x(12), y(12), 8.5 * s);
        line({{12, 7}, {12, 12}, {15.5, 14}});
        break;
    case Glyph::Cross:
        line({{6, 6}, {18, 18}});
        line({{18, 6}, {6, 18}});
        break;
    case Glyph::Search:
        path.AddCircle(x(10.5), y(10.5), 6 * s);
        line({{15, 15}, {20, 20}});
        break;
    case Glyph::Back:
        line({{14.5, 5}, {7.5, 12}, {14.5, 19}});
        break;
    case Glyph::Next:
        line({{9.5, 5}, {16.5, 12}, {9.5, 19}});
        break;
    case Glyph::Help:
        line({{9, 9}, {9.6, 7.2}, {12, 6}, {14.4, 7.2}, {15, 9}, {14, 11}, {12.3, 12.4}, {12, 14.5}});
        line({{12, 18}, {12, 18.2}});
        break;
    case Glyph::Restart:
        path.AddArc(x(12), y(12), 7.5 * s, -0.6, 4.4, true);
        line({{18.6, 3.6}, {18.4, 8}, {14, 8}});
        break;
    case Glyph::Scenes:
        path.AddRoundedRectangle(x(4), y(5), 7 * s, 6 * s, 1.2 * s);
        path.AddRoundedRectangle(x(13), y(5), 7 * s, 6 * s, 1.2 * s);
        path.AddRoundedRectangle(x(4), y(13), 7 * s, 6 * s, 1.2 * s);
        path.AddRoundedRectangle(x(13), y(13), 7 * s, 6 * s, 1.2 * s);
        break;
    case Glyph::Lock:
        path.AddRoundedRectangle(x0 + 6 * s, y(11), 12 * s, 9 * s, 2 * s);
        line({{8.5, 11}, {8.5, 8}, {10, 5}, {12, 4.3}, {14, 5}, {15.5, 8}, {15.5, 11}});
        break;
    case Glyph::Warning:
        line({{12, 4}, {21, 19.5}, {3, 19.5}, {12, 4}});
        line({{12, 10}, {12, 14}});
        line({{12, 16.8}, {12, 17}});
        break;
    case Glyph::Moon:
        path.AddCircle(x(12), y(12), 7.5 * s);
        line({{6.8, 17.2}, {17.2, 6.8}});
        break;
    case Glyph::Delete:
        line({{9, 6}, {20, 6}, {20, 18}, {9, 18}, {3.5, 12}, {9, 6}});
        line({{11.5, 9.5}, {16.5, 14.5}});
        line({{16.5, 9.5}, {11.5, 14.5}});
        break;
    case Glyph::Tray:
        line({{4, 13},
              {7, 5},
              {17, 5},
              {20, 13},
              {20, 19},
              {4, 19},
              {4, 13},
              {9, 13},
              {10, 15.5},
              {14, 15.5},
              {15, 13},
              {20, 13}});
        break;
    }
    gc_.StrokePath(path);
}

wxImage decode_picture(const std::vector<uint8_t>& png, int largest_side) {
    constexpr size_t kHeader = 33; // PNG specification, 5.2 and 11.2.2: signature, then IHDR
    constexpr uint32_t kMaxSide = 8192;
    if (png.size() < kHeader)
        return {};
    const auto number = [&](size_t at) {
        return uint32_t{png[at]} << 24 | uint32_t{png[at + 1]} << 16 | uint32_t{png[at + 2]} << 8 |
               png[at + 3];
    };
    const uint32_t width = number(16), height = number(20);
    if (width == 0 || height == 0 || width > kMaxSide || height > kMaxSide)
        return {};
    const wxLogNull quiet; // a picture that cannot be shown is none
    wxMemoryInputStream stream(png.data(), png.size());
    wxImage image;
    if (!image.LoadFile(stream, wxBITMAP_TYPE_PNG) || !image.IsOk())
        return {};
    const int side = std::max(image.GetWidth(), image.GetHeight());
    if (side > largest_side)
        image.Rescale(std::max(1, image.GetWidth() * largest_side / side),
                      std::max(1, image.GetHeight() * largest_side / side), wxIMAGE_QUALITY_HIGH);
    return image;
}

} // namespace kiosk
