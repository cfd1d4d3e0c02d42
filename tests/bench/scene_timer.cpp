// One session at a scene, timed from the moment its process was started: scene_timer BUNDLE [--reverts N]
// [--pages N] [--window]. ENCORE_STARTED holds CLOCK_MONOTONIC in ns from just before the exec. Prints one
// "name value" a line; times in milliseconds. Under tests/bench/scene. By hand, --growth-every N also says
// where memory is after each N reverts; digests are compared then only.
#include "player/display.h"
#include "player/session.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <random>

namespace {

double now_ms() {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

double percentile(std::vector<double> values, double which) {
    std::ranges::sort(values);
    return values[std::min(values.size() - 1,
                           static_cast<size_t>(which * static_cast<double>(values.size())))];
}

// `process`: a folder of /proc.
uint64_t resident_kib(const std::string& process) {
    std::ifstream status(process + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmRSS:"))
            return std::stoull(line.substr(6));
    return 0;
}

size_t entries(const std::string& directory) {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()));
}

size_t count_mappings(const std::string& process) {
    std::ifstream maps(process + "/maps");
    size_t count = 0;
    for (std::string line; std::getline(maps, line);)
        ++count;
    return count;
}

struct Peaks {
    int64_t kib = 0, mappings = 0, files = 0, threads = 0;
    // The player's and the machine's process together.
    void take(const std::string& machine) {
        int64_t now_kib = 0, now_mappings = 0, now_files = 0, now_threads = 0;
        for (const std::string& process : {std::string("/proc/self"), machine}) {
            now_kib += static_cast<int64_t>(resident_kib(process));
            now_mappings += static_cast<int64_t>(count_mappings(process));
            now_files += static_cast<int64_t>(entries(process + "/fd"));
            now_threads += static_cast<int64_t>(entries(process + "/task"));
        }
        kib = std::max(kib, now_kib);
        mappings = std::max(mappings, now_mappings);
        files = std::max(files, now_files);
        threads = std::max(threads, now_threads);
    }
};

// Where the machine's resident memory is, in KiB, and what of it is known by counters.
void print_growth(unsigned reverts, machine::Client& machine) {
    const std::string process = fmt::format("/proc/{}", machine.process());
    uint64_t guest = 0, code = 0, heap = 0, files = 0, anonymous = 0;
    uint64_t* which = &anonymous;
    std::ifstream smaps(process + "/smaps");
    for (std::string line; std::getline(smaps, line);) {
        const size_t name = line.find_first_of("/[");
        if (line.find('-') < line.find(' ') && line.find(':') > line.find(' ')) {
            if (line.find("memfd:encore-guest") != line.npos)
                which = &guest;
            else if (line.find("memfd:encore-code") != line.npos)
                which = &code;
            else if (line.find("[heap]") != line.npos)
                which = &heap;
            else
                which = name == line.npos ? &anonymous : &files;
        } else if (line.starts_with("Rss:")) {
            *which += std::stoull(line.substr(4));
        }
    }
    const vmm::CodeUse use = machine.code_use();
    fmt::print("after {}: rss {} KiB = guest {} + code {} + heap {} + anonymous {} + files {}; {} mappings; "
               "code cache {} KiB, {} translated, {} revived, {} invalidated, {} flushes\n",
               reverts, resident_kib(process), guest, code, heap, anonymous, files, count_mappings(process),
               use.bytes >> 10, use.translated, use.revived, use.invalidated, use.flushes);
    std::fflush(stdout);
}

// A plain copy of as many scattered pages, the yardstick.
double memcpy_ms(uint8_t* to, const uint8_t* from, std::vector<uint32_t> pages) {
    std::ranges::sort(pages);
    const double before = now_ms();
    for (size_t i = 0; i < pages.size(); ++i)
        std::memcpy(to + (size_t{pages[i]} << 12), from + (i << 12), 4096);
    return now_ms() - before;
}

// `every`: prints where memory is after each so many reverts, and only then checks the digests.
int time_reverts(player::Session& session, unsigned reverts, uint32_t pages, unsigned every) {
    const auto machine = session.machine();
    const uint64_t ram_bytes = session.manifest().machine.memory;
    const auto all = static_cast<uint32_t>(ram_bytes >> vmm::kPageShift);
    std::mt19937 random(1);
    std::vector<uint32_t> dirty(pages);
    for (uint32_t& page : dirty)
        page = random() % all;
    std::vector<uint8_t> copies(size_t{pages} << 12, 1), target(ram_bytes, 1);
    std::vector<double> times, plain;
    std::string receipt;
    Peaks peaks[2]; // of the first half and of the second: mappings and resident pages come and go
    for (unsigned i = 0; i < reverts; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        machine->pause();
        for (const uint32_t page : dirty)
            machine->write<uint32_t>(page << vmm::kPageShift, i);
        // Hashes everything that was touched against the signed roots, after the time that is noted.
        const bool row = every != 0 && (i + 1) % every == 0;
        auto done = every == 0 || row ? session.revert_with_receipt() : base::Result<std::string>(receipt);
        if (every != 0 && !row)
            if (auto reverted = session.revert(); !reverted)
                done = tl::make_unexpected(reverted.error());
        if (!done) {
            std::fprintf(stderr, "revert %u: %s\n", i, done.error().message.c_str());
            return 1;
        }
        receipt = *done;
        if (row)
            print_growth(i + 1, *machine);
        times.push_back(static_cast<double>(session.last_revert().count()) / 1e3);
        plain.push_back(memcpy_ms(target.data(), copies.data(), dirty));
        peaks[i < reverts / 2 ? 0 : 1].take(fmt::format("/proc/{}", machine->process()));
    }
    fmt::print("reverts {}\ndirty_pages {}\nmemcpy_median {:.2f}\nrevert_median {:.2f}\nrevert_p99 {:.2f}\n",
               reverts, pages, percentile(plain, .5), percentile(times, .5), percentile(times, .99));
    fmt::print("growth_kib {}\ngrowth_mappings {}\ngrowth_files {}\ngrowth_threads {}\n",
               peaks[1].kib - peaks[0].kib, peaks[1].mappings - peaks[0].mappings,
               peaks[1].files - peaks[0].files, peaks[1].threads - peaks[0].threads);
    fmt::print("pristine {}\nreceipt {}\n", every == 0 ? reverts : reverts / every, receipt);
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    const char* started_text = std::getenv("ENCORE_STARTED");
    const double started = started_text != nullptr ? std::atof(started_text) / 1e6 : now_ms();
    unsigned reverts = 0, every = 0;
    uint32_t pages = 20000;
    bool window = false;
    double run_seconds = 1;
    for (int i = 2; i < argc; ++i) {
        const std::string option = argv[i];
        if (option == "--window")
            window = true;
        else if (option == "--reverts" && i + 1 < argc)
            reverts = static_cast<unsigned>(std::atoi(argv[++i]));
        else if (option == "--growth-every" && i + 1 < argc)
            every = static_cast<unsigned>(std::atoi(argv[++i]));
        else if (option == "--pages" && i + 1 < argc)
            pages = static_cast<uint32_t>(std::atoi(argv[++i]));
        else if (option == "--run" && i + 1 < argc)
            run_seconds = std::atof(argv[++i]);
    }
    if (argc < 2)
        return 2;
    player::SessionOptions options;
    options.bundle = argv[1];
    auto opened = player::Session::open(std::move(options));
    if (!opened) {
        std::fprintf(stderr, "%s\n", opened.error().message.c_str());
        return 1;
    }
    player::Session& session = **opened;
    const double open_at = now_ms() - started;
    const auto machine = session.machine();
    machine->record_fetches();
    session.start();
    double first_frame = 0;
    std::unique_ptr<player::Display> display;
    if (window) {
        auto made = player::Display::open(session, {});
        if (!made) {
            std::fprintf(stderr, "%s\n", made.error().message.c_str());
            return 1;
        }
        display = std::move(*made);
        (void)display->frame();
    } else if (machine->picture().width == 0) {
        std::fprintf(stderr, "no picture\n");
        return 1;
    }
    first_frame = now_ms() - started;
    double running = 0;
    while (running == 0 && now_ms() - started < 10000) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (const uint64_t first = machine->fetches().first_ns; first != 0)
            running = static_cast<double>(first) / 1e6 - started;
    }
    fmt::print("open {:.1f}\nfirst_frame {:.1f}\nguest_running {:.1f}\n", open_at, first_frame, running);
    std::this_thread::sleep_for(std::chrono::duration<double>(run_seconds));
    fmt::print("pages_fetched {}\n", machine->fetches().pages.size());
    int status = 0;
    if (reverts != 0)
        status = time_reverts(session, reverts, pages, every);
    std::fflush(stdout);
    session.end();
    return status;
}
