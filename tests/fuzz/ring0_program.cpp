#include "tests/fuzz/ring0_program.h"

#include <array>
#include <cstddef>
#include <iterator>

namespace ring0 {

namespace {

class Reader {
  public:
    explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    [[nodiscard]] bool done() const { return bytes_.empty(); }
    uint32_t get(unsigned bytes) {
        uint32_t value = 0;
        for (unsigned i = 0; i < bytes && !bytes_.empty(); ++i, bytes_ = bytes_.subspan(1))
            value |= uint32_t{bytes_.front()} << 8 * i;
        return value;
    }
    uint8_t byte() { return static_cast<uint8_t>(get(1)); }
    uint16_t word() { return static_cast<uint16_t>(get(2)); }
    uint32_t dword() { return get(4); }

    // Addresses at which something happens.
    uint32_t address() {
        switch (byte() % 18) {
        case 0:
            return 0xA0000 + dword() % 0x20000; // display memory
        case 1:
            return 0xC0000 + dword() % 0x40000; // option ROMs, BIOS, PAM
        case 2:
            return 0xFEC00000 + 4 * byte(); // IO-APIC
        case 3:
            return 0xFEE00000 + 16 * byte(); // local APIC
        case 4:
            return 0xFD000000 + dword() % 0x01000000; // frame buffer
        case 5:
            return 0xFEB00000 + dword() % 0x100000; // other BARs
        case 6:
            return 0xFFFFFFFF - byte() % 32;
        case 7:
            return kRam - 16 + byte() % 64;
        case 8:
            return kDirectory + 4 * (word() % (1024 * (kTableCount + 1)));
        case 9:
            return kGdt + word() % 0x100;
        case 10:
            return kIdt + word() % 0x800;
        case 11:
            return kTss + byte();
        case 12:
            return kProgram + word(); // itself
        case 13:
            return kStack - word() % 0x2000;
        case 14:
            return 0xFFFC0000 + word();
        case 15:
            return dword();
        default:
            return 0x100000 + dword() % (kRam - 0x100000);
        }
    }

    uint32_t value() {
        switch (byte() % 8) {
        case 0:
            return dword();
        case 1:
            return 0xFFFFFFFF - byte();
        case 2:
            return address();
        case 3:
            return 1u << byte() % 32;
        case 4:
            return (address() & ~0xFFFu) | (word() & 0xFFF); // an entry of a page table
        case 5:
            return 0;
        default:
            return byte();
        }
    }

    uint16_t port() {
        static constexpr struct {
            uint16_t first, count;
        } kDevices[] = {
            {0x00, 16},  {0x20, 2},    {0x40, 4},    {0x60, 5},    {0x70, 2},      {0x80, 32}, {0xA0, 2},
            {0xB2, 2},   {0xC0, 32},   {0xF0, 2},    {0x170, 8},   {0x1CE, 3},     {0x1F0, 8}, {0x278, 3},
            {0x2F8, 8},  {0x376, 1},   {0x378, 3},   {0x3B0, 48},  {0x3F0, 16},    {0x402, 1}, {0x510, 12},
            {0x600, 64}, {0xAE00, 32}, {0xB000, 64}, {0xB100, 16}, {0xC000, 1024}, {0xCF8, 8}, {0x5658, 2},
        };
        const uint8_t which = byte();
        if (which >= 240)
            return word();
        const auto& device = kDevices[which % std::size(kDevices)];
        return static_cast<uint16_t>(device.first + word() % device.count);
    }

    uint16_t selector() {
        static constexpr uint16_t kKnown[] = {kCode,   kData,     kUserCode,  kUserData, kTask,
                                              kCode16, kCallGate, kOtherTask, kTaskGate, 0};
        const uint8_t which = byte();
        return which < 128 ? kKnown[which % std::size(kKnown)] : word();
    }

  private:
    static constexpr uint32_t kRam = 16 << 20;
    std::span<const uint8_t> bytes_;
};

class Code {
  public:
    template <class... T> Code& put(T... bytes) {
        (bytes_.push_back(static_cast<uint8_t>(bytes)), ...);
        return *this;
    }
    Code& word(uint16_t value) { return put(value, value >> 8); }
    Code& dword(uint32_t value) { return put(value, value >> 8, value >> 16, value >> 24); }
    Code& load(unsigned reg, uint32_t value) { return put(0xB8 + reg).dword(value); }
    Code& store(uint32_t at, uint32_t value) { return put(0xC7, 0x05).dword(at).dword(value); }
    std::vector<uint8_t>& bytes() { return bytes_; }

  private:
    std::vector<uint8_t> bytes_;
};

constexpr unsigned kAx = 0, kCx = 1, kDx = 2, kBx = 3, kSi = 6, kDi = 7;

void out(Code& code, Reader& in) {
    code.load(kDx, in.port()).load(kAx, in.value());
    constexpr std::array<std::array<uint8_t, 2>, 3> kForms = {{{0xEE, 0x90}, {0x66, 0xEF}, {0xEF, 0x90}}};
    const auto& form = kForms[in.byte() % kForms.size()];
    code.put(form[0], form[1]);
}
void in(Code& code, Reader& in) {
    code.load(kDx, in.port());
    constexpr std::array<std::array<uint8_t, 2>, 3> kForms = {{{0xEC, 0x90}, {0x66, 0xED}, {0xED, 0x90}}};
    const auto& form = kForms[in.byte() % kForms.size()];
    code.put(form[0], form[1]);
}
// INS and OUTS, repeated.
void string_port(Code& code, Reader& in) {
    code.load(kDx, in.port()).load(kSi, in.address()).load(kDi, in.address()).load(kCx, in.word() % 1024);
    code.put(0xF3, 0x6C + in.byte() % 4);
}
void store(Code& code, Reader& in) {
    const uint32_t at = in.address();
    code.store(at, in.value());
}
void store_narrow(Code& code, Reader& in) {
    code.load(kBx, in.address()).load(kAx, in.value());
    in.byte() % 2 != 0 ? code.put(0x88, 0x03) : code.put(0x66, 0x89, 0x03);
}
void load(Code& code, Reader& in) { code.put(0xA1).dword(in.address()); }
void locked(Code& code, Reader& in) {
    code.load(kBx, in.address()).load(kAx, in.value()).load(kDx, in.value());
    switch (in.byte() % 4) {
    case 0:
        code.put(0xF0, 0x01, 0x03); // lock add [ebx], eax
        break;
    case 1:
        code.put(0x87, 0x03); // xchg [ebx], eax
        break;
    case 2:
        code.put(0xF0, 0x0F, 0xB1, 0x13); // lock cmpxchg [ebx], edx
        break;
    default:
        code.put(0xF0, 0x0F, 0xC7, 0x0B); // lock cmpxchg8b [ebx]
    }
}
void string(Code& code, Reader& in) {
    code.load(kSi, in.address())
        .load(kDi, in.address())
        .load(kCx, in.value() % 0x100000)
        .load(kAx, in.value());
    static constexpr uint8_t kStrings[] = {0xA4, 0xA5, 0xAA, 0xAB, 0xA6, 0xA7, 0xAE, 0xAF, 0xAC, 0xAD};
    code.put(in.byte() % 4 == 0 ? 0xFD : 0xFC, in.byte() % 2 != 0 ? 0xF3 : 0xF2,
             kStrings[in.byte() % std::size(kStrings)]);
}
void control_register(Code& code, Reader& in) {
    static constexpr uint8_t kRegisters[] = {0, 2, 3, 4, 8};
    const uint8_t reg = kRegisters[in.byte() % std::size(kRegisters)];
    const uint32_t bits = in.value();
    if (in.byte() % 2 != 0) { // some bits of what is there
        code.put(0x0F, 0x20, 0xC0 | (reg & 7) << 3, 0x35).dword(bits);
    } else {
        code.load(kAx, bits);
    }
    code.put(0x0F, 0x22, 0xC0 | (reg & 7) << 3);
}
void paging(Code& code, Reader& in) {
    code.load(kAx, in.byte() % 4 == 0 ? in.value() : kDirectory).put(0x0F, 0x22, 0xD8); // mov cr3, eax
    code.put(0x0F, 0x20, 0xC0, 0x0D)
        .dword(0x80000000 | (in.byte() % 2 != 0 ? 0x10000 : 0))
        .put(0x0F, 0x22, 0xC0);
}
void page_entry(Code& code, Reader& in) {
    const uint32_t at = kDirectory + 4 * (in.word() % (1024 * (kTableCount + 1)));
    code.store(at, (in.address() & ~0xFFFu) | (in.word() & 0xFFF));
    if (in.byte() % 2 != 0)
        code.put(0x0F, 0x01, 0x3D).dword(in.address()); // invlpg
}
void debug_register(Code& code, Reader& in) {
    code.load(kAx, in.value()).put(0x0F, 0x23, 0xC0 | (in.byte() & 7) << 3);
}
void table_register(Code& code, Reader& in) {
    const uint32_t limit = in.word();
    code.store(0x6100, limit | in.word() << 16);
    code.store(0x6102, in.address());
    if (in.byte() % 8 == 0)
        code.store(0x6100, limit);
    code.put(0x0F, 0x01, in.byte() % 2 != 0 ? 0x15 : 0x1D).dword(in.byte() % 8 == 0 ? in.address() : 0x6100);
}
void descriptor(Code& code, Reader& in) {
    const uint32_t at = (in.byte() % 2 != 0 ? kGdt : kIdt) + 8 * in.byte();
    code.store(at, in.dword());
    code.store(at + 4, in.dword());
}
void segment(Code& code, Reader& in) {
    code.load(kAx, in.selector());
    const uint8_t which = in.byte() % 8;
    if (which < 6)
        code.put(0x8E, 0xC0 | which << 3);
    else
        code.put(0x0F, 0x00, which == 6 ? 0xD0 : 0xD8); // lldt, ltr
}
void far_transfer(Code& code, Reader& in) {
    const uint32_t to = in.byte() % 4 == 0 ? in.value() : kProgram + in.word();
    code.put(in.byte() % 2 != 0 ? 0xEA : 0x9A).dword(to).word(in.selector());
}
void interrupt(Code& code, Reader& in) { code.put(0xCD, in.byte()); }
void interrupt_return(Code& code, Reader& in) {
    for (int i = 0; i < 2; ++i)
        code.put(0x68).dword(in.value()); // SS and ESP, for another ring
    code.put(0x68).dword(in.dword());
    code.put(0x68).dword(in.selector());
    code.put(0x68).dword(in.byte() % 2 != 0 ? kProgram + in.word() : in.value());
    code.put(0xCF);
}
void msr(Code& code, Reader& in) {
    static constexpr uint32_t kRegisters[] = {0x10,  0x1B,  0x174, 0x175,      0x176,
                                              0x1A0, 0x277, 0x2FF, 0xC0000080, 0x8B};
    const uint8_t which = in.byte();
    code.load(kCx, which < 200 ? kRegisters[which % std::size(kRegisters)] : in.dword());
    code.load(kAx, in.value()).load(kDx, in.value()).put(0x0F, in.byte() % 4 == 0 ? 0x32 : 0x30);
}
void flags(Code& code, Reader& in) { code.put(0x68).dword(in.dword()).put(0x9D); }
void halt(Code& code, Reader&) { code.put(0xFB, 0xF4); } // sti; hlt
void system(Code& code, Reader& in) {
    static constexpr std::array<std::array<uint8_t, 3>, 10> kForms = {{{0x0F, 0x06, 0x90},
                                                                       {0x0F, 0x08, 0x90},
                                                                       {0x0F, 0x09, 0x90},
                                                                       {0x0F, 0x34, 0x90},
                                                                       {0x0F, 0x35, 0x90},
                                                                       {0x0F, 0x31, 0x90},
                                                                       {0x0F, 0xA2, 0x90},
                                                                       {0x0F, 0x01, 0xF0},
                                                                       {0x0F, 0x33, 0x90},
                                                                       {0x0F, 0xAA, 0x90}}};
    const auto& form = kForms[in.byte() % kForms.size()];
    code.put(form[0], form[1], form[2]);
}
void pci_config(Code& code, Reader& in) {
    code.load(kDx, 0xCF8)
        .load(kAx, 0x80000000 | (in.byte() % 8) << 11 | (in.byte() % 4) << 8 | (in.byte() & 0xFC))
        .put(0xEF);
    code.load(kDx, 0xCFC).load(kAx, in.value()).put(in.byte() % 4 == 0 ? 0xED : 0xEF);
}
void raw(Code& code, Reader& in) {
    for (unsigned left = 1 + in.byte() % 15; left != 0; --left)
        code.put(in.byte());
}
// What a device fetches by itself: a descriptor of a transfer, where ports can point it.
void transfer(Code& code, Reader& in) {
    const uint32_t at = 0x100000 + 16 * in.byte();
    code.store(at, in.address());
    code.store(at + 4, in.dword());
    code.load(kDx, in.port()).load(kAx, at).put(0xEF);
}
void again(Code& code, Reader& in) { // everything since a little before, some times
    code.put(0xFF, 0x0D).dword(0x6200).put(0x0F, 0x85).dword(0u - 16 - in.byte() % 128);
}

using Operation = void (*)(Code&, Reader&);
constexpr Operation kOperations[] = {out,
                                     out,
                                     in,
                                     string_port,
                                     store,
                                     store_narrow,
                                     load,
                                     locked,
                                     string,
                                     control_register,
                                     paging,
                                     page_entry,
                                     debug_register,
                                     table_register,
                                     descriptor,
                                     segment,
                                     far_transfer,
                                     interrupt,
                                     interrupt_return,
                                     msr,
                                     flags,
                                     halt,
                                     system,
                                     pci_config,
                                     raw,
                                     raw,
                                     transfer,
                                     again};

void put64(std::vector<uint8_t>& bytes, size_t at, uint64_t value) {
    if (bytes.size() < at + 8)
        bytes.resize(at + 8);
    for (size_t i = 0; i < 8; ++i)
        bytes[at + i] = static_cast<uint8_t>(value >> 8 * i);
}

// SDM Vol. 3A 3.4.5 and 6.11.
uint64_t segment_descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
    return uint64_t{base >> 24} << 56 | uint64_t{flags} << 52 | uint64_t{limit >> 16 & 0xF} << 48 |
           uint64_t{access} << 40 | uint64_t{base & 0xFFFFFF} << 16 | (limit & 0xFFFF);
}
uint64_t gate(uint16_t selector, uint32_t offset, uint32_t access) {
    return uint64_t{offset >> 16} << 48 | uint64_t{access} << 40 | uint64_t{selector} << 16 |
           (offset & 0xFFFF);
}

} // namespace

std::vector<Bytes> surroundings() {
    std::vector<uint8_t> gdt(0x100), idt, tss(0x100), tables;
    put64(gdt, kCode, segment_descriptor(0, 0xFFFFF, 0x9B, 0xC));
    put64(gdt, kData, segment_descriptor(0, 0xFFFFF, 0x93, 0xC));
    put64(gdt, kUserCode & ~7u, segment_descriptor(0, 0xFFFFF, 0xFB, 0xC));
    put64(gdt, kUserData & ~7u, segment_descriptor(0, 0xFFFFF, 0xF3, 0xC));
    put64(gdt, kTask, segment_descriptor(kTss, 0x67, 0x89, 0));
    put64(gdt, kCode16, segment_descriptor(0, 0xFFFF, 0x9B, 0));
    put64(gdt, kCallGate, gate(kCode, kHandler, 0xEC));
    put64(gdt, kOtherTask, segment_descriptor(kTss + 0x80, 0x67, 0x89, 0));
    put64(gdt, kTaskGate, gate(kOtherTask, 0, 0xE5));
    for (unsigned vector = 0; vector < 256; ++vector)
        put64(idt, 8 * vector, gate(kCode, kHandler, 0xEE));
    put64(tss, 4, uint64_t{kData} << 32 | kStack); // ESP0, SS0
    for (uint32_t page = 0; page < 1024 * (kTableCount + 1); ++page) {
        const uint32_t entry =
            page < 1024 ? (page < kTableCount ? kTables + (page << 12) : 0) : (page - 1024) << 12;
        for (unsigned i = 0; i < 4; ++i)
            tables.push_back(static_cast<uint8_t>((entry | (entry != 0 || page == 1024 ? 7 : 0)) >> 8 * i));
    }
    Code handler;
    handler.put(0xFA, 0x66, 0xB8).word(kData).put(0x8E, 0xD8, 0x8E, 0xC0, 0x8E, 0xD0).put(0xBC).dword(kStack);
    handler.put(0xFF, 0x25).dword(kNext);
    return {{kGdt, gdt}, {kIdt, idt}, {kTss, tss}, {kHandler, handler.bytes()}, {kDirectory, tables}};
}

std::vector<uint8_t> program(std::span<const uint8_t> input) {
    constexpr size_t kLongest = 400, kAnnounces = 10; // of an operation, and of saying where the next one is
    Reader reader(input);
    Code code;
    code.store(kGo, kBegun);
    code.store(0x6100, 0xFF | (kGdt & 0xFFFF) << 16)
        .store(0x6104, kGdt >> 16)
        .put(0x0F, 0x01, 0x15)
        .dword(0x6100);
    code.store(0x6108, 0x7FF | (kIdt & 0xFFFF) << 16)
        .store(0x610C, kIdt >> 16)
        .put(0x0F, 0x01, 0x1D)
        .dword(0x6108);
    code.load(kAx, kTask).put(0x0F, 0x00, 0xD8).store(0x6200, 20); // ltr
    while (!reader.done() && code.bytes().size() + kLongest < kProgramEnd - kProgram) {
        Code operation;
        kOperations[reader.byte() % std::size(kOperations)](operation, reader);
        const auto next =
            static_cast<uint32_t>(kProgram + code.bytes().size() + kAnnounces + operation.bytes().size());
        code.store(kNext, next);
        code.bytes().insert(code.bytes().end(), operation.bytes().begin(), operation.bytes().end());
    }
    code.put(0xFA, 0xF4, 0xEB, 0xFC); // cli; hlt, again after a non-maskable interrupt
    return code.bytes();
}

} // namespace ring0
