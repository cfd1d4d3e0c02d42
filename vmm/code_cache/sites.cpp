#include "vmm/code_cache/sites.h"

#include "vmm/base/verify.h"

#include <algorithm>

namespace vmm {

Sites::Site* Sites::set_of(const Place& place) {
    constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ull;
    constexpr unsigned kHashShift = 64 - 12;
    static_assert(kSets == 1u << (64 - kHashShift));
    const uint64_t key =
        uint64_t{place.backing} << 14 | uint64_t{place.offset} << 2 | static_cast<uint64_t>(place.kind);
    return &table_[1 + ((key * kMultiplier) >> kHashShift) * kWays];
}

Sites::Site* Sites::find(const Place& place) {
    Site* set = set_of(place);
    for (Site* site = set; site != set + kWays; ++site)
        if (site->used && site->place == place)
            return site;
    return nullptr;
}

// The place's entry, made if need be at the cost of the one that matters least. A mark goes only for another.
Sites::Site* Sites::take(const Place& place, bool for_mark, std::optional<Place>& lost) {
    if (Site* site = find(place))
        return site;
    Site* set = set_of(place);
    const auto matters = [](const Site& site) -> uint64_t {
        if (!site.used)
            return 0;
        return site.marked ? (1ull << 32) + static_cast<uint64_t>(site.lease) : 1u + site.faults + site.doubt;
    };
    Site* victim = std::min_element(set, set + kWays,
                                    [&](const Site& a, const Site& b) { return matters(a) < matters(b); });
    if (victim->marked && !for_mark)
        return nullptr;
    if (victim->marked) {
        lost = victim->place;
        --statistics.live[static_cast<size_t>(victim->reason)];
        ++statistics.crowded_out;
    }
    *victim = {};
    victim->used = true;
    victim->place = place;
    return victim;
}

void Sites::doubt(Site& site, bool more) {
    if (more && site.doubt < kMostDoubt)
        ++site.doubt;
    else if (!more && site.doubt > 0)
        --site.doubt;
}

bool Sites::faulted(const Place& place, uint32_t linear_page, Microseconds now) {
    std::optional<Place> lost;
    Site* site = take(place, false, lost);
    if (site == nullptr)
        return false;
    if (site->marked) // another block has it too
        return true;
    if (site->last_page == linear_page)
        return false;
    const Microseconds forgiven = (now - site->seen) / kFaultApart;
    site->faults -= static_cast<uint16_t>(std::min<Microseconds>(site->faults, forgiven));
    site->seen = now;
    site->last_page = linear_page;
    return ++site->faults >= kFirstFaults << site->doubt;
}

bool Sites::missed(const Place& place, Microseconds now) {
    std::optional<Place> lost;
    Site* site = take(place, false, lost);
    if (site == nullptr)
        return false;
    if (site->faults == 0 || now - site->seen >= kArrivalMemory) {
        site->faults = 0;
        site->seen = now;
    }
    return ++site->faults >= kArrivalFaults;
}

uint16_t Sites::mark(const Place& place, Reason reason, uint32_t bytes, Microseconds now,
                     std::optional<Place>& lost) {
    Site* site = take(place, true, lost);
    if (!site->marked) {
        if (site->returned)
            doubt(*site, now - site->changed < (place.kind == Kind::Memory ? kWorthwhile : kTimedLease));
        site->marked = true;
        site->reason = reason;
        site->changed = now;
        site->lease = kFirstLease << site->doubt;
        site->earned = 0;
        site->faults = 0;
        site->last_page = kNoLinearPage;
        ++statistics.made[static_cast<size_t>(reason)];
        ++statistics.live[static_cast<size_t>(reason)];
    }
    site->bytes = bytes;
    return static_cast<uint16_t>(site - table_.data());
}

bool Sites::executed(uint16_t number, Need need, uint32_t weight) {
    Site& site = table_[number];
    if (!site.marked)
        return false;
    int64_t saved = 0;
    switch (need) {
    case Need::None:
        saved = -int64_t{weight};
        break;
    case Need::Mapped:
    case Need::Fault:
        saved = kSignal;
        break;
    case Need::First:
        saved = kMapping;
        break;
    case Need::Second:
        saved = -kMapping;
        break;
    case Need::Always:
        saved = kSignal + kRemade;
        break;
    }
    need == Need::None ? statistics.needless += weight : ++statistics.needed;
    site.lease = std::clamp<int64_t>(site.lease + saved, 0, kFirstLease << site.doubt);
    if (need != Need::None)
        site.earned = std::min(site.earned + saved, kPaid);
    return site.lease == 0;
}

void Sites::return_to_plain(uint16_t number, Microseconds now) {
    Site& site = table_[number];
    VERIFY(site.marked);
    if (site.place.kind == Kind::Memory)
        doubt(site, site.earned < kPaid);
    site.marked = false;
    site.returned = true;
    site.changed = now;
    site.faults = 0;
    site.last_page = kNoLinearPage;
    --statistics.live[static_cast<size_t>(site.reason)];
    ++statistics.returned;
}

void Sites::forget(uint16_t number) {
    Site& site = table_[number];
    VERIFY(site.marked);
    --statistics.live[static_cast<size_t>(site.reason)];
    ++statistics.forgotten;
    site = {};
}

std::vector<uint16_t> Sites::expired(Microseconds now) const {
    std::vector<uint16_t> expired;
    const auto live = [&](Reason reason) { return statistics.live[static_cast<size_t>(reason)]; };
    if (live(Reason::Arrival) + live(Reason::Wrap) != 0)
        for (size_t i = 1; i < table_.size(); ++i) {
            const Site& site = table_[i];
            if (site.marked && site.place.kind != Kind::Memory &&
                now - site.changed >= kTimedLease << site.doubt)
                expired.push_back(static_cast<uint16_t>(i));
        }
    return expired;
}

} // namespace vmm
