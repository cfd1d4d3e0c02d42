// Why code is refused: what each rule of the verifier says when it is broken.
#pragma once

namespace vmm::refusal {

// The instruction itself
inline constexpr const char* kNotAllowed = "instruction is not allowed";
inline constexpr const char* kPrefix = "prefix is not allowed here";
inline constexpr const char* kForm = "form of the instruction is not allowed";
inline constexpr const char* kRipRelative = "operand relative to RIP";
// The shape of the code
inline constexpr const char* kRunsOut = "code runs past its end";
inline constexpr const char* kMiddle = "branch into the middle of an instruction";
inline constexpr const char* kBranchOut = "branch leaves the block for no place it may go to";
inline constexpr const char* kIndirect = "indirect branch to what did not come from the jump table";
inline constexpr const char* kArrival = "an arrival does not compare the EIP";
inline constexpr const char* kLanding = "a call without its landing, or a landing without its call";
inline constexpr const char* kLink = "a link that is no branch with a stub";
inline constexpr const char* kHole = "a number to be changed that is not one";
inline constexpr const char* kCopy = "a copy that is not like its original";
inline constexpr const char* kUnreached = "code that nothing leads to";
inline constexpr const char* kCallout = "call-out with arguments it does not take";
inline constexpr const char* kBoundary = "guest register is not 32 bits wide where another block may begin";
inline constexpr const char* kExitEip = "exit without the EIP it leads to";
inline constexpr const char* kHostReturn = "return with the host's stack out of step";
// Registers
inline constexpr const char* kFixedWritten = "VMM register written";
inline constexpr const char* kStackWritten = "host stack pointer written";
inline constexpr const char* kWide = "guest register written beyond its 32 bits";
inline constexpr const char* kHostValue = "a host value used as the guest's data";
inline constexpr const char* kEspUnbiased = "ESP without its window base";
inline constexpr const char* kEspFar = "biased ESP out of reach of its window";
inline constexpr const char* kEspUnused = "biased ESP moved and not used";
// Memory
inline constexpr const char* kOutside = "memory operand outside the window";
inline constexpr const char* kIndexUnknown = "index that is not known to be 32 bits wide";
inline constexpr const char* kRuntimeIndex = "index off the runtime register";
inline constexpr const char* kRuntimeField = "no field of Runtime that code may use so";
inline constexpr const char* kTable = "access beside the jump table";
inline constexpr const char* kBitString = "bit offset that reaches out of the slot";
inline constexpr const char* kStringUnbiased = "string operand not biased by the window";
inline constexpr const char* kWatched = "guest memory accessed where call-outs should look";

} // namespace vmm::refusal
