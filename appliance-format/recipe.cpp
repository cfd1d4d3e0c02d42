#include "appliance-format/recipe.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/safe_path.h"
#include "signing/small_file.h"

#include <charconv>
#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace appliance_format {

namespace {

constexpr uint64_t kMiB = 1 << 20;

// toml++ 3.3 asks of characters whether they are spaces, by a table that has holes: for U+00B5 and others it
// runs into __builtin_unreachable. So it is given ASCII only: other bytes, and ~ itself, go in as ~XX and
// come back in the texts it returns. Outside texts and comments TOML knows neither, so its grammar is not
// widened.
std::string to_ascii(std::string_view text) {
    std::string out;
    out.reserve(text.size() + text.size() / 8);
    for (char c : text)
        if (auto byte = static_cast<unsigned char>(c); byte >= 0x80 || c == '~')
            fmt::format_to(std::back_inserter(out), "~{:02X}", byte);
        else
            out += c;
    return out;
}

std::string from_ascii(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        unsigned byte = 0;
        const char* digits = text.data() + i + 1;
        if (text[i] == '~' && i + 2 < text.size() &&
            std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
            out += static_cast<char>(byte);
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

// The reader of one recipe: every complaint carries its line.
class RecipeReader {
  public:
    RecipeReader(const std::string& path) : path_(path) {}

    base::Result<Recipe> read(const toml::table& root) {
        TRY(only(root, "the recipe", {"appliance", "machine", "boot", "disk", "cdrom", "floppy", "policy"}));
        TRY(read_appliance(TRY(table(root, "appliance", Need::Required))));
        TRY(read_machine(TRY(table(root, "machine", Need::Required))));
        for (MediaKind kind : {MediaKind::Disk, MediaKind::Cdrom, MediaKind::Floppy})
            TRY(read_media(root, kind));
        TRY(read_boot(TRY(table(root, "boot", Need::Optional))));
        TRY(read_policy(TRY(table(root, "policy", Need::Optional))));
        return std::move(recipe_);
    }

    tl::unexpected<base::Error> bad(unsigned line, const std::string& what) const {
        return base::fail(line ? fmt::format("{}:{}: {}", path_, line, what)
                               : fmt::format("{}: {}", path_, what),
                          kBadRecipe);
    }

  private:
    enum class Need { Required, Optional };

    static unsigned line_of(const toml::node& node) { return node.source().begin.line; }

    base::Result<> only(const toml::table& table, std::string_view where,
                        std::initializer_list<std::string_view> allowed) const {
        for (auto&& [key, value] : table) {
            std::string_view name = key.str();
            if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
                return bad(key.source().begin.line,
                           fmt::format("{} knows no \"{}\"; it knows: {}", where, printable(from_ascii(name)),
                                       fmt::join(allowed, ", ")));
        }
        return {};
    }

    static std::string printable(std::string_view text) {
        return is_plain_text(text, 100, Lines::One) ? std::string(text) : "(unprintable)";
    }

    base::Result<const toml::table*> table(const toml::table& root, const char* key, Need need) const {
        const toml::node* node = root.get(key);
        if (!node && need == Need::Required)
            return bad(0, fmt::format("the section [{}] is missing", key));
        if (node && !node->is_table())
            return bad(line_of(*node), fmt::format("[{}] must be a section", key));
        return node ? node->as_table() : nullptr;
    }

    base::Result<std::string> text(const toml::table& table, const char* key, Need need) const {
        const toml::node* node = table.get(key);
        if (!node && need == Need::Required)
            return bad(line_of(table), fmt::format("\"{}\" is missing in this section", key));
        if (!node)
            return std::string();
        auto value = node->value_exact<std::string>();
        if (!value)
            return bad(line_of(*node), fmt::format("\"{}\" must be a text in quotes", key));
        std::string decoded = from_ascii(*value);
        if (!is_utf8(decoded))
            return bad(line_of(*node), fmt::format("\"{}\" is not UTF-8", key));
        return decoded;
    }

    base::Result<bool> flag(const toml::table& table, const char* key, bool otherwise) const {
        const toml::node* node = table.get(key);
        auto value = node ? node->value_exact<bool>() : otherwise;
        if (!value)
            return bad(line_of(*node), fmt::format("\"{}\" must be true or false", key));
        return *value;
    }

    unsigned line(const toml::table& table, const char* key) const {
        const toml::node* node = table.get(key);
        return line_of(node ? *node : table);
    }

    base::Result<Recipe::File> file(const toml::table& table, const char* key, Need need) const {
        std::string name = TRY(text(table, key, need));
        if (!table.get(key))
            return Recipe::File{};
        if (name.empty() || name.find('\0') != std::string::npos)
            return bad(line(table, key), fmt::format("\"{}\" must name a file", key));
        if (name[0] != '/')
            name = folder_of(path_) + "/" + name;
        return Recipe::File{name, line(table, key)};
    }

    base::Result<> read_appliance(const toml::table* table) {
        TRY(only(*table, "[appliance]", {"name", "title", "version", "description", "picture"}));
        ApplianceInfo& info = recipe_.appliance;
        info.name = TRY(text(*table, "name", Need::Required));
        info.title = TRY(text(*table, "title", Need::Optional));
        info.version = TRY(text(*table, "version", Need::Optional));
        info.description = TRY(text(*table, "description", Need::Optional));
        if (!is_simple_name(info.name))
            return bad(line(*table, "name"), "\"name\" takes lower-case letters, digits and - (at most 64)");
        if (info.title.empty())
            info.title = info.name;
        if (!is_plain_text(info.title, 200, Lines::One))
            return bad(line(*table, "title"), "\"title\" takes at most 200 bytes in one line");
        if (!is_plain_text(info.version, 64, Lines::One))
            return bad(line(*table, "version"), "\"version\" takes at most 64 bytes in one line");
        if (!is_plain_text(info.description, 4000, Lines::Many))
            return bad(line(*table, "description"), "\"description\" takes at most 4000 bytes of plain text");
        recipe_.picture = TRY(file(*table, "picture", Need::Optional));
        return {};
    }

    base::Result<> read_machine(const toml::table* table) {
        TRY(only(*table, "[machine]", {"memory"}));
        std::string size = TRY(text(*table, "memory", Need::Required));
        uint64_t number = 0;
        auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), number);
        std::string_view unit(end, static_cast<size_t>(size.data() + size.size() - end));
        uint64_t factor = unit == "M" ? kMiB : unit == "G" ? 1024 * kMiB : 0;
        if (error != std::errc() || factor == 0 || number > 4096 || number * factor < 16 * kMiB ||
            number * factor > 3072 * kMiB)
            return bad(line(*table, "memory"), "\"memory\" takes \"16M\" to \"3G\"");
        recipe_.machine.memory = number * factor;
        return {};
    }

    base::Result<> read_media(const toml::table& root, MediaKind kind) {
        const char* key = to_string(kind);
        const toml::node* node = root.get(key);
        if (!node)
            return {};
        const toml::array* list = node->as_array();
        if (!list)
            return bad(line_of(*node), fmt::format("write [[{}]] in double brackets", key));
        const size_t limit = kind == MediaKind::Floppy ? 2 : 4; // drives of the machine
        if (list->size() > limit)
            return bad(line_of((*list)[limit]),
                       fmt::format("the machine takes at most {} of [[{}]]", limit, key));
        for (const toml::node& item : *list) {
            const toml::table* table = item.as_table();
            if (!table)
                return bad(line_of(item), fmt::format("write [[{}]] in double brackets", key));
            TRY(only(*table, fmt::format("[[{}]]", key), {"image"}));
            recipe_.media.push_back({kind, TRY(file(*table, "image", Need::Required))});
        }
        size_t ide = std::count_if(recipe_.media.begin(), recipe_.media.end(),
                                   [](const auto& medium) { return medium.kind != MediaKind::Floppy; });
        if (ide > 4)
            return bad(line_of(*node), "the machine takes at most 4 disks and CDs together");
        return {};
    }

    base::Result<> read_boot(const toml::table* table) {
        if (table) {
            TRY(only(*table, "[boot]", {"kernel", "initrd", "cmdline", "order"}));
            recipe_.kernel = TRY(file(*table, "kernel", Need::Optional));
            recipe_.initrd = TRY(file(*table, "initrd", Need::Optional));
            recipe_.cmdline = TRY(text(*table, "cmdline", Need::Optional));
            for (const char* key : {"initrd", "cmdline"})
                if (table->get(key) && recipe_.kernel.path.empty())
                    return bad(line(*table, key), fmt::format("\"{}\" needs a \"kernel\"", key));
            if (!is_plain_text(recipe_.cmdline, 2048, Lines::One))
                return bad(line(*table, "cmdline"), "\"cmdline\" takes at most 2048 bytes in one line");
            if (const toml::node* order = table->get("order"))
                TRY(read_order(*order));
        }
        if (recipe_.order.empty() && recipe_.kernel.path.empty())
            for (const Recipe::MediumFile& medium : recipe_.media)
                if (std::find(recipe_.order.begin(), recipe_.order.end(), medium.kind) == recipe_.order.end())
                    recipe_.order.push_back(medium.kind);
        if (recipe_.kernel.path.empty() && recipe_.media.empty())
            return bad(table ? line_of(*table) : 0,
                       "there is nothing to boot: name a kernel, or a [[disk]], [[cdrom]] or [[floppy]]");
        return {};
    }

    base::Result<> read_order(const toml::node& node) {
        if (!recipe_.kernel.path.empty())
            return bad(line_of(node), "\"order\" and \"kernel\" exclude each other");
        const toml::array* list = node.as_array();
        if (!list)
            return bad(line_of(node), "\"order\" must be a list such as [\"disk\", \"cdrom\"]");
        for (const toml::node& item : *list) {
            auto kind = media_kind_from(item.value_exact<std::string>().value_or(""));
            if (!kind)
                return bad(line_of(item), "\"order\" takes \"disk\", \"cdrom\" and \"floppy\"");
            if (std::find(recipe_.order.begin(), recipe_.order.end(), *kind) != recipe_.order.end())
                return bad(line_of(item), "\"order\" names a kind twice");
            recipe_.order.push_back(*kind);
        }
        return {};
    }

    base::Result<> read_policy(const toml::table* table) {
        if (!table)
            return {};
        TRY(only(*table, "[policy]", {"max_minutes", "power_off_ends_session", "reset_ends_session"}));
        if (const toml::node* node = table->get("max_minutes")) {
            auto minutes = node->value_exact<int64_t>();
            if (!minutes || *minutes < 1 || *minutes > 7 * 24 * 60)
                return bad(line_of(*node), "\"max_minutes\" takes 1 to 10080");
            recipe_.policy.max_minutes = static_cast<uint32_t>(*minutes);
        }
        recipe_.policy.power_off_ends_session = TRY(flag(*table, "power_off_ends_session", true));
        recipe_.policy.reset_ends_session = TRY(flag(*table, "reset_ends_session", false));
        return {};
    }

    const std::string& path_;
    Recipe recipe_;
};

} // namespace

base::Result<Recipe> parse_recipe(std::string_view text, const std::string& path) {
    RecipeReader reader{path};
    toml::parse_result parsed = toml::parse(to_ascii(text));
    if (!parsed)
        return reader.bad(parsed.error().source().begin.line,
                          fmt::format("not valid TOML ({})", from_ascii(parsed.error().description())));
    return reader.read(parsed.table());
}

base::Result<Recipe> load_recipe(const std::string& path) {
    std::string text = TRY(signing::read_small_file(path));
    return parse_recipe(text, path);
}

} // namespace appliance_format
