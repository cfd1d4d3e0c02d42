// One guest sees one processor, whoever made the host's: where makers differ, what Intel's processors do, as
// recorded from one. Each test also runs with the lowerings for another maker's host.
#include "tests/guest/guest.h"
#include "tests/guest/maker_values.h"

#include <cstdlib>

using namespace vmm;
using namespace vmm::guest;

namespace {

void for_each_maker(void (*test)(Guest&)) {
    for (const BlockMode mode : {BlockMode::SingleInstruction, BlockMode::Unlinked, BlockMode::Linked})
        for (const HostMaker maker : {host_maker(), HostMaker::Other}) {
            CAPTURE(static_cast<int>(mode), static_cast<int>(maker));
            Guest g(mode, maker);
            test(g);
        }
}

std::vector<uint8_t> bytes_of(const char* hex) {
    std::vector<uint8_t> bytes;
    for (; *hex != 0; hex += 2) {
        const char digits[] = {hex[0], hex[1], 0};
        bytes.push_back(static_cast<uint8_t>(std::strtoul(digits, nullptr, 16)));
    }
    return bytes;
}

// The instruction, PUSHFD, POP EBX, HLT; the flags afterwards.
uint32_t run_row(Guest& g, std::vector<uint8_t> code, const MakerRow& row) {
    code.insert(code.end(), {0x9C, 0x5B, 0xF4});
    g.memory->write(kCode, code.data(), code.size());
    g.state.eip = kCode;
    g.eax() = row.eax;
    g.ecx() = row.ecx;
    g.edx() = row.edx;
    g.state.eflags = eflags::kFixed1 | row.flags;
    CHECK(g.run() == "hlt");
    return g.ebx() & eflags::kArithmetic;
}

size_t modrm_at(const std::vector<uint8_t>& code) {
    const size_t prefix = code[0] == 0x66 ? 1 : 0;
    return prefix + (code[prefix] == 0x0F ? 2 : 1);
}

// The same instruction with its r/m operand at kData.
std::vector<uint8_t> with_memory(std::vector<uint8_t> code) {
    const size_t modrm = modrm_at(code);
    code[modrm] = static_cast<uint8_t>((code[modrm] & 0x38) | 0x05);
    constexpr uint8_t kAddress[] = {kData & 0xFF, (kData >> 8) & 0xFF, (kData >> 16) & 0xFF, kData >> 24};
    code.insert(code.begin() + static_cast<std::ptrdiff_t>(modrm) + 1, std::begin(kAddress),
                std::end(kAddress));
    return code;
}

// ROL and ROR of a register by an immediate keep OF; in memory OF is that of the first step.
bool rotates_register_by_immediate(const std::vector<uint8_t>& code) {
    return code[0] == 0xC1 && (code[1] & 0xF0) == 0xC0;
}

// BT and its like with a register for the bit look beside a memory operand.
bool moves_operand(const std::vector<uint8_t>& code) { return code[0] == 0x0F && (code[1] & 0xE7) == 0xA3; }

} // namespace

TEST_CASE("maker: undefined flags are Intel's, register operands", "[maker]") {
    for_each_maker([](Guest& g) {
        for (const MakerRow& row : kMakerRows) {
            CAPTURE(row.code, row.eax, row.ecx, row.edx, row.flags);
            CHECK(run_row(g, bytes_of(row.code), row) == row.flags_after);
            CHECK(g.eax() == row.eax_after);
            CHECK(g.edx() == row.edx_after);
        }
    });
}

TEST_CASE("maker: undefined flags are Intel's, memory operands", "[maker]") {
    for_each_maker([](Guest& g) {
        for (const MakerRow& row : kMakerRows) {
            const std::vector<uint8_t> code = bytes_of(row.code);
            if ((moves_operand(code) && row.ecx > 31) || rotates_register_by_immediate(code))
                continue;
            const bool ecx = (code[modrm_at(code)] & 7) == 1;
            g.put32(kData, ecx ? row.ecx : row.eax);
            CAPTURE(row.code, row.eax, row.ecx, row.edx, row.flags);
            CHECK(run_row(g, with_memory(code), row) == row.flags_after);
        }
    });
}

GUEST32(push_es, "push es\n hlt");
GUEST32(push_fs, "push fs\n hlt");
GUEST32(pushes_word, ".byte 0x66\n push ds\n hlt");
GUEST_TEST("maker: PUSH of a segment register leaves the upper half of its slot", "[maker]") {
    for (const bool slot_form : {false, true}) {
        if (slot_form) // C++ carries it out
            g.state.segment(SegReg::Ss).set_attributes(g.state.segment(SegReg::Ss).attributes() | 1u << 10);
        if (slot_form)
            g.state.segment(SegReg::Ss).limit = 0xFFF;
        g.fill(kKernelStack - 8, 0xAA, 8);
        g.esp() = kKernelStack;
        g.state.eip = kCode;
        CHECK(g.run(push_es) == "hlt");
        CHECK(g.esp() == kKernelStack - 4);
        CHECK(g.get32(kKernelStack - 4) == (0xAAAA0000 | kKernelDs));
        g.state.eip = kCode;
        CHECK(g.run(push_fs) == "hlt");
        CHECK(g.get32(kKernelStack - 8) == (0xAAAA0000 | kKernelDs));
        g.esp() = kKernelStack;
        g.state.eip = kCode;
        CHECK(g.run(pushes_word) == "hlt");
        CHECK(g.esp() == kKernelStack - 2);
    }
}
GUEST_TEST("maker: PUSH of a segment register checks and touches two bytes", "[maker]") {
    g.paging();
    g.page(0x41000, 0);
    g.engine->state_replaced();
    g.esp() = 0x41002;
    CHECK(g.run(push_es) == "hlt");
    CHECK(g.esp() == 0x40FFE);
    CHECK(g.get16(0x40FFE) == kKernelDs);
    g.esp() = 0x41003;
    g.state.eip = kCode;
    CHECK(g.run(push_es) == "#14(0002)@41000 at 10000");
    CHECK(g.esp() == 0x41003);
    g.state.segment(SegReg::Ss).limit = 0x8001; // the stack ends in the middle of a slot
    g.esp() = 0x8004;
    g.state.eip = kCode;
    CHECK(g.run(push_es) == "hlt");
    g.esp() = 0x8005;
    g.state.eip = kCode;
    CHECK(g.run(push_es) == "#12(0000) at 10000");
}
GUEST32(far_call, "call 0x08:0x10020\n .org 0x20\n hlt");
GUEST_TEST("maker: far CALL and interrupts clear the upper half of a selector's slot", "[maker]") {
    g.fill(kKernelStack - 16, 0xAA, 16);
    CHECK(g.run(far_call) == "hlt");
    CHECK(g.get32(kKernelStack - 4) == kKernelCs);
    g.deliver_faults();
    g.put8(kCode, 0xCC);
    g.state.eip = kCode;
    g.esp() = kKernelStack;
    g.fill(kKernelStack - 16, 0xAA, 16);
    CHECK(g.run() == "hlt");
    CHECK(g.get32(kKernelStack - 8) == kKernelCs);
}

GUEST32(bound_across, "bound eax, [0x40ffc]\n hlt");
GUEST_TEST("maker: BOUND refuses an index before it reads the upper bound", "[maker]") {
    g.paging();
    g.page(0x41000, 0);
    g.engine->state_replaced();
    g.put32(0x40FFC, 5);
    g.eax() = 4;
    CHECK(g.run(bound_across) == "#5 at 10000");
    g.eax() = 5;
    CHECK(g.run(bound_across) == "#14(0000)@41000 at 10000");
    g.page(0x41000, 0x41007);
    g.put32(0x41000, 6);
    CHECK(g.run() == "hlt");
}

GUEST16(bound_words, "bound ax, ds:[0x40]\n hlt");
GUEST32(bound_dwords, "bound eax, ds:[0x40]\n hlt");
GUEST_TEST("maker: BOUND refuses an index before it asks whether the segment has the upper bound",
           "[maker]") {
    const auto run = [&](const Snippet& code, unsigned width) {
        CAPTURE(width);
        const auto limit = [&](uint32_t last) {
            g.state.eip = 0;
            g.set_segment(SegReg::Ds, kFree2, descriptor(kData, last, 0x93, 0x4));
        };
        g.load(code);
        g.set_segment(SegReg::Cs, kFree, descriptor(kCode, 0xFFFF, 0x9B, width == 4 ? 0x4 : 0));
        g.put32(kData + 0x40, 5);
        g.put32(kData + 0x40 + width, 6);
        g.eax() = 4;
        limit(0x40 + width - 1);
        CHECK(g.run() == "#5 at 0");
        limit(0x40 + width - 2);
        CHECK(g.run() == "#13(0000) at 0");
        g.eax() = 6;
        limit(0x40 + 2 * width - 2);
        CHECK(g.run() == "#13(0000) at 0");
        limit(0x40 + 2 * width - 1);
        CHECK(g.run() == "hlt");
        g.eax() = 7;
        limit(0xFFFF);
        CHECK(g.run() == "#5 at 0");
    };
    run(bound_words, 2);
    run(bound_dwords, 4);
}
