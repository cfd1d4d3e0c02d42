// encore import: a virtual machine made elsewhere -> a bundle, or a recipe to go on from.
#include "appliance-format/foreign_machine.h"
#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/pack_recipe.h"
#include "appliance-format/safe_path.h"
#include "player/commands/command.h"
#include "player/commands/key_options.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "vmm/base/shell_word.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace player {

namespace format = appliance_format;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = 1u << 20, kUsualMemory = 512 * kMiB;

struct Options : KeyOptions {
    std::string source, output, recipe, name, title, memory, format;
    bool unsigned_bundle = false;
    int level = 3;
};

// Appliance names are strict; file names and descriptions are not.
std::string simple_name(const std::string& text) {
    std::string name;
    for (const char c : text)
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            name += c;
        else if (c >= 'A' && c <= 'Z')
            name += static_cast<char>(c - 'A' + 'a');
        else if (!name.empty() && name.back() != '-')
            name += '-';
    name.resize(std::min<size_t>(name.size(), 64));
    while (!name.empty() && name.back() == '-')
        name.pop_back();
    return name.empty() ? "appliance" : name;
}

std::string toml_text(const std::string& text) {
    std::string out = "\"";
    for (const char c : text)
        if (c == '"' || c == '\\')
            out += std::string("\\") + c;
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
            out += c;
    return out + '"';
}

// What the user asks for goes before what was found.
base::Result<format::Recipe> make_recipe(const Options& options, format::ForeignMachine& found) {
    format::Recipe recipe;
    recipe.appliance.name = options.name.empty() ? simple_name(found.name) : options.name;
    if (!format::is_simple_name(recipe.appliance.name))
        return base::fail("--name takes lower-case letters, digits and - (at most 64)", kExitUsage);
    constexpr size_t kTitle = 200;
    if (!format::is_plain_text(options.title, kTitle, format::Lines::One))
        return base::fail("--title takes at most 200 bytes in one line", kExitUsage);
    recipe.appliance.title =
        !options.title.empty() ? options.title
        : format::is_plain_text(found.name, kTitle, format::Lines::One) && !found.name.empty()
            ? found.name
            : recipe.appliance.name;
    recipe.appliance.version = found.version;
    recipe.appliance.description = found.description;
    recipe.machine.sound = found.sound;
    recipe.machine.network = found.network;
    if (!options.memory.empty()) {
        const auto memory = format::parse_size(options.memory);
        if (!memory || *memory < format::kLeastMemory || *memory > format::kMostMemory || *memory % kMiB != 0)
            return base::fail("--memory takes 16M to 64G", kExitUsage);
        recipe.machine.memory = *memory;
    } else {
        const uint64_t memory = found.memory == 0 ? kUsualMemory : found.memory;
        recipe.machine.memory = std::clamp(memory / kMiB * kMiB, format::kLeastMemory, format::kMostMemory);
        if (recipe.machine.memory != memory)
            found.notes.push_back(fmt::format("has {} MB of memory there, {} here", memory / kMiB,
                                              recipe.machine.memory / kMiB));
    }
    for (const auto& medium : found.media) {
        format::Recipe::MediumFile& file = recipe.media.emplace_back();
        file.kind = medium.kind;
        file.image.path = medium.place.path;
        file.member = medium.place.member;
        file.take = options.format.empty() ? format::TakeAs::WhatItIs : format::TakeAs::Raw;
        file.blank = medium.blank;
        if (std::ranges::find(recipe.order, medium.kind) == recipe.order.end())
            recipe.order.push_back(medium.kind);
    }
    return recipe;
}

std::string recipe_text(const format::Recipe& recipe, const fs::path& folder) {
    constexpr uint64_t kKiB = 1024;
    std::string text = fmt::format("[appliance]\nname = {}\ntitle = {}\n", toml_text(recipe.appliance.name),
                                   toml_text(recipe.appliance.title));
    for (const auto& [key, value] : {std::pair{"version", recipe.appliance.version},
                                     std::pair{"description", recipe.appliance.description}})
        if (!value.empty())
            text += fmt::format("{} = {}\n", key, toml_text(value));
    text += fmt::format("\n[machine]\nmemory = \"{}M\"\n", recipe.machine.memory / kMiB);
    for (const auto& [key, value] :
         {std::pair{"sound", recipe.machine.sound}, std::pair{"network", recipe.machine.network}})
        if (value)
            text += fmt::format("{} = true\n", key);
    for (const auto& medium : recipe.media) {
        text += fmt::format("\n[[{}]]\n", format::to_string(medium.kind));
        if (medium.blank != 0) {
            text += fmt::format("size = \"{}K\"\n", (medium.blank + kKiB - 1) / kKiB);
            continue;
        }
        text += fmt::format("image = {}\n",
                            toml_text(fs::absolute(medium.image.path).lexically_proximate(folder).string()));
        if (!medium.member.empty())
            text += fmt::format("member = {}\n", toml_text(medium.member));
        if (medium.take == format::TakeAs::Raw)
            text += "format = \"raw\"\n";
    }
    return text;
}

base::Result<> import(const Options& options) {
    const bool to_recipe = !options.recipe.empty();
    if (to_recipe == !options.output.empty())
        return base::fail("import writes a bundle (-o) or a recipe (--recipe)", kExitUsage);
    if (!to_recipe && options.given() == options.unsigned_bundle)
        return base::fail(kKeyOrUnsigned, kExitUsage);
    std::optional<signing::Signer> signer;
    if (options.given() && !to_recipe)
        signer = TRY(options.load_signer());
    const bool raw = !options.format.empty();
    format::ImageShelf shelf;
    auto looked =
        format::find_machine(shelf, options.source, raw ? format::TakeAs::Raw : format::TakeAs::WhatItIs);
    if (!looked && looked.error().code == format::kUnknownImage)
        return base::fail(looked.error().message + "; if it is a raw disk all the same, say --format raw",
                          format::kBadRecipe);
    format::ForeignMachine found = TRY(std::move(looked));
    const format::Recipe recipe = TRY(make_recipe(options, found));
    Progress progress;
    if (to_recipe) {
        const std::string text =
            recipe_text(recipe, fs::absolute(options.recipe).lexically_normal().parent_path());
        TRY(format::parse_recipe(text, options.recipe));
        auto file = TRY(format::OutputFile::create(options.recipe));
        TRY(format::write_all(file.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                              options.recipe));
        TRY(file.commit());
    } else {
        format::WriterOptions writer;
        writer.level = options.level;
        writer.progress = [&](format::WriterOptions::Phase phase, uint64_t done, uint64_t total) {
            return progress.update(phase == format::WriterOptions::Phase::Packing ? "packing" : "writing",
                                   done, total);
        };
        TRY(format::pack_recipe(recipe, options.source, options.output, signer ? &*signer : nullptr,
                                std::move(writer), shelf));
    }
    progress.clear();
    for (const std::string& note : found.notes)
        fmt::print("{}: note: it {}\n", options.source, note);
    if (to_recipe)
        fmt::print(
            "{}: written; sign what is made of it with --key, or go on with: encore pack {} -o {}.encore "
            "--unsigned\n",
            options.recipe, base::shell_word(options.recipe), recipe.appliance.name);
    else
        fmt::print("{}: imported{}\n", options.output, signer ? " and signed" : ", not signed");
    return {};
}

} // namespace

Command import_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "import",
        "Make a bundle, or a recipe for one, from a virtual machine made elsewhere: an OVA or OVF, a box of "
        "Vagrant's, a disk image (VMDK, qcow2, VDI, VHD, VHDX, raw), an ISO or a floppy, compressed or not");
    app->add_option("source", options->source, "The machine or its disk")->required()->type_name("FILE");
    auto* output = app->add_option("-o,--output", options->output,
                                   "The bundle to write; an old one is replaced at the very end")
                       ->type_name("X.encore");
    app->add_option("--recipe", options->recipe, "Write a recipe instead, to add rules to and pack")
        ->type_name("RECIPE.toml")
        ->excludes(output);
    options->declare_keys(*app);
    app->add_flag("--unsigned", options->unsigned_bundle, "Leave it unsigned; see: encore sign");
    app->add_option("--name", options->name, "The appliance's name, of a-z, 0-9 and -")->type_name("NAME");
    app->add_option("--title", options->title, "What people see it called")->type_name("TEXT");
    app->add_option("--memory", options->memory,
                    "16M to 64G; not given: what the description says, else 512M")
        ->type_name("SIZE");
    app->add_option("--format", options->format, "raw: take the file's bytes as a disk, whatever they are")
        ->check(cli::one_of({"raw"}))
        ->type_name("raw");
    app->add_option("--level", options->level, "Compression, 1 (fast) to 19 (small)")
        ->check(cli::range(1, 19))
        ->capture_default_str();
    return {app, [options] { return import(*options); }};
}

} // namespace player
