#include "appliance-format/ova_writer.h"

#include "appliance-format/format.h"
#include "appliance-format/output_file.h"
#include "appliance-format/ovf_writer.h"
#include "appliance-format/vmdk_writer.h"
#include "signing/file_digest.h"
#include "vmm/base/file_io.h"
#include "vmm/base/verify.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace appliance_format {

namespace {

constexpr uint64_t kBlock = 512; // of tar

uint64_t in_blocks(uint64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

std::span<const uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// POSIX.1-1988 ustar. What does not fit its 11 octal digits (8 GiB) is a binary number, as GNU tar, bsdtar
// and the programs that take OVAs have it.
std::array<char, kBlock> tar_header(const std::string& name, uint64_t size) {
    constexpr uint64_t kMostOctal = uint64_t{1} << 33;
    std::array<char, kBlock> header{};
    const auto put = [&](size_t at, const std::string& text) {
        std::ranges::copy(text, header.begin() + at);
    };
    VERIFY(name.size() <= 100);
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    if (size < kMostOctal) {
        put(124, fmt::format("{:011o}", size));
    } else {
        header[124] = static_cast<char>(0x80);
        for (size_t i = 0; i < sizeof size; ++i)
            header[135 - i] = static_cast<char>(size >> 8 * i);
    }
    put(136, "00000000000");
    put(148, "        ");
    header[156] = '0';
    put(257, std::string("ustar\0"
                         "00",
                         8));
    unsigned sum = 0;
    for (const char c : header)
        sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    return header;
}

class OvaWriter {
  public:
    OvaWriter(const Bundle& bundle, OutputFile file, const OvaOptions& options)
        : bundle_(bundle), file_(std::move(file)), options_(options) {}

    base::Result<> write(const std::vector<std::string>& blobs) {
        const Manifest& manifest = bundle_.manifest();
        const std::string& name = manifest.appliance.name;
        std::vector<OvfFile> files;
        std::vector<BlobReader> readers;
        for (size_t i = 0; i < blobs.size(); ++i) {
            const MediaKind kind = manifest.media[i].kind;
            readers.push_back(TRY(bundle_.open_blob(blobs[i])));
            total_ += readers.back().size();
            const uint64_t capacity = in_blocks(readers.back().size());
            const char* type = kind == MediaKind::Disk ? "vmdk" : kind == MediaKind::Cdrom ? "iso" : "img";
            files.push_back(
                {kind, fmt::format("{}-{}{}.{}", name, to_string(kind), i + 1, type), 0, capacity});
        }
        // First comes what is known last, the media's sizes and digests, so its room is left free: as much as
        // the longest sizes take.
        auto longest = files;
        for (OvfFile& file : longest)
            file.size = UINT64_MAX;
        const std::string ovf_name = name + ".ovf", digests_name = name + ".mf";
        const uint64_t ovf_size = write_ovf(manifest, longest).size();
        uint64_t digests_size = digest_line(ovf_name, std::string(64, '0')).size();
        for (const OvfFile& file : files)
            digests_size += digest_line(file.name, std::string(64, '0')).size();
        at_ = 2 * kBlock + in_blocks(ovf_size) + in_blocks(digests_size);
        std::string digests;
        for (size_t i = 0; i < files.size(); ++i) {
            const uint64_t header_at = at_;
            at_ += kBlock;
            auto digest = TRY(signing::FileDigest::named("SHA256"));
            TRY(put_medium(readers[i], files[i], digest));
            files[i].size = at_ - header_at - kBlock;
            TRY(write_member(header_at, files[i].name, files[i].size));
            at_ = header_at + kBlock + in_blocks(files[i].size);
            digests += digest_line(files[i].name, digest.finish());
            done_ += readers[i].size();
        }
        std::string ovf = write_ovf(manifest, files);
        ovf.resize(ovf_size, '\n');
        TRY(write_member(0, ovf_name, ovf.size()));
        TRY(write_at(kBlock, bytes_of(ovf)));
        auto digest = TRY(signing::FileDigest::named("SHA256"));
        digest.update(bytes_of(ovf));
        digests = digest_line(ovf_name, digest.finish()) + digests;
        const uint64_t digests_at = kBlock + in_blocks(ovf_size);
        TRY(write_member(digests_at, digests_name, digests.size()));
        TRY(write_at(digests_at + kBlock, bytes_of(digests)));
        const std::vector<uint8_t> end(2 * kBlock);
        TRY(write_at(at_, end));
        if (options_.progress && !options_.progress(total_, total_))
            return base::fail("stopped; nothing was written", kCancelled);
        return file_.commit();
    }

  private:
    // DSP0243 6.2.
    static std::string digest_line(const std::string& name, const std::string& value) {
        return fmt::format("SHA256({})= {}\n", name, value);
    }

    base::Result<> put_medium(const BlobReader& reader, const OvfFile& file, signing::FileDigest& digest) {
        const ByteSink sink = [&](std::span<const uint8_t> bytes) -> base::Result<> {
            digest.update(bytes);
            TRY(write_at(at_, bytes));
            at_ += bytes.size();
            return {};
        };
        const auto go_on = [&](uint64_t done) {
            return !options_.progress || options_.progress(done_ + done, total_);
        };
        if (file.kind == MediaKind::Disk)
            return write_vmdk(reader, {file.name, options_.level, go_on}, sink);
        std::vector<uint8_t> buffer(kMaxChunk);
        for (uint64_t at = 0; at < reader.size(); at += buffer.size()) {
            const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), reader.size() - at));
            if (!go_on(at))
                return base::fail("stopped; nothing was written", kCancelled);
            TRY(reader.read(at, part));
            TRY(sink(part));
        }
        return {};
    }

    base::Result<> write_member(uint64_t at, const std::string& name, uint64_t size) {
        const auto header = tar_header(name, size);
        return write_at(at, {reinterpret_cast<const uint8_t*>(header.data()), header.size()});
    }

    base::Result<> write_at(uint64_t at, std::span<const uint8_t> bytes) {
        if (base::write_at(file_.fd(), bytes, at))
            return {};
        return base::fail(fmt::format("cannot write {}: {}", file_.path(), std::strerror(errno)), kIo);
    }

    const Bundle& bundle_;
    OutputFile file_;
    const OvaOptions& options_;
    uint64_t at_ = 0;               // where the next byte of a medium goes
    uint64_t done_ = 0, total_ = 0; // bytes of media
};

} // namespace

base::Result<> write_ova(const Bundle& bundle, const std::string& output, const OvaOptions& options) {
    const Manifest& manifest = bundle.manifest();
    if (manifest.media.empty())
        return base::fail(fmt::format("{}: has no disk, CD or floppy, and a kernel alone cannot be exported",
                                      bundle.path()),
                          kIo);
    std::vector<std::string> blobs;
    for (const Medium& medium : manifest.media)
        blobs.push_back(medium.blob);
    if (!options.scene.empty()) {
        const Scene* scene = manifest.find_scene(options.scene);
        VERIFY(scene != nullptr);
        blobs = scene->media;
    }
    return OvaWriter(bundle, TRY(OutputFile::create(output)), options).write(blobs);
}

} // namespace appliance_format
