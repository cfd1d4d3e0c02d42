#include "player/machine/walls.h"

#include "vmm/base/thread_work.h"
#include "vmm/base/verify.h"
#include "vmm/jail/filters/filters.h"
#include "vmm/jail/room.h"

#include <array>
#include <cstring>
#include <optional>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace machine {
namespace {

// Windows are 4 TiB of address space, nearly all of it nothing (vmm/memory/windows.h).
constexpr uint64_t kAddressSpace = uint64_t{6} << 40;
// Of private memory, beside as much as the guest has: a kernel and its initial RAM disk as they are read,
// what is known of translated code, chunks of the bundle, a state that is saved.
constexpr uint64_t kPrivateMemory = uint64_t{3} << 30;

struct Wall {
    const char* name;
    const jail::CallTable& calls;
    std::optional<jail::Filter> filter{};
};
std::array walls_of{
    Wall{"orders", jail::kMachineOrdersCalls}, Wall{"requests", jail::kMachineRequestsCalls},
    Wall{"events", jail::kMachineEventsCalls}, Wall{"vcpu", jail::kMachineVcpuCalls},
    Wall{"disk", jail::kMachineDiskCalls},     Wall{"read-ahead", jail::kMachineReadAheadCalls},
    Wall{"cable", jail::kMachineCableCalls}};

void close_wall(std::string_view name, int descriptor) {
    for (const Wall& wall : walls_of) {
        if (name != wall.name)
            continue;
        if (::gettid() != ::getpid()) // whose name is the process'
            ::prctl(PR_SET_NAME, wall.name, 0, 0, 0);
        jail::Filter filter = *wall.filter;
        filter.fill_in(jail::kOwnDescriptor, static_cast<uint32_t>(descriptor));
        VERIFY(filter.install());
        return;
    }
    VERIFY(false); // work that no table knows
}

void limit(__rlimit_resource what, uint64_t most) {
    const rlimit value{most, most};
    VERIFY(::setrlimit(what, &value) == 0);
}

} // namespace

base::Result<jail::Walls> wall_in(int descriptors) {
    const jail::Walls walls = TRY(jail::enter({.descriptors = descriptors,
                                               .calls = jail::kMachineCalls,
                                               .memory = kAddressSpace,
                                               .files = 128,
                                               .file_size = kMostFile,
                                               .threads = 48}));
    if (!walls.filter)
        return base::fail("this kernel has no seccomp filters");
    for (Wall& wall : walls_of) {
        wall.filter = TRY(jail::Filter::compile(wall.calls));
        wall.filter->fill_in(jail::kOwnProcess, static_cast<uint32_t>(::getpid()));
    }
    base::work_hook = close_wall;
    return walls;
}

void close_walls(uint64_t largest, uint64_t memory) {
    limit(RLIMIT_FSIZE, largest);
    if (jail::kLimitsMemory)
        limit(RLIMIT_DATA, memory + kPrivateMemory);
    base::begin_work("orders");
}

} // namespace machine
