// Places in guest code that are made in another form than the plain one: memory operands by call-out (their
// accesses cannot, or should not, go through the window) or with the prefixes that wrap their address at 4
// GiB, and indirect arrivals with a compare and branch instead of a guard that faults. What is kept here is
// why they are, and whether that still holds.
//
// All of these are guesses at what a place will do next, so all are leases:
//  - The plain form is given up when the host's faults say that it is dear: at once where it cannot work
//    (devices, code in the way), after a number of faults where it only costs.
//  - A call-out pays one unit of its lease for each access that the window would have served, and earns units
//    for each that would have been a fault: about what either costs, in call-outs. When the lease is used up
//    the place is made in the plain form again.
//  - Prefixes, and an arrival that compares, cost next to nothing and see nothing: their lease is a time.
//  - A change that did not pay for itself raises the place's `doubt`: each degree doubles the lease and the
//    faults it takes to get one. So being wrong costs a few per cent at most, whatever a guest does, and a
//    place whose habits change is back in the right form soon.
// Code that is replaced takes its marks along: a mark holds for the bytes it was made for. The table is of a
// fixed size; what it has no room for is forgotten, and learnt again if it matters.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace vmm {

class Sites {
  public:
    using Microseconds = uint32_t; // wraps

    enum class Kind : uint8_t { Memory, Address, Arrival, Count };
    enum class Reason : uint8_t {
        Cold,     // page after page that the window does not map
        Device,   // not memory
        Code,     // stores to pages with translated code
        Crossing, // runs over 4 GiB
        Split,    // locked, and runs over a cache line
        Wrap,     // an address that wraps there
        Arrival,  // the wrong EIP came too often
        Count
    };
    // What the plain form would have made of an access by call-out.
    enum class Need : uint8_t {
        None,   // the same without us
        Mapped, // a host fault to map the page, which is mapped now
        Fault,  // a host fault for the guest's page fault that it raises
        First,  // a mapping for the access after that, which perhaps is the last there
        Second, // it was not, and the page is mapped now
        Always, // a host fault, and then a call-out
    };

    struct Place {
        uint32_t backing = 0; // memfd page
        uint16_t offset = 0;  // in it
        Kind kind = Kind::Memory;
        bool operator==(const Place&) const = default;
    };

    static constexpr uint32_t kNoLinearPage = ~0u;

    // -- the plain form ------------------------------------------------------------------------------
    // A window fault; true: page after page, so a call-out is worth a trial.
    bool faulted(const Place& place, uint32_t linear_page, Microseconds now);
    // A wrong arrival; true: too many of late.
    bool missed(const Place& place, Microseconds now);

    // -- marks ---------------------------------------------------------------------------------------
    // Answers the mark's number, never 0. `lost`: a mark that had to go; its place is plain again.
    uint16_t mark(const Place& place, Reason reason, uint32_t bytes, Microseconds now,
                  std::optional<Place>& lost);
    [[nodiscard]] const Place& place(uint16_t number) const { return table_[number].place; }
    [[nodiscard]] uint32_t bytes(uint16_t number) const { return table_[number].bytes; }
    [[nodiscard]] Reason reason(uint16_t number) const { return table_[number].reason; }
    // For whoever tells First from Second: the page the call-out has raised a fault for or accessed since.
    uint32_t& fresh_page(uint16_t number) { return table_[number].last_page; }
    // An access by call-out (`weight`: so many, if none was needed). True: the lease is over,
    // return_to_plain().
    bool executed(uint16_t number, Need need, uint32_t weight);
    void return_to_plain(uint16_t number, Microseconds now);
    // The code it was for is gone.
    void forget(uint16_t number);
    // Those whose lease is a time, which is over.
    [[nodiscard]] std::vector<uint16_t> expired(Microseconds now) const;

    struct Statistics {
        std::array<uint64_t, static_cast<size_t>(Reason::Count)> made{}, live{};
        uint64_t returned = 0, forgotten = 0, crowded_out = 0;
        uint64_t needed = 0, needless = 0; // accesses by call-out
    };
    Statistics statistics;

  private:
    struct Site {
        Place place;
        bool used = false, marked = false;
        Reason reason = Reason::Cold;
        uint8_t doubt = 0;
        uint16_t faults = 0;                // plain: in a row
        uint32_t last_page = kNoLinearPage; // plain: of the last fault; as a call-out: see fresh_page()
        int64_t lease = 0, earned = 0;      // as a call-out
        uint32_t bytes = 0;
        Microseconds seen = 0;    // plain: first or last of those faults
        Microseconds changed = 0; // when it was marked or returned
        bool returned = false;
    };

    Site* set_of(const Place& place);
    Site* find(const Place& place);
    Site* take(const Place& place, bool for_mark, std::optional<Place>& lost);
    void doubt(Site& site, bool more);

    static constexpr unsigned kWays = 4, kSets = 4096; // large programs mark thousands
    static constexpr uint8_t kMostDoubt = 6;
    // Units are call-outs, about a tenth of a microsecond each.
    static constexpr uint32_t kFirstLease = 64;
    static constexpr int64_t kSignal = 16;  // a host fault
    static constexpr int64_t kMapping = 32; // a page mapped, and unmapped some day
    static constexpr int64_t kRemade = 112; // code in another form
    static constexpr int64_t kPaid = 4 * kRemade;
    static constexpr uint16_t kFirstFaults = 64, kArrivalFaults = 4;
    static constexpr Microseconds kFaultApart = 500;        // farther, and they cost one per cent
    static constexpr Microseconds kWorthwhile = 1000;       // in which a change of form costs next to nothing
    static constexpr Microseconds kArrivalMemory = 1000000; // misses older than that count no more
    static constexpr Microseconds kTimedLease = 1000000;

    std::vector<Site> table_ = std::vector<Site>(kWays * kSets + 1); // number 0 is nobody's
};

} // namespace vmm
