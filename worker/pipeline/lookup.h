/* pipeline/lookup.h - the Redis reads of one job: one round trip, one callback, values as JSON.
 *
 * Why:      keeps Redis replies out of the job; the job sees plain trees, or why there are none.
 * Thread:   loop thread.
 * Invariants:
 *   I1 each accepted lookup gets exactly one done callback, on a later turn, also on cancel.
 */
#ifndef VD_PIPELINE_LOOKUP_H
#define VD_PIPELINE_LOOKUP_H

#include <stdbool.h>

#include "base/err.h"
#include "base/span.h"
#include "json/json.h"

struct vd_redis;
struct vd_lookup;

#define VD_LOOKUP_MAX 20 /* 16 contexts, state, memory, journal */

struct vd_read {
    const struct vd_span *argv; /* borrowed until done */
    size_t argc;
    size_t max_bytes; /* 0: VD_REDIS_REPLY_MAX_BYTES */
    bool optional;    /* an unusable reply reads as absent */
};

struct vd_lookup_result {
    struct vd_err
        err; /* VD_OK: values are set. VD_E_REMOTE and VD_E_TIMEOUT: Redis; anything else: a reply is unusable */
    size_t failed;  /* index of the unusable reply */
    cJSON **values; /* owned by the callback once taken: set to NULL what you keep; NULL: absent */
    int64_t wait_ms;
    bool canceled;
};

typedef void vd_lookup_fn(void *arg, struct vd_lookup_result *result);

enum vd_code vd_lookup_start(struct vd_redis *redis, const struct vd_read *reads, size_t count,
                             uint32_t timeout_ms, vd_lookup_fn *done, void *arg,
                             struct vd_lookup **ret, struct vd_err *err) VD_MUST_CHECK;
void vd_lookup_cancel(struct vd_lookup *lookup);

#endif
