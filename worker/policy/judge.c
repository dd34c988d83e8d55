/* policy/judge.c - see judge.h. */
#include "policy/judge.h"

#include <assert.h>
#include <string.h>

#include "base/limits.h"
#include "json/block.h"
#include "policy/params.h"

#define TYPICAL_BYTES                                                                              \
    1536 /* of trees: the params twice, the evidence, the decision as rules see it */

struct judging {
    struct vd_facts *facts;
    const struct vd_policy *policy;
    const struct vd_proposal *proposal;
    struct vd_judgement *out;
    struct vd_rule_result *rules;
    size_t max_rules;
    cJSON *final; /* params as they would be published */
    bool
        params_passed; /* the action is possible and every param is what it must be, whatever the rules say */
    enum vd_code rc;
    struct vd_err *err;
};

static const char *const verdict_names[] = {"pass", "fail", "error", "clamped"};
static const char *const judged_names[] = {"accept", "repair", "reject", "escalate"};
static const char *const by_names[] = {NULL, "model", "shortcut", "fallback"};

const char *vd_verdict_name(enum vd_verdict verdict)
{
    return verdict_names[verdict];
}

const char *vd_judged_name(enum vd_judged judged)
{
    return judged_names[judged];
}

const char *vd_decided_by_name(enum vd_decided_by by)
{
    return by_names[by];
}

static struct vd_rule_result *add_rule(struct judging *j, const char *id, enum vd_on_fail on_fail,
                                       const char *why)
{
    struct vd_rule_result *r = &j->rules[j->out->rule_count++];

    assert(j->out->rule_count <= j->max_rules);
    *r = (struct vd_rule_result){.id = id, .verdict = VD_FAIL, .on_fail = on_fail, .why = why};
    return r;
}

static void nomem(struct judging *j)
{
    if (j->rc == VD_OK)
        j->rc = vd_err_nomem(j->err, "judge");
}

/* The outcome of an evaluation where true allows: an error refuses. */
static void settle_rule(struct judging *j, struct vd_rule_result *r, enum vd_code rc, bool holds,
                        const struct vd_err *why)
{
    if (rc == VD_OK) {
        r->verdict = holds ? VD_PASS : VD_FAIL;
        return;
    }
    r->verdict = VD_ERROR_VERDICT;
    if (rc == VD_E_NOMEM) {
        nomem(j);
        return;
    }
    r->detail = vd_arena_strndup(vd_facts_arena(j->facts), vd_span_of(why->msg));
}

/* -- evidence ---------------------------------------------------------------------------------------------------- */

static bool exists(const struct vd_proposal *proposal, struct vd_span pointer)
{
    return proposal->shown != NULL && pointer.len > 1 &&
           vd_json_pointer(proposal->shown, pointer) != NULL;
}

/* verified(evidence): every fact that is cited exists, and at least one is trusted. */
static bool is_verified(void *arg, const struct vd_cel_value *evidence)
{
    const struct judging *j = arg;
    bool trusted = false;

    if (evidence->kind != VD_CEL_LIST)
        return false;
    for (size_t i = 0; i < vd_cel_size(evidence); i++) {
        struct vd_cel_value item = vd_cel_item(evidence, i);

        if (item.kind != VD_CEL_STRING || !exists(j->proposal, item.u.s))
            return false;
        trusted = trusted || vd_facts_trusted(j->facts, item.u.s);
    }
    return trusted;
}

static void judge_evidence(struct judging *j)
{
    struct vd_rule_result *r;
    const cJSON *item;
    size_t count = 0;

    if (j->proposal->by != VD_BY_MODEL)
        return;
    r = add_rule(j, "evidence", VD_ON_FAIL_REPAIR,
                 "Every pointer in evidence must name a fact that was shown.");
    r->verdict = VD_PASS;
    cJSON_ArrayForEach(item, j->proposal->evidence) if (++count > VD_EVIDENCE_MAX ||
                                                        vd_json_kind(item) != VD_JSON_STRING ||
                                                        !exists(j->proposal, vd_json_string(item)))
        r->verdict = VD_FAIL;
}

/* -- action and params ------------------------------------------------------------------------------------------- */

static void judge_enabled(struct judging *j, const struct vd_action *action)
{
    struct vd_rule_result *r = add_rule(j, "action.enabled", VD_ON_FAIL_REPAIR,
                                        "This action is not possible for this event.");
    struct vd_err why;
    bool enabled = true;
    enum vd_code rc = VD_OK;

    if (action->enable != NULL)
        rc = vd_facts_test(j->facts, action->enable, &enabled, &why);
    settle_rule(j, r, rc, enabled, &why);
}

static const struct vd_param *param_named(const struct vd_action *action, const char *name)
{
    for (size_t i = 0; i < action->param_count; i++)
        if (strcmp(action->params[i].name, name) == 0)
            return &action->params[i];
    return NULL;
}

static void judge_known(struct judging *j, const struct vd_action *action)
{
    struct vd_rule_result *r = add_rule(j, "params.known", VD_ON_FAIL_REPAIR,
                                        "params must hold exactly the params of the action.");
    const cJSON *params = j->proposal->params, *member;

    r->verdict = params == NULL || vd_json_kind(params) == VD_JSON_OBJECT ? VD_PASS : VD_FAIL;
    for (size_t i = 0; i < action->param_count; i++)
        if (vd_json_get(params, action->params[i].name) == NULL)
            r->verdict = VD_FAIL;
    if (params == NULL || vd_json_kind(params) != VD_JSON_OBJECT)
        return;
    cJSON_ArrayForEach(member, params) if (param_named(action, member->string) == NULL) r->verdict =
        VD_FAIL;
}

/* Each param by itself. What is refused stays in `seen` as it was proposed, so that the rules can be evaluated all the same. */
static void judge_params(struct judging *j, const struct vd_action *action, cJSON *seen)
{
    for (size_t i = 0; i < action->param_count && j->rc == VD_OK; i++) {
        const struct vd_param *param = &action->params[i];
        const cJSON *value = vd_json_get(j->proposal->params, param->name);
        const char *id = vd_arena_printf(vd_facts_arena(j->facts), "params.%s", param->name);
        struct vd_rule_result *r;
        cJSON *checked = NULL;

        if (id == NULL) {
            nomem(j);
            return;
        }
        r = add_rule(j, id, param->on_fail == VD_ON_FAIL_CLAMP ? VD_ON_FAIL_REPAIR : param->on_fail,
                     "");
        if (value == NULL) {
            r->why = "this param is missing";
            continue;
        }
        j->rc = vd_param_check(j->facts, param, value, r, &checked, j->err);
        if (j->rc != VD_OK)
            return;
        if (!vd_json_put(seen, param->name, vd_json_copy(checked != NULL ? checked : value)))
            nomem(j);
        if (checked != NULL && !vd_json_put(j->final, param->name, checked))
            nomem(j);
    }
}

/* -- rules ------------------------------------------------------------------------------------------------------- */

static bool is_number(const struct vd_cel_value *v)
{
    return v->kind == VD_CEL_INT || v->kind == VD_CEL_UINT || v->kind == VD_CEL_DOUBLE;
}

static double as_double(const struct vd_cel_value *v)
{
    return v->kind == VD_CEL_INT    ? (double)v->u.i
           : v->kind == VD_CEL_UINT ? (double)v->u.u
                                    : v->u.d;
}

/* A comparison of numbers, by its sides. False: not numbers, the whole expression must say. */
static bool judge_comparison(struct judging *j, const struct vd_rule *rule,
                             struct vd_rule_result *r)
{
    struct vd_cel_value left, right;
    int order;

    if (rule->op == VD_RULE_OPAQUE || vd_facts_eval(j->facts, rule->left, &left, NULL) != VD_OK ||
        vd_facts_eval(j->facts, rule->right, &right, NULL) != VD_OK || !is_number(&left) ||
        !is_number(&right) || !vd_cel_compare(&left, &right, &order))
        return false;
    switch (rule->op) {
    case VD_RULE_LT:
        r->verdict = order < 0 ? VD_PASS : VD_FAIL;
        break;
    case VD_RULE_LE:
        r->verdict = order <= 0 ? VD_PASS : VD_FAIL;
        break;
    case VD_RULE_GT:
        r->verdict = order > 0 ? VD_PASS : VD_FAIL;
        break;
    default:
        r->verdict = order >= 0 ? VD_PASS : VD_FAIL;
        break;
    }
    r->has_headroom = true;
    r->headroom = rule->op == VD_RULE_LT || rule->op == VD_RULE_LE
                      ? as_double(&right) - as_double(&left)
                      : as_double(&left) - as_double(&right);
    return true;
}

static void judge_rules(struct judging *j, const struct vd_action *action)
{
    for (size_t i = 0; i < action->rule_count && j->rc == VD_OK; i++) {
        const struct vd_rule *rule = &action->rules[i];
        struct vd_rule_result *r = add_rule(j, rule->name, rule->on_fail, rule->why);
        struct vd_err why;
        bool holds = false;
        enum vd_code rc;

        if (judge_comparison(j, rule, r))
            continue;
        rc = vd_facts_test(j->facts, rule->program, &holds, &why);
        settle_rule(j, r, rc, holds, &why);
    }
}

static void judge_confidence(struct judging *j)
{
    const struct vd_proposal *p = j->proposal;
    struct vd_rule_result *r;

    if (p->by != VD_BY_MODEL || !(j->policy->min_confidence > 0))
        return;
    r = add_rule(j, "confidence", VD_ON_FAIL_ESCALATE,
                 "The model is not confident enough: a person decides.");
    r->verdict =
        p->has_confidence && p->confidence >= j->policy->min_confidence ? VD_PASS : VD_FAIL;
    r->has_headroom = p->has_confidence;
    r->headroom = p->confidence - j->policy->min_confidence;
}

/* -- binding ----------------------------------------------------------------------------------------------------- */

/* decision, and its params, action and evidence as names of their own. */
static void bind_decision(struct judging *j, cJSON *take_seen)
{
    const struct vd_proposal *p = j->proposal;
    const struct vd_policy *policy = j->policy;
    cJSON *evidence = p->evidence != NULL ? vd_json_copy(p->evidence) : cJSON_CreateArray();
    double confidence = p->by != VD_BY_MODEL ? 1.0 : p->has_confidence ? p->confidence : 0.0;
    cJSON *d = cJSON_CreateObject();
    bool ok = d != NULL;

    ok = vd_json_put(d, "params", take_seen) && ok;
    ok = vd_json_put(d, "evidence", evidence) && ok;
    ok = ok && vd_json_put(d, "action", vd_json_new_string(p->action)) &&
         vd_json_put(d, "confidence", vd_json_new_double(confidence)) &&
         vd_json_put(d, "decided_by",
                     p->by == VD_BY_NONE
                         ? cJSON_CreateNull()
                         : vd_json_new_string(vd_span_of(vd_decided_by_name(p->by))));
    if (!ok) {
        vd_json_free(d);
        nomem(j);
        return;
    }
    j->out->bound = d;
    vd_facts_bind(j->facts, policy->slot_params, vd_cel_from_json(vd_json_get(d, "params")));
    vd_facts_bind(j->facts, policy->slot_evidence, vd_cel_from_json(vd_json_get(d, "evidence")));
    vd_facts_bind(j->facts, policy->slot_action, vd_cel_from_json(vd_json_get(d, "action")));
    vd_facts_bind(j->facts, policy->slot_decision, vd_cel_from_json(d));
}

static void unbind(struct vd_facts *facts)
{
    const struct vd_policy *p = vd_facts_policy(facts);

    for (unsigned slot = p->slot_count; slot < p->rule_slot_count; slot++)
        vd_facts_bind(facts, slot, (struct vd_cel_value){.kind = VD_CEL_ERROR});
}

void vd_judgement_fini(struct vd_judgement *judgement)
{
    if (judgement->bound != NULL)
        unbind(judgement->facts);
    judgement->bound = vd_json_free(judgement->bound);
    judgement->params = vd_json_free(judgement->params);
}

/* -- all of it --------------------------------------------------------------------------------------------------- */

/* When several rules failed: the fallback before another try before a person, who is asked only about a proposal that keeps all else. */
enum vd_judged vd_rules_conclude(const struct vd_rule_result *rules, size_t count,
                                 size_t *ret_failed)
{
    static const int weights[] = {[VD_ON_FAIL_ESCALATE] = 1,
                                  [VD_ON_FAIL_REPAIR] = 2,
                                  [VD_ON_FAIL_CLAMP] = 2,
                                  [VD_ON_FAIL_REJECT] = 3};
    static const enum vd_judged by_weight[] = {VD_ACCEPT, VD_ESCALATE, VD_REPAIR, VD_REJECT};
    int weight = 0;

    *ret_failed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct vd_rule_result *r = &rules[i];

        if (r->verdict == VD_PASS || r->verdict == VD_CLAMPED)
            continue;
        (*ret_failed)++;
        if (weights[r->on_fail] > weight)
            weight = weights[r->on_fail];
    }
    return by_weight[weight];
}

static enum vd_judged conclude(const struct judging *j)
{
    return vd_rules_conclude(j->rules, j->out->rule_count, &j->out->failed);
}

static void judge_action(struct judging *j, const struct vd_action *action)
{
    cJSON *seen = cJSON_CreateObject();

    judge_enabled(j, action);
    judge_known(j, action);
    if (seen == NULL)
        nomem(j);
    else
        judge_params(j, action, seen);
    if (j->rc != VD_OK) {
        vd_json_free(seen);
        return;
    }
    j->params_passed = conclude(j) == VD_ACCEPT;
    bind_decision(j, seen);
    vd_facts_set_verified(j->facts, is_verified, j);
    judge_evidence(j);
    judge_rules(j, action);
    judge_confidence(j);
    vd_facts_set_verified(j->facts, NULL, NULL);
}

static enum vd_code judge(struct vd_facts *facts, const struct vd_proposal *proposal,
                          struct vd_judgement *ret, struct vd_err *err)
{
    const struct vd_policy *policy = vd_facts_policy(facts);
    const struct vd_action *action = vd_policy_action(policy, proposal->action);
    struct judging j = {
        .facts = facts, .policy = policy, .proposal = proposal, .out = ret, .err = err};
    struct vd_rule_result *declared;

    *ret = (struct vd_judgement){.judged = VD_REJECT, .action = action, .facts = facts};
    j.max_rules = 5 + (action != NULL ? action->param_count + action->rule_count : 0);
    j.rules = vd_arena_array(vd_facts_arena(facts), j.max_rules, sizeof(*j.rules));
    j.final = cJSON_CreateObject();
    if (j.rules == NULL || j.final == NULL) {
        vd_json_free(j.final);
        return vd_err_nomem(err, "judge");
    }
    ret->rules = j.rules;
    declared = add_rule(&j, "action.declared", VD_ON_FAIL_REPAIR,
                        "The action must be one of those that the policy declares.");
    declared->verdict = action != NULL ? VD_PASS : VD_FAIL;
    if (action != NULL)
        judge_action(&j, action);
    if (j.rc != VD_OK) {
        vd_json_free(j.final);
        vd_judgement_fini(ret);
        return j.rc;
    }
    ret->judged = conclude(&j);
    assert(ret->judged != VD_ACCEPT || (action != NULL && ret->failed == 0)); /* I1 */
    if (ret->judged == VD_ACCEPT || (ret->judged == VD_ESCALATE && j.params_passed)) {
        ret->params = j.final;
    } else {
        vd_json_free(j.final);
    }
    return VD_OK;
}

enum vd_code vd_judge(struct vd_facts *facts, const struct vd_proposal *proposal,
                      struct vd_judgement *ret, struct vd_err *err)
{
    struct vd_json_scope scope;
    enum vd_code rc;

    vd_json_scope_begin(&scope, TYPICAL_BYTES);
    rc = judge(facts, proposal, ret, err);
    vd_json_scope_end(&scope);
    return rc;
}

const struct vd_escalate *vd_judge_escalates(struct vd_facts *facts, bool early)
{
    const struct vd_policy *p = vd_facts_policy(facts);

    for (size_t i = 0; i < p->escalate_count; i++) {
        bool holds = true;

        if (early && !p->escalates[i].early)
            continue;
        if (vd_facts_test(facts, p->escalates[i].when, &holds, NULL) != VD_OK || holds)
            return &p->escalates[i];
    }
    return NULL;
}

enum vd_code vd_choice_params(struct vd_facts *facts, const struct vd_choice *choice,
                              cJSON **ret_params, struct vd_err *err)
{
    cJSON *params = cJSON_CreateObject();

    for (size_t i = 0; i < choice->param_count && params != NULL; i++) {
        const struct vd_given *given = &choice->params[i];
        struct vd_cel_value value;
        cJSON *node = NULL;

        if (given->literal != NULL)
            node = vd_json_copy(given->literal);
        else if (vd_facts_eval(facts, given->program, &value, NULL) != VD_OK ||
                 vd_cel_to_json(&value, &node, NULL) != VD_OK)
            continue; /* left out: the judge refuses */
        if (!vd_json_put(params, given->name, node))
            params = vd_json_free(params);
    }
    if (params == NULL)
        return vd_err_nomem(err, "params");
    *ret_params = params;
    return VD_OK;
}
