/* http/client.c - see client.h. */
#include "http/client.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

#define CALL_MAGIC         0x48545450u
#define DEFAULT_CONNECT_MS 3000
#define DEFAULT_LOW_S      30

/* -- finishing ------------------------------------------------------------------------------------------------------- */

void vd_http_finish(struct vd_http_call *call)
{
    struct vd_http *http = call->http;

    assert(!call->finished);
    call->finished = true;
    if (TAILQ_EMPTY(&http->finished))
        vd_timer_start(http->soon, 0,
                       0); /* once all the sockets of this turn have been looked at */
    TAILQ_REMOVE(&http->active, call, link);
    TAILQ_INSERT_TAIL(&http->finished, call, link);
}

void vd_http_free_call(struct vd_http_call *call)
{
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    vd_buf_free(&call->body);
    vd_buf_free(&call->sending);
    (void)vd_free(call->kept);
    (void)vd_free(call);
}

/* A finished call of libcurl becomes spare: its easy handle serves the next request. What it received does not wait with it. */
static void run_done(struct vd_http_call *call)
{
    struct vd_http *http = call->http;

    if (call->response.err.code == VD_OK)
        call->response.body = vd_buf_span(&call->body);
    http->in_flight--;
    call->done(call->arg, &call->response);
    vd_http_target_release(call->target);
    call->target = NULL;
    if (call->easy == NULL) {
        vd_http_free_call(call);
        return;
    }
    call->kept = vd_free(call->kept);
    vd_buf_free(&call->body);
    TAILQ_INSERT_HEAD(&http->spare, call, link);
}

/* Of what is over by now. What a done callback submits, and fails at once, waits for the next turn. */
static void drain(struct vd_http *http)
{
    struct vd_http_calls over = TAILQ_HEAD_INITIALIZER(over);
    struct vd_http_call *call;

    TAILQ_CONCAT(&over, &http->finished, link);
    while ((call = TAILQ_FIRST(&over)) != NULL) {
        TAILQ_REMOVE(&over, call, link);
        run_done(call);
    }
}

static void on_soon(void *arg)
{
    drain(arg);
}

/* -- client ---------------------------------------------------------------------------------------------------------- */

static enum vd_code copy_conf(struct vd_http *http, const struct vd_http_conf *conf)
{
    struct vd_http_conf *c = &http->conf;

    *c = *conf;
    http->user_agent = vd_strdup(conf->user_agent != NULL ? conf->user_agent : "verdict");
    http->proxy = vd_strdup(conf->proxy);
    http->ca_file = vd_strdup(conf->ca_file);
    if (c->connect_timeout_ms == 0)
        c->connect_timeout_ms = DEFAULT_CONNECT_MS;
    if (c->low_speed_s == 0)
        c->low_speed_s = DEFAULT_LOW_S;
    if (c->header_max_bytes == 0)
        c->header_max_bytes = VD_HTTP_HEADER_MAX_BYTES;
    if (c->shard_max == 0)
        c->shard_max = VD_HTTP_SHARD_MAX;
    if (c->max_in_flight == 0)
        c->max_in_flight = VD_HTTP_MAX_IN_FLIGHT;
    return http->user_agent == NULL || (conf->proxy != NULL && http->proxy == NULL) ||
                   (conf->ca_file != NULL && http->ca_file == NULL)
               ? VD_E_NOMEM
               : VD_OK;
}

enum vd_code vd_http_new(struct vd_loop *loop, const struct vd_http_conf *conf,
                         struct vd_http **ret_http, struct vd_err *err)
{
    struct vd_http *http;

    if (conf->allow != NULL && conf->proxy != NULL)
        return vd_err_set(err, VD_E_CONFIG, false,
                          "HTTP: addresses cannot be checked behind a proxy: set one or the other");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return vd_err_nomem(err, "libcurl");
    http = vd_alloc(sizeof(*http));
    if (http == NULL) {
        curl_global_cleanup();
        return vd_err_nomem(err, "HTTP client");
    }
    http->loop = loop;
    TAILQ_INIT(&http->shards);
    TAILQ_INIT(&http->active);
    TAILQ_INIT(&http->finished);
    TAILQ_INIT(&http->spare);
    TAILQ_INIT(&http->origins);
    TAILQ_INIT(&http->idle);
    http->share = curl_share_init();
    if (http->share == NULL || copy_conf(http, conf) != VD_OK ||
        vd_timer_new(loop, on_soon, http, &http->soon) != VD_OK) {
        (void)vd_http_free(http);
        return vd_err_nomem(err, "HTTP client");
    }
    /* One thread uses them all: no locks. */
    (void)curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    (void)curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    *ret_http = http;
    return VD_OK;
}

static void cancel(struct vd_http_call *call, const char *why)
{
    call->response.canceled = true;
    (void)vd_err_set(&call->response.err, VD_E_REMOTE, true, "HTTP: %s", why);
    if (call->easy != NULL)
        vd_http_curl_cancel(call);
    else
        vd_http_plain_cancel(call);
}

void *vd_http_free(struct vd_http *http)
{
    struct vd_http_call *call;

    if (http == NULL)
        return NULL;
    http->closing = true;
    while ((call = TAILQ_FIRST(&http->active)) != NULL)
        cancel(call, "shutting down");
    drain(http);
    assert(TAILQ_EMPTY(&http->finished) && http->in_flight == 0);
    vd_http_plain_close(http);
    vd_http_curl_close(http);
    (void)vd_timer_free(http->soon);
    (void)vd_free(http->user_agent);
    (void)vd_free(http->proxy);
    (void)vd_free(http->ca_file);
    curl_global_cleanup();
    return vd_free(http);
}

uint32_t vd_http_in_flight(const struct vd_http *http)
{
    return http->in_flight;
}

/* -- requests -------------------------------------------------------------------------------------------------------- */

static struct vd_http_call *take_call(struct vd_http *http, const struct vd_http_target *target)
{
    struct vd_http_call *call =
        target->origin == NULL ? vd_http_curl_take_call(http) : vd_alloc(sizeof(*call));

    if (call == NULL)
        return NULL;
    call->magic = CALL_MAGIC;
    call->http = http;
    return call;
}

enum vd_code vd_http_submit(struct vd_http *http, const struct vd_http_request *request,
                            vd_http_done_fn *done, void *arg, struct vd_http_call **ret_call,
                            struct vd_err *err)
{
    struct vd_http_target *target = request->target;
    struct vd_http_call *call;

    assert(request->timeout_ms > 0 && target->http == http);
    if (http->closing)
        return vd_err_set(err, VD_E_REMOTE, true, "HTTP: shutting down");
    if (http->in_flight >= http->conf.max_in_flight)
        return vd_err_set(err, VD_E_LIMIT, true, "HTTP: %u requests are in flight already",
                          http->in_flight);
    call = take_call(http, target);
    if (call == NULL)
        return vd_err_nomem(err, "HTTP request");
    call->response = (struct vd_http_response){0};
    call->finished = call->header_too_large = false;
    call->header_bytes = call->kept_used = 0;
    call->body_max_bytes =
        request->body_max_bytes != 0 ? request->body_max_bytes : VD_HTTP_BODY_MAX_BYTES;
    vd_buf_clear(&call->body);
    call->body.max = call->body_max_bytes;
    call->target = target;
    call->done = done;
    call->arg = arg;
    if (target->origin == NULL && vd_http_curl_submit(call, request) != VD_OK) {
        vd_http_free_call(call);
        return vd_err_nomem(err, "HTTP request");
    }
    target->refs++;
    http->in_flight++;
    TAILQ_INSERT_TAIL(&http->active, call, link);
    if (ret_call != NULL)
        *ret_call = call;
    if (target->origin != NULL)
        vd_http_plain_submit(call, request);
    return VD_OK;
}

void vd_http_cancel(struct vd_http_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (!call->finished) /* else its done callback is on the way */
        cancel(call, "canceled");
}
