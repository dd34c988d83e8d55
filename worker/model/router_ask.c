/* model/router_ask.c - see router.h: which model is asked, and when. */
#include <assert.h>

#include "model/router_internal.h"

/* -- waiting ------------------------------------------------------------------------------------------------------------ */

struct vd_router_model *vd_router_model_at(const struct vd_router_call *call)
{
    return &call->router->models[call->models[call->at]];
}

void vd_router_leave_queue(struct vd_router_call *call)
{
    struct vd_router_model *m = vd_router_model_at(call);
    int64_t waited = vd_loop_now_ms(call->router->loop) - call->step_mono_ms;

    TAILQ_REMOVE(&m->queue, call, by_queue);
    m->status.queued--;
    if (m->narrow) {
        m->status.quota_ms += (uint64_t)waited;
        call->result.quota_ms += waited;
    } else {
        m->status.queue_ms += (uint64_t)waited;
        call->result.queue_ms += waited;
    }
    call->step = STEP_NEW;
}

static bool blocked(const struct vd_router_model *m, int64_t now)
{
    return m->quota_until_ms > now || (m->narrow && m->admitting > 0);
}

static bool has_room(const struct vd_router_model *m)
{
    return m->status.in_flight + m->admitting < vd_aimd_limit(&m->aimd);
}

/* Will the quota let this call in before it is too late, behind those that wait already? */
static bool quota_in_time(const struct vd_router_call *call, const struct vd_router_model *m,
                          int64_t now)
{
    int64_t left = call->deadline_mono_ms - now - VD_ROUTER_LEAST_TIME_MS;
    int64_t wait = m->quota_until_ms > now ? m->quota_until_ms - now : 0;

    return !m->narrow || wait + (int64_t)m->status.queued * m->quota_each_ms <= left;
}

/* End ADMITTING without an answer. */
void vd_router_give_up_reservation(struct vd_router_call *call)
{
    struct vd_router_model *m = vd_router_model_at(call);

    call->router->quota.cancel(call->router->quota.arg, call->reservation);
    call->reservation = NULL;
    call->step = STEP_NEW;
    m->admitting--;
    if (m->quota_until_ms <= vd_loop_now_ms(call->router->loop))
        vd_timer_start(m->quota_timer, 0, 0); /* the next may ask */
}

static void on_call_timer(void *arg)
{
    struct vd_router_call *call = arg;
    struct vd_router *router = call->router;

    if (call->step == STEP_QUEUED) {
        bool quota = vd_router_model_at(call)->narrow;

        vd_router_leave_queue(call);
        vd_router_finish(call,
                         quota                    ? VD_MODEL_QUOTA
                         : call->result.calls > 0 ? VD_MODEL_TIMEOUT
                                                  : VD_MODEL_UNAVAILABLE,
                         quota ? "no room in its quota before the deadline"
                               : "no room before the deadline");
    } else if (call->step == STEP_ADMITTING) {
        vd_router_give_up_reservation(call);
        vd_router_finish(call, VD_MODEL_QUOTA, "its quota did not answer before the deadline");
    } else if (call->step == STEP_WAITING) {
        int64_t waited = vd_loop_now_ms(router->loop) - call->step_mono_ms;

        call->result.retry_ms += waited;
        vd_router_model_at(call)->status.retry_ms += (uint64_t)waited;
        call->step = STEP_NEW;
        (void)vd_router_advance(call);
    }
    vd_router_drain(router);
}

/* False: out of memory, which ends the call. */
bool vd_router_set_timer(struct vd_router_call *call, int64_t after_ms)
{
    if (call->timer == NULL &&
        vd_timer_new(call->router->loop, on_call_timer, call, &call->timer) != VD_OK) {
        vd_router_finish(call, VD_MODEL_UNAVAILABLE, "out of memory");
        return false;
    }
    vd_timer_start(call->timer, after_ms > 0 ? (uint64_t)after_ms : 0, 0);
    return true;
}

static void enqueue(struct vd_router_call *call, struct vd_router_model *m, int64_t now)
{
    if (!vd_router_set_timer(call, call->deadline_mono_ms - now))
        return;
    call->step = STEP_QUEUED;
    call->step_mono_ms = now;
    TAILQ_INSERT_TAIL(&m->queue, call, by_queue);
    m->status.queued++;
}

/* -- asking -------------------------------------------------------------------------------------------------------------- */

static enum vd_code encode(struct vd_router_call *call, struct vd_router_model *m,
                           struct vd_err *err)
{
    enum vd_code rc;

    if (call->body_model == call->models[call->at] + 1)
        return VD_OK;
    vd_buf_clear(&call->body);
    call->body_model = 0;
    rc = m->ops->encode(m->instance, call->request, &call->body, err);
    if (rc != VD_OK)
        return rc;
    call->body_model = call->models[call->at] + 1;
    if (call->hash_body)
        call->result.body_hash = vd_sha256(vd_buf_span(&call->body));
    return VD_OK;
}

/* Could not even be sent: another model may do. */
static void not_sent(struct vd_router_call *call, struct vd_router_model *m,
                     const struct vd_err *err)
{
    struct vd_model_result r = {.retry_after_ms = -1};

    r.outcome =
        err->code == VD_E_LIMIT && !err->retriable ? VD_MODEL_TOO_LARGE : VD_MODEL_UNAVAILABLE;
    r.err = *err;
    vd_router_note_attempt(call, m, &r);
    call->result.model = r;
    call->result.model_index = call->models[call->at];
}

/* True when the provider has it. */
static bool send(struct vd_router_call *call, struct vd_router_model *m, int64_t now)
{
    struct vd_err err = {0};
    int64_t left = call->deadline_mono_ms - now;
    uint32_t timeout = m->conf.timeout_ms;
    enum vd_code rc;

    if (left < (int64_t)timeout)
        timeout = (uint32_t)left;
    rc = m->ops->submit(m->instance, call->request, vd_buf_span(&call->body), timeout,
                        vd_router_on_answer, call, &call->provider_call, &err);

    vd_buf_free(&call->body); /* thousands of requests wait for their answers */
    call->body_model = 0;
    if (rc != VD_OK) {
        struct vd_model_result nothing = {0};

        vd_router_correct_quota(call, m, &nothing);
        m->status.key_missing = err.code == VD_E_CONFIG;
        not_sent(call, m, &err);
        return false;
    }
    m->status.key_missing = false;
    if (call->timer != NULL)
        vd_timer_stop(call->timer);
    call->step = STEP_ASKING;
    call->step_mono_ms = now;
    call->timeout_ms = timeout;
    call->probe = vd_breaker_begin(&m->breaker);
    call->tries++;
    call->asked++;
    m->status.in_flight++;
    return true;
}

/* What the request will take at most, as far as can be known before. */
static struct vd_router_use estimate(const struct vd_router_call *call,
                                     const struct vd_router_model *m)
{
    struct vd_model_usage usage = {.input_tokens = vd_model_estimate_tokens(call->body.len),
                                   .output_tokens = call->request->max_output_tokens};
    struct vd_router_use use = {.requests = 1};

    use.tokens = usage.input_tokens + usage.output_tokens;
    (void)vd_model_cost_microusd(&m->conf.prices, &usage, &use.cost_microusd);
    return use;
}

static void on_admission(void *arg, const struct vd_router_admission *answer);

/* True when the provider has it, or the quota is asked first. */
static bool ask(struct vd_router_call *call, struct vd_router_model *m, int64_t now)
{
    struct vd_router *router = call->router;
    struct vd_err err = {0};

    if (encode(call, m, &err) != VD_OK) {
        not_sent(call, m, &err);
        return false;
    }
    if (!m->limited)
        return send(call, m, now);
    call->reserved = estimate(call, m);
    if (!vd_router_set_timer(call, call->deadline_mono_ms - now))
        return true; /* it is finished */
    if (router->quota.reserve(router->quota.arg, call->models[call->at], &call->reserved,
                              on_admission, call, &call->reservation) != VD_OK) {
        call->reserved = (struct vd_router_use){0};
        (void)vd_err_nomem(&err, "quota");
        not_sent(call, m, &err);
        return false;
    }
    call->step = STEP_ADMITTING;
    m->admitting++;
    return true;
}

static void deny(struct vd_router_call *call, struct vd_router_model *m)
{
    call->denied = true;
    m->status.quota_denied++;
}

/* From STEP_NEW to QUEUED, ADMITTING, ASKING or FINISHED; true when finished. Never calls done. */
bool vd_router_advance(struct vd_router_call *call)
{
    struct vd_router *router = call->router;
    int64_t now = vd_loop_now_ms(router->loop);
    bool had_failure = call->result.attempt_count > 0;

    for (; call->at < call->model_count; call->at++, call->tries = 0) {
        struct vd_router_model *m = vd_router_model_at(call);

        if (call->deadline_mono_ms - now < VD_ROUTER_LEAST_TIME_MS) {
            vd_router_finish(call, call->result.calls > 0 ? VD_MODEL_TIMEOUT : VD_MODEL_UNAVAILABLE,
                             had_failure ? NULL : "no time left before the deadline");
            return true;
        }
        if (call->max_calls != 0 && call->asked >= call->max_calls)
            break;
        if (!vd_breaker_allows(&m->breaker, now))
            continue;
        if (!quota_in_time(call, m, now)) {
            deny(call, m);
            continue;
        }
        if (!has_room(m) || !TAILQ_EMPTY(&m->queue) || blocked(m, now)) {
            enqueue(call, m, now);
            return call->step == STEP_FINISHED;
        }
        if (ask(call, m, now))
            return call->step == STEP_FINISHED;
    }
    vd_router_finish(call, call->denied ? VD_MODEL_QUOTA : VD_MODEL_UNAVAILABLE,
                     call->result.attempt_count > 0 ? NULL
                     : call->denied                 ? "no room in its quota before the deadline"
                                                    : "no model can be asked now");
    return true;
}

void vd_router_serve_queue(struct vd_router *router, struct vd_router_model *m)
{
    struct vd_router_call *call;
    int64_t now = vd_loop_now_ms(router->loop);

    while ((call = TAILQ_FIRST(&m->queue)) != NULL && has_room(m) && !blocked(m, now)) {
        vd_router_leave_queue(call);
        if (!vd_breaker_allows(&m->breaker, now) ||
            call->deadline_mono_ms - now < VD_ROUTER_LEAST_TIME_MS) {
            (void)vd_router_advance(call);
        } else if (!ask(call, m, now)) {
            call->at++;
            call->tries = 0;
            (void)vd_router_advance(call);
        }
    }
    if (TAILQ_EMPTY(&m->queue) && !blocked(m, now))
        m->narrow = false;
}

/* -- quotas ------------------------------------------------------------------------------------------------------------- */

void vd_router_on_quota_timer(void *arg)
{
    struct vd_router_model *m = arg;

    vd_router_serve_queue(m->router, m);
    vd_router_drain(m->router);
}

static void next_model(struct vd_router_call *call)
{
    call->at++;
    call->tries = 0;
    (void)vd_router_advance(call);
}

static void insert_by_arrival(struct vd_router_model *m, struct vd_router_call *call)
{
    struct vd_router_call *other = TAILQ_FIRST(&m->queue);

    while (other != NULL && other->number < call->number)
        other = TAILQ_NEXT(other, by_queue);
    if (other != NULL)
        TAILQ_INSERT_BEFORE(other, call, by_queue);
    else
        TAILQ_INSERT_TAIL(&m->queue, call, by_queue);
}

/* No room now: it goes back to the head of the queue, and all wait with it; or on to the next model, if that takes too long. */
static void refused(struct vd_router_call *call, struct vd_router_model *m,
                    const struct vd_router_admission *answer, int64_t now)
{
    bool never = answer->wait_ms < 0;

    call->reserved = (struct vd_router_use){0};
    if (!never) {
        m->narrow = true;
        m->quota_until_ms = now + answer->wait_ms;
        m->quota_each_ms = answer->each_ms;
        vd_timer_start(m->quota_timer, (uint64_t)answer->wait_ms, 0);
    }
    if (never || now + answer->wait_ms + VD_ROUTER_LEAST_TIME_MS > call->deadline_mono_ms) {
        deny(call, m);
        next_model(call);
        return;
    }
    if (!vd_router_set_timer(call, call->deadline_mono_ms - now))
        return;
    call->step = STEP_QUEUED;
    call->step_mono_ms = now;
    insert_by_arrival(m, call);
    m->status.queued++;
}

static void on_admission(void *arg, const struct vd_router_admission *answer)
{
    struct vd_router_call *call = arg;
    struct vd_router *router = call->router;
    struct vd_router_model *m = vd_router_model_at(call);
    int64_t now = vd_loop_now_ms(router->loop);
    struct vd_model_result nothing = {0};

    assert(call->magic == VD_ROUTER_CALL_MAGIC && call->step == STEP_ADMITTING);
    call->reservation = NULL;
    call->step = STEP_NEW;
    m->admitting--;
    if (answer->wait_ms != 0) {
        refused(call, m, answer, now);
    } else if (!vd_breaker_allows(&m->breaker, now) ||
               call->deadline_mono_ms - now < VD_ROUTER_LEAST_TIME_MS) {
        vd_router_correct_quota(call, m, &nothing);
        (void)vd_router_advance(call);
    } else if (!send(call, m, now)) {
        next_model(call);
    }
    vd_router_serve_queue(router, m);
    vd_router_drain(router);
}
