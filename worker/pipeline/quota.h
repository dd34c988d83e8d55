/* pipeline/quota.h - what all workers of a group together may ask of a model: requests, tokens, money.
 *
 * Why:      a provider's limits, and an operator's budget, hold for the whole group, however many workers there are.
 * Source:   GCRA: a bucket is one time stamp, the moment at which it would be full again. A limit of N for a period lets N pass at once
 *           and then one each period/N; Redis' clock is everybody's.
 * Thread:   loop thread.
 * Owns:     reservations until their answer. Borrows Redis, which must be freed after the router and before the quota.
 * Shapes:   one hash, PREFIXquota:MODEL, with a time stamp in microseconds for each limit. One script reserves all of a request or
 *           nothing; another one puts the real usage in place of the estimate.
 * Errors:   without Redis each worker holds itself to the same numbers, alone: so many workers, so many times the quota. Status
 *           and one log line a minute say so.
 */
#ifndef VD_PIPELINE_QUOTA_H
#define VD_PIPELINE_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/router.h"

struct vd_loop;
struct vd_redis;
struct vd_quota;

/* 0: unlimited. */
struct vd_quota_limits {
    int64_t requests_per_minute;
    int64_t tokens_per_minute; /* input and output */
    int64_t cost_microusd_per_hour;
};

struct vd_quota_model {
    const char *name; /* of the entry; borrowed */
    struct vd_quota_limits limits;
};

struct vd_quota_conf {
    const struct vd_quota_model *models; /* by router index; copied */
    size_t model_count;
    struct vd_redis *redis; /* NULL: none */
    const char *prefix;     /* borrowed */
    uint32_t timeout_ms;    /* of one script call; then this worker's own count answers */
};

enum vd_code vd_quota_new(struct vd_loop *loop, const struct vd_quota_conf *conf,
                          struct vd_quota **ret_quota, struct vd_err *err) VD_MUST_CHECK;
/* After the router and Redis were freed. NULL-safe; returns NULL. */
void *vd_quota_free(struct vd_quota *quota);
struct vd_router_quota vd_quota_hooks(struct vd_quota *quota);

struct vd_quota_status {
    const struct vd_quota_limits *limits; /* NULL: the model has none */
    bool alone;                           /* Redis does not answer: this worker counts for itself */
    uint64_t granted, refused;            /* answers, ever */
};
struct vd_quota_status vd_quota_status(const struct vd_quota *quota, size_t model);

#endif
