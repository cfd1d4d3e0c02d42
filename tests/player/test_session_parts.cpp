// The parts of a session one by one.
#include "player/key_names.h"
#include "player/machine/overlay_port.h"
#include "player/png_writer.h"
#include "player/run_script.h"
#include "player/scan_codes.h"
#include "player/session_storage.h"
#include "player/typist.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <zlib.h>

using namespace machine;
using namespace player;
namespace fs = std::filesystem;

namespace {

struct Folder {
    Folder() {
        std::string name = fs::temp_directory_path() / "encore-parts-XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        path = name;
    }
    ~Folder() { fs::remove_all(path); }
    std::string path;
};

class MemoryPort final : public vmm::BlockPort {
  public:
    explicit MemoryPort(std::vector<uint8_t> content) : bytes(std::move(content)) {}
    uint64_t size_bytes() const override { return bytes.size(); }
    bool read_only() const override { return true; }
    base::Result<void> read(uint64_t offset, std::span<uint8_t> to) override {
        std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(offset), to.size(), to.begin());
        return {};
    }
    base::Result<void> write(uint64_t, std::span<const uint8_t>) override { return base::fail("read-only"); }
    base::Result<void> flush() override { return {}; }
    std::vector<uint8_t> bytes;
};

std::vector<uint8_t> noise(size_t size) {
    std::mt19937 random(7);
    std::vector<uint8_t> bytes(size);
    for (uint8_t& byte : bytes)
        byte = static_cast<uint8_t>(random());
    return bytes;
}

} // namespace

TEST_CASE("overlay: reads and writes of any shape are those of a plain disk, and the disk below stays",
          "[overlay]") {
    Folder folder;
    auto storage = SessionStorage::open(folder.path);
    REQUIRE(storage);
    const size_t size = 5 * kOverlayChunk + 1536; // the last chunk is not whole
    auto base = std::make_shared<MemoryPort>(noise(size));
    const std::vector<uint8_t> before = base->bytes;
    std::vector<uint8_t> expected = before;
    auto budget = std::make_shared<OverlayBudget>(1ull << 30);
    {
        OverlayPort port(base, std::move(*(*storage)->create_file()), budget, {});
        std::mt19937 random(11);
        for (int i = 0; i < 400; ++i) {
            const size_t offset = random() % size;
            const size_t length = random() % std::min<size_t>(size - offset, 3 * kOverlayChunk) + 1;
            if (i % 2 == 0) {
                std::vector<uint8_t> data(length);
                for (uint8_t& byte : data)
                    byte = static_cast<uint8_t>(random());
                REQUIRE(port.write(offset, data));
                std::copy(data.begin(), data.end(), expected.begin() + static_cast<ptrdiff_t>(offset));
            } else {
                std::vector<uint8_t> got(length);
                REQUIRE(port.read(offset, got));
                REQUIRE(
                    std::equal(got.begin(), got.end(), expected.begin() + static_cast<ptrdiff_t>(offset)));
            }
        }
        CHECK(budget->used() <= 6 * kOverlayChunk); // never more than the disk
        std::vector<uint8_t> beyond(16);
        CHECK_FALSE(port.read(size - 8, beyond));
        CHECK_FALSE(port.write(size - 8, beyond));
        CHECK_FALSE(port.write(~uint64_t{0} - 4, beyond));
    }
    CHECK(base->bytes == before);
    CHECK(budget->used() == 0);
}

TEST_CASE("overlay: beyond the budget writes fail, what was there stays readable", "[overlay]") {
    Folder folder;
    auto storage = SessionStorage::open(folder.path);
    REQUIRE(storage);
    auto base = std::make_shared<MemoryPort>(noise(4 * kOverlayChunk));
    int notices = 0;
    OverlayPort port(base, std::move(*(*storage)->create_file()),
                     std::make_shared<OverlayBudget>(kOverlayChunk), [&](const std::string&) { ++notices; });
    const std::vector<uint8_t> ones(512, 1);
    CHECK(port.write(0, ones));
    CHECK_FALSE(port.write(kOverlayChunk, ones));
    CHECK_FALSE(port.write(2 * kOverlayChunk, ones));
    CHECK(notices == 1);
    CHECK(port.write(1024, ones)); // in a chunk that is there already
    std::vector<uint8_t> got(512);
    REQUIRE(port.read(kOverlayChunk, got));
    CHECK(std::equal(got.begin(), got.end(), base->bytes.begin() + kOverlayChunk));
    REQUIRE(port.read(0, got));
    CHECK(got == ones);
}

TEST_CASE("overlay: a write that finds no room on the host waits, and is done when there is room",
          "[overlay]") {
    Folder folder;
    auto storage = SessionStorage::open(folder.path);
    REQUIRE(storage);
    auto base = std::make_shared<MemoryPort>(noise(2 * kOverlayChunk));
    std::atomic<int> stalls = 0;
    auto budget = std::make_shared<OverlayBudget>(
        1ull << 30, [&](const std::string& why) { stalls += why.empty() ? 0 : 1; });
    OverlayPort port(base, std::move(*(*storage)->create_file()), budget, {});
    const std::vector<uint8_t> ones(512, 1);
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit unlimited{};
    ::getrlimit(RLIMIT_FSIZE, &unlimited);
    const rlimit small{kOverlayChunk + 4096, unlimited.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK(port.write(0, ones)); // there is room for one chunk
    CHECK(budget->room().why().empty());
    std::atomic<bool> done = false;
    std::thread writer([&] { done = port.write(kOverlayChunk, ones).has_value(); });
    const auto waits = [&] { return !budget->room().why().empty(); };
    for (int i = 0; i < 1000 && !waits(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(waits());
    CHECK_FALSE(done);
    budget->room().retry(); // too early
    ::setrlimit(RLIMIT_FSIZE, &unlimited);
    budget->room().retry();
    writer.join();
    CHECK(done);
    CHECK(stalls == 1);
    CHECK_FALSE(waits());
    std::vector<uint8_t> got(512);
    REQUIRE(port.read(kOverlayChunk, got));
    CHECK(got == ones);
}

TEST_CASE("overlay: a write that nobody waits for any more is an error and leaves the old content",
          "[overlay]") {
    Folder folder;
    auto base = std::make_shared<MemoryPort>(noise(2 * kOverlayChunk));
    std::string said;
    auto budget = std::make_shared<OverlayBudget>(1ull << 30);
    // A descriptor that answers ENOSPC to every write.
    OverlayPort port(base, base::UniqueFd(::open("/dev/full", O_RDWR | O_CLOEXEC)), budget,
                     [&](const std::string& text) { said = text; });
    const std::vector<uint8_t> ones(512, 1);
    std::thread giving_up([&] {
        while (budget->room().why().empty())
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        budget->room().abandon();
    });
    CHECK_FALSE(port.write(0, ones));
    giving_up.join();
    CHECK_FALSE(port.write(0, ones)); // and so does what comes later
    CHECK(said.find("No space left") != std::string::npos);
    CHECK(budget->used() == 0);
    CHECK(budget->room().why().empty());
    std::vector<uint8_t> got(512);
    REQUIRE(port.read(0, got));
    CHECK(std::equal(got.begin(), got.end(), base->bytes.begin()));
}

TEST_CASE("storage: nameless files leave nothing; named ones go with their session", "[storage]") {
    Folder folder;
    const auto entries = [&] {
        size_t count = 0;
        for (const auto& entry : fs::directory_iterator(folder.path + "/encore/sessions"))
            count += entry.path().filename() != ".lock";
        return count;
    };
    {
        auto storage = SessionStorage::open(folder.path);
        REQUIRE(storage);
        auto file = (*storage)->create_file();
        REQUIRE(file);
        CHECK(::write(file->get(), "x", 1) == 1);
        CHECK(entries() == 0);
    }
    {
        auto storage = SessionStorage::open(folder.path, SessionStorage::Files::Named);
        REQUIRE(storage);
        REQUIRE((*storage)->create_file());
        CHECK(entries() == 1);
        auto other = SessionStorage::open(folder.path); // a live session's folder is not stale
        REQUIRE(other);
        CHECK(entries() == 1);
    }
    CHECK(entries() == 0);
}

TEST_CASE("storage: what a killed session left is removed by the next one", "[storage]") {
    Folder folder;
    const pid_t child = ::fork();
    if (child == 0) {
        auto storage = SessionStorage::open(folder.path, SessionStorage::Files::Named);
        ::_exit(storage && (*storage)->create_file() ? 42 : 1); // no destructor runs, as with kill -9
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WEXITSTATUS(status) == 42);
    const std::string sessions = folder.path + "/encore/sessions";
    fs::create_directory(sessions + "/half-made"); // killed between making the folder and locking it
    std::ofstream(folder.path + "/precious") << "x";
    fs::create_directory_symlink(folder.path, sessions + "/link");
    auto count = [&] { return std::distance(fs::directory_iterator(sessions), fs::directory_iterator()); };
    CHECK(count() == 4);
    auto next = SessionStorage::open(folder.path);
    REQUIRE(next);
    CHECK(count() == 2); // its lock, and a link that is nobody's session
    CHECK(fs::exists(folder.path + "/precious"));
}

TEST_CASE("scan codes: every key of a US keyboard has one, and only one", "[keys]") {
    std::map<uint16_t, uint32_t> seen;
    for (uint32_t usage = 0x04; usage <= 0x67; ++usage) {
        const uint16_t code = scan_code_for_usage(usage);
        INFO(usage);
        CHECK(code != 0);
        if (usage != 0x32) // non-US #: the same key as backslash
            CHECK(seen.emplace(code, usage).second);
    }
    for (uint32_t usage = 0xE0; usage <= 0xE7; ++usage)
        CHECK(seen.emplace(scan_code_for_usage(usage), usage).second);
    CHECK(scan_code_for_usage(0) == 0);
    CHECK(scan_code_for_usage(0xE8) == 0);
    CHECK(scan_code_for_usage(~0u) == 0);
    // Microsoft's table, samples of each region.
    CHECK(scan_code_for_usage(0x04) == 0x1E);   // a
    CHECK(scan_code_for_usage(0x1D) == 0x2C);   // z
    CHECK(scan_code_for_usage(0x27) == 0x0B);   // 0
    CHECK(scan_code_for_usage(0x45) == 0x58);   // F12
    CHECK(scan_code_for_usage(0x46) == 0xE037); // Print
    CHECK(scan_code_for_usage(0x48) == 0xE11D); // Pause
    CHECK(scan_code_for_usage(0x50) == 0xE04B); // left
    CHECK(scan_code_for_usage(0x58) == 0xE01C); // keypad Enter
    CHECK(scan_code_for_usage(0x62) == 0x52);   // keypad 0
    CHECK(scan_code_for_usage(0x64) == 0x56);   // the key left of Z in Europe
    CHECK(scan_code_for_usage(0x87) == 0x73);   // Ro
    CHECK(scan_code_for_usage(0xE6) == 0xE038); // right Alt
    CHECK(scan_code_with_modifiers(0xE11D, true, false) == 0xE046);
    CHECK(scan_code_with_modifiers(0xE037, false, true) == 0x54);
    CHECK(scan_code_with_modifiers(0x1E, true, true) == 0x1E);
}

TEST_CASE("keys: chords and texts by name", "[keys]") {
    CHECK(*parse_chord("ctrl-alt-delete", *KeyboardLayout::us()) ==
          std::vector<uint16_t>{0x1D, 0x38, 0xE053});
    CHECK(*parse_chord("Alt-F4", *KeyboardLayout::us()) == std::vector<uint16_t>{0x38, 0x3E});
    CHECK(*parse_chord("a", *KeyboardLayout::us()) == std::vector<uint16_t>{0x1E});
    for (const char* wrong : {"", "-", "ctrl-", "-a", "ctrl--a", "hyper-x", "?"})
        CHECK_FALSE(parse_chord(wrong, *KeyboardLayout::us()));
    const auto keys = *keys_for_text("aA1!\n-_ ~\\|/?", *KeyboardLayout::us());
    CHECK(keys == std::vector<std::vector<uint16_t>>{{0x1E},
                                                     {0x2A, 0x1E},
                                                     {0x02},
                                                     {0x2A, 0x02},
                                                     {0x1C},
                                                     {0x0C},
                                                     {0x2A, 0x0C},
                                                     {0x39},
                                                     {0x2A, 0x29},
                                                     {0x2B},
                                                     {0x2A, 0x2B},
                                                     {0x35},
                                                     {0x2A, 0x35}});
    for (char c = ' '; c <= '~'; ++c)
        CHECK(keys_for_text(std::string(1, c), *KeyboardLayout::us()));
    CHECK_FALSE(keys_for_text("\xc3\xa4", *KeyboardLayout::us()));
    CHECK(*unescape("a\\n\\\\n\\t") == "a\n\\n\t");
    CHECK_FALSE(unescape("a\\"));
    CHECK_FALSE(unescape("\\q"));
}

TEST_CASE("keys: a layout by name says which keys type a character, and what it cannot type is named",
          "[keys]") {
    const auto layout = [](std::string_view name) { return KeyboardLayout::by_name(name).value(); };
    using Chords = std::vector<Chord>;
    const auto de = layout("de"), fr = layout("fr"), es = layout("es"), us = KeyboardLayout::us();
    CHECK(*keys_for_text("züÜß", *de) == Chords{{0x15}, {0x1A}, {0x2A, 0x1A}, {0x0C}});
    CHECK(*keys_for_text("@|<>", *de) == Chords{{0xE038, 0x10}, {0xE038, 0x56}, {0x56}, {0x2A, 0x56}});
    CHECK(*keys_for_text("é^", *de) == Chords{{0x0D}, {0x12}, {0x29}, {0x39}}); // dead keys
    CHECK(*keys_for_text("aqé1ê", *fr) == Chords{{0x10}, {0x1E}, {0x03}, {0x2A, 0x02}, {0x1A}, {0x12}});
    CHECK(*keys_for_text("ñ¿", *es) == Chords{{0x27}, {0x2A, 0x0D}});
    CHECK(*keys_for_text("é", *layout("ch-fr")) == Chords{{0x27}});
    CHECK(*keys_for_text("£", *layout("uk")) == Chords{{0x2A, 0x04}});
    CHECK(*keys_for_text("è", *layout("it")) == Chords{{0x1A}});
    CHECK(*keys_for_text("\n\t\b\x1b", *de) == *keys_for_text("\n\t\b\x1b", *us));

    CHECK(*parse_chord("ctrl-ü", *de) == Chord{0x1D, 0x1A});
    CHECK(*parse_chord("ctrl-z", *de) == Chord{0x1D, 0x15});
    CHECK(*parse_chord("ctrl-minus", *de) == Chord{0x1D, 0x35});
    CHECK_FALSE(parse_chord("ctrl-ü", *us));

    const auto fails = [](const auto& result, const std::string& with) {
        REQUIRE_FALSE(result);
        CHECK(result.error().message.find(with) != std::string::npos);
    };
    fails(keys_for_text("Ж", *de), "'Ж' (U+0416) is on no key of the de layout");
    fails(keys_for_text("ü", *us), "'ü' (U+00FC) is on no key of the us layout");
    fails(keys_for_text("\x7f", *us), "(U+007F) is on no key");
    for (const char* bad : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"})
        fails(keys_for_text(bad, *de), "UTF-8");
    for (const char* none : {"nowhere", "de-nowhere", "", "../de", "de,us"})
        fails(KeyboardLayout::by_name(none), "there is no keyboard layout '" + std::string(none) + "'");
    // The one that needs no database is what the database has.
    const auto dvorak = layout("us-dvorak"), plain = layout("us-basic");
    CHECK(*keys_for_text("o", *dvorak) == Chords{{0x1F}});
    for (char c = ' '; c <= '~'; ++c)
        CHECK(*keys_for_text(std::string(1, c), *plain) == *keys_for_text(std::string(1, c), *us));
}

TEST_CASE("typist: every key that goes down comes up, in order; forgetting leaves none down", "[keys]") {
    std::mutex mutex;
    std::vector<std::pair<uint16_t, bool>> sent;
    Typist typist([&](const vmm::KeyEvent& event) {
        const std::lock_guard lock(mutex);
        sent.emplace_back(event.scan_code, event.pressed);
    });
    REQUIRE(typist.press("ctrl-c"));
    REQUIRE(typist.type("A"));
    while (typist.waiting() != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(sent == std::vector<std::pair<uint16_t, bool>>{{0x1D, true},
                                                         {0x2E, true},
                                                         {0x2E, false},
                                                         {0x1D, false},
                                                         {0x2A, true},
                                                         {0x1E, true},
                                                         {0x1E, false},
                                                         {0x2A, false}});
    CHECK_FALSE(typist.type(std::string(100000, 'a')));
    sent.clear();
    REQUIRE(typist.type(std::string(200, 'a')));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    typist.forget();
    while (typist.waiting() != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const std::lock_guard lock(mutex);
    REQUIRE_FALSE(sent.empty());
    CHECK_FALSE(sent.back().second);
}

TEST_CASE("typist: a key waits for as long as the guest does not take it, and is then forgotten or sent once",
          "[keys]") {
    std::atomic<unsigned> asked{0};
    std::atomic<bool> takes{false};
    std::mutex mutex;
    std::vector<uint16_t> pressed;
    Typist typist(
        [&](const vmm::KeyEvent& event) {
            const std::lock_guard lock(mutex);
            if (event.pressed)
                pressed.push_back(event.scan_code);
        },
        [&](const vmm::KeyEvent&) { return asked.fetch_add(1) % 3 == 2 && takes; });
    REQUIRE(typist.type("a"));
    while (asked < 5)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK_FALSE(typist.all_pressed());
    typist.forget();
    REQUIRE(typist.type("bcd"));
    takes = true;
    while (typist.waiting() != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(pressed == std::vector<uint16_t>{0x30, 0x2E, 0x20});
}

TEST_CASE("typist: all is pressed once the last key went down, though it is not up yet", "[keys]") {
    std::atomic<Typist*> asked{nullptr};
    std::vector<bool> all_pressed;
    Typist typist([&](const vmm::KeyEvent&) {
        asked.wait(nullptr);
        all_pressed.push_back(asked.load()->all_pressed()); // as a guest that ends itself here would find it
    });
    REQUIRE(typist.type("ab"));
    CHECK_FALSE(typist.all_pressed());
    asked = &typist;
    asked.notify_all();
    while (typist.waiting() != 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CHECK(all_pressed == std::vector{false, false, true, true});
}

TEST_CASE("png: rows unpack to the picture's colours", "[png]") {
    vmm::Picture picture{2, 2, {0xFF0000, 0x00FF00, 0x0000FF, 0xFF123456}};
    const auto png = encode_png(picture);
    REQUIRE(png);
    // Signature 8, IHDR 25, then IDAT: length, type, data.
    REQUIRE(png->size() > 41);
    const uint32_t length = uint32_t{(*png)[35]} << 8 | (*png)[36];
    std::vector<uint8_t> rows(14);
    uLongf size = rows.size();
    REQUIRE(::uncompress(rows.data(), &size, png->data() + 41, length) == Z_OK);
    CHECK(rows == std::vector<uint8_t>{0, 255, 0, 0, 0, 255, 0, 0, 0, 0, 255, 0x12, 0x34, 0x56});
    CHECK_FALSE(encode_png({}));
    CHECK_FALSE(encode_png({100, 100, {1, 2, 3}}));
    Folder folder;
    CHECK(write_png(picture, folder.path + "/a.png"));
    CHECK(fs::file_size(folder.path + "/a.png") == png->size());
    CHECK_FALSE(write_png(picture, folder.path + "/no/a.png"));
    CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
}
