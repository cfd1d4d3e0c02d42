// What a session can be asked to do, one JSON object a line, and its answers:
//   {"do":"status"}                                  what runs, since when, how much it has written
//   {"do":"screen-text"}                             what stands on the text screen
//   {"do":"screenshot","file":"shot.png"}
//   {"do":"type","text":"ls\n"}                      US layout; returns before all of it is typed
//   {"do":"key","keys":"ctrl-alt-delete"}            a chord, pressed and released
//   {"do":"key","key":"a","pressed":true}            one key, down or up; or by its set 1 "code"
//   {"do":"mouse","x":10,"y":20}                     pixels of the picture, for guests that take positions
//   {"do":"mouse","dx":5,"dy":-3,"wheel":1}          movement
//        ... with "buttons":["left"] (held from now on) or "click":"left" (pressed and released)
//   {"do":"reset"} {"do":"power"} {"do":"quit"}
//   {"do":"resume"}                                  a machine paused by a full disk looks for room now
//   {"do":"revert"}                                  back to where the session began; "milliseconds" says how
//   long
//   {"do":"revert","receipt":true}                   ... and compares: "root" is what all of it agreed with
//   {"do":"scenes"}                                  those of the bundle, and which one the session began at
//   {"do":"capture","scene":"after-import"}          a new scene, in sessions started with --author
//   {"do":"save","file":"x.session"}                 the session as a file to go on from elsewhere; with
//                                                    "end":true it ends once the file is there
//   {"do":"jump","scene":"after-import"}             to another scene; "" is power-on
//   {"do":"black","on":true}                         nothing of the guest on its screen, until it is off
//   again
//   {"do":"chords","on":true}                        the window leaves Ctrl+Alt+letter to whoever asks:
//   "status"
//                                                    counts them
//   {"do":"place","x":1792,"y":384,"full_screen":true}  the window goes to the display that shows this point
// From the shell around the session only (shell_link.h), which answers for its limits of time:
//   {"do":"activity"}                                the person touched something outside the guest
//   {"do":"extend","minutes":15}                     more time than max_minutes gives; staff said so
// Every answer has "ok"; when it is false, "error" says why in one line.
#pragma once
#include "player/display_state.h"
#include "player/session.h"

#include <string>
#include <string_view>

namespace player {

class ControlProtocol {
  public:
    // `display`: the session's window, null if it has none.
    explicit ControlProtocol(Session& session, DisplayState* display = nullptr)
        : session_(session), display_(display) {}

    enum class Caller : uint8_t { Anybody, Shell };
    // Answers one line (without its end); never fails, whatever the line is. One thread.
    std::string answer(std::string_view line, Caller caller = Caller::Anybody);

  private:
    struct Verbs; // keeps JSON out of this header
    Session& session_;
    DisplayState* display_;
    uint8_t buttons_ = 0;
    int32_t x_ = 32768, y_ = 32768; // the last position, 0..65535
};

} // namespace player
