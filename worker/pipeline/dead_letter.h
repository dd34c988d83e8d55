/* pipeline/dead_letter.h - a record that is given up, with its bytes and a reason a person can act on.
 *
 * Source:   design/records.md "Dead letter"; schemas/dead-letter.v1.json describes the headers.
 * Shapes:   value and headers are the original's, unchanged; headers named verdict-* are ours. One that does not fit the topic keeps
 *           a prefix of the value, and says so: verdict-truncated, verdict-value-sha256, verdict-value-bytes.
 * Thread:   loop thread; pure.
 */
#ifndef VD_PIPELINE_DEAD_LETTER_H
#define VD_PIPELINE_DEAD_LETTER_H

#include "base/err.h"
#include "kafka/kafka.h"

/* Where a record was given up; also the metric's label. */
enum vd_stage {
    VD_STAGE_DECODE,
    VD_STAGE_ROUTE,
    VD_STAGE_VALIDATE,
    VD_STAGE_KEY,
    VD_STAGE_CONTEXT,
    VD_STAGE_REASON,
    VD_STAGE_JUDGE,
    VD_STAGE_PUBLISH,
};
const char *vd_stage_name(enum vd_stage stage);

struct vd_dead_letter {
    const char *topic; /* where it goes */
    enum vd_stage stage;
    const char *reason;      /* one sentence */
    const char *policy_id;   /* NULL: no policy is to blame */
    const char *decision_id; /* that its decision would have had, for a redrive; NULL: unknown */
    int64_t wall_ms;
    size_t max_bytes; /* of the whole record, vd_kafka_max_record_bytes() */
};

/* NULL when memory is out. */
struct vd_output *vd_dead_letter_new(const struct vd_record *rec,
                                     const struct vd_dead_letter *letter);

#endif
