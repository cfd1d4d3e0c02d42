// What the player and the machine's process say to each other: every message there is, its manner, its
// bounds, its fields. Both ends are built together, so there are no versions. No message names a path: what a
// machine may use of the host comes with it, as open descriptors.
#pragma once
#include "appliance-format/format.h"
#include "appliance-format/merkle.h"
#include "player/wire.h"
#include "vmm/machine.h"

namespace machine {

using wire::decode;
using wire::encode;

enum class Manner : uint8_t {
    Post,    // from the player, without an answer; carried out in order, at once
    Request, // from the player; each has one Answer, and requests are carried out one after another
    Answer,  // from the machine
    Event,   // from the machine, unasked
};

// Name, manner, most bytes, most descriptors.
#define MACHINE_MESSAGES(X)                                                                                  \
    X(Start, Post, 0, 0)                                                                                     \
    X(Stop, Post, 0, 0)                                                                                      \
    X(Reset, Post, 0, 0)                                                                                     \
    X(PowerButton, Post, 0, 0)                                                                               \
    X(Key, Post, 16, 0)                                                                                      \
    X(Pointer, Post, 32, 0)                                                                                  \
    X(SerialInput, Post, 64 << 10, 0)                                                                        \
    X(PreferSize, Post, 16, 0)                                                                               \
    X(Writes, Post, 16, 0)                                                                                   \
    X(Setup, Request, 4 << 20, 32)                                                                           \
    X(Pause, Request, 0, 0)                                                                                  \
    X(TakesKey, Request, 16, 0)                                                                              \
    X(PointerIsAbsolute, Request, 0, 0)                                                                      \
    X(TakePicture, Request, 0, 0)                                                                            \
    X(PictureGeneration, Request, 0, 0)                                                                      \
    X(TextScreen, Request, 0, 0)                                                                             \
    X(Revert, Request, 0, 0)                                                                                 \
    X(Arrive, Request, 256, 0)                                                                               \
    X(TimeOfDay, Request, 0, 0)                                                                              \
    X(TscKhz, Request, 0, 0)                                                                                 \
    X(Compare, Request, 0, 0)                                                                                \
    X(Freeze, Request, 0, 32)                                                                                \
    X(RecordFetches, Request, 0, 0)                                                                          \
    X(Fetches, Request, 0, 0)                                                                                \
    X(ReadMemory, Request, 32, 0)                                                                            \
    X(WriteMemory, Request, 64 << 10, 0)                                                                     \
    X(CodeUse, Request, 0, 0)                                                                                \
    X(Activity, Request, 0, 0)                                                                               \
    X(Answer, Answer, 160 << 20, 0)                                                                          \
    X(State, Event, 8 << 10, 0)                                                                              \
    X(Serial, Event, 64 << 10, 0)                                                                            \
    X(Sound, Event, 64 << 10, 0)                                                                             \
    X(Silence, Event, 0, 0)                                                                                  \
    X(Notice, Event, 8 << 10, 0)                                                                             \
    X(Damaged, Event, 8 << 10, 0)                                                                            \
    X(Stalled, Event, 8 << 10, 0)

enum class Kind : uint8_t {
#define MACHINE_KIND(name, manner, bytes, files) name,
    MACHINE_MESSAGES(MACHINE_KIND)
#undef MACHINE_KIND
};

struct Rule {
    const char* name;
    Manner manner;
    uint32_t most_bytes;
    uint8_t most_files;
};
inline constexpr Rule kRules[] = {
#define MACHINE_RULE(name, manner, bytes, files) {#name, Manner::manner, bytes, files},
    MACHINE_MESSAGES(MACHINE_RULE)
#undef MACHINE_RULE
};
inline constexpr size_t kKinds = std::size(kRules);
[[nodiscard]] constexpr const Rule& rule(Kind kind) { return kRules[static_cast<size_t>(kind)]; }

inline constexpr size_t kMostText = 4096; // of what a person reads
inline constexpr size_t kMostState = 64u << 20, kMostScreen = 1u << 20, kMostMemory = 32u << 10;
inline constexpr size_t kMostChunks = 1u << 22, kMostPages = vmm::kMostRam >> vmm::kPageShift;
inline constexpr uint64_t kMostFile = uint64_t{1}
                                      << 44; // that a machine's process may make; a disk as captured
inline constexpr size_t kMostMedia = 16, kMostSound = 32u << 10, kMostSerial = 32u << 10;

// ------------------------------------------------------------------------------------------- answers

struct Done {
    void fields(auto&) {}
};
struct Walls { // around the process (jail::Walls)
    uint32_t bits = 0;
    void fields(auto& wire) { wire.number(bits); }
};
struct Flag {
    bool value = false;
    void fields(auto& wire) { wire.flag(value); }
};
struct Number {
    uint64_t value = 0;
    void fields(auto& wire) { wire.number(value); }
};
struct Text {
    std::string value;
    void fields(auto& wire) { wire.text(value, kMostScreen); }
};
struct Content {
    std::vector<uint8_t> value;
    void fields(auto& wire) { wire.bytes(value, kMostMemory); }
};
// The pixels are in SharedMemory.
struct PictureSize {
    uint32_t width = 0, height = 0;
    void fields(auto& wire) {
        wire.number(width);
        wire.number(height);
    }
};
struct FrozenDisk {
    std::vector<uint32_t> chunks; // that are in its file, of kOverlayChunk bytes
    void fields(auto& wire) { wire.numbers(chunks, kMostChunks); }
};
struct Frozen {
    std::vector<uint8_t> state;
    uint32_t tsc_khz = 0, video_pages = 0;
    std::vector<uint32_t> ram, video; // pages that are in their files
    std::vector<FrozenDisk> disks;    // by medium
    void fields(auto& wire) {
        wire.bytes(state, kMostState);
        wire.number(tsc_khz);
        wire.number(video_pages);
        wire.numbers(ram, kMostPages);
        wire.numbers(video, kMostPages);
        wire.list(disks, kMostMedia);
    }
};
struct FetchList {
    uint64_t first_ns = 0; // by CLOCK_MONOTONIC; 0: none yet
    std::vector<uint32_t> pages;
    void fields(auto& wire) {
        wire.number(first_ns);
        wire.numbers(pages, kMostPages);
    }
};
struct CodeUseAnswer {
    vmm::CodeUse use;
    void fields(auto& wire) {
        wire.number(use.bytes);
        wire.number(use.translated);
        wire.number(use.revived);
        wire.number(use.invalidated);
        wire.number(use.flushes);
    }
};
struct ActivityAnswer {
    vmm::Activity activity;
    void fields(auto& wire) {
        wire.number(activity.time_ns);
        wire.number(activity.halted_ns);
    }
};

// ------------------------------------------------------------------------------------------- what is asked

template <Kind kind> struct Plain { // without fields
    static constexpr Kind kKind = kind;
    void fields(auto&) {}
};
template <Kind kind, class Type> struct PlainRequest : Plain<kind> { using Answer = Type; };

using Start = Plain<Kind::Start>;
using Stop = Plain<Kind::Stop>;
using Reset = Plain<Kind::Reset>;
using PowerButton = Plain<Kind::PowerButton>;
using Pause = PlainRequest<Kind::Pause, Done>;
using PointerIsAbsolute = PlainRequest<Kind::PointerIsAbsolute, Flag>;
using TakePicture = PlainRequest<Kind::TakePicture, PictureSize>;
using PictureGeneration = PlainRequest<Kind::PictureGeneration, Number>;
using TextScreen = PlainRequest<Kind::TextScreen, Text>;
using Revert = PlainRequest<Kind::Revert, Done>;
using TimeOfDay = PlainRequest<Kind::TimeOfDay, Number>;
using TscKhz = PlainRequest<Kind::TscKhz, Number>;
// Everything that was touched against the scene's signed roots; its error is what differs.
using Compare = PlainRequest<Kind::Compare, Done>;
using RecordFetches = PlainRequest<Kind::RecordFetches, Done>;
using Fetches = PlainRequest<Kind::Fetches, FetchList>;
using CodeUse = PlainRequest<Kind::CodeUse, CodeUseAnswer>;
using Activity = PlainRequest<Kind::Activity, ActivityAnswer>;
// The machine at rest, into files: RAM, video memory, then one for each medium that can be written.
using Freeze = PlainRequest<Kind::Freeze, Frozen>;

struct KeyFields {
    vmm::KeyEvent event;
    void fields(auto& wire) {
        wire.number(event.scan_code);
        wire.flag(event.pressed);
    }
};
struct Key : KeyFields {
    static constexpr Kind kKind = Kind::Key;
};
struct TakesKey : KeyFields {
    static constexpr Kind kKind = Kind::TakesKey;
    using Answer = Flag;
};
struct Pointer {
    static constexpr Kind kKind = Kind::Pointer;
    vmm::PointerEvent event;
    void fields(auto& wire) {
        wire.flag(event.absolute);
        wire.number(event.x);
        wire.number(event.y);
        wire.number(event.wheel);
        wire.number(event.buttons);
    }
};
struct SerialInput {
    static constexpr Kind kKind = Kind::SerialInput;
    std::vector<uint8_t> bytes;
    void fields(auto& wire) { wire.bytes(bytes, kMostSerial); }
};
struct PreferSize {
    static constexpr Kind kKind = Kind::PreferSize;
    uint32_t width = 0, height = 0;
    void fields(auto& wire) {
        wire.number(width);
        wire.number(height);
    }
};
// What becomes of writes for which the host's disk has no room (SpaceGate).
struct Writes {
    static constexpr Kind kKind = Kind::Writes;
    enum class Order : uint8_t { Retry, Abandon, Reopen } order = Order::Retry;
    void fields(auto& wire) { wire.choice(order, Order::Reopen); }
};

struct Identity {
    vmm::MachineIdentity value;
    void fields(auto& wire) {
        wire.array(value.generation_id);
        wire.array(value.seed);
        wire.array(value.mac);
    }
};
struct Arrive {
    static constexpr Kind kKind = Kind::Arrive;
    using Answer = Done;
    Identity identity;
    std::optional<uint64_t> time_of_day;
    void fields(auto& wire) {
        identity.fields(wire);
        wire.optional(time_of_day);
    }
};
// Of the memfd, of a machine at rest: RAM begins at 0.
struct ReadMemory {
    static constexpr Kind kKind = Kind::ReadMemory;
    using Answer = Content;
    uint64_t offset = 0;
    uint32_t length = 0;
    void fields(auto& wire) {
        wire.number(offset);
        wire.number(length);
    }
};
struct WriteMemory {
    static constexpr Kind kKind = Kind::WriteMemory;
    using Answer = Done;
    uint64_t physical = 0;
    std::vector<uint8_t> bytes;
    void fields(auto& wire) {
        wire.number(physical);
        wire.bytes(bytes, kMostMemory);
    }
};

// ------------------------------------------------------------------------------------------- a machine

using FileIndex = uint8_t; // among the message's descriptors

struct StoredPack {
    std::string member; // for messages
    uint64_t base = 0, size = 0;
    FileIndex file = 0;
    void fields(auto& wire) {
        wire.text(member, kMostText);
        wire.number(base);
        wire.number(size);
        wire.number(file);
    }
};
struct Store {
    std::vector<StoredPack> packs;
    void fields(auto& wire) { wire.list(packs, appliance_format::kMaxPacks); }
};
// What is read of it is checked against its root, which the player has from a signed manifest.
struct StoredBlob {
    uint32_t store = 0, chunk = 0;
    uint64_t size = 0;
    std::array<uint8_t, appliance_format::kRefBytes> root{};
    std::string name, where; // for messages
    void fields(auto& wire) {
        wire.number(store);
        wire.number(chunk);
        wire.number(size);
        wire.array(root);
        wire.text(name, kMostText);
        wire.text(where, kMostText);
    }
};
struct HostFile {
    FileIndex file = 0;
    std::string name; // for messages
    void fields(auto& wire) {
        wire.number(file);
        wire.text(name, kMostText);
    }
};
struct SetupMedium {
    vmm::MediumKind kind = vmm::MediumKind::Disk;
    std::optional<StoredBlob> blob;
    std::optional<HostFile> image;  // instead: a file of the person's, read-only
    std::optional<HostFile> writes; // goes there; none: the medium cannot be written
    void fields(auto& wire) {
        wire.choice(kind, vmm::MediumKind::Floppy);
        wire.optional(blob);
        wire.optional(image);
        wire.optional(writes);
    }
};
struct SetupKernel {
    StoredBlob kernel;
    std::optional<StoredBlob> initrd;
    std::string command_line;
    void fields(auto& wire) {
        kernel.fields(wire);
        wire.optional(initrd);
        wire.text(command_line, 64u << 10);
    }
};
struct SetupScene {
    std::string name;
    StoredBlob devices, ram;
    std::optional<StoredBlob> hot_pages, video;
    void fields(auto& wire) {
        wire.text(name, kMostText);
        devices.fields(wire);
        ram.fields(wire);
        wire.optional(hot_pages);
        wire.optional(video);
    }
};
struct BootStep {
    vmm::BootDevice device = vmm::BootDevice::Disk;
    void fields(auto& wire) { wire.choice(device, vmm::BootDevice::Kernel); }
};
struct Setup {
    static constexpr Kind kKind = Kind::Setup;
    using Answer = Walls;
    uint64_t ram_bytes = 0, overlay_limit = 0;
    bool sound = false, heard = false; // there is a sound device; somebody listens
    bool network_card = false, reset_ends_machine = false;
    std::vector<BootStep> boot_order;
    Identity identity;
    HostFile bios, vga_bios, shared;
    std::optional<HostFile> network; // the other end of the network card's cable (frame_port.h)
    std::vector<Store> stores;
    std::vector<SetupMedium> media;
    std::optional<SetupKernel> kernel;
    std::optional<SetupScene> scene; // the machine stands there; none: at power-on
    void fields(auto& wire) {
        wire.number(ram_bytes);
        wire.number(overlay_limit);
        wire.flag(sound);
        wire.flag(heard);
        wire.flag(network_card);
        wire.flag(reset_ends_machine);
        wire.list(boot_order, kMostMedia);
        identity.fields(wire);
        bios.fields(wire);
        vga_bios.fields(wire);
        shared.fields(wire);
        wire.optional(network);
        wire.list(stores, 4);
        wire.list(media, kMostMedia);
        wire.optional(kernel);
        wire.optional(scene);
    }
};

// ------------------------------------------------------------------------------------------- events

struct Failure {
    int32_t code = 1;
    std::string message;
    void fields(auto& wire) {
        wire.number(code);
        wire.text(message, kMostText);
    }
};
// What vmm::Machine's exit_reason(), has_ended(), failure() and reset_count() say; stopped: its thread is
// gone.
struct State {
    static constexpr Kind kKind = Kind::State;
    vmm::ExitReason reason = vmm::ExitReason::None;
    bool ended = false, stopped = false;
    Failure failure;
    uint64_t resets = 0;
    void fields(auto& wire) {
        wire.choice(reason, vmm::ExitReason::HostError);
        wire.flag(ended);
        wire.flag(stopped);
        failure.fields(wire);
        wire.number(resets);
    }
};
struct Serial {
    static constexpr Kind kKind = Kind::Serial;
    std::vector<uint8_t> bytes;
    void fields(auto& wire) { wire.bytes(bytes, kMostSerial); }
};
struct Sound {
    static constexpr Kind kKind = Kind::Sound;
    uint32_t rate = 0;
    std::vector<uint8_t> samples; // int16_t, left and right
    void fields(auto& wire) {
        wire.number(rate);
        wire.bytes(samples, kMostSound);
    }
};
using Silence = Plain<Kind::Silence>;
struct Notice { // for the person
    static constexpr Kind kKind = Kind::Notice;
    std::string text;
    void fields(auto& wire) { wire.text(text, kMostText); }
};
struct Damaged { // a read of the bundle failed
    static constexpr Kind kKind = Kind::Damaged;
    Failure failure;
    void fields(auto& wire) { failure.fields(wire); }
};
struct Stalled { // why writes wait; empty: none does any more
    static constexpr Kind kKind = Kind::Stalled;
    std::string why;
    void fields(auto& wire) { wire.text(why, kMostText); }
};

// ------------------------------------------------------------------------------------------- results

template <class T> [[nodiscard]] std::vector<uint8_t> encode_answer(base::Result<T> result) {
    wire::Writer writer;
    writer.flag(result.has_value());
    if (result)
        result->fields(writer);
    else
        Failure{result.error().code, result.error().message}.fields(writer);
    return writer.take();
}

// Nothing: malformed.
template <class T>
[[nodiscard]] std::optional<base::Result<T>> decode_answer(std::span<const uint8_t> bytes) {
    wire::Reader reader(bytes);
    bool good = false;
    reader.flag(good);
    T value;
    Failure failure;
    good ? value.fields(reader) : failure.fields(reader);
    if (!reader.whole())
        return std::nullopt;
    if (!good)
        return base::Result<T>(base::fail(failure.message, failure.code));
    return base::Result<T>(std::move(value));
}

} // namespace machine
