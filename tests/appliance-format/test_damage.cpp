// One flipped bit, or a cut, anywhere in a bundle: always a clear error, never wrong data.
#include "tests/appliance-format/bundle_fixture.h"

#include "signing/outcome.h"

using namespace fixture;

namespace {

struct Reading {
    bool verified = false; // `encore verify` would say yes
    bool opened = false;   // open and authenticate said yes
    bool all_read = false; // every byte of every blob was handed out
    std::string message;
};

// Opens the bytes as a bundle and reads everything; wrong data ends the test at once.
Reading read_everything(const Bytes& bytes, const Content& content) {
    Reading reading;
    auto note = [&](const base::Error& error) {
        reading.message = error.message;
        CHECK((error.code == kDamaged || error.code == kNotABundle || error.code == signing::kUnsigned ||
               error.code == kUnsupported || error.code == signing::kUntrusted));
    };
    auto bundle = Bundle::open_fd(memory_file(bytes), "x.encore");
    if (!bundle) {
        note(bundle.error());
        return reading;
    }
    if (auto publisher = (*bundle)->authenticate(Identity::get().trust); !publisher) {
        note(publisher.error());
        return reading;
    }
    reading.opened = reading.all_read = true;
    for (const auto& [name, expected] : content.blobs) {
        BlobReader reader = *(*bundle)->open_blob(name);
        Bytes out(expected.size(), 0xEE);
        if (auto read = reader.read(0, out); !read) {
            note(read.error());
            CHECK(read.error().message.find("member blobs/") != std::string::npos);
            CHECK(read.error().message.find(" of " + name) != std::string::npos);
            reading.all_read = false;
        } else if (out != expected) {
            FAIL("wrong data was handed out from " << name);
        }
    }
    auto verified = (*bundle)->verify_content({});
    reading.verified = verified.has_value();
    if (!verified)
        note(verified.error());
    return reading;
}

// A bundle without long zero runs, so that random positions hit every part of it.
struct Sample {
    Content content = small_content();
    Bytes bytes;
    Sample() {
        Folder folder;
        REQUIRE(write_bundle(content, folder / "x.encore"));
        bytes = read_file(folder / "x.encore");
    }
};

} // namespace

TEST_CASE("damage: 1,000 random flipped bits are all refused and never give wrong data", "[damage]") {
    Sample sample;
    Reading whole = read_everything(sample.bytes, sample.content);
    REQUIRE(whole.verified);
    REQUIRE(whole.all_read);
    std::mt19937_64 random(20240611);
    int at_open = 0, at_touch = 0;
    for (int i = 0; i < 1000; ++i) {
        uint64_t bit = random() % (sample.bytes.size() * 8);
        INFO("bit " << bit % 8 << " of byte " << bit / 8 << " of " << sample.bytes.size());
        Bytes damaged = sample.bytes;
        damaged[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        Reading reading = read_everything(damaged, sample.content);
        CHECK_FALSE(reading.verified);
        // Pack bytes are all referenced here, so readers find every change too, not only the full check.
        CHECK_FALSE(reading.all_read);
        CHECK(reading.message.rfind("x.encore: ", 0) == 0);
        CHECK(reading.message.find('\n') == std::string::npos);
        ++(reading.opened ? at_touch : at_open);
    }
    INFO("found at open " << at_open << ", at first touch " << at_touch);
    CHECK(at_touch > 100);
}

TEST_CASE("damage: every bit of headers, manifest, signature and end is covered", "[damage]") {
    Sample sample;
    auto bundle = *Bundle::open_fd(memory_file(sample.bytes), "x.encore");
    const size_t head = bundle->raw_pack(0).offset;
    std::vector<size_t> positions;
    for (size_t i = 0; i < head; i += 3) // every third byte with a varying bit, all of the signature below
        positions.push_back(i);
    const size_t cms = 2 * kTarBlock + member_span(bundle->manifest_json().size());
    for (size_t i = cms; i < head; ++i)
        positions.push_back(i);
    for (size_t i = sample.bytes.size() - 1600; i < sample.bytes.size(); i += 5)
        positions.push_back(i);
    for (size_t i = 0; i < positions.size(); ++i) {
        INFO("byte " << positions[i]);
        Bytes damaged = sample.bytes;
        damaged[positions[i]] ^= static_cast<uint8_t>(1 << (i * 5 + positions[i]) % 8);
        auto opened = Bundle::open_fd(memory_file(damaged), "x.encore");
        if (positions[i] < head || positions[i] >= sample.bytes.size() - kTarEnd)
            CHECK_FALSE((opened && (*opened)->authenticate(Identity::get().trust)));
    }
}

TEST_CASE("damage: a bundle cut at any of 100 lengths is refused at open", "[damage]") {
    Sample sample;
    std::mt19937_64 random(5);
    for (int i = 0; i < 100; ++i) {
        size_t length = i < 10 ? static_cast<size_t>(i) * 100 : random() % sample.bytes.size();
        Bytes cut(sample.bytes.begin(), sample.bytes.begin() + static_cast<ptrdiff_t>(length));
        auto opened = Bundle::open_fd(memory_file(cut), "x.encore");
        INFO("length " << length);
        REQUIRE_FALSE(opened);
        CHECK((opened.error().code == kDamaged || opened.error().code == kNotABundle ||
               opened.error().code == signing::kUnsigned));
    }
    Bytes longer = sample.bytes;
    longer.push_back(0);
    REQUIRE(Bundle::open_fd(memory_file(longer), "x.encore").error().code == kDamaged);
}

TEST_CASE("damage: a file that shrinks after opening gives an error, not a crash", "[damage]") {
    Sample sample;
    base::UniqueFd fd = memory_file(sample.bytes);
    base::UniqueFd same{::dup(fd.get())};
    auto bundle = *Bundle::open_fd(std::move(fd), "x.encore");
    REQUIRE(bundle->authenticate(Identity::get().trust));
    REQUIRE(::ftruncate(same.get(), 8192) == 0);
    Bytes out(4096, 0xEE);
    auto read = bundle->open_blob("start/ram")->read(1 << 20, out);
    REQUIRE_FALSE(read);
    REQUIRE(out == Bytes(4096, 0xEE)); // the index could not be read; nothing was touched
}
