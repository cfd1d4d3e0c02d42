#include "player/portable_folder.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "player/installed_files.h"
#include "player/program_image.h"
#include "signing/small_file.h"

#include <algorithm>
#include <dlfcn.h>
#include <filesystem>
#include <fmt/format.h>
#include <link.h>
#include <set>
#include <span>
#include <sstream>
#include <sys/stat.h>

namespace player {
namespace {

namespace fs = std::filesystem;
using Libraries = std::map<std::string, std::string>;

// What the player loads when it is wanted, and its package. Not the ones a publisher needs (libcurl).
struct Loaded {
    const char* library;
    const char* package;
};
constexpr Loaded kLoaded[] = {{"libSDL2-2.0.so.0", "libsdl2-2.0-0"},
                              {"libXrandr.so.2", "libxrandr2"},
                              {"libcairo.so.2", "libcairo2"},
                              {"libpango-1.0.so.0", "libpango-1.0-0"},
                              {"libpangocairo-1.0.so.0", "libpangocairo-1.0-0"},
                              {"libslirp.so.0", "libslirp0"},
                              {"libxkbcommon.so.0", "libxkbcommon0"}};

// What every desktop has and has to fit itself: the C library and C++'s, what talks to its X server, Wayland
// compositor, graphics driver, sound server and message bus, its fonts and settings. Theirs are at least as
// new as these (glibc 2.36 says so) and keep old programs going; ours beside its drivers would not. What such
// a library needs is the desktop's too.
constexpr const char* kDesktops[] = {"libc.so.6",
                                     "libm.so.6",
                                     "libdl.so.2",
                                     "libpthread.so.0",
                                     "librt.so.1",
                                     "libresolv.so.2",
                                     "libutil.so.1",
                                     "libgcc_s.so.1",
                                     "libstdc++.so.6",
                                     "libX11.so.6",
                                     "libX11-xcb.so.1",
                                     "libxcb.so.1",
                                     "libwayland-client.so.0",
                                     "libwayland-cursor.so.0",
                                     "libwayland-egl.so.1",
                                     "libGL.so.1",
                                     "libEGL.so.1",
                                     "libgbm.so.1",
                                     "libdrm.so.2",
                                     "libasound.so.2",
                                     "libpulse.so.0",
                                     "libdbus-1.so.3",
                                     "libsystemd.so.0",
                                     "libfontconfig.so.1",
                                     "libfreetype.so.6",
                                     "libharfbuzz.so.0",
                                     "libglib-2.0.so.0",
                                     "libgobject-2.0.so.0",
                                     "libgio-2.0.so.0"};

constexpr const char* kFirmware[] = {"seabios/bios-256k.bin", "seabios/vgabios-stdvga.bin"};

base::Result<> stop(const fs::path& what, const std::error_code& error) {
    if (error == std::errc::file_too_large)
        return base::fail(
            fmt::format("{} is too large for that file system, which may be FAT (4 GB at most); format it as "
                        "exFAT or ext4",
                        what.string()),
            appliance_format::kIo);
    return base::fail(fmt::format("cannot write {}: {}", what.string(), error.message()),
                      appliance_format::kIo);
}

// Where a library is that this process has loaded.
std::string place_of(void* handle) {
    link_map* map = nullptr;
    return ::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr ? map->l_name : "";
}

base::Result<Libraries> libraries_of_desktops() {
    Libraries all;
    for (const char* name : kDesktops) {
        void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
        if (handle == nullptr)
            continue; // not here, so nothing that is here needs it
        const std::string place = place_of(handle);
        all[name] = place;
        all.merge(TRY(needed_libraries(place)));
    }
    return all;
}

base::Result<Libraries> libraries_to_carry(const std::vector<std::string>& programs) {
    Libraries all;
    for (const std::string& program : programs)
        all.merge(TRY(needed_libraries(program)));
    for (const auto& [name, package] : kLoaded) {
        void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
        if (handle == nullptr)
            return base::fail(fmt::format(
                "{} is missing, which the folder is to carry; install the package {}", name, package));
        all[name] = place_of(handle);
        all.merge(TRY(needed_libraries(all[name])));
    }
    const Libraries desktops = TRY(libraries_of_desktops());
    std::erase_if(all, [&](const auto& one) { return desktops.contains(one.first); });
    return all;
}

struct Copy {
    fs::path from, to; // `to` below the folder
    bool program = false;
};

class Folder {
  public:
    Folder(fs::path root, const std::function<bool(uint64_t, uint64_t)>& progress)
        : root_(std::move(root)), progress_(progress) {}

    void add(const fs::path& from, const fs::path& to, bool program = false) {
        copies_.push_back({from, to, program});
    }

    base::Result<uint64_t> write() {
        uint64_t total = 0;
        for (const Copy& copy : copies_) {
            std::error_code error;
            total += fs::file_size(copy.from, error);
            if (error)
                return base::fail(fmt::format("cannot read {}: {}", copy.from.string(), error.message()));
        }
        uint64_t done = 0;
        for (const Copy& copy : copies_) {
            TRY(write(copy));
            done += fs::file_size(copy.from);
            if (progress_ && !progress_(done, total))
                return base::fail(fmt::format("stopped; {} is not whole", root_.string()),
                                  appliance_format::kCancelled);
        }
        return total;
    }

    base::Result<> write_text(const fs::path& to, const std::string& text) const {
        TRY(make_room(to));
        auto out = TRY(appliance_format::OutputFile::create(root_ / to));
        TRY(appliance_format::write_all(
            out.fd(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, root_ / to));
        return out.commit();
    }

  private:
    base::Result<> make_room(const fs::path& to) const {
        std::error_code error;
        fs::create_directories((root_ / to).parent_path(), error);
        return error ? stop(root_ / to, error) : base::Result<>{};
    }

    base::Result<> write(const Copy& copy) const {
        const fs::path to = root_ / copy.to;
        TRY(make_room(copy.to));
        std::error_code error;
        if (fs::equivalent(copy.from, to, error))
            return {};
        error.clear();
        // No links: sticks' file systems may have none.
        fs::copy_file(copy.from, to, fs::copy_options::overwrite_existing, error);
        if (error)
            return stop(to, error);
        ::chmod(to.c_str(), copy.program ? 0755 : 0644); // where there are such permissions
        return {};
    }

    fs::path root_;
    const std::function<bool(uint64_t, uint64_t)>& progress_;
    std::vector<Copy> copies_;
};

// A program of ours, made to look for libraries in the folder.
base::Result<> put_program(const Folder& folder, const fs::path& root, const std::string& program) {
    constexpr size_t kMost = size_t{256} << 20;
    std::string image = TRY(signing::read_small_file(program, kMost));
    TRY(set_run_path(image));
    const fs::path to = fs::path("player/bin") / fs::path(program).filename();
    TRY(folder.write_text(to, image));
    ::chmod((root / to).c_str(), 0755);
    return {};
}

// Debian's statement about each package that something was taken from.
base::Result<bool> add_licences(Folder& folder, const std::set<std::string>& files) {
    // By their last parts: /lib is a link to /usr/lib on some systems, and in packages on others.
    std::vector<std::string> question{"-S"};
    for (const std::string& file : files)
        question.push_back("*/" + fs::path(file).filename().string());
    const auto owners = output_of("/usr/bin/dpkg-query", question);
    if (!owners)
        return false;
    std::set<std::string> packages; // of lines such as "zlib1g:amd64: /lib/x86_64-linux-gnu/libz.so.1"
    std::istringstream lines(*owners);
    for (std::string line; std::getline(lines, line);)
        packages.insert(line.substr(0, line.find_first_of(":,")));
    for (const std::string& package : packages) {
        std::error_code error;
        const fs::path text = fs::path("/usr/share/doc") / package / "copyright";
        if (fs::exists(text, error))
            folder.add(fs::canonical(text), fs::path("player/licences") / (package + ".txt"));
    }
    return true;
}

} // namespace

base::Result<PortableSummary> write_portable(const std::string& folder,
                                             const std::vector<PortableBundle>& bundles,
                                             const std::function<bool(uint64_t, uint64_t)>& progress) {
    const fs::path root = fs::absolute(folder);
    std::error_code error;
    const bool ours = fs::exists(root / "player/start.sh", error);
    if (fs::exists(root / "player", error) && !ours)
        return base::fail(
            fmt::format("{} has a folder \"player\" that is not ours; name another folder", folder));

    PortableSummary summary;
    std::vector<std::string> programs;
    for (const char* name : {"encore", "encore-machine", "encore-network"}) {
        programs.push_back(find_program(name));
        if (programs.back().empty())
            return base::fail(
                fmt::format("{} is missing; make portable folders with an installed Encore", name));
    }
    if (const std::string kiosk = find_program("encore-kiosk"); !kiosk.empty()) {
        programs.push_back(kiosk);
        summary.with_kiosk = true;
    }
    const std::string start = prefix_folder() + "/lib/encore/start-portable";
    if (!fs::exists(start, error))
        return base::fail(
            fmt::format("{} is missing; make portable folders with an installed Encore", start));
    Libraries libraries;
    for (const auto& [name, place] : TRY(libraries_to_carry(programs)))
        libraries[name] = fs::canonical(place, error);
    if (ours) // of an older one; nothing may mix
        for (const char* part : {"bin", "lib", "share", "trust", "licences"})
            fs::remove_all(root / "player" / part, error);

    Folder out(root, progress);
    std::set<std::string> foreign;
    for (const auto& [name, place] : libraries) {
        out.add(place, fs::path("player/lib") / name);
        foreign.insert(place);
    }
    for (const char* file : kFirmware) {
        out.add(find_data(file), fs::path("player/share") / file);
        foreign.insert(find_data(file));
    }
    for (const char* language : {"de", "ar"}) {
        const std::string catalog = fmt::format("locale/{}/LC_MESSAGES/encore-kiosk.mo", language);
        if (const std::string file = find_data(catalog); summary.with_kiosk && fs::exists(file, error))
            out.add(file, fs::path("player/share") / catalog);
    }
    out.add(start, "start-encore", true);
    out.add(find_data("encore/portable/start.sh"), "player/start.sh", true);
    out.add(find_data("encore/portable/README.txt"), "README.txt");
    summary.libraries = libraries.size();
    summary.with_licences = TRY(add_licences(out, foreign));

    for (const std::string& program : programs)
        TRY(put_program(out, root, program));
    fs::create_directories(root / "player/trust", error);
    for (const PortableBundle& bundle : bundles) {
        out.add(fs::absolute(bundle.path), fs::path(bundle.path).filename());
        TRY(out.write_text(fs::path("player/trust") / (bundle.fingerprint + ".pem"), bundle.certificate_pem));
    }
    summary.bytes = TRY(out.write());
    return summary;
}

} // namespace player
