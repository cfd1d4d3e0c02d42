// The engine's signal handlers are installed once and must stay: Catch would put its own over them at each
// test case.
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
