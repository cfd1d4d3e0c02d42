// What a thread may ask of the kernel: a table of system calls (filters/, one file per kind of thread),
// compiled by libseccomp. A line allows one call, under conditions on its arguments that all hold; several
// lines about one call are alternatives. What no line says is the table's `rest`.
#pragma once
#include "vmm/base/result.h"

#include <array>
#include <cstdint>
#include <linux/filter.h>
#include <span>
#include <vector>

namespace jail {

// Of an argument that is a number; what a pointer leads to no filter sees.
struct Condition {
    enum class Kind : uint8_t { Always, Equals, Differs, BitsAre } kind = Kind::Always;
    unsigned argument = 0;
    uint64_t value = 0, mask = 0;
};
// Numbers that are known when a process runs (Filter::fill_in): its own; that of a descriptor which a thread
// works with.
inline constexpr uint64_t kOwnProcess = 0x5E1F1D, kOwnDescriptor = 0x5E1FFD;

constexpr Condition equals(unsigned argument, uint64_t value) {
    return {Condition::Kind::Equals, argument, value, 0};
}
constexpr Condition differs(unsigned argument, uint64_t value) {
    return {Condition::Kind::Differs, argument, value, 0};
}
constexpr Condition bits_are(unsigned argument, uint64_t mask, uint64_t value) {
    return {Condition::Kind::BitsAre, argument, value, mask};
}
// Of those that the kernel takes for 32 bits, whatever is above them.
constexpr Condition equals_int(unsigned argument, uint64_t value) {
    return bits_are(argument, 0xFFFFFFFF, value);
}
constexpr Condition has(unsigned argument, uint64_t bits) { return bits_are(argument, bits, bits); }
constexpr Condition has_none(unsigned argument, uint64_t bits) { return bits_are(argument, bits, 0); }

enum class Answer : uint8_t {
    Allow,
    Refuse,  // EPERM
    Unknown, // ENOSYS: callers fall back on an older call
    Ask,     // Room::answer (room.h) carries it out, or not
    Kill     // the process
};

struct Line {
    int call;
    const char* why;
    std::array<Condition, 3> when{}; // each of another argument
    Answer answer = Answer::Allow;
};

struct CallTable {
    std::span<const Line> lines;
    Answer rest = Answer::Kill;
};

// A table as the kernel takes it.
class Filter {
  public:
    // Errors: the library cannot express the table, which a test would have found.
    static base::Result<Filter> compile(const CallTable& table);
    // Neither allocates nor locks, for use between clone and exec. no_new_privs has to be set.
    void fill_in(uint64_t placeholder, uint32_t value);
    // For good, for this thread and those it starts, beside what it has. False: the kernel has no filters.
    [[nodiscard]] bool install() const;

  private:
    std::vector<sock_filter> steps_;
};

} // namespace jail
