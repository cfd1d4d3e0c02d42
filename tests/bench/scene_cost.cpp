// What a second scene costs: a session at the bundle's scene is used for a while, then captured. scene_cost
// BUNDLE.encore SECONDS KEY CERT; the bundle gets the scene, so give a copy. Prints one "name value" a line.
// Under tests/bench/scene.
#include "player/session.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sys/mman.h>
#include <zstd.h>

namespace {

using Clock = std::chrono::steady_clock;

uint64_t status_kib(const char* field) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with(field))
            return std::stoull(line.substr(std::string(field).size() + 1));
    return 0;
}

// From now on VmHWM is the peak from now on (proc(5), clear_refs).
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

struct Changed {
    size_t pages = 0;
    uint64_t bytes = 0; // each as zstd -3 makes it

    // Memory of the machine against what the scene has at `offset`.
    base::Result<> compare(const uint8_t* now, const appliance_format::BlobReader& scene, uint64_t offset) {
        std::array<uint8_t, vmm::kPageSize> before{};
        std::array<uint8_t, vmm::kPageSize + 1024> packed{};
        TRY(scene.read(offset, before));
        if (std::equal(before.begin(), before.end(), now) || vmm::is_zero_page(now))
            return {};
        ++pages;
        const size_t size = ZSTD_compress(packed.data(), packed.size(), now, vmm::kPageSize, 3);
        bytes += std::min<size_t>(size, vmm::kPageSize);
        return {};
    }
};

// RAM and video memory that differ from the scene's. The machine is at rest.
base::Result<Changed> changed_pages(player::Session& session, const appliance_format::BlobReader& ram,
                                    const appliance_format::BlobReader& video) {
    machine::Client& machine = *session.machine();
    Changed changed;
    const auto compare = [&](const std::vector<uint32_t>& pages, int fd,
                             const appliance_format::BlobReader& scene) -> base::Result<> {
        std::array<uint8_t, vmm::kPageSize> now{};
        for (const uint32_t page : pages) {
            const uint64_t offset = uint64_t{page} << vmm::kPageShift;
            if (::pread(fd, now.data(), now.size(), static_cast<off_t>(offset)) !=
                static_cast<ssize_t>(now.size()))
                return base::fail("what the machine holds cannot be read");
            TRY(changed.compare(now.data(), scene, offset));
        }
        return {};
    };
    std::vector<base::UniqueFd> files;
    std::vector<int> numbers;
    for (size_t i = 0; i < 2 + session.manifest().media.size(); ++i) {
        files.emplace_back(::memfd_create("frozen", MFD_CLOEXEC));
        numbers.push_back(files.back().get());
    }
    const machine::Frozen frozen = TRY(machine.freeze(numbers));
    TRY(compare(frozen.ram, numbers[0], ram));
    TRY(compare(frozen.video, numbers[1], video));
    return changed;
}

base::Result<> run(const std::string& path, double seconds, const char* key, const char* certificate) {
    player::SessionOptions options;
    options.bundle = path;
    options.author = std::make_shared<const signing::Signer>(
        TRY(signing::Signer::load(key, certificate, std::time(nullptr))));
    auto session = TRY(player::Session::open(std::move(options)));
    const appliance_format::Scene* scene = session->manifest().find_scene(session->scene());
    if (scene == nullptr)
        return base::fail(path + " does not begin at a scene");
    auto bundle = TRY(appliance_format::Bundle::open(path));
    TRY(bundle->authenticate(signing::TrustStore::standard(std::time(nullptr))));
    const auto ram = TRY(bundle->open_blob(scene->ram)), video = TRY(bundle->open_blob(scene->video));
    session->start();
    // Somebody who looks around in what is there, and goes on.
    static constexpr const char* kKeys[] = {"down", "pagedown", "up", "end",  "home", "g",
                                            "down", "pageup",   "up", "down", "tab",  "enter"};
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    for (size_t i = 0; Clock::now() < end && session->poll() == player::SessionEnd::None; ++i) {
        TRY(session->typist().press(kKeys[i % std::size(kKeys)]));
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    session->machine()->pause();
    const Changed changed = TRY(changed_pages(*session, ram, video));
    session->machine()->start();
    const uint64_t size = std::filesystem::file_size(path);
    forget_peak();
    const uint64_t resident = status_kib("VmRSS:");
    const auto before = Clock::now();
    TRY(session->capture_as_author("second"));
    const std::chrono::duration<double> took = Clock::now() - before;
    fmt::print("changed_pages {}\nchanged_bytes {}\ngrowth {}\n", changed.pages, changed.bytes,
               std::filesystem::file_size(path) - size);
    fmt::print("rested_ms {:.0f}\ncapture_ms {:.0f}\nextra_kib {}\n",
               static_cast<double>(session->last_pause().count()) / 1e3, took.count() * 1e3,
               status_kib("VmHWM:") - std::min(resident, status_kib("VmHWM:")));
    return {};
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 5)
        return 2;
    if (auto done = run(argv[1], std::atof(argv[2]), argv[3], argv[4]); !done) {
        std::fprintf(stderr, "%s\n", done.error().message.c_str());
        return 1;
    }
    return 0;
}
