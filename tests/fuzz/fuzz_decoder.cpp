// Guest bytes into instructions, in 16-, 32- and 64-bit code: what is defined is as long as Zydis says, and
// the cache of forms answers as the decoder does. The first byte chooses what 64-bit code is promised.
#include "vmm/decoder/form_cache.h"
#include "vmm/decoder/long_decoder.h"

#include <Zydis/Zydis.h>

#include <cstdlib>

using namespace vmm;

namespace {

void require(bool condition) {
    if (!condition)
        std::abort();
}

// The length that Zydis gives, 0 where it knows no such instruction.
unsigned length_in(ZydisMachineMode mode, ZydisStackWidth width, std::span<const uint8_t> bytes) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, mode, width);
    // As in the decoder: other lengths and validity would be right for other processors.
    for (ZydisDecoderMode extension : {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET})
        ZydisDecoderEnableMode(&decoder, extension, ZYAN_FALSE);
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes.data(), bytes.size(), &z, operands)) ? z.length
                                                                                                    : 0;
}

void check_legacy(std::span<const uint8_t> bytes, bool code32, FormCache& forms) {
    GuestInstruction plain, cached;
    const bool complete = decode(bytes, 0x1000, code32, plain);
    require(forms.decode(bytes, 0x1000, code32, cached) == complete);
    if (!complete)
        return;
    require(plain == cached && plain.length >= 1 && plain.length <= 15);
    if (plain.lowering != Lowering::Undefined)
        require(plain.length ==
                length_in(code32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16,
                          code32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16, bytes));
}

void check_long(std::span<const uint8_t> bytes, uint32_t features) {
    LongInstruction out;
    if (!decode_long(bytes, 0x1000, features, out))
        return;
    require(out.length >= 1 && out.length <= 15 && out.length <= bytes.size());
    require(out.memory.base == kNoRegister || out.memory.base < 16);
    require(out.memory.index == kNoRegister || out.memory.index < 16);
    if (out.lowering != LongLowering::Undefined)
        require(out.length == length_in(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, bytes));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2)
        return 0;
    const uint32_t features = data[0] == 0xFF ? feature::kAll : data[0] * 0x01010101u & feature::kAll;
    static FormCache forms;
    for (size_t at = 1; at < size && at < 512; ++at) {
        const std::span<const uint8_t> bytes(data + at, size - at);
        check_legacy(bytes, true, forms);
        check_legacy(bytes, false, forms);
        check_long(bytes, features);
    }
    return 0;
}
