#include "appliance-format/recipe.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/safe_path.h"
#include "appliance-format/toml_reader.h"
#include "signing/small_file.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace appliance_format {

namespace {

constexpr uint64_t kMiB = 1 << 20;

class RecipeReader : TomlReader {
  public:
    explicit RecipeReader(const std::string& path) : TomlReader(path, kBadRecipe) {}

    base::Result<Recipe> read(std::string_view content) {
        const toml::table root = TRY(parse(content));
        TRY(only(root, "the recipe", {"appliance", "machine", "boot", "disk", "cdrom", "floppy", "policy"}));
        TRY(read_appliance(TRY(table(root, "appliance", Need::Required))));
        TRY(read_machine(TRY(table(root, "machine", Need::Required))));
        for (MediaKind kind : {MediaKind::Disk, MediaKind::Cdrom, MediaKind::Floppy})
            TRY(read_media(root, kind));
        TRY(read_boot(TRY(table(root, "boot", Need::Optional))));
        TRY(read_policy(TRY(table(root, "policy", Need::Optional))));
        return std::move(recipe_);
    }

  private:
    base::Result<Recipe::File> file(const toml::table& table, const char* key, Need need) const {
        std::string name = TRY(text(table, key, need));
        if (!table.get(key))
            return Recipe::File{};
        if (name.empty() || name.find('\0') != std::string::npos)
            return bad(line(table, key), fmt::format("\"{}\" must name a file", key));
        if (name[0] != '/')
            name = folder_of(path()) + "/" + name;
        return Recipe::File{name, line(table, key)};
    }

    base::Result<> read_appliance(const toml::table* table) {
        TRY(only(
            *table, "[appliance]",
            {"name", "title", "version", "description", "picture", "tagline", "help", "duration_minutes"}));
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
        info.tagline = TRY(text(*table, "tagline", Need::Optional));
        info.help = TRY(text(*table, "help", Need::Optional));
        info.duration_minutes = TRY(optional_number(*table, "duration_minutes", 1, kMaxMinutes));
        if (!is_plain_text(info.tagline, kMaxTagline, Lines::One))
            return bad(line(*table, "tagline"),
                       fmt::format("\"tagline\" takes at most {} bytes in one line", kMaxTagline));
        if (!is_plain_text(info.help, kMaxHelp, Lines::Many))
            return bad(line(*table, "help"),
                       fmt::format("\"help\" takes at most {} bytes of plain text", kMaxHelp));
        recipe_.picture = TRY(file(*table, "picture", Need::Optional));
        return {};
    }

    base::Result<> read_machine(const toml::table* table) {
        TRY(only(*table, "[machine]", {"memory", "sound", "network", "keyboard"}));
        recipe_.machine.sound = TRY(flag(*table, "sound", false));
        recipe_.machine.network = TRY(flag(*table, "network", false));
        std::string size = TRY(text(*table, "memory", Need::Required));
        const auto bytes = parse_size(size);
        if (!bytes || *bytes < kLeastMemory || *bytes > kMostMemory || *bytes % kMiB != 0)
            return bad(line(*table, "memory"), "\"memory\" takes \"16M\" to \"64G\"");
        recipe_.machine.memory = *bytes;
        if (table->get("keyboard")) {
            recipe_.machine.keyboard = TRY(text(*table, "keyboard", Need::Required));
            recipe_.keyboard_line = line(*table, "keyboard");
            if (!is_keyboard_name(recipe_.machine.keyboard))
                return bad(recipe_.keyboard_line,
                           "\"keyboard\" takes a layout's name: \"us\", \"de\", \"ch-fr\"");
        }
        return {};
    }

    base::Result<> read_medium(const toml::table& table, MediaKind kind) {
        const std::string name = fmt::format("[[{}]]", to_string(kind));
        const bool blank = kind == MediaKind::Disk && table.get("size");
        if (blank)
            TRY(only(table, name + " with a \"size\"", {"size"}));
        else if (kind == MediaKind::Disk)
            TRY(only(table, name, {"image", "member", "format", "size"}));
        else
            TRY(only(table, name, {"image", "member", "format"}));
        Recipe::MediumFile& medium = recipe_.media.emplace_back();
        medium.kind = kind;
        if (blank) {
            const auto bytes = parse_size(TRY(text(table, "size", Need::Required)));
            if (!bytes || *bytes == 0 || *bytes > kMaxBlobSize)
                return bad(line(table, "size"),
                           "\"size\" takes the size of an empty disk: \"64K\" to \"16T\"");
            medium.blank = *bytes;
            return {};
        }
        medium.image = TRY(file(table, "image", Need::Required));
        medium.member = TRY(text(table, "member", Need::Optional));
        const std::string format = TRY(text(table, "format", Need::Optional));
        if (table.get("format") && format != "raw")
            return bad(line(table, "format"),
                       "\"format\" takes \"raw\"; other formats are known by what they are");
        medium.take = format == "raw" ? TakeAs::Raw : TakeAs::WhatItIs;
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
        const size_t limit = kind == MediaKind::Floppy ? kMostFloppies : kMostDisksAndCds;
        if (list->size() > limit)
            return bad(line_of((*list)[limit]),
                       fmt::format("the machine takes at most {} of [[{}]]", limit, key));
        for (const toml::node& item : *list) {
            const toml::table* table = item.as_table();
            if (!table)
                return bad(line_of(item), fmt::format("write [[{}]] in double brackets", key));
            TRY(read_medium(*table, kind));
        }
        size_t ide = std::count_if(recipe_.media.begin(), recipe_.media.end(),
                                   [](const auto& medium) { return medium.kind != MediaKind::Floppy; });
        if (ide > kMostDisksAndCds)
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
            if (std::ranges::none_of(recipe_.media, [&](const auto& medium) { return medium.kind == *kind; }))
                return bad(
                    line_of(item),
                    fmt::format("\"order\" names \"{0}\", and there is no [[{0}]]; add one, or leave it out",
                                to_string(*kind)));
            recipe_.order.push_back(*kind);
        }
        return {};
    }

    base::Result<> read_policy(const toml::table* table) {
        if (!table)
            return {};
        TRY(only(*table, "[policy]",
                 {"scenes", "max_minutes", "idle_seconds", "network", "networks", "forward", "clipboard",
                  "sound", "power_off_ends_session", "reset_ends_session", "watermark", "expires",
                  "grace_days", "clock", "identity"}));
        recipe_.policy = TRY(read_rules(*table));
        if (table->get("clock")) {
            const auto clock = clock_policy_from(TRY(text(*table, "clock", Need::Required)));
            if (!clock)
                return bad(line(*table, "clock"), "\"clock\" takes \"host\", \"frozen\" or \"continues\"");
            recipe_.policy.clock = *clock;
        }
        if (table->get("identity")) {
            const auto identity = identity_policy_from(TRY(text(*table, "identity", Need::Required)));
            if (!identity)
                return bad(line(*table, "identity"), "\"identity\" takes \"fresh\" or \"same\"");
            recipe_.policy.identity = *identity;
        }
        return {};
    }

    Recipe recipe_;
};

} // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
    constexpr std::string_view kUnits = "KMGT";
    if (error != std::errc() || unit.size() != 1 || kUnits.find(unit[0]) == std::string_view::npos ||
        number > kMaxBlobSize)
        return std::nullopt;
    const auto shift = 10 * (kUnits.find(unit[0]) + 1);
    return number > (kMaxBlobSize >> shift) ? std::nullopt : std::optional(number << shift);
}

base::Result<Recipe> parse_recipe(std::string_view text, const std::string& path) {
    return RecipeReader(path).read(text);
}

base::Result<Recipe> load_recipe(const std::string& path) {
    std::string text = TRY(signing::read_small_file(path));
    return parse_recipe(text, path);
}

} // namespace appliance_format
