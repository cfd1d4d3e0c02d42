#include "appliance-format/pack_recipe.h"

#include "appliance-format/format.h"

#include <array>
#include <fmt/format.h>

namespace appliance_format {

namespace {

struct Part {
    std::string blob;
    std::unique_ptr<BlobSource> source;
};

std::string at_line(const std::string& recipe_path, const Recipe::File& file) {
    return file.line == 0 ? std::string() : fmt::format("{}:{}: ", recipe_path, file.line);
}

using Source = base::Result<std::unique_ptr<BlobSource>>;

base::Result<Part> make_part(Source source, const Recipe::File& file, std::string blob,
                             const std::string& recipe_path) {
    if (!source)
        return base::fail(at_line(recipe_path, file) + source.error().message, kBadRecipe);
    if ((*source)->size() == 0)
        return base::fail(at_line(recipe_path, file) + file.path + " is empty", kBadRecipe);
    return Part{std::move(blob), std::move(*source)};
}

Source open_file(const std::string& path) { return std::unique_ptr<BlobSource>(TRY(FileSource::open(path))); }

} // namespace

base::Result<> pack_recipe(const Recipe& recipe, const std::string& recipe_path, const std::string& output,
                           const signing::Signer* signer, WriterOptions options) {
    ImageShelf shelf;
    return pack_recipe(recipe, recipe_path, output, signer, std::move(options), shelf);
}

base::Result<> pack_recipe(const Recipe& recipe, const std::string& recipe_path, const std::string& output,
                           const signing::Signer* signer, WriterOptions options, ImageShelf& shelf) {
    std::vector<Part> parts;
    Manifest manifest;
    manifest.appliance = recipe.appliance;
    manifest.machine = recipe.machine;
    manifest.policy = recipe.policy;
    if (needs_session_rules(recipe.policy))
        manifest.critical_features.emplace_back(kSessionRules);
    if (recipe.machine.sound)
        manifest.critical_features.emplace_back(kSoundDevice);
    if (recipe.machine.network)
        manifest.critical_features.emplace_back(kNetworkCard);
    manifest.boot.cmdline = recipe.cmdline;
    manifest.boot.order = recipe.order;
    auto add = [&](const Recipe::File& file, std::string blob) -> base::Result<std::string> {
        parts.push_back(TRY(make_part(open_file(file.path), file, blob, recipe_path)));
        return blob;
    };
    if (!recipe.picture.path.empty())
        manifest.appliance.picture = TRY(add(recipe.picture, "picture"));
    if (!recipe.kernel.path.empty())
        manifest.boot.kernel = TRY(add(recipe.kernel, "kernel"));
    if (!recipe.initrd.path.empty())
        manifest.boot.initrd = TRY(add(recipe.initrd, "initrd"));
    std::array<int, 3> counts{};
    for (const Recipe::MediumFile& medium : recipe.media) {
        std::string blob =
            fmt::format("{}{}", to_string(medium.kind), counts[static_cast<size_t>(medium.kind)]++);
        auto source = medium.blank != 0
                          ? Source(blank_disk(medium.blank))
                          : open_medium(shelf, {medium.image.path, medium.member}, medium.kind, medium.take);
        if (!source && source.error().code == kUnknownImage)
            source = base::fail(source.error().message + "; if it is the bytes of one all the same, say " +
                                    (medium.image.line == 0 ? "--format raw" : "format = \"raw\""),
                                kUnknownImage);
        parts.push_back(TRY(make_part(std::move(source), medium.image, blob, recipe_path)));
        manifest.media.push_back({medium.kind, blob});
    }
    options.total_input = 0;
    for (const Part& part : parts)
        options.total_input += part.source->size();

    BundleWriter writer = TRY(BundleWriter::create(output, std::move(options)));
    writer.manifest() = std::move(manifest);
    for (Part& part : parts)
        TRY(writer.add_blob(part.blob, *part.source, kDiskChunk));
    return writer.finish(signer);
}

} // namespace appliance_format
