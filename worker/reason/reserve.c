/* reason/reserve.c - see reason.h: limits across decisions, between what was accepted and what is decided. */
#include <string.h>

#include "reason/internal.h"

/* -- the plan ---------------------------------------------------------------------------------------------------- */

/* Each answer once, a shortcut, the fallback. */
static enum vd_code make_room(struct vd_reason *r, struct vd_err *err)
{
    if (r->tries == NULL)
        r->tries =
            vd_arena_array(r->arena, 2 + (size_t)vd_facts_policy(r->facts)->budget.max_model_calls,
                           sizeof(*r->tries));
    return r->tries == NULL ? vd_err_nomem(err, "limits") : VD_OK;
}

enum vd_code vd_reserve_plan(struct vd_reason *r, enum vd_status status, enum vd_decided_by by,
                             bool *ret_asks, struct vd_err *err)
{
    struct reserve_try *try;
    enum vd_code rc;

    *ret_asks = false;
    if (r->no_limits || vd_facts_policy(r->facts)->limit_count == 0)
        return VD_OK;
    rc = make_room(r, err);
    if (rc != VD_OK)
        return rc;
    try = &r->tries[r->try_count];
    *try = (struct reserve_try){.status = status, .by = by};
    rc = vd_limits_plan(r->facts, &try->plan, err);
    if (rc != VD_OK)
        return rc;
    *ret_asks = try->plan.want_count > 0 || try->plan.fault_count > 0;
    if (*ret_asks)
        r->try_count++;
    else
        r->outcome.plan = &try->plan;
    return VD_OK;
}

/* -- the rules --------------------------------------------------------------------------------------------------- */

static const struct vd_limit_fault *fault_of(const struct vd_limit_plan *plan,
                                             const struct vd_limit *limit)
{
    for (size_t i = 0; i < plan->fault_count; i++)
        if (plan->faults[i].limit == limit)
            return &plan->faults[i];
    return NULL;
}

/* Nobody can say what is left: another proposal would not help. */
static void cannot_be_known(struct vd_rule_result *rule, const char *why)
{
    rule->verdict = VD_ERROR_VERDICT;
    rule->detail = why;
    if (rule->on_fail == VD_ON_FAIL_REPAIR)
        rule->on_fail = VD_ON_FAIL_REJECT;
}

static bool add_item(struct vd_reason *r, const struct reserve_try *try, size_t i,
                     struct vd_rule_result *rule)
{
    const struct vd_limit_want *want = &try->plan.wants[i];
    const struct vd_reserved *item = &try->items[i];
    int64_t left = want->max > item->used ? want->max - item->used : 0;
    double headroom = (double)(want->max - item->used - vd_limit_needed(&try->plan, want));

    if (item->closed_until_ms > 0) {
        cannot_be_known(rule, "closed: what was used before is lost");
        return true;
    }
    if (!rule->has_headroom || headroom < rule->headroom)
        rule->headroom = headroom;
    rule->has_headroom = true;
    if (item->ok || rule->verdict != VD_PASS)
        return true;
    rule->verdict = VD_FAIL;
    rule->allowed =
        want->item > 0
            ? vd_arena_printf(r->arena, "item %zu: at most %lld left", want->item, (long long)left)
            : vd_arena_printf(r->arena, "at most %lld left", (long long)left);
    return rule->allowed != NULL;
}

/* False when memory is out. *rule is set when the limit has anything to say. */
static bool judge_limit(struct vd_reason *r, const struct reserve_try *try,
                        const struct vd_limit *limit, struct vd_rule_result *rule, bool *ret_says)
{
    const struct vd_limit_fault *fault = fault_of(&try->plan, limit);
    bool ok = true;

    *rule = (struct vd_rule_result){
        .id = limit->id, .verdict = VD_PASS, .on_fail = limit->on_exceed, .why = limit->why};
    *ret_says = fault != NULL;
    if (fault != NULL) {
        rule->verdict = VD_ERROR_VERDICT;
        rule->detail = fault->why;
        return true;
    }
    /* With a fault in another limit nobody was asked about this one. */
    for (size_t i = 0; i < try->plan.want_count && try->plan.fault_count == 0 && ok; i++) {
        if (try->plan.wants[i].limit != limit)
            continue;
        *ret_says = true;
        if (try->answer == VD_RESERVE_UNAVAILABLE)
            cannot_be_known(rule, "Redis did not answer before the deadline");
        else
            ok = add_item(r, try, i, rule);
    }
    return ok;
}

enum vd_code vd_reserve_judge(struct vd_reason *r, enum vd_reserve answer,
                              const struct vd_reserved *items, struct vd_err *err)
{
    const struct vd_policy *p = vd_facts_policy(r->facts);
    struct reserve_try *try = &r->tries[r->try_count - 1];
    struct vd_judgement *j = &r->judgement;
    struct vd_rule_result *rules =
        vd_arena_array(r->arena, j->rule_count + p->limit_count, sizeof(*rules));
    size_t n = j->rule_count;

    try->answer = answer;
    if (items != NULL)
        try->items = vd_arena_array(r->arena, try->plan.want_count, sizeof(*items));
    if (rules == NULL || (items != NULL && try->items == NULL))
        return vd_err_nomem(err, "limits");
    if (n > 0)
        memcpy(rules, j->rules, n * sizeof(*rules));
    if (items != NULL && try->plan.want_count > 0)
        memcpy(try->items, items, try->plan.want_count * sizeof(*items));
    for (size_t i = 0; i < p->limit_count; i++) {
        bool says;

        if (!judge_limit(r, try, &p->limits[i], &rules[n], &says))
            return vd_err_nomem(err, "limits");
        n += says ? 1 : 0;
    }
    j->rules = rules;
    j->rule_count = n;
    j->judged = vd_rules_conclude(rules, n, &j->failed);
    return VD_OK;
}

const char *vd_reserve_refusal(const struct vd_reason *r)
{
    const struct reserve_try *try = &r->tries[r->try_count - 1];

    if (try->answer == VD_RESERVE_UNAVAILABLE)
        return "limits_unavailable";
    for (size_t i = 0; try->items != NULL && i < try->plan.want_count; i++)
        if (try->items[i].closed_until_ms > 0)
            return "limits_closed";
    return "limit_exceeded";
}

/* -- without asking ------------------------------------------------------------------------------------------------ */

enum vd_code vd_reason_assume_reserved(struct vd_reason *reason, const cJSON *used,
                                       struct vd_err *err)
{
    const struct vd_limit_plan *plan = vd_reason_reservations(reason);
    struct vd_reserved items[VD_LIMIT_MAX_ITEMS];
    enum vd_reserve answer = VD_RESERVE_OK;

    for (size_t i = 0; i < plan->want_count; i++) {
        const struct vd_limit_want *want = &plan->wants[i];

        items[i] = (struct vd_reserved){.used = 0};
        (void)vd_json_int(vd_json_get(used, want->limit->name), &items[i].used);
        if (items[i].used < 0 || items[i].used > VD_LIMIT_MAX_AMOUNT)
            items[i].used = VD_LIMIT_MAX_AMOUNT;
        items[i].ok = vd_limit_needed(plan, want) <= want->max - items[i].used;
        if (!items[i].ok)
            answer = VD_RESERVE_EXCEEDED;
    }
    return vd_reason_reserved(reason, answer, items, err);
}

/* -- the record ---------------------------------------------------------------------------------------------------- */

static bool put_int(cJSON *object, const char *key, int64_t value)
{
    return vd_json_put(object, key, vd_json_new_int(value));
}

static cJSON *want_json(const struct reserve_try *try, size_t i)
{
    const struct vd_limit_want *want = &try->plan.wants[i];
    cJSON *o = cJSON_CreateObject();
    bool ok = vd_json_put(o, "id", vd_json_new_string(vd_span_of(want->limit->name))) &&
              vd_json_put(o, "key", vd_json_new_string(want->key)) &&
              put_int(o, "amount", want->amount) && put_int(o, "max", want->max);

    if (ok && try->items != NULL)
        ok = put_int(o, "used_by_others", try->items[i].used) &&
             vd_json_put(o, "fits", cJSON_CreateBool(try->items[i].ok));
    return ok ? o : vd_json_free(o);
}

static cJSON *faults_json(const struct vd_limit_plan *plan)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; i < plan->fault_count && array != NULL; i++) {
        cJSON *o = cJSON_CreateObject();
        bool ok =
            vd_json_put(o, "id", vd_json_new_string(vd_span_of(plan->faults[i].limit->name))) &&
            vd_json_put(o, "error", vd_json_new_string(vd_span_of(plan->faults[i].why)));

        if (!vd_json_append(array, ok ? o : vd_json_free(o)))
            return vd_json_free(array);
    }
    return array;
}

static cJSON *changes_json(const struct vd_limit_plan *plan)
{
    cJSON *array = cJSON_CreateArray();

    for (size_t i = 0; plan != NULL && i < plan->change_count && array != NULL; i++) {
        const struct vd_limit_change *c = &plan->changes[i];
        cJSON *o = cJSON_CreateObject();
        bool ok = vd_json_put(o, "id", vd_json_new_string(vd_span_of(c->limit->name))) &&
                  vd_json_put(o, "confirm", cJSON_CreateBool(c->confirm)) &&
                  vd_json_put(o, "release", cJSON_CreateBool(c->release));

        if (!vd_json_append(array, ok ? o : vd_json_free(o)))
            return vd_json_free(array);
    }
    return array;
}

static cJSON *try_json(const struct reserve_try *try)
{
    static const char *const answers[] = {"reserved", "exceeded", "unavailable"};
    const char *by = vd_decided_by_name(try->by);
    cJSON *o = cJSON_CreateObject(), *wants = cJSON_CreateArray();
    bool ok = wants != NULL;

    for (size_t i = 0; i < try->plan.want_count && ok; i++)
        ok = vd_json_append(wants, want_json(try, i));
    ok = vd_json_put(o, "wants", ok ? wants : vd_json_free(wants)) && ok;
    ok = ok && vd_json_put(o, "by", vd_json_new_string(vd_span_of(by))) &&
         vd_json_put(o, "answer", vd_json_new_string(vd_span_of(answers[try->answer]))) &&
         vd_json_put(o, "faults", faults_json(&try->plan));
    return ok ? o : vd_json_free(o);
}

cJSON *vd_reserve_record(const struct vd_reason *r)
{
    cJSON *record = cJSON_CreateObject(), *tries = cJSON_CreateArray();
    bool ok = record != NULL && tries != NULL;

    for (size_t i = 0; i < r->try_count && ok; i++)
        ok = vd_json_append(tries, try_json(&r->tries[i]));
    ok = vd_json_put(record, "tries", ok ? tries : vd_json_free(tries)) && ok;
    ok = ok && vd_json_put(record, "holds", changes_json(r->outcome.plan));
    return ok ? record : vd_json_free(record);
}
