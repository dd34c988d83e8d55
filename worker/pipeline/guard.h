/* pipeline/guard.h - too many fallbacks: stop taking events rather than run the business on them.
 *
 * Why:      one fallback keeps a promise; a morning of nothing but fallbacks is an outage that nobody noticed.
 * Source:   design/reasoning.md "Providers": max_fallback_ratio.
 * Thread:   one owner at a time; no I/O, no clock of its own.
 * Units:    milliseconds, monotonic; the caller's clock.
 *
 *            more than max_ratio of at least min_outcomes in the window
 *   RUNNING ----------------------------------------------------------> PAUSED
 *      ^                                                                  |  every probe_ms a few events pass
 *      +---- of the outcomes of one round of probes, no more than max_ratio are fallbacks; the window begins anew
 *
 * Only outcomes of events fetched after the pause began count as probes: those in flight say nothing new.
 */
#ifndef VD_PIPELINE_GUARD_H
#define VD_PIPELINE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VD_GUARD_BUCKETS 30 /* of the window: it moves on in steps of a thirtieth */
#define VD_GUARD_PROBES  3  /* events of one round: one may be at fault itself */

struct vd_guard_conf {
    double max_ratio; /* 1: never pause */
    uint64_t min_outcomes;
    int64_t window_ms;
    int64_t probe_ms;
};

struct vd_guard {
    struct vd_guard_conf conf;
    struct {
        int64_t number; /* of the step of time that it counts */
        uint64_t outcomes, fallbacks;
    } buckets[VD_GUARD_BUCKETS];
    bool paused;
    int64_t paused_since_ms;
    double paused_at; /* ratio */
    int64_t next_round_ms;
    size_t probes_left; /* of this round */
    uint64_t round_outcomes, round_fallbacks;
    uint64_t pauses; /* ever */
};

void vd_guard_init(struct vd_guard *g, const struct vd_guard_conf *conf);
/* An event that was fetched then has its outcome. True: it is paused now and was not, or the other way round. */
bool vd_guard_outcome(struct vd_guard *g, int64_t now_ms, int64_t fetched_ms, bool fallback);
/* How many of room events may be taken now. */
size_t vd_guard_room(struct vd_guard *g, int64_t now_ms, size_t room);
/* One was, and it will have an outcome. */
void vd_guard_took(struct vd_guard *g);
/* Fallbacks among the outcomes of the window; 0 without any. */
double vd_guard_ratio(const struct vd_guard *g, int64_t now_ms, uint64_t *ret_outcomes);

#endif
