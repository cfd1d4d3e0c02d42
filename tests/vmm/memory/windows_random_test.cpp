// Random page-table edits, accesses and flushes, against page_probe: right after a flush nothing may be
// mapped that the tables do not grant, and nothing executed may have gone unreported.
#include "tests/vmm/memory/windows_fixture.h"

#include <map>
#include <random>

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kFrames = 0x400000, kFrameCount = 48; // each stamped with its own address at offset 0
constexpr uint32_t kTables[] = {0x200000, 0x201000, 0x202000};

struct Chaos : Windowed {
    struct Fetch {
        uint32_t physical;
        uint64_t root;
    };
    std::mt19937 random;
    const bool pae;
    std::array<uint32_t, 2> regions{}; // linear addresses of the two regions in play
    std::array<uint32_t, 2> roots{};
    unsigned root = 0;
    std::map<std::pair<unsigned, uint32_t>, uint32_t> executed; // (root, page) -> physical page
    uint64_t mapped_seen = 0, writable_seen = 0, compared = 0;

    Chaos(unsigned seed, bool with_pae, Windows::Limits limits)
        : Windowed(limits), random(seed), pae(with_pae) {
        for (uint32_t i = 0; i < kFrameCount; ++i)
            stamp(kFrames + i * 0x1000);
        if (pae) {
            enable_pae();
            regions = {0x40000000, 0xC0200000};
            roots = {Paged::kPointers, Paged::kPointers + 0x20}; // another PDPT, the same directories
            for (unsigned i = 0; i < 4; ++i)
                memory->write<uint64_t>(roots[1] + i * 8, kDirectory + i * 0x1000 + kP);
        } else {
            enable_32bit();
            regions = {0x00400000, 0xFFC00000};
            roots = {kDirectory, kDirectory + 0x1000};
        }
        windows->set_code_dropped([this](uint32_t first, uint32_t count) {
            std::erase_if(executed, [&](const auto& e) {
                return e.first.first == root && e.first.second - first < count;
            });
        });
        for (int i = 0; i < 40; ++i)
            edit();
        load_cr3(0);
    }
    uint32_t below(uint32_t limit) { return random() % limit; }
    uint32_t any_linear() {
        const uint32_t span = pae ? 512 : 1024;
        const uint32_t page = below(8) == 0 ? below(span) : below(40);
        return regions[below(2)] + (page << 12);
    }
    uint64_t flags() {
        uint64_t bits = kP | kW | kU | kA | kD;
        if (below(2) == 0)
            bits &= ~(1ull << below(7)); // one of P W U . . A D
        if (below(4) == 0)
            bits |= below(2) == 0 ? kG : 0x200;
        if (pae && below(6) == 0)
            bits |= kNx;
        if (pae && below(40) == 0)
            bits |= 1ull << 40; // reserved
        return bits & ~0x18ull;
    }
    void put(uint32_t table, unsigned index, uint64_t value) {
        if (pae)
            memory->write<uint64_t>(table + index % 512 * 8, value);
        else
            memory->write<uint32_t>(table + index % 1024 * 4, static_cast<uint32_t>(value));
    }
    void edit() {
        const uint32_t linear = any_linear();
        if (below(30) == 0) {
            const uint32_t target =
                below(4) == 0 ? (kFrames | kPs) : kTables[below(3)]; // PS: the frames as a large page
            const unsigned index = linear >> (pae ? 21 : 22);
            const uint32_t directory = pae ? kDirectory + (index / 512) * 0x1000 : roots[below(2)];
            put(directory, index, target | flags());
            return;
        }
        // Mostly contiguous frames, so that runs form.
        const uint32_t frame = below(3) == 0 ? below(kFrameCount) : (linear >> 12) % kFrameCount;
        for (uint32_t i = 0, n = 1 + below(6); i < n; ++i)
            put(kTables[below(3)], (linear >> 12) + i,
                kFrames + (frame + i) % kFrameCount * 0x1000 + flags());
    }
    void load_cr3(unsigned to) {
        root = to;
        cpu.cr3 = roots[to];
        if (pae)
            REQUIRE(load_pdptes(cpu, *memory));
        windows->cr3_loaded();
    }
    void access() {
        const uint32_t linear = any_linear();
        cpu.cpl = below(2) == 0 ? 3 : 0;
        const auto privilege = cpu.cpl == 3 ? Privilege::User : Privilege::Supervisor;
        const bool write = below(2) == 0;
        const uint64_t base = windows->select();
        const bool already =
            write ? host.try_write(base + linear + 8, 1) : host.try_read(base + linear).has_value();
        if (already)
            return; // possibly stale, and allowed to be
        const Translation probe = page_probe(cpu, *memory, linear, privilege);
        const auto done = write ? host.write(*windows, linear + 8, 1) : host.read(*windows, linear);
        const bool granted = probe.page_bytes != 0 && (!write || probe.may_write);
        REQUIRE((done.outcome == Outcome::GuestFault) == !granted);
        if (!granted)
            return;
        const PageEntry where = memory->entry(probe.physical >> 12);
        if (write && memory->is_code(where.backing))
            REQUIRE(done.outcome == Outcome::CodeWrite);
        else
            REQUIRE(done.outcome == Outcome::Mapped);
        if (!write)
            REQUIRE(done.value == memory->read<uint32_t>(probe.physical));
    }
    void fetch() {
        const uint32_t linear = any_linear();
        cpu.cpl = below(2) == 0 ? 3 : 0;
        const auto walked = page_walk(cpu, *memory, linear, AccessKind::Execute,
                                      cpu.cpl == 3 ? Privilege::User : Privilege::Supervisor);
        if (!walked)
            return;
        windows->note_executed(linear);
        const auto key = std::pair{root, linear >> 12};
        if (executed.find(key) == executed.end()) // an older, stale look-up may still be in use
            executed[key] = walked->physical >> 12;
    }
    // What one page of the current root may look like after it was flushed.
    void check_page(uint32_t linear) {
        for (const uint8_t cpl : {3, 0}) {
            cpu.cpl = cpl;
            const auto privilege = cpl == 3 ? Privilege::User : Privilege::Supervisor;
            const Translation probe = page_probe(cpu, *memory, linear, privilege);
            const uint64_t at = windows->select() + linear;
            ++compared;
            if (const auto value = host.try_read(at)) {
                ++mapped_seen;
                REQUIRE(probe.page_bytes != 0);
                REQUIRE(*value == memory->read<uint32_t>(probe.physical));
            }
            if (host.try_write(at + 12, 1)) {
                ++writable_seen;
                REQUIRE(probe.writable);
                REQUIRE_FALSE(memory->is_code(memory->entry(probe.physical >> 12).backing));
            }
        }
        cpu.cpl = 0;
        if (const auto known = executed.find({root, linear >> 12}); known != executed.end()) {
            const Translation now = page_probe(cpu, *memory, linear, Privilege::Supervisor);
            REQUIRE(now.page_bytes != 0);
            REQUIRE(now.executable);
            REQUIRE(now.physical >> 12 == known->second);
        }
    }
    void check_all() {
        for (const uint32_t region : regions)
            for (uint32_t page = 0; page < 72; ++page)
                check_page(region + (page << 12));
    }
    void step() {
        switch (below(12)) {
        case 0:
            cpu.cpl = 0;
            load_cr3(below(2));
            check_all();
            break;
        case 1: {
            cpu.cpl = 0;
            const uint32_t linear = any_linear();
            windows->invlpg(linear + below(4096));
            check_page(linear);
            break;
        }
        case 2: {
            const uint32_t backing = (kFrames >> 12) + below(kFrameCount);
            if (below(2) == 0) {
                windows->write_protect(backing);
                memory->set_code(backing, true);
            } else {
                memory->set_code(backing, false);
            }
            break;
        }
        case 3:
            fetch();
            break;
        case 4:
        case 5:
            edit();
            break;
        default:
            access();
        }
    }
};

} // namespace

TEST_CASE("windows: after random edits and flushes they grant what page_probe grants", "[memory][windows]") {
    const bool pae = GENERATE(false, true);
    const unsigned seed = GENERATE(1u, 2u, 3u);
    const bool tight = GENERATE(false, true); // evictions all the time
    INFO("pae " << pae << " seed " << seed << " tight " << tight);
    Chaos chaos(seed, pae, tight ? Windows::Limits{2, 64} : Windows::Limits{});
    const uint64_t lowest = chaos.windows->select();
    for (int i = 0; i < 2500; ++i)
        chaos.step();
    CHECK(chaos.mapped_seen > chaos.compared / 200);
    CHECK(chaos.writable_seen > 0);
    CHECK(Windowed::kernel_mappings(lowest, tight ? 2 : 64) == chaos.windows->statistics().live_mappings);
}
