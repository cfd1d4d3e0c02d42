#include "player/lazy_libraries.h"

#include "vmm/base/verify.h"

#include <dlfcn.h>
#include <fmt/format.h>

// Every function of theirs that the player calls: one that is missing here does not link.
// clang-format off
#define ENCORE_SDL_FUNCTIONS(X) \
    X(SDL_AudioStreamAvailable) \
    X(SDL_AudioStreamClear) \
    X(SDL_AudioStreamGet) \
    X(SDL_AudioStreamPut) \
    X(SDL_CloseAudioDevice) \
    X(SDL_CreateRenderer) \
    X(SDL_CreateTexture) \
    X(SDL_CreateWindow) \
    X(SDL_DestroyRenderer) \
    X(SDL_DestroyTexture) \
    X(SDL_DestroyWindow) \
    X(SDL_EventState) \
    X(SDL_FreeAudioStream) \
    X(SDL_GetCurrentAudioDriver) \
    X(SDL_GetCurrentVideoDriver) \
    X(SDL_GetDisplayBounds) \
    X(SDL_GetDisplayUsableBounds) \
    X(SDL_GetError) \
    X(SDL_GetKeyFromScancode) \
    X(SDL_GetNumAudioDevices) \
    X(SDL_GetNumVideoDisplays) \
    X(SDL_GetRendererOutputSize) \
    X(SDL_GetTouchDeviceType) \
    X(SDL_GetWindowBordersSize) \
    X(SDL_GetWindowFlags) \
    X(SDL_GetWindowPosition) \
    X(SDL_GetWindowSize) \
    X(SDL_GetWindowWMInfo) \
    X(SDL_Init) \
    X(SDL_InitSubSystem) \
    X(SDL_NewAudioStream) \
    X(SDL_OpenAudioDevice) \
    X(SDL_PauseAudioDevice) \
    X(SDL_QuitSubSystem) \
    X(SDL_RenderClear) \
    X(SDL_RenderCopyF) \
    X(SDL_RenderPresent) \
    X(SDL_SetHint) \
    X(SDL_SetRelativeMouseMode) \
    X(SDL_SetRenderDrawColor) \
    X(SDL_SetTextureBlendMode) \
    X(SDL_SetTextureScaleMode) \
    X(SDL_SetWindowFullscreen) \
    X(SDL_SetWindowKeyboardGrab) \
    X(SDL_SetWindowMinimumSize) \
    X(SDL_SetWindowPosition) \
    X(SDL_SetWindowSize) \
    X(SDL_SetWindowTitle) \
    X(SDL_ShowCursor) \
    X(SDL_ShowSimpleMessageBox) \
    X(SDL_ShowWindow) \
    X(SDL_StopTextInput) \
    X(SDL_UpdateTexture) \
    X(SDL_WaitEventTimeout)

#define ENCORE_X11_FUNCTIONS(X) \
    X(XChangeWindowAttributes) \
    X(XGetWindowAttributes) \
    X(XMapRaised) \
    X(XMoveWindow) \
    X(XReparentWindow) \
    X(XSetErrorHandler)

#define ENCORE_XRANDR_FUNCTIONS(X) \
    X(XRRFreeMonitors) \
    X(XRRGetMonitors)

#define ENCORE_CAIRO_FUNCTIONS(X) \
    X(cairo_arc) \
    X(cairo_close_path) \
    X(cairo_create) \
    X(cairo_destroy) \
    X(cairo_fill) \
    X(cairo_image_surface_create) \
    X(cairo_image_surface_get_data) \
    X(cairo_image_surface_get_stride) \
    X(cairo_move_to) \
    X(cairo_new_sub_path) \
    X(cairo_paint_with_alpha) \
    X(cairo_pop_group_to_source) \
    X(cairo_push_group) \
    X(cairo_set_line_join) \
    X(cairo_set_line_width) \
    X(cairo_set_source_rgb) \
    X(cairo_set_source_rgba) \
    X(cairo_stroke_preserve) \
    X(cairo_surface_destroy) \
    X(cairo_surface_flush) \
    X(cairo_surface_status)

#define ENCORE_PANGO_FUNCTIONS(X) \
    X(pango_font_description_free) \
    X(pango_font_description_from_string) \
    X(pango_font_description_set_absolute_size) \
    X(pango_layout_get_pixel_size) \
    X(pango_layout_set_ellipsize) \
    X(pango_layout_set_font_description) \
    X(pango_layout_set_single_paragraph_mode) \
    X(pango_layout_set_text) \
    X(pango_layout_set_width)

#define ENCORE_PANGO_CAIRO_FUNCTIONS(X) \
    X(pango_cairo_create_layout) \
    X(pango_cairo_layout_path) \
    X(pango_cairo_show_layout)

#define ENCORE_GOBJECT_FUNCTIONS(X) \
    X(g_object_unref)

// clang-format on

extern "C" {
static void not_loaded() { VERIFY(!"load_sdl() comes before any other call"); }
}

// Hidden, so that no library's own calls end up here. A function's definition is one jump, which leaves its
// arguments where they are, whatever they are.
#define ENCORE_JUMP(name)                                                                                    \
    extern "C" {                                                                                             \
    [[gnu::visibility("hidden")]] void (*encore_lazy_##name)() = not_loaded;                                 \
    }                                                                                                        \
    __asm__(".pushsection .text\n"                                                                           \
            ".globl " #name "\n"                                                                             \
            ".hidden " #name "\n"                                                                            \
            ".type " #name ", @function\n" #name ":\n"                                                       \
            "    jmp *encore_lazy_" #name "(%rip)\n"                                                         \
            ".size " #name ", . - " #name "\n"                                                               \
            ".popsection\n");

ENCORE_SDL_FUNCTIONS(ENCORE_JUMP)
ENCORE_X11_FUNCTIONS(ENCORE_JUMP)
ENCORE_XRANDR_FUNCTIONS(ENCORE_JUMP)
ENCORE_CAIRO_FUNCTIONS(ENCORE_JUMP)
ENCORE_PANGO_FUNCTIONS(ENCORE_JUMP)
ENCORE_PANGO_CAIRO_FUNCTIONS(ENCORE_JUMP)
ENCORE_GOBJECT_FUNCTIONS(ENCORE_JUMP)

namespace player {
namespace {

struct Function {
    const char* name;
    void (**target)();
};

#define ENCORE_ENTRY(name) {#name, &encore_lazy_##name},
constexpr Function kSdl[] = {ENCORE_SDL_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kX11[] = {ENCORE_X11_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kXrandr[] = {ENCORE_XRANDR_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kCairo[] = {ENCORE_CAIRO_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kPango[] = {ENCORE_PANGO_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kPangoCairo[] = {ENCORE_PANGO_CAIRO_FUNCTIONS(ENCORE_ENTRY)};
constexpr Function kGobject[] = {ENCORE_GOBJECT_FUNCTIONS(ENCORE_ENTRY)};

template <size_t kCount>
base::Result<void> load(const char* library, const char* package, const Function (&functions)[kCount]) {
    void* handle = ::dlopen(library, RTLD_NOW | RTLD_NODELETE);
    if (handle == nullptr)
        return base::fail(
            fmt::format("cannot show a window: {}; install the package {}, or use --headless to run "
                        "without one",
                        ::dlerror(), package));
    for (const Function& function : functions) {
        *function.target = reinterpret_cast<void (*)()>(::dlsym(handle, function.name));
        if (*function.target == nullptr)
            return base::fail(
                fmt::format("{} is too old: it has no {}; install the package {} of this system's "
                            "release",
                            library, function.name, package));
    }
    return {};
}

} // namespace

base::Result<void> load_sdl() {
    static const base::Result<void> loaded = []() -> base::Result<void> {
        TRY(load("libX11.so.6", "libx11-6", kX11));
        TRY(load("libXrandr.so.2", "libxrandr2", kXrandr));
        return load("libSDL2-2.0.so.0", "libsdl2-2.0-0", kSdl);
    }();
    return loaded;
}

base::Result<void> load_pango() {
    static const base::Result<void> loaded = []() -> base::Result<void> {
        TRY(load("libgobject-2.0.so.0", "libglib2.0-0", kGobject));
        TRY(load("libcairo.so.2", "libcairo2", kCairo));
        TRY(load("libpango-1.0.so.0", "libpango-1.0-0", kPango));
        return load("libpangocairo-1.0.so.0", "libpangocairo-1.0-0", kPangoCairo);
    }();
    return loaded;
}

} // namespace player
