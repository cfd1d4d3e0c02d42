#include "vmm/jail/filter.h"

#include "vmm/base/unique_fd.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <linux/seccomp.h>
#include <memory>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace jail {
namespace {

uint32_t action(Answer answer) {
    switch (answer) {
    case Answer::Allow:
        return SCMP_ACT_ALLOW;
    case Answer::Refuse:
        return SCMP_ACT_ERRNO(EPERM);
    case Answer::Unknown:
        return SCMP_ACT_ERRNO(ENOSYS);
    case Answer::Ask:
        return SCMP_ACT_TRAP;
    case Answer::Kill:
        break;
    }
    return SCMP_ACT_KILL_PROCESS;
}

scmp_arg_cmp comparison(const Condition& condition) {
    switch (condition.kind) {
    case Condition::Kind::Equals:
        return {condition.argument, SCMP_CMP_EQ, condition.value, 0};
    case Condition::Kind::Differs:
        return {condition.argument, SCMP_CMP_NE, condition.value, 0};
    case Condition::Kind::BitsAre:
    case Condition::Kind::Always:
        break;
    }
    return {condition.argument, SCMP_CMP_MASKED_EQ, condition.mask, condition.value};
}

} // namespace

base::Result<Filter> Filter::compile(const CallTable& table) {
    const auto wrong = [](const char* what, int call, int error) {
        return base::fail(
            fmt::format("the filter of system calls: {} {}: {}", what, call, std::strerror(-error)));
    };
    const std::unique_ptr<void, void (*)(void*)> made(::seccomp_init(action(table.rest)), ::seccomp_release);
    if (!made)
        return wrong("cannot be begun", 0, -ENOMEM);
    // 32-bit calls and x32's reach the same kernel by other numbers.
    ::seccomp_attr_set(made.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    constexpr uint32_t kBinaryTree = 2;
    ::seccomp_attr_set(made.get(), SCMP_FLTATR_CTL_OPTIMIZE, kBinaryTree);
    for (const Line& line : table.lines) {
        if (line.answer == table.rest) // which the library does not take for a rule
            continue;
        std::array<scmp_arg_cmp, 3> when{};
        unsigned count = 0;
        for (const Condition& condition : line.when)
            if (condition.kind != Condition::Kind::Always)
                when[count++] = comparison(condition);
        const int error =
            ::seccomp_rule_add_exact_array(made.get(), action(line.answer), line.call, count, when.data());
        if (error != 0)
            return wrong("cannot be told of call", line.call, error);
    }
    const base::UniqueFd file(::memfd_create("filter", MFD_CLOEXEC));
    if (const int error = ::seccomp_export_bpf(made.get(), file.get()); error != 0)
        return wrong("cannot be written to file", file.get(), error);
    struct stat info {};
    Filter filter;
    if (::fstat(file.get(), &info) != 0)
        return wrong("cannot be read from file", file.get(), -errno);
    filter.steps_.resize(static_cast<size_t>(info.st_size) / sizeof(sock_filter));
    if (::pread(file.get(), filter.steps_.data(), static_cast<size_t>(info.st_size), 0) != info.st_size)
        return wrong("cannot be read from file", file.get(), -EIO);
    return filter;
}

void Filter::fill_in(uint64_t placeholder, uint32_t value) {
    for (sock_filter& step : steps_)
        if (step.k == placeholder && BPF_CLASS(step.code) == BPF_JMP)
            step.k = value;
}

bool Filter::install() const {
    const sock_fprog text{static_cast<unsigned short>(steps_.size()),
                          const_cast<sock_filter*>(steps_.data())}; // which the kernel only reads
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &text) == 0;
}

} // namespace jail
