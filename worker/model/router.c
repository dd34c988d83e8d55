/* model/router.c - see router.h: its life, and the callers' calls. */
#include "model/router_internal.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/limits.h"

#define DEFAULT_TIMEOUT_MS  60000
#define DEFAULT_CONCURRENCY 256

/* -- finishing ---------------------------------------------------------------------------------------------------------- */

void vd_router_finish(struct vd_router_call *call, enum vd_model_outcome outcome, const char *why)
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
    call->done(call->arg, &call->result);
    call->magic = 0;
    (void)vd_timer_free(call->timer);
    vd_buf_free(&call->body);
    (void)vd_free(call->attempts);
    (void)vd_free(call);
}

void vd_router_drain(struct vd_router *router)
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
    vd_router_drain(arg);
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
    call->magic = VD_ROUTER_CALL_MAGIC;
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
    call->hash_body = request->hash_body;
    call->result.model.retry_after_ms = -1;
    call->done = done;
    call->arg = arg;
    vd_buf_init(&call->body, VD_MODEL_REQUEST_MAX_BYTES);
    TAILQ_INSERT_TAIL(&router->all, call, link);
    if (vd_router_advance(call))
        vd_timer_start(router->soon, 0, 0);
    if (ret_call != NULL)
        *ret_call = call;
    return VD_OK;
}

void vd_router_cancel(struct vd_router_call *call)
{
    assert(call->magic == VD_ROUTER_CALL_MAGIC);
    if (call->step == STEP_FINISHED || call->canceled)
        return;
    call->canceled = true;
    if (call->step == STEP_ASKING) {
        vd_router_model_at(call)->ops->cancel(vd_router_model_at(call)->instance,
                                              call->provider_call);
        return; /* vd_router_on_answer() follows */
    }
    if (call->step == STEP_QUEUED)
        vd_router_leave_queue(call);
    if (call->step == STEP_ADMITTING)
        vd_router_give_up_reservation(call);
    vd_router_finish(call, VD_MODEL_CANCELED, "canceled");
    vd_timer_start(call->router->soon, 0, 0);
}

uint32_t vd_router_sent(const struct vd_router_call *call)
{
    assert(call->magic == VD_ROUTER_CALL_MAGIC);
    return call->result.calls + (call->step == STEP_ASKING ? 1 : 0);
}

void vd_router_let_finish(struct vd_router_call *call)
{
    assert(call->magic == VD_ROUTER_CALL_MAGIC);
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
    const struct vd_router_model *m = &router->models[model];

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
    struct vd_router_model *m = &router->models[router->model_count];
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
    if (m->limited &&
        vd_timer_new(router->loop, vd_router_on_quota_timer, m, &m->quota_timer) != VD_OK)
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
    router->retry_tokens = VD_ROUTER_RETRY_TOKENS;
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
            vd_router_leave_queue(call);
        if (call->step == STEP_ADMITTING)
            vd_router_give_up_reservation(call);
        if (call->step == STEP_NEW || call->step == STEP_WAITING)
            vd_router_finish(call, VD_MODEL_CANCELED, "shutting down");
    }
    vd_router_drain(router);
    for (size_t i = 0; i < router->model_count; i++) {
        struct vd_router_model *m = &router->models[i];

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
    const struct vd_router_model *m = &router->models[model];
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
