#include "vmm/jail/walls.h"

#include <fmt/format.h>
#include <string_view>
#include <vector>

namespace jail {

std::string to_string(const Walls& walls) {
    std::vector<std::string_view> stand, missing;
    for (const auto& [there, name] : {std::pair(walls.namespaces, "user namespaces"),
                                      {walls.landlock, "Landlock"},
                                      {walls.filter, "seccomp"}})
        (there ? stand : missing).emplace_back(name);
    return fmt::format("{}{}{}", stand.empty() ? "none" : fmt::format("{}", fmt::join(stand, ", ")),
                       missing.empty() ? "" : "; not here: ", fmt::join(missing, ", "));
}

} // namespace jail
