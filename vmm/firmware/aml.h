// A small AML builder: each function returns the byte code of one term, so a table reads like the ASL it
// stands for. Encodings are those of the ACPI specification, chapter "ACPI Machine Language (AML)
// Specification"; resource descriptors those of "Resource Data Types for ACPI".
//
// Paths are as in ASL: "\\_SB", "PCI0", "_HID"; segments are padded to four characters; dots separate
// segments.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace vmm::aml {

using Term = std::vector<uint8_t>;
using Terms = std::vector<Term>;

Term concat(const Terms& terms);

// Data.
Term integer(uint64_t value);
Term string(std::string_view text);
Term eisa_id(std::string_view id); // "PNP0303"
Term buffer(const Term& bytes);
Term package(const Terms& elements); // at most 255
Term path(std::string_view path);
Term local(unsigned index);
Term argument(unsigned index);

// Named objects.
Term name(std::string_view path, const Term& value);
Term scope(std::string_view path, const Terms& body);
Term device(std::string_view path, const Terms& body);
Term processor(std::string_view path, uint8_t id, uint32_t control_block, uint8_t control_bytes);
enum class Serialize : uint8_t { No, Yes };
Term method(std::string_view path, unsigned arguments, Serialize serialize, const Terms& body);
inline constexpr uint8_t kPciConfigSpace = 2;
Term operation_region(std::string_view path, uint8_t space, uint32_t offset, uint32_t length);
struct FieldUnit {
    std::string_view name;
    unsigned bits = 0; // under 64
};
Term byte_field(std::string_view region, std::initializer_list<FieldUnit> units); // ByteAcc, NoLock, Preserve
Term create_word_field(const Term& buffer, unsigned byte_offset, std::string_view path);

// Statements and expressions.
Term store(const Term& value, const Term& target);
Term bit_and(const Term& left, const Term& right, const Term& target = {});
Term bit_or(const Term& left, const Term& right, const Term& target = {});
Term shift_left(const Term& value, const Term& count, const Term& target = {});
Term find_set_right_bit(const Term& value, const Term& target);
Term decrement(const Term& target);
Term less(const Term& left, const Term& right);
Term if_then(const Term& condition, const Terms& body);
Term return_value(const Term& value);
Term notify(const Term& object, uint8_t value);

// Resource descriptors; resource_template adds the end tag and wraps them in a buffer.
Term resource_template(const Terms& descriptors);
Term io_ports(uint16_t first, uint8_t count);
Term irq_edge(unsigned line);
Term irq_level_shared(uint16_t lines); // bit per line
Term dma_channel(unsigned channel);    // 8-bit, compatibility timing
Term bus_numbers(uint16_t first, uint16_t last);
Term io_window(uint16_t first, uint16_t last);
enum class Caching : uint8_t { None, Cacheable };
Term memory_window(uint32_t first, uint32_t last, Caching caching);

} // namespace vmm::aml
