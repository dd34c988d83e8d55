/* model/router_answer.c - see router.h: what an answer means. */
#include <assert.h>
#include <stdio.h>

#include "base/alloc.h"
#include "model/router_internal.h"

#define QUOTA_PAUSE_MS    60000 /* before an exhausted quota is tried again */
#define RETRY_TOKENS_MOST 1000.0

/* -- what an answer means ------------------------------------------------------------------------------------------------ */

/* Does it say that the model is unwell? A bad request, a refusal or a rate limit does not. */
static bool is_failure(const struct vd_model_result *r)
{
    switch (r->outcome) {
    case VD_MODEL_TIMEOUT:
    case VD_MODEL_MALFORMED:
        return true;
    case VD_MODEL_RETRY:
        return r->http_status != 429;
    case VD_MODEL_FATAL:
        return r->http_status == 401 || r->http_status == 403 || r->http_status == 404 ||
               r->http_status == 0;
    default:
        return false;
    }
}

static bool may_retry(const struct vd_model_result *r)
{
    if (r->outcome == VD_MODEL_QUOTA)
        return false;
    if (r->should_retry_known)
        return r->should_retry;
    return r->outcome == VD_MODEL_RETRY || r->outcome == VD_MODEL_TIMEOUT;
}

static bool take_retry_token(struct vd_router *router, int64_t now)
{
    double regained = (double)(now - router->retry_tokens_ms) * VD_ROUTER_RETRY_TOKENS / 60000.0;

    if (router->retry_tokens < VD_ROUTER_RETRY_TOKENS) {
        router->retry_tokens += regained;
        if (router->retry_tokens > VD_ROUTER_RETRY_TOKENS)
            router->retry_tokens = VD_ROUTER_RETRY_TOKENS;
    }
    router->retry_tokens_ms = now;
    if (router->retry_tokens < 1.0)
        return false;
    router->retry_tokens -= 1.0;
    return true;
}

static void add_retry_token(struct vd_router *router)
{
    router->retry_tokens += (double)router->conf.retry_percent / 100.0;
    if (router->retry_tokens > RETRY_TOKENS_MOST)
        router->retry_tokens = RETRY_TOKENS_MOST;
}

/* How long to wait before the same model is asked again; -1: do not. */
static int64_t retry_delay(struct vd_router_call *call, const struct vd_model_result *r,
                           int64_t now)
{
    struct vd_router *router = call->router;
    uint64_t most = router->conf.retry_base_ms;
    int64_t delay;

    if (!may_retry(r) || call->tries >= router->conf.max_attempts ||
        (call->max_calls != 0 && call->asked >= call->max_calls))
        return -1;
    for (uint32_t i = 1; i < call->tries && most < router->conf.retry_cap_ms; i++)
        most *= 2;
    if (most > router->conf.retry_cap_ms)
        most = router->conf.retry_cap_ms;
    delay = (int64_t)vd_prng_below(&router->prng, most + 1);
    if (r->retry_after_ms >= 0) {
        if (r->retry_after_ms > (int64_t)router->conf.retry_cap_ms)
            return -1; /* longer than is worth it: the next model */
        delay = r->retry_after_ms;
    }
    if (now + delay + VD_ROUTER_LEAST_TIME_MS > call->deadline_mono_ms ||
        !take_retry_token(router, now))
        return -1;
    return delay;
}

void vd_router_note_attempt(struct vd_router_call *call, struct vd_router_model *m,
                            const struct vd_model_result *r)
{
    struct vd_router_result *all = &call->result;
    bool sent = r->sent || r->http_status != 0;
    uint64_t cost = 0;

    (void)vd_model_cost_microusd(&m->conf.prices, &r->usage, &cost);
    if (call->attempts == NULL)
        call->attempts = vd_alloc_array(VD_ROUTER_MAX_ATTEMPTS, sizeof(*call->attempts));
    if (call->attempts != NULL &&
        all->attempt_count < VD_ROUTER_MAX_ATTEMPTS) /* no more are kept */
        call->attempts[all->attempt_count++] = (struct vd_router_attempt){
            call->models[call->at], r->outcome, r->http_status, r->total_us, cost, r->usage};
    all->calls += sent;
    all->cost_microusd += cost;
    all->usage.input_tokens += r->usage.input_tokens;
    all->usage.cached_tokens += r->usage.cached_tokens;
    all->usage.output_tokens += r->usage.output_tokens;
    all->usage.reasoning_tokens += r->usage.reasoning_tokens;
    m->status.outcomes[r->outcome]++;
    m->status.calls += sent;
    m->status.cost_microusd += cost;
    m->status.usage.input_tokens += r->usage.input_tokens;
    m->status.usage.cached_tokens += r->usage.cached_tokens;
    m->status.usage.output_tokens += r->usage.output_tokens;
    m->status.usage.reasoning_tokens += r->usage.reasoning_tokens;
    if (r->outcome != VD_MODEL_OK && r->outcome != VD_MODEL_CANCELED) {
        (void)snprintf(m->last_error, sizeof(m->last_error), "%s", r->err.msg);
        m->status.last_error_mono_ms = vd_loop_now_ms(call->router->loop);
    }
}

/* Breaker and concurrency learn from it. True when the breaker has just opened. */
static bool learn(struct vd_router_call *call, struct vd_router_model *m,
                  const struct vd_model_result *r, int64_t now)
{
    struct vd_router *router = call->router;
    bool opened;

    if (r->outcome == VD_MODEL_CANCELED) {
        vd_breaker_forget(&m->breaker, call->probe);
        return false;
    }
    if (r->outcome == VD_MODEL_QUOTA) {
        m->quota_exhausted = true;
        vd_breaker_trip(&m->breaker, now, QUOTA_PAUSE_MS);
        return true;
    }
    if (r->outcome == VD_MODEL_OK) {
        m->quota_exhausted = false;
        m->typical_ms += (r->total_us / 1000 - m->typical_ms) / 8;
        vd_aimd_success(&m->aimd, m->status.in_flight + 1);
        add_retry_token(router);
    } else if (r->outcome == VD_MODEL_TIMEOUT && call->timeout_ms < 2 * m->typical_ms) {
        /* It was sent with too little time left: that says nothing of the model. Counting it would keep a queue of late calls
         * late for ever. */
        vd_breaker_forget(&m->breaker, call->probe);
        return false;
    } else if (r->http_status == 429 || r->outcome == VD_MODEL_TIMEOUT) {
        vd_aimd_congestion(&m->aimd, call->step_mono_ms, now);
    }
    opened = vd_breaker_end(&m->breaker, !is_failure(r), call->probe, now, &router->prng);
    return opened;
}

/* Nobody waits for a model that is not asked. */
static void empty_queue(struct vd_router_model *m)
{
    struct vd_router_call *call;

    while ((call = TAILQ_FIRST(&m->queue)) != NULL) {
        vd_router_leave_queue(call);
        (void)vd_router_advance(call);
    }
}

static void scrub(struct vd_model_result *r)
{
    r->raw = r->answer = r->finish_reason = r->model = r->request_id = (struct vd_span){0};
    r->tool_calls = NULL;
    r->tool_call_count = 0;
}

/* The reservation was an estimate. An error used nothing; of a call that ended without an answer nothing is known. */
void vd_router_correct_quota(struct vd_router_call *call, const struct vd_router_model *m,
                             const struct vd_model_result *r)
{
    struct vd_router_use used = call->reserved;
    const struct vd_router_quota *quota = &call->router->quota;

    if (call->reserved.requests == 0)
        return;
    if (r->usage_known) {
        used.tokens = r->usage.input_tokens + r->usage.output_tokens;
        used.cost_microusd = 0;
        (void)vd_model_cost_microusd(&m->conf.prices, &r->usage, &used.cost_microusd);
    } else if (!r->sent && r->http_status == 0) {
        used = (struct vd_router_use){0};
    } else if (r->http_status >= 400) {
        used.tokens = used.cost_microusd = 0;
    }
    quota->correct(quota->arg, call->models[call->at], &call->reserved, &used);
    call->reserved = (struct vd_router_use){0};
}

void vd_router_on_answer(void *arg, const struct vd_model_result *r)
{
    struct vd_router_call *call = arg;
    struct vd_router *router = call->router;
    struct vd_router_model *m = vd_router_model_at(call);
    int64_t now = vd_loop_now_ms(router->loop);
    bool opened, over;
    int64_t delay;

    assert(call->magic == VD_ROUTER_CALL_MAGIC && call->step == STEP_ASKING);
    call->provider_call = NULL;
    m->status.in_flight--;
    vd_router_note_attempt(call, m, r);
    vd_router_correct_quota(call, m, r);
    opened = learn(call, m, r, now);
    call->result.model = *r;
    call->result.model_index = call->models[call->at];
    call->step = STEP_NEW;
    if (r->outcome == VD_MODEL_OK || r->outcome == VD_MODEL_CANCELED || call->canceled) {
        if (call->canceled)
            vd_router_finish(call, VD_MODEL_CANCELED, "canceled");
        else
            vd_router_finish(call, r->outcome, NULL);
        over = true;
    } else if ((delay = retry_delay(call, r, now)) >= 0) {
        m->status.retries++;
        call->step = STEP_WAITING;
        call->step_mono_ms = now;
        over = !vd_router_set_timer(call, delay);
    } else {
        call->at++;
        call->tries = 0;
        over = vd_router_advance(call);
    }
    if (!over)
        scrub(&call->result.model); /* it points into what ends with this callback */
    if (opened)
        empty_queue(m);
    else
        vd_router_serve_queue(router, m);
    vd_router_drain(router);
}
