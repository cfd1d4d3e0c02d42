#include "player/display_overlay.h"

#include <algorithm>

namespace player {
namespace {

// Letters of a 36th of the picture's height, legible on a projector and on a small window.
constexpr int kPartOfHeight = 36, kSmallest = 13, kLargest = 64;
constexpr int kDistance = 3; // from the picture's edge: that part of the letters' size, times two

} // namespace

void DisplayOverlay::Line::set(const std::string& text) {
    if (text == text_)
        return;
    text_ = text;
    texture_.reset();
}

SDL_Texture* DisplayOverlay::Line::texture(SDL_Renderer* renderer, int size, int max_width) {
    if (text_.empty())
        return nullptr;
    if (texture_ && size == size_ && max_width == max_width_)
        return texture_.get();
    size_ = size;
    max_width_ = max_width;
    texture_.reset();
    const TextPicture picture = render_text(text_, size, max_width, look_);
    if (picture.pixels.empty())
        return nullptr;
    texture_.reset(SDL_CreateTexture(renderer, SDL_PIXELFORMAT_ARGB8888, SDL_TEXTUREACCESS_STATIC,
                                     picture.width, picture.height));
    if (!texture_)
        return nullptr;
    SDL_UpdateTexture(texture_.get(), nullptr, picture.pixels.data(), picture.width * 4);
    SDL_SetTextureBlendMode(texture_.get(), SDL_BLENDMODE_BLEND);
    width = picture.width;
    height = picture.height;
    return texture_.get();
}

void DisplayOverlay::forget_textures() {
    watermark_.forget();
    banner_.forget();
}

void DisplayOverlay::draw(SDL_Renderer* renderer, const SDL_FRect& area) {
    const int size = std::clamp(static_cast<int>(area.h) / kPartOfHeight, kSmallest, kLargest);
    const int room = static_cast<int>(area.w) - 2 * size;
    const auto distance = static_cast<float>(size * 2 / kDistance);
    if (SDL_Texture* texture = watermark_.texture(renderer, size, room)) {
        const auto width = static_cast<float>(watermark_.width),
                   height = static_cast<float>(watermark_.height);
        const SDL_FRect at{area.x + area.w - width - distance, area.y + area.h - height - distance, width,
                           height};
        SDL_RenderCopyF(renderer, texture, nullptr, &at);
    }
    if (SDL_Texture* texture = banner_.texture(renderer, size, room)) {
        const auto width = static_cast<float>(banner_.width), height = static_cast<float>(banner_.height);
        const SDL_FRect at{area.x + (area.w - width) / 2, area.y + distance, width, height};
        SDL_RenderCopyF(renderer, texture, nullptr, &at);
    }
}

} // namespace player
