/* http/client.c - see client.h.
 *
 * Requests fill one shard (a multi handle) before the next is used, so that idle connections are found again. Easy handles are
 * kept with their constant options and reused; a request sets only what differs.
 */
#include "http/client.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

#define CALL_MAGIC         0x48545450u
#define DEFAULT_CONNECT_MS 3000
#define DEFAULT_LOW_S      30
#define RECEIVE_BYTES                                                                              \
    2047 /* libcurl holds one such buffer and a NUL for each request that waits; answers are 1 to 4 KiB */

/* -- finishing ------------------------------------------------------------------------------------------------------- */

static void finish(struct vd_http_call *call)
{
    struct vd_http *http = call->http;

    assert(!call->finished);
    call->finished = true;
    (void)curl_multi_remove_handle(call->shard->multi, call->easy);
    call->shard->in_flight--;
    TAILQ_REMOVE(&http->active, call, link);
    TAILQ_INSERT_TAIL(&http->finished, call, link);
}

static bool is_tls_failure(CURLcode code)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return true;
    default:
        return false;
    }
}

static void set_error(struct vd_http_call *call, CURLcode code)
{
    struct vd_err *err = &call->response.err;

    if (call->response.refused)
        (void)vd_err_set(err, VD_E_REMOTE, false, "HTTP: the address of the host is not allowed");
    else if (call->header_too_large)
        (void)vd_err_set(err, VD_E_LIMIT, false, "HTTP: headers are larger than %zu bytes",
                         call->http->conf.header_max_bytes);
    else if (call->body.failed == VD_E_LIMIT || code == CURLE_FILESIZE_EXCEEDED)
        (void)vd_err_set(err, VD_E_LIMIT, false, "HTTP: the body is larger than %zu bytes",
                         call->body_max_bytes);
    else if (call->body.failed != VD_OK || code == CURLE_OUT_OF_MEMORY)
        (void)vd_err_set(err, VD_E_NOMEM, true, "HTTP: out of memory");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        (void)vd_err_set(err, VD_E_TIMEOUT, true, "HTTP: %s",
                         call->response.sent ? "no whole answer in time"
                                             : "cannot connect in time");
    else if (code == CURLE_URL_MALFORMAT)
        (void)vd_err_set(err, VD_E_CONFIG, false, "HTTP: %s", curl_easy_strerror(code));
    else
        (void)vd_err_set(err, VD_E_REMOTE, !is_tls_failure(code), "HTTP: %s",
                         curl_easy_strerror(code));
}

static void read_timings(struct vd_http_call *call)
{
    struct vd_http_response *r = &call->response;
    long status = 0, connects = 0;
    curl_off_t connect = 0, first = 0, total = 0, pretransfer = 0;

    (void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connects);
    (void)curl_easy_getinfo(call->easy, CURLINFO_CONNECT_TIME_T, &connect);
    (void)curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer);
    (void)curl_easy_getinfo(call->easy, CURLINFO_STARTTRANSFER_TIME_T, &first);
    (void)curl_easy_getinfo(call->easy, CURLINFO_TOTAL_TIME_T, &total);
    r->status = (int)status;
    r->connect_us = connects > 0 ? (int64_t)connect : 0;
    r->first_byte_us = (int64_t)first;
    r->total_us = (int64_t)total;
    r->sent = pretransfer > 0;
}

/* Transfers that libcurl reports as over. */
void vd_http_collect(struct vd_http_shard *shard)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(shard->multi, &left)) != NULL) {
        struct vd_http_call *call = NULL;
        CURLcode code = msg->data.result;

        if (msg->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        assert(call->magic == CALL_MAGIC);
        read_timings(call);
        if (code != CURLE_OK)
            set_error(call, code);
        finish(call);
    }
}

/* A finished call becomes spare: its easy handle serves the next request. What it received does not wait with it for that. */
static void run_done(struct vd_http_call *call)
{
    struct vd_http *http = call->http;

    if (call->response.err.code == VD_OK)
        call->response.body = vd_buf_span(&call->body);
    http->in_flight--;
    call->done(call->arg, &call->response);
    vd_http_target_release(call->target);
    call->target = NULL;
    call->kept = vd_free(call->kept);
    vd_buf_free(&call->body);
    TAILQ_INSERT_HEAD(&http->spare, call, link);
}

void vd_http_drain(struct vd_http *http)
{
    struct vd_http_call *call;

    assert(!http->draining);
    http->draining = true;
    while ((call = TAILQ_FIRST(&http->finished)) != NULL) {
        TAILQ_REMOVE(&http->finished, call, link);
        run_done(call);
    }
    http->draining = false;
}

static void on_soon(void *arg)
{
    vd_http_drain(arg);
}

/* -- client ---------------------------------------------------------------------------------------------------------- */

#define SET(option, value)                                                                         \
    (rc = rc != CURLE_OK ? rc : curl_easy_setopt(call->easy, (option), (value)))

static CURLcode set_constants(struct vd_http_call *call)
{
    const struct vd_http *http = call->http;
    CURLcode rc = CURLE_OK;

    SET(CURLOPT_PRIVATE, (void *)call);
    SET(CURLOPT_SHARE, http->share);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PROXY, http->proxy != NULL ? http->proxy : ""); /* "": not even the environment's */
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_HTTP_VERSION,
        (long)(http->conf.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    SET(CURLOPT_PIPEWAIT, http->conf.http2 ? 1L : 0L);
    SET(CURLOPT_USERAGENT, http->user_agent);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)http->conf.connect_timeout_ms);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)http->conf.low_speed_s);
    SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_BYTES);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_WRITEFUNCTION, vd_http_on_body);
    SET(CURLOPT_WRITEDATA, (void *)call);
    SET(CURLOPT_HEADERFUNCTION, vd_http_on_header);
    SET(CURLOPT_HEADERDATA, (void *)call);
    SET(CURLOPT_OPENSOCKETFUNCTION, vd_http_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, (void *)call);
    SET(CURLOPT_CLOSESOCKETFUNCTION, vd_http_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, (void *)http);
    if (http->conf.allow != NULL) /* a connection is kept, what its name resolved to is not */
        SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    if (http->ca_file != NULL)
        SET(CURLOPT_CAINFO, http->ca_file);
    return rc;
}

static CURLcode set_request(struct vd_http_call *call, const struct vd_http_request *request)
{
    CURLcode rc = CURLE_OK;

    SET(CURLOPT_URL, call->target->url);
    SET(CURLOPT_HTTPHEADER, call->target->headers);
    SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)call->body_max_bytes);
    if (request->post) {
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, request->body.len == 0 ? "" : request->body.ptr); /* not copied */
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    } else {
        SET(CURLOPT_POSTFIELDS, NULL);
        SET(CURLOPT_HTTPGET, 1L);
    }
    return rc;
}

static void *free_call(struct vd_http_call *call)
{
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    vd_buf_free(&call->body);
    (void)vd_free(call->kept);
    return vd_free(call);
}

static struct vd_http_call *take_call(struct vd_http *http)
{
    struct vd_http_call *call = TAILQ_FIRST(&http->spare);

    if (call != NULL) {
        TAILQ_REMOVE(&http->spare, call, link);
        return call;
    }
    call = vd_alloc(sizeof(*call));
    if (call == NULL)
        return NULL;
    call->magic = CALL_MAGIC;
    call->http = http;
    call->easy = curl_easy_init();
    if (call->easy == NULL || set_constants(call) != CURLE_OK)
        return free_call(call);
    return call;
}

static struct vd_http_shard *add_shard(struct vd_http *http)
{
    struct vd_http_shard *shard = vd_alloc(sizeof(*shard));
    CURLM *multi;

    if (shard == NULL)
        return NULL;
    shard->http = http;
    shard->multi = multi = curl_multi_init();
    if (multi == NULL ||
        vd_timer_new(http->loop, vd_http_on_timer, shard, &shard->timer) != VD_OK) {
        if (multi != NULL)
            (void)curl_multi_cleanup(multi);
        return vd_free(shard);
    }
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, vd_http_on_socket);
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, shard);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, vd_http_set_timer);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
    /* Every connection of a full shard may stay for the next request. */
    (void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)http->conf.shard_max);
    (void)curl_multi_setopt(multi, CURLMOPT_PIPELINING,
                            http->conf.http2 ? CURLPIPE_MULTIPLEX : CURLPIPE_NOTHING);
    TAILQ_INSERT_TAIL(&http->shards, shard, link);
    return shard;
}

static struct vd_http_shard *find_shard(struct vd_http *http)
{
    struct vd_http_shard *shard;

    for (shard = TAILQ_FIRST(&http->shards); shard != NULL; shard = TAILQ_NEXT(shard, link))
        if (shard->in_flight < http->conf.shard_max)
            return shard;
    return add_shard(http);
}

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
    http->share = curl_share_init();
    if (http->share == NULL || copy_conf(http, conf) != VD_OK ||
        vd_timer_new(loop, on_soon, http, &http->soon) != VD_OK || add_shard(http) == NULL) {
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
    read_timings(call);
    (void)vd_err_set(&call->response.err, VD_E_REMOTE, true, "HTTP: %s", why);
    finish(call);
}

void *vd_http_free(struct vd_http *http)
{
    struct vd_http_call *call;
    struct vd_http_shard *shard;

    if (http == NULL)
        return NULL;
    http->closing = true;
    while ((call = TAILQ_FIRST(&http->active)) != NULL)
        cancel(call, "shutting down");
    vd_http_drain(http);
    while ((call = TAILQ_FIRST(&http->spare)) != NULL) {
        TAILQ_REMOVE(&http->spare, call, link);
        (void)free_call(call);
    }
    while ((shard = TAILQ_FIRST(&http->shards)) != NULL) {
        TAILQ_REMOVE(&http->shards, shard, link);
        (void)curl_multi_cleanup(shard->multi); /* closes its connections */
        (void)vd_timer_free(shard->timer);
        (void)vd_free(shard);
    }
    if (http->share != NULL)
        (void)curl_share_cleanup(http->share);
    for (size_t i = 0; i < http->watched_count; i++)
        assert(http->watched[i] == NULL); /* libcurl closed all it had opened */
    (void)vd_free(http->watched);
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

enum vd_code vd_http_submit(struct vd_http *http, const struct vd_http_request *request,
                            vd_http_done_fn *done, void *arg, struct vd_http_call **ret_call,
                            struct vd_err *err)
{
    struct vd_http_call *call;
    struct vd_http_shard *shard;

    assert(request->timeout_ms > 0 && request->target->http == http);
    if (http->closing)
        return vd_err_set(err, VD_E_REMOTE, true, "HTTP: shutting down");
    if (http->in_flight >= http->conf.max_in_flight)
        return vd_err_set(err, VD_E_LIMIT, true, "HTTP: %u requests are in flight already",
                          http->in_flight);
    shard = find_shard(http);
    call = shard == NULL ? NULL : take_call(http);
    if (call == NULL)
        return vd_err_nomem(err, "HTTP request");
    call->response = (struct vd_http_response){0};
    call->finished = call->header_too_large = false;
    call->header_bytes = call->kept_used = 0;
    call->body_max_bytes =
        request->body_max_bytes != 0 ? request->body_max_bytes : VD_HTTP_BODY_MAX_BYTES;
    vd_buf_clear(&call->body);
    call->body.max = call->body_max_bytes;
    call->target = request->target;
    call->done = done;
    call->arg = arg;
    if (set_request(call, request) != CURLE_OK ||
        curl_multi_add_handle(shard->multi, call->easy) != CURLM_OK) {
        call->target = NULL;
        (void)free_call(call);
        return vd_err_nomem(err, "HTTP request");
    }
    call->target->refs++;
    call->shard = shard;
    shard->in_flight++;
    http->in_flight++;
    TAILQ_INSERT_TAIL(&http->active, call, link);
    if (ret_call != NULL)
        *ret_call = call;
    return VD_OK;
}

void vd_http_cancel(struct vd_http_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (call->finished)
        return; /* its done callback is on the way */
    cancel(call, "canceled");
    vd_timer_start(call->http->soon, 0, 0);
}
