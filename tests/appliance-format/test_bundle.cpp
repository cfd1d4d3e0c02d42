#include "tests/appliance-format/bundle_fixture.h"

#include "signing/outcome.h"

#include <csignal>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

using namespace fixture;

TEST_CASE("bundle: what is written reads back, at any offset and length", "[bundle]") {
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "x.encore"));
    auto bundle = Bundle::open(folder / "x.encore");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(Identity::get().trust)->common_name == "Test Publisher");
    REQUIRE((*bundle)->manifest().scenes == content.manifest.scenes);
    REQUIRE((*bundle)->verify_content({}));
    std::mt19937 random(7);
    for (auto& [name, bytes] : content.blobs) {
        auto reader = (*bundle)->open_blob(name);
        REQUIRE(reader);
        REQUIRE(reader->size() == bytes.size());
        REQUIRE(*reader->read_all(64 << 20) == bytes);
        for (int i = 0; i < 200; ++i) {
            size_t offset = random() % bytes.size(),
                   size = random() % std::min<size_t>(bytes.size() - offset, 200000);
            Bytes out(size);
            REQUIRE(reader->read(offset, out));
            REQUIRE(std::equal(out.begin(), out.end(), bytes.begin() + offset));
        }
        Bytes out(2);
        REQUIRE_FALSE(reader->read(bytes.size() - 1, out));
        REQUIRE_FALSE(reader->read(~uint64_t{0}, out));
    }
}

TEST_CASE("bundle: blobs are closed until the publisher was authenticated", "[bundle]") {
    Folder folder;
    REQUIRE(write_bundle(small_content(), folder / "x.encore"));
    auto bundle = *Bundle::open(folder / "x.encore");
    REQUIRE_FALSE(bundle->open_blob("disk0"));
    auto refused =
        bundle->authenticate(signing::TrustStore{folder / "empty", folder / "empty", std::time(nullptr)});
    REQUIRE(refused.error().code == signing::kUntrusted);
    REQUIRE_FALSE(bundle->open_blob("disk0"));
    REQUIRE(bundle->authenticate(Identity::get().trust));
    REQUIRE(bundle->open_blob("disk0"));
    REQUIRE_FALSE(bundle->open_blob("no-such"));
}

TEST_CASE("bundle: unsigned, untrusted and expired are told apart", "[bundle]") {
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "u.encore", nullptr));
    REQUIRE((*Bundle::open(folder / "u.encore"))->authenticate(Identity::get().trust).error().code ==
            signing::kUnsigned);
    auto old = *signing::generate_key_pair(
        {.name = "Old", .organisation = "", .valid_days = 5, .starts_in_days = -10});
    auto signer = *signing::Signer::from_pem(old.key_pem, old.certificate_pem);
    REQUIRE(write_bundle(content, folder / "e.encore", &signer));
    auto bundle = *Bundle::open(folder / "e.encore");
    REQUIRE(bundle->authenticate(Identity::get().trust).error().code == signing::kUntrusted);
    const std::time_t now = std::time(nullptr), in_its_days = now - 7 * 86400;
    const signing::TrustStore then{folder / "t", folder / "none", in_its_days};
    const signing::TrustStore today{folder / "t", folder / "none", now};
    REQUIRE(today.add(old.certificate_pem, "old").error().code == signing::kExpired);
    REQUIRE(then.add(old.certificate_pem, "old"));
    REQUIRE(bundle->authenticate(today).error().code == signing::kExpired);
    REQUIRE_FALSE(bundle->open_blob("disk0"));
    REQUIRE(bundle->authenticate(then));
}

TEST_CASE("bundle: equal chunks are stored once and zero chunks not at all", "[bundle]") {
    Folder folder;
    Content content;
    content.manifest = small_content().manifest;
    content.manifest.scenes.clear();
    content.manifest.start.clear();
    content.blobs["disk0"] = Bytes(64 << 20, 0);
    REQUIRE(write_bundle(content, folder / "zero.encore"));
    REQUIRE(std::filesystem::file_size(folder / "zero.encore") < 6000);
    auto bundle = *Bundle::open(folder / "zero.encore");
    REQUIRE(bundle->authenticate(Identity::get().trust));
    REQUIRE(*bundle->open_blob("disk0")->is_zero(0, 64 << 20));
    Bytes block = noise(kDiskChunk, 9);
    for (size_t at = 0; at < content.blobs["disk0"].size(); at += kDiskChunk)
        std::copy(block.begin(), block.end(), content.blobs["disk0"].begin() + at);
    REQUIRE(write_bundle(content, folder / "same.encore"));
    REQUIRE(std::filesystem::file_size(folder / "same.encore") < 2 * kDiskChunk);
}

TEST_CASE("bundle: adding a scene costs only what differs and keeps the first", "[bundle]") {
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "one.encore"));
    Bytes ram = content.blobs["start/ram"];
    Bytes page = noise(4096, 77);
    std::copy(page.begin(), page.end(), ram.begin() + (5 << 20));
    {
        auto old = *Bundle::open(folder / "one.encore");
        REQUIRE(old->authenticate(Identity::get().trust));
        auto writer = BundleWriter::extend(*old, folder / "one.encore", {});
        REQUIRE(writer);
        MemorySource source{ram};
        REQUIRE(writer->add_blob("later/ram", source, kMemoryChunk));
        Scene scene = writer->manifest().scenes[0];
        scene.name = "later";
        scene.ram = "later/ram";
        writer->manifest().scenes.push_back(scene);
        auto before = std::filesystem::file_size(folder / "one.encore");
        REQUIRE(writer->finish(&Identity::get().signer));
        REQUIRE(std::filesystem::file_size(folder / "one.encore") - before < 16384);
    }
    auto bundle = *Bundle::open(folder / "one.encore");
    REQUIRE(bundle->authenticate(Identity::get().trust));
    REQUIRE(bundle->verify_content({}));
    REQUIRE(*bundle->open_blob("later/ram")->read_all(64 << 20) == ram);
    REQUIRE(*bundle->open_blob("start/ram")->read_all(64 << 20) == content.blobs["start/ram"]);
}

TEST_CASE("bundle: rewriting without a blob gives its room back and keeps the others as they are",
          "[bundle]") {
    Folder folder;
    const std::string path = folder / "x.encore";
    Content content = small_content();
    content.blobs["disk0"] = noise(9 * kDiskChunk, 4); // most of the file stays where it is
    Bytes ram = content.blobs["start/ram"];
    const Bytes pages = noise(40 * 4096, 77);
    std::copy(pages.begin(), pages.end(), ram.begin() + (5 << 20));
    REQUIRE(write_bundle(content, path));
    const auto open = [&] {
        auto opened = *Bundle::open(path);
        REQUIRE(opened->authenticate(Identity::get().trust));
        return opened;
    };
    const auto add = [&](const std::string& name, const Bytes& bytes) {
        const auto old = open();
        auto writer = BundleWriter::extend(*old, path, {});
        REQUIRE(writer);
        MemorySource source{bytes};
        REQUIRE(writer->add_blob(name, source, kMemoryChunk));
        REQUIRE(writer->finish(&Identity::get().signer));
    };
    const auto rewrite = [&](const std::string& without) {
        const auto old = open();
        auto writer = BundleWriter::rewrite(*old, path, {.level = 19, .progress = {}},
                                            [&](const BlobInfo& blob) { return blob.name != without; });
        REQUIRE(writer);
        REQUIRE(writer->finish(&Identity::get().signer));
    };
    const auto packed = std::filesystem::file_size(path);
    const Manifest first = open()->manifest();
    rewrite("nothing of this name");
    CHECK(open()->manifest() == first); // nothing to gain: every pack and root stays
    add("later/ram", ram);
    add("last/ram", noise(30 * 4096, 78));
    CHECK(std::filesystem::file_size(path) > packed + 2 * 60 * 1024);
    rewrite("later/ram"); // its pack lies before the last one's: that gets another number
    CHECK(open()->manifest().find_blob("later/ram") == nullptr);
    CHECK(*open()->open_blob("last/ram")->read_all(64 << 20) == noise(30 * 4096, 78));
    rewrite("last/ram");
    const auto bundle = open();
    CHECK(std::filesystem::file_size(path) < packed + 4096);
    CHECK(bundle->verify_content({}));
    for (const auto& [name, bytes] : content.blobs)
        CHECK(*bundle->open_blob(name)->read_all(64 << 20) == bytes);
    add("later/ram", ram); // and there is room for it again
    CHECK(*open()->open_blob("later/ram")->read_all(64 << 20) == ram);
    CHECK(open()->verify_content({}));
}

TEST_CASE("bundle: equal input gives equal manifests and packs, over several packs", "[bundle]") {
    Folder folder;
    Content content = small_content();
    WriterOptions small{.progress = {}};
    small.pack_limit = 100000;
    WriterOptions single = small;
    single.threads = 1;
    REQUIRE(write_bundle(content, folder / "a.encore", &Identity::get().signer, small));
    REQUIRE(write_bundle(content, folder / "b.encore", &Identity::get().signer, single));
    auto a = *Bundle::open(folder / "a.encore"), b = *Bundle::open(folder / "b.encore");
    REQUIRE(a->manifest().packs.size() > 3);
    REQUIRE(a->identity() == b->identity());
    REQUIRE(a->authenticate(Identity::get().trust));
    REQUIRE(*a->open_blob("disk0")->read_all(64 << 20) == content.blobs["disk0"]);
}

TEST_CASE("bundle: readers are safe to share between threads", "[bundle]") {
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "x.encore"));
    auto bundle = *Bundle::open(folder / "x.encore");
    REQUIRE(bundle->authenticate(Identity::get().trust));
    BlobReader reader = *bundle->open_blob("disk0");
    bundle.reset(); // readers keep the file
    const Bytes& disk = content.blobs["disk0"];
    std::atomic<int> wrong = 0;
    std::vector<std::jthread> threads;
    for (uint32_t seed = 0; seed < 4; ++seed)
        threads.emplace_back([&, seed] {
            std::mt19937 random(seed);
            for (int i = 0; i < 300; ++i) {
                Bytes out(1 + random() % 5000);
                size_t offset = random() % (disk.size() - out.size());
                if (!reader.read(offset, out) || !std::equal(out.begin(), out.end(), disk.begin() + offset))
                    ++wrong;
            }
        });
    threads.clear();
    REQUIRE(wrong == 0);
}

TEST_CASE("bundle: what a writer killed at the very last moment left beside it goes with the next",
          "[bundle]") {
    Folder folder;
    const Content content = small_content();
    const pid_t dead = ::fork();
    if (dead == 0)
        ::_exit(0);
    ::waitpid(dead, nullptr, 0);
    const std::string stale = folder / fmt::format("x.encore.{}.new", dead),
                      live = folder / fmt::format("x.encore.{}.new", ::getpid()),
                      other = folder / "x.encore.my.new";
    for (const std::string& path : {stale, live, other})
        write_file(path, {1});
    REQUIRE(write_bundle(content, folder / "x.encore"));
    CHECK_FALSE(std::filesystem::exists(stale));
    CHECK(std::filesystem::exists(live));
    CHECK(std::filesystem::exists(other));
}

TEST_CASE("bundle: stopping or running out of space leaves nothing behind and the old file whole",
          "[bundle]") {
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "x.encore"));
    Bytes before = read_file(folder / "x.encore");
    WriterOptions options{.progress = [](auto, auto, auto) { return false; }};
    REQUIRE(write_bundle(content, folder / "x.encore", &Identity::get().signer, options).error().code ==
            kCancelled);
    rlimit old_limit, limit;
    ::getrlimit(RLIMIT_FSIZE, &old_limit);
    limit = {100000, old_limit.rlim_max};
    ::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &limit); // writes fail half way, as on a full disk
    auto full = write_bundle(content, folder / "x.encore");
    ::setrlimit(RLIMIT_FSIZE, &old_limit);
    REQUIRE(full.error().code == kIo);
    REQUIRE(full.error().message.find("cannot write") != std::string::npos);
    REQUIRE(read_file(folder / "x.encore") == before);
    size_t files = 0;
    for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator(folder.path()))
        ++files;
    REQUIRE(files == 1);
}

TEST_CASE("bundle: opening reads the same few bytes whatever the bundle's size", "[bundle]") {
    // A sparse pack of 3 GiB: opening it must not read its data.
    Folder folder;
    Content content = small_content();
    REQUIRE(write_bundle(content, folder / "x.encore"));
    Bytes bytes = read_file(folder / "x.encore");
    Manifest manifest = (*Bundle::open(folder / "x.encore"))->manifest();
    manifest.packs.push_back({"blobs/padding.0", uint64_t{3} << 30, {}});
    std::string json = write_manifest(manifest);
    Bytes json_bytes(json.begin(), json.end());
    Bytes cms = *Identity::get().signer.sign(json_bytes);
    base::UniqueFd fd{::memfd_create("big", MFD_CLOEXEC)};
    uint64_t position = 0;
    auto put = [&](const std::string& name, const Bytes& data, uint64_t size) {
        auto header = canonical_header(name, size);
        REQUIRE(::pwrite(fd.get(), header.data(), header.size(), position) == 512);
        REQUIRE(::pwrite(fd.get(), data.data(), data.size(), position + 512) ==
                static_cast<ssize_t>(data.size()));
        position += member_span(size);
    };
    put("manifest.json", json_bytes, json.size());
    put("manifest.cms", cms, cms.size());
    auto old = *Bundle::open(folder / "x.encore");
    for (size_t i = 0; i + 1 < manifest.packs.size(); ++i) {
        auto from = bytes.begin() + static_cast<ptrdiff_t>(old->raw_pack(i).offset);
        put(manifest.packs[i].member, Bytes(from, from + static_cast<ptrdiff_t>(manifest.packs[i].size)),
            manifest.packs[i].size);
    }
    put("blobs/padding.0", {}, uint64_t{3} << 30);
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(position + kTarEnd)) == 0);
    int memory = fd.get();
    base::UniqueFd copy{::dup(memory)};
    auto bundle = Bundle::open_fd(std::move(copy), "big");
    REQUIRE(bundle);
    REQUIRE((*bundle)->authenticate(Identity::get().trust));
    Bytes page(4096);
    REQUIRE((*bundle)->open_blob("start/ram")->read(1 << 20, page));
    struct stat info;
    ::fstat(memory, &info);
    REQUIRE(info.st_blocks * 512 < (64 << 20)); // reading the hole would have populated it
}

TEST_CASE("bundle: begins with a marker of its own; one from before there was a marker opens as well",
          "[bundle]") {
    Folder folder;
    REQUIRE(write_bundle(small_content(), folder / "x.encore"));
    const Bytes bytes = read_file(folder / "x.encore");
    // What assets/install/encore.xml tells desktops to look for.
    CHECK(std::string(bytes.begin(), bytes.begin() + 14) == std::string("encore.bundle\0", 14));
    CHECK(std::string(bytes.begin() + 500, bytes.begin() + 512) == std::string("\x89"
                                                                               "encore\r\n\x1a\n\0",
                                                                               12));
    const Bytes old(bytes.begin() + kTarBlock, bytes.end());
    Bytes twice(bytes.begin(), bytes.begin() + kTarBlock);
    twice.insert(twice.end(), bytes.begin(), bytes.end());
    Bytes other = bytes;
    other[300] = 1;
    struct Case {
        const Bytes& file;
        int code;
    };
    for (const auto& [file, code] :
         {Case{bytes, 0}, Case{old, 0}, Case{twice, kDamaged}, Case{other, kDamaged}}) {
        const auto opened = Bundle::open_fd(memory_file(file), "x.encore");
        REQUIRE((opened ? 0 : opened.error().code) == code);
        if (!opened)
            continue;
        REQUIRE((*opened)->authenticate(Identity::get().trust));
        CHECK((*opened)->verify_content({}));
        CHECK((*opened)->file_size() == file.size());
    }
}
