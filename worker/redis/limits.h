/* redis/limits.h - reservations of limits across decisions: one atomic script for all that a decision wants.
 *
 * Why:      ten thousand decisions that are right one by one can be wrong together; whoever asks first gets what is left, and nobody more.
 * Source:   design/reasoning.md "Limits across decisions"; how it is kept: limits_lua.h.
 * Thread:   loop thread.
 * Shapes:   amounts and maxima are integers from 0 to VD_LIMIT_MAX_AMOUNT. Keys, holders: any bytes; base: "limit:POLICY:NAME".
 * Rules:    a decision's reservations are *set*: all earlier ones of the same decision are gone, also when it is refused. All or nothing.
 *           Of workers that work on one decision the one of the younger group generation wins; the other is answered FENCED.
 *           The key PREFIX "epoch" says whether Redis can be trusted to know what was reserved: absent after it was emptied; 0 when
 *           the group began with it; a time when its loss was noticed: a limit is closed until its window has passed since then.
 */
#ifndef VD_REDIS_LIMITS_H
#define VD_REDIS_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "redis/client.h"

struct vd_limit_script;

enum vd_code vd_limit_script_new(struct vd_limit_script **ret_script,
                                 struct vd_err *err) VD_MUST_CHECK;
void *vd_limit_script_free(struct vd_limit_script *script); /* NULL-safe; returns NULL */

struct vd_limit_item {
    struct vd_span base;   /* without the prefix */
    struct vd_span key;    /* what it is counted by; may be empty */
    struct vd_span holder; /* whose reservation: the decision's id, or who holds across decisions */
    int64_t amount, max;
    int64_t keep_ms;   /* how long it counts */
    int64_t closed_ms; /* how long the limit is closed after Redis lost what it knew */
};

struct vd_limit_request {
    struct vd_span prefix; /* of every key */
    struct vd_span decision;
    int32_t generation;                /* of the group when the record was delivered; -1: unknown */
    bool epoch;                        /* look at the epoch */
    bool dry;                          /* only say whether it would fit */
    const struct vd_limit_item *items; /* none: whatever the decision has reserved is given back */
    size_t count;                      /* at most VD_LIMIT_MAX_ITEMS */
};

/* Scripts that a decision's reservations lead to are run as one call; read the answer with vd_limit_read(). */
enum vd_code vd_limit_reserve(struct vd_redis *redis, const struct vd_limit_script *script,
                              const struct vd_limit_request *request,
                              const struct vd_redis_options *options, vd_redis_done_fn *done,
                              void *arg, struct vd_redis_call **ret_call,
                              struct vd_err *err) VD_MUST_CHECK;

enum vd_limit_answer {
    VD_LIMIT_RESERVED,
    VD_LIMIT_EXCEEDED, /* nothing is reserved */
    VD_LIMIT_ABSENT,   /* there is no epoch: nothing was looked at */
    VD_LIMIT_FENCED,   /* a worker that got the partition later has worked on this decision */
    VD_LIMIT_AGAIN, /* many reservations have ended and are being cleared away: ask again at once */
};

struct vd_limit_used {
    int64_t used; /* by others */
    bool ok;
    int64_t closed_until_ms; /* wall clock; 0: not closed */
};

/* ret_used: one for each item, set for RESERVED and EXCEEDED. VD_E_REMOTE for an error reply, VD_E_BUG for a strange one. */
enum vd_code vd_limit_read(const struct vd_redis_reply *reply, struct vd_limit_used *ret_used,
                           size_t count, enum vd_limit_answer *ret_answer,
                           struct vd_err *err) VD_MUST_CHECK;

#endif
