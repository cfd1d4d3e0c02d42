// Writes the seed inputs of the fuzz targets: make_corpus FOLDER. Run by hand when the format grows; the
// result is kept under tests/fuzz/corpus.
#include "appliance-format/session_file.h"
#include "player/machine/messages.h"
#include "player/network_orders.h"
#include "signing/keys.h"
#include "vmm/arch/mode_key.h"
#include "vmm/base/verify.h"
#include "vmm/machine.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <zstd.h>

using namespace appliance_format;
using Bytes = std::vector<uint8_t>;

namespace {

void put(const std::string& path, std::span<const uint8_t> bytes) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}
void put(const std::string& path, std::string_view text) {
    put(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// A saved state with another value in its first field of that name.
Bytes with_field(Bytes state, std::string_view name, uint64_t value) {
    const Bytes wanted(name.begin(), name.end());
    const auto found = std::search(state.begin(), state.end(), wanted.begin(), wanted.end());
    VERIFY(found != state.end());
    const size_t at = static_cast<size_t>(found - state.begin()) + name.size() + sizeof(uint32_t);
    std::memcpy(&state.at(at), &value, sizeof value);
    return state;
}

// Forms of fuzz_chunk: stored as it is, and compressed.
void make_chunks(const std::string& out) {
    const Bytes zeros(4096);
    Bytes frame(ZSTD_compressBound(zeros.size()));
    frame.resize(ZSTD_compress(frame.data(), frame.size(), zeros.data(), zeros.size(), 3));
    for (auto [name, stored] : {std::pair{"plain", Bytes(300, 5)}, std::pair{"frame", frame}}) {
        Bytes input{0, 0xFF, 0x0F}; // 4096 bytes
        input.insert(input.end(), stored.begin(), stored.end());
        put(out + "/chunk/" + name, input);
    }
}

// Forms of fuzz_session; its bundle is the one fuzz_session makes.
// As machine_packets.h has them.
class Packets {
  public:
    template <class T> Packets& say(T message, uint32_t number = 0) {
        return add(T::kKind, number, machine::encode(std::move(message)));
    }
    template <class T> Packets& answer(uint32_t number, T value) {
        return add(machine::Kind::Answer, number, machine::encode_answer(base::Result<T>(std::move(value))));
    }
    Packets& add(machine::Kind kind, uint32_t number, const Bytes& body) {
        const size_t size = 8 + body.size();
        bytes.insert(bytes.end(), {static_cast<uint8_t>(size), static_cast<uint8_t>(size >> 8),
                                   static_cast<uint8_t>(kind), 0, 0, 0});
        for (unsigned shift = 0; shift < 32; shift += 8)
            bytes.push_back(static_cast<uint8_t>(number >> shift));
        bytes.insert(bytes.end(), body.begin(), body.end());
        return *this;
    }
    Bytes bytes;
};

void make_machine(const std::string& out) {
    using namespace machine;
    put(out + "/machine_client/events", Packets()
                                            .say(State{vmm::ExitReason::GuestHang, false, false, {}, 1})
                                            .say(Serial{{'h', 'i'}})
                                            .say(Sound{48000, Bytes(64)})
                                            .say(Silence{})
                                            .say(Notice{"notice"})
                                            .say(Stalled{"no room"})
                                            .say(Damaged{{4, "chunk 7"}})
                                            .bytes);
    put(out + "/machine_client/answers",
        Packets().answer(1, PictureSize{720, 400}).answer(2, Frozen{{1}, 2, 3, {4}, {5}, {{{6}}}}).bytes);
    Setup setup;
    setup.ram_bytes = 16u << 20;
    const StoredBlob blob{0, 65536, 1 << 20, {}, "disk0", "x"};
    setup.stores = {{{{"pack", 512, 4096, 0}}}};
    setup.media = {{vmm::MediumKind::Disk, blob, {}, HostFile{1, ""}}};
    setup.kernel = SetupKernel{blob, blob, "quiet"};
    setup.scene = SetupScene{"start", blob, blob, blob, blob};
    Bytes first{0};
    const Bytes described = Packets().say(setup, 1).bytes;
    first.insert(first.end(), described.begin(), described.end());
    put(out + "/machine_host/setup", first);
    Bytes later{1};
    const Bytes used = Packets()
                           .say(WriteMemory{0x7C00, Bytes(16, 0xF4)}, 2)
                           .say(ReadMemory{0, 4096}, 3)
                           .say(RecordFetches{}, 4)
                           .say(Start{})
                           .say(Key{{{0x1E, true}}})
                           .say(Pointer{{true, 5, 5, 0, 1}})
                           .say(SerialInput{{'x'}})
                           .say(PreferSize{800, 600})
                           .say(TakesKey{{{0x1E, false}}}, 5)
                           .say(TakePicture{}, 6)
                           .say(TextScreen{}, 7)
                           .say(machine::Activity{}, 8)
                           .say(Pause{}, 9)
                           .say(Arrive{{}, 1}, 10)
                           .say(Freeze{}, 11)
                           .say(Revert{}, 12)
                           .say(Writes{Writes::Order::Abandon})
                           .say(Stop{})
                           .bytes;
    later.insert(later.end(), used.begin(), used.end());
    put(out + "/machine_host/use", later);
}

void make_session(const std::string& out, const signing::Signer& signer, const std::string& certificate) {
    const std::string folder = out + "/work", path = folder + "/x.encore";
    std::filesystem::create_directories(folder);
    signing::TrustStore trust{folder + "/trust", folder + "/none", std::time(nullptr)};
    VERIFY(trust.add(certificate, "corpus"));
    auto writer = *BundleWriter::create(path, {.progress = {}});
    const Bytes disk(3000, 7);
    MemorySource source{disk};
    VERIFY(writer.add_blob("disk0", source, kDiskChunk));
    writer.manifest().appliance = {"corpus", "Corpus", "1.0", "", ""};
    writer.manifest().machine.memory = 16 << 20;
    writer.manifest().media = {{MediaKind::Disk, "disk0"}};
    VERIFY(writer.finish(&signer));
    const auto bundle = *Bundle::open(path);
    VERIFY(bundle->authenticate(trust));
    auto session = *BundleWriter::extend(*bundle, folder + "/x.session", {.progress = {}});
    Bytes ram(16 << 20);
    for (size_t i = 0; i < 200; ++i)
        ram[70000 + i * 50] = static_cast<uint8_t>(i);
    MemorySource memory{ram};
    VERIFY(session.add_blob("s/ram", memory, kMemoryChunk));
    MemorySource devices{disk};
    VERIFY(session.add_blob("s/devices", devices, kMemoryChunk));
    session.manifest().scenes = {{"saved-1", "Saved", "s/ram", "s/devices", "", "", {"disk0"}, {"sse2"}}};
    VERIFY(write_session(session, *bundle,
                         {.bundle_file = "x.encore",
                          .bundle_root = bundle->identity(),
                          .title = "Corpus",
                          .publisher = "Corpus",
                          .scene = "",
                          .moment = "saved-1",
                          .elapsed_seconds = 60,
                          .saved_at = 1}));
    std::ifstream in(folder + "/x.session", std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(in), {}};
    put(out + "/session/file", "\x01" + file);
    const base::UniqueFd fd{::open((folder + "/x.session").c_str(), O_RDONLY | O_CLOEXEC)};
    const auto members = *read_layout(fd.get(), {"a saved session", kSessionMember});
    VERIFY(members.size() == 5); // with a pack of chunks and one of nodes
    const auto part = [&](size_t i) { return file.substr(members[i].offset, members[i].size); };
    std::string parts{'\0'};
    for (const size_t i : {0, 2, 3}) {
        parts += static_cast<char>(members[i].size & 0xFF);
        parts += static_cast<char>(members[i].size >> 8);
    }
    put(out + "/session/parts", parts + part(0) + part(2) + part(3) + part(4));
    std::filesystem::remove_all(folder);
}

// Forms of fuzz_verifier: guest code of all kinds in some modes, with and without changes to what is made of
// it; a block and a link's stub as they are; a patch; every third stub.
void make_verifier(const std::string& out) {
    const auto name = [&](const std::string& what) { return out + "/verifier/" + what; };
    const auto translated = [&](uint8_t options, uint32_t mode, const Bytes& guest, const Bytes& changes) {
        Bytes input{0, options};
        for (unsigned n = 0; n < 4; ++n)
            input.push_back(static_cast<uint8_t>(mode >> 8 * n));
        input.insert(input.end(), {0x40, 0x01, static_cast<uint8_t>(guest.size())});
        input.insert(input.end(), guest.begin(), guest.end());
        input.insert(input.end(), changes.begin(), changes.end());
        return input;
    };
    const std::pair<const char*, Bytes> guests[] = {
        {"moves", {0x8B, 0x45, 0x08, 0x89, 0x04, 0x24, 0x03, 0x44, 0x8B, 0xFC, 0x0F,
                   0xB6, 0xC9, 0x8D, 0x64, 0x24, 0xF0, 0x50, 0x5B, 0xC9, 0xC3}},
        {"calls", {0xE8, 0x10, 0, 0, 0, 0x74, 0xF9, 0xFF, 0xE0, 0xFF, 0x14, 0x85, 0, 0, 4, 0}},
        {"strings", {0xF3, 0xA5, 0xAA, 0xA6, 0xF2, 0xAE, 0xE2, 0xF8, 0xEB, 0xF6}},
        {"locks", {0xF0, 0xFF, 0x00, 0xF0, 0x0F, 0xB1, 0x0E, 0xF0, 0x0F, 0xAB, 0x10, 0x87, 0x03, 0xC3}},
        {"system", {0x0F, 0x22, 0xD8, 0x8E, 0xD8, 0xFA, 0xFB, 0xE4, 0x60, 0xEE, 0x9C, 0x9D, 0xCF}},
        {"vectors",
         {0x0F, 0x28, 0x03, 0x66, 0x0F, 0x6F, 0xC1, 0xD9, 0x03, 0xDD, 0x1B, 0x0F, 0xF7, 0xC1, 0x0F, 0x77,
          0xC3}}};
    const std::pair<const char*, uint32_t> modes[] = {
        {"flat",
         vmm::ModeKey::kCode32 | vmm::ModeKey::kStack32 | vmm::ModeKey::kProtected | vmm::ModeKey::kSse},
        {"real", 0},
        {"checked", 0xFFFFFFFF}};
    for (const auto& [what, code] : guests)
        for (const auto& [mode, bits] : modes) {
            put(name(std::string(what) + "_" + mode), translated(0x8F, bits, code, {}));
            put(name(std::string(what) + "_" + mode + "_changed"),
                translated(0x1E, bits, code, {3, 40, 0, 5, 2, 20, 0, 1, 8, 30, 0, 1}));
        }
    put(name("block"), Bytes{1, 3, 0x43, 0x8B, 0x04, 0x0E, 0x90});
    put(name("link_stub"),
        Bytes{2, 3, 0x41, 0xB8, 1, 0, 0, 0, 0x45, 0x8B, 0x8D, 0, 1, 0, 0, 0x41, 0xFF, 0xE1, 0x90});
    put(name("patch"), Bytes{3, 0, 0, 0, 0, 0, 0, 0x20, 0, 0xE9, 0, 0, 0, 0});
    for (uint8_t n = 0; n < 24; n = static_cast<uint8_t>(n + 3))
        put(name("stub_" + std::to_string(n)), Bytes{4, 1, n, 2, 9, 0, 3});
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2)
        return 2;
    const std::string out = argv[1];
    auto pair = *signing::generate_key_pair({.name = "Corpus", .organisation = "Test"});
    auto signer = *signing::Signer::from_pem(pair.key_pem, pair.certificate_pem);
    std::mt19937 random(1);
    Bytes disk(3000);
    for (auto& byte : disk)
        byte = static_cast<uint8_t>(random() % 7);
    for (bool with_scene : {false, true}) {
        std::string name = with_scene ? "scene" : "plain";
        std::string bundle_path = out + "/bundle/" + name;
        put(bundle_path, std::string_view());
        auto writer = *BundleWriter::create(bundle_path, {.progress = {}});
        Manifest& m = writer.manifest();
        m.appliance = {"corpus", "Corpus", "1.0", "a\nb", ""};
        m.machine.memory = 16 << 20;
        m.media = {{MediaKind::Disk, "disk0"}};
        MemorySource source{disk};
        VERIFY(writer.add_blob("disk0", source, kDiskChunk));
        if (with_scene) {
            Bytes ram(16 << 20, 0);
            ram[70000] = 1;
            MemorySource memory{ram};
            VERIFY(writer.add_blob("start/ram", memory, kMemoryChunk));
            VERIFY(writer.add_blob("start/devices", source, kDiskChunk));
            m.scenes = {{"start", "Start", "start/ram", "start/devices", "", "", {"disk0"}, {"sse2"}}};
            m.start = "start";
            m.policy.max_minutes = 5;
        } else {
            m.boot.kernel = "disk0";
            m.boot.cmdline = "quiet";
        }
        VERIFY(writer.finish(with_scene ? &signer : nullptr));
        put(out + "/manifest/" + name, (*Bundle::open(bundle_path))->manifest_json());
    }
    const Bytes content{'{', '}'};
    put(out + "/cms/ecdsa", *signer.sign(content));
    auto rsa =
        *signing::generate_key_pair({.name = "R", .organisation = "", .kind = signing::KeyKind::Rsa3072});
    put(out + "/cms/rsa", *signing::Signer::from_pem(rsa.key_pem, rsa.certificate_pem)->sign(content));
    // Index: 64 chunks of 4 KiB (one node of 3,072 bytes) with references into the node itself.
    Bytes node(4 + 64 * kRefBytes + 4096, 3);
    node[0] = 0, node[1] = 0, node[2] = 0x40, node[3] = 0; // 0x4000 * 16 bytes
    for (unsigned i = 0; i < 64; ++i) {
        ObjectRef ref{signing::sha256(Bytes(4096, 3)), 0, 64 * kRefBytes, i % 3 ? 4096u : i, 0};
        encode_ref(i % 5 ? ref : ObjectRef{},
                   std::span<uint8_t, kRefBytes>(&node[4 + i * kRefBytes], kRefBytes));
    }
    put(out + "/index/node", node);
    make_chunks(out);
    make_machine(out);
    make_session(out, signer, pair.certificate_pem);
    put(out + "/recipe/full",
        "[appliance]\nname = \"demo\"\ntitle = \"T\"\nversion = \"1\"\ndescription = '''a\nb'''\n[machine]\n"
        "memory = \"64M\"\n[boot]\norder = [\"disk\", \"cdrom\"]\n[[disk]]\nimage = \"d\"\n[[cdrom]]\nimage "
        "= \"c\"\n"
        "[policy]\nmax_minutes = 30\nreset_ends_session = true\n");
    put(out + "/recipe/kernel",
        "[appliance]\nname = \"k\"\n[machine]\nmemory = \"1G\"\n[boot]\nkernel = \"k\"\n"
        "initrd = \"/i\"\ncmdline = \"quiet\"\n");
    // A machine at power-on, and one with its firmware's message on the screen.
    vmm::MachineConfig config;
    config.platform.ram_bytes = 16u << 20;
    config.platform.vram_bytes = 1u << 20;
    auto machine = *vmm::Machine::create(config);
    const Bytes power_on = *machine->save_state();
    put(out + "/device_state/power_on", power_on);
    // Times at which sums of 64 bits would overflow: one too late to be believed, and the latest that is,
    // with a clock chip and a timer at the end of theirs.
    put(out + "/device_state/impossible_time", with_field(power_on, "now_ns", INT64_MAX));
    put(out + "/device_state/latest_time",
        with_field(with_field(with_field(power_on, "now_ns", vmm::Clock::kLongestSaved), "offset", INT64_MAX),
                   "next_overflow", UINT64_MAX));
    machine->start();
    while (machine->text_screen().find("SeaBIOS") == std::string::npos)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    machine->pause();
    put(out + "/device_state/firmware", *machine->save_state());
    // Both APICs at work: a periodic timer as fast as can be, and pins that ask by level and by NMI.
    const auto asking = *vmm::Machine::create(config);
    for (const auto& [at, value] : {std::pair{0xFEE000F0u, 0x1FFu},
                                    {0xFEE003E0u, 0x0Bu},
                                    {0xFEE00320u, 0x20040u},
                                    {0xFEE00380u, 1u},
                                    {0xFEC00000u, 0x34u},
                                    {0xFEC00010u, 0x8051u},
                                    {0xFEC00000u, 0x14u},
                                    {0xFEC00010u, 0x400u}})
        asking->memory().write<uint32_t>(at, value);
    const Bytes apics = *asking->save_state();
    put(out + "/device_state/apics", apics);
    put(out + "/device_state/apics_latest_time",
        with_field(with_field(apics, "now_ns", vmm::Clock::kLongestSaved), "timer.start", UINT64_MAX));
    config.platform.network_card = true;
    put(out + "/device_state/network", *(*vmm::Machine::create(config))->save_state());
    // A question by ARP, and a packet to the name server.
    put(out + "/network_frame/name",
        Bytes{42,   0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2,    0,  0,    0,    0,    1,    0x08, 0x06, 0, 1,
              0x08, 0, 6,    4,    0,    1,    2,    0,    0,    0,  0,    1,    10,   0,    2,    15,   0, 0,
              0,    0, 0,    0,    10,   0,    2,    2,    42,   0,  0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0,
              0,    0, 0,    1,    0x08, 0,    0x45, 0,    0,    28, 0,    0,    0x40, 0,    64,   17,   0, 0,
              10,   0, 2,    15,   10,   0,    2,    3,    0x10, 0,  0,    53,   0,    8,    0,    0});
    make_verifier(out);
    const player::Surroundings around{true, {0xC0A80114, 0xC0A801FF}, {{0xC0A80100, 24}}, 0x08080808};
    put(out + "/network_orders/first",
        to_message(player::NetworkOrders{{0x0A000200, 24}, {{0xC0A80000, 16}}, {{8080, 80}}, around}));
    put(out + "/network_orders/later", to_message(around));
    put(out + "/network_orders/report",
        to_message(player::NetworkReport{player::NetworkReport::Kind::PortTaken, {}, {8080, 80}, 98}));
    put(out + "/safe_path/plain", "blobs/chunks.0");
    put(out + "/safe_path/escape", "a/../../b");
}
