#include "tests/vmm/translator/differential/compare.h"

#include "tests/vmm/translator/differential/report.h"
#include "vmm/translator/host_maker.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>

namespace differential {

namespace {

constexpr const char* kRegisterNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr const char* kSegmentNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

// Arithmetic flags, DF, NT and ID. IF is the host's own; RF is set in the image of a fault by the processor
// and not part of what the instruction did.
constexpr uint32_t kComparedFlags = 0x8D5 | 1u << 10 | 1u << 14 | 1u << 21;

constexpr uint8_t kBreakpoint = 3, kOverflow = 4, kInvalidTss = 10, kStackFault = 12, kGeneralProtection = 13,
                  kPageFault = 14, kAlignment = 17;

bool has_error_code(uint8_t vector) {
    return vector == 8 || (vector >= kInvalidTss && vector <= kPageFault) || vector == kAlignment;
}

bool operand_fault(uint8_t vector) { return vector >= kStackFault && vector <= kPageFault; }

// The intercept sees software interrupts before the gate is looked at and with EIP at the instruction; the
// host, after the trap (INT3, INTO), or refusing the gate with #GP (INT n).
bool same_software_trap(const Outcome& expected, const Outcome& actual) {
    if (expected.vector == kBreakpoint || expected.vector == kOverflow)
        return actual.vector == expected.vector && actual.registers.eip + 1 == expected.registers.eip;
    return expected.vector == kGeneralProtection && expected.error_code == actual.vector * 8u + 2 &&
           actual.registers.eip == expected.registers.eip;
}

// A misaligned 16-byte operand beyond a stack segment's limit: which of #GP and #SS comes first is not
// defined.
bool misaligned_or_limit(const Case& test, const Outcome& expected, const Outcome& actual) {
    return expected.vector == kGeneralProtection && actual.vector == kStackFault &&
           expected.registers.eip == actual.registers.eip &&
           memory_operand_bytes(test, expected.registers.eip) == 16;
}

// Instructions that access many bytes may report any of them that faults.
constexpr uint32_t kManyBytes = 20;
// So may those that push or pop a frame.
constexpr uint32_t kFrameBytes = 32;

bool moves_frame(const std::string& mnemonic) {
    for (const std::string_view name : {"call", "ret", "iret", "pusha", "popa", "enter"})
        if (mnemonic.starts_with(name))
            return true;
    return false;
}

// A frame refused part of the way may have left its first words below the stack pointer: processors push one
// by one, the engine checks first. Nobody may rely on memory there.
bool refused_frame(const Case& test, const Outcome& expected) {
    return operand_fault(expected.vector) && moves_frame(mnemonic_at(test, expected.registers.eip));
}

constexpr size_t kControlWord = 0, kStatusWord = 2, kFirstRegister = 32, kRegisterStride = 16;
constexpr uint8_t kTopOfHighByte = 0x38;

// After a fault everything is as before the instruction (SDM Vol. 3A "Exception Classifications"). Intel's
// processors (measured) do not keep that for TOP when an MMX store faults: it is 0 already, as every MMX
// instruction leaves it, while the tags are what they were. The engine keeps the promise where its own checks
// refuse the operand, and does as the host where the host does. Whoever goes on runs the store again and
// finds TOP 0 either way. The registers are compared, each at its place.
bool refused_mmx_store(const Case& test, const Outcome& expected, const Outcome& actual) {
    const auto top = [](const Outcome& outcome) {
        return outcome.registers.fx[kStatusWord + 1] & kTopOfHighByte;
    };
    return operand_fault(expected.vector) && top(expected) == 0 && top(actual) != 0 &&
           text_at(test, expected.registers.eip).find("], mm") != std::string::npos;
}

// The same image with TOP 0: the registers in the order of their tags.
std::array<uint8_t, 512> with_top_zero(const std::array<uint8_t, 512>& image) {
    std::array<uint8_t, 512> out = image;
    const unsigned top = image[kStatusWord + 1] >> 3 & 7;
    for (unsigned i = 0; i < 8; ++i)
        std::copy_n(image.begin() + kFirstRegister + kRegisterStride * ((i - top) & 7), kRegisterStride,
                    out.begin() + kFirstRegister + kRegisterStride * i);
    out[kStatusWord + 1] &= static_cast<uint8_t>(~kTopOfHighByte);
    return out;
}

// A compare that faults: of two missing operands Intel's processors report ES:[EDI], and the flags are those
// from before the instruction. Others do not, the engine always does.
bool refused_compare(const Case& test, const Outcome& expected) {
    static const bool intel = vmm::host_maker() == vmm::HostMaker::Intel;
    if (intel || !operand_fault(expected.vector))
        return false;
    const std::string text = text_at(test, expected.registers.eip);
    return text.find("cmps") != std::string::npos || text.find("scas") != std::string::npos;
}

// A fault that another maker's processor reports in place of the one that Intel's and the engine do
// (vmm/README.md, "One processor"): BOUND reads both bounds first; of a compare's two operands the other one
// is looked at first; an access across the top of a 4 GiB segment is beyond its limit (Zen 4), where the
// engine goes on at 0, which no case has memory at.
bool of_another_maker(const Case& test, const Outcome& expected, const Outcome& actual) {
    static const bool intel = vmm::host_maker() == vmm::HostMaker::Intel;
    if (intel || !operand_fault(expected.vector) || expected.registers.eip != actual.registers.eip)
        return false;
    constexpr uint8_t kBoundRange = 5;
    if (actual.vector == kBoundRange)
        return text_at(test, expected.registers.eip).find("bound") != std::string::npos;
    if (actual.vector != kPageFault || expected.vector == kPageFault)
        return false;
    constexpr uint32_t kWidest = 16; // of operands that may be anywhere
    return refused_compare(test, expected) || actual.fault_address < kWidest ||
           actual.fault_address >= 0u - kWidest;
}

// The case ran into an extension the host has and our CPUID does not promise (a jump into the middle of an
// instruction can make one): #UD is right for the engine.
bool beyond_promise(const Case& test, const Outcome& actual) {
    constexpr uint8_t kInvalidOpcode = 6;
    return actual.vector == kInvalidOpcode && is_extension(test, actual.registers.eip);
}

bool stores_x87(const Case& test, uint32_t eip) {
    const std::string text = text_at(test, eip);
    return (text.starts_with("fst") || text.starts_with("fist") || text.starts_with("fbst")) &&
           text.find('[') != std::string::npos;
}

// An x87 store raised an unmasked exception of its own where the engine, having none pending, reports its
// operand's fault. Faults of the operand and x87 exceptions are of one class, "faults on executing an
// instruction", within which the order is the implementation's (SDM Vol. 3A, "Priority Among Simultaneous
// Exceptions and Interrupts"). The processor looks at the number first, and so does the engine where it lets
// the host make the store; its own checks of an operand that needs them come before. Nothing after that
// compares: the one has gone on to the next instruction, the other has not.
bool numeric_before_operand(const Case& test, const Outcome& expected, const Outcome& actual) {
    constexpr uint8_t kErrorSummary = 0x80, kExceptions = 0x3F;
    const auto &native = expected.registers.fx, &engine = actual.registers.fx;
    const int raised = native[kStatusWord] & ~engine[kStatusWord] & ~engine[kControlWord] & kExceptions;
    return raised != 0 && (engine[kStatusWord] & kErrorSummary) == 0 && operand_fault(actual.vector) &&
           stores_x87(test, actual.registers.eip);
}

// The bytes at which two memories differ.
struct Difference {
    size_t first = SIZE_MAX, end = 0;
    [[nodiscard]] bool any() const { return end != 0; }
    [[nodiscard]] size_t span() const { return any() ? end - first : 0; }
};

template <size_t size>
Difference difference(const std::array<uint8_t, size>& expected, const std::array<uint8_t, size>& actual) {
    Difference found;
    for (size_t i = 0; i < size; ++i)
        if (expected[i] != actual[i])
            found = {std::min(found.first, i), i + 1};
    return found;
}

// An x87 store of more than a quadword may be several accesses, some of which have been made when another
// faults (SDM Vol. 3A, "Guaranteed Atomic Operations"): the processor stores the first eight bytes of ten,
// and so does the engine where the host makes the store. Its own checks look at all of the operand first.
bool stored_in_part(const Case& test, const Outcome& expected, const Outcome& actual) {
    constexpr uint32_t kTenBytes = 10;
    constexpr size_t kQuadword = 8;
    if (!operand_fault(expected.vector) || !stores_x87(test, expected.registers.eip) ||
        memory_operand_bytes(test, expected.registers.eip) != kTenBytes)
        return false;
    const Difference data = difference(expected.memory.data, actual.memory.data);
    const Difference stack = difference(expected.memory.stack, actual.memory.stack);
    return data.any() != stack.any() && data.span() + stack.span() <= kQuadword;
}

bool same_fault_address(const Case& test, const Outcome& expected, const Outcome& actual) {
    if (expected.fault_address == actual.fault_address)
        return true;
    const uint32_t bytes = memory_operand_bytes(test, expected.registers.eip);
    const uint32_t distance = std::max(expected.fault_address, actual.fault_address) -
                              std::min(expected.fault_address, actual.fault_address);
    return (bytes >= kManyBytes && distance < bytes) ||
           (distance < kFrameBytes && moves_frame(mnemonic_at(test, expected.registers.eip)));
}

void compare_bytes(std::vector<std::string>& out, std::string_view name, uint32_t base,
                   const uint8_t* expected, const uint8_t* actual, size_t size) {
    unsigned shown = 0;
    for (size_t i = 0; i < size && shown < 8; ++i) {
        if (expected[i] == actual[i])
            continue;
        out.push_back(
            fmt::format("{} [{:08x}]: native {:02x} engine {:02x}", name, base + i, expected[i], actual[i]));
        ++shown;
    }
}

void compare_fx(std::vector<std::string>& out, const uint8_t* expected, const uint8_t* actual) {
    struct Field {
        const char* name;
        size_t at, size;
    };
    // Not FOP, FIP, FDP (bytes 6-23): unspecified across implementations.
    constexpr Field kFields[] = {{"fcw", 0, 2}, {"fsw", 2, 2}, {"ftw", 4, 1}, {"mxcsr", 24, 4}};
    const auto hex = [](const uint8_t* from, size_t size) {
        std::string text;
        for (size_t i = size; i-- > 0;)
            text += fmt::format("{:02x}", from[i]);
        return text;
    };
    const auto check = [&](const std::string& name, size_t at, size_t size) {
        if (std::memcmp(expected + at, actual + at, size) != 0)
            out.push_back(fmt::format("{}: native {} engine {}", name, hex(expected + at, size),
                                      hex(actual + at, size)));
    };
    for (const Field& field : kFields)
        check(field.name, field.at, field.size);
    for (size_t i = 0; i < 8; ++i)
        check(fmt::format("st{}", i), 32 + 16 * i, 10);
    for (size_t i = 0; i < 8; ++i)
        check(fmt::format("xmm{}", i), 160 + 16 * i, 16);
}

} // namespace

std::vector<std::string> compare(const Case& test, const Outcome& expected, const Outcome& actual) {
    std::vector<std::string> out;
    if (expected.vector == kTimedOut && actual.vector == kTimedOut)
        return out;
    if (beyond_promise(test, actual) || numeric_before_operand(test, expected, actual))
        return out;
    if (!same_software_trap(expected, actual) && !misaligned_or_limit(test, expected, actual) &&
        !of_another_maker(test, expected, actual)) {
        if (expected.vector != actual.vector)
            out.push_back(fmt::format("vector: native {} engine {}", expected.vector, actual.vector));
        else if (has_error_code(expected.vector) && expected.error_code != actual.error_code)
            out.push_back(
                fmt::format("error code: native {:x} engine {:x}", expected.error_code, actual.error_code));
        if (expected.vector == kPageFault && actual.vector == kPageFault &&
            !same_fault_address(test, expected, actual) && !refused_compare(test, expected))
            out.push_back(fmt::format("cr2: native {:08x} engine {:08x}", expected.fault_address,
                                      actual.fault_address));
        if (expected.registers.eip != actual.registers.eip)
            out.push_back(fmt::format("eip: native {:08x} engine {:08x}", expected.registers.eip,
                                      actual.registers.eip));
    }
    const Registers &e = expected.registers, &a = actual.registers;
    // A refused POPA may have loaded its first registers (it restarts from ESP all the same).
    constexpr size_t kEsp = 4;
    const bool refused_popa =
        refused_frame(test, expected) && mnemonic_at(test, expected.registers.eip).starts_with("popa");
    for (size_t i = 0; i < 8; ++i)
        if (e.gpr[i] != a.gpr[i] && (i == kEsp || !refused_popa))
            out.push_back(
                fmt::format("{}: native {:08x} engine {:08x}", kRegisterNames[i], e.gpr[i], a.gpr[i]));
    if (((e.eflags ^ a.eflags) & kComparedFlags) != 0 && !refused_compare(test, expected))
        out.push_back(fmt::format("eflags: native {:08x} engine {:08x} (differ in {:x})", e.eflags, a.eflags,
                                  (e.eflags ^ a.eflags) & kComparedFlags));
    for (size_t i = 0; i < 6; ++i)
        // A null selector loses its RPL on the way through the host kernel.
        if (e.selectors[i] != a.selectors[i] && ((e.selectors[i] | a.selectors[i]) & ~3) != 0)
            out.push_back(fmt::format("{}: native {:04x} engine {:04x}", kSegmentNames[i], e.selectors[i],
                                      a.selectors[i]));
    if (refused_mmx_store(test, expected, actual))
        compare_fx(out, with_top_zero(e.fx).data(), with_top_zero(a.fx).data());
    else
        compare_fx(out, e.fx.data(), a.fx.data());
    if (std::memcmp(&expected.memory, &actual.memory, sizeof expected.memory) != 0 &&
        !stored_in_part(test, expected, actual)) {
        compare_bytes(out, "data", kDataBase, expected.memory.data.data(), actual.memory.data.data(),
                      kDataBytes);
        if (!refused_frame(test, expected))
            compare_bytes(out, "stack", kStackBase, expected.memory.stack.data(), actual.memory.stack.data(),
                          kStackBytes);
    }
    return out;
}

} // namespace differential
