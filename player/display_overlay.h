// What is drawn over the guest's picture in its window: the policy's watermark, and for a while the last line
// said to the person, when there is no title bar to say it in. Private to the display; knows SDL.
#pragma once
#include "player/text_picture.h"

#include <SDL.h>
#include <memory>
#include <string>

namespace player {

class DisplayOverlay {
  public:
    // Empty: none. To be drawn anew afterwards.
    void set_watermark(const std::string& text) { watermark_.set(text); }
    void set_banner(const std::string& text) { banner_.set(text); }
    // Over `area`, where the guest's picture is, in the renderer's pixels.
    void draw(SDL_Renderer* renderer, const SDL_FRect& area);
    void forget_textures(); // they were lost with their device

  private:
    struct DestroyTexture {
        void operator()(SDL_Texture* texture) const { SDL_DestroyTexture(texture); }
    };
    // A line of text, rendered when it is first drawn at a size.
    class Line {
      public:
        explicit Line(TextLook look) : look_(look) {}
        void set(const std::string& text);
        SDL_Texture* texture(SDL_Renderer* renderer, int size, int max_width);
        void forget() { texture_.reset(); }
        int width = 0, height = 0;

      private:
        TextLook look_;
        std::string text_;
        int size_ = 0, max_width_ = 0;
        std::unique_ptr<SDL_Texture, DestroyTexture> texture_;
    };

    Line watermark_{TextLook::Watermark}, banner_{TextLook::Banner};
};

} // namespace player
