// The player's end against a machine's process that was taken over, and the machine's against a player that
// is none: each refuses what breaks the rules, and goes on where they are kept.
#include "player/machine/client.h"
#include "player/machine/host.h"
#include "tests/player/machine/raw_end.h"

#include <fcntl.h>
#include <thread>

using namespace machine;
using namespace machine_test;

namespace {

class Heard final : public vmm::CharPort, public vmm::AudioPort {
  public:
    void send(uint8_t byte) override { text += static_cast<char>(byte); }
    void play(std::span<const int16_t> samples, uint32_t) override { sounds += samples.size(); }
    void silence() override { ++silences; }
    std::string text;
    size_t sounds = 0, silences = 0;
};

// What a client makes of it: waits until it has given its machine up.
base::Error after(const std::vector<Bytes>& packets) {
    RawEnd raw;
    auto client = Client::with(std::move(raw.other), {});
    REQUIRE(client);
    for (const Bytes& packet : packets)
        raw.say(packet);
    (*client)->wait_for_end();
    CHECK((*client)->has_ended());
    CHECK((*client)->exit_reason() == vmm::ExitReason::HostError);
    return (*client)->failure();
}

// A machine without media, and what it is made of.
struct Described {
    Described() {
        const vmm::PlatformConfig defaults;
        shared.emplace(std::move(*SharedMemory::create()));
        setup.ram_bytes = 16u << 20;
        setup.overlay_limit = 1u << 20;
        setup.boot_order = {{vmm::BootDevice::Disk}};
        for (const std::string& path : {defaults.bios_path, defaults.vga_bios_path})
            files.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        setup.bios = {0, defaults.bios_path};
        setup.vga_bios = {1, defaults.vga_bios_path};
        setup.shared = {2, ""};
    }
    std::vector<int> numbers() { return {files[0].get(), files[1].get(), shared->fd()}; }
    Setup setup;
    std::optional<SharedMemory> shared;
    std::vector<base::UniqueFd> files;
};

// What the host's end says to these, before anything else.
std::string host_after(const std::vector<Bytes>& packets) {
    RawEnd raw;
    Host host(std::move(raw.other));
    for (const Bytes& packet : packets)
        raw.say(packet);
    raw.close();
    const auto done = host.serve();
    return done ? "" : done.error().message;
}

} // namespace

TEST_CASE("client: it takes what a machine may say", "[machine]") {
    RawEnd raw;
    const auto heard = std::make_shared<Heard>();
    std::string notice, stalled;
    base::Error damaged;
    Listeners listeners{heard, heard};
    listeners.notice = [&](const std::string& text) { notice = text; };
    listeners.damaged = [&](const base::Error& error) { damaged = error; };
    listeners.stalled = [&](const std::string& why) { stalled = why; };
    auto client = Client::with(std::move(raw.other), std::move(listeners));
    REQUIRE(client);
    raw.say(packet_of(Serial{{'h', 'i'}}));
    raw.say(packet_of(Sound{48000, Bytes(400)}));
    raw.say(packet(Kind::Silence, 0));
    raw.say(packet_of(Notice{"a notice"}));
    raw.say(packet_of(Damaged{{4, "a chunk"}}));
    raw.say(packet_of(Stalled{"no room"}));
    raw.say(packet_of(State{vmm::ExitReason::GuestHang, false, false, {}, 3}));
    std::thread machine([&] {
        const Bytes request = raw.hear();
        REQUIRE(request.size() == 8);
        CHECK(request[0] == static_cast<uint8_t>(Kind::PictureGeneration));
        raw.say(packet(Kind::Answer, 1, encode_answer(base::Result<Number>(Number{17}))));
    });
    CHECK((*client)->picture_generation() == 17); // and so all before it has arrived
    machine.join();
    CHECK(heard->text == "hi");
    CHECK(heard->sounds == 200);
    CHECK(heard->silences == 1);
    CHECK(notice == "a notice");
    CHECK(damaged.code == 4);
    CHECK(stalled == "no room");
    CHECK((*client)->stalled() == "no room");
    CHECK((*client)->exit_reason() == vmm::ExitReason::GuestHang);
    CHECK_FALSE((*client)->has_ended());
    CHECK((*client)->reset_count() == 3);
}

TEST_CASE("client: a machine that breaks the rules is given up, with a sentence", "[machine]") {
    const std::string sentence =
        "the machine's process broke its rules and was ended; start the session again";
    CHECK(after({packet(Kind::Answer, 5, Bytes{1})}).message == sentence); // nobody asked
    CHECK(after({packet(Kind::Serial, 0, Bytes{1, 0, 0, 0})}).message == sentence);
    CHECK(after({packet(Kind::State, 0, Bytes{9})}).message == sentence);
    CHECK(after({packet(Kind::Silence, 0, Bytes{1})}).message == sentence);
    CHECK(after({packet_of(Sound{0, Bytes(4)})}).message == sentence);       // no rate
    CHECK(after({packet_of(Sound{48000, Bytes(3)})}).message == sentence);   // part of a sample
    CHECK(after({packet_of(Sound{9999999, Bytes(4)})}).message == sentence); // no such rate
    CHECK(after({packet(Kind::Notice, 0, Bytes(3))}).message == sentence);
    CHECK(after({packet(Kind::Damaged, 0)}).message == sentence);
    CHECK(after({packet(Kind::Stalled, 0)}).message == sentence);
    CHECK(after({packet(Kind::Key, 0, Bytes(3))}).message == sentence); // a player's
}

TEST_CASE("client: one that goes ends what waits for it", "[machine]") {
    RawEnd raw;
    auto client = Client::with(std::move(raw.other), {});
    REQUIRE(client);
    std::thread machine([&] {
        (void)raw.hear();
        raw.close();
    });
    CHECK((*client)->text_screen().empty());
    machine.join();
    CHECK((*client)->has_ended());
    CHECK((*client)->picture().pixels.empty()); // and what comes later waits for nothing
    CHECK_FALSE((*client)->revert());
    (*client)->wait_for_end();
}

TEST_CASE("client: whoever has stopped a machine waits for none that is silent", "[machine]") {
    RawEnd raw;
    auto client = Client::with(std::move(raw.other), {});
    REQUIRE(client);
    std::thread asks([&] { CHECK((*client)->text_screen().empty()); });
    std::thread freezes([&] { CHECK_FALSE((*client)->freeze({})); });
    (void)raw.hear();
    (void)raw.hear();
    (*client)->stop(); // cuts their waiting short: 20 seconds, and 15 minutes
    asks.join();
    freezes.join();
    (*client)->wait_for_end();
    CHECK((*client)->exit_reason() == vmm::ExitReason::HostError);
    CHECK((*client)->failure().message.find("start the session again") != std::string::npos);
}

TEST_CASE("client: a picture larger than the memory it is in is none", "[machine]") {
    for (const auto& [width, height] : {std::pair{0xFFFFFFFFu, 0xFFFFFFFFu},
                                        {65536u, 65536u},
                                        {0x80000001u, 2u},
                                        {SharedMemory::kMostPixels + 1, 1u}}) {
        RawEnd raw;
        auto client = Client::with(std::move(raw.other), {});
        REQUIRE(client);
        std::thread machine([&, size = PictureSize{width, height}] {
            (void)raw.hear();
            raw.say(packet(Kind::Answer, 1, encode_answer(base::Result<PictureSize>(size))));
        });
        const vmm::Picture picture = (*client)->picture();
        machine.join();
        CHECK(picture.width == 0);
        CHECK(picture.pixels.empty());
    }
}

TEST_CASE("client: an answer that is none of its question ends the conversation", "[machine]") {
    RawEnd raw;
    auto client = Client::with(std::move(raw.other), {});
    REQUIRE(client);
    std::thread machine([&] {
        (void)raw.hear();
        raw.say(packet(Kind::Answer, 1, encode_answer(base::Result<Text>(Text{"no number"}))));
        CHECK(raw.hear().empty());
    });
    CHECK((*client)->time_of_day() == 0);
    machine.join();
    (*client)->wait_for_end();
    CHECK((*client)->has_ended());
}

TEST_CASE("host: nothing goes before the setup, and nothing malformed is one", "[machine]") {
    CHECK(host_after({}).empty());
    for (const Bytes& first : {packet(Kind::Start, 0), packet(Kind::Pause, 1), packet_of(Key{{{0x1E, true}}}),
                               packet(Kind::TextScreen, 1)})
        CHECK(host_after({first}).find("out of order") != std::string::npos);
    CHECK(host_after({packet(Kind::Setup, 1)}).find("malformed") != std::string::npos);
    CHECK(host_after({packet(Kind::Setup, 1, Bytes(1000, 0xFF))}).find("malformed") != std::string::npos);
    CHECK(host_after({packet_of(Notice{"hello"})}).find("wrong end") != std::string::npos);
}

TEST_CASE("host: a setup that refers to what it did not bring is answered with an error", "[machine]") {
    const auto refused = [](const std::function<void(Setup&)>& change) {
        RawEnd raw;
        Host host(std::move(raw.other));
        Described machine;
        change(machine.setup);
        raw.say(packet_of(machine.setup, 1)); // without descriptors
        std::thread serving([&] { CHECK(host.serve()); });
        const auto answer = raw.answer<machine::Walls>(1);
        raw.close();
        serving.join();
        return answer && !answer->has_value();
    };
    CHECK(refused([](Setup&) {}));
    CHECK(refused([](Setup& setup) { setup.bios.file = 255; }));
    CHECK(refused([](Setup& setup) { setup.stores = {{{{"pack", 0, 4096, 9}}}}; }));
}

TEST_CASE("host: impossible media, blobs and drives are refused", "[machine]") {
    const auto says = [](const std::function<void(Setup&)>& change) {
        auto ends = Channel::pair();
        REQUIRE(ends);
        Channel player(std::move((*ends)[0]), End::Player);
        Host host(std::move((*ends)[1]));
        Described machine;
        change(machine.setup);
        CHECK(player.send(Kind::Setup, 1, encode(machine.setup), machine.numbers()));
        std::thread serving([&] { (void)host.serve(); });
        std::string text = "silence";
        const auto message = player.receive();
        if (message && *message)
            if (const auto answer = decode_answer<machine::Walls>((*message)->body))
                text = answer->has_value() ? "done" : answer->error().message;
        player.shut();
        serving.join();
        return text;
    };
    const auto impossible = [&](const std::function<void(Setup&)>& change) {
        return says(change).starts_with("invalid machine");
    };
    CHECK(says([](Setup&) {}) == "done");
    CHECK(impossible([](Setup& setup) { setup.media.resize(1); }));
    const auto with_blob = [&](StoredBlob blob) {
        return impossible([&](Setup& setup) {
            setup.stores.resize(1);
            setup.media = {{vmm::MediumKind::Disk, blob, {}, {}}};
        });
    };
    CHECK(with_blob({7, 65536, 1 << 20, {}, "disk", "x"})); // no such store
    CHECK(with_blob({0, 0, 1 << 20, {}, "disk", "x"}));     // chunks of nothing
    CHECK(with_blob({0, 65537, 1 << 20, {}, "disk", "x"}));
    CHECK(with_blob({0, 65536, ~uint64_t{0}, {}, "disk", "x"}));
    CHECK(impossible([](Setup& setup) {
        setup.stores.resize(1);
        setup.media.assign(5,
                           {vmm::MediumKind::Disk, StoredBlob{0, 65536, 1 << 20, {}, "disk", "x"}, {}, {}});
    }));
    CHECK(impossible([](Setup& setup) { setup.stores = {{{{"pack", 0, 4096, 9}}}}; }));
    CHECK(says([](Setup& setup) { setup.ram_bytes = 5; }).find("memory size") != std::string::npos);
    CHECK(says([](Setup& setup) { setup.shared.file = 0; }) != "done"); // the BIOS
}

TEST_CASE("client and host: a machine in this process does what it is asked", "[machine]") {
    auto ends = Channel::pair();
    REQUIRE(ends);
    Host host(std::move((*ends)[1]));
    std::thread serving([&] { CHECK(host.serve()); });
    const auto heard = std::make_shared<Heard>();
    {
        auto client = Client::with(std::move((*ends)[0]), {heard, heard});
        REQUIRE(client);
        Described machine;
        const std::vector<int> numbers = machine.numbers();
        REQUIRE((*client)->set_up(machine.setup, {numbers[0], numbers[1]}));
        CHECK_FALSE((*client)->revert()); // it stands at no scene
        (*client)->write<uint32_t>(0x100000, 0x12345678);
        CHECK((*client)->read<uint32_t>(0x100000) == 0x12345678);
        CHECK((*client)->read_memory(uint64_t{1} << 40, 4).empty());
        (*client)->start();
        CHECK((*client)->read_memory(0, 4).empty()); // it runs
        for (int i = 0; i < 6000 && (*client)->text_screen().find("SeaBIOS") == std::string::npos; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK((*client)->text_screen().find("SeaBIOS") != std::string::npos);
        const vmm::Picture picture = (*client)->picture();
        CHECK(picture.width >= 640);
        CHECK(picture.pixels.size() == size_t{picture.width} * picture.height);
        (*client)->reset();
        for (int i = 0; i < 6000 && (*client)->reset_count() == 0; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK((*client)->reset_count() == 1);
        (*client)->pause();
        CHECK((*client)->read_memory(0, 4).size() == 4);
        (*client)->stop();
        (*client)->wait_for_end();
        CHECK((*client)->exit_reason() == vmm::ExitReason::Stopped);
    }
    serving.join();
}

TEST_CASE("host: a second setup ends it", "[machine]") {
    auto ends = Channel::pair();
    REQUIRE(ends);
    Channel player(std::move((*ends)[0]), End::Player);
    Host host(std::move((*ends)[1]));
    Described machine;
    CHECK(player.send(Kind::Setup, 1, encode(machine.setup), machine.numbers()));
    CHECK(player.send(Kind::Setup, 2, encode(machine.setup), machine.numbers()));
    const auto done = host.serve();
    REQUIRE_FALSE(done);
    CHECK(done.error().message.find("out of order") != std::string::npos);
}
