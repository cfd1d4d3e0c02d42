#include "vmm/translator/fpu_callouts.h"

#include "vmm/translator/callout_scope.h"
#include "vmm/translator/fpu_state.h"

#include <array>
#include <cstring>

namespace vmm {

namespace {

enum : uint32_t { kEnvironment, kWhole, kFx };
constexpr uint32_t kMxcsrMask = 0xFFFF;
constexpr unsigned kFxBytes32 = 288; // FXSAVE outside 64-bit mode: through XMM7

struct Pointers {
    uint32_t instruction = 0, data = 0;
    uint16_t opcode = 0;
};

// FIP/FDP/FOP of the last x87 instruction, as guest offsets (selectors read as zero, as on processors that
// deprecate FCS and FDS: CPUID.7.EBX[13]).
Pointers guest_pointers(Vcpu& vcpu) {
    FxArea image;
    asm volatile("fxsave64 %0" : "=m"(image));
    uint64_t fip = 0, fdp = 0;
    Pointers pointers;
    std::memcpy(&pointers.opcode, image.bytes.data() + 6, 2);
    std::memcpy(&fip, image.bytes.data() + 8, 8);
    std::memcpy(&fdp, image.bytes.data() + 16, 8);
    if (Block* block = vcpu.shared->cache->find_host(fip))
        pointers.instruction = vcpu.shared->cache->guest_eip(*block, fip);
    if (fdp - vcpu.rt->window_base < (uint64_t{1} << 32))
        pointers.data = static_cast<uint32_t>(fdp);
    return pointers;
}

struct Environment {
    std::array<uint16_t, 3> words{}; // FCW, FSW, FTW
    Pointers pointers;
};

// SDM Vol. 1 figures 8-9 to 8-12.
unsigned encode_environment(const Environment& e, bool real_format, unsigned operand_bytes, uint8_t* to) {
    const uint32_t ip = e.pointers.instruction, dp = e.pointers.data;
    const uint16_t opcode = e.pointers.opcode & 0x7FF;
    if (operand_bytes == 4) {
        std::array<uint32_t, 7> image{};
        for (unsigned i = 0; i < 3; ++i)
            image[i] = 0xFFFF0000u | e.words[i];
        if (real_format) {
            image[3] = 0xFFFF0000u | (ip & 0xFFFF);
            image[4] = (ip >> 16) << 12 | opcode;
            image[5] = 0xFFFF0000u | (dp & 0xFFFF);
            image[6] = (dp >> 16) << 12;
        } else {
            image[3] = ip;
            image[4] = uint32_t{opcode} << 16;
            image[5] = dp;
            image[6] = 0xFFFF0000u;
        }
        std::memcpy(to, image.data(), sizeof image);
        return sizeof image;
    }
    std::array<uint16_t, 7> image{
        e.words[0], e.words[1], e.words[2], static_cast<uint16_t>(ip), 0, static_cast<uint16_t>(dp), 0};
    if (real_format) {
        image[4] = static_cast<uint16_t>((ip >> 16) << 12 | opcode);
        image[6] = static_cast<uint16_t>((dp >> 16) << 12);
    }
    std::memcpy(to, image.data(), sizeof image);
    return sizeof image;
}

// To the 28-byte protected-mode form the host instruction reads. The pointers go in as data only.
void decode_environment(const uint8_t* from, unsigned operand_bytes, uint8_t* host) {
    std::array<uint32_t, 7> image{};
    if (operand_bytes == 4) {
        std::memcpy(image.data(), from, sizeof image);
    } else {
        std::array<uint16_t, 7> narrow;
        std::memcpy(narrow.data(), from, sizeof narrow);
        for (unsigned i = 0; i < 7; ++i)
            image[i] = narrow[i];
        image[4] = image[6] = 0;
    }
    std::memcpy(host, image.data(), sizeof image);
}

bool real_format(const CpuState& c) { return !c.protected_mode() || c.v86(); }

uint32_t access_bytes(uint32_t kind, unsigned operand_bytes) {
    if (kind == kFx)
        return 512;
    const uint32_t environment = operand_bytes == 4 ? 28 : 14;
    return kind == kWhole ? environment + 80 : environment;
}

GuestResult<uint32_t> locate(Vcpu& vcpu, uint32_t offset, uint32_t packed, AccessKind access) {
    const uint32_t kind = packed & 15;
    const uint32_t bytes = access_bytes(kind, packed >> 8);
    auto linear = vcpu.cpu->linear_address(static_cast<SegReg>((packed >> 4) & 7), offset, bytes, access);
    if (!linear)
        return linear;
    if (kind == kFx && (*linear & 15) != 0)
        return guest_fault(Vector::GeneralProtection, 0);
    if (access == AccessKind::Write)
        if (auto allowed = vcpu.linear->check_write(*linear, bytes, vcpu.privilege()); !allowed)
            return tl::make_unexpected(allowed.error());
    return linear;
}

} // namespace

uint32_t fpu_store(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    auto linear = locate(vcpu, offset, packed, AccessKind::Write);
    if (!linear)
        return scope.fault(linear.error());
    const uint32_t kind = packed & 15;
    const uint32_t bytes = kind == kFx ? kFxBytes32 : access_bytes(kind, packed >> 8);
    if (scope.watched(*linear, bytes, true))
        return scope.again_alone();
    const Pointers pointers = guest_pointers(vcpu);
    std::array<uint8_t, 512> out{};
    uint32_t length = 0;
    if (kind == kFx) {
        store_x87(rt.cpu.fx);
        std::memcpy(out.data(), rt.cpu.fx.bytes.data(), out.size());
        std::memset(out.data() + 8, 0, 16);
        std::memcpy(out.data() + 8, &pointers.instruction, 4);
        std::memcpy(out.data() + 16, &pointers.data, 4);
        std::memcpy(out.data() + 28, &kMxcsrMask, 4);
        length = kFxBytes32;
    } else {
        std::array<uint8_t, 108> host{};
        if (kind == kWhole)
            asm volatile("fnsave %0" : "=m"(host));
        else
            asm volatile("fnstenv %0" : "+m"(host)); // the first 28 bytes
        Environment environment;
        environment.pointers = pointers;
        for (unsigned i = 0; i < 3; ++i)
            std::memcpy(&environment.words[i], host.data() + 4 * i, 2);
        length = encode_environment(environment, real_format(rt.cpu), packed >> 8, out.data());
        if (kind == kWhole) {
            std::memcpy(out.data() + length, host.data() + 28, 80);
            length += 80;
        }
    }
    if (auto done = vcpu.linear->write_bytes(*linear, out.data(), length, vcpu.privilege()); !done)
        return scope.fault(done.error());
    vcpu.note_data_access(*linear, length, true);
    return scope.done();
}

uint32_t fpu_load(Runtime& rt, uint32_t offset, uint32_t packed) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    auto linear = locate(vcpu, offset, packed, AccessKind::Read);
    if (!linear)
        return scope.fault(linear.error());
    const uint32_t kind = packed & 15;
    const uint32_t bytes = access_bytes(kind, packed >> 8);
    if (scope.watched(*linear, bytes, false))
        return scope.again_alone();
    std::array<uint8_t, 512> in{};
    if (auto done = vcpu.linear->read_bytes(*linear, in.data(), bytes, vcpu.privilege()); !done)
        return scope.fault(done.error());
    vcpu.note_data_access(*linear, bytes, false);
    if (kind == kFx) {
        uint32_t mxcsr;
        std::memcpy(&mxcsr, in.data() + kFxMxcsrOffset, 4);
        if (mxcsr & ~kMxcsrMask)
            return scope.fault({Vector::GeneralProtection, true, 0, 0});
        std::memcpy(rt.cpu.fx.bytes.data(), in.data(), kFxBytes32);
        load_x87(rt.cpu.fx);
    } else {
        std::array<uint8_t, 108> host{};
        const unsigned environment = (packed >> 8) == 4 ? 28 : 14;
        decode_environment(in.data(), packed >> 8, host.data());
        if (kind == kWhole) {
            std::memcpy(host.data() + 28, in.data() + environment, 80);
            asm volatile("frstor %0" : : "m"(host));
        } else {
            asm volatile("fldenv %0" : : "m"(host));
        }
    }
    return scope.done();
}

uint32_t load_mxcsr(Runtime& rt, uint32_t, uint32_t) {
    CalloutScope scope(rt);
    uint32_t value;
    std::memcpy(&value, rt.slot, 4);
    if (value & ~kMxcsrMask)
        return scope.fault({Vector::GeneralProtection, true, 0, 0});
    std::memcpy(rt.cpu.fx.bytes.data() + kFxMxcsrOffset, &value, 4);
    return scope.done();
}

uint32_t masked_move(Runtime& rt, uint32_t registers, uint32_t packed) {
    CalloutScope scope(rt);
    Vcpu& vcpu = *rt.vcpu;
    const bool wide = (registers >> 16) & 1;
    const unsigned bytes = wide ? 16 : 8;
    const unsigned address_bits = packed >> 8;
    uint32_t offset = rt.cpu.reg(Reg::Edi);
    if (address_bits == 16)
        offset &= 0xFFFF;
    FxArea image = rt.cpu.fx;
    if (!wide) // MM registers live in the x87 unit
        asm volatile("fxsave64 %0" : "=m"(image));
    const auto lane = [&](unsigned reg) { // SDM Vol. 1 table 10-2: MMn aliases ST at its physical place
        if (wide)
            return image.bytes.data() + kFxXmmOffset + 16 * reg;
        const unsigned top = (image.bytes[3] >> 3) & 7;
        return image.bytes.data() + 32 + 16 * ((reg - top) & 7);
    };
    const uint8_t* source = lane(registers & 7);
    const uint8_t* mask = lane((registers >> 8) & 7);
    auto linear =
        vcpu.cpu->linear_address(static_cast<SegReg>(packed & 0xFF), offset, bytes, AccessKind::Write);
    if (!linear)
        return scope.fault(linear.error());
    if (auto allowed = vcpu.linear->check_write(*linear, bytes, vcpu.privilege()); !allowed)
        return scope.fault(allowed.error());
    for (unsigned i = 0; i < bytes; ++i)
        if ((mask[i] & 0x80) && scope.watched(*linear + i, 1, true))
            return scope.again_alone();
    for (unsigned i = 0; i < bytes; ++i) {
        if ((mask[i] & 0x80) == 0)
            continue;
        if (auto done = vcpu.linear->write<uint8_t>(*linear + i, source[i], vcpu.privilege()); !done)
            return scope.fault(done.error());
        vcpu.note_data_access(*linear + i, 1, true);
    }
    return scope.done();
}

} // namespace vmm
