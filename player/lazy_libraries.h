// The libraries that only windows and loudspeakers need: SDL and Xlib, Pango and Cairo. Linked in the
// ordinary way they bring sixty others along, and a headless session would spend as long on loading those as
// on checking its bundle. They are loaded when they are first wanted; their functions are called as ever,
// because lazy_libraries.cpp defines them, as jumps to the real ones.
#pragma once
#include "vmm/base/result.h"

namespace player {

// Before any call of the library's; from any thread, again and again. Errors: it is not installed.
base::Result<void> load_sdl();   // and Xlib
base::Result<void> load_pango(); // and Cairo

} // namespace player
