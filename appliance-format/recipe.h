// The publisher's input to `encore pack`: a TOML file naming images and rules. Unknown keys are errors,
// because a misspelt rule silently ignored would be a rule that does not hold.
#pragma once
#include "appliance-format/image_format.h"
#include "appliance-format/manifest.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct Recipe {
    struct File {
        std::string path;  // as opened: relative paths are taken from the recipe's folder
        unsigned line = 0; // 0: no recipe says so; messages do without
    };
    struct MediumFile {
        MediaKind kind = MediaKind::Disk;
        File image;
        std::string member{}; // of the archive that `image` is
        TakeAs take = TakeAs::WhatItIs;
        uint64_t blank = 0; // bytes of a disk with nothing on it, which has no image
    };

    ApplianceInfo appliance; // picture left empty; see below
    MachineInfo machine;
    unsigned keyboard_line = 0; // where machine.keyboard is said: which names there are, the player knows
    Policy policy;
    std::string cmdline;
    std::vector<MediaKind> order;
    File kernel, initrd, picture; // path empty: none
    std::vector<MediumFile> media;
};

// "64M", "3G": a number and K, M, G or T.
[[nodiscard]] std::optional<uint64_t> parse_size(std::string_view text);
// The least and the most that a machine can have, in bytes.
inline constexpr uint64_t kLeastMemory = 16u << 20, kMostMemory = 64ull << 30;
inline constexpr size_t kMostDisksAndCds = 4, kMostFloppies = 2;

// `path` is for messages and to resolve relative paths. Errors: kBadRecipe, as "recipe.toml:12: what is
// wrong".
base::Result<Recipe> parse_recipe(std::string_view text, const std::string& path);

base::Result<Recipe> load_recipe(const std::string& path);

} // namespace appliance_format
