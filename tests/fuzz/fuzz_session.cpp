// Arbitrary bytes as a saved session: whatever they are, they are refused or join the bundle without changing
// anything of it, and every byte that is read agrees with its hash.
//
// Input: u8 form. Odd: the file as it is. Even: u16 length of session.json, u16 of delta.json, u16 of the
// first pack, then these and the second pack; the file is put together with the digests and the bundle's root
// right.
#include "appliance-format/session_file.h"
#include "signing/keys.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sys/mman.h>
#include <unistd.h>

using namespace appliance_format;

namespace {

// The bundle of make_corpus' sessions; signed by a key made for this run, trusted for as long as that takes.
std::unique_ptr<Bundle> make_bundle() {
    std::string folder = std::filesystem::temp_directory_path() / "encore-fuzz-XXXXXX";
    VERIFY(::mkdtemp(folder.data()) != nullptr);
    const auto pair = *signing::generate_key_pair({.name = "Fuzz", .organisation = "Test"});
    const auto signer = *signing::Signer::from_pem(pair.key_pem, pair.certificate_pem);
    signing::TrustStore trust{folder + "/trust", folder + "/none", std::time(nullptr)};
    VERIFY(trust.add(pair.certificate_pem, "fuzz"));
    auto writer = *BundleWriter::create(folder + "/x.encore", {.progress = {}});
    const std::vector<uint8_t> disk(3000, 7);
    MemorySource source{disk};
    VERIFY(writer.add_blob("disk0", source, kDiskChunk));
    writer.manifest().appliance = {"corpus", "Corpus", "1.0", "", ""};
    writer.manifest().machine.memory = 16 << 20;
    writer.manifest().media = {{MediaKind::Disk, "disk0"}};
    VERIFY(writer.finish(&signer));
    auto bundle = *Bundle::open(folder + "/x.encore");
    VERIFY(bundle->authenticate(trust));
    std::filesystem::remove_all(folder);
    return bundle;
}

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void put_member(std::string& file, const std::string& name, const std::string& content) {
    const auto header = canonical_header(name, content.size());
    file.append(reinterpret_cast<const char*>(header.data()), header.size());
    file += content;
    file.append(member_span(content.size()) - kTarBlock - content.size(), '\0');
}

void set_digest(std::string& text, const std::string& key, const signing::Hash& hash) {
    const std::string before = "\"" + key + "\":\"";
    if (const size_t at = text.find(before);
        at != std::string::npos && text.size() - at - before.size() >= 64)
        text.replace(at + before.size(), 64, signing::to_hex(hash));
}

std::string put_together(std::string_view input, const Bundle& bundle) {
    const auto length = [&](size_t at) {
        return static_cast<size_t>(static_cast<uint8_t>(input[at]) | static_cast<uint8_t>(input[at + 1])
                                                                         << 8);
    };
    const size_t lengths[] = {length(0), length(2), length(4)};
    input.remove_prefix(6);
    std::string parts[4];
    for (size_t i = 0; i < 3; ++i) {
        parts[i] = input.substr(0, lengths[i]);
        input.remove_prefix(parts[i].size());
    }
    parts[3] = input;
    set_digest(parts[0], "delta", signing::sha256(bytes_of(parts[1])));
    set_digest(parts[0], "root", bundle.identity());
    std::string file;
    put_member(file, "session.json", parts[0]);
    put_member(file, "session.sha256",
               signing::to_hex(signing::sha256(bytes_of(parts[0]))) + "  session.json\n");
    put_member(file, "delta.json", parts[1]);
    if (!parts[2].empty())
        put_member(file, "blobs/chunks.1", parts[2]);
    if (!parts[3].empty())
        put_member(file, "blobs/index.0", parts[3]);
    return file.append(kTarEnd, '\0');
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::unique_ptr<Bundle> bundle = make_bundle();
    if (size < 8)
        return 0;
    const std::string_view input{reinterpret_cast<const char*>(data) + 1, size - 1};
    const std::string file = data[0] % 2 == 1 ? std::string(input) : put_together(input, *bundle);
    base::UniqueFd fd{::memfd_create("session", MFD_CLOEXEC)};
    VERIFY(fd.valid() && ::write(fd.get(), file.data(), file.size()) == static_cast<ssize_t>(file.size()));
    auto session = SessionFile::open_fd(std::move(fd), "x.session");
    if (!session) {
        VERIFY(!session.error().message.empty());
        return 0;
    }
    VERIFY((*session)->file_size() == file.size());
    VERIFY((*session)->info().bundle_file.find('/') == std::string::npos);
    if (auto joined = (*session)->join(*bundle); !joined) {
        VERIFY(!joined.error().message.empty());
        return 0;
    }
    const Scene& scene = (*session)->scene();
    std::vector<std::string> names{scene.ram, scene.devices, scene.video, scene.picture};
    names.insert(names.end(), scene.media.begin(), scene.media.end());
    std::vector<uint8_t> out(8192);
    for (const std::string& name : names) {
        auto blob = (*session)->open_blob(name);
        if (!blob)
            continue;
        const uint64_t step = std::max<uint64_t>(blob->size() / 16, 4096);
        for (uint64_t offset = 0; offset < blob->size(); offset += step) {
            auto read = blob->read(
                offset, std::span(out).first(std::min<uint64_t>(out.size(), blob->size() - offset)));
            VERIFY(read || !read.error().message.empty());
        }
    }
    return 0;
}
