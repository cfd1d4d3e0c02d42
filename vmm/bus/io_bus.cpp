#include "vmm/bus/io_bus.h"

#include "vmm/base/operation.h"
#include "vmm/base/verify.h"

namespace vmm {

namespace {
constexpr unsigned kPortCount = 0x10000;
}

IoBus::IoBus() : owner_of_(kPortCount, 0) {}

bool IoBus::try_add(uint16_t first, unsigned count, IoHandler* handler, std::string_view owner,
                    unsigned max_size) {
    VERIFY(handler != nullptr && count > 0 && (max_size == 1 || max_size == 2 || max_size == 4));
    if (first + count > kPortCount)
        return false;
    for (unsigned port = first; port < first + count; ++port)
        if (owner_of_[port] != 0)
            return false;
    // Slots of removed ranges are reused, so moving a BAR for ever does not grow the table.
    size_t slot = 0;
    while (slot < ranges_.size() && ranges_[slot].count != 0)
        ++slot;
    if (slot == ranges_.size())
        ranges_.emplace_back();
    ranges_[slot] = {first, count, handler, max_size, owner};
    for (unsigned port = first; port < first + count; ++port)
        owner_of_[port] = static_cast<uint16_t>(slot + 1);
    return true;
}

void IoBus::add(uint16_t first, unsigned count, IoHandler* handler, std::string_view owner,
                unsigned max_size) {
    VERIFY(try_add(first, count, handler, owner, max_size));
}

void IoBus::remove(uint16_t first, unsigned count) {
    const uint16_t index = owner_of_[first];
    VERIFY(index != 0);
    Range& range = ranges_[index - 1u];
    VERIFY(range.first == first && range.count == count);
    for (unsigned port = first; port < first + count; ++port)
        owner_of_[port] = 0;
    range = {};
}

const IoBus::Range* IoBus::find(uint16_t port) const {
    const uint16_t index = owner_of_[port];
    return index == 0 ? nullptr : &ranges_[index - 1u];
}

uint32_t IoBus::read(uint16_t port, unsigned size) {
    const base::Operation operation;
    const Range* range = find(port);
    if (range != nullptr && size <= range->max_size && port + size <= range->first + range->count)
        return range->handler->io_read(port, size);
    if (size == 1)
        return 0xFF;
    uint32_t value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= (read(static_cast<uint16_t>(port + i), 1) & 0xFF) << (8 * i);
    return value;
}

void IoBus::write(uint16_t port, unsigned size, uint32_t value) {
    const base::Operation operation;
    const Range* range = find(port);
    if (range != nullptr && size <= range->max_size && port + size <= range->first + range->count) {
        range->handler->io_write(port, size, value);
        return;
    }
    if (size == 1)
        return;
    for (unsigned i = 0; i < size; ++i)
        write(static_cast<uint16_t>(port + i), 1, (value >> (8 * i)) & 0xFF);
}

} // namespace vmm
