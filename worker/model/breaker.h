/* model/breaker.h - when a model is not asked at all, and how many may ask it at once.
 *
 * Why:      a dead or slow model must cost nothing, and an overloaded one must be left room.
 * Source:   circuit breaker on real traffic with half-open probes; AIMD with slow start (RFC 5681's idea).
 * Thread:   one owner; pure but for the generator. Time is given.
 *
 *   CLOSED --(failures in the window)--> OPEN --(open_ms, doubled each time)--> HALF_OPEN --(a probe succeeds)--> CLOSED
 *                                         ^________________(a probe fails)__________|
 */
#ifndef VD_MODEL_BREAKER_H
#define VD_MODEL_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "model/router.h"

#define VD_BREAKER_BUCKETS 10

struct vd_breaker {
    enum vd_breaker_state state;
    uint32_t min, percent, window_ms, open_ms; /* settings */
    struct {
        int64_t slot; /* window part that it counts */
        uint32_t good, bad;
    } buckets[VD_BREAKER_BUCKETS];
    int64_t open_until_ms;
    uint32_t reopened; /* failed probes in a row */
    bool probing;
    uint64_t opens;
};

void vd_breaker_init(struct vd_breaker *b, const struct vd_router_conf *conf);
/* May a call be sent now? Turns OPEN to HALF_OPEN when it is time. */
bool vd_breaker_allows(struct vd_breaker *b, int64_t now_ms);
/* It is being sent; true when it is the probe. */
bool vd_breaker_begin(struct vd_breaker *b);
/* How it went. True when the breaker has just opened. */
bool vd_breaker_end(struct vd_breaker *b, bool good, bool probe, int64_t now_ms,
                    struct vd_prng *prng);
/* It ended without saying anything about the model (canceled). */
void vd_breaker_forget(struct vd_breaker *b, bool probe);
/* Open at once, for a reason other than the window (quota). */
void vd_breaker_trip(struct vd_breaker *b, int64_t now_ms, int64_t for_ms);

struct vd_aimd {
    double limit;
    double threshold; /* below it each success adds one, above it one a round */
    uint32_t max;
    int64_t last_cut_ms;
};

void vd_aimd_init(struct vd_aimd *a, uint32_t max);
uint32_t vd_aimd_limit(const struct vd_aimd *a);
void vd_aimd_success(struct vd_aimd *a, uint32_t in_flight);
/* A call that began at began_ms met a rate limit or a time-out. Calls from before the last cut say nothing new. */
void vd_aimd_congestion(struct vd_aimd *a, int64_t began_ms, int64_t now_ms);

#endif
