// 4-level paging against an oracle that is the SDM's lists, one sentence a line, and by cases.
#include "tests/vmm/memory/fixture.h"
#include "vmm/arch/promise.h"
#include "vmm/memory/linear_memory.h"

#include <cstring>

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr auto R = AccessKind::Read, W = AccessKind::Write, X = AccessKind::Execute;
constexpr auto S = Privilege::Supervisor, U = Privilege::User, Own = Privilege::System;
constexpr uint32_t kPat = 1u << 12; // of a large page

// One structure of each level, and an address in the middle of each.
struct Long : Paged {
    static constexpr uint32_t kStructures[5] = {0, 0x103000, 0x102000, 0x101000, 0x100000}; // by level
    static constexpr Linear kLinear = 0xFFFF9234567895A8;
    static constexpr uint64_t kPage = 0x345000;

    Long() {
        cpu.promised = promise::kAll;
        cpu.cr0 = cr0::kPe | cr0::kPg | cr0::kWp;
        cpu.cr3 = kStructures[4];
        cpu.cr4 = cr4::kPae;
        cpu.efer = efer::kLme | efer::kLma | efer::kNxe;
        for (unsigned level = 4; level > 1; --level)
            set(level, kStructures[level - 1] | kP | kW | kU);
        set(1, kPage | kP | kW | kU);
    }
    [[nodiscard]] static Physical at(unsigned level, Linear linear = kLinear) {
        return kStructures[level] + ((linear >> (12 + 9 * (level - 1))) & 511) * 8;
    }
    void set(unsigned level, uint64_t value, Linear linear = kLinear) {
        memory->write<uint64_t>(at(level, linear), value);
    }
    [[nodiscard]] uint64_t get(unsigned level) const { return memory->read<uint64_t>(at(level)); }
    auto walk(AccessKind access, Privilege privilege, Linear linear = kLinear) {
        return page_walk(cpu, *memory, linear, access, privilege);
    }
    // -1: no fault.
    int error(AccessKind access, Privilege privilege) {
        const auto walked = walk(access, privilege);
        if (walked)
            return -1;
        REQUIRE(walked.error().vector == Vector::PageFault);
        REQUIRE(walked.error().has_error_code);
        REQUIRE(walked.error().linear_address == kLinear);
        return static_cast<int>(walked.error().error_code);
    }
};

// What the guest has set up, as the SDM speaks of it.
struct Rules {
    bool user_in_all, write_in_all, xd_in_any;
    bool wp, smep, smap, ac, nxe;
};

// SDM Vol. 3A 4.6.1, "Determination of access rights", sentence by sentence, and 4.7.
int oracle(const Rules& r, AccessKind access, Privilege who) {
    const bool user_mode = who == U;
    int code = 1;
    if (access == W)
        code |= 2;
    if (user_mode)
        code |= 4;
    if (access == X && (r.smep || r.nxe)) // CR4.PAE is 1 in IA-32e mode
        code |= 16;
    if (r.xd_in_any && !r.nxe)
        return code | 8;
    const bool supervisor_address = !r.user_in_all;
    bool ok = false;
    if (!user_mode && access == R) {
        if (supervisor_address)
            ok = true; // "Data may be read (implicitly or explicitly) from any supervisor-mode address"
        else if (!r.smap)
            ok = true; // "If CR4.SMAP = 0, data may be read from any user-mode address"
        else
            ok = who == S && r.ac; // explicitly, if EFLAGS.AC = 1
    } else if (!user_mode && access == W) {
        const bool may_touch = supervisor_address || !r.smap || (who == S && r.ac);
        ok = may_touch && (!r.wp || r.write_in_all);
    } else if (!user_mode) {
        if (!supervisor_address && r.smep)
            ok = false;
        else
            ok = !r.nxe || !r.xd_in_any;
    } else if (supervisor_address) {
        ok = false;
    } else if (access == R) {
        ok = true;
    } else if (access == W) {
        ok = r.write_in_all;
    } else {
        ok = !r.nxe || !r.xd_in_any;
    }
    return ok ? -1 : code;
}

} // namespace

TEST_CASE("long paging: rights, by every combination at every level and of every control bit", "[memory]") {
    Long pc;
    unsigned walks = 0, wrong = 0;
    for (unsigned page_level = 1; page_level <= 3; ++page_level) {
        const unsigned levels = 5 - page_level;
        for (unsigned rights = 0; rights < 1u << (3 * levels); ++rights) {
            Rules rules{true, true, false, false, false, false, false, false};
            for (unsigned n = 0; n < levels; ++n) {
                const unsigned level = 4 - n, bits = (rights >> (3 * n)) & 7;
                rules.user_in_all &= (bits & 1) != 0;
                rules.write_in_all &= (bits & 2) != 0;
                rules.xd_in_any |= (bits & 4) != 0;
                const uint64_t page = level > 1 ? kPs : Long::kPage;
                pc.set(level, (level == page_level ? page : Long::kStructures[level - 1]) | kP |
                                  ((bits & 1) != 0 ? kU : 0) | ((bits & 2) != 0 ? kW : 0) |
                                  ((bits & 4) != 0 ? kNx : 0) | kA | kD);
            }
            for (unsigned control = 0; control < 32; ++control) {
                rules.wp = (control & 1) != 0;
                rules.smep = (control & 2) != 0;
                rules.smap = (control & 4) != 0;
                rules.ac = (control & 8) != 0;
                rules.nxe = (control & 16) != 0;
                pc.cpu.cr0 = cr0::kPe | cr0::kPg | (rules.wp ? cr0::kWp : 0);
                pc.cpu.cr4 = cr4::kPae | (rules.smep ? cr4::kSmep : 0) | (rules.smap ? cr4::kSmap : 0);
                pc.cpu.eflags = eflags::kFixed1 | (rules.ac ? eflags::kAc : 0);
                pc.cpu.efer = efer::kLme | efer::kLma | (rules.nxe ? efer::kNxe : 0);
                for (const AccessKind access : {R, W, X})
                    for (const Privilege who : {S, U, Own}) {
                        ++walks;
                        const auto walked = pc.walk(access, who);
                        const int error = walked ? -1 : static_cast<int>(walked.error().error_code);
                        if (error == oracle(rules, access, who))
                            continue;
                        if (++wrong <= 5) {
                            INFO("page of level " << page_level << ", rights " << rights << ", control "
                                                  << control << ", access " << static_cast<int>(access)
                                                  << ", by " << static_cast<int>(who));
                            CHECK(error == oracle(rules, access, who));
                        }
                    }
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(walks == (4096 + 512 + 64) * 32 * 9);
}

TEST_CASE("long paging: SMEP and the fetch bit of error codes reach 32-bit and PAE paging as well",
          "[memory]") {
    Paged pc;
    pc.enable_32bit();
    constexpr uint32_t kTable = 0x200000, kAt = 0x812345;
    pc.pde(kAt, kTable | kP | kW | kU);
    pc.pte(kTable, kAt, 0x345000 | kP | kU);
    CHECK(page_walk(pc.cpu, *pc.memory, kAt, X, S));
    pc.cpu.cr4 |= cr4::kSmep;
    const auto fetched = page_walk(pc.cpu, *pc.memory, kAt, X, S);
    REQUIRE_FALSE(fetched);
    CHECK(fetched.error().error_code == 0x11);
    CHECK(page_walk(pc.cpu, *pc.memory, kAt, X, U));
    pc.cpu.cr4 |= cr4::kSmap;
    CHECK(page_walk(pc.cpu, *pc.memory, kAt, R, S).error().error_code == 1);
    pc.cpu.eflags |= eflags::kAc;
    CHECK(page_walk(pc.cpu, *pc.memory, kAt, R, S));
}

TEST_CASE("long paging: what is not present faults at each level, with P clear", "[memory]") {
    for (unsigned level = 1; level <= 4; ++level) {
        INFO("level " << level);
        Long pc;
        pc.set(level, pc.get(level) & ~uint64_t{kP});
        CHECK(pc.error(R, S) == 0);
        CHECK(pc.error(W, U) == 6);
        CHECK(pc.error(X, U) == 0x14);
        CHECK(pc.error(W, Own) == 2);
        for (unsigned other = 1; other <= 4; ++other) // a fault sets nothing
            CHECK((pc.get(other) & (kA | kD)) == 0);
        pc.set(level, ~uint64_t{kP}); // reserved bits of what is absent do not count
        CHECK(pc.error(R, S) == 0);
    }
}

TEST_CASE("long paging: reserved bits, each at each level and page size", "[memory]") {
    // SDM Vol. 3A tables 4-15 to 4-20: bits from `first` to `last` are reserved, beside 51:40 everywhere.
    const struct {
        const char* what;
        unsigned level;
        uint64_t value;
        int first, last;
        bool pages_1g;
    } entries[] = {
        {"PML4E", 4, Long::kStructures[3], 7, 7, true},
        {"PDPTE of a directory", 3, Long::kStructures[2], -1, -1, true},
        {"PDPTE without 1 GiB pages", 3, Long::kStructures[2], 7, 7, false},
        {"PDPTE of a page", 3, kPs, 13, 29, true},
        {"PDE of a table", 2, Long::kStructures[1], -1, -1, true},
        {"PDE of a page", 2, kPs, 13, 20, true},
        {"PTE", 1, Long::kPage, -1, -1, true},
    };
    for (const auto& entry : entries) {
        for (int bit = 3; bit < 64; ++bit) {
            if (bit >= 12 && bit < 40 && !(bit >= entry.first && bit <= entry.last))
                continue; // address bits and PAT
            if (bit == 7 && entry.first != 7)
                continue; // page size, or PAT of a PTE
            INFO(entry.what << ", bit " << bit);
            Long pc;
            if (!entry.pages_1g)
                pc.cpu.promised &= ~promise::kPages1G;
            pc.set(entry.level, entry.value | kP | kW | kU | 1ull << bit);
            const bool reserved = (bit >= 40 && bit <= 51) || (bit >= entry.first && bit <= entry.last);
            CHECK(pc.error(R, U) == (reserved ? 0xD : -1));
        }
        Long pc;
        pc.cpu.efer &= ~efer::kNxe;
        pc.set(entry.level, entry.value | kP | kW | kU | kNx);
        CHECK(pc.error(R, S) == 9);
        CHECK(pc.error(X, U) == 0xD); // no fetch bit without NXE and SMEP
    }
}

TEST_CASE("long paging: pages of 4 KiB, 2 MiB and 1 GiB, and PAT is no address bit", "[memory]") {
    Long pc;
    auto walked = pc.walk(W, U);
    REQUIRE(walked);
    CHECK(walked->physical == 0x3455A8);
    CHECK(walked->page_bytes == 4096);

    pc.set(2, 0x12600000 | kP | kW | kU | kPs | kPat);
    walked = pc.walk(R, U);
    REQUIRE(walked);
    CHECK(walked->page_bytes == 2u << 20);
    CHECK(walked->physical == 0x12600000 + (Long::kLinear & 0x1FFFFF));

    pc.set(3, 0xFFC0000000 | kP | kW | kU | kPs | kPat);
    walked = pc.walk(R, U);
    REQUIRE(walked);
    CHECK(walked->page_bytes == 1u << 30);
    CHECK(walked->physical == 0xFFC0000000 + (Long::kLinear & 0x3FFFFFFF));
}

TEST_CASE("long paging: A is set at each level, D where the page is", "[memory]") {
    for (unsigned page_level = 1; page_level <= 3; ++page_level) {
        Long pc;
        if (page_level > 1)
            pc.set(page_level, kP | kW | kU | kPs);
        const auto flags = [&](unsigned level) { return pc.get(level) & (kA | kD); };
        auto walked = pc.walk(R, U);
        REQUIRE(walked);
        CHECK(walked->may_write);
        CHECK_FALSE(walked->writable);
        for (unsigned level = page_level; level <= 4; ++level)
            CHECK(flags(level) == kA);
        walked = pc.walk(W, U);
        REQUIRE(walked);
        CHECK(walked->writable);
        CHECK(flags(page_level) == (kA | kD));
        for (unsigned level = page_level + 1; level <= 4; ++level)
            CHECK(flags(level) == kA);
        for (unsigned level = 1; level < page_level; ++level)
            CHECK(flags(level) == 0);
    }
}

TEST_CASE("long paging: an entry that changes under the walk is read again, and keeps no bit of it",
          "[memory]") {
    struct Observer : MemoryObserver {
        GuestMemory* memory = nullptr;
        Physical at = 0;
        uint64_t becomes = 0;
        void all_remapped() override {}
        void page_remapped(uint32_t) override {}
        void code_written(uint32_t, uint32_t, uint32_t) override { // between reading and marking
            std::memcpy(memory->ram_pointer(at, 8), &becomes, 8);
        }
    } observer;
    Long pc;
    observer.memory = pc.memory.get();
    observer.at = Long::at(1);
    observer.becomes = Long::kPage | kW | kU; // swapped out
    pc.memory->set_observer(&observer);
    pc.memory->set_code(Long::kStructures[1] >> 12, true);
    CHECK(pc.error(W, S) == 2);
    CHECK(pc.get(1) == observer.becomes);

    pc.set(1, Long::kPage | kP | kW | kU);
    observer.becomes = 0x777000 | kP | kW | kU | kA | kD;
    const auto moved = pc.walk(W, S);
    REQUIRE(moved);
    CHECK(moved->physical == 0x7775A8);
    CHECK(pc.get(1) == observer.becomes);
    pc.memory->set_observer(nullptr);
}

TEST_CASE("long paging: an address that is not canonical is #GP(0), whatever the tables say", "[memory]") {
    Long pc;
    for (const Linear linear : {0x0000800000000000ull, 0xFFFF7FFFFFFFFFFFull, 0x8000000000000000ull,
                                0x0001000000000000ull, Long::kLinear ^ (1ull << 63)}) {
        const auto walked = pc.walk(R, S, linear);
        REQUIRE_FALSE(walked);
        CHECK(walked.error().vector == Vector::GeneralProtection);
        CHECK(walked.error().has_error_code);
        CHECK(walked.error().error_code == 0);
        CHECK(page_probe(pc.cpu, *pc.memory, linear, S).page_bytes == 0);
    }
    CHECK(page_probe(pc.cpu, *pc.memory, Long::kLinear, U).physical == 0x3455A8);
}

TEST_CASE("long paging: a translation knows the PCID that it belongs to", "[memory]") {
    Long pc;
    pc.cpu.cr3 |= 0x18; // PWT and PCD
    CHECK(pc.walk(R, S)->pcid == 0);
    pc.cpu.cr4 |= cr4::kPcide;
    pc.cpu.cr3 |= 0xABC;
    CHECK(pc.walk(R, S)->pcid == 0xABC);
}

namespace {

struct Cached : Long {
    LinearMemory linear{cpu, *memory};
    // What `linear` finds: the first byte of each page is different.
    uint8_t read(Linear at = kLinear & ~0xFFFull, Privilege who = S) {
        const auto value = linear.read<uint8_t>(at, who);
        return value ? *value : 0xEE;
    }
    void point(unsigned page, uint64_t flags = 0) {
        set(1, (0x400000 + page * 0x1000) | kP | kW | kU | flags);
    }

    Cached() {
        for (unsigned page = 0; page < 8; ++page)
            memory->write<uint8_t>(0x400000 + page * 0x1000, static_cast<uint8_t>(page));
        point(0);
    }
};

} // namespace

TEST_CASE("linear memory: PCIDs keep their translations apart, and MOV CR3 may keep them", "[memory]") {
    Cached pc;
    // Two pages, so that neither context's translation takes the place of the other's.
    constexpr Linear kZero = Long::kLinear & ~0xFFFull, kOne = kZero + 0x1000;
    const auto point = [&](unsigned page) {
        for (const Linear at : {kZero, kOne})
            pc.set(1, (0x400000 + page * 0x1000) | kP | kW | kU, at);
    };
    pc.cpu.cr4 |= cr4::kPcide;
    pc.linear.switch_pcid(0, false);
    point(0);
    CHECK(pc.read(kZero) == 0);
    point(1);
    CHECK(pc.read(kZero) == 0);     // cached
    pc.linear.switch_pcid(1, true); // nothing known of it yet
    CHECK(pc.read(kOne) == 1);
    point(2);
    CHECK(pc.read(kOne) == 1);
    pc.linear.switch_pcid(0, true);
    CHECK(pc.read(kZero) == 0);
    pc.linear.switch_pcid(1, true);
    CHECK(pc.read(kOne) == 1);
    pc.linear.flush_pcid(0); // another one's
    CHECK(pc.read(kOne) == 1);
    pc.linear.switch_pcid(0, true);
    CHECK(pc.read(kZero) == 2);
    point(3);
    pc.linear.flush_pcid(0);
    CHECK(pc.read(kZero) == 3);
    pc.linear.switch_pcid(1, true);
    CHECK(pc.read(kOne) == 1);
    CHECK(pc.read(kZero) == 3); // not what PCID 0 knows, though it is the same
    point(4);
    pc.linear.switch_pcid(1, false);
    CHECK(pc.read(kOne) == 4);
    pc.linear.switch_pcid(0, true);
    CHECK(pc.read(kZero) == 4);
    point(5);
    pc.linear.flush_all_local();
    CHECK(pc.read(kZero) == 5);
    pc.linear.switch_pcid(1, true);
    CHECK(pc.read(kOne) == 5);
    point(6);
    CHECK(pc.read(kZero) == 6); // PCID 0's is not used here
}

TEST_CASE("linear memory: global pages are every PCID's and outlast all but a whole flush", "[memory]") {
    Cached pc;
    pc.cpu.cr4 |= cr4::kPcide | cr4::kPge;
    pc.point(0, kG);
    CHECK(pc.read() == 0);
    pc.point(1, kG);
    pc.linear.switch_pcid(5, false);
    CHECK(pc.read() == 0);
    pc.linear.flush_all_local();
    CHECK(pc.read() == 0);
    pc.linear.flush_page(Long::kLinear); // INVLPG takes global ones, too
    CHECK(pc.read() == 1);
    pc.point(2, kG);
    pc.linear.flush();
    CHECK(pc.read() == 2);
}

TEST_CASE("linear memory: INVLPG of any part of a 1 GiB page takes all of it", "[memory]") {
    Cached pc;
    const Linear gigabyte = Long::kLinear & ~0x3FFFFFFFull;
    pc.set(3, kP | kW | kU | kPs);
    CHECK(pc.read(gigabyte + 0x401000) == 1);
    CHECK(pc.read(gigabyte + 0x402000) == 2);
    pc.set(3, 0x40000000 | kP | kW | kU | kPs); // nothing answers there
    CHECK(pc.read(gigabyte + 0x401000) == 1);
    pc.linear.flush_page(gigabyte + 0x3FFFF000);
    CHECK(pc.read(gigabyte + 0x401000) == 0xFF);
    CHECK(pc.read(gigabyte + 0x402000) == 0xFF);
}

TEST_CASE("linear memory: what AC opened under SMAP is closed without a flush", "[memory]") {
    Cached pc;
    pc.cpu.cr4 |= cr4::kSmap;
    CHECK(pc.read() == 0xEE);
    pc.cpu.eflags |= eflags::kAc;
    CHECK(pc.read() == 0);
    CHECK(pc.read(Long::kLinear & ~0xFFFull, Own) == 0xEE);
    pc.cpu.eflags &= ~eflags::kAc;
    CHECK(pc.read() == 0xEE);
    CHECK(pc.read(Long::kLinear & ~0xFFFull, U) == 0);
    CHECK(pc.read() == 0xEE); // though the page is cached for the user
}

TEST_CASE("linear memory: accesses run over 4 GiB, and stop at the end of the lower half", "[memory]") {
    Cached pc;
    for (const Linear last : {0xFFFFFFFFull, 0x00007FFFFFFFFFFFull}) {
        for (const Linear at : {last, last + 1}) {
            for (unsigned level = 4; level > 1; --level)
                pc.set(level, Long::kStructures[level - 1] | kP | kW | kU, at);
            pc.set(1, (at == last ? 0x400000 : 0x401000) | kP | kW | kU, at);
        }
        pc.linear.flush();
        const auto value = pc.linear.read<uint16_t>(last, S);
        if (last == 0xFFFFFFFF) {
            REQUIRE(value);
            CHECK(*value == 0x0100); // the last byte of page 0, the first of page 1
        } else {
            REQUIRE_FALSE(value);
            CHECK(value.error().vector == Vector::GeneralProtection);
        }
    }
}
