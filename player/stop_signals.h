// The signals that ask a program to stop, noted for its loop to see.
#pragma once

namespace player {

// From the construction of one on, SIGINT, SIGTERM and SIGHUP are noted; a second one kills. Writing to a
// reader that left is an error code like others.
class StopSignals {
  public:
    StopSignals();
    [[nodiscard]] static bool asked();
};

} // namespace player
