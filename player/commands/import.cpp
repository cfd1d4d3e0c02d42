// encore import: a virtual machine made elsewhere -> a bundle, or a recipe to go on from.
#include "appliance-format/disk_image.h"
#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/ovf.h"
#include "appliance-format/pack_recipe.h"
#include "appliance-format/safe_path.h"
#include "player/commands/command.h"
#include "player/commands/progress.h"
#include "player/high_water_clock.h"
#include "signing/small_file.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <optional>

namespace player {

namespace format = appliance_format;
namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMiB = 1u << 20, kLeastMemory = 16, kMostMemory = 3072, kUsualMemory = 512; // MiB

struct Options {
    std::string source, output, recipe, key, certificate, name, title, memory;
    bool unsigned_bundle = false;
    int level = 3;
};

// What was found: places of media, and what the description says.
struct Found {
    struct Medium {
        const char* kind;
        std::string path, member{};
    };
    std::vector<Medium> media;
    std::string name;
    uint64_t memory = 0;
    std::vector<std::string> notes;
};

base::Result<std::string> read_part(const std::string& path, uint64_t offset, size_t length) {
    auto file = TRY(format::FileSource::open(path));
    std::string bytes(std::min<uint64_t>(length, file->size() - std::min(file->size(), offset)), '\0');
    TRY(file->read(offset, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()}));
    return bytes;
}

base::Result<Found> follow_ovf(const std::string& source, std::string_view xml, bool archive) {
    auto machine = format::parse_ovf(xml);
    if (!machine)
        return base::fail(fmt::format("{} {}", source, machine.error().message), machine.error().code);
    Found found;
    found.name = machine->name;
    found.memory = machine->memory;
    const std::string folder = format::folder_of(source) + "/";
    for (const std::string& disk : machine->disks)
        found.media.push_back({"disk", archive ? source : folder + disk, archive ? disk : ""});
    for (const std::string& cdrom : machine->cdroms)
        if (archive)
            found.notes.push_back(fmt::format("the CD {} is left out", cdrom));
        else
            found.media.push_back({"cdrom", folder + cdrom});
    if (machine->is_64_bit)
        found.notes.emplace_back("it is said to be a 64-bit system, and those do not run in Encore");
    return found;
}

base::Result<Found> look_at(const std::string& source) {
    constexpr size_t kTarMagic = 257, kIsoMagic = 0x8001, kMostXml = 1 << 20;
    if (TRY(read_part(source, kTarMagic, 5)) == "ustar") {
        const auto members = TRY(format::list_archive(source));
        const auto ovf = std::ranges::find_if(members, [](const auto& member) {
            return member.name.ends_with(".ovf") && member.size <= kMostXml;
        });
        if (ovf == members.end())
            return base::fail(
                fmt::format("{} is an archive without a description (.ovf) of a machine", source));
        return follow_ovf(source, TRY(read_part(source, ovf->offset, ovf->size)), true);
    }
    const std::string head = TRY(read_part(source, 0, 512));
    if (head.find("<?xml") != std::string::npos || head.find("<Envelope") != std::string::npos)
        return follow_ovf(source, TRY(signing::read_small_file(source)), false);
    const bool iso = TRY(read_part(source, kIsoMagic, 5)) == "CD001";
    return Found{{{iso ? "cdrom" : "disk", source}}, fs::path(source).stem().string(), 0, {}};
}

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

std::string write_recipe(const Options& options, Found& found, const fs::path& folder) {
    uint64_t memory = found.memory == 0 ? kUsualMemory : found.memory / kMiB;
    const uint64_t fits = std::clamp(memory, kLeastMemory, kMostMemory);
    if (fits != memory && options.memory.empty())
        found.notes.push_back(fmt::format("it has {} MB of memory here, {} there", fits, memory));
    const std::string title = !options.title.empty()                                       ? options.title
                              : format::is_plain_text(found.name, 200, format::Lines::One) ? found.name
                                                                                           : std::string();
    std::string text = fmt::format(
        "[appliance]\nname = {}\ntitle = {}\n\n[machine]\nmemory = {}\n",
        toml_text(options.name.empty() ? simple_name(found.name) : options.name), toml_text(title),
        toml_text(options.memory.empty() ? fmt::format("{}M", fits) : options.memory));
    for (const Found::Medium& medium : found.media) {
        const fs::path path = fs::absolute(medium.path);
        text += fmt::format("\n[[{}]]\nimage = {}\n", medium.kind,
                            toml_text((folder.empty() ? path : path.lexically_proximate(folder)).string()));
        if (!medium.member.empty())
            text += fmt::format("member = {}\n", toml_text(medium.member));
    }
    return text;
}

base::Result<> import(const Options& options) {
    const bool to_recipe = !options.recipe.empty();
    if (to_recipe == !options.output.empty())
        return base::fail("import writes a bundle (-o) or a recipe (--recipe)", kExitUsage);
    const bool has_key = !options.key.empty() && !options.certificate.empty();
    if (!to_recipe &&
        (options.key.empty() != options.certificate.empty() || has_key == options.unsigned_bundle))
        return base::fail(
            "a bundle needs --key and --cert together (make them with: encore keygen), or --unsigned",
            kExitUsage);
    std::optional<signing::Signer> signer;
    if (has_key)
        signer = TRY(signing::Signer::load(options.key, options.certificate, trusted_now()));
    Found found = TRY(look_at(options.source));
    const std::string text =
        write_recipe(options, found,
                     to_recipe ? fs::absolute(options.recipe).lexically_normal().parent_path() : fs::path());
    const std::string where = to_recipe ? options.recipe : options.source;
    auto recipe = TRY(format::parse_recipe(text, where));
    Progress progress;
    if (to_recipe) {
        auto file = TRY(format::OutputFile::create(options.recipe));
        TRY(format::write_all(file.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()},
                              options.recipe));
        TRY(file.commit());
    } else {
        for (auto& medium : recipe.media)
            medium.image.line = 0; // of a text that nobody sees
        format::WriterOptions writer;
        writer.level = options.level;
        writer.progress = [&](format::WriterOptions::Phase phase, uint64_t done, uint64_t total) {
            return progress.update(phase == format::WriterOptions::Phase::Packing ? "packing" : "writing",
                                   done, total);
        };
        TRY(format::pack_recipe(recipe, options.source, options.output, signer ? &*signer : nullptr,
                                std::move(writer)));
    }
    progress.clear();
    for (const std::string& note : found.notes)
        fmt::print("{}: note: {}\n", options.source, note);
    if (to_recipe)
        fmt::print("{}: written; go on with: encore pack {} -o {}.encore\n", options.recipe, options.recipe,
                   recipe.appliance.name);
    else
        fmt::print("{}: imported{}\n", options.output, signer ? " and signed" : ", not signed");
    return {};
}

} // namespace

Command import_command(cli::App& root) {
    auto options = std::make_shared<Options>();
    cli::App* app = root.add_subcommand(
        "import",
        "Make a bundle, or a recipe for one, from a virtual machine made elsewhere: an OVA or OVF, a disk "
        "image (VMDK, qcow2, VDI, VHD, VHDX, raw) or an ISO. Images are read where they are");
    app->add_option("source", options->source, "The machine or its disk")->required()->type_name("FILE");
    auto* output = app->add_option("-o,--output", options->output,
                                   "The bundle to write; an old one is replaced at the very end")
                       ->type_name("X.encore");
    app->add_option("--recipe", options->recipe, "Write a recipe instead, to add rules to and pack")
        ->type_name("RECIPE.toml")
        ->excludes(output);
    app->add_option("--key", options->key, "Publisher's private key (PEM)")->type_name("FILE");
    app->add_option("--cert", options->certificate, "Publisher's certificate (PEM)")->type_name("FILE");
    app->add_flag("--unsigned", options->unsigned_bundle, "Leave it unsigned; see: encore sign");
    app->add_option("--name", options->name, "The appliance's name, of a-z, 0-9 and -")->type_name("NAME");
    app->add_option("--title", options->title, "What people see it called")->type_name("TEXT");
    app->add_option("--memory", options->memory, "16M to 3G; not given: what the description says, else 512M")
        ->type_name("SIZE");
    app->add_option("--level", options->level, "Compression, 1 (fast) to 19 (small)")
        ->check(cli::range(1, 19))
        ->capture_default_str();
    return {app, [options] { return import(*options); }};
}

} // namespace player
