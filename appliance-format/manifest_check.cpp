// What must hold in a manifest, whoever wrote it, before anything is sized or opened by it.
#include "appliance-format/manifest.h"

#include "appliance-format/format.h"
#include "appliance-format/safe_path.h"

#include <bit>
#include <fmt/format.h>
#include <set>
#include <string_view>

namespace appliance_format {

namespace {

// Critical features this reader understands beyond version 1, which has scenes and shared packs in it.
bool is_known(std::string_view feature) {
    return feature == kSessionRules || feature == kSoundDevice || feature == kNetworkCard;
}

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kMinMemory = 16 * kMiB, kMaxMemory = 64 * 1024 * kMiB;
constexpr size_t kMaxTitle = 200, kMaxVersion = 64, kMaxDescription = 4000, kMaxCmdline = 2048;

tl::unexpected<base::Error> bad(std::string text) { return base::fail(std::move(text), kDamaged); }

base::Result<> check_features(const Manifest& m) {
    for (const std::string& feature : m.critical_features) {
        if (!is_simple_name(feature))
            return bad("a feature name is malformed");
        if (!is_known(feature))
            return base::fail(fmt::format("needs a newer Encore (feature {})", feature), kUnsupported);
    }
    return {};
}

base::Result<> check_appliance(const Manifest& m) {
    if (!is_simple_name(m.appliance.name))
        return bad("the appliance's name is not of the form [a-z0-9-]");
    if (m.appliance.title.empty() || !is_plain_text(m.appliance.title, kMaxTitle, Lines::One))
        return bad("the appliance's title is empty, too long or has control characters");
    if (!is_plain_text(m.appliance.version, kMaxVersion, Lines::One))
        return bad("the appliance's version is too long or has control characters");
    if (!is_plain_text(m.appliance.description, kMaxDescription, Lines::Many))
        return bad("the appliance's description is too long or has control characters");
    if (m.machine.memory < kMinMemory || m.machine.memory > kMaxMemory || m.machine.memory % kMiB)
        return bad("the machine's memory is not a whole number of MiB from 16M to 64G");
    if (!m.machine.keyboard.empty() && !is_keyboard_name(m.machine.keyboard))
        return bad("the machine's keyboard is no layout's name");
    if (!is_plain_text(m.appliance.tagline, kMaxTagline, Lines::One) ||
        !is_plain_text(m.appliance.help, kMaxHelp, Lines::Many))
        return bad("the appliance's tagline or help is too long or has control characters");
    if (m.appliance.duration_minutes == 0u || m.appliance.duration_minutes > kMaxMinutes)
        return bad("the appliance's duration is out of range");
    if (const std::string fault = policy_fault(m.policy); !fault.empty())
        return bad(fmt::format("the manifest's policy: {}", fault));
    return {};
}

base::Result<> check_storage(const Manifest& m) {
    std::set<std::string_view> names;
    if (m.packs.size() > kMaxPacks || m.blobs.size() > kMaxBlobs || m.scenes.size() > kMaxScenes ||
        m.media.size() > kMaxMedia)
        return bad("the manifest lists too many things");
    for (const PackInfo& pack : m.packs) {
        if (!is_safe_path(pack.member) || !pack.member.starts_with("blobs/") ||
            !names.insert(pack.member).second)
            return bad("a pack has a name that is not allowed or is used twice");
        if (pack.size == 0 || pack.size > kMaxPackSize)
            return bad(fmt::format("member {} has a size out of range", pack.member));
    }
    names.clear();
    for (const BlobInfo& blob : m.blobs) {
        if (!is_safe_path(blob.name) || !names.insert(blob.name).second)
            return bad("a blob has a name that is not allowed or is used twice");
        if (blob.size > kMaxBlobSize || blob.chunk < kMinChunk || blob.chunk > kMaxChunk ||
            !std::has_single_bit(blob.chunk))
            return bad(fmt::format("blob {} has a size out of range", blob.name));
        const ObjectRef& root = blob.root;
        if (!root.is_zero() && (root.pack >= m.packs.size() || root.offset > m.packs[root.pack].size ||
                                root.stored > m.packs[root.pack].size - root.offset))
            return bad(fmt::format("blob {} lies outside the file", blob.name));
    }
    return {};
}

base::Result<> check_uses(const Manifest& m) {
    auto use = [&](const std::string& blob, std::string_view what) -> base::Result<> {
        if (!m.find_blob(blob))
            return bad(fmt::format("the {} has no data in the bundle", what));
        return {};
    };
    if (!m.appliance.picture.empty())
        TRY(use(m.appliance.picture, "picture"));
    if (!m.boot.kernel.empty())
        TRY(use(m.boot.kernel, "kernel"));
    if (!m.boot.initrd.empty())
        TRY(use(m.boot.initrd, "initrd"));
    if (m.boot.kernel.empty() && (!m.boot.initrd.empty() || !m.boot.cmdline.empty()))
        return bad("an initrd or command line needs a kernel");
    if (!is_plain_text(m.boot.cmdline, kMaxCmdline, Lines::One))
        return bad("the kernel's command line is too long or has control characters");
    std::set<MediaKind> order(m.boot.order.begin(), m.boot.order.end());
    if (order.size() != m.boot.order.size())
        return bad("the boot order names a kind of medium twice");
    for (const Medium& medium : m.media)
        TRY(use(medium.blob, "medium"));
    return {};
}

base::Result<> check_scenes(const Manifest& m) {
    std::set<std::string_view> names;
    for (const Scene& scene : m.scenes) {
        if (!is_simple_name(scene.name) || !names.insert(scene.name).second)
            return bad("a scene has a name that is not allowed or is used twice");
        if (!is_plain_text(scene.title, kMaxTitle, Lines::One))
            return bad(
                fmt::format("the title of scene {} is too long or has control characters", scene.name));
        if (!is_plain_text(scene.notes, kMaxNotes, Lines::Many))
            return bad(
                fmt::format("the notes of scene {} are too long or have control characters", scene.name));
        const BlobInfo* ram = m.find_blob(scene.ram);
        if (!ram || ram->size != m.machine.memory)
            return bad(
                fmt::format("the memory of scene {} is missing or not of the machine's size", scene.name));
        if (scene.media.size() != m.media.size())
            return bad(fmt::format("scene {} does not have the machine's media", scene.name));
        bool complete = m.find_blob(scene.devices) != nullptr;
        for (size_t i = 0; i < scene.media.size(); ++i) {
            const BlobInfo* medium = m.find_blob(scene.media[i]);
            complete = complete && medium && medium->size == m.find_blob(m.media[i].blob)->size;
        }
        for (const std::string* blob : {&scene.picture, &scene.hot_pages, &scene.video})
            complete = complete && (blob->empty() || m.find_blob(*blob));
        for (const std::string& feature : scene.cpu_features)
            complete = complete && is_plain_text(feature, kMaxVersion, Lines::One);
        if (!complete)
            return bad(fmt::format("scene {} is not complete", scene.name));
    }
    if (!m.start.empty() && !m.find_scene(m.start))
        return bad("the scene to start at is not in the bundle");
    if (m.start.empty() && m.boot.kernel.empty() && m.media.empty())
        return bad("there is nothing to start: no scene, kernel, disk, CD or floppy");
    return {};
}

} // namespace

base::Result<> check_manifest(const Manifest& manifest) {
    TRY(check_features(manifest));
    TRY(check_appliance(manifest));
    TRY(check_storage(manifest));
    TRY(check_uses(manifest));
    return check_scenes(manifest);
}

} // namespace appliance_format
