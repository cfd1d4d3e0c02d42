// JSON in tests. Read and written by json_text.cpp, by Catch too when it prints a value: each file that did
// it by itself would take seconds more to compile.
#pragma once
#include "appliance-format/json_text.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

template <> struct Catch::StringMaker<nlohmann::json> {
    static std::string convert(const nlohmann::json& value) { return appliance_format::json_text(value); }
};

// What must be JSON.
inline nlohmann::json json_of(const std::string& text) {
    nlohmann::json value = appliance_format::parse_json(text);
    INFO(text);
    REQUIRE_FALSE(value.is_discarded());
    return value;
}
