/* reason/proposal.h - a model's answer as a proposal: strict JSON, sizes capped, texts cleaned.
 *
 * Why:      what a model writes is hostile until it was read by this and judged by policy/judge.h.
 * Thread:   any; pure.
 * Owns:     tree is owned: vd_proposal_fini(). Texts are in the arena.
 */
#ifndef VD_REASON_PROPOSAL_H
#define VD_REASON_PROPOSAL_H

#include "base/arena.h"
#include "base/err.h"
#include "json/json.h"
#include "policy/policy.h"

struct vd_read_proposal {
    cJSON *tree;
    struct vd_span action;
    const cJSON *params;   /* an object, or NULL */
    const cJSON *evidence; /* an array, or NULL */
    double confidence;
    struct vd_span rationale; /* cleaned */
};

/* VD_E_INPUT: err says in plain words what is wrong, for the model; it never quotes the answer. One code fence around the JSON is taken
 * off; params in the form of the reduced schemas, {"retry": {...}, "stop": null}, are unwrapped. */
enum vd_code vd_proposal_read(const struct vd_policy *policy, struct vd_span answer,
                              struct vd_arena *arena, struct vd_read_proposal *ret,
                              struct vd_err *err) VD_MUST_CHECK;
void vd_proposal_fini(struct vd_read_proposal *proposal);

/* text without control and hidden characters, markup and URLs, in one line, at most max_chars characters. */
enum vd_code vd_rationale_clean(struct vd_arena *arena, struct vd_span text, size_t max_chars,
                                struct vd_span *ret);

#endif
