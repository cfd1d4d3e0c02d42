// Where Runtime lies and what lies around it. Translated code addresses all of it through one register, which
// points past the poll page: polls then have a displacement of one byte, Runtime's fields negative ones.
//
//     [ Runtime, room for the limit check's harmless load ][ poll page ]^[ arrival guard, 4 GiB, PROT_NONE ]
//                                                                       runtime
//
// A poll is a load from the poll page, which is PROT_NONE while someone wants the vCPU's attention. An
// indirect arrival (a block's entry, the landing after a CALL) loads from the page's last four bytes plus the
// difference between the EIP it was made for and the one that came: a right arrival thus polls, a wrong one
// faults in the guard, and neither touches the flags.
#pragma once
#include "vmm/base/result.h"
#include "vmm/translator/runtime.h"

#include <array>
#include <memory>

namespace vmm {

class RuntimeMemory {
  public:
    static base::Result<std::unique_ptr<RuntimeMemory>> create();
    ~RuntimeMemory();
    RuntimeMemory() = default;
    RuntimeMemory(const RuntimeMemory&) = delete;
    RuntimeMemory& operator=(const RuntimeMemory&) = delete;

    [[nodiscard]] Runtime& runtime() const { return *runtime_; }
    // False where the address space above is taken (a second engine in this process, AddressSanitizer's
    // shadow): arrivals then compare and branch.
    [[nodiscard]] bool has_arrival_guard() const { return guard_ != nullptr; }
    void let_polls_pass(bool pass);
    // What faults when read and means nothing else; two pages.
    [[nodiscard]] uint64_t trap_pages() const { return reinterpret_cast<uint64_t>(traps_); }

    enum class Place { Elsewhere, Poll, Arrival, Guard, Limit };
    [[nodiscard]] Place place_of(uint64_t address) const;
    // The segment whose limit a load at such an address reports broken.
    [[nodiscard]] unsigned segment_of_limit(uint64_t address) const;

  private:
    base::Result<void> map_limit_traps();
    [[nodiscard]] uint64_t anchor() const { return reinterpret_cast<uint64_t>(low_) + kAnchor; }

    uint8_t* low_ = nullptr;
    Runtime* runtime_ = nullptr;
    void* guard_ = nullptr;
    void* traps_ = nullptr;
    std::array<uint64_t, 2> limit_traps_{}; // PROT_NONE: where limit violations load from
    std::array<bool, 2> limit_trap_owned_{};
};

} // namespace vmm
