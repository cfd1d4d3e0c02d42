// Host code for the containment verifier: blocks that the translator made of the input's guest code, and that
// the input then changes; code that is the input itself, as a block, the stub of a link, a patch; and stubs
// with bytes of the input's. It must come to an end with each, and what it accepts must keep to rules that
// are looked at in another way (see host_code_oracle.h).
//
// Input: a byte that says which, a byte of options, and what `Input` is asked for.
#include "tests/vmm/verifier/host_code_oracle.h"
#include "tests/vmm/verifier/host_world.h"
#include "vmm/translator/block_translator.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

using namespace vmm;
using namespace vmm::verifier_test;

namespace {

constexpr uint32_t kEip = 0x12345678;
constexpr size_t kMostCode = 8192;

class Input {
  public:
    Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
    [[nodiscard]] bool empty() const { return at_ == end_; }
    uint8_t byte() { return empty() ? uint8_t{0} : *at_++; }
    uint16_t word() { return static_cast<uint16_t>(byte() | byte() << 8); }
    uint32_t dword() { return word() | uint32_t{word()} << 16; }
    std::span<const uint8_t> bytes(size_t wanted) {
        const auto count = std::min(wanted, static_cast<size_t>(end_ - at_));
        at_ += count;
        return {at_ - count, count};
    }
    std::span<const uint8_t> rest() { return bytes(kMostCode); }

  private:
    const uint8_t *at_, *end_;
};

class Fuzzed : public CodeSource {
  public:
    const uint8_t* next_page(uint32_t& backing) override {
        backing = 2;
        return page_.data() + kPageSize;
    }

    void run(Input in) {
        const uint8_t which = in.byte(), options = in.byte();
        HostWorld& world = (options & 1) != 0 ? guarded_ : unguarded_;
        if (world.cache->room() < 2 * BlockTranslator::kMaxBlockBytes)
            world.cache->flush();
        switch (which % 5) {
        case 0:
            translated(world, options, in);
            break;
        case 1:
            block(world, options, in);
            break;
        case 2: {
            const auto bytes = in.rest();
            check(world, {.kind = HostCode::Kind::Fragment,
                          .bytes = bytes.data(),
                          .address = world.cache->cursor(),
                          .size = static_cast<uint32_t>(bytes.size()),
                          .window = (options & 2) != 0});
            break;
        }
        case 3:
            patch(world, in);
            break;
        default:
            stub(world, in);
            break;
        }
    }

  private:
    bool check(HostWorld& world, const HostCode& code) {
        if (world.verifier->check(code))
            return false;
        if (const std::string broken = broken_rule(world.rules, code); !broken.empty()) {
            std::fprintf(stderr, "accepted: %s\n%s\n", broken.c_str(),
                         listing(code, {"", code.address + code.size}).c_str());
            VERIFY(broken.empty());
        }
        return true;
    }

    void translated(HostWorld& world, uint8_t how, Input& in) {
        ModeKey key;
        key.bits = in.dword() & ~(ModeKey::kTrapFlag | ModeKey::kOneInstruction | ModeKey::kBreakpoints);
        key.cs_limit = (how & 2) != 0 ? 0xFFFFFFFF : 0xFFFF;
        TranslateOptions options;
        options.brief = (how & 4) != 0;
        options.link = (how & 8) != 0;
        options.same_page_only = (how & 16) != 0;
        options.cross = (how & 32) != 0;
        options.call_out = (how & 64) != 0;
        const uint32_t offset = in.word() % kPageSize;
        const auto guest = in.bytes(in.byte());
        constexpr uint8_t kHlt = 0xF4;
        page_.fill(kHlt);
        for (size_t n = 0; n < guest.size() && offset + n < page_.size(); ++n)
            page_[offset + n] = guest[n];
        BlockTranslator translator(*world.cache, world.stubs, world.runtime->runtime(), world.segments,
                                   &world == &guarded_, HostMaker::Intel, (how & 128) != 0);
        const Block* const made = translator.translate(
            (key.cs_limit == 0xFFFF ? 0x8000u : 0x08048000u) + offset, key,
            {.backing = 1, .first = page_.data() + offset, .first_length = kPageSize - offset}, *this,
            options);
        VERIFY(made != nullptr);
        HostCode code = block_code(*world.cache, *made, BlockUse::Fresh, facts_);
        code.heads = translator.loop_heads();
        VERIFY(check(world, code)); // whatever the guest's code is
        if (in.empty())
            return;
        CodeCopy changed(code);
        const bool only_bytes = change(world, changed, in);
        const bool accepted = check(world, changed.code);
        // As a copy of itself: it must be one that would have been accepted.
        if (only_bytes && !world.verifier->check_copy(code, changed.code))
            VERIFY(accepted);
    }

    // What it did: changed bytes and nothing else.
    bool change(const HostWorld& world, CodeCopy& code, Input& in) {
        bool only_bytes = true;
        while (!in.empty()) {
            const uint8_t how = in.byte();
            const uint32_t at = in.word() % code.code.size;
            const uint8_t value = in.byte();
            const auto put32 = [&](uint32_t number) {
                std::memcpy(code.bytes.data() + at, &number, std::min<size_t>(4, code.code.size - at));
            };
            only_bytes = only_bytes && how % 12 < 5;
            switch (how % 12) {
            case 0:
            case 1:
                code.bytes[at] = value;
                break;
            case 2:
                code.bytes[at] ^= static_cast<uint8_t>(1u << value % 8);
                break;
            case 3: // a branch to a stub
                put32(world.rules.gates[value % world.rules.gates.size()].address -
                      (code.code.address + at + 4));
                break;
            case 4: // a displacement into Runtime
                put32(static_cast<uint32_t>(world.rules.runtime) +
                      world.rules.fields[value % world.rules.fields.size()].offset + value / 64);
                break;
            case 5:
                code.code.size = at + 1;
                code.code.body = std::min(code.code.body, code.code.address + code.code.size);
                break;
            case 6:
                code.code.window = !code.code.window;
                break;
            case 7:
                if (!code.landings.empty())
                    code.landings[value % code.landings.size()] = code.code.address + at;
                break;
            case 8:
                if (!code.ways_out.empty()) {
                    WayOut& way = code.ways_out[value % code.ways_out.size()];
                    (value % 3 == 0   ? way.site
                     : value % 3 == 1 ? way.stub
                                      : way.target) = code.code.address + at;
                }
                break;
            case 9:
                if (!code.holes.empty()) {
                    Hole& hole = code.holes[value % code.holes.size()];
                    hole = {static_cast<uint16_t>(at), static_cast<Hole::Kind>(value % 4)};
                }
                break;
            case 10:
                code.heads.push_back(at);
                code.code.heads = code.heads;
                break;
            default:
                code.code.body = code.code.address + at;
                break;
            }
        }
        return only_bytes;
    }

    // Behind a right arrival and before a right exit.
    void block(HostWorld& world, uint8_t how, Input& in) {
        using namespace host;
        const uint32_t base = world.cache->cursor();
        Emitter e(world.cache->memory().writable(base), kMostCode + 64, base);
        HostCode code;
        code.address = base;
        code.bytes = world.cache->memory().writable(base);
        code.eip = kEip;
        code.window = (how & 2) != 0;
        e.lea32(kScratch1, {.base = kScratch0, .displacement = static_cast<int32_t>(-kEip)});
        e.load32(kScratch0, {.base = kRuntime, .index = kScratch1, .displacement = kArrival});
        code.body = static_cast<uint32_t>(e.address());
        for (const uint8_t byte : in.rest())
            e.byte(byte);
        if ((how & 4) == 0) {
            e.mov32_imm(kScratch0, kEip);
            e.jump(world.stubs.indirect_miss);
        }
        code.size = e.offset();
        check(world, code);
    }

    static void patch(const HostWorld& world, Input& in) {
        const uint32_t address = world.cache->cursor() + in.word();
        const uint32_t target = in.dword();
        const auto bytes = in.bytes(5 + in.byte() % 2);
        const auto size = static_cast<uint32_t>(bytes.size());
        if (size < 5 || Verifier::check_branch(bytes.data(), address, size, target))
            return;
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        ZydisDecodedInstruction z;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        VERIFY(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), size, &z, operands)) &&
               z.length == size && z.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR &&
               operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
               static_cast<uint32_t>(address + size + operands[0].imm.value.u) == target);
    }

    void stub(HostWorld& world, Input& in) {
        const std::vector<Gate>& gates = world.rules.gates;
        const size_t n = in.byte() % gates.size();
        const uint32_t end =
            n + 1 < gates.size() ? gates[n + 1].address : world.rules.code + world.rules.stub_bytes;
        HostCode made;
        made.kind = HostCode::Kind::Stub;
        made.address = gates[n].address;
        made.bytes = world.cache->memory().writable(made.address);
        made.size = end - made.address;
        VERIFY(check(world, made));
        CodeCopy changed(made);
        (void)change(world, changed, in);
        check(world, changed.code);
    }

    HostWorld guarded_{true}, unguarded_{false};
    std::array<uint8_t, 2 * kPageSize> page_{};
    BlockFacts facts_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Fuzzed fuzzed;
    fuzzed.run(Input(data, size));
    return 0;
}
