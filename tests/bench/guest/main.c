/* Runs the rows and prints what each took. As process 1 of a guest it powers the machine off at the end; as
 * an ordinary process it exits.
 *
 * Arguments: reps=N (how often each row's unit of work runs; the fastest is reported), only=A,B (groups:
 * integer, fp, memory, kernel; or names of rows), idle (after the rows sleep instead of ending).
 *
 * Output, one line a row:  ROW <group> <name> <seconds of the fastest unit> <checksum>
 * CLOCK lines give the monotonic time at start and end, which the driver holds against its own clock: a guest
 * whose clock runs slow would otherwise look fast. */
#include "sys.h"

struct row {
    const char* group;
    const char* name;
    u32 (*run)(void);
};

static const struct row kRows[] = {
    {"integer", "crc32", row_crc32},
    {"integer", "hash", row_hash},
    {"integer", "sort", row_sort},
    {"integer", "fib", row_fib},
    {"integer", "interpreter", row_interpreter},
    {"integer", "sieve", row_sieve},
    {"integer", "chase-16k", row_chase_16k},
    {"fp", "nbody-x87", row_nbody_x87},
    {"fp", "saxpy-sse", row_saxpy_sse},
    {"fp", "daxpy-sse2", row_daxpy_sse2},
    {"memory", "chase-8m", row_chase_8m},
    {"memory", "memcpy", row_memcpy},
    {"memory", "rep-movsd", row_rep_movsd},
    {"kernel", "syscall-int80", row_syscall_int80},
    {"kernel", "syscall-vdso", row_syscall_vdso},
    {"kernel", "context-switch", row_context_switch},
    {"kernel", "fork-exit-wait", row_fork_exit_wait},
    {"kernel", "page-touch", row_page_touch},
};

u32 vsyscall_entry;

/* The compiler calls these for aggregate copies even without a C library. */
void* memcpy(void* to, const void* from, u32 n) {
    void* result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return result;
}
void* memset(void* to, int value, u32 n) {
    void* result = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return result;
}

static u32 length(const char* s) {
    u32 n = 0;
    while (s[n])
        n++;
    return n;
}

struct line {
    char text[160];
    u32 size;
};
static void put(struct line* line, const char* s) {
    while (*s && line->size < sizeof line->text)
        line->text[line->size++] = *s++;
}
static void put_number(struct line* line, u64 value, u32 base, u32 digits) {
    char reversed[24];
    u32 n = 0;
    do {
        reversed[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while ((value || n < digits) && n < sizeof reversed);
    while (n && line->size < sizeof line->text)
        line->text[line->size++] = reversed[--n];
}
static void put_seconds(struct line* line, u64 ns) {
    put_number(line, ns / 1000000000, 10, 1);
    put(line, ".");
    put_number(line, ns % 1000000000, 10, 9);
}
static void flush(struct line* line) {
    put(line, "\n");
    sys3(kSysWrite, 1, (long)line->text, line->size);
    line->size = 0;
}

u64 now_ns(void) {
    struct {
        long long seconds, nanoseconds;
    } t;
    const int kMonotonic = 1;
    if (sys3(kSysClockGettime64, kMonotonic, (long)&t, 0) != 0)
        fail("clock_gettime64");
    return (u64)t.seconds * 1000000000u + (u64)t.nanoseconds;
}

static void power_off(void) {
    /* reboot(2): the two magic numbers, then RB_POWER_OFF. Refused for an ordinary process without the
     * capability; only process 1 gets here. */
    sys5(kSysReboot, (long)0xfee1dead, 672274793, 0x4321fedc, 0, 0);
}

static void finish(int code) {
    if (sys0(kSysGetpid) == 1)
        power_off();
    for (;;)
        sys3(kSysExit, code, 0, 0);
}

void fail(const char* what) {
    struct line line = {{0}, 0};
    put(&line, "FAILED ");
    put(&line, what);
    flush(&line);
    finish(1);
}

void* map_memory(u32 bytes) {
    const int kProtReadWrite = 3, kPrivateAnonymous = 0x22;
    long result;
    /* mmap2 has six arguments; the sixth travels in EBP, which the compiler will not give us. */
    __asm__ volatile("push %%ebp\n\txor %%ebp, %%ebp\n\tint $0x80\n\tpop %%ebp"
                     : "=a"(result)
                     : "a"(kSysMmap2), "b"(0), "c"(bytes), "d"(kProtReadWrite), "S"(kPrivateAnonymous),
                       "D"(-1)
                     : "memory");
    if (result < 0 && result > -4096)
        fail("mmap");
    return (void*)result;
}
void unmap_memory(void* memory, u32 bytes) {
    if (sys3(kSysMunmap, (long)memory, (long)bytes, 0) != 0)
        fail("munmap");
}

/* Is `word` an element of the comma-separated `list`? */
static int listed(const char* list, const char* word) {
    u32 n = length(word);
    while (*list) {
        u32 i = 0;
        while (i < n && list[i] == word[i])
            i++;
        if (i == n && (list[i] == ',' || list[i] == 0))
            return 1;
        while (*list && *list != ',')
            list++;
        if (*list == ',')
            list++;
    }
    return 0;
}
static const char* argument(const char* given, const char* key) {
    while (*key && *given == *key) {
        given++;
        key++;
    }
    return *key ? 0 : given;
}

static void clock_mark(const char* when) {
    struct line line = {{0}, 0};
    put(&line, "CLOCK ");
    put(&line, when);
    put(&line, " ");
    put_seconds(&line, now_ns());
    flush(&line);
}

void run(u32* stack) {
    u32 argc = stack[0];
    char** argv = (char**)(stack + 1);
    u32* auxv = stack + 1 + argc + 1;
    const char* only = 0;
    u32 reps = 3;
    int idle = 0;

    while (*auxv)
        auxv++; /* past the environment */
    auxv++;
    const u32 kAtSysinfo = 32;
    for (; auxv[0]; auxv += 2)
        if (auxv[0] == kAtSysinfo)
            vsyscall_entry = auxv[1];

    for (u32 i = 1; i < argc; i++) {
        const char* value;
        if ((value = argument(argv[i], "reps="))) {
            reps = 0;
            while (*value >= '0' && *value <= '9')
                reps = reps * 10 + (u32)(*value++ - '0');
        } else if ((value = argument(argv[i], "only=")))
            only = value;
        else if (argument(argv[i], "idle"))
            idle = 1;
    }
    if (reps == 0)
        reps = 1;

    clock_mark("start");
    for (u32 i = 0; i < sizeof kRows / sizeof kRows[0]; i++) {
        const struct row* row = &kRows[i];
        if (only && !listed(only, row->group) && !listed(only, row->name))
            continue;
        u64 best = ~0ull;
        u32 sum = 0;
        for (u32 r = 0; r < reps; r++) {
            u64 begin = now_ns();
            u32 this_sum = row->run();
            u64 took = now_ns() - begin;
            if (r > 0 && this_sum != sum)
                fail("checksum changed between repetitions");
            sum = this_sum;
            if (took < best)
                best = took;
        }
        struct line line = {{0}, 0};
        put(&line, "ROW ");
        put(&line, row->group);
        put(&line, " ");
        put(&line, row->name);
        put(&line, " ");
        put_seconds(&line, best);
        put(&line, " ");
        put_number(&line, sum, 16, 8);
        flush(&line);
    }
    clock_mark("end");
    if (idle) {
        struct line line = {{0}, 0};
        put(&line, "IDLE");
        flush(&line);
        for (;;)
            sys0(kSysPause);
    }
    finish(0);
}

/* The i386 ABI hands over argc, argv and the rest on the stack; the compiler wants it 16-byte aligned at
 * calls. */
__asm__(".globl _start\n"
        "_start:\n\t"
        "xor %ebp, %ebp\n\t"
        "mov %esp, %eax\n\t"
        "and $-16, %esp\n\t"
        "sub $12, %esp\n\t"
        "push %eax\n\t"
        "call run\n\t"
        "hlt\n");
