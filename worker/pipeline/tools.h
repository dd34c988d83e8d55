/* pipeline/tools.h - the tool calls of one answer, carried out at once: Redis reads and GETs, each with its own end.
 *
 * Why:      reasoning speaks of requests and results, Redis and HTTP of replies and statuses; a call that fails is told to the model and
 *           stops nothing.
 * Thread:   loop thread.
 * Owns:     the answers until done returns. Borrows the requests until done.
 * Units:    milliseconds.
 * Invariants:
 *   I1 each accepted batch gets exactly one done callback, on a later turn, also on cancel.
 *   I2 done comes when the last call has ended; no call outlives its tool's timeout_ms or the deadline.
 */
#ifndef VD_PIPELINE_TOOLS_H
#define VD_PIPELINE_TOOLS_H

#include "base/metrics.h"
#include "reason/reason.h"

struct vd_loop;
struct vd_redis;
struct vd_tool_hosts;
struct vd_tools_batch;

struct vd_tools_services {
    struct vd_loop *loop;
    struct vd_redis *redis;      /* NULL: none */
    struct vd_tool_hosts *hosts; /* NULL: none is allowed */
    struct vd_metrics *metrics;
    const char *policy_id;
};

/* results: one for each request, in order; borrowed until it returns. */
typedef void vd_tools_fn(void *arg, const struct vd_tool_result *results, size_t count);

/* What a result is in the journal, and back: {"value": ..., "ms": 12} or {"failed": TEXT, "ms": 12}. Owned; NULL: out of memory. */
cJSON *vd_tools_keep(const struct vd_tool_result *result);

/* kept: for each request what vd_tools_keep() made of its result in an earlier run, or NULL: it is carried out. Borrowed during the call. */
enum vd_code vd_tools_start(const struct vd_tools_services *services,
                            const struct vd_tool_request *requests, size_t count,
                            const cJSON *const *kept, int64_t deadline_mono_ms, vd_tools_fn *done,
                            void *arg, struct vd_tools_batch **ret,
                            struct vd_err *err) VD_MUST_CHECK;
void vd_tools_cancel(struct vd_tools_batch *batch);

#endif
