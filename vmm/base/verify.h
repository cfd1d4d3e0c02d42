// VERIFY: a broken invariant of ours. On in release builds; prints where and aborts.
#pragma once

namespace base {
[[noreturn]] void verify_failed(const char* expression, const char* file, int line);
}

#define VERIFY(expression)                                                                                   \
    (__builtin_expect(static_cast<bool>(expression), 1)                                                      \
         ? static_cast<void>(0)                                                                              \
         : base::verify_failed(#expression, __FILE__, __LINE__))
