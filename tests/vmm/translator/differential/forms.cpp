#include "tests/vmm/translator/differential/forms.h"

#include "vmm/base/verify.h"

#include <array>
#include <charconv>

namespace differential {

namespace {

// Notation: hex bytes, leading 66 F2 F3 being mandatory prefixes; +r register in the opcode; /r any
// ModRM.reg, /n a digit; m or r restricts ModRM.rm; ib iw iz immediates; moffs; w 66h allowed; lock LOCK
// allowed; a16 aligned operand; sN operand of N bytes (16 if not said).
// clang-format off: one table, dense on purpose
constexpr std::string_view kAlu[] = {
    "00 /r lock s1",
    "01 /r w lock s4",
    "02 /r s1",
    "03 /r w s4",
    "04 ib",
    "05 iz w",
    "08 /r lock s1",
    "09 /r w lock s4",
    "0A /r s1",
    "0B /r w s4",
    "0C ib",
    "0D iz w",
    "10 /r lock s1",
    "11 /r w lock s4",
    "12 /r s1",
    "13 /r w s4",
    "14 ib",
    "15 iz w",
    "18 /r lock s1",
    "19 /r w lock s4",
    "1A /r s1",
    "1B /r w s4",
    "1C ib",
    "1D iz w",
    "20 /r lock s1",
    "21 /r w lock s4",
    "22 /r s1",
    "23 /r w s4",
    "24 ib",
    "25 iz w",
    "28 /r lock s1",
    "29 /r w lock s4",
    "2A /r s1",
    "2B /r w s4",
    "2C ib",
    "2D iz w",
    "30 /r lock s1",
    "31 /r w lock s4",
    "32 /r s1",
    "33 /r w s4",
    "34 ib",
    "35 iz w",
    "38 /r s1",
    "39 /r w s4",
    "3A /r s1",
    "3B /r w s4",
    "3C ib",
    "3D iz w",
    "80 /0 ib lock s1",
    "80 /1 ib lock s1",
    "80 /2 ib lock s1",
    "80 /3 ib lock s1",
    "80 /4 ib lock s1",
    "80 /5 ib lock s1",
    "80 /6 ib lock s1",
    "80 /7 ib s1",
    "81 /0 iz w lock s4",
    "81 /1 iz w lock s4",
    "81 /2 iz w lock s4",
    "81 /3 iz w lock s4",
    "81 /4 iz w lock s4",
    "81 /5 iz w lock s4",
    "81 /6 iz w lock s4",
    "81 /7 iz w s4",
    "82 /0 ib s1",
    "82 /2 ib s1",
    "82 /5 ib s1",
    "82 /7 ib s1",
    "83 /0 ib w lock s4",
    "83 /1 ib w lock s4",
    "83 /2 ib w lock s4",
    "83 /3 ib w lock s4",
    "83 /4 ib w lock s4",
    "83 /5 ib w lock s4",
    "83 /6 ib w lock s4",
    "83 /7 ib w s4",
    "84 /r s1",
    "85 /r w s4",
    "A8 ib",
    "A9 iz w",
    "F6 /0 ib s1",
    "F7 /0 iz w s4",
    "F6 /1 ib s1",
    "F7 /1 iz w s4",
    "40 +r w",
    "48 +r w",
    "FE /0 lock s1",
    "FE /1 lock s1",
    "FF /0 w lock s4",
    "FF /1 w lock s4",
    "F6 /2 lock s1",
    "F7 /2 w lock s4",
    "F6 /3 lock s1",
    "F7 /3 w lock s4",
    "0F C0 /r lock s1",
    "0F C1 /r w lock s4",
    "0F B0 /r lock s1",
    "0F B1 /r w lock s4",
    "0F C7 /1 m lock s8",
};

constexpr std::string_view kShift[] = {
    "C0 /0 ib s1",   "C0 /1 ib s1",      "C0 /2 ib s1",   "C0 /3 ib s1",   "C0 /4 ib s1",
    "C0 /5 ib s1",   "C0 /6 ib s1",      "C0 /7 ib s1",   "C1 /0 ib w s4", "C1 /1 ib w s4",
    "C1 /2 ib w s4", "C1 /3 ib w s4",    "C1 /4 ib w s4", "C1 /5 ib w s4", "C1 /6 ib w s4",
    "C1 /7 ib w s4", "D0 /0 s1",         "D0 /1 s1",      "D0 /2 s1",      "D0 /3 s1",
    "D0 /4 s1",      "D0 /5 s1",         "D0 /7 s1",      "D1 /0 w s4",    "D1 /1 w s4",
    "D1 /2 w s4",    "D1 /3 w s4",       "D1 /4 w s4",    "D1 /5 w s4",    "D1 /7 w s4",
    "D2 /0 s1",      "D2 /1 s1",         "D2 /2 s1",      "D2 /3 s1",      "D2 /4 s1",
    "D2 /5 s1",      "D2 /7 s1",         "D3 /0 w s4",    "D3 /1 w s4",    "D3 /2 w s4",
    "D3 /3 w s4",    "D3 /4 w s4",       "D3 /5 w s4",    "D3 /7 w s4",    "0F A4 /r ib w s4",
    "0F A5 /r w s4", "0F AC /r ib w s4", "0F AD /r w s4",
};

constexpr std::string_view kMulDiv[] = {
    "F6 /4 s1",      "F7 /4 w s4", "F6 /5 s1",   "F7 /5 w s4",    "F6 /6 s1",
    "F7 /6 w s4",    "F6 /7 s1",   "F7 /7 w s4", "69 /r iz w s4", "6B /r ib w s4",
    "0F AF /r w s4", "D4 ib",      "D5 ib",      "99 w",          "98 w",
};

constexpr std::string_view kBits[] = {
    "0F A3 /r r w",          "0F AB /r r w",          "0F B3 /r r w",
    "0F BB /r r w",          "0F A3 /r m w s4",       "0F AB /r m w lock s4",
    "0F B3 /r m w lock s4",  "0F BB /r m w lock s4",  "0F BA /4 ib w s4",
    "0F BA /5 ib w lock s4", "0F BA /6 ib w lock s4", "0F BA /7 ib w lock s4",
    "0F BC /r w s4",         "0F BD /r w s4",         "0F C8 +r",
    "0F 90 /0 s1",           "0F 91 /0 s1",           "0F 92 /0 s1",
    "0F 93 /0 s1",           "0F 94 /0 s1",           "0F 95 /0 s1",
    "0F 96 /0 s1",           "0F 97 /0 s1",           "0F 98 /0 s1",
    "0F 99 /0 s1",           "0F 9A /0 s1",           "0F 9B /0 s1",
    "0F 9C /0 s1",           "0F 9D /0 s1",           "0F 9E /0 s1",
    "0F 9F /0 s1",           "0F 40 /r w s4",         "0F 41 /r w s4",
    "0F 42 /r w s4",         "0F 43 /r w s4",         "0F 44 /r w s4",
    "0F 45 /r w s4",         "0F 46 /r w s4",         "0F 47 /r w s4",
    "0F 48 /r w s4",         "0F 49 /r w s4",         "0F 4A /r w s4",
    "0F 4B /r w s4",         "0F 4C /r w s4",         "0F 4D /r w s4",
    "0F 4E /r w s4",         "0F 4F /r w s4",
};

constexpr std::string_view kMove[] = {
    "88 /r s1",      "89 /r w s4",    "8A /r s1",  "8B /r w s4",    "A0 moffs s1",   "A1 moffs w s4",
    "A2 moffs s1",   "A3 moffs w s4", "B0 +r ib",  "B8 +r iz w",    "C6 /0 ib s1",   "C7 /0 iz w s4",
    "86 /r s1",      "87 /r w s4",    "90 +r w",   "0F B6 /r w s1", "0F B7 /r w s2", "0F BE /r w s1",
    "0F BF /r w s2", "8D /r m w",     "8D /r m w", "8D /r m w",     "8C /0 s2 w",    "8C /3 s2 w",
    "8C /2 s2 w",    "8C /1 s2",      "8C /4 s2",  "8C /5 s2 w",
};

constexpr std::string_view kStack[] = {
    "50 +r w", "58 +r w", "50 +r", "58 +r", "68 iz w", "6A ib w", "FF /6 w s4", "8F /0 w s4", "60 w",
    "61 w",    "9C w",    "C9 w",  "06 w",  "0E w",    "16 w",    "1E w",       "0F A0 w",    "0F A8 w",
};

constexpr std::string_view kMisc[] = {
    "27",
    "2F",
    "37",
    "3F",
    "9E",
    "9F",
    "F5",
    "F8",
    "F9",
    "FC",
    "FD",
    "D6",
    "D7",
    "D7",
    "CE",
    "62 /r m w s8",
    "90",
    "F3 90",
    "0F 1F /0 w s4",
    "0F 0B",
    "CC",
    "FA",
    "FB",
    "0F 18 /1 m",
    "0F 18 /0 m",
    "0F AE /7 m s1",
};

constexpr std::string_view kX87[] = {
    "D8 /0 m s4",  "D8 /1 m s4",  "D8 /2 m s4", "D8 /3 m s4", "D8 /4 m s4", "D8 /5 m s4",    "D8 /6 m s4",
    "D8 /7 m s4",  "DC /0 m s8",  "DC /1 m s8", "DC /2 m s8", "DC /3 m s8", "DC /4 m s8",    "DC /5 m s8",
    "DC /6 m s8",  "DC /7 m s8",  "DA /0 m s4", "DA /1 m s4", "DA /2 m s4", "DA /3 m s4",    "DA /4 m s4",
    "DA /5 m s4",  "DA /6 m s4",  "DA /7 m s4", "DE /0 m s2", "DE /1 m s2", "DE /2 m s2",    "DE /3 m s2",
    "DE /4 m s2",  "DE /5 m s2",  "DE /6 m s2", "DE /7 m s2", "D8 C0 +r",   "D8 C8 +r",      "D8 D0 +r",
    "D8 D8 +r",    "D8 E0 +r",    "D8 E8 +r",   "D8 F0 +r",   "D8 F8 +r",   "DC C0 +r",      "DC C8 +r",
    "DC E0 +r",    "DC E8 +r",    "DC F0 +r",   "DC F8 +r",   "DE C0 +r",   "DE C8 +r",      "DE D9",
    "DE E0 +r",    "DE E8 +r",    "DE F0 +r",   "DE F8 +r",   "DA C0 +r",   "DA C8 +r",      "DA D0 +r",
    "DA D8 +r",    "DA E9",       "DB C0 +r",   "DB C8 +r",   "DB D0 +r",   "DB D8 +r",      "DB E8 +r",
    "DB F0 +r",    "DF E8 +r",    "DF F0 +r",   "DD E0 +r",   "DD E8 +r",   "D9 /0 m s4",    "DD /0 m s8",
    "DB /5 m s10", "D9 C0 +r",    "DF /0 m s2", "DB /0 m s4", "DF /5 m s8", "DF /4 m s10",   "D9 /0 m s4",
    "DD /0 m s8",  "DB /5 m s10", "D9 C0 +r",   "D9 /2 m s4", "DD /2 m s8", "D9 /3 m s4",    "DD /3 m s8",
    "DB /7 m s10", "DD D0 +r",    "DD D8 +r",   "DF /2 m s2", "DB /2 m s4", "DF /3 m s2",    "DB /3 m s4",
    "DF /7 m s8",  "DF /6 m s10", "D9 C8 +r",   "DD C0 +r",   "D9 E0",      "D9 E1",         "D9 E4",
    "D9 E5",       "D9 E8",       "D9 E9",      "D9 EA",      "D9 EB",      "D9 EC",         "D9 ED",
    "D9 EE",       "D9 F0",       "D9 F1",      "D9 F2",      "D9 F3",      "D9 F4",         "D9 F5",
    "D9 F6",       "D9 F7",       "D9 F8",      "D9 F9",      "D9 FA",      "D9 FB",         "D9 FC",
    "D9 FD",       "D9 FE",       "D9 FF",      "D9 D0",      "DB E2",      "DB E3",         "9B",
    "DF E0",       "DD /7 m s2",  "9B DF E0",   "D9 /5 m s2", "D9 /7 m s2", "9B D9 /7 m s2", "DB /1 m s4",
    "DD /1 m s8",  "DF /1 m s2",
};

constexpr std::string_view kMmx[] = {
    "0F 6E /r s4",    "0F 7E /r s4",    "0F 6F /r s8",    "0F 7F /r s8",    "0F 77",
    "0F 77",          "0F 60 /r s4",    "0F 61 /r s4",    "0F 62 /r s4",    "0F 63 /r s8",
    "0F 64 /r s8",    "0F 65 /r s8",    "0F 66 /r s8",    "0F 67 /r s8",    "0F 68 /r s8",
    "0F 69 /r s8",    "0F 6A /r s8",    "0F 6B /r s8",    "0F 74 /r s8",    "0F 75 /r s8",
    "0F 76 /r s8",    "0F 71 /2 r ib",  "0F 71 /4 r ib",  "0F 71 /6 r ib",  "0F 72 /2 r ib",
    "0F 72 /4 r ib",  "0F 72 /6 r ib",  "0F 73 /2 r ib",  "0F 73 /6 r ib",  "0F D1 /r s8",
    "0F D2 /r s8",    "0F D3 /r s8",    "0F D4 /r s8",    "0F D5 /r s8",    "0F D8 /r s8",
    "0F D9 /r s8",    "0F DA /r s8",    "0F DB /r s8",    "0F DC /r s8",    "0F DD /r s8",
    "0F DE /r s8",    "0F DF /r s8",    "0F E0 /r s8",    "0F E1 /r s8",    "0F E2 /r s8",
    "0F E3 /r s8",    "0F E4 /r s8",    "0F E5 /r s8",    "0F E8 /r s8",    "0F E9 /r s8",
    "0F EA /r s8",    "0F EB /r s8",    "0F EC /r s8",    "0F ED /r s8",    "0F EE /r s8",
    "0F EF /r s8",    "0F F1 /r s8",    "0F F2 /r s8",    "0F F3 /r s8",    "0F F4 /r s8",
    "0F F5 /r s8",    "0F F6 /r s8",    "0F F8 /r s8",    "0F F9 /r s8",    "0F FA /r s8",
    "0F FB /r s8",    "0F FC /r s8",    "0F FD /r s8",    "0F FE /r s8",    "0F 70 /r ib s8",
    "0F C4 /r ib s2", "0F C5 /r r ib",  "0F D7 /r r",     "0F E7 /r m s8",  "0F 38 00 /r s8",
    "0F 38 01 /r s8", "0F 38 02 /r s8", "0F 38 03 /r s8", "0F 38 04 /r s8", "0F 38 05 /r s8",
    "0F 38 06 /r s8", "0F 38 07 /r s8", "0F 38 08 /r s8", "0F 38 09 /r s8", "0F 38 0A /r s8",
    "0F 38 0B /r s8", "0F 38 1C /r s8", "0F 38 1D /r s8", "0F 38 1E /r s8", "0F 3A 0F /r ib s8",
};

constexpr std::string_view kSse[] = {
    "0F 10 /r",       "0F 11 /r",       "F3 0F 10 /r s4",  "F3 0F 11 /r s4",    "0F 12 /r s8",
    "0F 13 /r m s8",  "0F 16 /r s8",    "0F 17 /r m s8",   "0F 28 /r a16",      "0F 29 /r a16",
    "0F 2B /r m a16", "0F 50 /r r",     "0F 14 /r a16",    "0F 15 /r a16",      "0F C6 /r ib a16",
    "0F 51 /r a16",   "F3 0F 51 /r s4", "0F 52 /r a16",    "F3 0F 52 /r s4",    "0F 53 /r a16",
    "F3 0F 53 /r s4", "0F 54 /r a16",   "0F 55 /r a16",    "0F 56 /r a16",      "0F 57 /r a16",
    "0F 58 /r a16",   "F3 0F 58 /r s4", "0F 59 /r a16",    "F3 0F 59 /r s4",    "0F 5C /r a16",
    "F3 0F 5C /r s4", "0F 5D /r a16",   "F3 0F 5D /r s4",  "0F 5E /r a16",      "F3 0F 5E /r s4",
    "0F 5F /r a16",   "F3 0F 5F /r s4", "0F C2 /r ib a16", "F3 0F C2 /r ib s4", "0F 2E /r s4",
    "0F 2F /r s4",    "0F 2A /r s8",    "F3 0F 2A /r s4",  "0F 2C /r s8",       "F3 0F 2C /r s4",
    "0F 2D /r s8",    "F3 0F 2D /r s4", "0F AE F8",        "0F AE /3 m s4",
};

constexpr std::string_view kSse2[] = {
    "66 0F 10 /r",        "66 0F 11 /r",        "F2 0F 10 /r s8",     "F2 0F 11 /r s8",
    "66 0F 12 /r m s8",   "66 0F 13 /r m s8",   "66 0F 16 /r m s8",   "66 0F 17 /r m s8",
    "66 0F 28 /r a16",    "66 0F 29 /r a16",    "66 0F 2B /r m a16",  "66 0F 50 /r r",
    "66 0F 14 /r a16",    "66 0F 15 /r a16",    "66 0F C6 /r ib a16", "66 0F 51 /r a16",
    "F2 0F 51 /r s8",     "66 0F 54 /r a16",    "66 0F 55 /r a16",    "66 0F 56 /r a16",
    "66 0F 57 /r a16",    "66 0F 58 /r a16",    "F2 0F 58 /r s8",     "66 0F 59 /r a16",
    "F2 0F 59 /r s8",     "66 0F 5C /r a16",    "F2 0F 5C /r s8",     "66 0F 5D /r a16",
    "F2 0F 5D /r s8",     "66 0F 5E /r a16",    "F2 0F 5E /r s8",     "66 0F 5F /r a16",
    "F2 0F 5F /r s8",     "66 0F C2 /r ib a16", "F2 0F C2 /r ib s8",  "66 0F 2E /r s8",
    "66 0F 2F /r s8",     "66 0F 2A /r s8",     "F2 0F 2A /r s4",     "66 0F 2C /r a16",
    "F2 0F 2C /r s8",     "66 0F 2D /r a16",    "F2 0F 2D /r s8",     "0F 5A /r s8",
    "66 0F 5A /r a16",    "F3 0F 5A /r s4",     "F2 0F 5A /r s8",     "0F 5B /r a16",
    "66 0F 5B /r a16",    "F3 0F 5B /r a16",    "F3 0F E6 /r s8",     "66 0F E6 /r a16",
    "F2 0F E6 /r a16",    "66 0F 6E /r s4",     "66 0F 7E /r s4",     "66 0F 6F /r a16",
    "66 0F 7F /r a16",    "F3 0F 6F /r",        "F3 0F 7F /r",        "F3 0F 7E /r s8",
    "66 0F D6 /r s8",     "F3 0F D6 /r r",      "F2 0F D6 /r r",      "66 0F 60 /r a16",
    "66 0F 61 /r a16",    "66 0F 62 /r a16",    "66 0F 63 /r a16",    "66 0F 64 /r a16",
    "66 0F 65 /r a16",    "66 0F 66 /r a16",    "66 0F 67 /r a16",    "66 0F 68 /r a16",
    "66 0F 69 /r a16",    "66 0F 6A /r a16",    "66 0F 6B /r a16",    "66 0F 6C /r a16",
    "66 0F 6D /r a16",    "66 0F 74 /r a16",    "66 0F 75 /r a16",    "66 0F 76 /r a16",
    "66 0F 71 /2 r ib",   "66 0F 71 /4 r ib",   "66 0F 71 /6 r ib",   "66 0F 72 /2 r ib",
    "66 0F 72 /4 r ib",   "66 0F 72 /6 r ib",   "66 0F 73 /2 r ib",   "66 0F 73 /3 r ib",
    "66 0F 73 /6 r ib",   "66 0F 73 /7 r ib",   "66 0F 70 /r ib a16", "F2 0F 70 /r ib a16",
    "F3 0F 70 /r ib a16", "66 0F C4 /r ib s2",  "66 0F C5 /r r ib",   "66 0F D7 /r r",
    "66 0F E7 /r m a16",  "0F C3 /r m s4",      "66 0F D1 /r a16",    "66 0F D2 /r a16",
    "66 0F D3 /r a16",    "66 0F D4 /r a16",    "66 0F D5 /r a16",    "66 0F D8 /r a16",
    "66 0F D9 /r a16",    "66 0F DA /r a16",    "66 0F DB /r a16",    "66 0F DC /r a16",
    "66 0F DD /r a16",    "66 0F DE /r a16",    "66 0F DF /r a16",    "66 0F E0 /r a16",
    "66 0F E1 /r a16",    "66 0F E2 /r a16",    "66 0F E3 /r a16",    "66 0F E4 /r a16",
    "66 0F E5 /r a16",    "66 0F E8 /r a16",    "66 0F E9 /r a16",    "66 0F EA /r a16",
    "66 0F EB /r a16",    "66 0F EC /r a16",    "66 0F ED /r a16",    "66 0F EE /r a16",
    "66 0F EF /r a16",    "66 0F F1 /r a16",    "66 0F F2 /r a16",    "66 0F F3 /r a16",
    "66 0F F4 /r a16",    "66 0F F5 /r a16",    "66 0F F6 /r a16",    "66 0F F8 /r a16",
    "66 0F F9 /r a16",    "66 0F FA /r a16",    "66 0F FB /r a16",    "66 0F FC /r a16",
    "66 0F FD /r a16",    "66 0F FE /r a16",    "0F D4 /r s8",        "0F FB /r s8",
    "0F F4 /r s8",        "0F AE E8",           "0F AE F0",
};

constexpr std::string_view kSsse3[] = {
    "F2 0F 12 /r s8",     "F3 0F 12 /r a16",       "F3 0F 16 /r a16",    "66 0F 7C /r a16",
    "F2 0F 7C /r a16",    "66 0F 7D /r a16",       "F2 0F 7D /r a16",    "66 0F D0 /r a16",
    "F2 0F D0 /r a16",    "F2 0F F0 /r m",         "66 0F 38 00 /r a16", "66 0F 38 01 /r a16",
    "66 0F 38 02 /r a16", "66 0F 38 03 /r a16",    "66 0F 38 04 /r a16", "66 0F 38 05 /r a16",
    "66 0F 38 06 /r a16", "66 0F 38 07 /r a16",    "66 0F 38 08 /r a16", "66 0F 38 09 /r a16",
    "66 0F 38 0A /r a16", "66 0F 38 0B /r a16",    "66 0F 38 1C /r a16", "66 0F 38 1D /r a16",
    "66 0F 38 1E /r a16", "66 0F 3A 0F /r ib a16",
};

// clang-format on

Form parse(std::string_view text, Group group) {
    Form form;
    form.text = text;
    form.group = group;
    size_t at = 0;
    while (at < text.size()) {
        const size_t end = std::min(text.find(' ', at), text.size());
        const std::string_view token = text.substr(at, end - at);
        at = end + 1;
        if (token == "/r") {
            form.modrm = Form::ModRm::AnyReg;
        } else if (token[0] == '/') {
            form.modrm = Form::ModRm::Digit;
            form.digit = static_cast<uint8_t>(token[1] - '0');
        } else if (token == "+r") {
            form.plus_register = true;
        } else if (token == "m") {
            form.rm = Form::Rm::MemoryOnly;
        } else if (token == "r") {
            form.rm = Form::Rm::RegisterOnly;
        } else if (token == "w") {
            form.operand_size = true;
        } else if (token == "lock") {
            form.lock = true;
        } else if (token == "ib") {
            form.immediate_bytes = 1;
        } else if (token == "iw") {
            form.immediate_bytes = 2;
        } else if (token == "iz") {
            form.immediate_z = true;
        } else if (token == "moffs") {
            form.moffs = true;
        } else if (token == "a16") {
            form.aligned = true;
        } else if (token[0] == 's') {
            std::from_chars(token.data() + 1, token.data() + token.size(), form.memory_bytes);
        } else {
            uint8_t byte = 0;
            const auto result = std::from_chars(token.data(), token.data() + token.size(), byte, 16);
            VERIFY(result.ec == std::errc{} && token.size() == 2);
            const bool prefix = byte == 0x66 || byte == 0xF2 || byte == 0xF3;
            (prefix && form.opcode.empty() ? form.prefixes : form.opcode).push_back(byte);
        }
    }
    VERIFY(!form.opcode.empty());
    return form;
}

std::vector<Form> parse_all(std::span<const std::string_view> lines, Group group) {
    std::vector<Form> forms;
    for (const std::string_view line : lines)
        forms.push_back(parse(line, group));
    return forms;
}

} // namespace

std::span<const Form> all_forms(Group group) {
    static const std::array<std::vector<Form>, static_cast<size_t>(Group::Count)> tables{
        parse_all(kAlu, Group::Alu),   parse_all(kShift, Group::Shift), parse_all(kMulDiv, Group::MulDiv),
        parse_all(kBits, Group::Bits), parse_all(kMove, Group::Move),   parse_all(kStack, Group::Stack),
        parse_all(kMisc, Group::Misc), parse_all(kX87, Group::X87),     parse_all(kMmx, Group::Mmx),
        parse_all(kSse, Group::Sse),   parse_all(kSse2, Group::Sse2),   parse_all(kSsse3, Group::Ssse3)};
    return tables[static_cast<size_t>(group)];
}

} // namespace differential
