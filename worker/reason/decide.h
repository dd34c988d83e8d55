/* reason/decide.h - a whole decision at once, without I/O: for cases, `verdict decide` and reload.
 *
 * Thread:   any; pure.
 */
#ifndef VD_REASON_DECIDE_H
#define VD_REASON_DECIDE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"
#include "json/json.h"
#include "policy/memory.h"
#include "policy/policy.h"
#include "reason/changes.h"
#include "reason/reason.h"

struct vd_decide_input {
    const struct vd_policy *policy;
    const cJSON *event;   /* the view, or a body: see vd_event_view() */
    const cJSON *context; /* object by context name, as Redis or typed; NULL: none */
    const cJSON *
        answers; /* array: a string is the raw answer, an object is written as its text, {"error": "deadline"} stops,
                    {"tool": NAME, "args": {...}} calls a tool, {"tools": [...]} several */
    const cJSON *state;  /* as policy/state.h takes it; NULL: nothing yet */
    const cJSON *memory; /* as policy/memory.h takes it; NULL: no notes */
    const cJSON *
        tools; /* object by tool name: the answers to its calls in order, {"error": TEXT} for none; NULL: none */
    const cJSON *limits; /* what others use, by the limit's name; NULL: nothing */
    int64_t now_ms;
};

/* The parts live as long as this struct. */
struct vd_decide {
    struct vd_arena arena;
    cJSON *event;
    cJSON **contexts;
    size_t context_count;
    cJSON *state;
    struct vd_memory memory;
    struct vd_facts *facts;
    struct vd_reason *reason;
    struct vd_changes changes; /* of state and memory */
    bool matched;              /* input.when */
    struct vd_span key;
    const char *failed_stage; /* "validate", "context", ...: a dead letter; NULL: none */
};

/* VD_OK with a stage in failed_stage for what the worker would send to the dead letters (err says why). When the answers run out the
 * model counts as unavailable. Always: vd_decide_fini(). */
enum vd_code vd_decide(const struct vd_decide_input *input, struct vd_decide *ret,
                       struct vd_err *err) VD_MUST_CHECK;
void vd_decide_fini(struct vd_decide *decide);

/* `event` as CEL sees it, from a JSON body: one that has `type` (string) and `data` (object) keeps its members, any other becomes data;
 * id, type, source, subject, time are always present, null when unknown. Owned by the caller. */
enum vd_code vd_event_view(const cJSON *body, cJSON **ret_view, struct vd_err *err) VD_MUST_CHECK;

#endif
