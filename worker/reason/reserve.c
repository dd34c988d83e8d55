/* reason/reserve.c - see reason.h: limits across decisions, between what was accepted and what is decided. */
#include <string.h>

#include "json/members.h"
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
    return VD_REASON_LIMIT_EXCEEDED;
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

static void write_want(const struct reserve_try *try, size_t i, struct vd_buf *out)
{
    const struct vd_limit_want *want = &try->plan.wants[i];

    vd_json_next(out);
    (void)vd_buf_add_char(out, '{');
    vd_json_word(out, "id", want->limit->name);
    vd_json_text(out, "key", want->key);
    vd_json_integer(out, "amount", want->amount);
    vd_json_integer(out, "max", want->max);
    if (try->items != NULL) {
        vd_json_integer(out, "used_by_others", try->items[i].used);
        vd_json_boolean(out, "fits", try->items[i].ok);
    }
    vd_json_close(out, '}');
}

static void write_try(const struct reserve_try *try, struct vd_buf *out)
{
    static const char *const answers[] = {"reserved", "exceeded", "unavailable"};

    vd_json_next(out);
    (void)vd_buf_add_char(out, '{');
    vd_json_open(out, "wants", '[');
    for (size_t i = 0; i < try->plan.want_count; i++)
        write_want(try, i, out);
    vd_json_close(out, ']');
    vd_json_word(out, "by", vd_decided_by_name(try->by));
    vd_json_word(out, "answer", answers[try->answer]);
    vd_json_open(out, "faults", '[');
    for (size_t i = 0; i < try->plan.fault_count; i++) {
        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "id", try->plan.faults[i].limit->name);
        vd_json_word(out, "error", try->plan.faults[i].why);
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
    vd_json_close(out, '}');
}

void vd_reserve_record(const struct vd_reason *r, struct vd_buf *out)
{
    const struct vd_limit_plan *plan = r->outcome.plan;

    vd_json_open(out, "limits", '{');
    vd_json_open(out, "tries", '[');
    for (size_t i = 0; i < r->try_count; i++)
        write_try(&r->tries[i], out);
    vd_json_close(out, ']');
    vd_json_open(out, "holds", '[');
    for (size_t i = 0; plan != NULL && i < plan->change_count; i++) {
        vd_json_next(out);
        (void)vd_buf_add_char(out, '{');
        vd_json_word(out, "id", plan->changes[i].limit->name);
        vd_json_boolean(out, "confirm", plan->changes[i].confirm);
        vd_json_boolean(out, "release", plan->changes[i].release);
        vd_json_close(out, '}');
    }
    vd_json_close(out, ']');
    vd_json_close(out, '}');
}
