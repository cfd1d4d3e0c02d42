#include "player/operator_settings.h"

#include "player/user_folders.h"
#include "signing/small_file.h"

#include <cerrno>
#include <fmt/format.h>
#include <unistd.h>

namespace player {

namespace format = appliance_format;

base::Result<std::vector<format::OperatorFile>> load_operator_files() {
    std::vector<std::string> folders = system_config_folders();
    if (auto own = config_folder())
        folders.push_back(std::move(*own));
    std::vector<format::OperatorFile> files;
    for (const std::string& folder : folders) {
        const std::string path = folder + "/operator.toml";
        if (::access(path.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
            continue;
        files.push_back(TRY(format::parse_operator_file(TRY(signing::read_small_file(path)), path)));
    }
    return files;
}

format::EffectivePolicy effective_policy(const format::Manifest& manifest,
                                         std::span<const format::OperatorFile> files) {
    return effective_policy(manifest, manifest.policy, files);
}

format::EffectivePolicy effective_policy(const format::Manifest& manifest, const format::Policy& publishers,
                                         std::span<const format::OperatorFile> files) {
    std::vector<std::string> scenes;
    for (const format::Scene& scene : manifest.scenes)
        scenes.push_back(scene.name);
    std::vector<format::OperatorPolicy> policies;
    for (const format::OperatorFile& file : files)
        policies.insert(policies.end(), file.policies.begin(), file.policies.end());
    return format::EffectivePolicy::merge(publishers, manifest.appliance.name, scenes, policies);
}

base::Result<void> check_trust_by_hand(std::span<const format::OperatorFile> files) {
    for (const format::OperatorFile& file : files)
        if (!file.trust_by_hand.value_or(true))
            return base::fail(fmt::format("only this computer's operator may trust publishers ({}); ask {}",
                                          file.path,
                                          file.trust_ask.empty() ? "the operator" : file.trust_ask),
                              kRefused);
    return {};
}

bool wants_log(std::span<const format::OperatorFile> files) {
    bool wanted = false;
    for (const format::OperatorFile& file : files)
        wanted = file.log_sessions.value_or(wanted);
    return wanted;
}

base::Result<std::shared_ptr<OperationsLog>> open_log(std::span<const format::OperatorFile> files) {
    OperationsLog::Options options;
    for (const format::OperatorFile& file : files) {
        if (file.log_kilobytes)
            options.file_bytes = uint64_t{*file.log_kilobytes} << 10;
        options.files = file.log_files.value_or(options.files);
    }
    return std::shared_ptr<OperationsLog>(TRY(OperationsLog::open(std::move(options))));
}

} // namespace player
