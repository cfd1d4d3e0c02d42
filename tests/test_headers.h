// What nearly every test includes, compiled once where ENCORE_PCH is on. Never included by name: a file says
// itself what it needs.
#pragma once
#include "vmm/base/common_headers.h"

#include <catch2/catch.hpp>
