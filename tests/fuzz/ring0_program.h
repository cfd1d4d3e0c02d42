// A program for ring 0, made from a fuzzer's bytes: a row of operations, each of a kind of its own
// (privileged instructions, tables, ports, memory that is a device, page tables, raw bytes). Each first says
// where the next one begins, and every exception goes on there, so that a fault ends one operation and not
// the program.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ring0 {

// Where things are in the guest's memory, in bytes from 0.
inline constexpr uint32_t kGo = 0x6000, // the machine waits for kWaiting here, then runs what is at kProgram
    kNext = 0x7000,                     // the next operation
    kGdt = 0x8000, kIdt = 0x9000, kTss = 0xA000, kHandler = 0xB000, kProgram = 0x10000, kProgramEnd = 0x1F000,
                          kDirectory = 0x20000, kTables = 0x21000, kTableCount = 4, kStack = 0x7F000;
inline constexpr uint32_t kWaiting = 1, kBegun = 2;
inline constexpr uint16_t kCode = 0x08, kData = 0x10, kUserCode = 0x1B, kUserData = 0x23, kTask = 0x28,
                          kCode16 = 0x30, kCallGate = 0x38, kOtherTask = 0x40, kTaskGate = 0x48;

struct Bytes {
    uint32_t at;
    std::vector<uint8_t> bytes;
};

// Descriptor tables, handlers and page tables that the operations begin with.
[[nodiscard]] std::vector<Bytes> surroundings();

// The program for an input. Whatever the input, it fits and ends in a halt.
[[nodiscard]] std::vector<uint8_t> program(std::span<const uint8_t> input);

} // namespace ring0
