// The signed description of an appliance: what the machine is, what its media and scenes are, and for every
// blob the root of its hash tree. Written as canonical JSON (sorted keys, no spaces, integers only) so that
// equal manifests are equal bytes and only one encoding is accepted.
//
// Compatibility: an unknown key is ignored, because whatever a reader must understand is announced under
// features.critical; an unknown critical feature or a newer format number is refused.
#pragma once
#include "appliance-format/merkle.h"
#include "appliance-format/policy.h"
#include "vmm/base/result.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace appliance_format {

enum class MediaKind { Disk, Cdrom, Floppy };
[[nodiscard]] const char* to_string(MediaKind kind);
[[nodiscard]] std::optional<MediaKind> media_kind_from(std::string_view text);

struct ApplianceInfo {
    std::string name; // is_simple_name
    std::string title;
    std::string version;
    std::string description; // may have several lines
    std::string picture{};   // blob (PNG); empty: none
    std::string tagline{};   // one line for tiles
    std::string help{};      // what to do with it, for the person at the machine; may have several lines
    std::optional<uint32_t> duration_minutes{}; // how long looking at it takes
    bool operator==(const ApplianceInfo&) const = default;
};

struct MachineInfo {
    uint64_t memory = 0;    // bytes, whole MiB
    bool sound = false;     // an AC'97 controller; machines and their scenes from before it have none
    bool network = false;   // an RTL8139 network card; likewise
    std::string keyboard{}; // the layout the guest takes its keyboard for, is_keyboard_name; empty: us
    bool operator==(const MachineInfo&) const = default;
};

// How the machine starts when no scene is played: a kernel, or the firmware trying `order`.
struct BootInfo {
    std::string kernel; // blob; empty: boot through the firmware
    std::string initrd; // blob; may be empty
    std::string cmdline;
    std::vector<MediaKind> order;
    bool operator==(const BootInfo&) const = default;
};

struct Medium {
    MediaKind kind = MediaKind::Disk;
    std::string blob;
    bool operator==(const Medium&) const = default;
};

// A named instant: the machine as it was. Blobs are named; equal content is stored once across scenes.
struct Scene {
    std::string name; // is_simple_name
    std::string title;
    std::string ram;                // blob of machine.memory bytes
    std::string devices;            // blob: saved state of CPU and devices
    std::string picture;            // blob (PNG); empty: none
    std::string hot_pages;          // blob: u32 little-endian page numbers, in order of touch; empty: none
    std::vector<std::string> media; // blobs, one for each of Manifest::media, as of this scene
    std::vector<std::string> cpu_features; // what the guest was promised
    std::string video{};                   // blob: video memory; empty: it is part of `devices`
    std::string notes{};                   // for the presenter; may have several lines
    uint32_t tsc_khz = 0; // of the time-stamp counter, as the guest knows it; 0: not recorded
    bool operator==(const Scene&) const = default;
};

struct BlobInfo {
    std::string name; // is_safe_path
    uint64_t size = 0;
    uint32_t chunk = 0; // power of two, kMinChunk..kMaxChunk
    ObjectRef root;     // zero: the whole blob is zero
    bool operator==(const BlobInfo&) const = default;
};

// A member of the archive that holds stored objects back to back.
struct PackInfo {
    std::string member;
    uint64_t size = 0;
    signing::Hash sha256{}; // of the whole member, so that `verify` covers every byte of the file
    bool operator==(const PackInfo&) const = default;
};

struct Manifest {
    uint32_t format = 1;
    std::vector<std::string> critical_features;
    std::vector<std::string> optional_features;
    ApplianceInfo appliance;
    MachineInfo machine;
    BootInfo boot;
    std::vector<Medium> media;
    Policy policy;
    std::vector<Scene> scenes;
    std::string start; // the scene a session starts at; empty: boot
    std::vector<BlobInfo> blobs;
    std::vector<PackInfo> packs;
    bool operator==(const Manifest&) const = default;

    [[nodiscard]] const BlobInfo* find_blob(std::string_view name) const;
    [[nodiscard]] const Scene* find_scene(std::string_view name) const;
};

// Critical features beyond the session's rules: the machine has a sound device, a network card.
inline constexpr const char* kSoundDevice = "sound";
inline constexpr const char* kNetworkCard = "network";

// Canonical JSON.
[[nodiscard]] std::string write_manifest(const Manifest& manifest);

// Parses and checks everything that can be checked without the blobs. Errors: kDamaged, kUnsupported.
base::Result<Manifest> parse_manifest(std::string_view json);

// The checks of parse_manifest on a manifest in hand (the writer uses them before signing).
base::Result<> check_manifest(const Manifest& manifest);

} // namespace appliance_format
