// Runs a fuzz target over kept inputs where there is no libFuzzer: files, or folders of files. Each input is
// also tried cut short and with changed bytes, so that a corpus is worth more than its own bytes.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void replay(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(in), {});
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    constexpr size_t kVariants = 40;
    for (size_t i = 1; i < kVariants && !bytes.empty(); ++i) {
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size() * i / kVariants);
        auto changed = bytes;
        changed[(i * 2654435761u) % changed.size()] ^= static_cast<uint8_t>(1 << i % 8);
        LLVMFuzzerTestOneInput(changed.data(), changed.size());
    }
}

} // namespace

int main(int argc, char** argv) {
    size_t inputs = 0;
    for (int i = 1; i < argc; ++i) {
        if (!std::filesystem::is_directory(argv[i])) {
            replay(argv[i]);
            ++inputs;
            continue;
        }
        for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i]))
            if (entry.is_regular_file()) {
                replay(entry.path());
                ++inputs;
            }
    }
    std::printf("%zu inputs replayed\n", inputs);
    return inputs == 0;
}
