#include "appliance-format/recipe.h"
#include "vmm/base/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto recipe = appliance_format::parse_recipe({reinterpret_cast<const char*>(data), size}, "r.toml");
    VERIFY(recipe || recipe.error().message.starts_with("r.toml:"));
    return 0;
}
