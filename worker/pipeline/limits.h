/* pipeline/limits.h - limits across decisions as jobs ask for them: reservations in Redis, and whether Redis can be trusted.
 *
 * Why:      a job wants one answer (reserved, exceeded, not known); scripts, retries of scripts and the epoch are nobody else's matter.
 * Source:   design/reasoning.md "Limits across decisions"; redis/limits.h.
 * Thread:   loop thread.
 * Owns:     its calls. Borrows Redis, which is freed before it.
 * Invariants:
 *   I1 each accepted call gets exactly one done callback, on a later turn, also on cancel.
 *
 * The epoch. A Redis that was emptied does not know what was reserved. The key PREFIX "epoch" tells: the group's first worker ever
 * writes it, as trusted; who finds it gone for EPOCH_GRACE_MS writes the time instead, and each limit is closed (counts as exceeded)
 * until a reservation made before that time could not count any more. The grace is for the first start of all, when the worker
 * that knows that it is the first one, and the others, come to Redis in any order. Until it is written nothing is reserved.
 * An operator who knows better opens the limits with SET PREFIX "epoch" 0.
 */
#ifndef VD_PIPELINE_LIMITS_H
#define VD_PIPELINE_LIMITS_H

#include "base/metrics.h"
#include "policy/set.h"
#include "redis/limits.h"

struct vd_limiter;
struct vd_limiter_call;
struct vd_loop;

struct vd_limiter_conf {
    struct vd_loop *loop;
    struct vd_redis *redis;
    const char *prefix; /* borrowed */
    struct vd_metrics *metrics;
    uint32_t timeout_ms; /* of calls that nobody waits for */
};

enum vd_code vd_limiter_new(const struct vd_limiter_conf *conf, struct vd_limiter **ret_limiter,
                            struct vd_err *err) VD_MUST_CHECK;
void *vd_limiter_free(struct vd_limiter *limiter); /* NULL-safe; returns NULL */

/* These policies are in force: is there a limit among them, and how long can it be closed? limiter may be NULL. */
void vd_limiter_watch(struct vd_limiter *limiter, const struct vd_policy_set *set);
/* The group has committed nothing anywhere: what Redis does not know was never reserved. limiter may be NULL. */
void vd_limiter_first_start(struct vd_limiter *limiter);

/* -- reservations ------------------------------------------------------------------------------------------------- */

struct vd_limiter_result {
    bool canceled;
    bool known;                       /* false: Redis, or the epoch, is away; try again */
    bool ok;                          /* all of it is reserved */
    const struct vd_limit_used *used; /* of each item; known only. Borrowed until done returns */
    int64_t wait_ms;
};
typedef void vd_limiter_fn(void *arg, const struct vd_limiter_result *result);

/* Spans of request are borrowed until done; its prefix is filled in here. */
enum vd_code vd_limiter_reserve(struct vd_limiter *limiter, const struct vd_limit_request *request,
                                uint32_t timeout_ms, vd_limiter_fn *done, void *arg,
                                struct vd_limiter_call **ret_call,
                                struct vd_err *err) VD_MUST_CHECK;
void vd_limiter_cancel(struct vd_limiter_call *call);
/* Set what nobody waits for: request->count is 0 (whatever the decision has is given back) or 1. Everything is copied. What does not
 * reach Redis ends with its window. */
void vd_limiter_set(struct vd_limiter *limiter, const struct vd_limit_request *request);

/* -- what is known ------------------------------------------------------------------------------------------------- */

enum vd_limiter_state { VD_LIMITER_UNUSED, VD_LIMITER_UNKNOWN, VD_LIMITER_OPEN, VD_LIMITER_CLOSED };

struct vd_limiter_status {
    enum vd_limiter_state state;
    int64_t since_ms; /* wall clock; CLOSED: when it was noticed that Redis had lost everything */
    int64_t until_ms; /* CLOSED: when the last limit is open again */
};
struct vd_limiter_status vd_limiter_status(const struct vd_limiter *limiter); /* NULL: UNUSED */
const char *vd_limiter_state_name(enum vd_limiter_state state);

#endif
