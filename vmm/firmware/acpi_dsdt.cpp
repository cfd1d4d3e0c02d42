// The DSDT: what the machine has that cannot be discovered. PCI root with its windows and interrupt routing
// (through the PIIX3's four steerable links to the 8259 pair, or straight to pins of the IO-APIC, as the
// system chooses by _PIC), the ISA devices, and soft-off. The power button is the
// fixed-feature one (FADT), so it has no device here.
#include "vmm/firmware/acpi_hardware.h"
#include "vmm/firmware/acpi_tables.h"
#include "vmm/firmware/aml.h"

#include <array>
#include <string>
#include <string_view>

namespace vmm {

namespace {

using namespace aml;

constexpr unsigned kSlots = 32, kPins = 4, kLinks = 4;
constexpr unsigned kPiixSlot = 1;
// Lines a link may use: those no ISA device of the machine sits on.
constexpr uint16_t kLinkLines = 1u << 5 | 1u << 10 | 1u << 11;

constexpr std::array<std::string_view, kLinks> kLinkNames{"LNKA", "LNKB", "LNKC", "LNKD"};
// Field units over PIRQRC[A:D], configuration registers 60h-63h of the ISA bridge.
constexpr std::array<std::string_view, kLinks> kRouteNames{"PRQA", "PRQB", "PRQC", "PRQD"};
constexpr uint8_t kRouteDisabled = 0x80;

Term isa_device(std::string_view at, std::string_view id, const Terms& resources) {
    return device(at, {name("_HID", eisa_id(id)), name("_CRS", resource_template(resources))});
}

Term isa_bridge(unsigned floppy_drives) {
    Terms body{
        name("_ADR", integer(0x00010000)),
        operation_region("P40C", kPciConfigSpace, 0x60, kLinks),
        byte_field("P40C",
                   {{kRouteNames[0], 8}, {kRouteNames[1], 8}, {kRouteNames[2], 8}, {kRouteNames[3], 8}}),
        isa_device("PIC", "PNP0000", {io_ports(0x20, 2), io_ports(0xA0, 2), io_ports(0x4D0, 2), irq_edge(2)}),
        isa_device("TIMR", "PNP0100", {io_ports(0x40, 4), irq_edge(0)}),
        isa_device("DMAC", "PNP0200",
                   {io_ports(0x00, 16), io_ports(0x81, 15), io_ports(0xC0, 32), dma_channel(4)}),
        isa_device("RTC", "PNP0B00", {io_ports(0x70, 2), irq_edge(8)}),
        isa_device("SPKR", "PNP0800", {io_ports(0x61, 1)}),
        isa_device("FPU", "PNP0C04", {io_ports(0xF0, 16), irq_edge(13)}),
        isa_device("KBD", "PNP0303", {io_ports(0x60, 1), io_ports(0x64, 1), irq_edge(1)}),
        isa_device("MOU", "PNP0F13", {irq_edge(12)}),
        isa_device("COM1", "PNP0501", {io_ports(0x3F8, 8), irq_edge(4)}),
        isa_device("LPT1", "PNP0400", {io_ports(0x378, 3), irq_edge(7)}),
        // What nothing else may be placed on: APM ports, power management, fw_cfg.
        isa_device("MBRD", "PNP0C02", {io_ports(0xB2, 2), io_ports(0x600, 0x40), io_ports(0x510, 0x10)}),
    };
    if (floppy_drives > 0)
        body.push_back(isa_device("FDC0", "PNP0700",
                                  {io_ports(0x3F2, 4), io_ports(0x3F7, 1), irq_edge(6), dma_channel(2)}));
    return device("ISA", body);
}

// A PCI interrupt link: which ISA line a PIRQ wire is steered to (ACPI "_CRS/_PRS/_SRS/_DIS" of PNP0C0F).
Term link_device(unsigned index) {
    const Term route = path(std::string("\\_SB.PCI0.ISA.") + std::string(kRouteNames[index]));
    constexpr unsigned kMaskOffset = 1; // of the line mask within an IRQ descriptor
    return device(kLinkNames[index],
                  {
                      name("_HID", eisa_id("PNP0C0F")),
                      name("_UID", integer(index + 1)),
                      name("_PRS", resource_template({irq_level_shared(kLinkLines)})),
                      method("_STA", 0, Serialize::No,
                             {if_then(bit_and(route, integer(kRouteDisabled)), {return_value(integer(0x09))}),
                              return_value(integer(0x0B))}),
                      method("_DIS", 0, Serialize::No, {bit_or(route, integer(kRouteDisabled), route)}),
                      method("_CRS", 0, Serialize::Yes,
                             {name("RES", resource_template({irq_level_shared(0)})),
                              create_word_field(path("RES"), kMaskOffset, "MASK"), store(route, local(0)),
                              if_then(less(local(0), integer(kRouteDisabled)),
                                      {store(shift_left(integer(1), local(0)), path("MASK"))}),
                              return_value(path("RES"))}),
                      method("_SRS", 1, Serialize::Yes,
                             {create_word_field(argument(0), kMaskOffset, "MASK"),
                              find_set_right_bit(path("MASK"), local(0)),
                              if_then(local(0), {decrement(local(0)), store(local(0), route)})}),
                  });
}

// Each pin of each slot, as the board wires them: slot 1 INTA# to PIRQA#, then in rotation.
enum class Controller : uint8_t { Pic, Apic };
Term routing_table(Controller controller) {
    constexpr uint32_t kAllFunctions = 0xFFFF;
    Terms entries;
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
        for (uint32_t pin = 0; pin < kPins; ++pin) {
            const Term address = integer(slot << 16 | kAllFunctions);
            // The power-management function's INTA# is the SCI, which cannot be steered.
            const unsigned wire = (slot + pin + kLinks - 1) % kLinks;
            if (slot == kPiixSlot && pin == 0)
                entries.push_back(
                    package({address, integer(pin), integer(0), integer(acpi_hardware::kSciIrq)}));
            else if (controller == Controller::Apic)
                entries.push_back(package(
                    {address, integer(pin), integer(0), integer(acpi_hardware::kFirstPirqPin + wire)}));
            else
                entries.push_back(
                    package({address, integer(pin),
                             path(std::string("\\_SB.") + std::string(kLinkNames[wire])), integer(0)}));
        }
    }
    return package(entries);
}

Term pci_root(unsigned floppy_drives) {
    return device("PCI0", {
                              name("_HID", eisa_id("PNP0A03")),
                              name("_ADR", integer(0)),
                              name("_UID", integer(0)),
                              name("_CRS", resource_template({
                                               bus_numbers(0, 0xFF),
                                               io_window(0x0000, 0x0CF7),
                                               io_ports(0x0CF8, 8),
                                               io_window(0x0D00, 0xFFFF),
                                               memory_window(0x000A0000, 0x000BFFFF, Caching::Cacheable),
                                               memory_window(0xE0000000, 0xFEBFFFFF, Caching::None),
                                           })),
                              name("PRTP", routing_table(Controller::Pic)),
                              name("PRTA", routing_table(Controller::Apic)),
                              method("_PRT", 0, Serialize::No,
                                     {if_then(path("\\PICF"), {return_value(path("PRTA"))}),
                                      return_value(path("PRTP"))}),
                              isa_bridge(floppy_drives),
                          });
}

// Microsoft, "Virtual Machine Generation ID": the compatible ID and DDN are the device's name, ADDR the
// guest-physical address as low and high half.
Term generation_id() {
    return device("VGEN",
                  {
                      name("_HID", string("ENCR0001")),
                      name("_CID", string("VM_Gen_Counter")),
                      name("_DDN", string("VM_Gen_Counter")),
                      name("ADDR", package({integer(acpi_hardware::kGenerationIdAddress), integer(0)})),
                  });
}

// ACPI 5.6.4: the method of an edge-triggered event runs once its status bit is cleared.
Term generation_id_event() {
    static_assert(acpi_hardware::kGenerationIdEvent == 5, "the method's name");
    constexpr uint8_t kChanged = 0x80;
    return scope("\\_GPE", {method("_E05", 0, Serialize::No, {notify(path("\\_SB.VGEN"), kChanged)})});
}

} // namespace

std::vector<uint8_t> build_dsdt(unsigned floppy_drives) {
    Terms links;
    for (unsigned i = 0; i < kLinks; ++i)
        links.push_back(link_device(i));
    const Term body = concat({
        // ACPI 5.8.1: the system says whether it uses the 8259 pair (0) or the APICs (1).
        name("\\PICF", integer(0)),
        method("\\_PIC", 1, Serialize::No, {store(argument(0), path("\\PICF"))}),
        scope("\\_PR", {processor("CPU0", 0, 0, 0)}),
        scope("\\_SB", {pci_root(floppy_drives), concat(links), generation_id()}),
        generation_id_event(),
        // SLP_TYP for PM1a and PM1b: soft off is 0 on the PIIX4.
        name("\\_S5", package({integer(0), integer(0), integer(0), integer(0)})),
    });
    return acpi_table("DSDT", 1, body);
}

} // namespace vmm
