/* model/router.c - see router.h. */
#include "model/router.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/prng.h"
#include "loop/loop.h"
#include "model/breaker.h"

#define CALL_MAGIC          0x524f5554u
#define DEFAULT_TIMEOUT_MS  60000
#define DEFAULT_CONCURRENCY 256
#define LEAST_TIME_MS       20    /* a call that has less left is not made */
#define QUOTA_PAUSE_MS      60000 /* before an exhausted quota is tried again */
#define RETRY_TOKENS_LEAST  10.0
#define RETRY_TOKENS_MOST   1000.0

enum step { STEP_NEW, STEP_QUEUED, STEP_WAITING, STEP_ADMITTING, STEP_ASKING, STEP_FINISHED };

struct vd_router_call {
    unsigned magic;
    struct vd_router *router;
    enum step step;
    uint64_t number;                  /* in the order of submits */
    TAILQ_ENTRY(vd_router_call) link; /* all */
    TAILQ_ENTRY(vd_router_call) by_queue;
    TAILQ_ENTRY(vd_router_call) by_finish;
    const struct vd_model_request *request;
    size_t models[VD_ROUTER_MAX_MODELS];
    size_t model_count;
    size_t at; /* in models */
    int64_t deadline_mono_ms;
    uint32_t max_calls;
    uint32_t tries; /* on the model at hand */
    uint32_t asked; /* calls to providers */
    struct vd_buf body;
    size_t body_model; /* that body was encoded for, plus one; 0: none */
    struct vd_timer *timer;
    void *provider_call;
    void *reservation;             /* ADMITTING: being made */
    struct vd_router_use reserved; /* for the request at hand; zero: nothing */
    bool denied;                   /* by the quota of some model */
    bool probe;
    int64_t timeout_ms;   /* of the request at hand */
    int64_t step_mono_ms; /* when it began to queue, wait or ask */
    struct vd_router_attempt attempts[VD_ROUTER_MAX_ATTEMPTS];
    struct vd_router_result result;
    bool canceled;
    vd_router_done_fn *done;
    void *arg;
};

TAILQ_HEAD(router_calls, vd_router_call);

struct model {
    struct vd_model_conf conf; /* strings are copies */
    const struct vd_model_ops *ops;
    void *instance;
    struct vd_breaker breaker;
    struct vd_aimd aimd;
    struct router_calls queue;
    struct vd_router_status status; /* counters and gauges; the rest is filled when asked for */
    bool quota_exhausted;           /* as the provider says */
    bool limited;                   /* by a quota of ours */
    bool narrow;        /* it said no: from now on one asks at a time, in order, until none waits */
    unsigned admitting; /* calls that ask it now; each holds a place as if it were in flight */
    int64_t quota_until_ms; /* nobody asks before */
    int64_t quota_each_ms;
    struct vd_timer *quota_timer;
    struct vd_router *router; /* of quota_timer */
    int64_t typical_ms;       /* of good answers, moving average */
    char last_error[240];
};

struct vd_router {
    struct vd_loop *loop;
    struct vd_router_conf conf;
    struct vd_router_quota quota; /* where some model is limited */
    struct model *models;
    size_t model_count;
    struct vd_prng prng;
    double retry_tokens; /* a bucket: each call adds a share, each retry takes one */
    int64_t retry_tokens_ms;
    uint64_t submitted;
    struct router_calls all;
    struct router_calls finished;
    struct vd_timer *soon;
    bool draining;
    bool closing;
};

static bool advance(struct vd_router_call *call);
static void serve_queue(struct vd_router *router, struct model *m);

/* -- finishing ---------------------------------------------------------------------------------------------------------- */

static void finish(struct vd_router_call *call, enum vd_model_outcome outcome, const char *why)
{
    struct vd_router *router = call->router;

    assert(call->step != STEP_FINISHED && call->step != STEP_QUEUED);
    if (why != NULL) {
        call->result.model.outcome = outcome;
        (void)vd_err_set(&call->result.model.err,
                         outcome == VD_MODEL_TIMEOUT ? VD_E_TIMEOUT : VD_E_REMOTE,
                         outcome != VD_MODEL_FATAL, "model: %s", why);
    }
    if (call->timer != NULL)
        vd_timer_stop(call->timer);
    call->step = STEP_FINISHED;
    TAILQ_INSERT_TAIL(&router->finished, call, by_finish);
}

static void run_done(struct vd_router_call *call)
{
    struct vd_router *router = call->router;

    TAILQ_REMOVE(&router->all, call, link);
    call->result.attempts = call->attempts;
    call->result.body = vd_buf_span(&call->body);
    call->done(call->arg, &call->result);
    call->magic = 0;
    (void)vd_timer_free(call->timer);
    vd_buf_free(&call->body);
    (void)vd_free(call);
}

static void drain(struct vd_router *router)
{
    struct vd_router_call *call;

    if (router->draining)
        return;
    router->draining = true;
    while ((call = TAILQ_FIRST(&router->finished)) != NULL) {
        TAILQ_REMOVE(&router->finished, call, by_finish);
        run_done(call);
    }
    router->draining = false;
}

static void on_soon(void *arg)
{
    drain(arg);
}

/* -- waiting ------------------------------------------------------------------------------------------------------------ */

static struct model *model_at(const struct vd_router_call *call)
{
    return &call->router->models[call->models[call->at]];
}

static void leave_queue(struct vd_router_call *call)
{
    struct model *m = model_at(call);
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

static bool blocked(const struct model *m, int64_t now)
{
    return m->quota_until_ms > now || (m->narrow && m->admitting > 0);
}

static bool has_room(const struct model *m)
{
    return m->status.in_flight + m->admitting < vd_aimd_limit(&m->aimd);
}

/* Will the quota let this call in before it is too late, behind those that wait already? */
static bool quota_in_time(const struct vd_router_call *call, const struct model *m, int64_t now)
{
    int64_t left = call->deadline_mono_ms - now - LEAST_TIME_MS;
    int64_t wait = m->quota_until_ms > now ? m->quota_until_ms - now : 0;

    return !m->narrow || wait + (int64_t)m->status.queued * m->quota_each_ms <= left;
}

/* End ADMITTING without an answer. */
static void give_up_reservation(struct vd_router_call *call)
{
    struct model *m = model_at(call);

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
        bool quota = model_at(call)->narrow;

        leave_queue(call);
        finish(call,
               quota                    ? VD_MODEL_QUOTA
               : call->result.calls > 0 ? VD_MODEL_TIMEOUT
                                        : VD_MODEL_UNAVAILABLE,
               quota ? "no room in its quota before the deadline" : "no room before the deadline");
    } else if (call->step == STEP_ADMITTING) {
        give_up_reservation(call);
        finish(call, VD_MODEL_QUOTA, "its quota did not answer before the deadline");
    } else if (call->step == STEP_WAITING) {
        int64_t waited = vd_loop_now_ms(router->loop) - call->step_mono_ms;

        call->result.retry_ms += waited;
        model_at(call)->status.retry_ms += (uint64_t)waited;
        call->step = STEP_NEW;
        (void)advance(call);
    }
    drain(router);
}

/* False: out of memory, which ends the call. */
static bool set_timer(struct vd_router_call *call, int64_t after_ms)
{
    if (call->timer == NULL &&
        vd_timer_new(call->router->loop, on_call_timer, call, &call->timer) != VD_OK) {
        finish(call, VD_MODEL_UNAVAILABLE, "out of memory");
        return false;
    }
    vd_timer_start(call->timer, after_ms > 0 ? (uint64_t)after_ms : 0, 0);
    return true;
}

static void enqueue(struct vd_router_call *call, struct model *m, int64_t now)
{
    if (!set_timer(call, call->deadline_mono_ms - now))
        return;
    call->step = STEP_QUEUED;
    call->step_mono_ms = now;
    TAILQ_INSERT_TAIL(&m->queue, call, by_queue);
    m->status.queued++;
}

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
    double regained = (double)(now - router->retry_tokens_ms) * RETRY_TOKENS_LEAST / 60000.0;

    if (router->retry_tokens < RETRY_TOKENS_LEAST) {
        router->retry_tokens += regained;
        if (router->retry_tokens > RETRY_TOKENS_LEAST)
            router->retry_tokens = RETRY_TOKENS_LEAST;
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
    if (now + delay + LEAST_TIME_MS > call->deadline_mono_ms || !take_retry_token(router, now))
        return -1;
    return delay;
}

static void note_attempt(struct vd_router_call *call, struct model *m,
                         const struct vd_model_result *r)
{
    struct vd_router_result *all = &call->result;
    bool sent = r->sent || r->http_status != 0;
    uint64_t cost = 0;

    (void)vd_model_cost_microusd(&m->conf.prices, &r->usage, &cost);
    if (all->attempt_count < VD_ROUTER_MAX_ATTEMPTS)
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
static bool learn(struct vd_router_call *call, struct model *m, const struct vd_model_result *r,
                  int64_t now)
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
static void empty_queue(struct model *m)
{
    struct vd_router_call *call;

    while ((call = TAILQ_FIRST(&m->queue)) != NULL) {
        leave_queue(call);
        (void)advance(call);
    }
}

static void scrub(struct vd_model_result *r)
{
    r->raw = r->answer = r->finish_reason = r->model = r->request_id = (struct vd_span){0};
    r->tool_calls = NULL;
    r->tool_call_count = 0;
}

/* The reservation was an estimate. An error used nothing; of a call that ended without an answer nothing is known. */
static void correct_quota(struct vd_router_call *call, const struct model *m,
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

static void on_answer(void *arg, const struct vd_model_result *r)
{
    struct vd_router_call *call = arg;
    struct vd_router *router = call->router;
    struct model *m = model_at(call);
    int64_t now = vd_loop_now_ms(router->loop);
    bool opened, over;
    int64_t delay;

    assert(call->magic == CALL_MAGIC && call->step == STEP_ASKING);
    call->provider_call = NULL;
    m->status.in_flight--;
    note_attempt(call, m, r);
    correct_quota(call, m, r);
    opened = learn(call, m, r, now);
    call->result.model = *r;
    call->result.model_index = call->models[call->at];
    call->step = STEP_NEW;
    if (r->outcome == VD_MODEL_OK || r->outcome == VD_MODEL_CANCELED || call->canceled) {
        if (call->canceled)
            finish(call, VD_MODEL_CANCELED, "canceled");
        else
            finish(call, r->outcome, NULL);
        over = true;
    } else if ((delay = retry_delay(call, r, now)) >= 0) {
        m->status.retries++;
        call->step = STEP_WAITING;
        call->step_mono_ms = now;
        over = !set_timer(call, delay);
    } else {
        call->at++;
        call->tries = 0;
        over = advance(call);
    }
    if (!over)
        scrub(&call->result.model); /* it points into what ends with this callback */
    if (opened)
        empty_queue(m);
    else
        serve_queue(router, m);
    drain(router);
}

/* -- asking -------------------------------------------------------------------------------------------------------------- */

static enum vd_code encode(struct vd_router_call *call, struct model *m, struct vd_err *err)
{
    enum vd_code rc;

    if (call->body_model == call->models[call->at] + 1)
        return VD_OK;
    vd_buf_clear(&call->body);
    call->body_model = 0;
    rc = m->ops->encode(m->instance, call->request, &call->body, err);
    if (rc == VD_OK)
        call->body_model = call->models[call->at] + 1;
    return rc;
}

/* Could not even be sent: another model may do. */
static void not_sent(struct vd_router_call *call, struct model *m, const struct vd_err *err)
{
    struct vd_model_result r = {.retry_after_ms = -1};

    r.outcome =
        err->code == VD_E_LIMIT && !err->retriable ? VD_MODEL_TOO_LARGE : VD_MODEL_UNAVAILABLE;
    r.err = *err;
    note_attempt(call, m, &r);
    call->result.model = r;
    call->result.model_index = call->models[call->at];
}

/* True when the provider has it. */
static bool send(struct vd_router_call *call, struct model *m, int64_t now)
{
    struct vd_err err = {0};
    int64_t left = call->deadline_mono_ms - now;
    uint32_t timeout = m->conf.timeout_ms;

    if (left < (int64_t)timeout)
        timeout = (uint32_t)left;
    if (m->ops->submit(m->instance, call->request, vd_buf_span(&call->body), timeout, on_answer,
                       call, &call->provider_call, &err) != VD_OK) {
        struct vd_model_result nothing = {0};

        correct_quota(call, m, &nothing);
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
static struct vd_router_use estimate(const struct vd_router_call *call, const struct model *m)
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
static bool ask(struct vd_router_call *call, struct model *m, int64_t now)
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
    if (!set_timer(call, call->deadline_mono_ms - now))
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

static void deny(struct vd_router_call *call, struct model *m)
{
    call->denied = true;
    m->status.quota_denied++;
}

/* From STEP_NEW to QUEUED, ADMITTING, ASKING or FINISHED; true when finished. Never calls done. */
static bool advance(struct vd_router_call *call)
{
    struct vd_router *router = call->router;
    int64_t now = vd_loop_now_ms(router->loop);
    bool had_failure = call->result.attempt_count > 0;

    for (; call->at < call->model_count; call->at++, call->tries = 0) {
        struct model *m = model_at(call);

        if (call->deadline_mono_ms - now < LEAST_TIME_MS) {
            finish(call, call->result.calls > 0 ? VD_MODEL_TIMEOUT : VD_MODEL_UNAVAILABLE,
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
    finish(call, call->denied ? VD_MODEL_QUOTA : VD_MODEL_UNAVAILABLE,
           call->result.attempt_count > 0 ? NULL
           : call->denied                 ? "no room in its quota before the deadline"
                                          : "no model can be asked now");
    return true;
}

static void serve_queue(struct vd_router *router, struct model *m)
{
    struct vd_router_call *call;
    int64_t now = vd_loop_now_ms(router->loop);

    while ((call = TAILQ_FIRST(&m->queue)) != NULL && has_room(m) && !blocked(m, now)) {
        leave_queue(call);
        if (!vd_breaker_allows(&m->breaker, now) || call->deadline_mono_ms - now < LEAST_TIME_MS) {
            (void)advance(call);
        } else if (!ask(call, m, now)) {
            call->at++;
            call->tries = 0;
            (void)advance(call);
        }
    }
    if (TAILQ_EMPTY(&m->queue) && !blocked(m, now))
        m->narrow = false;
}

/* -- quotas ------------------------------------------------------------------------------------------------------------- */

static void on_quota_timer(void *arg)
{
    struct model *m = arg;

    serve_queue(m->router, m);
    drain(m->router);
}

static void next_model(struct vd_router_call *call)
{
    call->at++;
    call->tries = 0;
    (void)advance(call);
}

static void insert_by_arrival(struct model *m, struct vd_router_call *call)
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
static void refused(struct vd_router_call *call, struct model *m,
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
    if (never || now + answer->wait_ms + LEAST_TIME_MS > call->deadline_mono_ms) {
        deny(call, m);
        next_model(call);
        return;
    }
    if (!set_timer(call, call->deadline_mono_ms - now))
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
    struct model *m = model_at(call);
    int64_t now = vd_loop_now_ms(router->loop);
    struct vd_model_result nothing = {0};

    assert(call->magic == CALL_MAGIC && call->step == STEP_ADMITTING);
    call->reservation = NULL;
    call->step = STEP_NEW;
    m->admitting--;
    if (answer->wait_ms != 0) {
        refused(call, m, answer, now);
    } else if (!vd_breaker_allows(&m->breaker, now) ||
               call->deadline_mono_ms - now < LEAST_TIME_MS) {
        correct_quota(call, m, &nothing);
        (void)advance(call);
    } else if (!send(call, m, now)) {
        next_model(call);
    }
    serve_queue(router, m);
    drain(router);
}

/* -- calls --------------------------------------------------------------------------------------------------------------- */

enum vd_code vd_router_submit(struct vd_router *router, const struct vd_router_request *request,
                              vd_router_done_fn *done, void *arg, struct vd_router_call **ret_call,
                              struct vd_err *err)
{
    struct vd_router_call *call;

    assert(request->model_count >= 1 && request->model_count <= VD_ROUTER_MAX_MODELS);
    if (router->closing)
        return vd_err_set(err, VD_E_REMOTE, true, "model: shutting down");
    call = vd_alloc(sizeof(*call));
    if (call == NULL)
        return vd_err_nomem(err, "model call");
    call->magic = CALL_MAGIC;
    call->router = router;
    call->number = ++router->submitted;
    call->request = request->request;
    call->model_count = request->model_count;
    for (size_t i = 0; i < request->model_count; i++) {
        assert(request->models[i] < router->model_count);
        call->models[i] = request->models[i];
    }
    call->deadline_mono_ms = request->deadline_mono_ms;
    call->max_calls = request->max_calls;
    call->result.model.retry_after_ms = -1;
    call->done = done;
    call->arg = arg;
    vd_buf_init(&call->body, VD_MODEL_REQUEST_MAX_BYTES);
    TAILQ_INSERT_TAIL(&router->all, call, link);
    if (advance(call))
        vd_timer_start(router->soon, 0, 0);
    if (ret_call != NULL)
        *ret_call = call;
    return VD_OK;
}

void vd_router_cancel(struct vd_router_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (call->step == STEP_FINISHED || call->canceled)
        return;
    call->canceled = true;
    if (call->step == STEP_ASKING) {
        model_at(call)->ops->cancel(model_at(call)->instance, call->provider_call);
        return; /* on_answer() follows */
    }
    if (call->step == STEP_QUEUED)
        leave_queue(call);
    if (call->step == STEP_ADMITTING)
        give_up_reservation(call);
    finish(call, VD_MODEL_CANCELED, "canceled");
    vd_timer_start(call->router->soon, 0, 0);
}

uint32_t vd_router_sent(const struct vd_router_call *call)
{
    assert(call->magic == CALL_MAGIC);
    return call->result.calls + (call->step == STEP_ASKING ? 1 : 0);
}

void vd_router_let_finish(struct vd_router_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (call->step == STEP_ASKING)
        call->max_calls = call->asked;
    else
        vd_router_cancel(call);
}

bool vd_router_available(const struct vd_router *router, const size_t *models, size_t model_count,
                         int64_t *ret_retry_ms)
{
    int64_t now = vd_loop_now_ms(router->loop), soonest = INT64_MAX;

    for (size_t i = 0; i < model_count; i++) {
        const struct vd_breaker *b = &router->models[models[i]].breaker;
        int64_t left = b->state == VD_BREAKER_OPEN ? b->open_until_ms - now : 0;

        if (b->state == VD_BREAKER_CLOSED || (left <= 0 && !b->probing))
            return true;
        if (left < 100)
            left = 100; /* a probe is out: its answer decides */
        if (left < soonest)
            soonest = left;
    }
    *ret_retry_ms = soonest;
    return false;
}

enum vd_code vd_router_encode(const struct vd_router *router, size_t model,
                              const struct vd_model_request *request, struct vd_buf *out,
                              struct vd_err *err)
{
    const struct model *m = &router->models[model];

    return m->ops->encode(m->instance, request, out, err);
}

/* -- router -------------------------------------------------------------------------------------------------------------- */

static void set_defaults(struct vd_router_conf *c)
{
    struct {
        uint32_t *field;
        uint32_t value;
    } const rows[] = {
        {&c->max_attempts, 3},          {&c->retry_base_ms, 250},    {&c->retry_cap_ms, 8000},
        {&c->retry_percent, 20},        {&c->breaker_min, 10},       {&c->breaker_percent, 50},
        {&c->breaker_window_ms, 30000}, {&c->breaker_open_ms, 5000},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (*rows[i].field == 0)
            *rows[i].field = rows[i].value;
}

static enum vd_code add_model(struct vd_router *router, const struct vd_model_conf *conf,
                              struct vd_err *err)
{
    struct model *m = &router->models[router->model_count];
    enum vd_code rc;

    m->ops = conf->provider == NULL ? NULL : vd_model_ops_find(conf->provider);
    if (m->ops == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "model %s: provider must be one of %s",
                          conf->name, vd_model_provider_names());
    m->conf = *conf;
    m->conf.name = vd_strdup(conf->name);
    m->conf.provider = m->ops->name;
    m->conf.model = vd_strdup(conf->model);
    m->conf.url = vd_strdup(conf->url);
    m->conf.key_file = m->conf.key_env = m->conf.ca_file = m->conf.proxy = m->conf.system_role =
        NULL;
    router->model_count++; /* from here on vd_router_free() frees it */
    TAILQ_INIT(&m->queue);
    if (m->conf.name == NULL || (conf->model != NULL && m->conf.model == NULL) ||
        (conf->url != NULL && m->conf.url == NULL))
        return vd_err_nomem(err, "model");
    if (m->conf.timeout_ms == 0)
        m->conf.timeout_ms = DEFAULT_TIMEOUT_MS;
    if (m->conf.max_concurrency == 0)
        m->conf.max_concurrency = DEFAULT_CONCURRENCY;
    vd_breaker_init(&m->breaker, &router->conf);
    vd_aimd_init(&m->aimd, m->conf.max_concurrency);
    m->router = router;
    m->limited = router->quota.limited != NULL &&
                 router->quota.limited(router->quota.arg, router->model_count - 1);
    if (m->limited && vd_timer_new(router->loop, on_quota_timer, m, &m->quota_timer) != VD_OK)
        return vd_err_nomem(err, "model");
    rc = m->ops->create(router->loop, conf, &m->instance, err);
    return rc;
}

enum vd_code vd_router_new(struct vd_loop *loop, const struct vd_router_conf *conf,
                           struct vd_router **ret_router, struct vd_err *err)
{
    struct vd_router *router = vd_alloc(sizeof(*router));
    enum vd_code rc = VD_OK;

    if (router == NULL)
        return vd_err_nomem(err, "model router");
    router->loop = loop;
    router->conf = *conf;
    router->conf.models = NULL;
    router->conf.quota = NULL;
    if (conf->quota != NULL)
        router->quota = *conf->quota;
    set_defaults(&router->conf);
    vd_prng_init(&router->prng, conf->seed);
    router->retry_tokens = RETRY_TOKENS_LEAST;
    router->retry_tokens_ms = vd_loop_now_ms(loop);
    TAILQ_INIT(&router->all);
    TAILQ_INIT(&router->finished);
    router->models = vd_alloc_array(conf->model_count, sizeof(*router->models));
    if (router->models == NULL || vd_timer_new(loop, on_soon, router, &router->soon) != VD_OK)
        rc = vd_err_nomem(err, "model router");
    for (size_t i = 0; rc == VD_OK && i < conf->model_count; i++)
        rc = add_model(router, &conf->models[i], err);
    if (rc != VD_OK) {
        (void)vd_router_free(router);
        return rc;
    }
    *ret_router = router;
    return VD_OK;
}

void *vd_router_free(struct vd_router *router)
{
    struct vd_router_call *call;

    if (router == NULL)
        return NULL;
    router->closing = true;
    for (call = TAILQ_FIRST(&router->all); call != NULL; call = TAILQ_NEXT(call, link)) {
        if (call->step != STEP_FINISHED)
            call->canceled = true;
        if (call->step == STEP_QUEUED)
            leave_queue(call);
        if (call->step == STEP_ADMITTING)
            give_up_reservation(call);
        if (call->step == STEP_NEW || call->step == STEP_WAITING)
            finish(call, VD_MODEL_CANCELED, "shutting down");
    }
    drain(router);
    for (size_t i = 0; i < router->model_count; i++) {
        struct model *m = &router->models[i];

        if (m->instance != NULL)
            m->ops->destroy(m->instance); /* answers what it has with CANCELED */
        (void)vd_timer_free(m->quota_timer);
        (void)vd_free((void *)m->conf.name);
        (void)vd_free((void *)m->conf.model);
        (void)vd_free((void *)m->conf.url);
    }
    assert(TAILQ_EMPTY(&router->all));
    (void)vd_timer_free(router->soon);
    (void)vd_free(router->models);
    return vd_free(router);
}

size_t vd_router_model_count(const struct vd_router *router)
{
    return router->model_count;
}

int vd_router_find(const struct vd_router *router, struct vd_span name)
{
    for (size_t i = 0; i < router->model_count; i++)
        if (vd_span_eq_c(name, router->models[i].conf.name))
            return (int)i;
    return -1;
}

const struct vd_model_conf *vd_router_model(const struct vd_router *router, size_t model)
{
    return &router->models[model].conf;
}

struct vd_router_status vd_router_status(const struct vd_router *router, size_t model)
{
    const struct model *m = &router->models[model];
    struct vd_router_status s = m->status;
    int64_t left = m->breaker.open_until_ms - vd_loop_now_ms(router->loop);

    s.name = m->conf.name;
    s.breaker = m->breaker.state;
    s.open_for_ms = s.breaker == VD_BREAKER_OPEN && left > 0 ? left : 0;
    s.quota_exhausted = m->quota_exhausted;
    s.quota_wait_ms = m->quota_until_ms - vd_loop_now_ms(router->loop);
    if (s.quota_wait_ms < 0)
        s.quota_wait_ms = 0;
    s.concurrency = vd_aimd_limit(&m->aimd);
    s.max_concurrency = m->conf.max_concurrency;
    s.last_error = m->last_error;
    s.breaker_opens = m->breaker.opens;
    return s;
}

const char *vd_breaker_state_name(enum vd_breaker_state state)
{
    static const char *const names[] = {"closed", "open", "half-open"};

    return names[state];
}
