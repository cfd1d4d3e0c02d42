// Everything a device may see. One per machine; devices keep a reference.
#pragma once
#include "vmm/bus/apic_bus.h"
#include "vmm/bus/clock.h"
#include "vmm/bus/event_queue.h"
#include "vmm/bus/io_bus.h"
#include "vmm/bus/irq.h"
#include "vmm/bus/isa_dma.h"
#include "vmm/bus/pci.h"
#include "vmm/bus/ports.h"
#include "vmm/memory/guest_memory.h"

#include <array>
#include <map>
#include <string>

namespace vmm {

enum class MediumKind : uint8_t { Disk, Cdrom, Floppy };

struct Medium {
    MediumKind kind = MediumKind::Disk;
    std::shared_ptr<BlockPort> port;
};

enum class BootDevice : uint8_t { Disk, Cdrom, Floppy, Kernel };

// A Linux kernel booted without a medium.
struct KernelBoot {
    std::vector<uint8_t> kernel, initrd;
    std::string command_line;
    // Fills in kernel and initrd each time the firmware asks for them, and they go once they are in guest
    // memory: a machine opened at a saved moment may never ask. Null: they are there and stay.
    std::function<base::Result<void>(KernelBoot&)> load;
};

// What tells this machine from others that began at the same moment.
struct MachineIdentity {
    std::array<uint8_t, 16> generation_id{};            // see devices/generation_id.cpp
    std::array<uint8_t, 32> seed{};                     // for guests' random number generators
    std::array<uint8_t, 6> mac{0x02, 0, 0, 0, 0, 0x01}; // of the network card
};

struct PlatformConfig {
    uint64_t ram_bytes = 256ull << 20;
    std::string bios_path = "/usr/share/seabios/bios-256k.bin";
    std::string vga_bios_path = "/usr/share/seabios/vgabios-stdvga.bin";
    std::vector<uint8_t> bios, vga_bios; // what is in them, for a machine that may open nothing; empty: read
    std::vector<Medium> media;           // order within a kind is the drive order; at most 4 IDE, 2 floppy
    std::vector<BootDevice> boot_order{BootDevice::Disk, BootDevice::Cdrom, BootDevice::Floppy};
    std::shared_ptr<KernelBoot> kernel;
    std::shared_ptr<CharPort> serial;     // COM1; may be null
    bool sound = false;                   // the machine has a sound device
    std::shared_ptr<AudioPort> audio;     // who hears it; null: nobody
    bool network_card = false;            // the machine has a network card
    std::shared_ptr<NetworkPort> network; // what its cable leads to; null: it is not plugged in
    uint64_t rtc_start_seconds = 0;       // Unix time at power-on; 0 = host time
    uint32_t vram_bytes = 16u << 20;
    MachineIdentity identity; // of the present session: arrive() changes it
};

// Requests from devices to the machine, carried out at the next instruction boundary.
class SystemControl {
  public:
    virtual ~SystemControl() = default;
    virtual void request_reset() = 0;
    virtual void request_power_off() = 0;
};

// What devices offer to the session (filled in by the devices that provide it).
struct MachineOutputs {
    std::function<void(const Canvas&)> picture; // VGA: draws what is on screen now
    std::function<std::string()> text_screen;   // VGA text: rows separated by \n, "" in graphics
    std::function<void(const KeyEvent&)> key;   // keyboard controller
    std::function<bool()> takes_key;            // ... it is on, and the guest has read what it has to say
    std::function<void(const PointerEvent&)> pointer;
    std::function<bool()> pointer_is_absolute;    // guest driver uses the absolute pointer
    std::function<void(uint8_t)> serial_input;    // COM1 receives a byte
    std::function<void()> power_button;           // ACPI power button
    std::function<uint64_t()> picture_generation; // changes when the picture may have
    // VGA: the size that a guest which asks its monitor is to prefer; {0, 0}: no monitor to ask.
    std::function<void(uint32_t width, uint32_t height)> prefer_size;
    std::function<uint64_t()> time_of_day; // clock chip: ns since 1970
    std::function<void(uint64_t)> set_time_of_day;
    std::function<void()> identity_changed; // config.identity is another one now
};

struct Platform {
    Platform(PlatformConfig platform_config, GuestMemory& guest_memory)
        : config(std::move(platform_config)), memory(guest_memory) {}

    PlatformConfig config;
    GuestMemory& memory;
    IoBus io;
    PciBus pci;
    Clock clock;
    EventQueue events;
    IrqLines* irq = nullptr;               // set by the 8259 pair; the IO-APIC puts itself before it
    InterruptSource* interrupts = nullptr; // the processor's: the 8259 pair, with a local APIC before it
    IntrWire* intr = nullptr;              // set by the local APIC; null: INTR is the processor's pin
    ApicBus apics;                         // local APICs and IO-APICs
    ApicMsrs* apic = nullptr;              // the processor's own, set by it
    std::function<void()> interrupt_line_changed; // set by the machine: what `interrupts` says changed
    MathErrorWires* math_errors = nullptr;        // set by the PCI-to-ISA bridge
    IsaDma* dma = nullptr;                        // set by the 8237 pair
    // Set by the display: video memory in the memfd. While `apart` is true its content is no part of the
    // display's saved state.
    struct VideoMemory {
        uint32_t first_page = 0, pages = 0;
        bool apart = false;
    } video;
    SystemControl* system = nullptr;
    MachineOutputs outputs;
    std::vector<std::string> debug_console; // lines written to the debug port (402h), bounded
    // Guest registers, for the VMware backdoor port 5658h only (the one port whose protocol uses them).
    std::function<uint32_t&(unsigned reg)> cpu_register;
    std::function<uint32_t()> tsc_khz;           // of the guest's time-stamp counter; set by the machine
    std::function<void(unsigned bit)> raise_gpe; // ACPI general-purpose event; set by power management
};

} // namespace vmm
