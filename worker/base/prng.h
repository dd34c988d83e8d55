/* base/prng.h - seeded pseudo-random numbers: jitter, simulated latencies, property tests.
 *
 * Why:      a run that can be repeated from its seed; rand(3) is banned.
 * Source:   splitmix64 (Steele, Lea, Flood 2014). Not for secrets.
 * Thread:   one owner.
 */
#ifndef VD_BASE_PRNG_H
#define VD_BASE_PRNG_H

#include <stdint.h>

struct vd_prng {
    uint64_t state;
};

void vd_prng_init(struct vd_prng *prng, uint64_t seed); /* 0: a seed from the system */
uint64_t vd_prng_u64(struct vd_prng *prng);
uint64_t vd_prng_below(struct vd_prng *prng, uint64_t bound); /* 0 when bound is 0 */
double vd_prng_unit(struct vd_prng *prng);                    /* [0,1) */
double vd_prng_normal(struct vd_prng *prng);                  /* mean 0, deviation 1 */

#endif
