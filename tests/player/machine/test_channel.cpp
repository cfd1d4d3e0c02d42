// What passes between the two ends, and what does not.
#include "tests/player/machine/raw_end.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <thread>

using namespace machine;
using namespace machine_test;

namespace {

std::string refusal(End own, const std::vector<Bytes>& packets, int file = -1) {
    RawEnd raw;
    Channel channel(std::move(raw.other), own);
    for (const Bytes& packet : packets)
        raw.say(packet, file);
    raw.close();
    const auto message = channel.receive();
    if (message)
        return *message ? "taken" : "nothing";
    return message.error().message;
}

} // namespace

TEST_CASE("channel: a long message arrives whole, with its descriptors", "[machine]") {
    auto ends = Channel::pair();
    REQUIRE(ends);
    Channel player(std::move((*ends)[0]), End::Player), machine(std::move((*ends)[1]), End::Machine);
    Bytes body(3u << 20);
    for (size_t i = 0; i < body.size(); ++i)
        body[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
    const base::UniqueFd file(::memfd_create("sent", MFD_CLOEXEC));
    REQUIRE(::pwrite(file.get(), "here", 4, 0) == 4);
    std::thread sender([&] {
        CHECK(player.send(Kind::Setup, 7, body, std::array{file.get(), file.get()}));
        CHECK(player.send(Key{{{0x1E, true}}}));
    });
    auto message = machine.receive();
    REQUIRE((message && *message));
    CHECK((*message)->kind == Kind::Setup);
    CHECK((*message)->number == 7);
    CHECK((*message)->body == body);
    REQUIRE((*message)->files.size() == 2);
    char text[4];
    CHECK(::pread((*message)->files[1].get(), text, 4, 0) == 4);
    CHECK(std::string_view(text, 4) == "here");
    CHECK((::fcntl((*message)->files[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
    message = machine.receive();
    REQUIRE((message && *message));
    CHECK((*message)->kind == Kind::Key);
    sender.join();
}

TEST_CASE("channel: what is too long is not sent", "[machine]") {
    RawEnd raw;
    Channel channel(std::move(raw.other), End::Player);
    CHECK_FALSE(channel.send(Kind::Pause, 1, Bytes(1)));
    CHECK_FALSE(channel.send(Kind::Setup, 1, Bytes(rule(Kind::Setup).most_bytes + 1)));
    const base::UniqueFd file(::memfd_create("sent", MFD_CLOEXEC));
    CHECK_FALSE(channel.send(Kind::Pause, 1, {}, std::array{file.get()}));
}

TEST_CASE("channel: what breaks the rules is refused by either end", "[machine]") {
    const Bytes good = packet_of(Notice{"hello"});
    CHECK(refusal(End::Player, {good}) == "taken");
    CHECK(refusal(End::Player, {}) == "nothing");
    const auto refused = [](const std::string& text) { return text.starts_with("invalid message"); };
    // Framing.
    CHECK(refused(refusal(End::Player, {Bytes(good.begin(), good.begin() + 7)})));
    CHECK(refused(refusal(End::Player, {packet(static_cast<Kind>(kKinds), 0)})));
    CHECK(refused(refusal(End::Player, {packet(static_cast<Kind>(255), 0)})));
    Bytes odd = good;
    odd[2] = 1;
    CHECK(refused(refusal(End::Player, {odd})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Serial, 0, Bytes(60000))}))); // longer than any packet
    // The wrong end.
    CHECK(refused(refusal(End::Player, {packet(Kind::Start, 0)})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Pause, 1)})));
    CHECK(refused(refusal(End::Machine, {good})));
    CHECK(refused(refusal(End::Machine, {packet(Kind::Answer, 1, Bytes{1})})));
    // Numbers are for requests and their answers.
    CHECK(refused(refusal(End::Machine, {packet(Kind::Pause, 0)})));
    CHECK(refused(refusal(End::Machine, {packet(Kind::Start, 5)})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Answer, 0, Bytes{1})})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Silence, 9)})));
    // Parts of a message that do not belong together, are none, or are too many.
    CHECK(refusal(End::Player, {packet(Kind::Answer, 1, Bytes(10), 1), packet(Kind::Answer, 1, Bytes(10))}) ==
          "taken");
    CHECK(refusal(End::Player, {packet(Kind::Answer, 1, Bytes(10), 1)}) == "nothing");
    CHECK(refused(
        refusal(End::Player, {packet(Kind::Answer, 1, Bytes(10), 1), packet(Kind::Answer, 2, Bytes(10))})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Answer, 1, Bytes(10), 1), good})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Answer, 1, {}, 1)})));
    CHECK(refused(refusal(End::Player, {packet(Kind::Answer, 1, Bytes(10), 2)})));
    CHECK(refused(
        refusal(End::Machine, {packet(Kind::Key, 0, Bytes(10), 1), packet(Kind::Key, 0, Bytes(10))})));
    // Descriptors that nobody asked for.
    const base::UniqueFd file(::memfd_create("sent", MFD_CLOEXEC));
    CHECK(refused(refusal(End::Player, {good}, file.get())));
    CHECK(refused(refusal(End::Machine, {packet(Kind::Pause, 1)}, file.get())));
}

TEST_CASE("channel: descriptors of a refused message are closed", "[machine]") {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    const base::UniqueFd in(pipe[0]);
    base::UniqueFd out(pipe[1]);
    CHECK(refusal(End::Player, {packet_of(Notice{"hello"})}, out.get()) != "taken");
    out.reset();
    char byte = 0;
    CHECK(::read(in.get(), &byte, 1) == 0); // nobody holds the other end
}
