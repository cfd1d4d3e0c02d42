// What a thread is for. Each of ours says so when it begins its work, so that a process that is walled in can
// leave it what that work takes and no more.
#pragma once
#include <atomic>
#include <string_view>

namespace base {

// `descriptor`: the one that this work is about; -1: none.
using WorkHook = void (*)(std::string_view name, int descriptor);
inline std::atomic<WorkHook> work_hook{nullptr}; // null: nobody wants to know

inline void begin_work(std::string_view name, int descriptor = -1) {
    if (const WorkHook hook = work_hook.load(); hook != nullptr)
        hook(name, descriptor);
}

} // namespace base
