#include "tests/appliance-format/bundle_fixture.h"

#include "appliance-format/pack_recipe.h"

using namespace fixture;

namespace {
const std::string kHead = "[appliance]\nname = \"demo\"\n[machine]\nmemory = \"64M\"\n";

std::string error_of(const std::string& text) {
    auto recipe = parse_recipe(text, "dir/r.toml");
    return recipe ? "" : recipe.error().message;
}
bool at_line(const std::string& text, int line, const char* about) {
    std::string message = error_of(text);
    INFO(message);
    return message.rfind("dir/r.toml:" + std::to_string(line) + ": ", 0) == 0 &&
           message.find(about) != std::string::npos;
}
} // namespace

TEST_CASE("recipe: the documented recipe is read", "[recipe]") {
    auto recipe =
        parse_recipe("[appliance]\nname = \"debian-installer\"\ntitle = \"Debian 12\"\nversion = \"1.0\"\n"
                     "description = \"Try it\"\npicture = \"shot.png\"\n[machine]\nmemory = \"512M\"\n"
                     "[boot]\nkernel = \"linux\"\ninitrd = \"/abs/initrd.gz\"\ncmdline = \"console=ttyS0\"\n"
                     "[[disk]]\nimage = \"disk.img\"\n[[cdrom]]\nimage = \"x.iso\"\n[[floppy]]\n"
                     "image = \"x.img\"\n[policy]\nmax_minutes = 30\nreset_ends_session = true\n"
                     "clock = \"frozen\"\nidentity = \"same\"\n",
                     "dir/r.toml");
    REQUIRE(recipe);
    CHECK(recipe->machine.memory == 512u << 20);
    CHECK(recipe->kernel.path == "dir/linux");
    CHECK(recipe->initrd.path == "/abs/initrd.gz");
    CHECK(recipe->media.size() == 3);
    CHECK(recipe->media[1].image.path == "dir/x.iso");
    CHECK(recipe->policy.max_minutes == 30u);
    CHECK(recipe->policy.reset_ends_session);
    CHECK(recipe->policy.power_off_ends_session);
    CHECK(recipe->policy.clock == ClockPolicy::Frozen);
    CHECK(recipe->policy.identity == IdentityPolicy::Same);
}

TEST_CASE("recipe: a network card is there when asked for, and players must know it", "[recipe]") {
    Folder folder;
    std::ofstream(folder / "disk.img", std::ios::binary) << std::string(512, 'x');
    for (const bool wanted : {false, true}) {
        auto recipe = parse_recipe(kHead + (wanted ? "network = true\n" : "") +
                                       "[[disk]]\nimage = \"disk.img\"\nformat = \"raw\"\n",
                                   folder / "r.toml");
        REQUIRE(recipe);
        CHECK(recipe->machine.network == wanted);
        REQUIRE(pack_recipe(*recipe, "r.toml", folder / "x.encore", nullptr, {.progress = {}}));
        const auto bundle = Bundle::open(folder / "x.encore");
        REQUIRE(bundle);
        CHECK((*bundle)->manifest().machine.network == wanted);
        CHECK((*bundle)->manifest().critical_features.size() == (wanted ? 1u : 0u));
        // Without one the manifest is what it was before there were any.
        CHECK(((*bundle)->manifest_json().find("network") != std::string::npos) == wanted);
    }
    CHECK(at_line(kHead + "network = 1\n", 5, "true or false"));
}

TEST_CASE("recipe: the keyboard is in the manifest when it is said, and has the form of a layout's name",
          "[recipe]") {
    Folder folder;
    std::ofstream(folder / "disk.img", std::ios::binary) << std::string(512, 'x');
    const std::string disk = "[[disk]]\nimage = \"disk.img\"\nformat = \"raw\"\n";
    for (const std::string name : {"", "de", "ch-de_nodeadkeys"}) {
        auto recipe = parse_recipe(kHead + (name.empty() ? "" : "keyboard = \"" + name + "\"\n") + disk,
                                   folder / "r.toml");
        REQUIRE(recipe);
        REQUIRE(pack_recipe(*recipe, "r.toml", folder / "x.encore", nullptr, {.progress = {}}));
        const auto bundle = Bundle::open(folder / "x.encore");
        REQUIRE(bundle);
        CHECK((*bundle)->manifest().machine.keyboard == name);
        CHECK(((*bundle)->manifest_json().find("keyboard") != std::string::npos) == !name.empty());
        // Players that do not know it type as on an American one; they need not refuse.
        CHECK((*bundle)->manifest().critical_features.empty());
    }
    CHECK(at_line(kHead + "keyboard = \"../de\"\n" + disk, 5, "layout's name"));
    CHECK(at_line(kHead + "keyboard = \"\"\n" + disk, 5, "layout's name"));
    CHECK(at_line(kHead + "keyboard = 7\n" + disk, 5, "keyboard"));
}

TEST_CASE("recipe: the boot order defaults to the media there are", "[recipe]") {
    auto recipe = parse_recipe(kHead + "[[cdrom]]\nimage = \"a\"\n[[disk]]\nimage = \"b\"\n", "r.toml");
    REQUIRE(recipe);
    CHECK(recipe->order == std::vector{MediaKind::Disk, MediaKind::Cdrom});
}

TEST_CASE("recipe: mistakes name their line", "[recipe]") {
    const std::string disk = "[[disk]]\nimage = \"d\"\n";
    CHECK(error_of(kHead + disk).empty());
    CHECK(at_line(kHead + disk + "[polic]\n", 7, "polic"));
    CHECK(at_line(kHead + disk + "[policy]\nmax_minuts = 3\n", 8, "max_minuts"));
    CHECK(at_line(kHead + disk + "[policy]\nmax_minutes = 0\n", 8, "max_minutes"));
    CHECK(at_line(kHead + disk + "[policy]\nmax_minutes = \"3\"\n", 8, "max_minutes"));
    CHECK(at_line(kHead + disk + "[policy]\nclock = \"sundial\"\n", 8, "continues"));
    CHECK(at_line(kHead + disk + "[policy]\nidentity = 7\n", 8, "identity"));
    CHECK(at_line(kHead + disk + "[boot]\norder = [\"disk\", \"tape\"]\n", 8, "order"));
    CHECK(at_line(kHead + disk + "[boot]\ninitrd = \"i\"\n", 8, "kernel"));
    CHECK(at_line(kHead + disk + "[boot]\nkernel = \"k\"\norder = [\"disk\"]\n", 9, "exclude"));
    CHECK(at_line(kHead + "[[disk]]\n", 5, "image"));
    CHECK(at_line(kHead + "[[disk]]\nsize = \"0K\"\n", 6, "size"));
    CHECK(at_line(kHead + "[[disk]]\nsize = \"99T\"\n", 6, "size"));
    CHECK(at_line(kHead + "[[disk]]\nsize = \"1G\"\nimage = \"d\"\n", 7, "image"));
    CHECK(at_line(kHead + "[[cdrom]]\nsize = \"1G\"\n", 6, "size"));
    CHECK(at_line(kHead + disk + "format = \"vmdk\"\n", 7, "format"));
    CHECK(at_line(kHead + "[disk]\nimage = \"d\"\n", 5, "[[disk]]"));
    CHECK(at_line("[appliance]\nname = \"Demo Space\"\n[machine]\nmemory=\"64M\"\n" + disk, 2, "name"));
    CHECK(at_line("[appliance]\nname = \"demo\"\n[machine]\nmemory = \"8M\"\n" + disk, 4, "memory"));
    CHECK(at_line("[appliance]\nname = \"demo\"\n[machine]\nmemory = \"64MB\"\n" + disk, 4, "memory"));
    CHECK(at_line("[appliance]\nname = \"demo\"\nname = \"x\"\n", 3, "TOML"));
    CHECK(error_of(disk).find("[appliance] is missing") != std::string::npos);
    CHECK(error_of(kHead).find("nothing to boot") != std::string::npos);
}

TEST_CASE("recipe: letters outside ASCII are for texts and comments", "[recipe]") {
    const std::string tail = "[machine]\nmemory = \"64M\"\n[[disk]]\nimage = \"d\"\n";
    auto title = [&](const std::string& text) {
        auto recipe = parse_recipe("[appliance] # \xc2\xb5\nname = \"demo\"\n" + text + tail, "dir/r.toml");
        return recipe ? recipe->appliance.description : recipe.error().message;
    };
    CHECK(title("description = \"Gr\xc3\xbc\xc3\x9f\"\n") == "Gr\xc3\xbc\xc3\x9f");
    CHECK(title("description = '\xc2\xb5'\n") == "\xc2\xb5");
    CHECK(title("description = \"\"\"a\n\xc2\xb5 \\\" \xc2\xb5\"\"\"\"\n") == "a\n\xc2\xb5 \" \xc2\xb5\"");
    CHECK(title("description = \"~7E ~ \\u00b5\"\n") == "~7E ~ \xc2\xb5");
    CHECK(title("description = \"\xff\"\n").find("UTF-8") != std::string::npos);
    CHECK(title("description = \xc2\xb5\n").rfind("dir/r.toml:3: ", 0) == 0);
    CHECK(title("\xc2\xb5 = 1\n").rfind("dir/r.toml:3: ", 0) == 0);
}

TEST_CASE("recipe: files that are missing, empty or no images are named with their line", "[recipe]") {
    Folder folder;
    auto pack = [&](const std::string& text) {
        auto recipe = parse_recipe(text, folder / "r.toml");
        REQUIRE(recipe);
        auto packed = pack_recipe(*recipe, folder / "r.toml", folder / "x.encore", nullptr, {});
        return packed ? "" : packed.error().message;
    };
    CHECK(pack(kHead + "[[disk]]\nimage = \"missing\"\n").find("r.toml:6: cannot open") != std::string::npos);
    write_file(folder / "odd", Bytes(700, 1));
    CHECK(pack(kHead + "[[disk]]\nimage = \"odd\"\n").find("no image of a known kind") != std::string::npos);
    write_file(folder / "none", {});
    CHECK(pack(kHead + "[[disk]]\nimage = \"none\"\n").find("is empty") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder / "x.encore"));
    write_file(folder / "odd", Bytes(1024, 1));
    CHECK(pack(kHead + "[[disk]]\nimage = \"odd\"\n").find("format = \"raw\"") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder / "x.encore"));
    CHECK(pack(kHead + "[[disk]]\nimage = \"odd\"\nformat = \"raw\"\n").empty());
    CHECK(std::filesystem::exists(folder / "x.encore"));
    CHECK(pack(kHead + "[[disk]]\nsize = \"1G\"\n").empty());
    CHECK(std::filesystem::exists(folder / "x.encore"));
}
