/* reason/cases.h - a policy's cases: what it must decide, with no network.
 *
 * Why:      the model is a list of raw answers, so that hostile and broken output is an ordinary case; reload runs them before it swaps.
 * Shapes:   NAME.cases.json beside NAME.cfg: a list of
 *             {"name", "event", "context"?, "tools"?, "now"?, "model": [answers], "expect": {...}}
 *           event    the body, or the view with id, type, source, subject, time, data
 *           context  by name, as Redis has it (strings) or typed
 *           state    the policy's state before, by field; its defaults where absent
 *           memory   the policy's notes, newest first: texts, or objects with any of "text", "action", "status", "age_s" and its fields
 *           tools    by name, what each call is answered, in order: a value, null for nothing, or {"error": TEXT}
 *           limits   what others use of the policy's limits, by name; 0 where absent
 *           now      RFC 3339; 2026-01-15T12:00:00Z where absent
 *           model    raw answers in order: a string is the text, an object is written as text, {"tool": NAME, "args": {...}} calls a tool,
 *                    {"tools": [...]} several at once, {"error": WORD} is a failure: deadline,
 *                    model_unavailable, quota, ..., or tool, cut, refused, empty
 *           expect   "status": decided | fallback | escalated | dead_letter | skip; and any of "action", "params", "decided_by",
 *                    "degraded_reason", "source", "key", "stage", "model_calls", "tool_calls",
 *                    "state" (after: the members named), "note" (its text, null for none, or the members named), "rules": {name: pass | fail | error | clamped}
 *                    where a rule counts as seen in any proposal of the case
           like, set, unset   another case with a few values changed: case_like.h
 * Thread:   any; blocking (reads the file).
 */
#ifndef VD_REASON_CASES_H
#define VD_REASON_CASES_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "policy/policy.h"

struct vd_cases_report {
    size_t cases;
    size_t failed;
    size_t
        covered; /* of points: each rule passed and failed, each action chosen, shortcut taken, escalation, the fallback */
    size_t points;
};

/* Runs the cases of path. out gets what failed, with expected and got, and what is not covered. VD_E_CONFIG when the file cannot be read
 * or is no list of cases. */
enum vd_code vd_cases_run(const struct vd_policy *policy, const char *path, struct vd_buf *out,
                          struct vd_cases_report *ret, struct vd_err *err) VD_MUST_CHECK;
/* "policies/billing/dunning.cfg" -> "policies/billing/dunning.cases.json"; owned by the caller, NULL without memory. */
char *vd_cases_path(const char *policy_path);

#endif
