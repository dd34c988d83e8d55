/* reason/changes.h - what a decision changes in its policy's state and memory.
 *
 * Why:      computed the same way by the worker and by `verdict test`; the worker writes it once the decision is committed
 *           (pipeline/effects.h).
 * Thread:   one owner at a time.
 * Rules:    nothing changes where state and memory could not be read. Values that the policy keeps from the audit are left out of
 *           texts: Redis is rebuilt from there.
 */
#ifndef VD_REASON_CHANGES_H
#define VD_REASON_CHANGES_H

#include "base/err.h"
#include "json/json.h"
#include "reason/reason.h"

struct vd_changes {
    const cJSON *
        before; /* the state as it was read; borrowed from the facts. NULL: no state, or not read */
    cJSON *after;  /* owned; NULL with before */
    cJSON *note;   /* as it is stored (policy/memory.h), owned; NULL: none */
    cJSON *errors; /* array of {"field", "error"}, owned; NULL: nothing was computed */
};

/* DONE only. decision_id goes into the note. */
enum vd_code vd_reason_changes(struct vd_reason *reason, struct vd_span decision_id,
                               struct vd_changes *ret, struct vd_err *err) VD_MUST_CHECK;
void vd_changes_fini(struct vd_changes *changes); /* zeroed ones are fine */

/* `round` of the decision record: the integer field of that name after the decision. False: there is none. */
bool vd_changes_round(const struct vd_changes *changes, int64_t *ret_round);

#endif
