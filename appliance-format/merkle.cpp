#include "appliance-format/merkle.h"

#include "vmm/base/verify.h"

#include <algorithm>
#include <cstring>

namespace appliance_format {

namespace {

void put(uint8_t* to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i)
        to[i] = static_cast<uint8_t>(value >> (8 * i));
}

uint64_t get(const uint8_t* from, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i)
        value |= uint64_t{from[i]} << (8 * i);
    return value;
}

} // namespace

void encode_ref(const ObjectRef& ref, std::span<uint8_t, kRefBytes> out) {
    std::copy(ref.hash.begin(), ref.hash.end(), out.begin());
    put(out.data() + 32, ref.place(), 8);
    put(out.data() + 40, ref.stored, 4);
    put(out.data() + 44, ref.crc, 4);
}

ObjectRef decode_ref(std::span<const uint8_t, kRefBytes> bytes) {
    ObjectRef ref;
    std::copy_n(bytes.begin(), ref.hash.size(), ref.hash.begin());
    uint64_t place = get(bytes.data() + 32, 8);
    ref.pack = static_cast<uint16_t>(place >> 48);
    ref.offset = place & ((uint64_t{1} << 48) - 1);
    ref.stored = static_cast<uint32_t>(get(bytes.data() + 40, 4));
    ref.crc = static_cast<uint32_t>(get(bytes.data() + 44, 4));
    return ref;
}

signing::Hash object_hash(unsigned level, std::span<const uint8_t> content) {
    if (level == 0)
        return signing::sha256(content);
    thread_local signing::Sha256 context;
    uint8_t prefix = static_cast<uint8_t>(level);
    context.update({&prefix, 1});
    context.update(content);
    return context.finish();
}

TreeShape::TreeShape(uint64_t size, uint32_t chunk)
    : size_(size), chunk_(chunk), chunks_(size / chunk + (size % chunk != 0)) {
    while (count(height_) > 1)
        ++height_;
}

uint64_t TreeShape::count(unsigned level) const {
    uint64_t n = chunks_;
    for (unsigned i = 0; i < level; ++i)
        n = (n + kFanout - 1) / kFanout;
    return n;
}

uint64_t TreeShape::object_size(unsigned level, uint64_t index) const {
    VERIFY(index < count(level));
    if (level == 0)
        return std::min<uint64_t>(chunk_, size_ - index * chunk_);
    return std::min<uint64_t>(kFanout, count(level - 1) - index * kFanout) * kRefBytes;
}

} // namespace appliance_format
