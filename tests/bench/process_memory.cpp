// Guest RAM is mapped many times over (once per window), so resident set size counts its pages repeatedly.
// Pss divides each page by the number of its mappings, and the guest's file is left out of the sum; what the
// guest touched is the number of blocks its file has allocated.
#include "tests/bench/process_memory.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>

namespace bench {
namespace {

uint64_t allocated_kib(std::string_view file) {
    const std::string wanted = "/memfd:" + std::string(file);
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
        const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
        struct stat status {};
        if (!error && target.starts_with(wanted) && ::stat(entry.path().c_str(), &status) == 0)
            return static_cast<uint64_t>(status.st_blocks) / 2; // blocks of 512 bytes
    }
    return 0;
}

uint64_t value_kib(const std::string& line) {
    std::istringstream words(line);
    std::string key;
    uint64_t value = 0;
    words >> key >> value;
    return value;
}

} // namespace

ProcessMemory measure_memory(std::string_view guest_file) {
    ProcessMemory result;
    const std::string guest = "/memfd:" + std::string(guest_file);
    std::ifstream maps("/proc/self/smaps");
    bool of_guest = false;
    for (std::string line; std::getline(maps, line);) {
        // A mapping's first line starts with its address range; the attributes that follow with a capital.
        if (!line.empty() && (std::isdigit(line[0]) || (line[0] >= 'a' && line[0] <= 'f'))) {
            of_guest = line.find(guest) != std::string::npos;
            result.mapping_count++;
        } else if (line.starts_with("Pss:") && !of_guest) {
            result.beyond_kib += value_kib(line);
        }
    }
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmPTE:"))
            result.page_table_kib = value_kib(line);
    result.beyond_kib += result.page_table_kib;
    result.guest_kib = allocated_kib(guest_file);
    return result;
}

double processor_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

} // namespace bench
