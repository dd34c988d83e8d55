/* pipeline/operations.h - the operations of an effect (redis/effects.h) that change state and memory.
 *
 * Why:      the worker makes them from a decision, `verdict state rebuild` from its audit record; both must be the same.
 * Thread:   any; pure.
 */
#ifndef VD_PIPELINE_OPERATIONS_H
#define VD_PIPELINE_OPERATIONS_H

#include "base/span.h"
#include "json/json.h"

/* after: the state's tree; at_ms: the decision's clock; previous: the decision that wrote it last, "" for none. NULL when memory is out. */
cJSON *vd_state_operation(const char *policy_id, struct vd_span key, const cJSON *after,
                          int64_t ttl_s, int64_t at_ms, struct vd_span previous);
/* note: as policy/memory.h stores it. */
cJSON *vd_note_operation(const char *policy_id, struct vd_span key, const cJSON *note,
                         int64_t max_notes, int64_t ttl_s);

#endif
