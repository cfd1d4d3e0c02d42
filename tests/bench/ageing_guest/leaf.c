/* A small program of many pages of code, each of which runs; it exits with the low bits of its seed. No C
 * library: see ../guest_kit.py for the flags. The seed is an instruction's constant. */
#define FUNCTION(n)                                                                                          \
    __attribute__((noinline, aligned(512))) static unsigned step_##n(unsigned x) {                           \
        for (int i = 0; i < 20; i++)                                                                         \
            x = x * 1664525u + n;                                                                            \
        return x;                                                                                            \
    }
#define EIGHT(f, n) f(n##0) f(n##1) f(n##2) f(n##3) f(n##4) f(n##5) f(n##6) f(n##7)
#define ALL(f) EIGHT(f, 1) EIGHT(f, 2) EIGHT(f, 3) EIGHT(f, 4) EIGHT(f, 5) EIGHT(f, 6) EIGHT(f, 7) EIGHT(f, 8)
ALL(FUNCTION)

void _start(void) {
    unsigned seed, sum = 0;
    __asm__ volatile("mov $0xA6E1A6E1, %0" : "=r"(seed));
#define CALL(n) sum += step_##n(seed);
    ALL(CALL)
    __asm__ volatile("" : : "r"(sum));
    for (;;)
        __asm__ volatile("int $0x80" : : "a"(1), "b"(seed & 63));
}
