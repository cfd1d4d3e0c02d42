#include "vmm/memory/page_walk.h"

#include "vmm/memory/paging_format.h"

#include <array>

namespace vmm {
namespace {

using namespace paging;

// #PF error code bits (SDM Vol. 3A 4.7).
constexpr uint32_t kErrorPresent = 1, kErrorWrite = 2, kErrorUser = 4, kErrorReserved = 8, kErrorFetch = 16;

// The entries that translate one linear address, as far as they exist; the last of them is the page's.
struct Path {
    enum class End : uint8_t { Page, NotPresent, Reserved } end = End::NotPresent;
    unsigned count = 0;
    unsigned page_shift = kPageShift;
    std::array<Physical, kMostLevels> at; // guest-physical addresses of the entries
    std::array<uint64_t, kMostLevels> entry;
    uint64_t granted = kWrite | kUser; // by every level (R/W, U/S)
    uint64_t denied = 0;               // by any (XD)

    [[nodiscard]] uint64_t leaf() const { return entry[count - 1]; }
};

// `Levels` is the mode's, known where this is compiled, and a walk is one function of what is inlined here: a
// 32-bit guest pays nothing for the levels that it does not have.
template <unsigned Levels>
[[gnu::always_inline]] inline Path follow(const CpuState& cpu, GuestMemory& memory, Mode mode,
                                          Linear linear) {
    Path path;
    Physical base = cpu.cr3 & kFrame;
    if (Levels == 2 && mode.pae) { // the third level is registers
        const uint64_t pointer = cpu.pdpte[(linear >> 30) & 3];
        if ((pointer & kPresent) == 0)
            return path;
        base = pointer & kFrame;
    }
    const unsigned index_bits = mode.region_shift();
    for (unsigned level = Levels;; --level) {
        const unsigned shift = kPageShift + (level - 1) * index_bits;
        const Physical at = base + ((linear >> shift) & (mode.entries() - 1)) * mode.entry_bytes();
        const uint64_t entry = read_entry(memory, mode, at);
        if ((entry & kPresent) == 0)
            return path;
        if ((entry & mode.reserved(level, entry)) != 0) {
            path.end = Path::End::Reserved;
            return path;
        }
        path.at[path.count] = at;
        path.entry[path.count++] = entry;
        path.granted &= entry;
        path.denied |= entry & kNoExecute;
        if (level == 1 || mode.maps_page(level, entry)) {
            path.page_shift = shift;
            path.end = Path::End::Page;
            return path;
        }
        base = entry & kFrame;
    }
}

[[gnu::always_inline]] inline Translation describe(const CpuState& cpu, Mode mode, const Path& path,
                                                   Linear linear, Privilege privilege) {
    Translation result;
    const uint64_t within = (uint64_t{1} << path.page_shift) - 1;
    result.physical = (path.leaf() & kFrame & ~within) | (linear & within);
    result.page_bytes = static_cast<uint32_t>(within + 1);
    result.user = (path.granted & kUser) != 0;
    // SDM Vol. 3A 4.6.1: supervisor writes ignore R/W while CR0.WP is clear.
    const bool write_granted = (path.granted & kWrite) != 0;
    result.may_write = privilege == Privilege::User ? write_granted && result.user
                                                    : write_granted || (cpu.cr0 & cr0::kWp) == 0;
    result.writable = result.may_write && (path.leaf() & kDirty) != 0;
    result.executable = !(mode.nxe && path.denied != 0);
    result.global = (path.leaf() & kGlobal) != 0 && (cpu.cr4 & cr4::kPge) != 0;
    result.pcid = (cpu.cr4 & cr4::kPcide) != 0 ? cpu.cr3 & kPcidMask : 0;
    return result;
}

Translation identity(Linear linear) {
    return {.physical = linear, .writable = true, .may_write = true, .user = true};
}

// SDM Vol. 3A 4.6.1. What the page grants beside R/W, which `may_write` has taken into account.
[[gnu::always_inline]] inline bool allowed(const CpuState& cpu, const Translation& page, AccessKind access,
                                           Privilege privilege) {
    if (access == AccessKind::Write && !page.may_write)
        return false;
    if (access == AccessKind::Execute && !page.executable)
        return false;
    if (privilege == Privilege::User)
        return page.user;
    if (!page.user)
        return true;
    if (access == AccessKind::Execute)
        return (cpu.cr4 & cr4::kSmep) == 0;
    // EFLAGS.AC opens user pages to what an instruction accesses, not to what the processor does by itself.
    return (cpu.cr4 & cr4::kSmap) == 0 ||
           (privilege == Privilege::Supervisor && (cpu.eflags & eflags::kAc) != 0);
}

// Sets bits of an entry as the processor's locked read-modify-write does. False: it is another by now
// (another processor's doing), and the walk begins again: a bit set in what is no longer present would be a
// change to something that is the guest's own. An entry in ROM cannot change.
bool set_bits(GuestMemory& memory, Mode mode, Physical at, uint64_t entry, uint64_t bits) {
    if ((entry & bits) == bits)
        return true;
    const PageEntry where = memory.entry(page_of(at));
    if (where.kind != PageKind::Ram)
        return true;
    memory.before_write(where.backing); // present: the walk has just read it
    memory.before_code_write(where.backing, static_cast<uint32_t>(at & (kPageSize - 1)), 1); // A and D
    uint8_t* live = memory.ram_pointer(at, mode.entry_bytes());
    if (mode.pae)
        return __atomic_compare_exchange_n(reinterpret_cast<uint64_t*>(live), &entry, entry | bits, false,
                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    auto narrow = static_cast<uint32_t>(entry);
    return __atomic_compare_exchange_n(reinterpret_cast<uint32_t*>(live), &narrow,
                                       static_cast<uint32_t>(entry | bits), false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}

[[gnu::always_inline]] inline bool mark(GuestMemory& memory, Mode mode, const Path& path, bool write) {
    for (unsigned i = 0; i < path.count; ++i) {
        const bool dirty = write && i + 1 == path.count;
        if (!set_bits(memory, mode, path.at[i], path.entry[i], dirty ? kAccessed | kDirty : kAccessed))
            return false;
    }
    return true;
}

template <unsigned Levels>
GuestResult<Translation> walk(const CpuState& cpu, GuestMemory& memory, Mode mode, Linear linear,
                              AccessKind access, Privilege privilege) {
    const bool write = access == AccessKind::Write, fetch = access == AccessKind::Execute;
    const auto fault = [&](uint32_t cause) {
        const uint32_t code = cause | (write ? kErrorWrite : 0) |
                              (privilege == Privilege::User ? kErrorUser : 0) |
                              (fetch && mode.reports_fetch ? kErrorFetch : 0);
        return tl::make_unexpected(Fault{Vector::PageFault, true, code, linear});
    };

    for (;;) {
        const Path path = follow<Levels>(cpu, memory, mode, linear);
        if (path.end == Path::End::NotPresent)
            return fault(0);
        if (path.end == Path::End::Reserved)
            return fault(kErrorPresent | kErrorReserved);
        Translation result = describe(cpu, mode, path, linear, privilege);
        if (!allowed(cpu, result, access, privilege))
            return fault(kErrorPresent);
        if (!mark(memory, mode, path, write))
            continue;
        result.writable |= write;
        return result;
    }
}

} // namespace

GuestResult<Translation> page_walk(const CpuState& cpu, GuestMemory& memory, Linear linear, AccessKind access,
                                   Privilege privilege) {
    const Mode mode = Mode::of(cpu);
    if (!mode.enabled)
        return identity(linear);
    if (mode.levels == 2)
        return walk<2>(cpu, memory, mode, linear, access, privilege);
    if (!is_canonical(linear))
        return guest_fault(Vector::GeneralProtection, 0);
    return walk<kMostLevels>(cpu, memory, mode, linear, access, privilege);
}

Translation page_probe(const CpuState& cpu, GuestMemory& memory, Linear linear, Privilege privilege) {
    const Mode mode = Mode::of(cpu);
    if (!mode.enabled)
        return identity(linear);
    if (mode.levels == kMostLevels && !is_canonical(linear))
        return {.page_bytes = 0};
    const Path path = mode.levels == 2 ? follow<2>(cpu, memory, mode, linear)
                                       : follow<kMostLevels>(cpu, memory, mode, linear);
    if (path.end == Path::End::Page) {
        const Translation result = describe(cpu, mode, path, linear, privilege);
        if (privilege != Privilege::User || result.user)
            return result;
    }
    return {.page_bytes = 0};
}

GuestResult<void> load_pdptes(CpuState& cpu, GuestMemory& memory) {
    // SDM Vol. 3A Table 4-8: bits 2:1, 8:5 and 63:MAXPHYADDR are reserved.
    constexpr uint64_t kReserved = 0x1E6 | kPaeHighReserved | kNoExecute;
    const Physical base = cpu.cr3 & 0xFFFFFFE0;
    std::array<uint64_t, 4> loaded{};
    for (unsigned i = 0; i < 4; ++i) {
        loaded[i] = read_entry(memory, Mode{.enabled = true, .pae = true}, base + i * 8);
        if ((loaded[i] & kPresent) != 0 && (loaded[i] & kReserved) != 0)
            return guest_fault(Vector::GeneralProtection, 0);
    }
    cpu.pdpte = loaded;
    return {};
}

} // namespace vmm
