// The guest page-table walk (SDM Vol. 3A ch. 4): 32-bit paging with PSE (4 MiB pages; without PSE-36, which
// our CPUID does not promise, their address bits above 32 must be zero), PAE with NX, and 4-level paging with
// pages of 2 MiB and 1 GiB, SMEP and SMAP. One walk: what differs is a value (paging_format.h). Sets A and D
// bits as the processor would.
#pragma once
#include "vmm/arch/fault.h"
#include "vmm/arch/state.h"
#include "vmm/memory/guest_memory.h"

#include <cstdint>

namespace vmm {

enum class AccessKind : uint8_t { Read, Write, Execute };
// Whose access it is. System: the processor's own, to descriptor tables and TSSs, at whatever CPL ("implicit
// supervisor-mode access", SDM Vol. 3A 4.6).
enum class Privilege : uint8_t { Supervisor, User, System };

struct Translation {
    Physical physical = 0;      // of the byte asked for, before A20
    uint32_t page_bytes = 4096; // 4 KiB, 2 MiB, 4 MiB or 1 GiB: the size of the mapping found
    bool writable = false;      // by this privilege, with CR0.WP as it is, and D is already set
    bool may_write = false;     // as `writable`, but D may still be clear
    bool user = false;          // U/S allows user accesses
    bool executable = true;
    bool global = false;
    uint16_t pcid = 0; // that it belongs to, unless it is global (SDM Vol. 3A 4.10.1)
};

// Translates `linear`; on success A (and D for Write) have been set in guest memory. On failure returns
// #PF with the exact error code and linear_address; #GP(0) where `linear` is not canonical in IA-32e mode
// (who accesses the stack makes that #SS). With CR0.PG=0 it is the identity.
GuestResult<Translation> page_walk(const CpuState& cpu, GuestMemory& memory, Linear linear, AccessKind access,
                                   Privilege privilege);

// As above without touching A/D and without faulting semantics: for neighbours, debuggers and
// prefetch. Null-like (page_bytes == 0) when not present or not readable by `privilege`.
Translation page_probe(const CpuState& cpu, GuestMemory& memory, Linear linear, Privilege privilege);

// Loads the four PDPTEs for PAE mode from CR3. #GP(0) when a reserved bit is set in a present one.
GuestResult<void> load_pdptes(CpuState& cpu, GuestMemory& memory);

} // namespace vmm
