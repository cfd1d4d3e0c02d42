#include "vmm/memory/guest_memory.h"

#include "vmm/base/operation.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

namespace vmm {
namespace {

constexpr uint64_t kLeastRam = 16ull << 20;
constexpr Physical kA20Bit = 1u << 20;

} // namespace

base::Result<std::unique_ptr<GuestMemory>> GuestMemory::create(uint64_t ram_bytes) {
    if (ram_bytes < kLeastRam || ram_bytes > kMostRam || ram_bytes % kPageSize != 0)
        return base::fail(
            fmt::format("memory size of {} bytes is not possible: use 16 MiB to {} GiB in steps of 4 KiB",
                        ram_bytes, kMostRam >> 30));
    std::unique_ptr<GuestMemory> memory(new GuestMemory);
    memory->fd_ = base::UniqueFd(::memfd_create("encore-guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory->fd_.valid())
        return base::fail(fmt::format("cannot create guest memory: {}", std::strerror(errno)));
    // The file has its greatest size from the start, so that data() never moves; pages nobody touches
    // cost nothing.
    memory->capacity_bytes_ = ram_bytes + kMaxAddedBackingBytes;
    if (::ftruncate(memory->fd(), static_cast<off_t>(memory->capacity_bytes_)) != 0)
        return base::fail(
            fmt::format("cannot size guest memory to {} MiB: {}", ram_bytes >> 20, std::strerror(errno)));
    // For whoever has taken this process over as well.
    (void)::fcntl(memory->fd(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
    void* view = ::mmap(nullptr, memory->capacity_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                        memory->fd(), 0);
    if (view == MAP_FAILED)
        return base::fail(
            fmt::format("cannot map {} MiB of guest memory: {}", ram_bytes >> 20, std::strerror(errno)));
    memory->data_ = static_cast<uint8_t*>(view);
    memory->ram_bytes_ = memory->backing_bytes_ = ram_bytes;
    memory->map_.resize(kFirstHighPage);
    memory->code_bits_.resize((memory->capacity_bytes_ >> kPageShift) / 64 + 1);
    const auto low = static_cast<uint32_t>(low_ram(ram_bytes) >> kPageShift);
    memory->map(0, low, PageKind::Ram, 0);
    if (const auto high = static_cast<uint32_t>(high_ram(ram_bytes) >> kPageShift); high != 0)
        memory->map(kFirstHighPage, high, PageKind::Ram, low);
    return memory;
}

GuestMemory::~GuestMemory() {
    if (data_ != nullptr)
        ::munmap(data_, capacity_bytes_);
}

uint32_t GuestMemory::add_backing(uint32_t pages) {
    const uint64_t bytes = uint64_t{pages} << kPageShift;
    VERIFY(bytes <= capacity_bytes_ - backing_bytes_);
    const auto first = static_cast<uint32_t>(backing_bytes_ >> kPageShift);
    backing_bytes_ += bytes;
    return first;
}

void GuestMemory::set_page(uint32_t physical_page, Packed packed) {
    if (map_[physical_page].bits == packed.bits)
        return;
    if (observer_ != nullptr)
        observer_->page_remapped(physical_page);
    map_[physical_page] = packed;
}

void GuestMemory::map(uint32_t first, uint32_t count, PageKind kind, uint32_t backing) {
    constexpr uint32_t kPages = 1u << (kPhysicalAddressBits - kPageShift);
    VERIFY(first <= kPages && count <= kPages - first);
    const bool memory = kind == PageKind::Ram || kind == PageKind::Rom;
    VERIFY(!memory || uint64_t{backing} + count <= backing_bytes_ >> kPageShift);
    const auto packed = [&](uint32_t i) {
        return Packed{static_cast<uint32_t>(kind) << 30 | (memory ? backing + i : 0)};
    };
    uint32_t i = 0;
    for (; i < count && first + i < kFirstHighPage; ++i)
        set_page(first + i, packed(i));
    if (i < count)
        set_extent(first + i, count - i, packed(i));
}

// Whatever was there gives way to it; the parts beside it stay.
void GuestMemory::set_extent(uint32_t first, uint32_t count, Packed packed) {
    if (observer_ != nullptr)
        for (uint32_t page = first; page < first + count; ++page)
            if (at(page).bits != (packed.readable() ? packed.bits + (page - first) : packed.bits))
                observer_->page_remapped(page);
    std::vector<Extent> kept;
    const auto keep_part = [&](const Extent& whole, uint32_t from, uint32_t to) {
        if (from >= to)
            return;
        const uint32_t skipped = whole.packed.readable() ? from - whole.first : 0;
        kept.push_back({from, to - from, Packed{whole.packed.bits + skipped}});
    };
    for (const Extent& extent : extents_) {
        keep_part(extent, extent.first, std::min(extent.first + extent.count, first));
        keep_part(extent, std::max(extent.first, first + count), extent.first + extent.count);
    }
    if (packed.kind() != PageKind::None)
        kept.push_back({first, count, packed});
    extents_ = std::move(kept);
}

GuestMemory::Packed GuestMemory::at_high(uint64_t physical_page) const {
    for (const Extent& extent : extents_)
        if (physical_page - extent.first < extent.count)
            return {extent.packed.bits +
                    (extent.packed.readable() ? static_cast<uint32_t>(physical_page) - extent.first : 0)};
    return {};
}

void GuestMemory::map_mmio(uint32_t first, uint32_t count, MmioHandler* handler) {
    VERIFY(handler != nullptr);
    map(first, count, PageKind::Mmio);
    mmio_.push_back({first, count, handler});
}

void GuestMemory::unmap_mmio(MmioHandler* handler) {
    std::vector<MmioRange> gone;
    std::erase_if(mmio_, [&](const MmioRange& range) {
        if (range.handler == handler)
            gone.push_back(range);
        return range.handler == handler;
    });
    for (const MmioRange& range : gone)
        for (uint32_t page = range.first; page < range.first + range.count; ++page)
            if (at(page).kind() == PageKind::Mmio && mmio_at(page) == nullptr)
                map(page, 1, PageKind::None);
}

PageEntry GuestMemory::entry(uint32_t physical_page) const {
    const Packed packed = at(physical_page & (a20_mask_ >> kPageShift));
    return {packed.kind(), packed.readable() ? packed.backing() : kNoPage};
}

void GuestMemory::set_a20(bool enabled) {
    if (enabled == a20_)
        return;
    if (observer_ != nullptr)
        observer_->all_remapped();
    a20_ = enabled;
    a20_mask_ = enabled ? ~Physical{0} : ~kA20Bit;
}

MmioHandler* GuestMemory::mmio_at(uint32_t physical_page) const {
    for (const MmioRange& range : mmio_)
        if (physical_page - range.first < range.count)
            return range.handler;
    return nullptr;
}

namespace {

// The largest naturally aligned piece of 1, 2 or 4 bytes at the start of [address, address+length).
unsigned piece(Physical address, uint32_t length) {
    if ((address & 3) == 0 && length >= 4)
        return 4;
    return (address & 1) == 0 && length >= 2 ? 2 : 1;
}

} // namespace

void GuestMemory::read_mmio(Physical physical, uint8_t* to, uint32_t length) {
    MmioHandler* handler = mmio_at(page_of(physical));
    while (length != 0) {
        const unsigned size = piece(physical, length);
        const base::Operation operation;
        const uint32_t value = handler != nullptr ? handler->mmio_read(physical, size) : 0xFFFFFFFF;
        std::memcpy(to, &value, size);
        to += size, physical += size, length -= size;
    }
}

void GuestMemory::write_mmio(Physical physical, const uint8_t* from, uint32_t length) {
    MmioHandler* handler = mmio_at(page_of(physical));
    while (length != 0 && handler != nullptr) {
        const unsigned size = piece(physical, length);
        uint32_t value = 0;
        std::memcpy(&value, from, size);
        const base::Operation operation;
        handler->mmio_write(physical, size, value);
        from += size, physical += size, length -= size;
    }
}

void GuestMemory::read(Physical physical, void* to, size_t length) {
    auto* out = static_cast<uint8_t*>(to);
    while (length != 0) {
        const auto offset = static_cast<uint32_t>(physical & (kPageSize - 1));
        const auto part = static_cast<uint32_t>(std::min<size_t>(length, kPageSize - offset));
        const Physical address = mask(physical);
        const Packed packed = at(address >> kPageShift);
        switch (packed.kind()) {
        case PageKind::Ram:
        case PageKind::Rom:
            make_present(packed.backing());
            std::memcpy(out, data_ + (uint64_t{packed.backing()} << kPageShift) + offset, part);
            break;
        case PageKind::Mmio:
            read_mmio(address, out, part);
            break;
        case PageKind::None:
            std::memset(out, 0xFF, part);
            break;
        }
        out += part, physical += part, length -= part;
    }
}

void GuestMemory::write(Physical physical, const void* from, size_t length) {
    const auto* in = static_cast<const uint8_t*>(from);
    while (length != 0) {
        const auto offset = static_cast<uint32_t>(physical & (kPageSize - 1));
        const auto part = static_cast<uint32_t>(std::min<size_t>(length, kPageSize - offset));
        const Physical address = mask(physical);
        const Packed packed = at(address >> kPageShift);
        if (packed.kind() == PageKind::Ram) {
            make_present(packed.backing());
            before_write(packed.backing());
            before_code_write(packed.backing(), offset, part);
            std::memcpy(data_ + (uint64_t{packed.backing()} << kPageShift) + offset, in, part);
        } else if (packed.kind() == PageKind::Mmio) {
            write_mmio(address, in, part);
        }
        in += part, physical += part, length -= part;
    }
}

// -- pages that come from a saved moment ---------------------------------------------------------------

base::Result<void> GuestMemory::attach(std::shared_ptr<PageSource> source, uint64_t undo_bytes) {
    VERIFY(source != nullptr);
    const auto pages = static_cast<uint32_t>(ram_bytes_ >> kPageShift);
    undo_ = TRY(PageUndo::create(static_cast<uint32_t>(std::min(undo_bytes, ram_bytes_) >> kPageShift)));
    source_ = std::move(source);
    // What firmware wrote at power-on goes, so that only what is fetched takes memory.
    if (::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(ram_bytes_)) != 0)
        std::memset(data_, 0, ram_bytes_);
    absent_bits_.assign(code_bits_.size(), 0);
    for (uint32_t page = 0; page < pages; ++page)
        absent_bits_[page >> 6] |= 1ull << (page & 63);
    watched_bits_ = absent_bits_;
    absent_pages_ = pages;
    return {};
}

bool GuestMemory::fetch(uint32_t backing) {
    uint8_t* content = data_ + (uint64_t{backing} << kPageShift);
    if (!failed_) {
        if (auto read = source_->read(backing, {content, kPageSize}); !read) {
            failed_ = true;
            failure_ = read.error();
            std::memset(content, 0, kPageSize);
        }
    }
    if (failed_) { // also when it happened before: whoever asks again must not get far
        if (observer_ != nullptr)
            observer_->page_failed();
        return false;
    }
    absent_bits_[backing >> 6] &= ~(1ull << (backing & 63));
    --absent_pages_;
    if (on_fetch_)
        on_fetch_(backing);
    return true;
}

void GuestMemory::keep(uint32_t backing) {
    if (is_absent(backing)) // it could not be fetched; the machine is about to end
        return;
    const uint8_t* content = data_ + (uint64_t{backing} << kPageShift);
    if (write_watch_ != nullptr && !write_watch_->knows(backing))
        write_watch_->keep(backing, content);
    if (!kept_for_revert(backing))
        return;
    undo_->keep(backing, content);
    watched_bits_[backing >> 6] &= ~(1ull << (backing & 63));
}

PageUndo::Report GuestMemory::revert() {
    VERIFY(undo_ != nullptr);
    const auto watch = [this](uint32_t page) { watched_bits_[page >> 6] |= 1ull << (page & 63); };
    PageUndo::Actions actions;
    actions.is_observed = [this](uint32_t page) { return observer_ != nullptr && is_code(page); };
    actions.changing = [this](uint32_t page, uint32_t offset, uint32_t length) {
        observer_->code_written(page, offset, length);
    };
    actions.reload = [&](uint32_t page) {
        if (observer_ != nullptr)
            observer_->page_dropped(page);
        absent_bits_[page >> 6] |= 1ull << (page & 63);
        ++absent_pages_;
        watch(page);
    };
    actions.retire = [&](uint32_t page) {
        watch(page);
        if (observer_ != nullptr)
            observer_->page_watched(page);
    };
    return undo_->revert(data_, actions);
}

void GuestMemory::set_code(uint32_t backing, bool code) {
    VERIFY(uint64_t{backing} < capacity_bytes_ >> kPageShift);
    const uint64_t bit = 1ull << (backing & 63);
    if (code)
        code_bits_[backing >> 6] |= bit;
    else
        code_bits_[backing >> 6] &= ~bit;
}

std::vector<GuestMemory::Run> GuestMemory::resident(uint32_t first, uint32_t count) const {
    std::vector<Run> runs;
    const auto end = static_cast<off_t>(uint64_t{first + count} << kPageShift);
    for (auto at = static_cast<off_t>(uint64_t{first} << kPageShift); at < end;) {
        const off_t data = ::lseek(fd(), at, SEEK_DATA); // ENXIO: nothing but a hole up to the end
        if (data < 0 || data >= end)
            break;
        at = std::min(::lseek(fd(), data, SEEK_HOLE), end);
        VERIFY(at > data);
        runs.push_back(
            {static_cast<uint32_t>(data >> kPageShift), static_cast<uint32_t>((at - data) >> kPageShift)});
    }
    return runs;
}

} // namespace vmm
