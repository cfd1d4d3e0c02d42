/* The system interface of the benchmark: raw i386 system calls, no C library. The same binary runs as an
 * ordinary 32-bit process on the host and as /init of a guest, so that every side executes identical
 * user-mode instructions and the only difference measured is who carries them out. */
#ifndef ENCORE_BENCH_SYS_H
#define ENCORE_BENCH_SYS_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

enum {
    kSysExit = 1,
    kSysFork = 2,
    kSysRead = 3,
    kSysWrite = 4,
    kSysOpen = 5,
    kSysGetpid = 20,
    kSysPipe = 42,
    kSysReboot = 88,
    kSysMunmap = 91,
    kSysWait4 = 114,
    kSysPause = 29,
    kSysMmap2 = 192,
    kSysGetppid = 64,
    kSysSchedYield = 158,
    kSysSchedSetaffinity = 241,
    kSysClockGettime64 = 403
};

static inline int sys5(int number, long a, long b, long c, long d, long e) {
    int result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory");
    return result;
}
static inline int sys3(int number, long a, long b, long c) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
static inline int sys0(int number) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number) : "memory");
    return result;
}

/* Anonymous private memory; ends the program if there is none. */
void* map_memory(u32 bytes);
void unmap_memory(void* memory, u32 bytes);
/* Monotonic time in nanoseconds. */
u64 now_ns(void);
/* Prints a message and ends the program. */
void fail(const char* what);
/* __kernel_vsyscall of the vDSO (sysenter where the processor has it), or 0. */
extern u32 vsyscall_entry;

/* xorshift32: the data of every row is generated, never read from anywhere. */
static inline u32 next_random(u32* state) {
    u32 x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* One unit of work of each row: returns a checksum that depends on every operation done. */
u32 row_crc32(void);
u32 row_hash(void);
u32 row_sort(void);
u32 row_fib(void);
u32 row_interpreter(void);
u32 row_sieve(void);
u32 row_chase_16k(void);
u32 row_chase_8m(void);
u32 row_nbody_x87(void);
u32 row_saxpy_sse(void);
u32 row_daxpy_sse2(void);
u32 row_memcpy(void);
u32 row_rep_movsd(void);
u32 row_syscall_int80(void);
u32 row_syscall_vdso(void);
u32 row_context_switch(void);
u32 row_fork_exit_wait(void);
u32 row_page_touch(void);

#endif
