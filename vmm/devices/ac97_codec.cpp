#include "vmm/devices/ac97_codec.h"

#include <algorithm>

namespace vmm {
namespace {

// Register numbers, table 16 of the specification.
constexpr unsigned kReset = 0x00, kMaster = 0x02, kHeadphone = 0x04, kMono = 0x06, kPcBeep = 0x0A,
                   kPhone = 0x0C, kMicrophone = 0x0E, kLineIn = 0x10, kCd = 0x12, kVideo = 0x14, kAux = 0x16,
                   kPcmOut = 0x18, kRecordSelect = 0x1A, kRecordGain = 0x1C, kGeneral = 0x20,
                   kPowerdown = 0x26, kExtendedId = 0x28, kExtendedControl = 0x2A, kFrontRate = 0x2C,
                   kAdcRate = 0x32, kMicrophoneRate = 0x34, kVendor1 = 0x7C, kVendor2 = 0x7E;

constexpr uint16_t kMute = 0x8000;
constexpr uint16_t kVra = 0x0001;   // variable rate audio, in 28h and 2Ah (A.2)
constexpr uint16_t kReady = 0x000F; // ADC, DAC, analog, Vref (5.7.14)
constexpr uint16_t kFixedRate = 48000, kLowestRate = 8000;
// SigmaTel's STAC9700, which every driver knows as a plain codec.
// DEVIATION: it offers variable rates, which that chip does not.
constexpr uint16_t kVendorHigh = 0x8384, kVendorLow = 0x7600;

// Bits that the guest may change; a register without a row does not exist and reads as zero (5.7).
struct Register {
    uint8_t offset;
    uint16_t at_reset, writable;
};
constexpr Register kTable[] = {
    {kMaster, 0x8000, 0xBF3F},        {kHeadphone, 0x8000, 0xBF3F},
    {kMono, 0x8000, 0x803F},          {kPcBeep, 0x0000, 0x801E},
    {kPhone, 0x8008, 0x801F},         {kMicrophone, 0x8008, 0x805F},
    {kLineIn, 0x8808, 0x9F1F},        {kCd, 0x8808, 0x9F1F},
    {kVideo, 0x8808, 0x9F1F},         {kAux, 0x8808, 0x9F1F},
    {kPcmOut, 0x8808, 0x9F1F},        {kRecordSelect, 0x0000, 0x0707},
    {kRecordGain, 0x8000, 0x8F0F},    {kGeneral, 0x0000, 0x8380},
    {kPowerdown, kReady, 0xFF00},     {kExtendedId, kVra, 0x0000},
    {kExtendedControl, 0x0000, kVra}, {kFrontRate, kFixedRate, 0xFFFF},
    {kAdcRate, kFixedRate, 0xFFFF},   {kMicrophoneRate, kFixedRate, 0xFFFF},
    {kVendor1, kVendorHigh, 0x0000},  {kVendor2, kVendorLow, 0x0000},
};

// 10^(-1.5 n / 20) in 16.16: what n steps of 1.5 dB leave.
constexpr unsigned kSteps = 64;
constexpr std::array<uint32_t, kSteps> kAttenuation = [] {
    std::array<uint32_t, kSteps> table{};
    double left = 65536;
    for (uint32_t& entry : table) {
        entry = static_cast<uint32_t>(left + 0.5);
        left *= 0.84139514164519513; // 1.5 dB
    }
    return table;
}();
constexpr unsigned kUnityStep = 8;      // of an input: 08h is 0 dB, 00h is +12 dB (5.7.5)
constexpr uint64_t kTwelveDb = 260'904; // 10^(12/20) in 16.16

} // namespace

void Ac97Codec::reset() {
    registers_.fill(0);
    for (const Register& row : kTable)
        reg(row.offset) = row.at_reset;
}

uint16_t Ac97Codec::read(unsigned offset) const { return reg(offset); }

void Ac97Codec::write(unsigned offset, uint16_t value) {
    if (offset == kReset) { // any value (5.7.1)
        reset();
        return;
    }
    for (const Register& row : kTable)
        if (row.offset == offset)
            reg(offset) = static_cast<uint16_t>((reg(offset) & ~row.writable) | (value & row.writable));
    settle();
}

// What holds whatever was written, or loaded.
void Ac97Codec::settle() {
    // Volumes have five bits; the sixth means full attenuation (5.7.2).
    for (const unsigned offset : {kMaster, kHeadphone, kMono})
        for (const unsigned shift : {0u, 8u})
            if ((reg(offset) >> shift & 0x20) != 0)
                reg(offset) = static_cast<uint16_t>((reg(offset) & ~(0x3Fu << shift)) | 0x1Fu << shift);
    for (const unsigned offset : {kFrontRate, kAdcRate, kMicrophoneRate})
        // A rate that is not to be had becomes the nearest (A.2.4); without VRA there is one only.
        reg(offset) = (reg(kExtendedControl) & kVra) == 0
                          ? kFixedRate
                          : std::clamp<uint16_t>(reg(offset), kLowestRate, kFixedRate);
}

void Ac97Codec::serialize(base::StateArchive& archive) {
    archive.field("mixer", registers_);
    if (!archive.loading())
        return;
    // A saved state is hostile input: read-only bits and what does not exist are ours to say.
    const auto loaded = registers_;
    reset();
    for (const Register& row : kTable)
        reg(row.offset) =
            static_cast<uint16_t>((row.at_reset & ~row.writable) | (loaded[row.offset / 2] & row.writable));
    settle();
}

uint32_t Ac97Codec::rate(unsigned offset) const { return reg(offset); }
uint32_t Ac97Codec::front_rate() const { return rate(kFrontRate); }
uint32_t Ac97Codec::capture_rate() const { return rate(kAdcRate); }
uint32_t Ac97Codec::microphone_rate() const { return rate(kMicrophoneRate); }

// 16.16; at most +12 dB.
uint32_t Ac97Codec::gain(bool left) const {
    const unsigned shift = left ? 8 : 0;
    if (((reg(kMaster) | reg(kPcmOut)) & kMute) != 0)
        return 0;
    const unsigned input = reg(kPcmOut) >> shift & 0x1F, output = reg(kMaster) >> shift & 0x1F;
    // The two attenuations add; +12 dB is eight steps above unity.
    const unsigned steps = input + output;
    if (steps < kUnityStep)
        return static_cast<uint32_t>(kTwelveDb * kAttenuation[steps] >> 16);
    return kAttenuation[steps - kUnityStep];
}

void Ac97Codec::mix(std::span<int16_t> samples) const {
    const int64_t gains[2] = {gain(true), gain(false)};
    if (gains[0] == 65536 && gains[1] == 65536)
        return;
    for (size_t i = 0; i < samples.size(); ++i)
        samples[i] =
            static_cast<int16_t>(std::clamp<int64_t>(samples[i] * gains[i & 1] >> 16, -32768, 32767));
}

} // namespace vmm
