// Fallible host operations: Result<T> carries a value or an Error that a person can act on.
// Guest faults are not errors; they travel as vmm::GuestResult (vmm/arch/fault.h).
#pragma once
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace base {

// What failed, where, and what to do next, in one line, without internal names.
struct Error {
    int code = 1; // per-module enum value; the player maps it to an exit status
    std::string message;
};

template <class T = void> using Result = tl::expected<T, Error>;

[[nodiscard]] inline tl::unexpected<Error> fail(std::string message, int code = 1) {
    return tl::make_unexpected(Error{code, std::move(message)});
}

} // namespace base

// Evaluates to the value of an expected-like expression, or returns its error from the function.
#define TRY(expression)                                                                                      \
    ({                                                                                                       \
        auto&& try_result_ = (expression);                                                                   \
        if (!try_result_)                                                                                    \
            return tl::make_unexpected(std::move(try_result_).error());                                      \
        base::detail::take(std::move(try_result_));                                                          \
    })

namespace base::detail {
template <class T, class E> T take(tl::expected<T, E>&& r) { return *std::move(r); }
template <class E> void take(tl::expected<void, E>&&) {}
} // namespace base::detail
