// Preloaded, makes this process's host a busy one: one in SLOW_ONE_IN readings of the steady clock takes 9
// ms, as when the scheduler takes the processor away there. Beside busy loops that happens at random; here it
// happens often.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef int (*ClockGettime)(clockid_t, struct timespec*);

static ClockGettime real;
static unsigned long one_in;
static atomic_ulong readings;

__attribute__((constructor)) static void prepare(void) {
    real = (ClockGettime)dlsym(RTLD_NEXT, "clock_gettime");
    const char* rate = getenv("SLOW_ONE_IN");
    one_in = rate != NULL ? strtoul(rate, NULL, 10) : 0;
}

// Looks random, and is another choice in every process.
static int is_slow(void) {
    unsigned long n =
        (atomic_fetch_add(&readings, 1) + ((unsigned long)getpid() << 32)) * 0x9E3779B97F4A7C15ul;
    n = (n ^ n >> 32) * 0xD6E8FEB86659FD93ul;
    return one_in != 0 && (n ^ n >> 32) % one_in == 0;
}

int clock_gettime(clockid_t clock, struct timespec* time) {
    if (real == NULL) // somebody's constructor came first
        prepare();
    if (clock == CLOCK_MONOTONIC && is_slow())
        nanosleep(&(struct timespec){0, 9000000}, NULL);
    return real(clock, time);
}
