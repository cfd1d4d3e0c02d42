/* The integer rows: what ordinary compiled programs do, one habit a row. Units take about 0.1 s natively. */
#include "sys.h"

static u32 buffer[1u << 20];

static void fill(u32 words, u32 seed) {
    for (u32 i = 0; i < words; i++)
        buffer[i] = next_random(&seed);
}

/* Table-driven CRC-32: a load that depends on the previous load, byte by byte. */
u32 row_crc32(void) {
    static u32 table[256];
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
    const u32 kBytes = 1u << 18;
    fill(kBytes / 4, 0x1234567);
    u32 crc = ~0u;
    for (int pass = 0; pass < 80; pass++) {
        const u8* p = (const u8*)buffer;
        for (u32 i = 0; i < kBytes; i++)
            crc = table[(crc ^ p[i]) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

/* An open-addressing table: multiply, shift, compare, unpredictable branches. */
u32 row_hash(void) {
    const u32 kSlots = 1u << 16, kKeys = 40000;
    u32 sum = 0;
    for (u32 pass = 0; pass < 40; pass++) {
        for (u32 i = 0; i < kSlots; i++)
            buffer[i] = 0;
        u32 seed = 77 + pass;
        for (u32 k = 0; k < kKeys; k++) {
            u32 key = next_random(&seed);
            u32 slot = (key * 2654435761u) >> 16;
            while (buffer[slot] && buffer[slot] != key)
                slot = (slot + 1) & (kSlots - 1);
            buffer[slot] = key;
        }
        seed = 77 + pass;
        for (u32 k = 0; k < kKeys; k++) {
            u32 key = next_random(&seed) ^ (k & 1); /* half of the searches miss */
            u32 slot = (key * 2654435761u) >> 16;
            while (buffer[slot] && buffer[slot] != key)
                slot = (slot + 1) & (kSlots - 1);
            sum = sum * 31 + slot + (buffer[slot] == key);
        }
    }
    return sum;
}

/* Quicksort through a comparison function, as qsort() callers write it. */
static int compare_words(const void* a, const void* b) {
    u32 x = *(const u32*)a, y = *(const u32*)b;
    return x < y ? -1 : x > y;
}
static void sort_words(u32* first, u32* last, int (*compare)(const void*, const void*)) {
    while (last - first > 12) {
        u32 pivot = first[(last - first) / 2];
        u32 *i = first, *j = last - 1;
        for (;;) {
            while (compare(i, &pivot) < 0)
                i++;
            while (compare(j, &pivot) > 0)
                j--;
            if (i >= j)
                break;
            u32 t = *i;
            *i++ = *j;
            *j-- = t;
        }
        if (i - first < last - i) {
            sort_words(first, i, compare);
            first = i;
        } else {
            sort_words(i, last, compare);
            last = i;
        }
    }
    for (u32* i = first + 1; i < last; i++)
        for (u32* j = i; j > first && compare(j - 1, j) > 0; j--) {
            u32 t = j[0];
            j[0] = j[-1];
            j[-1] = t;
        }
}
u32 row_sort(void) {
    int (*volatile compare)(const void*, const void*) = compare_words; /* an indirect call, as in a library */
    const u32 kWords = 500000;
    fill(kWords, 0xbeef);
    sort_words(buffer, buffer + kWords, compare);
    u32 sum = 0;
    for (u32 i = 0; i < kWords; i++) {
        if (i && buffer[i - 1] > buffer[i])
            fail("sort");
        sum = sum * 33 + buffer[i];
    }
    return sum;
}

/* Call and return and little else. The attributes keep the compiler from unrolling the recursion away. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls", "no-inline"))) static u32 fib(u32 n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
u32 row_fib(void) { return fib(36); }

/* A bytecode interpreter around a switch: one indirect jump per operation, many targets. */
enum { kPush, kAdd, kXor, kShift, kDup, kSwap, kJumpNotZero, kDecrement, kLoad, kStore, kHalt };
u32 row_interpreter(void) {
    static const u8 kProgram[] = {
        kPush,  7, kStore,       1,                                                 /* r1 = 7 */
        kLoad,  1, kDup,         kShift, 5,     kXor, kPush,  13, kAdd,  kStore, 1, /* 4: loop body */
        kLoad,  2, kPush,        3,      kSwap, kXor, kStore, 2,  kLoad, 0,      kDecrement, kDup,
        kStore, 0, kJumpNotZero, 4,      kHalt};
    u32 stack[16], registers[4] = {3000000, 0, 1, 0};
    u32 sp = 0, pc = 0;
    for (;;) {
        switch (kProgram[pc++]) {
        case kPush:
            stack[sp++ & 15] = kProgram[pc++];
            break;
        case kAdd:
            sp--;
            stack[(sp - 1) & 15] += stack[sp & 15];
            break;
        case kXor:
            sp--;
            stack[(sp - 1) & 15] ^= stack[sp & 15];
            break;
        case kShift:
            stack[(sp - 1) & 15] = (stack[(sp - 1) & 15] << kProgram[pc]) | (stack[(sp - 1) & 15] >> 27);
            pc++;
            break;
        case kDup:
            stack[sp & 15] = stack[(sp - 1) & 15];
            sp++;
            break;
        case kSwap: {
            u32 t = stack[(sp - 1) & 15];
            stack[(sp - 1) & 15] = stack[(sp - 2) & 15];
            stack[(sp - 2) & 15] = t;
            break;
        }
        case kJumpNotZero:
            sp--;
            pc = stack[sp & 15] ? kProgram[pc] : pc + 1;
            break;
        case kDecrement:
            stack[(sp - 1) & 15]--;
            break;
        case kLoad:
            stack[sp++ & 15] = registers[kProgram[pc++] & 3];
            break;
        case kStore:
            sp--;
            registers[kProgram[pc++] & 3] = stack[sp & 15];
            break;
        default:
            return registers[1] ^ registers[2];
        }
    }
}

/* Eratosthenes: strided byte stores and a predictable loop. */
u32 row_sieve(void) {
    const u32 kLimit = 1u << 20;
    u8* composite = (u8*)buffer;
    u32 count = 0;
    for (int pass = 0; pass < 40; pass++) {
        for (u32 i = 0; i < kLimit / 4; i++)
            buffer[i] = 0;
        for (u32 i = 2; i * i < kLimit; i++)
            if (!composite[i])
                for (u32 j = i * i; j < kLimit; j += i)
                    composite[j] = 1;
        for (u32 i = 2; i < kLimit; i++)
            count += !composite[i];
    }
    return count;
}

/* Pointer chasing: pure load latency, in the first-level cache and far beyond it. The second counts as a
 * memory row: it measures which pages the kernel that runs it happened to hand out, and varies threefold from
 * run to run on either side. */
struct node {
    struct node* next;
    u32 value;
};
static u32 chase(u32 bytes, u32 steps) {
    u32 count = bytes / sizeof(struct node);
    struct node* nodes = map_memory(bytes);
    u32 seed = 99;
    /* Sattolo's shuffle: one cycle through every node. */
    for (u32 i = 0; i < count; i++)
        nodes[i].value = i;
    for (u32 i = count - 1; i > 0; i--) {
        u32 j = next_random(&seed) % i;
        u32 t = nodes[i].value;
        nodes[i].value = nodes[j].value;
        nodes[j].value = t;
    }
    for (u32 i = 0; i < count; i++)
        nodes[i].next = &nodes[nodes[i].value];
    const struct node* at = nodes;
    u32 sum = 0;
    for (u32 i = 0; i < steps; i++) {
        at = at->next;
        sum += at->value;
    }
    unmap_memory(nodes, bytes);
    return sum;
}
u32 row_chase_16k(void) { return chase(16u << 10, 60000000); }
u32 row_chase_8m(void) { return chase(8u << 20, 1000000); }
