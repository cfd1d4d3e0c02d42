// The operator's files of this computer and this user, read in the order in which they tighten:
// the administrator's (/etc/xdg/encore/operator.toml) first, then $XDG_CONFIG_HOME/encore/operator.toml.
#pragma once
#include "appliance-format/manifest.h"
#include "appliance-format/operator_file.h"
#include "player/operations_log.h"
#include "vmm/base/result.h"

#include <span>
#include <vector>

namespace player {

// The exit status of what the rules do not allow: a session that has expired, a scene, trusting by hand.
inline constexpr int kRefused = 11;

// A file that is not there says nothing; one that cannot be read or understood is an error, because what it
// was meant to forbid would otherwise be allowed.
base::Result<std::vector<appliance_format::OperatorFile>> load_operator_files();

// What holds for sessions with this manifest; `publishers`: instead of the rules in it.
[[nodiscard]] appliance_format::EffectivePolicy
effective_policy(const appliance_format::Manifest& manifest,
                 std::span<const appliance_format::OperatorFile> files);
[[nodiscard]] appliance_format::EffectivePolicy
effective_policy(const appliance_format::Manifest& manifest, const appliance_format::Policy& publishers,
                 std::span<const appliance_format::OperatorFile> files);

// Whether users may trust a publisher themselves (`encore trust add`). One file that forbids it is enough.
// Errors: kRefused, naming the file, and who is to be asked if it says so.
base::Result<void> check_trust_by_hand(std::span<const appliance_format::OperatorFile> files);

// [log] of the files, the user's own over the administrator's.
[[nodiscard]] bool wants_log(std::span<const appliance_format::OperatorFile> files);
base::Result<std::shared_ptr<OperationsLog>> open_log(std::span<const appliance_format::OperatorFile> files);

} // namespace player
