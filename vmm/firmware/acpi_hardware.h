// Where the ACPI fixed hardware and the interrupt controllers sit: agreed between the tables (which state it)
// and the devices (which implement it).
#pragma once
#include <cstdint>

namespace vmm::acpi_hardware {

// SeaBIOS moves PMBASE here when ACPI tables come through fw_cfg.
inline constexpr uint16_t kPmBase = 0x600;
inline constexpr uint16_t kPm1Event = kPmBase + 0x00, kPm1Control = kPmBase + 0x04, kPmTimer = kPmBase + 0x08,
                          kGpe0 = kPmBase + 0x0C;
inline constexpr uint16_t kPmBytes = 0x40;

// Values for the SMI command port that hand the power-management events to the operating system and back.
inline constexpr uint16_t kSmiCommandPort = 0xB2;
inline constexpr uint8_t kAcpiEnable = 0xF1, kAcpiDisable = 0xF0;

inline constexpr uint8_t kSciIrq = 9;

// The APICs, and the IO-APIC pins that are not simply those of the ISA lines of the same number.
inline constexpr uint32_t kLocalApicAddress = 0xFEE00000, kIoApicAddress = 0xFEC00000;
inline constexpr unsigned kTimerPin = 2, kFirstPirqPin = 16;

// The page that holds the VM Generation ID: above the PCI windows, below the BIOS, and nothing else's.
inline constexpr uint32_t kGenerationIdAddress = 0xFEF00000;
// The general-purpose event that announces another one. DEVIATION: the PIIX4 reserves this bit of GPSTS.
inline constexpr unsigned kGenerationIdEvent = 5;

} // namespace vmm::acpi_hardware
