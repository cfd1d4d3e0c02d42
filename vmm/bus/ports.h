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

// What is on screen. 32-bit XRGB pixels, rows tightly packed.
struct Picture {
    uint32_t width = 0, height = 0;
    std::vector<uint32_t> pixels;
};

// Input to the machine; called on the vCPU thread (post through EventQueue).
struct KeyEvent {
    uint16_t scan_code = 0; // set 1 make code; 0xE0xx for extended; 0xE11D is Pause
    bool pressed = false;
};
struct PointerEvent {
    bool absolute = false;
    int32_t x = 0, y = 0; // absolute: 0..65535 across the screen; relative: counts, +y down
    int32_t wheel = 0;
    uint8_t buttons = 0; // bit 0 left, 1 right, 2 middle
};

} // namespace vmm
