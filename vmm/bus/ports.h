// Abstract ports between devices and the world outside the machine. The player implements or consumes
// them; vmm knows no bundles, windows or sockets.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace vmm {

// A disk, CD or floppy medium. Calls are made from a single I/O worker thread per medium, never the vCPU
// thread; a device posts completions through its EventQueue.
class BlockPort {
  public:
    virtual ~BlockPort() = default;
    [[nodiscard]] virtual uint64_t size_bytes() const = 0;
    [[nodiscard]] virtual bool read_only() const = 0;
    virtual base::Result<void> read(uint64_t offset, std::span<uint8_t> to) = 0;
    virtual base::Result<void> write(uint64_t offset, std::span<const uint8_t> from) = 0;
    virtual base::Result<void> flush() = 0;
};

// A serial line's far end. `receive` is given to the device; bytes the guest sends arrive at `send` on
// the vCPU thread and must not block.
class CharPort {
  public:
    virtual ~CharPort() = default;
    virtual void send(uint8_t byte) = 0;
};

// What the guest plays. Called on the vCPU thread (a revert's silence() on the session's); must not block.
class AudioPort {
  public:
    virtual ~AudioPort() = default;
    // Interleaved left and right samples, volume applied, in guest time: a second of them takes a second.
    virtual void play(std::span<const int16_t> samples, uint32_t rate) = 0;
    // What was played and is not heard yet will not be: the machine was reset or is elsewhere in time.
    virtual void silence() = 0;
};

// The far end of a network card's cable. send() and receive() are called on the vCPU thread (the session's
// while that is at rest) and must not block; both ends keep bounded queues.
class NetworkPort {
  public:
    static constexpr size_t kMaxFrame = 1514; // Ethernet header and 1500 bytes; no frame check sequence
    virtual ~NetworkPort() = default;
    // A frame of the guest's. False: there is no room now; `ready` is called when there is.
    virtual bool send(std::span<const uint8_t> frame) = 0;
    // The next frame for the guest; returns its length, 0 when there is none.
    virtual size_t receive(std::span<uint8_t, kMaxFrame> frame) = 0;
    // Called from any thread when frames wait where none did, or when there is room again. When this returns
    // the one set before is not running and will not be called any more.
    virtual void set_ready(std::function<void()> ready) = 0;
    // The machine is elsewhere in time: every connection is closed, frames on their way are dropped.
    virtual void disconnect() = 0;
};

// What is on screen. 32-bit XRGB pixels, rows tightly packed.
struct Picture {
    uint32_t width = 0, height = 0;
    std::vector<uint32_t> pixels;
};
// Where a picture is drawn, told its size first: room for width * height pixels, every one of which will be
// written, or none where it is not wanted so large.
using Canvas = std::function<std::span<uint32_t>(uint32_t width, uint32_t height)>;
// The canvas that makes a Picture of what is drawn on it.
[[nodiscard]] inline Canvas canvas_of(Picture& picture) {
    return [&picture](uint32_t width, uint32_t height) {
        picture = {width, height, std::vector<uint32_t>(size_t{width} * height)};
        return std::span(picture.pixels);
    };
}

// Input to the machine; called on the vCPU thread (post through EventQueue).
struct KeyEvent {
    uint16_t scan_code = 0; // set 1 make code; 0xE0xx for extended; 0xE11D is Pause
    bool pressed = false;
    bool operator==(const KeyEvent&) const = default;
};
struct PointerEvent {
    bool absolute = false;
    int32_t x = 0, y = 0; // absolute: 0..65535 across the screen; relative: counts, +y down
    int32_t wheel = 0;
    uint8_t buttons = 0; // bit 0 left, 1 right, 2 middle
};

} // namespace vmm
