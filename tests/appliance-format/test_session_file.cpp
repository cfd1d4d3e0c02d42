// Saved sessions as files: what is written reads back on the same bundle, and no changed bit goes unnoticed.
#include "appliance-format/session_file.h"
#include "tests/appliance-format/bundle_fixture.h"

using namespace fixture;

namespace {

// A bundle, and a session of it in which some pages and a disk chunk differ.
struct Sample {
    Folder folder;
    std::string bundle_path = folder / "x.encore", path = folder / "x.session";
    Content content = small_content();
    Bytes ram = content.blobs["start/ram"], disk = content.blobs["disk0"], devices = noise(5000, 77);
    std::unique_ptr<Bundle> bundle;
    SessionInfo info{.bundle_file = "x.encore",
                     .bundle_root = {},
                     .title = "Test appliance",
                     .publisher = "Test Publisher",
                     .scene = "start",
                     .moment = "saved-1",
                     .elapsed_seconds = 90,
                     .saved_at = 1700000000};

    Sample() {
        REQUIRE(write_bundle(content, bundle_path));
        bundle = open(bundle_path);
        info.bundle_root = bundle->identity();
        const Bytes pages = noise(3 * 4096, 9);
        std::copy(pages.begin(), pages.end(), ram.begin() + (2 << 20));
        disk[3] ^= 0xFF;
        REQUIRE(write(path, info));
    }
    static std::unique_ptr<Bundle> open(const std::string& path) {
        auto opened = *Bundle::open(path);
        REQUIRE(opened->authenticate(Identity::get().trust));
        return opened;
    }
    base::Result<> write(const std::string& to, const SessionInfo& with,
                         const std::function<void(Manifest&)>& change = {}) {
        BundleWriter writer = TRY(BundleWriter::extend(*bundle, to, {.progress = {}}));
        for (auto [name, bytes, chunk] :
             {std::tuple{"s/ram", &ram, kMemoryChunk}, std::tuple{"s/disk", &disk, kDiskChunk},
              std::tuple{"s/devices", &devices, kMemoryChunk}}) {
            MemorySource source{*bytes};
            TRY(writer.add_blob(name, source, chunk));
        }
        writer.manifest().scenes.push_back(
            {"saved-1", "Saved", "s/ram", "s/devices", "", "", {"s/disk"}, {"sse2"}});
        if (change)
            change(writer.manifest());
        return write_session(writer, *bundle, with);
    }
    // Everything in it, as the player would read it; an error when something is wrong.
    base::Result<> read_all(const Bytes& bytes) const {
        const auto file = TRY(SessionFile::open_fd(memory_file(bytes), "x.session"));
        TRY(file->join(*bundle));
        const Scene& scene = file->scene();
        const auto check = [&](const std::string& name, const Bytes& expected) -> base::Result<> {
            const auto got = TRY(TRY(file->open_blob(name)).read_all(uint64_t{1} << 30));
            if (got != expected)
                FAIL("wrong data was handed out from " << name);
            return {};
        };
        TRY(check(scene.ram, ram));
        TRY(check(scene.devices, devices));
        return check(scene.media.at(0), disk);
    }
};

} // namespace

TEST_CASE("session file: what is written reads back on its bundle, and only what differs is in it",
          "[session]") {
    Sample sample;
    const Bytes bytes = read_file(sample.path);
    CHECK(sample.read_all(bytes));
    CHECK(bytes.size() < 120 << 10); // 3 pages, a disk chunk, 5000 bytes, nodes, the manifest
    const auto file = SessionFile::open(sample.path);
    REQUIRE(file);
    CHECK((*file)->info() == sample.info);
    CHECK((*file)->file_size() == bytes.size());
    CHECK_FALSE((*file)->open_blob("s/ram")); // not before its bundle is there
    CHECK(SessionFile::is_one(sample.path));
    CHECK_FALSE(SessionFile::is_one(sample.bundle_path));
    CHECK(Bundle::open(sample.path).error().code == kNotABundle);
    CHECK(SessionFile::open(sample.bundle_path).error().code == kNotABundle);
}

TEST_CASE("session file: another bundle is refused, with both roots", "[session]") {
    Sample sample;
    Content other = sample.content;
    other.manifest.appliance.version = "1.1";
    REQUIRE(write_bundle(other, sample.folder / "y.encore"));
    const auto bundle = Sample::open(sample.folder / "y.encore");
    const auto file = *SessionFile::open(sample.path);
    const auto joined = file->join(*bundle);
    REQUIRE_FALSE(joined);
    CHECK(joined.error().message.find(signing::to_hex(bundle->identity())) != std::string::npos);
    CHECK(joined.error().message.find(signing::to_hex(sample.bundle->identity())) != std::string::npos);
    // The right one, before anybody was authenticated.
    CHECK_FALSE(file->join(**Bundle::open(sample.bundle_path)));
}

TEST_CASE("session file: a delta that changes its bundle is refused", "[session]") {
    Sample sample;
    const auto refused = [&](const std::function<void(Manifest&)>& change, const char* words) {
        const auto written = sample.write(sample.folder / "z.session", sample.info, change);
        REQUIRE_FALSE(written); // what is written is opened and joined before it is published
        INFO(written.error().message);
        CHECK(written.error().message.find(words) != std::string::npos);
        CHECK_FALSE(std::filesystem::exists(sample.folder / "z.session"));
    };
    refused([](Manifest& m) { m.blobs[0].root = m.blobs.back().root; }, "changes parts of its bundle");
    refused([](Manifest& m) { m.media[0].kind = MediaKind::Cdrom; }, "another machine");
    refused([](Manifest& m) { m.scenes.pop_back(); }, "missing");
    refused([](Manifest& m) { m.policy.max_minutes = 0; }, "max_minutes");
    SessionInfo info = sample.info;
    for (auto [file, scene] : {std::pair{"../x.encore", "start"}, std::pair{"x.encore", "nosuch"}}) {
        info.bundle_file = file;
        info.scene = scene;
        CHECK_FALSE(sample.write(sample.folder / "z.session", info));
    }
}

TEST_CASE("session file: 600 flipped bits and 60 cuts are errors or change nothing that is read",
          "[session]") {
    Sample sample;
    const Bytes good = read_file(sample.path);
    std::mt19937 random(5);
    unsigned noticed = 0;
    for (int i = 0; i < 600; ++i) {
        Bytes bytes = good;
        bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1u << random() % 8);
        const auto read = sample.read_all(bytes);
        noticed += !read;
        if (!read)
            CHECK_FALSE(read.error().message.empty());
    }
    CHECK(noticed == 600); // no byte is without a meaning
    for (int i = 0; i < 60; ++i) {
        Bytes bytes = good;
        bytes.resize(random() % bytes.size());
        CHECK_FALSE(sample.read_all(bytes));
    }
}
