// Every message: what is written is what is read, and nothing else can be read.
#include "tests/player/machine/raw_end.h"

using namespace machine;
using machine_test::Bytes;

namespace {

// Neither a part of it nor more than it is a message.
template <class T> void holds(T message) {
    const Bytes bytes = encode(message);
    const auto back = decode<T>(bytes);
    REQUIRE(back);
    CHECK(encode(*back) == bytes);
    for (size_t size = 0; size < bytes.size(); ++size)
        CHECK_FALSE(decode<T>(std::span(bytes).first(size)));
    Bytes longer = bytes;
    longer.push_back(0);
    CHECK_FALSE(decode<T>(longer));
}

StoredBlob blob() {
    StoredBlob blob{1, 65536, 1 << 20, {}, "disk0", "x.encore"};
    blob.root.fill(7);
    return blob;
}

Setup setup() {
    Setup setup;
    setup.ram_bytes = 64u << 20;
    setup.heard = setup.network_card = true;
    setup.boot_order = {{vmm::BootDevice::Cdrom}, {vmm::BootDevice::Kernel}};
    setup.bios = {0, "bios"};
    setup.network = HostFile{3, ""};
    setup.stores = {{{{"pack", 512, 4096, 1}, {"pack2", 8192, 4096, 2}}}};
    setup.media = {{vmm::MediumKind::Disk, blob(), {}, HostFile{4, ""}},
                   {vmm::MediumKind::Cdrom, {}, HostFile{5, "a.iso"}, {}}};
    setup.kernel = SetupKernel{blob(), blob(), "quiet"};
    setup.scene = SetupScene{"start", blob(), blob(), {}, blob()};
    return setup;
}

} // namespace

TEST_CASE("messages: each is read as it was written, and no part of it is", "[machine]") {
    holds(Key{{{0xE05B, true}}});
    holds(TakesKey{{{0x1E, false}}});
    holds(Pointer{{true, 65535, -1, -3, 7}});
    holds(SerialInput{{1, 2, 3}});
    holds(PreferSize{1024, 768});
    holds(Writes{Writes::Order::Reopen});
    holds(Arrive{{}, 5});
    holds(Arrive{});
    holds(ReadMemory{1u << 30, 4096});
    holds(WriteMemory{0x7C00, Bytes(100, 1)});
    holds(setup());
    holds(Setup{});
    holds(State{vmm::ExitReason::HostError, true, false, {4, "damaged"}, 9});
    holds(Serial{{'a', 'b'}});
    holds(Sound{44100, Bytes(400, 1)});
    holds(Notice{"the disk is full"});
    holds(Damaged{{4, "chunk 7"}});
    holds(Stalled{"no room"});
    holds(Frozen{Bytes(100, 3), 2000000, 16, {1, 2, 3}, {4}, {{{5, 6}}, {}}});
    holds(FetchList{123, {1, 2, 3}});
    holds(Text{"screen"});
    holds(PictureSize{720, 400});
}

TEST_CASE("messages: a number that is out of bounds makes a message malformed", "[machine]") {
    CHECK_FALSE(decode<Writes>(Bytes{3}));    // no such order
    CHECK_FALSE(decode<Key>(Bytes{0, 0, 2})); // neither true nor false
    Bytes counted = encode(Serial{Bytes(8)});
    const auto count = [&](uint32_t value) {
        std::memcpy(counted.data(), &value, sizeof value);
        return decode<Serial>(counted).has_value();
    };
    CHECK(count(8));
    CHECK_FALSE(count(9));
    CHECK_FALSE(count(0xFFFFFFFF));
    CHECK_FALSE(decode<Serial>(encode(Serial{Bytes(kMostSerial + 1)})));
    Frozen frozen;
    frozen.disks.resize(kMostMedia + 1);
    CHECK_FALSE(decode<Frozen>(encode(frozen)));
    // Part of a number at the end of a list.
    Bytes list = encode(FetchList{1, {7}});
    list[8] = 3;
    list.resize(8 + 4 + 3);
    CHECK_FALSE(decode<FetchList>(list));
    // Text for people is cut where it is written.
    CHECK(decode<Notice>(encode(Notice{std::string(kMostText + 1, 'x')}))->text.size() == kMostText);
}

TEST_CASE("messages: an answer carries what was asked for, or why not", "[machine]") {
    const auto good = decode_answer<Number>(encode_answer(base::Result<Number>(Number{42})));
    REQUIRE((good && good->has_value()));
    CHECK((*good)->value == 42);
    const auto bad = decode_answer<Number>(encode_answer<Number>(base::fail("no such thing", 4)));
    REQUIRE((bad && !bad->has_value()));
    CHECK(bad->error().message == "no such thing");
    CHECK(bad->error().code == 4);
    CHECK_FALSE(decode_answer<Number>(encode_answer(base::Result<Flag>(Flag{true}))));
    CHECK_FALSE(decode_answer<Number>(Bytes{}));
}
