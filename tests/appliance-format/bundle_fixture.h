// A folder of its own, a trusted key, and a small bundle with every kind of content, for the tests of this
// folder.
#pragma once
#include "appliance-format/bundle_writer.h"
#include "signing/certificate.h"
#include "signing/keys.h"
#include "tests/folder.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

namespace fixture {

using namespace appliance_format;
using Bytes = std::vector<uint8_t>;

inline void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
inline Bytes read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(in), {});
}

// Half compressible, half not, no zero chunk.
inline Bytes noise(size_t size, uint32_t seed) {
    std::mt19937 random(seed);
    Bytes bytes(size);
    for (size_t i = 0; i < size; ++i)
        bytes[i] = (i / 2048) % 2 ? static_cast<uint8_t>(i / 7 + seed) : static_cast<uint8_t>(random());
    return bytes;
}

// One key for all tests of the process: making one per test would only cost time.
struct Identity {
    signing::KeyPair pair = *signing::generate_key_pair({.name = "Test Publisher", .organisation = "Test"});
    signing::Signer signer = *signing::Signer::from_pem(pair.key_pem, pair.certificate_pem);
    Folder folder;
    signing::TrustStore trust{folder / "trust", folder / "none", std::time(nullptr)};
    Identity() { REQUIRE(trust.add(pair.certificate_pem, "test")); }
    static Identity& get() {
        static Identity identity;
        return identity;
    }
};

struct Content {
    std::map<std::string, Bytes> blobs;
    Manifest manifest;
};

// A disk with zero runs and repeats (several tree levels), a scene with memory, device state and hot pages.
inline Content small_content() {
    Content content;
    Bytes disk = noise(5 * kDiskChunk + 1536, 1);
    disk.resize(70 * kDiskChunk, 0); // 70 chunks: two levels; most of them zero
    std::copy_n(disk.begin(), kDiskChunk, disk.begin() + 68 * kDiskChunk);
    content.blobs["disk0"] = disk;
    Bytes ram(16 << 20, 0); // 4096 pages: two levels
    Bytes pages = noise(9 * 4096, 2);
    std::copy(pages.begin(), pages.end(), ram.begin() + (1 << 20));
    std::copy_n(pages.begin(), 4096, ram.end() - 4096);
    content.blobs["start/ram"] = ram;
    content.blobs["start/devices"] = noise(3000, 3);
    content.blobs["start/hot"] = {0, 1, 0, 0, 1, 1, 0, 0};
    Manifest& m = content.manifest;
    m.appliance = {"test", "Test appliance", "1.0", "Two\nlines", ""};
    m.machine.memory = 16 << 20;
    m.boot.order = {MediaKind::Disk};
    m.media = {{MediaKind::Disk, "disk0"}};
    m.policy.max_minutes = 30;
    m.scenes = {{"start", "Start", "start/ram", "start/devices", "", "start/hot", {"disk0"}, {"sse2"}}};
    m.start = "start";
    return content;
}

inline uint32_t chunk_of(const std::string& name) {
    return name.find("ram") != std::string::npos ? kMemoryChunk : kDiskChunk;
}

inline base::Result<> write_bundle(const Content& content, const std::string& path,
                                   const signing::Signer* signer = &Identity::get().signer,
                                   WriterOptions options = {}) {
    BundleWriter writer = TRY(BundleWriter::create(path, std::move(options)));
    writer.manifest() = content.manifest;
    for (auto& [name, bytes] : content.blobs) {
        MemorySource source{bytes};
        TRY(writer.add_blob(name, source, chunk_of(name)));
    }
    return writer.finish(signer);
}

// A bundle file that exists in memory only.
inline base::UniqueFd memory_file(const Bytes& bytes) {
    base::UniqueFd fd{::memfd_create("bundle", MFD_CLOEXEC)};
    REQUIRE(fd.valid());
    REQUIRE(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    return fd;
}

} // namespace fixture
