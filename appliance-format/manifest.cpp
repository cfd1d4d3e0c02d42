// Manifest <-> canonical JSON. Meaning is checked in manifest_check.cpp.
#include "appliance-format/manifest.h"

#include "appliance-format/format.h"
#include "appliance-format/json_text.h"
#include "appliance-format/network_rules.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace appliance_format {

using nlohmann::json;

namespace {

constexpr int kMaxDepth = 8;
constexpr size_t kMaxText = 64 << 10;

json ref_to_json(const ObjectRef& ref) {
    if (ref.is_zero())
        return nullptr;
    return {{"crc32c", ref.crc},
            {"offset", ref.offset},
            {"pack", ref.pack},
            {"sha256", signing::to_hex(ref.hash)},
            {"stored", ref.stored}};
}

base::Error wrong(std::string_view key, const char* what) {
    return {kDamaged, fmt::format("the manifest's \"{}\" {}", key, what)};
}
tl::unexpected<base::Error> refuse(std::string_view key, const char* what) {
    return tl::make_unexpected(wrong(key, what));
}

// Typed access: every getter names the key it stumbled over.
base::Result<const json*> member(const json& object, const char* key) {
    auto it = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || it == object.end())
        return refuse(key, "is missing");
    return &*it;
}

base::Result<std::string> text(const json& object, const char* key) {
    const json* value = TRY(member(object, key));
    if (!value->is_string() || value->get_ref<const std::string&>().size() > kMaxText)
        return refuse(key, "is not a text of allowed length");
    return value->get<std::string>();
}

base::Result<std::string> optional_text(const json& object, const char* key) {
    if (!object.contains(key))
        return std::string();
    std::string value = TRY(text(object, key));
    if (value.empty())
        return refuse(key, "is empty");
    return value;
}

template <class T> base::Result<T> number(const json& object, const char* key) {
    const json* value = TRY(member(object, key));
    if (!value->is_number_unsigned() || value->get<uint64_t>() > std::numeric_limits<T>::max())
        return refuse(key, "is not a number in range");
    return static_cast<T>(value->get<uint64_t>());
}

base::Result<bool> flag(const json& object, const char* key) {
    const json* value = TRY(member(object, key));
    if (!value->is_boolean())
        return refuse(key, "is neither true nor false");
    return value->get<bool>();
}

base::Result<std::optional<uint32_t>> optional_number(const json& object, const char* key) {
    if (!object.contains(key))
        return std::optional<uint32_t>();
    return std::optional<uint32_t>(TRY(number<uint32_t>(object, key)));
}

base::Result<std::optional<bool>> optional_flag(const json& object, const char* key) {
    if (!object.contains(key))
        return std::optional<bool>();
    return std::optional<bool>(TRY(flag(object, key)));
}

base::Result<const json*> list(const json& object, const char* key, size_t limit) {
    const json* value = TRY(member(object, key));
    if (!value->is_array() || value->size() > limit)
        return refuse(key, "is not a list of allowed length");
    return value;
}

base::Result<std::vector<std::string>> texts(const json& object, const char* key, size_t limit) {
    std::vector<std::string> out;
    for (const json& item : *TRY(list(object, key, limit))) {
        if (!item.is_string() || item.get_ref<const std::string&>().size() > kMaxText)
            return refuse(key, "holds something that is not a text");
        out.push_back(item.get<std::string>());
    }
    return out;
}

base::Result<MediaKind> media_kind(std::string_view name, const char* key) {
    auto kind = media_kind_from(name);
    if (!kind)
        return refuse(key, "names an unknown kind of medium");
    return *kind;
}

// A policy given by name; absent: `otherwise`.
template <class T>
base::Result<T> choice(const json& object, const char* key, std::optional<T> (*from)(std::string_view),
                       T otherwise) {
    if (!object.contains(key))
        return otherwise;
    const auto value = from(TRY(text(object, key)));
    if (!value)
        return refuse(key, "has a value that this Encore does not know");
    return *value;
}

base::Result<signing::Hash> hash(const json& object, const char* key) {
    signing::Hash value;
    if (!signing::from_hex(TRY(text(object, key)), value))
        return refuse(key, "is not a SHA-256 in lower-case hexadecimal");
    return value;
}

base::Result<ObjectRef> ref_from_json(const json& object, const char* key) {
    const json* value = TRY(member(object, key));
    ObjectRef ref;
    if (value->is_null())
        return ref;
    ref.hash = TRY(hash(*value, "sha256"));
    ref.pack = TRY(number<uint16_t>(*value, "pack"));
    ref.offset = TRY(number<uint64_t>(*value, "offset"));
    ref.stored = TRY(number<uint32_t>(*value, "stored"));
    ref.crc = TRY(number<uint32_t>(*value, "crc32c"));
    return ref;
}

json scene_to_json(const Scene& scene) {
    json out = {{"cpu_features", scene.cpu_features},
                {"devices", scene.devices},
                {"media", scene.media},
                {"name", scene.name},
                {"ram", scene.ram},
                {"title", scene.title}};
    if (!scene.picture.empty())
        out["picture"] = scene.picture;
    if (!scene.hot_pages.empty())
        out["hot_pages"] = scene.hot_pages;
    if (!scene.video.empty())
        out["video"] = scene.video;
    if (!scene.notes.empty())
        out["notes"] = scene.notes;
    if (scene.tsc_khz != 0)
        out["tsc_khz"] = scene.tsc_khz;
    return out;
}

base::Result<Scene> scene_from_json(const json& object) {
    Scene scene;
    scene.name = TRY(text(object, "name"));
    scene.title = TRY(text(object, "title"));
    scene.ram = TRY(text(object, "ram"));
    scene.devices = TRY(text(object, "devices"));
    scene.picture = TRY(optional_text(object, "picture"));
    scene.hot_pages = TRY(optional_text(object, "hot_pages"));
    scene.video = TRY(optional_text(object, "video"));
    scene.notes = TRY(optional_text(object, "notes"));
    if (object.contains("tsc_khz"))
        scene.tsc_khz = TRY(number<uint32_t>(object, "tsc_khz"));
    scene.media = TRY(texts(object, "media", kMaxMedia));
    scene.cpu_features = TRY(texts(object, "cpu_features", 256));
    return scene;
}

base::Result<BootInfo> boot_from_json(const json& object) {
    BootInfo boot;
    boot.kernel = TRY(optional_text(object, "kernel"));
    boot.initrd = TRY(optional_text(object, "initrd"));
    boot.cmdline = TRY(optional_text(object, "cmdline"));
    for (const std::string& name : TRY(texts(object, "order", kMaxMedia)))
        boot.order.push_back(TRY(media_kind(name, "order")));
    return boot;
}

json policy_to_json(const Policy& policy) {
    json out = {{"power_off_ends_session", policy.power_off_ends_session},
                {"reset_ends_session", policy.reset_ends_session},
                {"clock", to_string(policy.clock)},
                {"identity", to_string(policy.identity)}};
    for (auto [key, value] :
         {std::pair{"max_minutes", &policy.max_minutes}, std::pair{"idle_seconds", &policy.idle_seconds},
          std::pair{"grace_days", &policy.grace_days}})
        if (*value)
            out[key] = **value;
    for (auto [key, value] : {std::pair{"network", &policy.network},
                              std::pair{"clipboard", &policy.clipboard}, std::pair{"sound", &policy.sound}})
        if (*value)
            out[key] = **value;
    for (auto [key, value] :
         {std::pair{"watermark", &policy.watermark}, std::pair{"expires", &policy.expires}})
        if (!value->empty())
            out[key] = *value;
    for (auto [key, value] : {std::pair{"scenes", &policy.scenes}, std::pair{"networks", &policy.networks},
                              std::pair{"forward", &policy.forward}})
        if (!value->empty())
            out[key] = *value;
    return out;
}

base::Result<Policy> policy_from_json(const json& object) {
    Policy policy;
    policy.power_off_ends_session = TRY(flag(object, "power_off_ends_session"));
    policy.reset_ends_session = TRY(flag(object, "reset_ends_session"));
    policy.max_minutes = TRY(optional_number(object, "max_minutes"));
    policy.idle_seconds = TRY(optional_number(object, "idle_seconds"));
    policy.grace_days = TRY(optional_number(object, "grace_days"));
    policy.network = TRY(optional_flag(object, "network"));
    policy.clipboard = TRY(optional_flag(object, "clipboard"));
    policy.sound = TRY(optional_flag(object, "sound"));
    policy.watermark = TRY(optional_text(object, "watermark"));
    policy.expires = TRY(optional_text(object, "expires"));
    if (object.contains("scenes"))
        policy.scenes = TRY(texts(object, "scenes", kMaxPolicyScenes));
    if (object.contains("networks"))
        policy.networks = TRY(texts(object, "networks", kMaxNetworks));
    if (object.contains("forward"))
        policy.forward = TRY(texts(object, "forward", kMaxForwards));
    policy.clock = TRY(choice(object, "clock", clock_policy_from, ClockPolicy::Host));
    policy.identity = TRY(choice(object, "identity", identity_policy_from, IdentityPolicy::Fresh));
    return policy;
}

// Bounds the nesting before the parser and the (recursive) writer see the text.
bool too_deep(std::string_view text) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (quoted && c == '\\')
            ++i;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{') && ++depth > kMaxDepth)
            return true;
        else if (!quoted && (c == ']' || c == '}'))
            --depth;
    }
    return false;
}

base::Result<> read_features(const json& root, Manifest& manifest) {
    if (manifest.format != kFormatVersion)
        return base::fail(fmt::format("needs a newer Encore (bundle format {}, this one reads {})",
                                      manifest.format, kFormatVersion),
                          kUnsupported);
    const json* features = TRY(member(root, "features"));
    manifest.critical_features = TRY(texts(*features, "critical", 256));
    manifest.optional_features = TRY(texts(*features, "optional", 256));
    return {};
}

base::Result<Manifest> from_json(const json& root) {
    Manifest m;
    m.format = TRY(number<uint32_t>(root, "format"));
    TRY(read_features(root, m));
    const json* appliance = TRY(member(root, "appliance"));
    m.appliance.name = TRY(text(*appliance, "name"));
    m.appliance.title = TRY(text(*appliance, "title"));
    m.appliance.version = TRY(text(*appliance, "version"));
    m.appliance.description = TRY(text(*appliance, "description"));
    m.appliance.picture = TRY(optional_text(*appliance, "picture"));
    m.appliance.tagline = TRY(optional_text(*appliance, "tagline"));
    m.appliance.help = TRY(optional_text(*appliance, "help"));
    m.appliance.duration_minutes = TRY(optional_number(*appliance, "duration_minutes"));
    const json* machine = TRY(member(root, "machine"));
    m.machine.memory = TRY(number<uint64_t>(*machine, "memory"));
    m.machine.sound = TRY(optional_flag(*machine, "sound")).value_or(false);
    m.machine.network = TRY(optional_flag(*machine, "network")).value_or(false);
    m.machine.keyboard = TRY(optional_text(*machine, "keyboard"));
    m.boot = TRY(boot_from_json(*TRY(member(root, "boot"))));
    for (const json& item : *TRY(list(root, "media", kMaxMedia))) {
        std::string kind = TRY(text(item, "kind"));
        m.media.push_back({TRY(media_kind(kind, "kind")), TRY(text(item, "blob"))});
    }
    m.policy = TRY(policy_from_json(*TRY(member(root, "policy"))));
    for (const json& item : *TRY(list(root, "scenes", kMaxScenes)))
        m.scenes.push_back(TRY(scene_from_json(item)));
    m.start = TRY(optional_text(root, "start"));
    // One by one: TRY returns out of the middle of an expression, and a text made before it there would leak.
    for (const json& item : *TRY(list(root, "blobs", kMaxBlobs))) {
        BlobInfo& blob = m.blobs.emplace_back();
        blob.name = TRY(text(item, "name"));
        blob.size = TRY(number<uint64_t>(item, "size"));
        blob.chunk = TRY(number<uint32_t>(item, "chunk"));
        blob.root = TRY(ref_from_json(item, "root"));
    }
    for (const json& item : *TRY(list(root, "packs", kMaxPacks))) {
        PackInfo& pack = m.packs.emplace_back();
        pack.member = TRY(text(item, "member"));
        pack.size = TRY(number<uint64_t>(item, "size"));
        pack.sha256 = TRY(hash(item, "sha256"));
    }
    return m;
}

} // namespace

const char* to_string(MediaKind kind) {
    return kind == MediaKind::Disk ? "disk" : kind == MediaKind::Cdrom ? "cdrom" : "floppy";
}

std::optional<MediaKind> media_kind_from(std::string_view text) {
    for (MediaKind kind : {MediaKind::Disk, MediaKind::Cdrom, MediaKind::Floppy})
        if (text == to_string(kind))
            return kind;
    return std::nullopt;
}

const BlobInfo* Manifest::find_blob(std::string_view name) const {
    auto it = std::find_if(blobs.begin(), blobs.end(), [&](const BlobInfo& b) { return b.name == name; });
    return it == blobs.end() ? nullptr : &*it;
}

const Scene* Manifest::find_scene(std::string_view name) const {
    auto it = std::find_if(scenes.begin(), scenes.end(), [&](const Scene& s) { return s.name == name; });
    return it == scenes.end() ? nullptr : &*it;
}

std::string write_manifest(const Manifest& m) {
    json root;
    root["format"] = m.format;
    root["features"] = {{"critical", m.critical_features}, {"optional", m.optional_features}};
    root["appliance"] = {{"description", m.appliance.description},
                         {"name", m.appliance.name},
                         {"title", m.appliance.title},
                         {"version", m.appliance.version}};
    for (auto [key, value] :
         {std::pair{"picture", &m.appliance.picture}, std::pair{"tagline", &m.appliance.tagline},
          std::pair{"help", &m.appliance.help}})
        if (!value->empty())
            root["appliance"][key] = *value;
    if (m.appliance.duration_minutes)
        root["appliance"]["duration_minutes"] = *m.appliance.duration_minutes;
    root["machine"] = {{"memory", m.machine.memory}};
    if (m.machine.sound)
        root["machine"]["sound"] = true;
    if (m.machine.network)
        root["machine"]["network"] = true;
    if (!m.machine.keyboard.empty())
        root["machine"]["keyboard"] = m.machine.keyboard;
    json& boot = root["boot"];
    boot["order"] = json::array();
    for (MediaKind kind : m.boot.order)
        boot["order"].push_back(to_string(kind));
    for (auto [key, value] : {std::pair{"kernel", &m.boot.kernel}, std::pair{"initrd", &m.boot.initrd},
                              std::pair{"cmdline", &m.boot.cmdline}})
        if (!value->empty())
            boot[key] = *value;
    json& media = root["media"] = json::array();
    for (const Medium& medium : m.media)
        media.push_back({{"blob", medium.blob}, {"kind", to_string(medium.kind)}});
    root["policy"] = policy_to_json(m.policy);
    json& scenes = root["scenes"] = json::array();
    for (const Scene& scene : m.scenes)
        scenes.push_back(scene_to_json(scene));
    if (!m.start.empty())
        root["start"] = m.start;
    json& blobs = root["blobs"] = json::array();
    for (const BlobInfo& blob : m.blobs)
        blobs.push_back({{"chunk", blob.chunk},
                         {"name", blob.name},
                         {"root", ref_to_json(blob.root)},
                         {"size", blob.size}});
    json& packs = root["packs"] = json::array();
    for (const PackInfo& pack : m.packs)
        packs.push_back(
            {{"member", pack.member}, {"sha256", signing::to_hex(pack.sha256)}, {"size", pack.size}});
    return json_text(root);
}

base::Result<Manifest> parse_manifest(std::string_view text) {
    if (text.size() > kMaxManifest || too_deep(text))
        return base::fail("the manifest is too large or too deeply nested", kDamaged);
    json root = parse_json(text);
    if (root.is_discarded())
        return base::fail("the manifest is not valid JSON", kDamaged);
    // One meaning, one encoding: also catches keys given twice, which the parser would merge silently.
    if (json_text(root) != text)
        return base::fail("the manifest is not canonical JSON", kDamaged);
    Manifest manifest = TRY(from_json(root));
    TRY(check_manifest(manifest));
    return manifest;
}

} // namespace appliance_format
