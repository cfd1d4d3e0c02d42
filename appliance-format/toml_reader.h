// Reads a TOML file that a person wrote: every complaint carries the file and the line, and unknown keys are
// errors, because a misspelt rule silently ignored would be a rule that does not hold. Base of the readers of
// recipes and operator files; private to this folder, so that toml++ is.
#pragma once
#include "appliance-format/policy.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// toml_reader.cpp compiles the library for everybody.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace appliance_format {

class TomlReader {
  public:
    TomlReader(std::string path, int error_code) : path_(std::move(path)), error_code_(error_code) {}

    base::Result<toml::table> parse(std::string_view text) const;

  protected:
    enum class Need { Required, Optional };

    [[nodiscard]] const std::string& path() const { return path_; }

    [[nodiscard]] tl::unexpected<base::Error> bad(unsigned line, const std::string& what) const;

    static unsigned line_of(const toml::node& node) { return node.source().begin.line; }
    static unsigned line(const toml::table& table, const char* key);

    base::Result<> only(const toml::table& table, std::string_view where,
                        std::initializer_list<std::string_view> allowed) const;

    base::Result<const toml::table*> table(const toml::table& root, const char* key, Need need) const;
    base::Result<std::string> text(const toml::table& table, const char* key, Need need) const;
    base::Result<std::string> text_of(const toml::node& node, const char* key) const;
    base::Result<bool> flag(const toml::table& table, const char* key, bool otherwise) const;
    base::Result<std::optional<bool>> optional_flag(const toml::table& table, const char* key) const;
    base::Result<std::optional<uint32_t>> optional_number(const toml::table& table, const char* key,
                                                          uint32_t least, uint32_t most) const;

    // The keys of a [policy] section; see policy.h. The caller checks that there are no others.
    base::Result<Policy> read_rules(const toml::table& table) const;

    // A key or text that the library returned, as it is in the file; see to_ascii.
    static std::string from_ascii(std::string_view text);

  private:
    base::Result<std::string> date(const toml::node& node) const;
    base::Result<std::vector<std::string>> scene_names(const toml::node& node) const;
    base::Result<std::vector<std::string>> names(const toml::node& node, const char* key, size_t most) const;

    std::string path_;
    int error_code_;
};

} // namespace appliance_format
