// Encodings of AML terms and resource descriptors (ACPI specification; opcodes by name as there).
#include "vmm/firmware/aml.h"

#include "vmm/base/verify.h"
#include "vmm/firmware/byte_writer.h"

#include <cctype>

namespace vmm::aml {

namespace {

constexpr uint8_t kZeroOp = 0x00, kOneOp = 0x01, kNameOp = 0x08, kBytePrefix = 0x0A, kWordPrefix = 0x0B,
                  kDwordPrefix = 0x0C, kStringPrefix = 0x0D, kQwordPrefix = 0x0E, kScopeOp = 0x10,
                  kBufferOp = 0x11, kPackageOp = 0x12, kMethodOp = 0x14, kDualNamePrefix = 0x2E,
                  kMultiNamePrefix = 0x2F, kExtPrefix = 0x5B, kLocal0Op = 0x60, kArg0Op = 0x68,
                  kStoreOp = 0x70, kDecrementOp = 0x76, kShiftLeftOp = 0x79, kAndOp = 0x7B, kOrOp = 0x7D,
                  kFindSetRightBitOp = 0x82, kNotifyOp = 0x86, kCreateWordFieldOp = 0x8B, kLessOp = 0x95,
                  kIfOp = 0xA0, kReturnOp = 0xA4;
// After kExtPrefix.
constexpr uint8_t kOpRegionOp = 0x80, kFieldOp = 0x81, kDeviceOp = 0x82, kProcessorOp = 0x83;
constexpr size_t kSegment = 4;

// PkgLength counts itself: one byte up to 63, else a lead byte with four low bits and 1-3 more.
Term with_length(const Term& body) {
    Term out;
    for (unsigned extra = 0; extra < 4; ++extra) {
        const size_t total = body.size() + 1 + extra;
        if (extra == 0 && total < 64) {
            out.push_back(static_cast<uint8_t>(total));
        } else if (extra > 0 && total < size_t{1} << (4 + 8 * extra)) {
            out.push_back(static_cast<uint8_t>(extra << 6 | (total & 15)));
            put(out, total >> 4, extra);
        } else {
            continue;
        }
        put(out, body);
        return out;
    }
    VERIFY(!"AML term of 256 MiB");
    return out;
}

Term with_opcode(std::initializer_list<uint8_t> opcode, const Term& body) {
    Term out(opcode);
    put(out, body);
    return out;
}

Term segment(std::string_view text) {
    VERIFY(!text.empty() && text.size() <= kSegment);
    Term out;
    put(out, text);
    out.resize(kSegment, '_');
    return out;
}

Term binary(uint8_t opcode, const Term& left, const Term& right, const Term& target) {
    // An absent target is the null name.
    return concat({{opcode}, left, right, target.empty() ? Term{kZeroOp} : target});
}

Term small_descriptor(uint8_t tag, const Term& body) {
    Term out{static_cast<uint8_t>(tag << 3 | body.size())};
    put(out, body);
    return out;
}

// Word or dword address space descriptor, "ResourceProducer, MinFixed, MaxFixed, PosDecode".
Term address_space(uint8_t tag, uint8_t type, uint8_t type_flags, uint32_t first, uint32_t last,
                   unsigned width) {
    constexpr uint8_t kFixedBothEnds = 0x0C;
    Term body{type, kFixedBothEnds, type_flags};
    put(body, 0, width); // granularity
    put(body, first, width);
    put(body, last, width);
    put(body, 0, width); // translation
    put(body, uint64_t{last} - first + 1, width);
    Term out{tag};
    put(out, body.size(), 2);
    put(out, body);
    return out;
}

} // namespace

Term concat(const Terms& terms) {
    Term out;
    for (const Term& term : terms)
        put(out, term);
    return out;
}

Term integer(uint64_t value) {
    if (value <= 1)
        return {value == 0 ? kZeroOp : kOneOp};
    Term out;
    const unsigned bytes = value <= 0xFF ? 1 : value <= 0xFFFF ? 2 : value <= 0xFFFFFFFF ? 4 : 8;
    out.push_back(bytes == 1   ? kBytePrefix
                  : bytes == 2 ? kWordPrefix
                  : bytes == 4 ? kDwordPrefix
                               : kQwordPrefix);
    put(out, value, bytes);
    return out;
}

Term string(std::string_view text) {
    Term out{kStringPrefix};
    put(out, text);
    out.push_back(0);
    return out;
}

Term eisa_id(std::string_view id) {
    // Three letters of five bits, four hexadecimal digits, big-endian.
    VERIFY(id.size() == 7);
    uint32_t value = 0;
    for (char letter : id.substr(0, 3))
        value = value << 5 | static_cast<uint32_t>(letter - '@');
    for (char digit : id.substr(3))
        value = value << 4 | static_cast<uint32_t>(std::isdigit(digit) != 0 ? digit - '0' : digit - 'A' + 10);
    Term out{kDwordPrefix};
    put(out, __builtin_bswap32(value), 4);
    return out;
}

Term buffer(const Term& bytes) {
    return with_opcode({kBufferOp}, with_length(concat({integer(bytes.size()), bytes})));
}

Term package(const Terms& elements) {
    VERIFY(elements.size() < 256);
    return with_opcode({kPackageOp},
                       with_length(concat({{static_cast<uint8_t>(elements.size())}, concat(elements)})));
}

Term path(std::string_view text) {
    Term out;
    if (text.starts_with('\\')) {
        out.push_back('\\');
        text.remove_prefix(1);
    }
    Terms segments;
    while (!text.empty()) {
        const size_t dot = text.find('.');
        segments.push_back(segment(text.substr(0, dot)));
        text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
    }
    if (segments.empty())
        out.push_back(kZeroOp); // the root itself
    else if (segments.size() == 2)
        out.push_back(kDualNamePrefix);
    else if (segments.size() > 2)
        put(out, Term{kMultiNamePrefix, static_cast<uint8_t>(segments.size())});
    put(out, concat(segments));
    return out;
}

Term local(unsigned index) { return {static_cast<uint8_t>(kLocal0Op + index)}; }
Term argument(unsigned index) { return {static_cast<uint8_t>(kArg0Op + index)}; }

Term name(std::string_view at, const Term& value) { return concat({{kNameOp}, path(at), value}); }

Term scope(std::string_view at, const Terms& body) {
    return with_opcode({kScopeOp}, with_length(concat({path(at), concat(body)})));
}

Term device(std::string_view at, const Terms& body) {
    return with_opcode({kExtPrefix, kDeviceOp}, with_length(concat({path(at), concat(body)})));
}

Term processor(std::string_view at, uint8_t id, uint32_t control_block, uint8_t control_bytes) {
    Term body = path(at);
    body.push_back(id);
    put(body, control_block, 4);
    body.push_back(control_bytes);
    return with_opcode({kExtPrefix, kProcessorOp}, with_length(body));
}

Term method(std::string_view at, unsigned arguments, Serialize serialize, const Terms& body) {
    const auto flags = static_cast<uint8_t>(arguments | (serialize == Serialize::Yes ? 8u : 0u));
    return with_opcode({kMethodOp}, with_length(concat({path(at), {flags}, concat(body)})));
}

Term operation_region(std::string_view at, uint8_t space, uint32_t offset, uint32_t length) {
    return concat({{kExtPrefix, kOpRegionOp}, path(at), {space}, integer(offset), integer(length)});
}

Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units) {
    constexpr uint8_t kByteAccess = 1;
    Term body = concat({path(region), {kByteAccess}});
    for (const FieldUnit& unit : units) {
        VERIFY(unit.bits < 64); // one-byte PkgLength
        put(body, segment(unit.name));
        body.push_back(static_cast<uint8_t>(unit.bits));
    }
    return with_opcode({kExtPrefix, kFieldOp}, with_length(body));
}

Term create_word_field(const Term& source, unsigned byte_offset, std::string_view at) {
    return concat({{kCreateWordFieldOp}, source, integer(byte_offset), path(at)});
}

Term store(const Term& value, const Term& target) { return concat({{kStoreOp}, value, target}); }
Term bit_and(const Term& left, const Term& right, const Term& target) {
    return binary(kAndOp, left, right, target);
}
Term bit_or(const Term& left, const Term& right, const Term& target) {
    return binary(kOrOp, left, right, target);
}
Term shift_left(const Term& value, const Term& count, const Term& target) {
    return binary(kShiftLeftOp, value, count, target);
}
Term find_set_right_bit(const Term& value, const Term& target) {
    return concat({{kFindSetRightBitOp}, value, target});
}
Term decrement(const Term& target) { return concat({{kDecrementOp}, target}); }
Term less(const Term& left, const Term& right) { return concat({{kLessOp}, left, right}); }
Term if_then(const Term& condition, const Terms& body) {
    return with_opcode({kIfOp}, with_length(concat({condition, concat(body)})));
}
Term notify(const Term& object, uint8_t value) { return concat({{kNotifyOp}, object, integer(value)}); }
Term return_value(const Term& value) { return concat({{kReturnOp}, value}); }

Term resource_template(const Terms& descriptors) {
    constexpr uint8_t kEndTag = 0x0F;
    return buffer(concat({concat(descriptors), small_descriptor(kEndTag, {0})}));
}

Term io_ports(uint16_t first, uint8_t count) {
    constexpr uint8_t kTag = 0x08, kDecode16 = 1;
    Term body{kDecode16};
    put(body, first, 2);
    put(body, first, 2);
    put(body, 1, 1); // alignment
    put(body, count, 1);
    return small_descriptor(kTag, body);
}

Term irq_edge(unsigned line) {
    constexpr uint8_t kTag = 0x04;
    Term body;
    put(body, uint64_t{1} << line, 2);
    return small_descriptor(kTag, body);
}

Term irq_level_shared(uint16_t lines) {
    constexpr uint8_t kTag = 0x04, kLevelLowShared = 0x18;
    Term body;
    put(body, lines, 2);
    body.push_back(kLevelLowShared);
    return small_descriptor(kTag, body);
}

Term dma_channel(unsigned channel) {
    constexpr uint8_t kTag = 0x05, kCompatible8Bit = 0;
    return small_descriptor(kTag, {static_cast<uint8_t>(1u << channel), kCompatible8Bit});
}

namespace {
constexpr uint8_t kDwordSpaceTag = 0x87, kWordSpaceTag = 0x88;
constexpr uint8_t kMemoryType = 0, kIoType = 1, kBusType = 2;
} // namespace

Term bus_numbers(uint16_t first, uint16_t last) {
    return address_space(kWordSpaceTag, kBusType, 0, first, last, 2);
}

Term io_window(uint16_t first, uint16_t last) {
    constexpr uint8_t kEntireRange = 3;
    return address_space(kWordSpaceTag, kIoType, kEntireRange, first, last, 2);
}

Term memory_window(uint32_t first, uint32_t last, Caching caching) {
    constexpr uint8_t kReadWrite = 1;
    const auto flags = static_cast<uint8_t>(kReadWrite | (caching == Caching::Cacheable ? 2u : 0u));
    return address_space(kDwordSpaceTag, kMemoryType, flags, first, last, 4);
}

} // namespace vmm::aml
