// A folder that plays bundles on other computers without being installed there: our programs, the libraries
// that a desktop may lack, firmware, translations, and a program to start with. It is a prefix like /usr
// (installed_files.h), so what runs in it finds everything as ever.
#pragma once
#include "vmm/base/result.h"

#include <functional>
#include <string>
#include <vector>

namespace player {

struct PortableBundle {
    std::string path;
    std::string certificate_pem; // its publisher, whom the folder trusts
    std::string fingerprint;
};

struct PortableSummary {
    size_t libraries = 0;
    uint64_t bytes = 0;      // without the bundles
    bool with_kiosk = false; // it was installed with this program
    bool with_licences = false;
};

// Makes the folder, or brings an older one up to date. progress(done, total) bytes; false stops it. Errors:
// it holds other things; something to copy is not installed; the disk.
base::Result<PortableSummary>
write_portable(const std::string& folder, const std::vector<PortableBundle>& bundles,
               const std::function<bool(uint64_t done, uint64_t total)>& progress);

} // namespace player
