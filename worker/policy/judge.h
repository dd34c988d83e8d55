/* policy/judge.h - does a proposal stay inside its policy? Everything that may pass, passes here.
 *
 * Why:      whatever the model says, and whatever an event's text tells it to say, is only a proposal; this is plain C over parsed
 *           values, and it fails closed: a rule that cannot be evaluated refuses.
 * Thread:   one owner at a time (the facts').
 * Owns:     the result owns its params tree: vd_judgement_fini(). Texts are in the facts' arena.
 * Invariants:
 *   I1 VD_ACCEPT only if every rule that was evaluated passed or was clamped, the action is declared and enabled.
 *   I2 every rule of the proposed action is evaluated and recorded, also after one failed.
 *   I3 when several failed: VD_REJECT before VD_REPAIR before VD_ESCALATE, so that a person is asked only about a proposal that
 *      keeps everything else.
 */
#ifndef VD_POLICY_JUDGE_H
#define VD_POLICY_JUDGE_H

#include <stdbool.h>

#include "base/err.h"
#include "json/json.h"
#include "policy/facts.h"
#include "policy/policy.h"

enum vd_verdict { VD_PASS, VD_FAIL, VD_ERROR_VERDICT, VD_CLAMPED };
const char *vd_verdict_name(enum vd_verdict verdict); /* "pass" "fail" "error" "clamped" */

enum vd_judged { VD_ACCEPT, VD_REPAIR, VD_REJECT, VD_ESCALATE };
const char *vd_judged_name(enum vd_judged judged); /* "accept" "repair" "reject" "escalate" */

/* One rule's verdict. Ids: a require rule's own name; "params.NAME" for a parameter; "action.declared", "action.enabled",
 * "params.known" (nothing missing, nothing extra), "evidence", "confidence"; "limits.NAME", added by the reasoning once it is
 * known what is left. */
struct vd_rule_result {
    const char *id;
    enum vd_verdict verdict;
    bool
        has_headroom; /* how far from the bound, in the parameter's own unit; negative when it failed */
    double headroom;
    enum vd_on_fail on_fail;
    const char *why;     /* for the model and the reviewer; never NULL */
    const char *allowed; /* "from 1 to 168", "one of \"a\", \"b\""; NULL: nothing to add */
    const char *detail;  /* CLAMPED: "400 became 168"; ERROR: the error; NULL: none */
};

/* Who proposed it, in the same words for rules and for the decision record. */
enum vd_decided_by { VD_BY_NONE, VD_BY_MODEL, VD_BY_SHORTCUT, VD_BY_FALLBACK };
const char *vd_decided_by_name(enum vd_decided_by by); /* NULL for VD_BY_NONE */

/* What is judged. For shortcuts and the fallback: no evidence, and confidence does not apply. */
struct vd_proposal {
    struct vd_span action;
    const cJSON *params;   /* an object; NULL counts as {} */
    enum vd_decided_by by; /* VD_BY_MODEL: evidence and confidence are checked */
    bool has_confidence;
    double confidence;
    struct vd_span rationale;
    const cJSON *evidence; /* array of pointers; NULL: none */
    const cJSON *shown;    /* what the model saw: evidence must exist in it; NULL: nothing */
};

struct vd_judgement {
    enum vd_judged judged;
    const struct vd_action *action; /* NULL: not declared */
    cJSON *
        params; /* final, clamped: VD_ACCEPT, and VD_ESCALATE where action and params themselves passed; else NULL */
    const struct vd_rule_result *rules;
    size_t rule_count;
    size_t failed; /* of them FAIL or ERROR */
    cJSON *bound;  /* what facts has bound meanwhile */
    struct vd_facts *facts;
};

/* Fails only for memory; everything else is a verdict. After it, params, action, evidence and decision stay bound in facts
 * to what was judged, for the escalate rules, until the judgement ends. */
enum vd_code vd_judge(struct vd_facts *facts, const struct vd_proposal *proposal,
                      struct vd_judgement *ret, struct vd_err *err) VD_MUST_CHECK;
void vd_judgement_fini(struct vd_judgement *judgement);

/* What rules with these verdicts come to (I1, I3); *ret_failed: how many failed. */
enum vd_judged vd_rules_conclude(const struct vd_rule_result *rules, size_t count,
                                 size_t *ret_failed);

/* The first escalate rule that holds, NULL when none. An error counts as true. early: only those that need no proposal. */
const struct vd_escalate *vd_judge_escalates(struct vd_facts *facts, bool early);

/* Params of a fallback or shortcut, evaluated. An expression that fails leaves its param out, so that the judge refuses. */
enum vd_code vd_choice_params(struct vd_facts *facts, const struct vd_choice *choice,
                              cJSON **ret_params, struct vd_err *err) VD_MUST_CHECK;

#endif
