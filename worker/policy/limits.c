/* policy/limits.c - see limits.h. */
#include "policy/limits.h"

#include <math.h>

#include "base/limits.h"

struct planning {
    struct vd_facts *facts;
    const struct vd_policy *policy;
    const struct vd_limit *limit; /* the one at hand */
    struct vd_limit_want *wants;
    size_t want_count;
    struct vd_limit_fault *faults;
    size_t fault_count;
    enum vd_code rc; /* VD_E_NOMEM once memory was out */
    struct vd_err *err;
};

/* One fault of a limit says enough. */
static void fault(struct planning *p, const char *what, const char *why)
{
    struct vd_limit_fault *f = &p->faults[p->fault_count];

    if (p->rc != VD_OK || (p->fault_count > 0 && f[-1].limit == p->limit))
        return;
    f->limit = p->limit;
    f->why = vd_arena_printf(vd_facts_arena(p->facts), "%s: %s", what, why);
    if (f->why == NULL)
        p->rc = vd_err_nomem(p->err, "limits");
    p->fault_count++;
}

/* False after a fault. */
static bool eval(struct planning *p, const struct vd_cel_program *program, const char *what,
                 struct vd_cel_value *ret)
{
    struct vd_err why;
    enum vd_code rc = vd_facts_eval(p->facts, program, ret, &why);

    if (rc == VD_E_NOMEM)
        p->rc = vd_err_nomem(p->err, "limits");
    else if (rc != VD_OK)
        fault(p, what, why.msg);
    return rc == VD_OK;
}

/* The whole number of value; a max may have a fraction, which is cut off. */
static bool amount_of(const struct vd_cel_value *value, bool cut, int64_t *ret)
{
    double d;

    switch (value->kind) {
    case VD_CEL_INT:
        *ret = value->u.i;
        return true;
    case VD_CEL_UINT:
        *ret = value->u.u > INT64_MAX ? INT64_MAX : (int64_t)value->u.u;
        return true;
    case VD_CEL_DOUBLE:
        d = cut ? floor(value->u.d) : value->u.d;
        if (!(fabs(d) <= (double)VD_LIMIT_MAX_AMOUNT) || d != floor(d))
            return false;
        *ret = (int64_t)d;
        return true;
    default:
        return false;
    }
}

static bool measure(struct planning *p, int64_t *ret)
{
    struct vd_cel_value value;

    *ret = 1;
    if (p->limit->measure == NULL)
        return true;
    if (!eval(p, p->limit->measure, "measure", &value))
        return false;
    if (amount_of(&value, false, ret) && *ret >= 0 && *ret <= VD_LIMIT_MAX_AMOUNT)
        return true;
    fault(p, "measure", "is no whole number from 0 to 2^53");
    return false;
}

/* Below zero nothing is left; above what can be counted, what can be counted. */
static bool maximum(struct planning *p, int64_t *ret)
{
    struct vd_cel_value value;

    *ret = p->limit->max;
    if (p->limit->max_program == NULL)
        return true;
    if (!eval(p, p->limit->max_program, "max", &value))
        return false;
    if (!amount_of(&value, true, ret)) {
        fault(p, "max", "is no number");
        return false;
    }
    *ret = *ret < 0 ? 0 : *ret > VD_LIMIT_MAX_AMOUNT ? VD_LIMIT_MAX_AMOUNT : *ret;
    return true;
}

static void want(struct planning *p, size_t item)
{
    struct vd_limit_want w = {.limit = p->limit, .item = item};
    struct vd_err why;
    enum vd_code rc;

    if (!measure(p, &w.amount) || w.amount == 0 || !maximum(p, &w.max))
        return;
    rc = vd_facts_render(p->facts, p->limit->key, &w.key, &why);
    if (rc == VD_E_NOMEM)
        p->rc = vd_err_nomem(p->err, "limits");
    else if (rc != VD_OK)
        fault(p, "key", why.msg);
    else if (p->want_count == VD_LIMIT_MAX_ITEMS)
        fault(p, "each", "more reservations than one decision may have");
    else
        p->wants[p->want_count++] = w;
}

static void want_each(struct planning *p)
{
    struct vd_cel_value list;

    if (!eval(p, p->limit->each, "each", &list))
        return;
    if (list.kind != VD_CEL_LIST) {
        fault(p, "each", "is no list");
        return;
    }
    if (vd_cel_size(&list) > VD_LIMIT_MAX_ITEMS) {
        fault(p, "each", "more reservations than one decision may have");
        return;
    }
    for (size_t i = 0; i < vd_cel_size(&list) && p->rc == VD_OK; i++) {
        vd_facts_bind(p->facts, p->policy->slot_item, vd_cel_item(&list, i));
        want(p, i + 1);
    }
    vd_facts_bind(p->facts, p->policy->slot_item, (struct vd_cel_value){.kind = VD_CEL_ERROR});
}

static void plan_limit(struct planning *p)
{
    struct vd_cel_value applies = {.kind = VD_CEL_BOOL, .u.b = true};

    if (p->limit->when != NULL && !eval(p, p->limit->when, "when", &applies))
        return;
    if (applies.kind != VD_CEL_BOOL)
        fault(p, "when", "is not true or false");
    else if (applies.u.b && p->limit->each != NULL)
        want_each(p);
    else if (applies.u.b)
        want(p, 0);
}

static bool holds(struct planning *p, const struct vd_cel_program *program)
{
    bool yes = false;

    if (program != NULL && vd_facts_test(p->facts, program, &yes, NULL) != VD_OK)
        return false;
    return yes;
}

enum vd_code vd_limits_plan(struct vd_facts *facts, struct vd_limit_plan *ret, struct vd_err *err)
{
    const struct vd_policy *policy = vd_facts_policy(facts);
    struct vd_arena *arena = vd_facts_arena(facts);
    size_t n = policy->limit_count;
    struct planning p = {.facts = facts, .policy = policy, .err = err};
    struct vd_limit_change *changes = vd_arena_array(arena, n, sizeof(*changes));
    size_t change_count = 0;

    p.wants = vd_arena_array(arena, VD_LIMIT_MAX_ITEMS, sizeof(*p.wants));
    p.faults = vd_arena_array(arena, n, sizeof(*p.faults));
    if (p.wants == NULL || p.faults == NULL || changes == NULL)
        return vd_err_nomem(err, "limits");
    for (size_t i = 0; i < n && p.rc == VD_OK; i++) {
        struct vd_limit_change *change = &changes[change_count];

        p.limit = &policy->limits[i];
        plan_limit(&p);
        *change = (struct vd_limit_change){p.limit, holds(&p, p.limit->confirm),
                                           holds(&p, p.limit->release)};
        change_count += change->confirm || change->release ? 1 : 0;
    }
    if (p.rc != VD_OK)
        return p.rc;
    *ret = (struct vd_limit_plan){.wants = p.wants,
                                  .want_count = p.want_count,
                                  .faults = p.faults,
                                  .fault_count = p.fault_count,
                                  .changes = changes,
                                  .change_count = change_count};
    return VD_OK;
}

int64_t vd_limit_needed(const struct vd_limit_plan *plan, const struct vd_limit_want *want)
{
    int64_t sum = 0;

    for (size_t i = 0; i < plan->want_count; i++)
        if (plan->wants[i].limit == want->limit && vd_span_eq(plan->wants[i].key, want->key))
            sum += plan->wants[i].amount;
    return sum;
}

bool vd_limits_hold(const struct vd_policy *policy)
{
    bool any = false;

    for (size_t i = 0; i < policy->limit_count; i++)
        any = any || policy->limits[i].holds;
    return any;
}
