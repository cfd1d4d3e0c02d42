/* SSE and SSE2 arithmetic, and moving memory in bulk. Sizes stay inside the first cache for arithmetic and
 * inside the last one for copies. */
#include "sys.h"

#include <emmintrin.h>

enum { kElements = 2048, kCopyBytes = 1 << 18 };

static float fx[kElements] __attribute__((aligned(16))), fy[kElements] __attribute__((aligned(16)));
static double dx[kElements] __attribute__((aligned(16))), dy[kElements] __attribute__((aligned(16)));
static u8 from[kCopyBytes] __attribute__((aligned(64))), to[kCopyBytes] __attribute__((aligned(64)));

u32 row_saxpy_sse(void) {
    for (int i = 0; i < kElements; i++) {
        fx[i] = (float)(i % 17) * 0.25f;
        fy[i] = (float)(i % 5);
    }
    const __m128 a = _mm_set1_ps(0.0001f);
    for (int pass = 0; pass < 200000; pass++)
        for (int i = 0; i < kElements; i += 4)
            _mm_store_ps(fy + i, _mm_add_ps(_mm_mul_ps(a, _mm_load_ps(fx + i)), _mm_load_ps(fy + i)));
    u32 sum = 0;
    for (int i = 0; i < kElements; i++) {
        union {
            float f;
            u32 w;
        } bits = {fy[i]};
        sum = sum * 31 + bits.w;
    }
    return sum;
}

u32 row_daxpy_sse2(void) {
    for (int i = 0; i < kElements; i++) {
        dx[i] = (i % 13) * 0.5;
        dy[i] = i % 7;
    }
    const __m128d a = _mm_set1_pd(0.0001);
    for (int pass = 0; pass < 100000; pass++)
        for (int i = 0; i < kElements; i += 2)
            _mm_store_pd(dy + i, _mm_add_pd(_mm_mul_pd(a, _mm_load_pd(dx + i)), _mm_load_pd(dy + i)));
    u32 sum = 0;
    for (int i = 0; i < kElements; i++) {
        union {
            double d;
            u32 w[2];
        } bits = {dy[i]};
        sum = sum * 31 + (bits.w[0] ^ bits.w[1]);
    }
    return sum;
}

static void fill_source(void) {
    u32 seed = 5;
    for (u32 i = 0; i < kCopyBytes; i++)
        from[i] = (u8)next_random(&seed);
}
static u32 sum_target(void) {
    u32 sum = 0;
    for (u32 i = 0; i < kCopyBytes; i++)
        sum = sum * 31 + to[i];
    return sum;
}

/* A library's copy loop: four 16-byte loads, four stores. */
u32 row_memcpy(void) {
    fill_source();
    for (int pass = 0; pass < 8000; pass++) {
        for (u32 i = 0; i < kCopyBytes; i += 64) {
            __m128i a = _mm_loadu_si128((const __m128i*)(from + i));
            __m128i b = _mm_loadu_si128((const __m128i*)(from + i + 16));
            __m128i c = _mm_loadu_si128((const __m128i*)(from + i + 32));
            __m128i d = _mm_loadu_si128((const __m128i*)(from + i + 48));
            _mm_storeu_si128((__m128i*)(to + i), a);
            _mm_storeu_si128((__m128i*)(to + i + 16), b);
            _mm_storeu_si128((__m128i*)(to + i + 32), c);
            _mm_storeu_si128((__m128i*)(to + i + 48), d);
        }
        __asm__ volatile("" : : : "memory");
    }
    return sum_target();
}

u32 row_rep_movsd(void) {
    fill_source();
    for (int pass = 0; pass < 8000; pass++) {
        u32 count = kCopyBytes / 4;
        void* target = to;
        const void* source = from;
        __asm__ volatile("rep movsl" : "+D"(target), "+S"(source), "+c"(count) : : "memory");
    }
    return sum_target();
}
