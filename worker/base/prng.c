/* base/prng.c - see prng.h. */
#include "base/prng.h"

#include <math.h>
#include <sys/random.h>

#include "base/clock.h"

void vd_prng_init(struct vd_prng *prng, uint64_t seed)
{
    if (seed == 0 && getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint64_t)vd_mono_us() ^ (uint64_t)vd_wall_ms() << 20;
    prng->state = seed;
}

uint64_t vd_prng_u64(struct vd_prng *prng)
{
    uint64_t z = (prng->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The bias of the remainder is below 2^-32 for every bound used here. */
uint64_t vd_prng_below(struct vd_prng *prng, uint64_t bound)
{
    return bound == 0 ? 0 : vd_prng_u64(prng) % bound;
}

double vd_prng_unit(struct vd_prng *prng)
{
    return (double)(vd_prng_u64(prng) >> 11) * 0x1.0p-53;
}

double vd_prng_normal(struct vd_prng *prng)
{
    double u = 1.0 - vd_prng_unit(prng); /* (0,1]: its logarithm is finite */
    double v = vd_prng_unit(prng);

    return sqrt(-2.0 * log(u)) * cos(2.0 * acos(-1.0) * v);
}
