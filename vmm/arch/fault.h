// Guest faults as data: an architectural exception a guest instruction or access raised.
#pragma once
#include <cstdint>
#include <tl/expected.hpp>

namespace vmm {

// SDM Vol. 3A 6.15, vectors 0-31.
enum class Vector : uint8_t {
    DivideError = 0,
    Debug = 1,
    Nmi = 2,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    MathFault = 16,
    AlignmentCheck = 17,
    MachineCheck = 18,
    SimdFault = 19,
};

struct Fault {
    Vector vector = Vector::GeneralProtection;
    bool has_error_code = false;
    uint32_t error_code = 0;
    uint64_t linear_address = 0; // PageFault only: goes to CR2 on delivery
};

template <class T = void> using GuestResult = tl::expected<T, Fault>;

[[nodiscard]] inline tl::unexpected<Fault> guest_fault(Vector vector) {
    return tl::make_unexpected(Fault{vector, false, 0, 0});
}
[[nodiscard]] inline tl::unexpected<Fault> guest_fault(Vector vector, uint32_t error_code) {
    return tl::make_unexpected(Fault{vector, true, error_code, 0});
}

} // namespace vmm
