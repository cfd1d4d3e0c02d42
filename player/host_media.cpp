#include "player/host_media.h"

#include "player/lazy_libraries.h"

#include <SDL.h>
#include <cstdlib>
#include <fmt/format.h>

namespace player {

using Level = Finding::Level;

Finding check_display() {
    const bool named = std::getenv("SDL_VIDEODRIVER") != nullptr;
    // Without any of these there is nobody to ask, and the libraries below SDL would complain on the
    // terminal.
    const bool likely =
        named || std::getenv("DISPLAY") != nullptr || std::getenv("WAYLAND_DISPLAY") != nullptr;
    const bool found = likely && load_sdl() && SDL_InitSubSystem(SDL_INIT_VIDEO) == 0;
    const std::string driver = found ? SDL_GetCurrentVideoDriver() : "";
    Finding finding{Level::Note, "display", "none can be reached from here",
                    "play from a graphical session (X11 or Wayland), or with --headless"};
    // SDL's own stand-ins for a screen show nothing to anybody.
    if (found && (named || (driver != "offscreen" && driver != "dummy"))) {
        finding = {Level::Ok, "display", driver, ""};
        for (int i = 0; i < SDL_GetNumVideoDisplays(); ++i)
            if (SDL_Rect bounds{}; SDL_GetDisplayBounds(i, &bounds) == 0)
                finding.says += fmt::format("{} {}x{}", i == 0 ? ":" : ",", bounds.w, bounds.h);
    }
    if (found)
        SDL_QuitSubSystem(SDL_INIT_VIDEO);
    return finding;
}

Finding check_sound() {
    const bool found = load_sdl() && SDL_InitSubSystem(SDL_INIT_AUDIO) == 0;
    Finding finding{Level::Note, "sound", "no device: guests play unheard",
                    "connect loudspeakers or start the sound server, if anybody is to hear them"};
    SDL_AudioSpec wanted{};
    wanted.freq = 48000;
    wanted.format = AUDIO_S16SYS;
    wanted.channels = 2;
    wanted.samples = 512;
    const bool any = found && SDL_GetNumAudioDevices(0) != 0; // else ALSA complains on the terminal
    if (const SDL_AudioDeviceID device = any ? SDL_OpenAudioDevice(nullptr, 0, &wanted, nullptr, 0) : 0) {
        finding = {Level::Ok, "sound", SDL_GetCurrentAudioDriver(), ""};
        SDL_CloseAudioDevice(device);
    }
    if (found)
        SDL_QuitSubSystem(SDL_INIT_AUDIO);
    return finding;
}

} // namespace player
