/* ops/status.h - what /status says and which gauges follow it: why does nothing move?
 *
 * Thread:   loop thread.
 */
#ifndef VD_OPS_STATUS_H
#define VD_OPS_STATUS_H

#include "base/buf.h"
#include "base/metrics.h"
#include "kafka/kafka.h"
#include "pipeline/pipeline.h"
#include "policy/set.h"

struct vd_group_keys;
struct vd_journal;
struct vd_limiter;
struct vd_quota;
struct vd_redis;
struct vd_router;

struct vd_status_sources {
    const char *worker;
    const struct vd_kafka *kafka;
    const struct vd_pipeline *pipeline;
    const struct vd_redis *redis; /* NULL: none configured */
    const struct vd_group_keys *keys;
    const struct vd_journal *journal; /* NULL: none is kept */
    const struct vd_limiter *limiter; /* NULL: no Redis */
    const struct vd_quota *quota;     /* with a router */
    const struct vd_router *router;   /* NULL: none configured */
    const struct vd_policy_set *policies;
    struct vd_metrics *metrics;
    size_t inflight_limit;
    bool draining;
    int64_t started_mono_ms;
};

/* The JSON of /status; appended to out. */
enum vd_code vd_status_write(const struct vd_status_sources *s, struct vd_buf *out);
/* Set the gauges that follow from the same facts. */
void vd_status_gauges(const struct vd_status_sources *s);
/* In one sentence why nothing moves; "" when nothing is wrong. */
void vd_status_reason(const struct vd_status_sources *s, char *out, size_t size);

#endif
