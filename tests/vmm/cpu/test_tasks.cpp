#include "guest_fixture.h"

using namespace vmm;
using namespace vmm::test;

namespace {

constexpr uint32_t kNext = kCode + 7, kTaskEip = 0x6789, kTaskEsp = 0x7800;

// A 32-bit TSS for a ring 0 task.
void fill_tss32(Guest& g, uint32_t at = kTss2) {
    g.put32(at + 0x1C, kPageDirectory);
    g.put32(at + 0x20, kTaskEip);
    g.put32(at + 0x24, 0x202);
    for (uint32_t i = 0; i < 8; ++i)
        g.put32(at + 0x28 + 4 * i, 0x1000 + i);
    g.put32(at + 0x38, kTaskEsp);
    for (uint32_t i = 0; i < 6; ++i)
        g.put32(at + 0x48 + 4 * i, kKernelDs);
    g.put32(at + 0x4C, kKernelCs);
    g.put32(at + 0x60, 0);
    g.put32(at + 0x64, 0);
}
std::string jump(Guest& g, uint16_t selector) {
    return outcome(g.cpu.far_jump(selector, 0, Width::Dword, kNext));
}
std::string call(Guest& g, uint16_t selector) {
    return outcome(g.cpu.far_call(selector, 0, Width::Dword, kNext));
}

} // namespace

TEST_CASE("tasks: a jump saves the old task, loads the new, and moves the busy bit", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    g.reg(Reg::Edi) = 0xD1D1D1D1;
    g.state.dr[7] |= 0x55;
    REQUIRE(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.eip == kTaskEip);
    CHECK(g.reg(Reg::Eax) == 0x1000);
    CHECK(g.reg(Reg::Edi) == 0x1007);
    CHECK(g.reg(Reg::Esp) == kTaskEsp);
    CHECK(g.state.eflags == 0x202);
    CHECK(g.state.tr.selector == kTss2Sel);
    CHECK(g.state.tr.type() == 11);
    CHECK(g.access_byte(kTssSel) == 0x89);
    CHECK(g.access_byte(kTss2Sel) == 0x8B);
    CHECK((g.state.cr0 & cr0::kTs) != 0);
    CHECK((g.state.dr[7] & 0x55) == 0);
    CHECK(g.tlb.cr3_loads == 0); // paging is off
    CHECK(g.get32(kTss + 0x20) == kNext);
    CHECK(g.get32(kTss + 0x24) == 0x202);
    CHECK(g.get32(kTss + 0x44) == 0xD1D1D1D1);
    CHECK(g.get16(kTss + 0x4C) == kKernelCs);
    CHECK(g.get32(kTss + 4) == kKernelStack); // static fields untouched
}

TEST_CASE("tasks: a call nests and IRET returns", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    REQUIRE(call(g, kTss2Sel) == "ok");
    CHECK(g.get16(kTss2) == kTssSel); // back-link
    CHECK((g.state.eflags & eflags::kNt) != 0);
    CHECK(g.access_byte(kTssSel) == 0x8B); // both busy
    CHECK(g.access_byte(kTss2Sel) == 0x8B);
    REQUIRE(outcome(g.cpu.iret(Width::Dword, 0x4242)) == "ok");
    CHECK(g.state.eip == kNext);
    CHECK(g.state.tr.selector == kTssSel);
    CHECK(g.access_byte(kTss2Sel) == 0x89);
    CHECK(g.access_byte(kTssSel) == 0x8B);
    CHECK(g.get32(kTss2 + 0x20) == 0x4242);
    CHECK((g.get32(kTss2 + 0x24) & eflags::kNt) == 0);
    CHECK((g.state.eflags & eflags::kNt) == 0);
    CHECK(g.reg(Reg::Esp) == kKernelStack);
}

TEST_CASE("tasks: faults before the commit point change nothing", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    const auto attempt = [&](uint16_t selector) {
        const auto before = g.snapshot();
        const std::string result = jump(g, selector);
        CHECK(g.unchanged(before));
        CHECK(g.access_byte(kTssSel) == 0x8B);
        CHECK(g.get32(kTss + 0x20) == 0);
        return result;
    };
    CHECK(attempt(kTssSel) == "13(0028)"); // busy
    g.gdt(kFree, not_present(descriptor(kTss2, 0x67, 0x89, 0)));
    CHECK(attempt(kFree) == "11(0048)");
    g.gdt(kFree, descriptor(kTss2, 0x66, 0x89, 0));
    CHECK(attempt(kFree) == "10(0048)");
    g.gdt(kFree, descriptor(kTss2, 0x2A, 0x81, 0));
    CHECK(attempt(kFree) == "10(0048)");
    CHECK(attempt(kTss2Sel | 1) == "13(0030)"); // RPL > DPL
    g.gdt(kFree, gate(kTss2Sel | 4, 0, 5));     // task gate into the LDT
    CHECK(attempt(kFree) == "13(0034)");
    g.gdt(kFree, not_present(gate(kTss2Sel, 0, 5)));
    CHECK(attempt(kFree) == "11(0048)");
    g.state.tr.limit = 0x40; // nowhere to save to
    CHECK(attempt(kTss2Sel) == "10(0028)");
}

TEST_CASE("tasks: an unmapped or read-only TSS is found before the commit point", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.gdt(kTss2Sel, descriptor(0x30000, 0x67, 0x89, 0));
    fill_tss32(g, 0x30000);
    g.paging();
    g.unmap(0x30000);
    auto before = g.snapshot();
    CHECK(jump(g, kTss2Sel) == "14(0000)@30000");
    CHECK(g.unchanged(before));
    g.set_page(0x30000, 0x30000 | 1);
    CHECK(call(g, kTss2Sel) == "14(0003)@30000"); // the back-link cannot be written
    g.set_page(kTss, kTss | 1);
    CHECK(jump(g, kTss2Sel) == "14(0003)@3020"); // nor the old task saved
    CHECK(g.unchanged(before));
    CHECK(g.access_byte(kTss2Sel) == 0x89);
}

TEST_CASE("tasks: an old TSS that ends in an unmapped page is not saved by halves", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    g.paging();
    g.state.tr.base = 0x40000 - 0x48; // the selectors are on the next page
    g.unmap(0x40000);
    const auto before = g.snapshot();
    CHECK(jump(g, kTss2Sel) == "14(0002)@40000");
    CHECK(g.unchanged(before));
    CHECK(g.get32(g.state.tr.base + 0x20) == 0);
}

TEST_CASE("tasks: faults after the commit point belong to the new task", "[cpu]") {
    Guest g;
    const auto attempt = [&](uint32_t field, uint32_t value) {
        g.protected_mode(0);
        g.gdt(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
        g.gdt(kTss2Sel, descriptor(kTss2, 0x67, 0x89, 0));
        fill_tss32(g);
        g.put32(kTss2 + field, value);
        const std::string result = jump(g, kTss2Sel);
        CHECK(g.state.tr.selector == kTss2Sel);
        CHECK(g.state.eip == (field == 0x20 ? value : kTaskEip));
        return result;
    };
    CHECK(attempt(0x60, 0x0C) == "10(000c)");
    CHECK(attempt(0x60, kKernelDs) == "10(0010)");
    CHECK(attempt(0x4C, 0) == "10(0000)");
    CHECK(attempt(0x4C, kKernelDs) == "10(0010)");
    CHECK(attempt(0x4C, kUserCs & ~3u) == "10(0018)"); // DPL != RPL
    CHECK(attempt(0x50, 0) == "10(0000)");
    CHECK(attempt(0x50, kUserDs) == "10(0020)");
    g.gdt(kFree, not_present(flat(kData0)));
    CHECK(attempt(0x50, kFree) == "12(0048)");
    CHECK(attempt(0x54, kFree) == "11(0048)");
    CHECK(attempt(0x54, 0xF00) == "10(0f00)");
    CHECK(attempt(0x54, 0) == "ok");
    g.gdt(kFree, not_present(flat(kCode0)));
    CHECK(attempt(0x4C, kFree) == "11(0048)");
    g.gdt(kFree, descriptor(0, 0xFFF, kCode0, 4));
    g.protected_mode(0);
    CHECK(attempt(0x4C, kFree) == "13(0000)"); // EIP beyond the new CS
}

TEST_CASE("tasks: with paging CR3 is loaded", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.paging();
    fill_tss32(g);
    // A second directory over the same table.
    g.put32(0x22000, kPageTable | 7);
    g.put32(kTss2 + 0x1C, 0x22000);
    REQUIRE(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.cr3 == 0x22000);
    CHECK(g.tlb.cr3_loads == 1);
}

TEST_CASE("tasks: PAE with a bad PDPTE is refused before the commit point", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    // PDPT at 22000h, directory at 23000h with one 2 MiB identity page.
    g.put32(0x22000, 0x23001);
    g.put32(0x23000, 0x83 | 0x60);
    g.state.cr3 = 0x22000;
    g.state.cr4 |= cr4::kPae | cr4::kPse;
    g.state.pdpte = {0x23001, 0, 0, 0};
    g.state.cr0 |= cr0::kPg;
    g.put32(0x24000, 0x23001 | 0x1E0); // reserved bits
    g.put32(kTss2 + 0x1C, 0x24000);
    const auto before = g.snapshot();
    CHECK(jump(g, kTss2Sel) == "13(0000)");
    CHECK(g.unchanged(before));
    g.put32(0x24000, 0x23001);
    CHECK(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.cr3 == 0x24000);
    CHECK(g.state.pdpte[0] == 0x23001);
}

TEST_CASE("tasks: 32-bit to 16-bit and back", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.gdt(kTss2Sel, descriptor(kTss2, 0x2B, 0x81, 0));
    g.put16(kTss2 + 0x0E, 0x1234);
    g.put16(kTss2 + 0x10, 0x0202);
    for (uint32_t i = 0; i < 8; ++i)
        g.put16(kTss2 + 0x12 + 2 * i, static_cast<uint16_t>(0x2000 + i));
    for (uint32_t i = 0; i < 4; ++i)
        g.put16(kTss2 + 0x22 + 2 * i, kKernelDs);
    g.put16(kTss2 + 0x24, kKernelCs);
    g.put16(kTss2 + 0x2A, 0);
    REQUIRE(call(g, kTss2Sel) == "ok");
    CHECK(g.state.eip == 0x1234);
    // What a 16-bit TSS has no room for: upper halves of general registers become FFFFh, those of EIP and
    // EFLAGS 0, FS and GS null.
    CHECK(g.reg(Reg::Ebx) == 0xFFFF2003);
    CHECK(g.reg(Reg::Esp) == 0xFFFF2004);
    CHECK(g.state.eflags == (0x202 | eflags::kNt));
    CHECK(g.seg(SegReg::Fs).usable == 0);
    CHECK(g.seg(SegReg::Gs).selector == 0);
    CHECK(g.seg(SegReg::Es).usable == 1);
    CHECK(g.state.tr.type() == 3);
    CHECK(g.get16(kTss2) == kTssSel);
    g.reg(Reg::Esi) = 0x5151;
    REQUIRE(outcome(g.cpu.iret(Width::Word, 0x777)) == "ok");
    CHECK(g.state.eip == kNext);
    CHECK(g.get16(kTss2 + 0x0E) == 0x777);
    CHECK(g.get16(kTss2 + 0x1E) == 0x5151);
    CHECK(g.access_byte(kTss2Sel) == 0x81);
}

TEST_CASE("tasks: IRET through a bad back-link is #TS", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    g.state.eflags |= eflags::kNt;
    const auto attempt = [&](uint16_t link) {
        g.put16(kTss, link);
        const auto before = g.snapshot();
        const std::string result = outcome(g.cpu.iret(Width::Dword, 0));
        CHECK(g.unchanged(before));
        return result;
    };
    CHECK(attempt(0) == "10(0000)");
    CHECK(attempt(kTss2Sel) == "10(0030)"); // not busy
    CHECK(attempt(kKernelDs) == "10(0010)");
    CHECK(attempt(0x0C) == "10(000c)");
}

TEST_CASE("tasks: a v86 task", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    g.put32(kTss2 + 0x24, 0x20202);
    g.put32(kTss2 + 0x4C, 0x3000);
    REQUIRE(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.v86());
    CHECK(g.state.cpl == 3);
    CHECK(g.seg(SegReg::Cs).base == 0x30000);
    CHECK(g.seg(SegReg::Ds).base == uint32_t{kKernelDs} << 4);
    CHECK(g.seg(SegReg::Ds).limit == 0xFFFF);
}

TEST_CASE("tasks: a double fault through a task gate runs the new task with its error code", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    fill_tss32(g);
    g.idt(8, gate(kTss2Sel, 0, 5));
    g.cpu.raise(Fault{Vector::GeneralProtection, true, 0, 0}); // empty gate: #GP again: #DF
    CHECK(g.state.shutdown == 0);
    CHECK(g.state.cpl == 0);
    CHECK(g.state.eip == kTaskEip);
    CHECK(g.reg(Reg::Esp) == kTaskEsp - 4);
    CHECK(g.stack32(0) == 0);
    CHECK((g.state.eflags & eflags::kNt) != 0);
    CHECK(g.get16(kTss2) == kTssSel);
    CHECK(g.get32(kTss + 0x20) == kCode);
    CHECK(g.get16(kTss + 0x4C) == kUserCs);
    CHECK(g.get32(kTss + 0x38) == kUserStack);
}

TEST_CASE("tasks: task gates save RF for faults, check DPL for INT n, and add EXT", "[cpu]") {
    Guest g;
    g.protected_mode(3);
    fill_tss32(g);
    g.idt(6, gate(kTss2Sel, 0, 5));
    CHECK(outcome(g.cpu.software_interrupt(6, EventKind::SoftwareInt, kNext)) == "13(0032)");
    g.cpu.raise(Fault{Vector::InvalidOpcode, false, 0, 0});
    CHECK(g.state.eip == kTaskEip);
    CHECK(g.get32(kTss + 0x24) == (0x202 | eflags::kRf));

    g.protected_mode(3);
    g.gdt(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
    g.idt(13, gate(kKernelCs, 0x9999, 14));
    g.cpu.raise(Fault{Vector::InvalidOpcode, false, 0, 0}); // the task is busy now
    CHECK(g.state.eip == 0x9999);
    CHECK(g.stack32(0) == (kTss2Sel | 1));
}

TEST_CASE("tasks: the T bit raises #DB in the new task, and a chain of them ends", "[cpu]") {
    Guest g;
    g.protected_mode(0);
    fill_tss32(g);
    g.put32(kTss2 + 0x64, 1);
    g.idt(1, gate(kKernelCs, 0x9999, 14));
    REQUIRE(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.eip == 0x9999);
    CHECK((g.state.dr[6] & (1u << 15)) != 0);
    CHECK(g.stack32(0) == kTaskEip);

    // #DB itself is a task with T set.
    g.protected_mode(0);
    g.gdt(kTssSel, descriptor(kTss, 0x67, 0x8B, 0));
    g.gdt(kTss2Sel, descriptor(kTss2, 0x67, 0x89, 0));
    g.gdt(kFree, descriptor(kTss2 + 0x200, 0x67, 0x89, 0));
    fill_tss32(g, kTss2 + 0x200);
    g.put32(kTss2 + 0x200 + 0x64, 1);
    g.put32(kTss2 + 0x200 + 0x20, 0x5555);
    g.idt(1, gate(kFree, 0, 5));
    REQUIRE(jump(g, kTss2Sel) == "ok");
    CHECK(g.state.eip == 0x5555);
    CHECK(g.state.tr.selector == kFree);
    CHECK(g.state.shutdown == 0);
}
