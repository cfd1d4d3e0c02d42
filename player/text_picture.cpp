#include "player/text_picture.h"

#include "player/lazy_libraries.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <pango/pangocairo.h>

namespace player {
namespace {

template <auto Free> struct Release {
    template <class T> void operator()(T* object) const { Free(object); }
};
using Surface = std::unique_ptr<cairo_surface_t, Release<cairo_surface_destroy>>;
using Context = std::unique_ptr<cairo_t, Release<cairo_destroy>>;
using Layout = std::unique_ptr<PangoLayout, Release<g_object_unref>>;
using Font = std::unique_ptr<PangoFontDescription, Release<pango_font_description_free>>;

constexpr double kWatermarkOpacity = 0.45, kBannerOpacity = 0.85;
constexpr int kMostPixels = 8192; // of a side

Layout make_layout(cairo_t* context, const std::string& text, int size, int max_width) {
    Layout layout(pango_cairo_create_layout(context));
    const Font font(pango_font_description_from_string("Sans Semi-Bold"));
    pango_font_description_set_absolute_size(font.get(), size * PANGO_SCALE);
    pango_layout_set_font_description(layout.get(), font.get());
    pango_layout_set_single_paragraph_mode(layout.get(), TRUE);
    pango_layout_set_text(layout.get(), text.data(), static_cast<int>(text.size()));
    int width = 0, height = 0;
    pango_layout_get_pixel_size(layout.get(), &width, &height);
    if (width > max_width) {
        pango_layout_set_width(layout.get(), max_width * PANGO_SCALE);
        pango_layout_set_ellipsize(layout.get(), PANGO_ELLIPSIZE_END);
    }
    return layout;
}

void rounded_bar(cairo_t* context, double width, double height) {
    const double radius = std::min(height / 2, 14.0);
    constexpr double kQuarter = std::numbers::pi / 2;
    cairo_new_sub_path(context);
    cairo_arc(context, width - radius, radius, radius, -kQuarter, 0);
    cairo_arc(context, width - radius, height - radius, radius, 0, kQuarter);
    cairo_arc(context, radius, height - radius, radius, kQuarter, 2 * kQuarter);
    cairo_arc(context, radius, radius, radius, 2 * kQuarter, 3 * kQuarter);
    cairo_close_path(context);
    cairo_set_source_rgba(context, 0.08, 0.09, 0.11, kBannerOpacity);
    cairo_fill(context);
}

// Cairo's pixels are premultiplied; renderers want them plain.
uint32_t plain(uint32_t pixel) {
    const uint32_t alpha = pixel >> 24;
    if (alpha == 0)
        return 0;
    uint32_t out = alpha << 24;
    for (const unsigned shift : {0u, 8u, 16u})
        out |= std::min(((pixel >> shift & 0xFF) * 255 + alpha / 2) / alpha, 255u) << shift;
    return out;
}

} // namespace

TextPicture render_text(const std::string& text, int size, int max_width, TextLook look) {
    if (!load_pango()) // a session goes on without what would have been written
        return {};
    if (text.empty() || size < 4 || size > 400 || max_width < size)
        return {};
    const int margin_x = look == TextLook::Banner ? size : std::max(size / 8, 2);
    const int margin_y = look == TextLook::Banner ? size / 2 : std::max(size / 8, 2);
    max_width = std::min(max_width, kMostPixels) - 2 * margin_x;
    if (max_width < size)
        return {};
    int width = 0, height = 0;
    {
        const Surface scratch(cairo_image_surface_create(CAIRO_FORMAT_ARGB32, 1, 1));
        const Context context(cairo_create(scratch.get()));
        pango_layout_get_pixel_size(make_layout(context.get(), text, size, max_width).get(), &width, &height);
    }
    width += 2 * margin_x;
    height += 2 * margin_y;
    if (width > kMostPixels || height > kMostPixels)
        return {};
    const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_ARGB32, width, height));
    if (cairo_surface_status(surface.get()) != CAIRO_STATUS_SUCCESS)
        return {};
    {
        const Context context(cairo_create(surface.get()));
        if (look == TextLook::Banner)
            rounded_bar(context.get(), width, height);
        const Layout layout = make_layout(context.get(), text, size, max_width);
        cairo_move_to(context.get(), margin_x, margin_y);
        if (look == TextLook::Watermark) {
            cairo_push_group(context.get());
            pango_cairo_layout_path(context.get(), layout.get());
            cairo_set_source_rgb(context.get(), 0, 0, 0);
            cairo_set_line_join(context.get(), CAIRO_LINE_JOIN_ROUND);
            cairo_set_line_width(context.get(), std::max(size / 8.0, 1.5));
            cairo_stroke_preserve(context.get());
            cairo_set_source_rgb(context.get(), 1, 1, 1);
            cairo_fill(context.get());
            cairo_pop_group_to_source(context.get());
            cairo_paint_with_alpha(context.get(), kWatermarkOpacity);
        } else {
            cairo_set_source_rgb(context.get(), 1, 1, 1);
            pango_cairo_show_layout(context.get(), layout.get());
        }
    }
    cairo_surface_flush(surface.get());
    TextPicture picture{width, height, std::vector<uint32_t>(static_cast<size_t>(width) * height)};
    const uint8_t* row = cairo_image_surface_get_data(surface.get());
    const int stride = cairo_image_surface_get_stride(surface.get());
    for (int y = 0; y < height; ++y, row += stride)
        std::transform(reinterpret_cast<const uint32_t*>(row), reinterpret_cast<const uint32_t*>(row) + width,
                       picture.pixels.begin() + static_cast<ptrdiff_t>(y) * width, plain);
    return picture;
}

} // namespace player
