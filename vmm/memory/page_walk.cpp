#include "vmm/memory/page_walk.h"

#include "vmm/memory/paging_format.h"

namespace vmm {
namespace {

using namespace paging;

// #PF error code bits (SDM Vol. 3A 4.7).
constexpr uint32_t kErrorPresent = 1, kErrorWrite = 2, kErrorUser = 4, kErrorReserved = 8, kErrorFetch = 16;

// The entries that translate one linear address, as far as they exist.
struct Path {
    enum class End : uint8_t { Page, NotPresent, Reserved } end = End::NotPresent;
    bool large = false;
    Physical directory_at = 0, table_at = 0; // guest-physical addresses of the entries
    uint64_t directory = 0, table = 0;

    [[nodiscard]] uint64_t leaf() const { return large ? directory : table; }
    // Bits that every level must grant (R/W, U/S).
    [[nodiscard]] uint64_t granted() const { return large ? directory : directory & table; }
    [[nodiscard]] bool no_execute() const { return ((directory | (large ? 0 : table)) & kNoExecute) != 0; }
};

Path follow(const CpuState& cpu, GuestMemory& memory, Mode mode, uint32_t linear) {
    Path path;
    Physical base = cpu.cr3 & kFrame;
    if (mode.pae) {
        const uint64_t pointer = cpu.pdpte[linear >> 30];
        if ((pointer & kPresent) == 0)
            return path;
        base = pointer & kFrame;
    }
    const uint32_t page = linear >> kPageShift;
    const uint32_t index_mask = mode.entries() - 1;
    path.directory_at = base + ((page >> mode.region_shift()) & index_mask) * mode.entry_bytes();
    path.directory = read_entry(memory, mode, path.directory_at);
    if ((path.directory & kPresent) == 0)
        return path;
    path.end = Path::End::Reserved;
    if ((path.directory & mode.reserved_in_directory(path.directory)) != 0)
        return path;
    path.large = mode.is_large(path.directory);
    if (!path.large) {
        path.table_at = (path.directory & kFrame) + (page & index_mask) * mode.entry_bytes();
        path.table = read_entry(memory, mode, path.table_at);
        if ((path.table & kPresent) == 0) {
            path.end = Path::End::NotPresent;
            return path;
        }
        if ((path.table & mode.reserved_in_table()) != 0)
            return path;
    }
    path.end = Path::End::Page;
    return path;
}

Translation describe(const CpuState& cpu, Mode mode, const Path& path, uint32_t linear, Privilege privilege) {
    Translation result;
    const uint32_t frame =
        path.large ? mode.large_frame(path.directory, linear >> kPageShift) : frame_of(path.table);
    result.physical = Physical{frame} << kPageShift | (linear & (kPageSize - 1));
    result.page_bytes = path.large ? mode.region_pages() << kPageShift : kPageSize;
    result.user = (path.granted() & kUser) != 0;
    // SDM Vol. 3A 4.6.1: supervisor writes ignore R/W while CR0.WP is clear.
    const bool write_granted = (path.granted() & kWrite) != 0;
    result.may_write = privilege == Privilege::User ? write_granted && result.user
                                                    : write_granted || (cpu.cr0 & cr0::kWp) == 0;
    result.writable = result.may_write && (path.leaf() & kDirty) != 0;
    result.executable = !(mode.nxe && path.no_execute());
    result.global = (path.leaf() & kGlobal) != 0 && (cpu.cr4 & cr4::kPge) != 0;
    return result;
}

Translation identity(uint32_t linear) {
    return {.physical = linear, .writable = true, .may_write = true, .user = true};
}

// Sets bits of an entry as the processor's locked read-modify-write would. An entry in a page that holds
// translated code goes through the observed path, one in ROM cannot change.
void set_bits(GuestMemory& memory, Mode mode, Physical at, uint64_t entry, uint64_t bits) {
    if ((entry & bits) == bits)
        return;
    const PageEntry where = memory.entry(page_of(at));
    if (where.kind != PageKind::Ram)
        return;
    memory.before_write(where.backing); // present: the walk has just read it
    // A and D are in the low byte of the entry, whichever its size.
    uint8_t* live = memory.ram_pointer(at, mode.entry_bytes());
    if (memory.is_code(where.backing))
        memory.write<uint8_t>(at, static_cast<uint8_t>(*live | bits));
    else
        __atomic_fetch_or(live, static_cast<uint8_t>(bits), __ATOMIC_RELAXED);
}

} // namespace

GuestResult<Translation> page_walk(const CpuState& cpu, GuestMemory& memory, uint32_t linear,
                                   AccessKind access, Privilege privilege) {
    const Mode mode = Mode::of(cpu);
    if (!mode.enabled)
        return identity(linear);
    const bool user = privilege == Privilege::User, write = access == AccessKind::Write;
    const bool fetch = access == AccessKind::Execute;
    const auto fault = [&](uint32_t cause) {
        const uint32_t code = cause | (write ? kErrorWrite : 0) | (user ? kErrorUser : 0) |
                              (fetch && mode.nxe ? kErrorFetch : 0);
        return tl::make_unexpected(Fault{Vector::PageFault, true, code, linear});
    };

    const Path path = follow(cpu, memory, mode, linear);
    if (path.end == Path::End::NotPresent)
        return fault(0);
    if (path.end == Path::End::Reserved)
        return fault(kErrorPresent | kErrorReserved);
    Translation result = describe(cpu, mode, path, linear, privilege);
    if ((user && !result.user) || (write && !result.may_write) || (fetch && !result.executable))
        return fault(kErrorPresent);

    const uint64_t leaf_bits = write ? kAccessed | kDirty : kAccessed;
    set_bits(memory, mode, path.directory_at, path.directory, path.large ? leaf_bits : kAccessed);
    if (!path.large)
        set_bits(memory, mode, path.table_at, path.table, leaf_bits);
    result.writable |= write;
    return result;
}

Translation page_probe(const CpuState& cpu, GuestMemory& memory, uint32_t linear, Privilege privilege) {
    const Mode mode = Mode::of(cpu);
    if (!mode.enabled)
        return identity(linear);
    const Path path = follow(cpu, memory, mode, linear);
    if (path.end == Path::End::Page) {
        const Translation result = describe(cpu, mode, path, linear, privilege);
        if (privilege == Privilege::Supervisor || result.user)
            return result;
    }
    return {.page_bytes = 0};
}

GuestResult<void> load_pdptes(CpuState& cpu, GuestMemory& memory) {
    // SDM Vol. 3A Table 4-8: bits 2:1, 8:5 and 63:MAXPHYADDR are reserved.
    constexpr uint64_t kReserved = 0x1E6 | kPaeHighReserved | kNoExecute;
    const uint32_t base = cpu.cr3 & ~31u;
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
