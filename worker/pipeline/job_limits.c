/* pipeline/job_limits.c - see job.h: what is accepted is reserved, and model calls of a key are counted, before they happen. */
#include "pipeline/job_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policy/limits.h"

#define RETRY_MS 100
#define GRACE_MS                                                                                   \
    250 /* a decision past its deadline is still reserved: else no fallback could use a limit */

/* -- reserving ------------------------------------------------------------------------------------------------------ */

static void try_to_reserve(void *arg);

/* The reasoning goes on with what is known now. */
static void go_on(struct vd_job *job, enum vd_reserve answer, const struct vd_reserved *items)
{
    struct vd_err err;

    job->reserving = false;
    job->reserve_timer = vd_timer_free(job->reserve_timer);
    vd_metric_add(job->s->metrics, VD_M_WAIT, "limit", "",
                  (uint64_t)(vd_mono_ms() - job->reserve_since_ms));
    if (vd_reason_reserved(job->reason, answer, items, &err) != VD_OK)
        vd_job_failed(job, &err);
    else
        vd_job_ask(job);
}

static void count_exceeded(const struct vd_job *job, const struct vd_limit_plan *plan,
                           const struct vd_reserved *items)
{
    const struct vd_limit *counted = NULL;

    for (size_t i = 0; i < plan->want_count; i++) {
        const struct vd_limit *limit = plan->wants[i].limit;

        if (items[i].ok || limit == counted)
            continue;
        vd_metric_add(job->s->metrics, VD_M_LIMIT_EXCEEDED, job->policy->id, limit->name, 1);
        counted = limit;
    }
}

/* Nobody could say: again, until the deadline; then it counts as exceeded. */
static void retry(struct vd_job *job)
{
    struct vd_err err;

    if (job->reserve_until_ms - vd_mono_ms() <= RETRY_MS) {
        go_on(job, VD_RESERVE_UNAVAILABLE, NULL);
    } else if (job->reserve_timer == NULL &&
               vd_timer_new(job->s->loop, try_to_reserve, job, &job->reserve_timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
    } else {
        vd_timer_start(job->reserve_timer, RETRY_MS, 0);
    }
}

static void on_reserved(void *arg, const struct vd_limiter_result *result)
{
    struct vd_job *job = arg;
    const struct vd_limit_plan *plan;
    struct vd_reserved items[VD_LIMIT_MAX_ITEMS];

    if (!vd_job_came_back(job) || result->canceled)
        return;
    job->reserve = NULL;
    if (job->state != VD_JOB_REASON)
        return;
    if (!result->known) {
        retry(job);
        return;
    }
    plan = vd_reason_reservations(job->reason);
    for (size_t i = 0; i < plan->want_count; i++)
        items[i] = (struct vd_reserved){result->used[i].used, result->used[i].ok,
                                        result->used[i].closed_until_ms};
    if (!result->ok)
        count_exceeded(job, plan, items);
    go_on(job, result->ok ? VD_RESERVE_OK : VD_RESERVE_EXCEEDED, items);
}

static void try_to_reserve(void *arg)
{
    struct vd_job *job = arg;
    const struct vd_limit_plan *plan = vd_reason_reservations(job->reason);
    struct vd_limit_item items[VD_LIMIT_MAX_ITEMS];
    struct vd_limit_request request = {.decision = vd_span_of(job->id),
                                       .generation = job->rec->generation,
                                       .epoch = true,
                                       .dry = job->s->limits_dry,
                                       .items = items,
                                       .count = plan->want_count};
    int64_t left_ms = job->reserve_until_ms - vd_mono_ms();
    uint32_t timeout_ms = job->s->redis_timeout_ms;
    struct vd_err err;
    enum vd_code rc;

    if (left_ms < (int64_t)timeout_ms)
        timeout_ms = left_ms > 1 ? (uint32_t)left_ms : 1;
    for (size_t i = 0; i < plan->want_count; i++) {
        const struct vd_limit_want *w = &plan->wants[i];

        items[i] = (struct vd_limit_item){.base = vd_span_of(w->limit->base),
                                          .key = w->key,
                                          .holder = w->limit->holds ? job->key : request.decision,
                                          .amount = w->amount,
                                          .max = w->max,
                                          .keep_ms = w->limit->keep_ms,
                                          .closed_ms = w->limit->closed_ms};
    }
    rc = vd_limiter_reserve(job->s->limiter, &request, timeout_ms, on_reserved, job, &job->reserve,
                            &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        retry(job);
}

void vd_job_reserve(struct vd_job *job)
{
    int64_t now = vd_mono_ms(), deadline = vd_job_deadline_mono_ms(job);
    struct vd_err err;

    if (job->reserving)
        return;
    job->reserve_since_ms = now;
    if (job->s->limiter == NULL && !job->s->limits_dry) {
        go_on(job, VD_RESERVE_UNAVAILABLE,
              NULL); /* a reload brought limits, and there is no Redis */
        return;
    }
    if (job->s->limiter == NULL) { /* `verdict decide` without Redis: nobody else uses anything */
        if (vd_reason_assume_reserved(job->reason, NULL, &err) != VD_OK)
            vd_job_failed(job, &err);
        else
            vd_job_ask(job);
        return;
    }
    job->reserving = true;
    job->reserve_until_ms = deadline > now + GRACE_MS ? deadline : now + GRACE_MS;
    try_to_reserve(job);
}

/* -- the end -------------------------------------------------------------------------------------------------------- */

void vd_job_limits_over(struct vd_job *job, bool reserved)
{
    struct vd_limit_request nothing = {.decision = vd_span_of(job->id),
                                       .generation = job->rec->generation};

    job->reserving = false;
    job->reserve_timer = vd_timer_free(job->reserve_timer);
    if (!reserved && job->policy->limit_count > 0 && job->id[0] != '\0' &&
        job->s->limiter != NULL && !job->s->limits_dry && job->policy->mode != VD_MODE_SHADOW)
        vd_limiter_set(job->s->limiter, &nothing);
}

void vd_job_limits_cancel(struct vd_job *job)
{
    job->reserve_timer = vd_timer_free(job->reserve_timer);
    if (job->reserve != NULL)
        vd_limiter_cancel(job->reserve);
    job->reserve = NULL;
}

/* -- holds ----------------------------------------------------------------------------------------------------------- */

/* One operation of redis/limits_lua.h; false when memory is out. amounts is taken. */
static bool add_operation(const struct vd_job *job, cJSON *operations, const struct vd_limit *limit,
                          const char *what, int64_t keep_ms, cJSON *take_amounts)
{
    char place[300];
    cJSON *op = cJSON_CreateArray();
    bool ok = op != NULL && take_amounts != NULL &&
              vd_json_append(op, vd_json_new_string(VD_LIT("limit"))) &&
              vd_json_append(op, vd_json_new_string(vd_span_of(limit->base))) &&
              vd_json_append(op, vd_json_new_string(vd_span_of(what))) &&
              vd_json_append(op, vd_json_new_string(job->key));

    if (!ok) {
        (void)vd_json_free(take_amounts);
        (void)vd_json_free(op);
        return false;
    }
    (void)snprintf(place, sizeof(place), "%s:%d", job->rec->topic, job->rec->partition);
    ok = vd_json_append(op, take_amounts) && vd_json_append(op, vd_json_new_int(keep_ms)) &&
         vd_json_append(op, vd_json_new_string(vd_span_of(place))) &&
         vd_json_append(op, vd_json_new_int(job->rec->offset));
    return vd_json_append(operations, ok ? op : vd_json_free(op));
}

/* By key, what the decision has reserved of the limit; NULL when memory is out. */
static cJSON *amounts_of(const struct vd_limit_plan *plan, const struct vd_limit *limit)
{
    cJSON *amounts = cJSON_CreateObject();

    for (size_t i = 0; i < plan->want_count && amounts != NULL; i++) {
        const struct vd_limit_want *want = &plan->wants[i];
        char key[VD_KEY_MAX_BYTES + 1];

        if (want->limit != limit)
            continue;
        (void)snprintf(key, sizeof(key), "%.*s", (int)want->key.len, want->key.ptr);
        if (vd_json_get(amounts, key) == NULL &&
            !vd_json_put(amounts, key, vd_json_new_int(vd_limit_needed(plan, want))))
            amounts = vd_json_free(amounts);
    }
    return amounts;
}

/* What was held goes first, then comes what is held now, and counts as confirmed where both hold. */
static bool add_changes(const struct vd_job *job, cJSON *operations,
                        const struct vd_limit_plan *plan, const struct vd_limit *limit)
{
    struct vd_limit_change change = {.limit = limit};
    cJSON *amounts = amounts_of(plan, limit);
    bool ok = amounts != NULL;

    for (size_t i = 0; i < plan->change_count; i++)
        if (plan->changes[i].limit == limit)
            change = plan->changes[i];
    if (ok && change.release)
        ok = add_operation(job, operations, limit, "release", limit->keep_ms, cJSON_CreateObject());
    if (ok && amounts->child != NULL)
        ok = add_operation(job, operations, limit, "keep", limit->keep_ms, amounts);
    else
        (void)vd_json_free(amounts);
    if (ok && change.confirm)
        ok = add_operation(job, operations, limit, "confirm", limit->confirmed_ms,
                           cJSON_CreateObject());
    return ok;
}

enum vd_code vd_job_limit_operations(struct vd_job *job, cJSON *operations, struct vd_err *err)
{
    const struct vd_limit_plan *plan = vd_reason_outcome(job->reason)->plan;

    for (size_t i = 0; plan != NULL && i < job->policy->limit_count; i++)
        if (job->policy->limits[i].holds &&
            !add_changes(job, operations, plan, &job->policy->limits[i]))
            return vd_err_nomem(err, "limits");
    return VD_OK;
}

/* -- budget.per_key -------------------------------------------------------------------------------------------------- */

static struct vd_limit_item calls_item(struct vd_job *job, int64_t amount)
{
    const struct vd_budget_per_key *budget = &job->policy->budget.per_key;

    (void)snprintf(job->quota_base, sizeof(job->quota_base), "calls:%s:key", job->policy->id);
    (void)snprintf(job->quota_id, sizeof(job->quota_id), "%s/%u", job->id, job->quota_step);
    return (struct vd_limit_item){.base = vd_span_of(job->quota_base),
                                  .key = job->key,
                                  .holder = vd_span_of(job->quota_id),
                                  .amount = amount,
                                  .max = budget->max_model_calls,
                                  .keep_ms = budget->window_s * 1000};
}

static void ask_for_calls(struct vd_job *job, int64_t calls);

static void on_retry_calls(void *arg)
{
    struct vd_job *job = arg;

    ask_for_calls(job, job->quota_wanted);
}

static void retry_calls(struct vd_job *job)
{
    struct vd_err err;

    /* The deadline ends it. */
    if (job->reserve_timer == NULL &&
        vd_timer_new(job->s->loop, on_retry_calls, job, &job->reserve_timer) != VD_OK) {
        (void)vd_err_nomem(&err, "timer");
        vd_job_failed(job, &err);
    } else {
        vd_timer_start(job->reserve_timer, RETRY_MS, 0);
    }
}

static void on_calls(void *arg, const struct vd_limiter_result *result)
{
    struct vd_job *job = arg;
    int64_t left;

    if (!vd_job_came_back(job) || result->canceled)
        return;
    job->reserve = NULL;
    if (job->state != VD_JOB_REASON || vd_reason_state(job->reason) != VD_REASON_ASK)
        return;
    vd_metric_add(job->s->metrics, VD_M_WAIT, "limit", "", (uint64_t)result->wait_ms);
    if (!result->known) {
        retry_calls(job);
        return;
    }
    job->reserve_timer = vd_timer_free(job->reserve_timer);
    left = job->policy->budget.per_key.max_model_calls - result->used[0].used - job->quota_spent;
    if (result->ok) {
        job->quota_granted = job->quota_wanted;
        vd_job_ask(job);
    } else if (left > 0 && left < job->quota_wanted) {
        ask_for_calls(job, left); /* fewer than it could use */
    } else {
        vd_job_stop(job, VD_STOP_BUDGET_PER_KEY);
    }
}

static void ask_for_calls(struct vd_job *job, int64_t calls)
{
    struct vd_limit_item item = calls_item(job, job->quota_spent + calls);
    struct vd_limit_request request = {.decision = item.holder,
                                       .generation = job->rec->generation,
                                       .dry = job->s->limits_dry,
                                       .items = &item,
                                       .count = 1};
    struct vd_err err;
    enum vd_code rc;

    job->quota_wanted = calls;
    rc = vd_limiter_reserve(job->s->limiter, &request, job->s->redis_timeout_ms, on_calls, job,
                            &job->reserve, &err);
    if (rc == VD_OK)
        job->pending++;
    else if (rc == VD_E_NOMEM)
        vd_job_failed(job, &err);
    else
        retry_calls(job);
}

bool vd_job_count_calls(struct vd_job *job, struct vd_ask_request *request)
{
    unsigned step = vd_reason_ask(job->reason)->step;

    if (job->policy->budget.per_key.window_s == 0 ||
        (job->s->limiter == NULL && job->s->limits_dry))
        return false;
    if (job->s->limiter == NULL) {
        vd_job_stop(job, VD_STOP_BUDGET_PER_KEY); /* nobody counts */
        return true;
    }
    if (step != job->quota_step) {
        job->quota_step = step;
        job->quota_spent = job->quota_granted = 0;
    }
    if (job->quota_granted > 0) {
        if (request->calls_left > job->quota_granted)
            request->calls_left = job->quota_granted;
        return false;
    }
    ask_for_calls(job, request->calls_left);
    return true;
}

void vd_job_calls_made(struct vd_job *job, int64_t calls)
{
    struct vd_limit_item item;
    struct vd_limit_request request = {.generation = job->rec->generation, .items = &item};
    bool fewer = calls < job->quota_granted;

    if (job->quota_granted == 0)
        return;
    job->quota_granted = 0;
    job->quota_spent += calls;
    if (!fewer || job->s->limits_dry)
        return;
    item = calls_item(job, job->quota_spent);
    request.decision = item.holder;
    request.count = job->quota_spent > 0 ? 1 : 0;
    vd_limiter_set(job->s->limiter, &request);
}
