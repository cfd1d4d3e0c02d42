#include "player/display.h"

#include "player/display_overlay.h"
#include "player/guest_input.h"
#include "player/lazy_libraries.h"
#include "player/png_reader.h"
#include "player/window_embedding.h"
#include "player/window_place.h"

#include <SDL.h>
#include <algorithm>
#include <clocale>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <langinfo.h>
#include <mutex>
#include <optional>

namespace player {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFrameTime = std::chrono::milliseconds(16);
constexpr auto kSurroundingsInterval = std::chrono::milliseconds(250);
constexpr auto kNoticeTime = std::chrono::seconds(10);
constexpr int kFirstWidth = 720, kFirstHeight = 400; // VGA text, what a PC starts in

// The largest that VGA's own modes come in, text of 132 columns included.
constexpr uint32_t kVgaWidth = 720, kVgaHeight = 480, kVgaTextHeight = 400;

// A picture's size as a monitor of 4:3 shows it, no dot of it lost.
SDL_FPoint as_on_monitor(uint32_t width, uint32_t height) {
    const auto w = static_cast<float>(width), h = static_cast<float>(height);
    if ((width > kVgaWidth && height > kVgaTextHeight) || height > kVgaHeight)
        return {w, h};
    return {std::max(w, h * 4 / 3), std::max(h, w * 3 / 4)};
}

struct DestroyWindow {
    void operator()(SDL_Window* window) const { SDL_DestroyWindow(window); }
};
struct DestroyRenderer {
    void operator()(SDL_Renderer* renderer) const { SDL_DestroyRenderer(renderer); }
};
struct DestroyTexture {
    void operator()(SDL_Texture* texture) const { SDL_DestroyTexture(texture); }
};

} // namespace

struct Display::Impl {
    explicit Impl(Session& the_session) : session(the_session) {}

    Session& session;
    std::function<void()> on_capture, on_save;
    DisplayState* state = nullptr;
    bool embedded = false, black = false;
    Aspect aspect = Aspect::ByPlace;
    WindowEmbedding embedding;
    bool initialised = false;
    std::unique_ptr<SDL_Window, DestroyWindow> window;
    std::unique_ptr<SDL_Renderer, DestroyRenderer> renderer;
    std::unique_ptr<SDL_Texture, DestroyTexture> texture;
    uint32_t width = 0, height = 0; // of the texture
    uint64_t shown_generation = ~uint64_t{0};
    const machine::Client* shown_machine = nullptr;
    std::weak_ptr<machine::Client> told_machine; // of the size given here
    int told_width = 0, told_height = 0;
    std::shared_ptr<const std::vector<uint8_t>> shown_preview;
    bool redraw = true, closed = false;

    std::unique_ptr<WindowPlace> place; // not inside a shell
    std::unique_ptr<GuestInput> input;
    Clock::time_point surroundings_checked{};

    DisplayOverlay overlay;
    std::mutex notice_mutex;
    std::string notice;
    Clock::time_point notice_until{};
    std::string title_shown, banner_shown;

    base::Result<void> open(const Options& options);
    void take(const SDL_Event& event);
    void take_window(const SDL_WindowEvent& event);
    bool take_chord(const SDL_Keysym& key);
    void set_full_screen(bool on);
    void check_surroundings();
    void prefer_size();
    void update_picture();
    void show(const vmm::Picture& picture);
    void draw();
    void update_title();
    void show_notice(const std::string& text);
    void fit_window();
    void change_aspect();
    [[nodiscard]] bool four_thirds() const {
        return aspect == Aspect::FourThirds || (aspect == Aspect::ByPlace && (embedded || full_screen()));
    }
    [[nodiscard]] SDL_FPoint size_in(bool as_monitor) const; // the picture's, in proportion
    [[nodiscard]] SDL_FRect picture_area() const;
    [[nodiscard]] bool full_screen() const { return place && place->full_screen(); }
};

base::Result<void> Display::Impl::open(const Options& options) {
    on_capture = options.on_capture;
    on_save = options.on_save;
    state = options.state;
    embedded = options.embed != 0;
    aspect = options.aspect;
    // Titles are UTF-8, and Xlib converts them by the locale: without one the window manager gets mojibake.
    if (std::setlocale(LC_CTYPE, "") == nullptr || std::string_view(nl_langinfo(CODESET)) != "UTF-8")
        std::setlocale(LC_CTYPE, "C.UTF-8");
    TRY(load_sdl());
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); // ending a session is the command's business
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0"); // leave the desktop's effects alone
    SDL_SetHint(SDL_HINT_MOUSE_FOCUS_CLICKTHROUGH, "1");
    if (SDL_Init(SDL_INIT_VIDEO) != 0)
        return base::fail(fmt::format("no screen to show a window on ({}); use --headless to run without one",
                                      SDL_GetError()));
    initialised = true;
    // SDL would rather show a window to nobody than fail; only someone who asks for that by name gets it.
    const std::string_view driver = SDL_GetCurrentVideoDriver();
    if (std::getenv("SDL_VIDEODRIVER") == nullptr && (driver == "offscreen" || driver == "dummy"))
        return base::fail("no screen to show a window on; use --headless to run without one");
    SDL_SetHint(SDL_HINT_TOUCH_MOUSE_EVENTS, "0"); // fingers are fingers here
    const uint32_t kind = embedded ? SDL_WINDOW_BORDERLESS : SDL_WINDOW_RESIZABLE;
    int screen = options.screen;
    for (int i = 0; options.at && i < SDL_GetNumVideoDisplays(); ++i) {
        const SDL_Point point{options.at->first, options.at->second};
        if (SDL_Rect box{}; SDL_GetDisplayBounds(i, &box) == 0 && SDL_PointInRect(&point, &box) == SDL_TRUE)
            screen = i;
    }
    // The window begins with the picture's size: taking it later shows for a moment.
    int first_width = kFirstWidth, first_height = kFirstHeight;
    std::optional<vmm::Picture> first;
    if (auto preview = session.preview())
        if (auto picture = decode_png(*preview)) {
            shown_preview = std::move(preview);
            first = std::move(*picture);
            SDL_Rect usable{};
            if (SDL_GetDisplayUsableBounds(screen, &usable) == 0) {
                const double shrink = std::min({1.0, static_cast<double>(usable.w) / first->width,
                                                static_cast<double>(usable.h) / first->height});
                first_width = std::max(1, static_cast<int>(first->width * shrink));
                first_height = std::max(1, static_cast<int>(first->height * shrink));
            }
        }
    const int centred = static_cast<int>(SDL_WINDOWPOS_CENTERED_DISPLAY(screen));
    const int left = options.at ? std::max(0, options.at->first - first_width / 2) : centred;
    const int top = options.at ? std::max(0, options.at->second - first_height / 2) : centred;
    window.reset(SDL_CreateWindow(session.title().c_str(), left, top, first_width, first_height,
                                  kind | SDL_WINDOW_HIDDEN | SDL_WINDOW_ALLOW_HIGHDPI));
    if (!window)
        return base::fail(
            fmt::format("cannot open a window ({}); use --headless to run without one", SDL_GetError()));
    renderer.reset(
        SDL_CreateRenderer(window.get(), -1, SDL_RENDERER_ACCELERATED | SDL_RENDERER_PRESENTVSYNC));
    if (!renderer)
        renderer.reset(SDL_CreateRenderer(window.get(), -1, SDL_RENDERER_SOFTWARE));
    if (!renderer)
        return base::fail(fmt::format("cannot draw in a window ({})", SDL_GetError()));
    input = std::make_unique<GuestInput>(session, window.get(), renderer.get(),
                                         embedded ? GuestInput::Pointer::StaysFree
                                                  : GuestInput::Pointer::MayBeCaptured);
    input->on_chord = [this](const SDL_Keysym& key) { return take_chord(key); };
    input->picture_area = [this] { return picture_area(); };
    input->picture_size = [this] { return SDL_Point{static_cast<int>(width), static_cast<int>(height)}; };
    if (embedded) {
        TRY(embedding.open(window.get(), options.embed));
    } else {
        SDL_SetWindowMinimumSize(window.get(), 160, 100);
        place = std::make_unique<WindowPlace>(window.get());
        place->show();
    }
    // Nothing of the host's comes in but keys and the pointer, and nothing goes out: no dropped files, no
    // clipboard (SDL touches it only when asked to, which nobody does).
    for (const uint32_t event : {SDL_DROPFILE, SDL_DROPTEXT, SDL_CLIPBOARDUPDATE})
        SDL_EventState(event, SDL_IGNORE);
    if (const std::string& watermark = session.policy().policy().watermark; !watermark.empty()) {
        TRY(load_pango()); // what the rules ask for can be drawn, or nothing is played
        overlay.set_watermark(watermark);
    }
    SDL_StopTextInput(); // keys go to the guest, not to an input method
    title_shown = session.title();
    if (options.full_screen)
        set_full_screen(true);
    if (first)
        show(*first);
    else
        update_picture();
    draw();
    return {};
}

// ------------------------------------------------------------------------------------------------ picture

SDL_FPoint Display::Impl::size_in(bool as_monitor) const {
    return as_monitor ? as_on_monitor(width, height)
                      : SDL_FPoint{static_cast<float>(width), static_cast<float>(height)};
}

void Display::Impl::fit_window() {
    if (!place || width == 0 || height == 0)
        return;
    const SDL_FPoint size = size_in(aspect == Aspect::FourThirds); // also for after the full screen
    place->fit(static_cast<int>(std::lround(size.x)), static_cast<int>(std::lround(size.y)));
}

void Display::Impl::change_aspect() {
    aspect = four_thirds() ? Aspect::Square : Aspect::FourThirds;
    redraw = true;
    fit_window();
}

SDL_FRect Display::Impl::picture_area() const {
    int out_width = 0, out_height = 0;
    SDL_GetRendererOutputSize(renderer.get(), &out_width, &out_height);
    if (width == 0 || height == 0)
        return {0, 0, static_cast<float>(out_width), static_cast<float>(out_height)};
    const SDL_FPoint size = size_in(four_thirds());
    const float scale =
        std::min(static_cast<float>(out_width) / size.x, static_cast<float>(out_height) / size.y);
    const float w = std::round(size.x * scale), h = std::round(size.y * scale); // whole, or a line is lost
    return {std::floor((static_cast<float>(out_width) - w) / 2),
            std::floor((static_cast<float>(out_height) - h) / 2), w, h};
}

// Where the window's size is given, guests that can follow it: they ask their monitor when they set up their
// screen. Otherwise the window follows the guest.
void Display::Impl::prefer_size() {
    const bool given =
        full_screen() || embedded || (SDL_GetWindowFlags(window.get()) & SDL_WINDOW_MAXIMIZED) != 0;
    int out_width = 0, out_height = 0;
    if (given)
        SDL_GetRendererOutputSize(renderer.get(), &out_width, &out_height);
    const auto machine = session.machine();
    if (machine == told_machine.lock() && out_width == told_width && out_height == told_height)
        return;
    told_machine = machine;
    told_width = out_width;
    told_height = out_height;
    machine->prefer_picture_size(static_cast<uint32_t>(out_width), static_cast<uint32_t>(out_height));
}

void Display::Impl::update_picture() {
    if (auto preview = session.preview()) {
        if (preview == shown_preview)
            return;
        shown_preview = std::move(preview);
        shown_machine = nullptr;
        if (const auto picture = decode_png(*shown_preview)) // what was there stays, if not
            show(*picture);
        return;
    }
    shown_preview.reset();
    const auto machine = session.machine();
    if (machine == nullptr) // before the first one
        return;
    const uint64_t generation = machine->picture_generation();
    if (generation == shown_generation && machine.get() == shown_machine)
        return;
    shown_generation = generation;
    shown_machine = machine.get();
    show(machine->picture());
}

void Display::Impl::show(const vmm::Picture& picture) {
    redraw = true;
    if (picture.width == 0 || picture.height == 0 ||
        picture.pixels.size() < size_t{picture.width} * picture.height) {
        texture.reset();
        width = height = 0;
        return;
    }
    if (!texture || width != picture.width || height != picture.height) {
        texture.reset(SDL_CreateTexture(renderer.get(), SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING,
                                        static_cast<int>(picture.width), static_cast<int>(picture.height)));
        width = picture.width;
        height = picture.height;
        fit_window();
    }
    if (texture)
        SDL_UpdateTexture(texture.get(), nullptr, picture.pixels.data(), static_cast<int>(picture.width * 4));
}

void Display::Impl::draw() {
    if (!std::exchange(redraw, false))
        return;
    SDL_SetRenderDrawColor(renderer.get(), 0, 0, 0, 255);
    SDL_RenderClear(renderer.get());
    if (texture && !black) {
        const SDL_FRect area = picture_area();
        const auto whole = [](float shown, uint32_t dots) {
            const float scale = shown / static_cast<float>(dots);
            return std::abs(scale - std::round(scale)) < 1e-3f && scale >= 1;
        };
        const bool sharp = whole(area.w, width) && whole(area.h, height);
        SDL_SetTextureScaleMode(texture.get(), sharp ? SDL_ScaleModeNearest : SDL_ScaleModeLinear);
        SDL_RenderCopyF(renderer.get(), texture.get(), nullptr, &area);
        overlay.draw(renderer.get(), area);
    }
    SDL_RenderPresent(renderer.get());
    if (state != nullptr && texture)
        state->shown = true;
}

void Display::Impl::update_title() {
    std::string title = session.title(), said;
    {
        const std::lock_guard lock(notice_mutex);
        if (Clock::now() < notice_until)
            said = notice;
    }
    if (!said.empty())
        title += " — " + said;
    else if (input->grabbed())
        title += " — Ctrl+Alt+G releases the mouse";
    // Over the whole screen there is no title bar; a shell says things itself.
    const std::string banner = full_screen() ? said : std::string();
    redraw |= banner != banner_shown;
    banner_shown = banner;
    overlay.set_banner(banner);
    if (title == title_shown)
        return;
    title_shown = title;
    SDL_SetWindowTitle(window.get(), title.c_str());
}

void Display::Impl::show_notice(const std::string& text) {
    const std::lock_guard lock(notice_mutex);
    notice = text;
    notice_until = Clock::now() + kNoticeTime;
}

// ------------------------------------------------------------------------------------------------ window

void Display::Impl::set_full_screen(bool on) {
    if (!place)
        return;
    place->set_full_screen(on);
    input->set_full_screen(on);
    redraw = true;
}

void Display::Impl::check_surroundings() {
    const auto now = Clock::now();
    if (now - surroundings_checked < kSurroundingsInterval)
        return;
    surroundings_checked = now;
    if (embedded && !embedding.follow())
        closed = true;
    if (place)
        place->follow_displays();
}

void Display::Impl::take_window(const SDL_WindowEvent& event) {
    switch (event.event) {
    case SDL_WINDOWEVENT_CLOSE:
        closed = true;
        break;
    case SDL_WINDOWEVENT_FOCUS_LOST:
        input->release_keys();
        input->set_grab(false);
        break;
    case SDL_WINDOWEVENT_EXPOSED:
    case SDL_WINDOWEVENT_SIZE_CHANGED:
    case SDL_WINDOWEVENT_RESTORED:
        redraw = true;
        break;
    default:
        break;
    }
}

void Display::Impl::take(const SDL_Event& event) {
    switch (event.type) {
    case SDL_QUIT:
        closed = true;
        break;
    case SDL_WINDOWEVENT:
        take_window(event.window);
        break;
    case SDL_RENDER_TARGETS_RESET:
    case SDL_RENDER_DEVICE_RESET: // textures are lost
        texture.reset();
        overlay.forget_textures();
        shown_machine = nullptr;
        break;
    default:
        input->take(event);
        break;
    }
}

// The chords that are for the player; everything else is the guest's.
bool Display::Impl::take_chord(const SDL_Keysym& key) {
    if ((key.mod & KMOD_CTRL) == 0 || (key.mod & KMOD_ALT) == 0)
        return false;
    const SDL_Keycode letter = SDL_GetKeyFromScancode(key.scancode);
    if (state != nullptr && state->shell_takes_chords && letter >= 'a' && letter <= 'z') {
        input->release_keys();
        state->note_chord(static_cast<char>(letter));
        return true;
    }
    switch (key.scancode) {
    case SDL_SCANCODE_F:
        input->release_keys();
        set_full_screen(!full_screen());
        return true;
    case SDL_SCANCODE_A:
        input->release_keys();
        change_aspect();
        return true;
    case SDL_SCANCODE_G:
        input->release_keys();
        input->toggle_grab();
        return true;
    case SDL_SCANCODE_R: // a session at a scene is where it began before the key is up again
        input->release_keys();
        if (auto reverted = session.revert(); reverted)
            show_notice("back at the beginning");
        return true;
    case SDL_SCANCODE_S:
        if (!on_capture)
            return false;
        input->release_keys();
        on_capture();
        return true;
    case SDL_SCANCODE_W:
        if (!on_save)
            return false;
        input->release_keys();
        on_save();
        return true;
    case SDL_SCANCODE_Q:
        input->release_keys();
        closed = true;
        return true;
    default:
        return false;
    }
}

// ------------------------------------------------------------------------------------------------ outside

Display::Display() = default;

base::Result<std::unique_ptr<Display>> Display::open(Session& session, Options options) {
    std::unique_ptr<Display> display(new Display);
    display->impl_ = std::make_unique<Impl>(session);
    TRY(display->impl_->open(options));
    return display;
}

Display::~Display() {
    const bool initialised = impl_ && impl_->initialised;
    if (impl_ && impl_->embedded) {
        // The shell's window, and this one with it, may be gone already or any moment now, and SDL would wait
        // without an end to be told that it is hidden. The X server takes what is left when the process ends.
        static_cast<void>(impl_->texture.release());
        static_cast<void>(impl_->renderer.release());
        static_cast<void>(impl_->window.release());
        impl_.reset();
        return;
    }
    impl_.reset();
    if (initialised)
        SDL_QuitSubSystem(SDL_INIT_VIDEO); // sound has its own
}

bool Display::frame() {
    const auto deadline = Clock::now() + kFrameTime;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        SDL_Event event;
        if (SDL_WaitEventTimeout(&event, static_cast<int>(std::max<int64_t>(left, 1))) != 0)
            impl_->take(event);
        impl_->input->tick();
        if (impl_->closed || left <= 1)
            break;
    }
    impl_->check_surroundings();
    if (impl_->state != nullptr && impl_->state->black != impl_->black) {
        impl_->black = !impl_->black;
        impl_->redraw = true;
    }
    if (impl_->state != nullptr && impl_->place)
        if (const auto wanted = impl_->state->take_place()) {
            impl_->place->move_to(wanted->x, wanted->y, wanted->full_screen);
            impl_->input->set_full_screen(wanted->full_screen);
            impl_->redraw = true;
        }
    impl_->prefer_size();
    impl_->update_picture();
    impl_->draw();
    impl_->update_title();
    return !impl_->closed;
}

void Display::show_preview() {
    impl_->update_picture();
    impl_->draw();
}

void Display::notice(const std::string& text) { impl_->show_notice(text); }

} // namespace player
