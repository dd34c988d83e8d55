/* pipeline/decision.h - an outcome as the records that readers consume: the decision, and its audit.
 *
 * Source:   schemas/decision.v1.json, schemas/audit.v1.json; CloudEvents 1.0 binary mode; W3C Trace Context.
 * Thread:   loop thread; pure.
 * Rules:    every field of the schema is always present, null where it does not apply; ids and amounts of the event come from the
 *           event, never from the model; no event or model text in a header or topic name.
 */
#ifndef VD_PIPELINE_DECISION_H
#define VD_PIPELINE_DECISION_H

#include "base/buf.h"
#include "kafka/kafka.h"
#include "pipeline/event.h"
#include "pipeline/topics.h"
#include "policy/policy.h"
#include "reason/reason.h"

struct vd_decision {
    const char *id; /* hex */
    const struct vd_policy *policy;
    const struct vd_record *rec;
    const struct vd_event *event;
    const struct vd_outcome *outcome;
    struct vd_usage usage; /* retries included, which the reasoning does not see */
    struct vd_span key;
    bool has_round;
    int64_t round;
    int64_t now_ms;   /* wall clock when it was settled */
    int64_t total_ms; /* since the fetch */
    const char *worker;
    const char *source;
};

/* The decision as JSON text. */
enum vd_code vd_decision_write(const struct vd_decision *d, struct vd_buf *out);
/* Its Kafka record: value as above, consumed on success; topic by status and mode. NULL when memory is out. */
struct vd_output *vd_decision_output(const struct vd_decision *d,
                                     const struct vd_pipeline_topics *topics,
                                     struct vd_buf *take_value);

/* A part of the audit record: what appends it as JSON, each time the same. write NULL, or nothing appended: null. */
struct vd_audit_part {
    enum vd_code (*write)(void *arg, struct vd_buf *out);
    void *arg;
};

/* What is known beside the decision, for vd_audit_output(). */
struct vd_audit_parts {
    struct vd_audit_part reasoning; /* vd_reason_record() */
    struct vd_audit_part context;   /* values by name, redacted */
    struct vd_audit_part changes; /* of state and memory; none where the policy remembers nothing */
    int64_t clock_ms;             /* the job's pinned clock */
};

/* Parts too large for max_bytes are replaced by their SHA-256 and size, the largest first; never the changes, which Redis is rebuilt
 * from. NULL when memory is out. */
struct vd_output *vd_audit_output(const struct vd_decision *d, const struct vd_audit_parts *parts,
                                  const struct vd_pipeline_topics *topics,
                                  struct vd_span decision_json, size_t max_bytes);

#endif
