// From a recipe to a bundle: opens every file the recipe names, adds them as blobs, writes and signs.
#pragma once
#include "appliance-format/bundle_writer.h"
#include "appliance-format/disk_image.h"
#include "appliance-format/recipe.h"

namespace appliance_format {

// `signer` null: the bundle stays unsigned. `recipe_path` begins messages about files that the recipe names
// in a line of its own. `shelf`: what is open already.
base::Result<> pack_recipe(const Recipe& recipe, const std::string& recipe_path, const std::string& output,
                           const signing::Signer* signer, WriterOptions options);
base::Result<> pack_recipe(const Recipe& recipe, const std::string& recipe_path, const std::string& output,
                           const signing::Signer* signer, WriterOptions options, ImageShelf& shelf);

} // namespace appliance_format
