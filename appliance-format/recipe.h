// The publisher's input to `encore pack`: a TOML file naming images and rules. Unknown keys are errors,
// because a misspelt rule silently ignored would be a rule that does not hold.
#pragma once
#include "appliance-format/manifest.h"

#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct Recipe {
    struct File {
        std::string path; // as opened: relative paths are taken from the recipe's folder
        unsigned line = 0;
    };
    struct MediumFile {
        MediaKind kind = MediaKind::Disk;
        File image;
        std::string member{}; // of the OVA that `image` is; disks only
    };

    ApplianceInfo appliance; // picture left empty; see below
    MachineInfo machine;
    Policy policy;
    std::string cmdline;
    std::vector<MediaKind> order;
    File kernel, initrd, picture; // path empty: none
    std::vector<MediumFile> media;
};

// `path` is for messages and to resolve relative paths. Errors: kBadRecipe, as "recipe.toml:12: what is
// wrong".
base::Result<Recipe> parse_recipe(std::string_view text, const std::string& path);

base::Result<Recipe> load_recipe(const std::string& path);

} // namespace appliance_format
