#include "player/png_reader.h"

#include <fmt/format.h>
#include <png.h>

namespace player {

base::Result<vmm::Picture> decode_png(std::span<const uint8_t> png) {
    constexpr uint32_t kMostSide = 16384;
    constexpr uint64_t kMostPixels = 64u << 20;
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    if (png_image_begin_read_from_memory(&image, png.data(), png.size()) == 0)
        return base::fail(fmt::format("not a picture in PNG: {}", image.message));
    if (image.width > kMostSide || image.height > kMostSide ||
        uint64_t{image.width} * image.height > kMostPixels) {
        png_image_free(&image);
        return base::fail("the picture is larger than any screen");
    }
    image.format = PNG_FORMAT_BGRA; // in memory; as a little-endian word, alpha is on top
    vmm::Picture picture{image.width, image.height, {}};
    picture.pixels.resize(size_t{image.width} * image.height);
    if (png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr) == 0)
        return base::fail(fmt::format("the picture is damaged: {}", image.message));
    for (uint32_t& pixel : picture.pixels)
        pixel &= 0xFFFFFF;
    return picture;
}

} // namespace player
