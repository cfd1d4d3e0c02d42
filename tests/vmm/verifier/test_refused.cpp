// Blocks that break one rule each by what they do with registers and memory.
#include "tests/vmm/verifier/bench.h"

#include <fmt/format.h>

using namespace vmm;
using namespace vmm::host;
using namespace vmm::verifier_test;

namespace {

constexpr uint8_t kGuest[] = {kRax, kRcx, kRdx, kRbx, kRbp, kRsi, kRdi};
constexpr uint8_t kScratch[] = {kScratch0, kScratch1, kScratch2, kScratch3};
constexpr uint8_t kHost[] = {kRsp, kJumpTable, kWindow, kRuntime};
constexpr uint8_t kScales[] = {1, 2, 4, 8};

struct Bad {
    std::string what;
    Bench::Emit emit;
};

void check_each(const char* reason, const std::vector<Bad>& table, bool open = false) {
    Bench bench;
    for (const Bad& bad : table) {
        INFO(bad.what);
        CHECK(bench.verdict(bad.emit, open) == reason);
    }
}

HostMemory rt(int32_t at) { return {.base = kRuntime, .displacement = at}; }
int32_t slot_of(const Bench& b) { return static_cast<int32_t>(b.rules.slot); }

void call_out(Bench& b, Emitter& e, Callout which) {
    e.mov32_imm(kScratch2, static_cast<uint32_t>(which));
    e.call(b.stubs.callout);
}

} // namespace

TEST_CASE("verifier: indirect branches go where the jump table says", "[verifier]") {
    std::vector<Bad> table;
    for (uint8_t reg = 0; reg < 16; ++reg)
        for (const bool call : {false, true})
            table.push_back({fmt::format("{} through register {}", call ? "call" : "jump", reg),
                             [=](Bench& b, Emitter& e) {
                                 e.mov32_imm(kScratch0, kEip);
                                 if (reg == kScratch1)
                                     e.mov32(kScratch1, kRax); // the guest's
                                 call ? e.call_reg(reg) : e.jump_reg(reg);
                                 if (call)
                                     b.land(e);
                             }});
    const auto made = [&](const char* what, const std::function<void(Emitter&)>& make) {
        table.push_back({what, [=](Bench&, Emitter& e) {
                             e.mov32_imm(kScratch0, kEip);
                             make(e);
                             e.jump_reg(kScratch1);
                         }});
    };
    made("to a constant", [](Emitter& e) { e.mov32_imm(kScratch1, 0x20000000); });
    made("to what guest memory holds",
         [](Emitter& e) { e.load32(kScratch1, {.base = kWindow, .index = kRax}); });
    made("to what the stack holds", [](Emitter& e) { e.load32(kScratch1, {.base = kGuestEsp}); });
    made("to an entry plus something", [](Emitter& e) {
        e.load32(kScratch1, {.base = kJumpTable, .displacement = 64});
        e.op_reg({.opcode = 0xFF}, 0, kScratch1);
    });
    made("to half an entry", [](Emitter& e) {
        e.load32(kScratch1, {.base = kJumpTable, .displacement = 64});
        e.mov16(kScratch1, kRax);
    });
    made("to a field of Runtime", [](Emitter& e) { e.load32(kScratch1, rt(ENCORE_RT(exit_argument))); });
    made("to what a poll read", [](Emitter& e) { e.load32(kScratch1, rt(kPoll)); });
    made("to what another call-out left", [](Emitter& e) { e.mov32_imm(kScratch1, 0); });
    {
        Bench bench;
        for (const Bad& bad : table) {
            INFO(bad.what);
            const std::string said = bench.verdict(bad.emit, true);
            CHECK((said == refusal::kIndirect || said == refusal::kHostValue));
        }
        const auto memory = [&](uint8_t extension, HostMemory m) {
            return bench.verdict([=](Bench&, Emitter& e) {
                e.mov32_imm(kScratch0, kEip);
                e.op_mem({.opcode = 0xFF}, extension, m);
            });
        };
        for (const uint8_t reg : kGuest) {
            CHECK(memory(2, {.base = kWindow, .index = reg}) == refusal::kIndirect);
            CHECK(memory(4, {.base = kWindow, .index = reg}) == refusal::kForm);
            CHECK(memory(6, {.base = kWindow, .index = reg}) == refusal::kNotAllowed);
        }
        CHECK(
            memory(2,
                   {.base = kRuntime, .index = kScratch2, .scale = 8, .displacement = ENCORE_RT(callouts)}) ==
            refusal::kIndirect);
        CHECK(memory(2, {.base = kJumpTable}) == refusal::kIndirect);
        CHECK(memory(4, {.base = kJumpTable}) == refusal::kForm);
    }
}

TEST_CASE("verifier: no index off Runtime but those of arrivals and checks", "[verifier]") {
    std::vector<Bad> table;
    for (const uint8_t index : kGuest)
        for (const uint8_t scale : kScales) {
            table.push_back(
                {fmt::format("load by guest register {} times {}", index, scale), [=](Bench&, Emitter& e) {
                     e.load32(kScratch0,
                              {.base = kRuntime, .index = index, .scale = scale, .displacement = kArrival});
                 }});
            table.push_back(
                {fmt::format("store by guest register {} times {}", index, scale), [=](Bench&, Emitter& e) {
                     e.store32({.base = kRuntime, .index = index, .scale = scale}, kRax);
                 }});
        }
    for (const uint8_t index : kScratch) {
        table.push_back({fmt::format("unknown scratch {}", index), [=](Bench&, Emitter& e) {
                             e.load32(kScratch0,
                                      {.base = kRuntime, .index = index, .displacement = kArrival});
                         }});
        table.push_back({fmt::format("arrival's index {} times eight", index), [=](Bench&, Emitter& e) {
                             e.mov32(index, kRax);
                             e.load32(
                                 kScratch0,
                                 {.base = kRuntime, .index = index, .scale = 8, .displacement = kArrival});
                         }});
        table.push_back({fmt::format("arrival's index {} from elsewhere", index), [=](Bench&, Emitter& e) {
                             e.mov32(index, kRax);
                             e.load32(kScratch0,
                                      {.base = kRuntime, .index = index, .displacement = kArrival - 4});
                         }});
        table.push_back({fmt::format("arrival stored to, {}", index), [=](Bench&, Emitter& e) {
                             e.mov32(index, kRax);
                             e.store32({.base = kRuntime, .index = index, .displacement = kArrival}, kRcx);
                         }});
        table.push_back({fmt::format("arrival's load into EAX, {}", index), [=](Bench&, Emitter& e) {
                             e.mov32(index, kRax);
                             e.load32(kRax, {.base = kRuntime, .index = index, .displacement = kArrival});
                         }});
    }
    // The steps of a limit check, with one missing or wrong.
    enum { kComplement, kAdd, kReverse, kTruncate, kLoad, kSteps };
    const auto limit = [](int without, int32_t slack, int32_t displacement, uint8_t scale) {
        return [=](Bench&, Emitter& e) {
            e.mov32(kScratch3, kRax);
            if (without != kComplement)
                e.not64(kScratch3);
            e.mov32(kScratch1, kRcx);
            if (without != kAdd)
                e.lea64(kScratch3, {.base = kScratch3, .index = kScratch1, .displacement = slack});
            if (without != kReverse)
                e.bswap64(kScratch3);
            if (without != kTruncate)
                e.mov32(kScratch3, kScratch3);
            e.load32(kScratch1,
                     {.base = kRuntime, .index = kScratch3, .scale = scale, .displacement = displacement});
        };
    };
    Bench bench;
    CHECK(bench.verdict(limit(kSteps, 1, -kAnchor, 8)).empty());
    CHECK(bench.verdict(limit(kSteps, -14, 5 * 4096 - kAnchor, 8)).empty());
    for (int step = kComplement; step < kLoad; ++step) {
        INFO(step);
        const std::string said = bench.verdict(limit(step, 1, -kAnchor, 8));
        CHECK((said == refusal::kRuntimeIndex || said == refusal::kHostValue));
    }
    table.push_back({"more than one byte of slack", limit(kSteps, 2, -kAnchor, 8)});
    table.push_back({"limit check off by a page", limit(kSteps, 1, 6 * 4096 - kAnchor, 8)});
    table.push_back({"limit check below Runtime", limit(kSteps, 1, -4096 - kAnchor, 8)});
    table.push_back({"limit check between pages", limit(kSteps, 1, 8 - kAnchor, 8)});
    table.push_back({"limit check times four", limit(kSteps, 1, -kAnchor, 4)});
    for (Bad& bad : table) {
        INFO(bad.what);
        const std::string said = bench.verdict(bad.emit);
        CHECK((said == refusal::kRuntimeIndex || said == refusal::kHostValue));
    }
    // Without the reservation above Runtime there is no arrival by load.
    Bench without(false);
    CHECK(without.verdict([](Bench&, Emitter&) {}) == refusal::kRuntimeIndex);
}

TEST_CASE("verifier: Runtime's fields, each for its use", "[verifier]") {
    std::vector<Bad> table;
    const auto load = [&](const char* what, int32_t at, unsigned bytes = 4, uint8_t to = kScratch1) {
        table.push_back({what, [=](Bench&, Emitter& e) {
                             bytes == 8 ? e.load64(to, rt(at)) : e.load(to, rt(at), bytes);
                         }});
    };
    const auto store = [&](const char* what, int32_t at, bool immediate = false) {
        table.push_back({what, [=](Bench&, Emitter& e) {
                             immediate ? e.store32_imm(rt(at), 0) : e.store32(rt(at), kRax);
                         }});
    };
    load("the host's stack pointer", ENCORE_RT(cpp_rsp));
    load("the shadow stack's", ENCORE_RT(shadow_rsp));
    load("its top", ENCORE_RT(shadow_top));
    load("the window's base", ENCORE_RT(window_base));
    load("the jump table", ENCORE_RT(jump_table));
    load("the engine", ENCORE_RT(vcpu));
    load("a call-out's address", ENCORE_RT(callouts));
    load("CR0", ENCORE_RT(cpu.cr0));
    load("CR3", ENCORE_RT(cpu.cr3));
    load("saved EAX", rt_gpr(0));
    load("EIP", kRtEip);
    load("below Runtime", -kAnchor - 4);
    load("behind Runtime", -kAnchor + static_cast<int32_t>(sizeof(Runtime)));
    load("over the end of the segments", rt_segment(5) + 14);
    load("the slot by way of Runtime", ENCORE_RT(slot));
    load("into the guard", 64);
    load("half a pointer", ENCORE_RT(fs_base_pointer));
    load("all of a poll", kPoll, 8);
    load("a poll into EAX", kPoll, 4, kRax);
    load("half a poll", kPoll, 2);
    load("a poll beside it", kPoll + 1);
    load("a pointer into EAX", ENCORE_RT(fs_base_pointer), 8, kRax);
    load("a segment's halves at once", rt_segment(3), 8);
    load("window base, whole", ENCORE_RT(window_base), 8);
    load("jump table, whole", ENCORE_RT(jump_table), 8);
    load("host stack, whole", ENCORE_RT(cpp_rsp), 8);
    load("a call-out, whole", ENCORE_RT(callouts), 8);
    load("the engine, whole", ENCORE_RT(vcpu), 8);
    load("one byte of a bit's number", ENCORE_RT(slot_bit), 1);
    for (const bool immediate : {false, true}) {
        store("CPL", ENCORE_RT(cpu.cpl), immediate);
        store("CR0", ENCORE_RT(cpu.cr0), immediate);
        store("CR3", ENCORE_RT(cpu.cr3), immediate);
        store("EFLAGS", ENCORE_RT(cpu.eflags), immediate);
        store("a segment's base", rt_segment_base(2), immediate);
        store("a segment's limit", rt_segment_limit(2), immediate);
        store("a selector", rt_segment_selector(1), immediate);
        store("saved EAX", rt_gpr(0), immediate);
        store("a pointer", ENCORE_RT(fs_base_pointer), immediate);
        store("the window's base", ENCORE_RT(window_base), immediate);
        store("the jump table", ENCORE_RT(jump_table), immediate);
        store("the host's stack pointer", ENCORE_RT(cpp_rsp), immediate);
        store("the shadow stack's", ENCORE_RT(shadow_rsp), immediate);
        store("the engine", ENCORE_RT(vcpu), immediate);
        store("a call-out", ENCORE_RT(callouts) + 8, immediate);
        store("the poll page", kPoll, immediate);
        store("other flags", ENCORE_RT(other_flags), immediate);
        store("host flags", ENCORE_RT(host_flags), immediate);
        store("MXCSR", ENCORE_RT(host_mxcsr), immediate);
        store("a bit's number", ENCORE_RT(slot_bit), immediate);
        store("an operand's address", ENCORE_RT(slot_linear), immediate);
        store("beside EIP", kRtEip + 1, immediate);
        store("the slot by way of Runtime", ENCORE_RT(slot), immediate);
    }
    table.push_back({"two bytes of EIP", [](Bench&, Emitter& e) { e.store16(rt(kRtEip), kRax); }});
    table.push_back(
        {"EIP added to", [](Bench&, Emitter& e) { e.op_mem({.opcode = 0x01}, kRax, rt(kRtEip)); }});
    table.push_back(
        {"EIP by XMM", [](Bench&, Emitter& e) { e.op_mem({.opcode = 0x11, .map = 1}, 0, rt(kRtEip)); }});
    table.push_back({"EIP by x87", [](Bench&, Emitter& e) { e.op_mem({.opcode = 0xD9}, 3, rt(kRtEip)); }});
    table.push_back({"compared", [](Bench&, Emitter& e) { e.op_mem({.opcode = 0x3B}, kRax, rt(kRtEip)); }});
    table.push_back({"exchanged", [](Bench&, Emitter& e) { e.op_mem({.opcode = 0x87}, kRax, rt(kRtEip)); }});
    Bench bench;
    for (const Bad& bad : table) {
        INFO(bad.what);
        const std::string said = bench.verdict(bad.emit);
        CHECK(said == refusal::kRuntimeField);
    }
}

TEST_CASE("verifier: memory outside the window, the slot and the jump table", "[verifier]") {
    Bench bench;
    const auto load = [&](const HostMemory& m) {
        return bench.verdict([=](Bench&, Emitter& e) { e.load32(kRax, m); });
    };
    for (const uint8_t reg : kGuest) {
        CHECK(load({.base = reg}) == refusal::kOutside);
        CHECK(load({.base = reg, .displacement = 0x7FFFFFFF}) == refusal::kOutside);
        CHECK(load({.base = reg, .index = kWindow}) == refusal::kOutside);
        CHECK(load({.index = reg, .scale = 8, .displacement = 64}) == refusal::kOutside);
        CHECK(load({.base = kRsp, .index = reg}) == refusal::kOutside);
        CHECK(load({.base = kJumpTable, .index = reg, .scale = 4}) == refusal::kTable);
    }
    for (const uint8_t reg : kHost) {
        CHECK(load({.base = kRax, .index = reg == kRsp ? kRuntime : reg}) == refusal::kOutside);
        if (reg != kRsp)
            CHECK(load({.base = kWindow, .index = reg}) == refusal::kIndexUnknown);
    }
    CHECK(load({.base = kRsp}) == refusal::kOutside);
    const int32_t slot = slot_of(bench);
    for (const int32_t at : {0, 0x1000, slot - 1, slot - 4, slot + int32_t{kSlotBytes} - 3,
                             slot + int32_t{kSlotBytes}, 0x20000000, -1, INT32_MIN})
        CHECK(load({.displacement = at}) == refusal::kOutside);
    CHECK(load({.displacement = slot}).empty());
    CHECK(load({.displacement = slot + int32_t{kSlotBytes} - 4}).empty());
    CHECK(bench.verdict([=](Bench&, Emitter& e) { // 16 bytes
        e.op_mem({.opcode = 0x10, .map = 1}, 0, {.displacement = slot + int32_t{kSlotBytes} - 8});
    }) == refusal::kOutside);
    // The jump table
    const auto table_load = [&](const HostMemory& m, bool index = false) {
        return bench.verdict([=](Bench&, Emitter& e) {
            if (index)
                e.movzx16(kScratch1, kRax);
            e.load32(kScratch1, m);
        });
    };
    CHECK(table_load({.base = kJumpTable, .displacement = 65535 * 4}).empty());
    CHECK(table_load({.base = kJumpTable, .index = kScratch1, .scale = 4}, true).empty());
    for (const int32_t at : {-4, -1, 1, 2, 65536 * 4, INT32_MAX, INT32_MIN})
        CHECK(table_load({.base = kJumpTable, .displacement = at}) == refusal::kTable);
    for (const uint8_t scale : {1, 2, 8})
        CHECK(table_load({.base = kJumpTable, .index = kScratch1, .scale = scale}, true) == refusal::kTable);
    // A displacement on top of an index leads into the next context's table.
    for (const int32_t at : {4, 64, 65535 * 4, -4})
        CHECK(table_load({.base = kJumpTable, .index = kScratch1, .scale = 4, .displacement = at}, true) ==
              refusal::kTable);
    CHECK(bench.verdict([](Bench&, Emitter& e) { // an index of 32 bits
        e.mov32(kScratch1, kRax);
        e.load32(kScratch1, {.base = kJumpTable, .index = kScratch1, .scale = 4});
    }) == refusal::kTable);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.load32(kRax, {.base = kJumpTable}); }) == refusal::kTable);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.load16(kScratch1, {.base = kJumpTable}); }) ==
          refusal::kTable);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.store32({.base = kJumpTable}, kRax); }) ==
          refusal::kTable);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.op_mem({.opcode = 0x03}, kRax, {.base = kJumpTable}); }) ==
          refusal::kTable);
    // Pointers of Runtime
    const auto through = [&](const std::function<void(Emitter&)>& use) {
        return bench.verdict([=](Bench&, Emitter& e) {
            e.load64(kScratch1, rt(ENCORE_RT(fs_base_pointer)));
            use(e);
        });
    };
    CHECK(through([](Emitter& e) { e.load32(kScratch1, {.base = kScratch1}); }).empty());
    CHECK(through([](Emitter& e) { e.load32(kScratch1, {.base = kScratch1, .displacement = 4}); }) ==
          refusal::kOutside);
    CHECK(through([](Emitter& e) { e.load32(kScratch1, {.base = kScratch1, .index = kRax}); }) ==
          refusal::kOutside);
    CHECK(through([](Emitter& e) { e.load32(kRax, {.base = kScratch1}); }) == refusal::kOutside);
    CHECK(through([](Emitter& e) { e.load64(kScratch1, {.base = kScratch1}); }) == refusal::kOutside);
    CHECK(through([](Emitter& e) { e.store32({.base = kScratch1}, kRax); }) == refusal::kOutside);
    CHECK(through([](Emitter& e) { e.mov32(kRax, kScratch1); }) == refusal::kHostValue);
    // Under watch
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.load32(kRax, {.base = kWindow, .index = kRcx}); }, false,
                        false) == refusal::kWatched);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.load32(kRax, {.base = kRcx, .window = true}); }, false,
                        false) == refusal::kWatched);
    CHECK(bench.verdict([](Bench&, Emitter& e) { e.load32(kRax, {.base = kGuestEsp}); }, false, false) ==
          refusal::kWatched);
    // Bit strings
    const auto bit = [&](const std::function<void(Emitter&)>& number) {
        return bench.verdict([=](Bench&, Emitter& e) {
            number(e);
            e.op_mem({.opcode = 0xAB, .map = 1}, kScratch2, {.displacement = slot});
        });
    };
    CHECK(bit([](Emitter& e) { e.load32(kScratch2, rt(ENCORE_RT(slot_bit))); }).empty());
    CHECK(bit([](Emitter& e) { e.mov32(kScratch2, kRax); }) == refusal::kBitString);
    CHECK(bit([](Emitter& e) { e.movzx16(kScratch2, kRax); }) == refusal::kBitString);
    CHECK(bit([](Emitter& e) { e.mov32_imm(kScratch2, 1u << 31); }) == refusal::kBitString);
    CHECK(bench.verdict([=](Bench&, Emitter& e) {
        e.op_mem({.opcode = 0xA3, .map = 1}, kRax, {.displacement = slot});
    }) == refusal::kBitString);
}

TEST_CASE("verifier: host values stay with the host", "[verifier]") {
    std::vector<Bad> table;
    for (const uint8_t from :
         {kRsp, kJumpTable, kWindow, kRuntime, kScratch0, kScratch1, kScratch2, kScratch3})
        for (const uint8_t to : kGuest) {
            table.push_back(
                {fmt::format("{} moved to {}", from, to), [=](Bench&, Emitter& e) { e.mov32(to, from); }});
            table.push_back({fmt::format("{} part of an address for {}", from, to), [=](Bench&, Emitter& e) {
                                 if (from == kRsp)
                                     e.lea32(to, {.base = from});
                                 else
                                     e.lea32(to, {.base = kRax, .index = from, .scale = 2});
                             }});
            table.push_back({fmt::format("{} compared with {}", from, to),
                             [=](Bench&, Emitter& e) { e.op_reg({.opcode = 0x39}, from, to); }});
            table.push_back({fmt::format("{} stored, {}", from, to),
                             [=](Bench&, Emitter& e) { e.store32({.base = kWindow, .index = to}, from); }});
            if (from != kRsp)
                table.push_back(
                    {fmt::format("{} as an address that faults, {}", from, to), [=](Bench&, Emitter& e) {
                         e.load32(to, {.base = kRcx, .index = from, .window = true});
                     }});
        }
    table.push_back({"SPL", [](Bench&, Emitter& e) { e.store8({.base = kWindow}, kRsp); }});
    table.push_back({"what a call-out left", [](Bench& b, Emitter& e) {
                         e.mov32_imm(kScratch0, 0);
                         e.mov32_imm(kScratch1, 0);
                         call_out(b, e, Callout::Cli);
                         e.mov32(kRax, kScratch0);
                     }});
    table.push_back({"where the jump table leads", [](Bench&, Emitter& e) {
                         e.load32(kScratch1, {.base = kJumpTable});
                         e.mov32(kRax, kScratch1);
                     }});
    table.push_back({"XMM from a host register", [](Bench&, Emitter& e) {
                         e.op_reg({.opcode = 0x6E, .map = 1, .mandatory = 0x66}, 0, kRuntime);
                     }});
    table.push_back({"known on one way only", [](Bench&, Emitter& e) {
                         const uint32_t site = e.jump_if(4, e.address());
                         e.mov32(kScratch3, kRax);
                         e.patch_rel32(site, e.address());
                         e.mov32(kRcx, kScratch3);
                     }});
    check_each(refusal::kHostValue, table);
}

TEST_CASE("verifier: registers of ours are not written", "[verifier]") {
    std::vector<Bad> fixed, stack;
    for (const uint8_t reg : kHost) {
        std::vector<Bad>& table = reg == kRsp ? stack : fixed;
        table.push_back({fmt::format("mov {}", reg), [=](Bench&, Emitter& e) { e.mov32(reg, kRax); }});
        table.push_back({fmt::format("mov {}, imm", reg), [=](Bench&, Emitter& e) { e.mov32_imm(reg, 0); }});
        table.push_back(
            {fmt::format("load {}", reg), [=](Bench&, Emitter& e) { e.load32(reg, {.base = kWindow}); }});
        table.push_back(
            {fmt::format("lea {}", reg), [=](Bench&, Emitter& e) { e.lea32(reg, {.base = kRax}); }});
        table.push_back({fmt::format("lea64 {}", reg),
                         [=](Bench&, Emitter& e) { e.lea64(reg, {.base = kWindow, .index = kRax}); }});
        table.push_back({fmt::format("movzx {}", reg), [=](Bench&, Emitter& e) { e.movzx16(reg, kRax); }});
        table.push_back({fmt::format("cvttss2si {}", reg), [=](Bench&, Emitter& e) {
                             e.op_reg({.opcode = 0x2C, .map = 1, .mandatory = 0xF3}, reg, 0);
                         }});
        table.push_back({fmt::format("pmovmskb {}", reg), [=](Bench&, Emitter& e) {
                             e.op_reg({.opcode = 0xD7, .map = 1, .mandatory = 0x66}, reg, 0);
                         }});
        table.push_back({fmt::format("movd {}", reg), [=](Bench&, Emitter& e) {
                             e.op_reg({.opcode = 0x7E, .map = 1, .mandatory = 0x66}, 0, reg);
                         }});
        table.push_back({fmt::format("mov16 {}", reg), [=](Bench&, Emitter& e) { e.mov16(reg, kRax); }});
    }
    check_each(refusal::kFixedWritten, fixed);
    check_each(refusal::kStackWritten, stack);
}

TEST_CASE("verifier: the biased stack pointer", "[verifier]") {
    const int32_t farthest = kFarthestStackStep;
    Bench bench;
    const auto verdict = [&](const std::function<void(Emitter&)>& emit) {
        return bench.verdict([=](Bench&, Emitter& e) { emit(e); });
    };
    const HostMemory rebias{.base = kGuestEsp, .index = kWindow};
    // A 32-bit write leaves it without the window
    const std::vector<std::pair<const char*, std::function<void(Emitter&)>>> writes = {
        {"mov", [](Emitter& e) { e.mov32(kGuestEsp, kRax); }},
        {"mov imm", [](Emitter& e) { e.mov32_imm(kGuestEsp, 0); }},
        {"load", [](Emitter& e) { e.load32(kGuestEsp, {.base = kGuestEsp}); }},
        {"add", [](Emitter& e) { e.op_reg({.opcode = 0x01}, kRax, kGuestEsp); }},
        {"inc", [](Emitter& e) { e.op_reg({.opcode = 0xFF}, 0, kGuestEsp); }},
        {"lea32", [](Emitter& e) { e.lea32(kGuestEsp, {.base = kGuestEsp, .displacement = 4}); }},
        {"movzx", [](Emitter& e) { e.movzx16(kGuestEsp, kRax); }},
        {"cmov", [](Emitter& e) { e.op_reg({.opcode = 0x44, .map = 1}, kGuestEsp, kRax); }},
        {"xchg", [](Emitter& e) { e.op_reg({.opcode = 0x87}, kGuestEsp, kRax); }},
        {"xadd", [](Emitter& e) { e.op_reg({.opcode = 0xC1, .map = 1}, kGuestEsp, kRax); }},
        {"bswap", [](Emitter& e) { e.op_plus({.opcode = 0xC8, .map = 1}, kGuestEsp); }},
        {"not", [](Emitter& e) { e.op_reg({.opcode = 0xF7}, 2, kGuestEsp); }},
        {"movd", [](Emitter& e) { e.op_reg({.opcode = 0x7E, .map = 1, .mandatory = 0x66}, 0, kGuestEsp); }},
        {"pmovmskb",
         [](Emitter& e) { e.op_reg({.opcode = 0xD7, .map = 1, .mandatory = 0x66}, kGuestEsp, 0); }},
        {"cvtsd2si",
         [](Emitter& e) { e.op_reg({.opcode = 0x2D, .map = 1, .mandatory = 0xF2}, kGuestEsp, 0); }},
        {"shl", [](Emitter& e) { e.op_reg({.opcode = 0xD1}, 4, kGuestEsp); }},
        {"shl cl", [](Emitter& e) { e.op_reg({.opcode = 0xD3}, 4, kGuestEsp); }},
        {"bsf", [](Emitter& e) { e.op_reg({.opcode = 0xBC, .map = 1}, kGuestEsp, kRax); }},
        {"cmpxchg", [](Emitter& e) { e.op_reg({.opcode = 0xB1, .map = 1}, kRax, kGuestEsp); }},
        {"shld cl", [](Emitter& e) { e.op_reg({.opcode = 0xA5, .map = 1}, kRax, kGuestEsp); }},
    };
    const std::vector<std::string> keeping = {"shl cl", "bsf", "cmpxchg", "shld cl"};
    for (const auto& [what, write] : writes) {
        INFO(what);
        CHECK(verdict(write) == refusal::kEspUnbiased);
        CHECK(verdict([&](Emitter& e) {
                  write(e);
                  e.load32(kRax, {.base = kGuestEsp});
              }) == refusal::kEspUnbiased);
        const bool keeps = std::find(keeping.begin(), keeping.end(), what) != keeping.end();
        CHECK(verdict([&](Emitter& e) {
                  write(e);
                  e.lea64(kGuestEsp, rebias);
              }) == (keeps ? refusal::kEspFar : ""));
        CHECK(verdict([&](Emitter& e) { // twice
                  write(e);
                  e.mov32(kGuestEsp, kGuestEsp);
                  e.lea64(kGuestEsp, rebias);
                  e.lea64(kGuestEsp, rebias);
              }) == refusal::kEspFar);
    }
    const auto step = [](Emitter& e, int32_t by) {
        e.lea64(kGuestEsp, {.base = kGuestEsp, .displacement = by});
    };
    for (const int32_t by : {farthest + 1, -farthest - 1, INT32_MAX, INT32_MIN})
        CHECK(verdict([=](Emitter& e) { step(e, by); }) == refusal::kEspFar);
    for (const uint8_t index : kGuest)
        CHECK(verdict([=](Emitter& e) { e.lea64(kGuestEsp, {.base = kGuestEsp, .index = index}); }) ==
              refusal::kEspFar);
    for (const uint8_t other : {kRax, kScratch0, kRuntime, kJumpTable, kRsp})
        CHECK(verdict([=](Emitter& e) { e.lea64(kGuestEsp, {.base = other, .displacement = 8}); }) ==
              refusal::kEspFar);
    CHECK(verdict([](Emitter& e) { e.lea64(kGuestEsp, {.base = kWindow, .index = kScratch0}); }) ==
          refusal::kEspFar);
    CHECK(verdict([](Emitter& e) { e.lea64(kGuestEsp, {.base = kWindow, .index = kRax, .scale = 8}); }) ==
          refusal::kEspFar);
    CHECK(verdict([](Emitter& e) {
              e.lea64(kGuestEsp, {.base = kWindow, .index = kRax, .displacement = 1});
          }) == refusal::kEspFar);
    CHECK(verdict([](Emitter& e) { e.op_reg({.opcode = 0x00}, kRax, kGuestEsp); }) != "");
    // Moved, and nothing accessed near it before the block is left
    CHECK(verdict([=](Emitter& e) { step(e, 8); }) == refusal::kEspUnused);
    const std::vector<std::pair<const char*, HostMemory>> no_use = {
        {"too far", {.base = kGuestEsp, .displacement = farthest + 1}},
        {"by an index", {.base = kGuestEsp, .index = kRax}},
        {"through gs:", {.base = kGuestEsp, .window = true}},
        {"elsewhere", {.base = kWindow, .index = kRax}}};
    for (const auto& [what, memory] : no_use) {
        INFO(what);
        CHECK(verdict([=, m = memory](Emitter& e) {
                  step(e, 8);
                  e.load32(kRax, m);
              }) == refusal::kEspUnused);
    }
    CHECK(verdict([=](Emitter& e) { // used on one way only
              step(e, 8);
              const uint32_t site = e.jump_if(4, e.address());
              e.load32(kRax, {.base = kGuestEsp});
              e.patch_rel32(site, e.address());
          }) == refusal::kEspUnused);
    CHECK(verdict([=](Emitter& e) { // in a loop that never uses it
              const auto head = e.address();
              step(e, 8);
              e.jump_if(4, head);
              e.load32(kRax, {.base = kGuestEsp});
          }) == refusal::kEspUnused);
    CHECK(verdict([=](Emitter& e) {
              step(e, 8);
              e.load32(kRax, {.base = kGuestEsp});
          }).empty());
}

TEST_CASE("verifier: guest registers that are not 32 bits wide", "[verifier]") {
    Bench bench;
    const auto verdict = [&](const std::function<void(Emitter&)>& emit) {
        return bench.verdict([=](Bench&, Emitter& e) { emit(e); });
    };
    for (const uint8_t reg : kGuest) {
        INFO(static_cast<unsigned>(reg));
        CHECK(verdict([=](Emitter& e) { e.bswap64(reg); }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.not64(reg); }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.mov64(reg, kScratch0); }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.lea64(reg, {.base = kRax, .index = kRcx}); }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.lea64(reg, {.base = kGuestEsp, .displacement = 4}); }) ==
              refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.lea64(reg, {.base = kWindow}); }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.lea64(reg, {.base = kWindow, .index = reg, .scale = 2}); }) ==
              refusal::kWide);
        CHECK(verdict([=](Emitter& e) { e.load64(reg, rt(ENCORE_RT(fs_base_pointer))); }) ==
              refusal::kRuntimeField);
        // Biased, and left so
        const HostMemory sum{.base = reg, .index = kWindow};
        CHECK(verdict([=](Emitter& e) { e.lea64(reg, sum); }) == refusal::kBoundary);
        CHECK(verdict([=](Emitter& e) {
                  e.lea64(reg, sum);
                  e.mov16(reg, kRax);
              }) == refusal::kBoundary);
        CHECK(verdict([=](Emitter& e) { // a second time
                  e.lea64(reg, sum);
                  e.lea64(reg, sum);
                  e.mov32(reg, reg);
              }) == refusal::kWide);
        CHECK(verdict([=](Emitter& e) { // on top of the base once more
                  e.lea64(reg, sum);
                  e.load32(kRax, {.base = kWindow, .index = reg});
                  e.mov32(reg, reg);
              }) == refusal::kIndexUnknown);
        CHECK(verdict([=](Emitter& e) { // an instruction that may leave it as it was
                  e.lea64(reg, sum);
                  e.op_reg({.opcode = 0xBC, .map = 1}, reg, kRax);
              }) == refusal::kBoundary);
        CHECK(verdict([=](Emitter& e) { // a loop's head on the way
                  e.lea64(reg, sum);
                  const auto head = e.address();
                  e.mov32(reg, reg);
                  e.jump_if(4, head);
              }) == refusal::kBoundary);
        CHECK(verdict([=](Emitter& e) { // a way round
                  e.lea64(reg, sum);
                  const uint32_t site = e.jump_if(4, e.address());
                  e.mov32(reg, reg);
                  e.patch_rel32(site, e.address());
              }) == refusal::kBoundary);
    }
    // Strings
    const HostMemory source{.base = kRsi, .index = kWindow}, destination{.base = kRdi, .index = kWindow};
    struct String {
        uint8_t opcode;
        bool source, destination;
    };
    for (const String s : {String{0xA4, true, true},
                           {0xA5, true, true},
                           {0xA6, true, true},
                           {0xA7, true, true},
                           {0xAA, false, true},
                           {0xAB, false, true},
                           {0xAC, true, false},
                           {0xAD, true, false},
                           {0xAE, false, true},
                           {0xAF, false, true}})
        for (const uint8_t repeat : {0, 0xF2, 0xF3})
            for (const unsigned biased : {0u, 1u, 2u, 3u}) {
                INFO(fmt::format("{:02x} {:02x} {}", s.opcode, repeat, biased));
                const auto emit = [=](Emitter& e, bool twice) {
                    if ((biased & 1) != 0)
                        e.lea64(kRsi, source);
                    if ((biased & 2) != 0)
                        e.lea64(kRdi, destination);
                    for (int n = 0; n < (twice ? 2 : 1); ++n) {
                        if (repeat != 0)
                            e.byte(repeat);
                        e.byte(s.opcode);
                    }
                    e.mov32(kRsi, kRsi);
                    e.mov32(kRdi, kRdi);
                };
                const bool enough = (!s.source || (biased & 1) != 0) && (!s.destination || (biased & 2) != 0);
                CHECK(verdict([=](Emitter& e) { emit(e, false); }) ==
                      (enough ? "" : refusal::kStringUnbiased));
                if (enough) // its pointers have gone on, perhaps by more than guards are for
                    CHECK(verdict([=](Emitter& e) { emit(e, true); }) == refusal::kStringUnbiased);
            }
    // 16 bits of a register that is biased already
    CHECK(verdict([=](Emitter& e) {
              e.lea64(kRdi, destination);
              e.mov16(kRdi, kRax);
              e.byte(0xAA);
              e.mov32(kRdi, kRdi);
          }) == refusal::kStringUnbiased);
}
