// Linked into a machine's program for tests: as if the translator had made a mistake in the session guest's
// way to turn itself off. What the verifier is shown of it begins with a HLT; all else is as ever.
#include "vmm/verifier/verifier.h"

#include <algorithm>
#include <array>

extern "C" {

// Verifier::check(), which the linker's --wrap leads here.
std::optional<vmm::Refusal> __real__ZN3vmm8Verifier5checkERKNS_8HostCodeE(vmm::Verifier* verifier,
                                                                          const vmm::HostCode& code);
std::optional<vmm::Refusal> __wrap__ZN3vmm8Verifier5checkERKNS_8HostCodeE(vmm::Verifier* verifier,
                                                                          const vmm::HostCode& code) {
    constexpr uint32_t kBootSector = 0x7C00, kBytes = 512;
    constexpr std::array<uint8_t, 4> kTurnsOff{0x66, 0xB8, 0x07, 0x53}; // mov ax, 5307h
    const uint8_t* const end = code.bytes + code.size;
    if (code.kind == vmm::HostCode::Kind::Block && code.eip - kBootSector < kBytes &&
        std::search(code.bytes, end, kTurnsOff.begin(), kTurnsOff.end()) != end) {
        constexpr uint8_t kHlt = 0xF4;
        const_cast<uint8_t*>(code.bytes)[code.body - code.address] = kHlt;
    }
    return __real__ZN3vmm8Verifier5checkERKNS_8HostCodeE(verifier, code);
}
}
