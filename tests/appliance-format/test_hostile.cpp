// Archives and signed manifests made to do harm: each is refused with one clear line, within bounded memory.
#include "tests/appliance-format/bundle_fixture.h"

#include "appliance-format/crc32c.h"
#include "signing/outcome.h"

#include <fmt/format.h>
#include <functional>
#include <sys/resource.h>
#include <zstd.h>

using namespace fixture;

namespace {

using Header = std::array<uint8_t, kTarBlock>;

struct Member {
    std::string name;
    Bytes data;
    std::function<void(Header&)> change = {}; // applied before the checksum
    uint64_t claimed = ~uint64_t{0};          // size in the header, when not that of the data
};

void text(Header& header, size_t at, std::string_view value) {
    std::copy(value.begin(), value.end(), &header[at]);
}

// A header any tar program accepts, whatever it says.
void fix_checksum(Header& header) {
    std::fill_n(&header[148], 8, ' ');
    unsigned sum = 0;
    for (uint8_t byte : header)
        sum += byte;
    text(header, 148, fmt::format("{:06o}", sum));
    header[154] = 0;
}

Bytes archive_of(const std::vector<Member>& members) {
    Bytes out;
    for (const Member& member : members) {
        uint64_t size = member.claimed == ~uint64_t{0} ? member.data.size() : member.claimed;
        Header header = canonical_header(member.name, size);
        if (member.change) {
            member.change(header);
            fix_checksum(header);
        }
        out.insert(out.end(), header.begin(), header.end());
        out.insert(out.end(), member.data.begin(), member.data.end());
        out.resize((out.size() + kTarBlock - 1) / kTarBlock * kTarBlock, 0);
    }
    out.resize(out.size() + kTarEnd, 0);
    return out;
}

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// One stored object in one pack, and a manifest that is valid but for what the caller changes.
struct Signed {
    Bytes content = noise(kDiskChunk, 4);
    Bytes pack;
    Manifest manifest;

    Signed() {
        pack.resize(ZSTD_compressBound(content.size()));
        pack.resize(ZSTD_compress(pack.data(), pack.size(), content.data(), content.size(), 3));
        manifest = small_content().manifest;
        manifest.scenes.clear();
        manifest.start.clear();
        manifest.packs = {{"blobs/chunks.0", pack.size(), signing::sha256(pack)}};
        manifest.blobs = {{"disk0", content.size(), kDiskChunk, root()}};
    }
    [[nodiscard]] ObjectRef root() const {
        return {object_hash(0, content), 0, 0, static_cast<uint32_t>(pack.size()), crc32c(pack)};
    }
    // Replaces the pack, keeping its digest and checksums right.
    void set_pack(Bytes bytes) {
        pack = std::move(bytes);
        manifest.packs[0].size = pack.size();
        manifest.packs[0].sha256 = signing::sha256(pack);
        manifest.blobs[0].root = root();
    }
    [[nodiscard]] std::vector<Member> members(const std::string& json) const {
        return {{"manifest.json", bytes_of(json)},
                {"manifest.cms", *Identity::get().signer.sign(bytes_of(json))},
                {"blobs/chunks.0", pack}};
    }
    [[nodiscard]] std::vector<Member> members() const { return members(write_manifest(manifest)); }
    [[nodiscard]] Bytes archive() const { return archive_of(members()); }
};

// The first error met by someone who opens, authenticates and reads everything; empty if there is none.
base::Error use(const Bytes& bytes) {
    auto bundle = Bundle::open_fd(memory_file(bytes), "x.encore");
    if (!bundle)
        return bundle.error();
    if (auto publisher = (*bundle)->authenticate(Identity::get().trust); !publisher)
        return publisher.error();
    for (const BlobInfo& blob : (*bundle)->manifest().blobs) {
        BlobReader reader = *(*bundle)->open_blob(blob.name);
        Bytes out(std::min<uint64_t>(blob.size, 4 << 20), 0xEE);
        if (auto read = reader.read(0, out); !read)
            return read.error();
    }
    if (auto verified = (*bundle)->verify_content({}); !verified)
        return verified.error();
    return {0, ""};
}

long peak_kib() {
    rusage usage;
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

void refused(const char* what, const Bytes& bytes) {
    INFO(what);
    long before = peak_kib();
    base::Error error = use(bytes);
    INFO(error.message);
    CHECK(error.code != 0);
    CHECK(error.message.rfind("x.encore: ", 0) == 0);
    CHECK(error.message.find('\n') == std::string::npos);
    CHECK(error.message.size() < 400);
    CHECK(peak_kib() - before < 64 << 10);
}

} // namespace

TEST_CASE("hostile: the honest archive these are made from is accepted", "[hostile]") {
    REQUIRE(use(Signed{}.archive()).code == 0);
}

TEST_CASE("hostile: archives with members of the wrong kind, name or place are refused", "[hostile]") {
    const Signed good;
    const std::vector<Member> base = good.members();
    auto with = [&](size_t at, Member member) {
        auto members = base;
        members.insert(members.begin() + static_cast<ptrdiff_t>(at), std::move(member));
        return archive_of(members);
    };
    auto typed = [&](char type, std::string link = "") {
        return [=](Header& header) {
            header[156] = static_cast<uint8_t>(type);
            text(header, 157, link);
        };
    };
    auto named = [](std::string_view name) {
        return [=](Header& header) { std::fill_n(&header[0], 100, 0), text(header, 0, name); };
    };
    refused("path escape", with(2, {"x", bytes_of("x"), named("../../etc/cron.d/x")}));
    refused("path escape, first", with(0, {"x", bytes_of("x"), named("../x")}));
    refused("absolute path", with(2, {"x", bytes_of("x"), named("/etc/passwd")}));
    refused("dot component", with(2, {"x", bytes_of("x"), named("blobs/../manifest.json")}));
    refused("control characters", with(2, {"x", bytes_of("x"), named("blobs/\x1b[2Jx")}));
    refused("symbolic link", with(2, {"blobs/a", {}, typed('2', "/etc/passwd")}));
    refused("hard link", with(2, {"blobs/a", {}, typed('1', "manifest.json")}));
    refused("character device", with(2, {"blobs/a", {}, typed('3')}));
    refused("block device", with(2, {"blobs/a", {}, typed('4')}));
    refused("fifo", with(2, {"blobs/a", {}, typed('6')}));
    refused("folder", with(2, {"blobs", {}, typed('5')}));
    refused("old GNU sparse", with(2, {"blobs/a", bytes_of("x"), typed('S')}));
    refused("GNU long name of 7 GiB", with(2, {"blobs/a", bytes_of("x"), typed('L'), uint64_t{7} << 30}));
    refused("pax path override", with(2, {"x", bytes_of("22 path=../../escape.x\n"), typed('x')}));
    refused("pax size override", with(2, {"x", bytes_of("22 size=99999999999999\n"), typed('x')}));
    refused("pax sparse map", with(2, {"x", bytes_of("22 GNU.sparse.major=1\n"), typed('x')}));
    refused("pax global header", with(0, {"x", bytes_of("22 path=../../escape.x\n"), typed('g')}));
    refused("manifest twice", with(1, base[0]));
    refused("pack twice", with(3, base[2]));
    refused("member nobody names", with(3, {"blobs/extra", bytes_of("x")}));
    refused("pack missing", archive_of({base[0], base[1]}));
    refused("signature first", archive_of({base[1], base[0], base[2]}));
    refused("another owner", with(3, {"blobs/a", {}, [](Header& h) { text(h, 265, "root"); }}));
    auto members = base;
    members[2].change = [](Header& header) { text(header, 136, "14000000000"); };
    refused("header with a date", archive_of(members));
}

TEST_CASE("hostile: archives with lying sizes, huge counts or foreign bytes are refused", "[hostile]") {
    const Signed good;
    const std::vector<Member> base = good.members();
    auto changed = [&](size_t at, auto change) {
        auto members = base;
        change(members[at]);
        return archive_of(members);
    };
    refused("member longer than the file", changed(2, [](Member& m) { m.claimed = 1 << 30; }));
    refused("member of 8 GiB - 1", changed(2, [](Member& m) { m.claimed = (uint64_t{1} << 33) - 1; }));
    refused("member shorter than its data: overlapping headers",
            changed(2, [](Member& m) { m.claimed = 1; }));
    refused("negative base-256 size",
            changed(2, [](Member& m) { m.change = [](Header& h) { std::fill_n(&h[124], 12, 0xFF); }; }));
    refused("manifest of 5 MiB", changed(0, [](Member& m) { m.data.resize(5 << 20, ' '); }));
    refused("signature of 1 MiB", changed(1, [](Member& m) { m.data.resize(1 << 20, 0x30); }));
    refused("manifest nested 100,000 deep", changed(0, [](Member& m) { m.data = Bytes(100000, '['); }));
    auto many = base;
    for (int i = 0; i < 10000; ++i)
        many.push_back({fmt::format("blobs/n{}", i), {}});
    refused("10,000 members", archive_of(many));
    Bytes bytes = good.archive();
    bytes[bytes.size() - kTarEnd - 1] = 1;
    refused("bytes in the padding", bytes);
    bytes = good.archive();
    Bytes twice = bytes;
    twice.insert(twice.end(), bytes.begin(), bytes.end());
    refused("a second archive behind the first", twice);
    bytes.resize(bytes.size() + 8192, 0);
    refused("longer end of archive", bytes);
    refused("empty file", {});
    refused("text", bytes_of("hello"));
    refused("gzip", {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3});
}

TEST_CASE("hostile: trusted publishers cannot make the reader leave its bounds either", "[hostile]") {
    auto changed = [](const std::function<void(Signed&)>& change) {
        Signed s;
        change(s);
        return s.archive();
    };
    auto json = [](std::string_view from, std::string_view to) {
        Signed s;
        std::string text = write_manifest(s.manifest);
        size_t at = text.find(from);
        REQUIRE(at != std::string::npos);
        text.replace(at, from.size(), to);
        return archive_of(s.members(text));
    };
    refused("newer format", json("\"format\":1", "\"format\":2"));
    refused("unknown critical feature", json("\"critical\":[]", "\"critical\":[\"time-travel\"]"));
    refused("key twice", json("\"format\":1", "\"format\":1,\"format\":1"));
    refused("spaces", json("\"format\":1", "\"format\": 1"));
    refused("number too large", json("\"size\":65536", "\"size\":184467440737095516150"));
    refused("negative size", json("\"size\":65536", "\"size\":-1"));
    refused("not an object", json("\"policy\":{", "\"policy\":[{}],\"pplicy\":{"));
    refused("blob of 2^60 bytes", changed([](Signed& s) { s.manifest.blobs[0].size = uint64_t{1} << 60; }));
    refused("chunks of 3 bytes", changed([](Signed& s) { s.manifest.blobs[0].chunk = 3; }));
    refused("chunks of 1 GiB", changed([](Signed& s) { s.manifest.blobs[0].chunk = 1u << 30; }));
    refused("root outside the pack", changed([](Signed& s) { s.manifest.blobs[0].root.offset = 1u << 31; }));
    refused("root in no pack", changed([](Signed& s) { s.manifest.blobs[0].root.pack = 900; }));
    refused("stored longer than content", changed([](Signed& s) { s.manifest.blobs[0].size = 16; }));
    refused("stored length 0", changed([](Signed& s) { s.manifest.blobs[0].root.stored = 0; }));
    refused("blob name escapes", changed([](Signed& s) {
                s.manifest.blobs[0].name = "../../x";
                s.manifest.media[0].blob = "../../x";
            }));
    refused("pack shadows the manifest",
            changed([](Signed& s) { s.manifest.packs[0].member = "manifest.json"; }));
    refused("title with escape sequence",
            changed([](Signed& s) { s.manifest.appliance.title = "\x1b]0;x"; }));
    refused("memory of 3 TiB", changed([](Signed& s) { s.manifest.machine.memory = uint64_t{3} << 40; }));
    refused("chunk is a node with itself as child",
            changed([](Signed& s) { s.manifest.blobs[0].size = 1 << 20; }));
    refused("decompression bomb", changed([](Signed& s) {
                Bytes zeros(256 << 20, 0), frame(1 << 20);
                frame.resize(ZSTD_compress(frame.data(), frame.size(), zeros.data(), zeros.size(), 1));
                s.set_pack(frame);
            }));
    refused("two frames", changed([](Signed& s) {
                Bytes half = s.pack;
                half.insert(half.end(), s.pack.begin(), s.pack.end());
                s.set_pack(half);
            }));
    refused("frame of other content", changed([](Signed& s) {
                s.content[5] ^= 1; // the hash in the root is of this content, the pack still holds the other
                s.manifest.blobs[0].root = s.root();
            }));
    refused("bytes no blob refers to, changed", [&] {
        Signed s;
        Bytes padded = s.pack;
        padded.resize(padded.size() + 100, 7);
        s.manifest.packs[0] = {"blobs/chunks.0", padded.size(), signing::sha256(padded)};
        padded.back() ^= 1;
        s.pack = padded;
        return s.archive();
    }());
}
