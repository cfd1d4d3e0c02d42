// Constants of the bundle format, version 1, and the error codes of this folder. README.md describes the
// format.
#pragma once
#include <cstddef>
#include <cstdint>

namespace appliance_format {

inline constexpr uint32_t kFormatVersion = 1;

inline constexpr const char* kManifestMember = "manifest.json";
inline constexpr const char* kSignatureMember = "manifest.cms";
// A saved session (session_file.h).
inline constexpr uint32_t kSessionFormat = 1;
inline constexpr const char* kSessionMember = "session.json";
inline constexpr const char* kSessionSumMember = "session.sha256";
inline constexpr const char* kDeltaMember = "delta.json";
inline constexpr size_t kMaxFrontMembers = 3; // members before the packs, in either kind of file

// Bounds every reader enforces before it allocates or loops.
inline constexpr uint64_t kMaxManifest = 4u << 20;
inline constexpr uint64_t kMaxSignature = 64u << 10;
inline constexpr uint64_t kMaxSessionInfo = 4u << 10;
inline constexpr size_t kMaxSessionText = 255; // names in it
inline constexpr size_t kMaxPacks = 4096;
inline constexpr size_t kMaxBlobs = 16384;
inline constexpr size_t kMaxScenes = 256;
inline constexpr size_t kMaxMedia = 16;
inline constexpr uint64_t kMaxPackSize = uint64_t{4} << 30; // fits the 11 octal digits of a ustar size
inline constexpr uint64_t kMaxBlobSize = uint64_t{1} << 44;
inline constexpr uint32_t kMinChunk = 4u << 10;
inline constexpr uint32_t kMaxChunk = 1u << 20;

// Bytes of texts shown to people.
inline constexpr size_t kMaxTagline = 200, kMaxHelp = 16000, kMaxNotes = 4000;

// Chunk sizes the writer uses: disks are read in runs, memory page by page.
inline constexpr uint32_t kDiskChunk = 64u << 10;
inline constexpr uint32_t kMemoryChunk = 4u << 10;

// Beside signing::Outcome in base::Error::code.
enum ErrorCode : int {
    kIo = 1,             // the host failed: missing file, disk full, read error
    kDamaged = 4,        // = signing::kTampered: bytes are not what the publisher signed
    kUnsupported = 7,    // a newer format, or a critical feature this player lacks
    kNotABundle = 8,     // some other kind of file
    kBadRecipe = 9,      // the recipe is wrong; the message names the line
    kNotYours = 11,      // = player::kRefused: another publisher's bundle
    kCancelled = 130,    // the user stopped it
    kUnknownImage = 200, // not an image of a known kind; never a program's exit status
};

} // namespace appliance_format
