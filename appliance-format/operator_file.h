// The file by which whoever runs a computer tightens what publishers allow, and sets up kiosks and the log:
//
//   [policy]                  # for every appliance
//   max_minutes = 20
//   [appliance.acme-demo]     # for one; the only place for "scenes"
//   scenes = ["start"]
//   [log]
//   sessions = true           # `encore run` writes the operations log too
//   [trust]
//   by_hand = false          # only the administrator adds trusted publishers
//   ask = "the IT desk, room 12"   # who does, for messages
//   [kiosk]
//   catalog = "/srv/demos"
//
// Unknown sections and keys are errors: a misspelt rule would be one that does not hold.
#pragma once
#include "appliance-format/policy.h"
#include "vmm/base/result.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

struct OperatorFile {
    std::string path;
    std::vector<OperatorPolicy> policies;
    std::optional<bool> log_sessions;
    std::optional<uint32_t> log_kilobytes; // a log file's size before it is put aside
    std::optional<uint32_t> log_files;     // how many of those are kept
    std::optional<bool> trust_by_hand;     // [trust]: may people say here whom they trust?
    std::string trust_ask;                 // ... and who is to be asked; empty: not stated
    // [kiosk]: what the launcher reads, texts and numbers, by key.
    std::map<std::string, std::string> kiosk_texts;
    std::map<std::string, uint32_t> kiosk_numbers;
};

// Errors: kBadRecipe, as "operator.toml:12: what is wrong". `path` is for messages.
base::Result<OperatorFile> parse_operator_file(std::string_view text, const std::string& path);

} // namespace appliance_format
