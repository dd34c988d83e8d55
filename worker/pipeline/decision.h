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
/* Its Kafka record: value as above; topic by status and mode. NULL when memory is out. */
struct vd_output *vd_decision_output(const struct vd_decision *d,
                                     const struct vd_pipeline_topics *topics, struct vd_span value);

/* What is known beside the decision, for vd_audit_output(). Trees are borrowed. */
struct vd_audit_parts {
    const cJSON *reasoning; /* vd_reason_record() */
    const cJSON *context;   /* values by name, redacted; NULL: none was read */
    const cJSON *changes;   /* of state and memory; NULL: the policy remembers nothing */
    int64_t clock_ms;       /* the job's pinned clock */
};

/* Parts too large for max_bytes are replaced by their SHA-256 and size, the largest first; never the changes, which Redis is rebuilt
 * from. NULL when memory is out. */
struct vd_output *vd_audit_output(const struct vd_decision *d, const struct vd_audit_parts *parts,
                                  const struct vd_pipeline_topics *topics,
                                  struct vd_span decision_json, size_t max_bytes);

#endif
