// A CPU state and guest memory with page tables that tests write entry by entry.
#pragma once
#include "vmm/memory/page_walk.h"

#include <catch2/catch.hpp>

namespace vmm::test {

inline constexpr uint32_t kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40, kPs = 0x80, kG = 0x100;
inline constexpr uint64_t kNx = 1ull << 63;

struct Paged {
    CpuState cpu;
    std::unique_ptr<GuestMemory> memory;

    static constexpr uint32_t kDirectory = 0x100000, kPointers = 0x1FF000;

    Paged() {
        auto created = GuestMemory::create(32u << 20);
        REQUIRE(created);
        memory = std::move(*created);
    }
    // 32-bit paging with the directory at `at`.
    void enable_32bit(uint32_t at = kDirectory) {
        cpu.cr3 = at;
        cpu.cr0 = cr0::kPe | cr0::kPg | cr0::kWp;
        cpu.cr4 = cr4::kPse;
    }
    // PAE: the four directories follow each other from kDirectory.
    void enable_pae() {
        cpu.cr3 = kPointers;
        cpu.cr4 = cr4::kPae;
        cpu.efer = 1u << 11;
        for (unsigned i = 0; i < 4; ++i)
            memory->write<uint64_t>(kPointers + i * 8, kDirectory + i * 0x1000 + kP);
        REQUIRE(load_pdptes(cpu, *memory));
        cpu.cr0 = cr0::kPe | cr0::kPg | cr0::kWp;
    }
    void pde(uint32_t linear, uint32_t value, uint32_t directory = kDirectory) {
        memory->write<uint32_t>(directory + (linear >> 22) * 4, value);
    }
    void pte(uint32_t table, uint32_t linear, uint32_t value) {
        memory->write<uint32_t>(table + ((linear >> 12) & 1023) * 4, value);
    }
    [[nodiscard]] uint32_t pte(uint32_t table, uint32_t linear) const {
        return memory->read<uint32_t>(table + ((linear >> 12) & 1023) * 4);
    }
    [[nodiscard]] uint32_t pde(uint32_t linear) const {
        return memory->read<uint32_t>(kDirectory + (linear >> 22) * 4);
    }
    void pae_pde(uint32_t linear, uint64_t value) {
        memory->write<uint64_t>(kDirectory + (linear >> 21) * 8, value);
    }
    void pae_pte(uint32_t table, uint32_t linear, uint64_t value) {
        memory->write<uint64_t>(table + ((linear >> 12) & 511) * 8, value);
    }
};

} // namespace vmm::test
