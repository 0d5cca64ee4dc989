/* xoshiro256** of Blackman and Vigna, seeded by splitmix64; normal numbers by the polar method of Marsaglia. */
#include "clib.h"

#include <math.h>

static uint64_t state[4] = {1, 2, 3, 4};
static double spare;
static int have_spare;

static uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static uint64_t next(void)
{
    uint64_t result = rotate(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;

    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

void clib_random_seed(uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t mixed = seed += 0x9E3779B97F4A7C15u;

        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
        state[i] = mixed ^ mixed >> 31;
    }
    have_spare = 0;
}

double clib_random_uniform(void)
{
    return (double)(next() >> 11) * 0x1.0p-53;
}

double clib_random_normal(void)
{
    double x, y, square, scale;

    if (have_spare) {
        have_spare = 0;
        return spare;
    }
    do {
        x = 2 * clib_random_uniform() - 1;
        y = 2 * clib_random_uniform() - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    scale = sqrt(-2 * log(square) / square);
    spare = y * scale;
    have_spare = 1;
    return x * scale;
}
