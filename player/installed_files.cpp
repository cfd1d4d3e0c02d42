#include "player/installed_files.h"

#include <filesystem>
#include <link.h>

namespace player {
namespace {

namespace fs = std::filesystem;

std::string first_of(std::initializer_list<fs::path> places) {
    std::error_code error;
    for (const fs::path& place : places)
        if (fs::exists(place, error))
            return place.lexically_normal();
    return {};
}

} // namespace

[[gnu::used]] const std::array<char, 15> encore_portable_run_path{"$ORIGIN/../lib"};

std::string program_folder() {
    std::error_code error;
    return fs::read_symlink("/proc/self/exe", error).parent_path();
}

std::string prefix_folder() { return fs::path(program_folder()).parent_path(); }

bool is_portable_copy() {
    // set_run_path's doing: linkers of today write DT_RUNPATH.
    for (const ElfW(Dyn)* entry = _DYNAMIC; entry->d_tag != DT_NULL; ++entry)
        if (entry->d_tag == DT_RPATH)
            return true;
    return false;
}

std::string find_program(std::string_view name) {
    const fs::path prefix = prefix_folder();
    return first_of({fs::path(program_folder()) / name, prefix / "lib/encore" / name,
                     prefix / "player" / name, prefix / "kiosk" / name});
}

std::string find_data(std::string_view path) {
    const fs::path system = fs::path("/usr/share") / path;
    const std::string found =
        first_of({fs::path(prefix_folder()) / "share" / path, fs::path("/usr/local/share") / path, system});
    return found.empty() ? system.string() : found;
}

} // namespace player
