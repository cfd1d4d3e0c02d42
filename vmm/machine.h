// A whole PC: owns guest memory, platform, devices and the virtual CPU with its engine, and the thread
// that runs it. Everything public may be called from any thread unless said otherwise.
#pragma once
#include "vmm/base/result.h"
#include "vmm/bus/platform.h"
#include "vmm/saved_moment.h"
#include "vmm/translator/engine.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vmm {

enum class ExitReason : uint8_t {
    None,      // still running
    PowerOff,  // the guest turned itself off
    Stopped,   // stop() was called
    GuestHang, // a halt that no interrupt can end, or a triple fault where a reset ends the machine
    HostError, // error() says what failed
};

struct MachineConfig {
    PlatformConfig platform;
    BlockMode block_mode = BlockMode::Linked;
    bool verify_containment = false; // check every translated block, and not a sample
    bool reset_ends_machine = false;
    // exit_reason(), has_ended(), reset_count() or what wait() waits for may have changed. Called by the vCPU
    // thread, or by whoever works on the machine at rest; it may ask for nothing of the machine's.
    std::function<void()> on_change{};
};

struct Arrival {
    MachineIdentity identity;
    std::optional<uint64_t>
        time_of_day; // for the clock chip, ns since 1970; not given: it goes on as it was saved
};

// The guest's own time, which a loaded state sets, and for how much of it in all its processor had nothing to
// do: halted, or in a loop that waits.
struct Activity {
    uint64_t time_ns = 0, halted_ns = 0;
};

class Machine {
  public:
    static base::Result<std::unique_ptr<Machine>> create(MachineConfig config);
    ~Machine(); // stops and joins

    void start(); // begins running (or resumes after pause)
    void pause(); // returns when the vCPU is at an instruction boundary and devices are quiet
    void stop();  // ends the machine; returns at once
    void reset(); // hardware reset
    void power_button();

    // Waits until there is a reason, at most `milliseconds` (-1: no bound), and after stop() until the
    // machine has ended.
    ExitReason wait(int milliseconds);
    // A guest that halted for good (GuestHang) can still be saved, and reset(), revert() and load_state()
    // bring it back; any other reason is final, and has_ended() says so.
    [[nodiscard]] ExitReason exit_reason() const;
    [[nodiscard]] bool has_ended() const;
    [[nodiscard]] std::string error() const;
    [[nodiscard]] base::Error failure() const; // the same with its code
    [[nodiscard]] uint64_t reset_count() const;

    void key(const KeyEvent& event);
    // Whether a key would reach the guest now: it has read those before, and the BIOS, in a guest that asks
    // the BIOS for keys, has room for one that is pressed. People press keys regardless.
    [[nodiscard]] bool takes_key(const KeyEvent& event);
    void pointer(const PointerEvent& event);
    void serial_input(std::string_view bytes);
    [[nodiscard]] bool pointer_is_absolute() const;

    void picture(const Canvas& canvas); // runs on the vCPU thread; blocks for it
    [[nodiscard]] Picture picture();
    [[nodiscard]] std::string text_screen();
    [[nodiscard]] uint64_t picture_generation();
    // The size of picture that would fit its window, for guests that ask their monitor (EDID).
    void prefer_picture_size(uint32_t width, uint32_t height);

    // Machine paused. Saved state covers CPU and devices; RAM and disks are separate.
    base::Result<std::vector<uint8_t>> save_state();
    base::Result<void> load_state(std::span<const uint8_t> state);
    [[nodiscard]] GuestMemory& memory();

    // Scenes; machine paused. save_scene_state leaves video memory out, to be kept page by page like RAM.
    base::Result<std::vector<uint8_t>> save_scene_state();
    [[nodiscard]] Platform::VideoMemory video_memory() const;
    // The machine, which has not run, stands at this moment. When it fails the machine is of no further use.
    base::Result<void> open_at(SavedMachine saved);
    // Back to that moment, whatever happened since; only what was written is touched. Disks are the caller's.
    // Fails when the machine was not opened at a moment, or has ended.
    base::Result<PageUndo::Report> revert();
    // The machine, at a saved moment, meets the world as it is now. After open_at() or revert(), and after
    // whatever compares it with that moment.
    void arrive(const Arrival& arrival);
    [[nodiscard]] uint64_t time_of_day();   // what its clock chip says, ns since 1970
    [[nodiscard]] uint32_t tsc_khz() const; // of its time-stamp counter, as the guest knows it
    // What of the CPU, the devices and video memory is not as it was at that moment; empty: nothing.
    base::Result<std::string> state_difference();

    [[nodiscard]] std::string statistics() const; // human-readable counters
    [[nodiscard]] CodeUse code_use() const;
    [[nodiscard]] Activity activity() const;

  private:
    Machine();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace vmm
