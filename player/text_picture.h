// A few words as pixels, for what is drawn over the guest's picture: in any script, shaped and joined as it
// is written (Pango), right-to-left included.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace player {

struct TextPicture {
    int width = 0, height = 0;
    std::vector<uint32_t> pixels; // ARGB, not premultiplied, rows tightly packed
};

enum class TextLook : uint8_t {
    Watermark, // white with a dark edge, half transparent: legible on anything, hides little
    Banner,    // white on a dark rounded bar
};

// `size`: height of the letters in pixels, about. Longer texts than `max_width` pixels end in an ellipsis.
// Nothing to draw, or no memory for it: an empty picture.
[[nodiscard]] TextPicture render_text(const std::string& text, int size, int max_width, TextLook look);

} // namespace player
