// A copy of a bundle with so many GiB more that nothing needs but that are as real as the rest: random chunks
// of a blob of its own, signed. pad_bundle OLD.encore NEW.encore GIB KEY CERT. Under tests/bench/scene.
#include "appliance-format/bundle_writer.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

namespace format = appliance_format;

// Random, but the same bytes for the same offset (SplitMix64 of each eight).
class Padding final : public format::BlobSource {
  public:
    explicit Padding(uint64_t size) : size_(size) {}
    [[nodiscard]] uint64_t size() const override { return size_; }
    base::Result<> read(uint64_t offset, std::span<uint8_t> out) override {
        for (size_t i = 0; i + 8 <= out.size(); i += 8) {
            uint64_t x = (offset + i) * 0x9E3779B97F4A7C15u;
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
            x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
            x ^= x >> 31;
            std::memcpy(&out[i], &x, sizeof x);
        }
        return {};
    }

  private:
    uint64_t size_;
};

base::Result<> pad(const char* from, const char* to, uint64_t bytes, const char* key,
                   const char* certificate) {
    const auto signer = TRY(signing::Signer::load(key, certificate, std::time(nullptr)));
    auto old = TRY(format::Bundle::open(from));
    TRY(old->authenticate(signing::TrustStore::standard(std::time(nullptr))));
    auto writer = TRY(format::BundleWriter::extend(*old, to, {.progress = {}}));
    Padding padding(bytes);
    TRY(writer.add_blob("padding", padding, format::kDiskChunk));
    return writer.finish(&signer);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 6)
        return 2;
    const uint64_t bytes = std::strtoull(argv[3], nullptr, 10) << 30;
    if (auto done = pad(argv[1], argv[2], bytes, argv[4], argv[5]); !done) {
        std::fprintf(stderr, "%s\n", done.error().message.c_str());
        return 1;
    }
    return 0;
}
