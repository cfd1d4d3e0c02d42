// Saved machine state: named sections with a version, holding named fields. One `serialize`
// function per owner serves both directions, so the two cannot drift apart.
//
// Encoding (little endian), repeated per record:
//   u8 kind ('S' section, 'F' field, 'E' end of section), u8 name length, name,
//   then S: u32 version; F: u32 byte count + bytes.
// Loading matches by name: a field missing from the file keeps its present (reset) value, unknown
// fields are skipped; a section missing or of a newer version is an error. All input is hostile.
#pragma once
#include "vmm/base/result.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace base {

class StateArchive {
  public:
    // An archive to save into.
    StateArchive() = default;
    // An archive to load from; parses the whole buffer, bounded by its size.
    static Result<StateArchive> parse(std::span<const uint8_t> bytes);

    // The first field ("section field") that two saved states do not agree on; empty: they are equal.
    static Result<std::string> difference(std::span<const uint8_t> one, std::span<const uint8_t> other);

    [[nodiscard]] bool loading() const { return loading_; }
    // First failure met while loading, if any (sticky).
    [[nodiscard]] const std::string& error() const { return error_; }
    void set_error(std::string message);
    [[nodiscard]] const std::vector<uint8_t>& bytes() const { return out_; }

    // Opens a section; returns the version found (loading) or `version` (saving). 0 = absent/too new.
    uint32_t begin(std::string_view name, uint32_t version);
    void end();
    // Loading: whether the file has this section; earlier versions lack those of later devices.
    [[nodiscard]] bool holds(std::string_view section) const { return sections_.contains(section); }

    template <class T> void field(std::string_view name, T& value) {
        static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>);
        if constexpr (std::is_same_v<T, bool>) { // a byte of a file may be neither true nor false
            uint8_t byte = value ? 1 : 0;
            raw(name, &byte, sizeof byte);
            value = byte != 0;
        } else {
            raw(name, &value, sizeof value);
        }
    }
    // Fixed-size memory owned by the caller.
    void bytes_field(std::string_view name, std::span<uint8_t> memory) {
        raw(name, memory.data(), memory.size());
    }
    // Variable-size memory; refuses more than `limit` bytes on load.
    void vector_field(std::string_view name, std::vector<uint8_t>& memory, size_t limit);

  private:
    struct Section {
        uint32_t version = 0;
        std::map<std::string, std::span<const uint8_t>, std::less<>> fields;
    };
    void raw(std::string_view name, void* data, size_t size);
    void put_header(char kind, std::string_view name);

    bool loading_ = false;
    std::string error_;
    std::vector<uint8_t> out_;
    std::vector<uint8_t> in_;
    std::map<std::string, Section, std::less<>> sections_;
    Section* current_ = nullptr;
};

} // namespace base
