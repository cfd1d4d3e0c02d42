// A name that passes stays inside any folder it is joined to, and can be printed.
#include "appliance-format/safe_path.h"
#include "vmm/base/verify.h"

#include <cstdint>
#include <filesystem>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::string_view name{reinterpret_cast<const char*>(data), size};
    (void)appliance_format::is_plain_text(name, 64, appliance_format::Lines::Many);
    VERIFY(!appliance_format::is_simple_name(name) || appliance_format::is_safe_path(name));
    if (appliance_format::is_safe_path(name)) {
        std::filesystem::path path = std::filesystem::path("/folder") / name;
        VERIFY(path == path.lexically_normal() && path.string().starts_with("/folder/") &&
               path.string() != "/folder/");
        for (char c : name)
            VERIFY(c > 0x20 && c < 0x7F);
    }
    return 0;
}
