/* policy/memory.h - a policy's `memory`: bounded notes about a key, each with the decision that wrote it.
 *
 * Why:      what was tried before should bear on what is done next, without a model being able to plant what later rules believe.
 * Thread:   any; pure.
 * Shapes:   a stored note is an object {"decision_id", "time_ms", "action", "status", "text"} and the declared `fields`. Two views of it:
 *             rules  {"decision_id", "time", "age_s", "action", "status"} and the fields: never the text
 *             shown  the same and "text", which the model sees as untrusted data where `show` names /memory
 *           newest first in both. A field is a number, a boolean, or a word of [A-Za-z0-9_.-], at most VD_NOTE_WORD_MAX long; anything
 *           else becomes null. So no rule ever reads prose, whoever wrote it.
 * Errors:   VD_E_INPUT: a stored note is unreadable, so that no rule takes it for absent: a dead letter at stage `context`.
 */
#ifndef VD_POLICY_MEMORY_H
#define VD_POLICY_MEMORY_H

#include "base/err.h"
#include "json/json.h"
#include "policy/facts.h"
#include "policy/policy.h"

struct vd_memory {
    cJSON *rules, *shown; /* arrays; owned: vd_memory_fini() */
};

/* raw: an array, newest first, of JSON texts (Redis) or objects, or of plain texts in cases; NULL or null: none. An object may
 * have "age_s" instead of "time_ms". At most read_last of them are taken. */
enum vd_code vd_memory_accept(const struct vd_policy_notes *notes, const cJSON *raw, int64_t now_ms,
                              struct vd_memory *ret, struct vd_err *err) VD_MUST_CHECK;
void vd_memory_fini(struct vd_memory *memory);

/* The note that this decision leaves, owned by the caller; NULL when `when` does not hold. Facts as for vd_state_next(). action and
 * status are those of the decision. A text or `when` that fails leaves no note; failures are appended to errors
 * ({"field", "error"}). */
enum vd_code vd_memory_note(struct vd_facts *facts, struct vd_span decision_id,
                            struct vd_span action, struct vd_span status, cJSON **ret_note,
                            cJSON *errors, struct vd_err *err) VD_MUST_CHECK;

#endif
