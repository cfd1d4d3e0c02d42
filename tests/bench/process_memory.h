// How much memory and processor time this process uses, as the kernel counts it.
#pragma once
#include <cstdint>
#include <string_view>

namespace bench {

struct ProcessMemory {
    uint64_t guest_kib = 0;      // pages the guest has touched: allocated blocks of its RAM file
    uint64_t beyond_kib = 0;     // everything else: heap, code cache, libraries, page tables
    uint64_t page_table_kib = 0; // of which host page tables
    uint64_t mapping_count = 0;  // against vm.max_map_count
};

// `guest_file` is the name guest RAM's memfd was created with.
ProcessMemory measure_memory(std::string_view guest_file);

// User and system time of all threads so far, in seconds.
double processor_seconds();

} // namespace bench
