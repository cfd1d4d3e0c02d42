/* The x87 row: planets under gravity, compiled for the x87 (-mfpmath=387 -mno-sse), where every operation
 * goes through the register stack and sqrt is FSQRT. */
#include "sys.h"

struct body {
    double x, y, z, vx, vy, vz, mass;
};

static void advance(struct body* bodies, int count, double dt) {
    for (int i = 0; i < count; i++) {
        struct body* a = &bodies[i];
        for (int j = i + 1; j < count; j++) {
            struct body* b = &bodies[j];
            double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
            double square = dx * dx + dy * dy + dz * dz;
            double magnitude = dt / (square * __builtin_sqrt(square));
            a->vx -= dx * b->mass * magnitude;
            a->vy -= dy * b->mass * magnitude;
            a->vz -= dz * b->mass * magnitude;
            b->vx += dx * a->mass * magnitude;
            b->vy += dy * a->mass * magnitude;
            b->vz += dz * a->mass * magnitude;
        }
    }
    for (int i = 0; i < count; i++) {
        bodies[i].x += dt * bodies[i].vx;
        bodies[i].y += dt * bodies[i].vy;
        bodies[i].z += dt * bodies[i].vz;
    }
}

u32 row_nbody_x87(void) {
    struct body bodies[5] = {{0, 0, 0, 0, 0, 0, 40},
                             {5, -1, -0.1, 0.6, 2.8, -0.02, 0.04},
                             {8, 4, -0.4, -1.0, 1.8, 0.008, 0.01},
                             {13, -15, -0.2, 1.1, 0.9, -0.01, 0.002},
                             {15, -26, 0.2, 1.0, 0.6, -0.03, 0.002}};
    for (int step = 0; step < 500000; step++)
        advance(bodies, 5, 0.001);
    union {
        double d;
        u32 w[2];
    } bits = {bodies[0].x + bodies[1].y + bodies[4].z};
    return bits.w[0] ^ bits.w[1];
}
