// Whether SDL finds a screen and something that plays sound; the part of `encore doctor` that needs SDL.
#pragma once
#include "player/doctor.h"

namespace player {

[[nodiscard]] Finding check_display();
[[nodiscard]] Finding check_sound();

} // namespace player
