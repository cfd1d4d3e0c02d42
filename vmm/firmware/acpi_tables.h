// The ACPI tables of the machine, in the form SeaBIOS installs them: an RSDP, one blob with all other tables,
// and the table-loader script that says where they go, which pointers to relocate and which checksums to
// compute. Without them SeaBIOS would describe a machine of its own making.
//
// No MADT: there is no APIC. Interrupts are those of the 8259 pair.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace vmm {

struct AcpiTables {
    std::vector<uint8_t> rsdp;   // "etc/acpi/rsdp"
    std::vector<uint8_t> tables; // "etc/acpi/tables": FACS, DSDT, FADT, RSDT
    std::vector<uint8_t> loader; // "etc/table-loader"
};

// The floppy controller is described only when the machine has drives.
AcpiTables build_acpi_tables(unsigned floppy_drives);

// A table with its 36-byte header, checksum computed.
std::vector<uint8_t> acpi_table(std::string_view signature, uint8_t revision,
                                const std::vector<uint8_t>& body);

// The DSDT alone, with header and checksum.
std::vector<uint8_t> build_dsdt(unsigned floppy_drives);

} // namespace vmm
