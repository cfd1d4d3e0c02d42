// What code that has taken over a process in the room tries (room_prisoner.cpp), each in a process of its
// own. A table, so that what is covered can be read off.
#pragma once
#include <cstddef>

namespace jail_test {

// What a test hands the prisoner, by descriptor.
inline constexpr int kToTest = 3, kReadOnly = 4, kDescriptors = 2;

// What comes on kToTest: this, the walls' bits, and the attempt's error number, 0 for success.
inline constexpr char kInside = 'i';

enum class Outside : unsigned char {
    Works,    // anybody may do it
    Root,     // root may
    Replaces, // it works, and then there is nobody to say so
    Fails     // the kernel says no without a jail, or may not offer it
};

struct RoomAttempt {
    const char* name;
    Outside outside;
    long (*make)(); // -1: refused, errno says why
};

extern const RoomAttempt kRoomAttempts[];
extern const size_t kRoomAttemptCount;

// What they are about.
struct Target {
    const char* folder;                  // with "file" and a listening "socket"
    int process;                         // the test's
    long variable;                       // an address in it
    int others = kToTest + kDescriptors; // from here on a prisoner has no descriptors
};
extern Target target;

} // namespace jail_test
