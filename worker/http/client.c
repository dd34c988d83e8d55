/* http/client.c - see client.h.
 *
 * Requests fill one shard (a multi handle) before the next is used, so that idle connections are found again. Easy handles are
 * kept with their constant options and reused; a request sets only what differs. A socket's poll lives as long as the socket:
 * libcurl forgets sockets between requests, and making a poll costs three system calls each time.
 *
 * libcurl may call back at any time while one of its functions runs; callbacks only note. Done callbacks run in drain().
 */
#include "http/client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "http/address.h"
#include "loop/loop.h"

#define CALL_MAGIC         0x48545450u
#define DEFAULT_CONNECT_MS 3000
#define DEFAULT_LOW_S      30
#define SPARE_BODY_BYTES   16384 /* a spare handle keeps no larger response buffer */
#define RECEIVE_BYTES      4096 /* libcurl holds one such buffer a request; answers are 1 to 4 KiB */
#define KEPT_BYTES         1024 /* of response headers */

struct shard {
    struct vd_http *http;
    CURLM *multi;
    struct vd_timer *timer;
    uint32_t in_flight;
    TAILQ_ENTRY(shard) link;
};

/* A socket that libcurl waits on, or has opened and keeps for later. */
struct watched {
    struct vd_http *http;
    struct shard *shard;
    struct vd_poll *poll;
    int fd;
    bool
        opened; /* by open_socket(): stays until close_socket(); others (resolver pipes) go when libcurl lets go */
    int wanted; /* by libcurl; 0: idle */
    int set; /* in the poll; lags behind when a connection turns idle, since it is likely to be used again */
};

struct vd_http_target {
    struct vd_http *http;
    char *url;
    char *host;
    struct curl_slist *headers;
    uint32_t refs;
};

TAILQ_HEAD(calls, vd_http_call);
TAILQ_HEAD(shards, shard);

struct vd_http_call {
    unsigned magic;
    struct vd_http *http;
    struct shard *shard;
    CURL *easy;
    TAILQ_ENTRY(vd_http_call) link; /* active, finished or spare */
    struct vd_http_target *target;
    bool finished;
    struct vd_http_response response;
    struct vd_buf body;
    size_t header_bytes;
    size_t body_max_bytes;
    bool header_too_large;
    char kept[KEPT_BYTES];
    size_t kept_used;
    vd_http_done_fn *done;
    void *arg;
};

struct vd_http {
    struct vd_loop *loop;
    struct vd_http_conf conf;
    char *user_agent;
    char *proxy;
    char *ca_file;
    CURLSH *share; /* names and TLS sessions, between shards */
    struct shards shards;
    struct watched **watched; /* by descriptor */
    size_t watched_count;
    struct calls active;
    struct calls finished;
    struct calls spare;
    uint32_t in_flight;
    struct vd_timer *soon;
    bool draining;
    bool closing;
};

/* -- finishing ------------------------------------------------------------------------------------------------------- */

static void release_target(struct vd_http_target *target)
{
    if (target == NULL || --target->refs > 0)
        return;
    curl_slist_free_all(target->headers);
    (void)vd_free(target->url);
    (void)vd_free(target->host);
    (void)vd_free(target);
}

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
static void collect(struct shard *shard)
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

/* A finished call becomes spare: its easy handle and buffers serve the next request. */
static void run_done(struct vd_http_call *call)
{
    struct vd_http *http = call->http;

    if (call->response.err.code == VD_OK)
        call->response.body = vd_buf_span(&call->body);
    http->in_flight--;
    call->done(call->arg, &call->response);
    release_target(call->target);
    call->target = NULL;
    if (call->body.cap > SPARE_BODY_BYTES)
        vd_buf_free(&call->body);
    TAILQ_INSERT_HEAD(&http->spare, call, link);
}

static void drain(struct vd_http *http)
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
    drain(arg);
}

/* -- sockets and time ------------------------------------------------------------------------------------------------ */

static void act(struct shard *shard, curl_socket_t fd, int flags)
{
    struct vd_http *http = shard->http;
    int running;

    (void)curl_multi_socket_action(shard->multi, fd, flags, &running);
    collect(shard);
    drain(http);
}

static void on_ready(void *arg, int events)
{
    struct watched *w = arg;
    int flags = 0;

    if (w->wanted ==
        0) { /* the peer closed an idle connection: libcurl notices before it uses that again */
        w->set = 0;
        vd_poll_set(w->poll, 0);
        return;
    }
    if (events & VD_POLL_IN)
        flags |= CURL_CSELECT_IN;
    if (events & VD_POLL_OUT)
        flags |= CURL_CSELECT_OUT;
    act(w->shard, w->fd, flags);
}

static struct watched *find_watched(const struct vd_http *http, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < http->watched_count ? http->watched[fd] : NULL;
}

static void forget_watched(struct vd_http *http, struct watched *w)
{
    http->watched[w->fd] = NULL;
    (void)vd_poll_free(w->poll);
    (void)vd_free(w);
}

static struct watched *add_watched(struct vd_http *http, curl_socket_t fd)
{
    struct watched *w;

    if ((size_t)fd >= http->watched_count) {
        size_t count = (size_t)fd + 64;
        struct watched **grown = vd_realloc_array(http->watched, count, sizeof(struct watched *));

        if (grown == NULL)
            return NULL;
        memset(grown + http->watched_count, 0, (count - http->watched_count) * sizeof(*grown));
        http->watched = grown;
        http->watched_count = count;
    }
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return NULL;
    w->http = http;
    w->fd = fd;
    if (vd_poll_new(http->loop, fd, on_ready, w, &w->poll) != VD_OK)
        return vd_free(w);
    http->watched[fd] = w;
    return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct shard *shard = arg;
    struct watched *w = find_watched(shard->http, fd);

    (void)easy;
    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL && !w->opened)
            forget_watched(shard->http, w);
        else if (w != NULL)
            w->wanted = 0;
        return 0;
    }
    if (w == NULL)
        w = add_watched(shard->http, fd);
    if (w == NULL)
        return -1; /* libcurl fails the transfers of this multi handle: out of memory */
    w->shard = shard;
    w->wanted = (what & CURL_POLL_IN ? VD_POLL_IN : 0) | (what & CURL_POLL_OUT ? VD_POLL_OUT : 0);
    if (w->set != w->wanted)
        vd_poll_set(w->poll, w->wanted);
    w->set = w->wanted;
    return 0;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct vd_http_call *call = arg;
    struct vd_http *http = call->http;
    struct watched *w;
    int fd;

    (void)purpose;
    if (http->conf.allow != NULL &&
        !http->conf.allow(http->conf.allow_arg, vd_span_of(call->target->host), &address->addr)) {
        call->response.refused = true;
        return CURL_SOCKET_BAD;
    }
    call->response.refused = false; /* one of several addresses is enough */
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    w = add_watched(http, fd);
    if (w == NULL) {
        (void)close(fd);
        return CURL_SOCKET_BAD;
    }
    w->opened = true;
    return fd;
}

static int close_socket(void *arg, curl_socket_t fd)
{
    struct vd_http *http = arg;
    struct watched *w = find_watched(http, fd);

    if (w != NULL)
        forget_watched(http, w);
    return close(fd);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct shard *shard = arg;

    (void)multi;
    if (timeout_ms < 0)
        vd_timer_stop(shard->timer);
    else
        vd_timer_start(shard->timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* -- response bytes -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum vd_http_kept kept;
} kept_names[] = {
    {"content-type", VD_HTTP_CONTENT_TYPE},
    {"retry-after", VD_HTTP_RETRY_AFTER},
    {"retry-after-ms", VD_HTTP_RETRY_AFTER_MS},
    {"x-should-retry", VD_HTTP_SHOULD_RETRY},
    {"x-request-id", VD_HTTP_REQUEST_ID},
    {"request-id", VD_HTTP_REQUEST_ID},
    {"date", VD_HTTP_DATE},
    {"x-ratelimit-limit-requests", VD_HTTP_LIMIT_REQUESTS},
    {"anthropic-ratelimit-requests-limit", VD_HTTP_LIMIT_REQUESTS},
    {"x-ratelimit-limit-tokens", VD_HTTP_LIMIT_TOKENS},
    {"anthropic-ratelimit-tokens-limit", VD_HTTP_LIMIT_TOKENS},
    {"x-ratelimit-remaining-requests", VD_HTTP_REMAINING_REQUESTS},
    {"anthropic-ratelimit-requests-remaining", VD_HTTP_REMAINING_REQUESTS},
    {"x-ratelimit-remaining-tokens", VD_HTTP_REMAINING_TOKENS},
    {"anthropic-ratelimit-tokens-remaining", VD_HTTP_REMAINING_TOKENS},
    {"x-ratelimit-reset-requests", VD_HTTP_RESET_REQUESTS},
    {"anthropic-ratelimit-requests-reset", VD_HTTP_RESET_REQUESTS},
    {"x-ratelimit-reset-tokens", VD_HTTP_RESET_TOKENS},
    {"anthropic-ratelimit-tokens-reset", VD_HTTP_RESET_TOKENS},
};

static void keep_header(struct vd_http_call *call, struct vd_span line)
{
    size_t colon = vd_span_find(line, ':');
    struct vd_span name = vd_span_sub(line, 0, colon);
    struct vd_span value = vd_span_trim(vd_span_sub(line, colon + 1, line.len));

    for (size_t i = 0; i < sizeof(kept_names) / sizeof(kept_names[0]); i++) {
        struct vd_span *slot = &call->response.headers[kept_names[i].kept];

        if (!vd_span_eq_nocase(name, vd_span_of(kept_names[i].name)))
            continue;
        if (slot->len > 0 || value.len == 0 || value.len > VD_HTTP_HEADER_KEPT ||
            value.len > KEPT_BYTES - call->kept_used)
            return;
        memcpy(call->kept + call->kept_used, value.ptr, value.len);
        *slot = (struct vd_span){call->kept + call->kept_used, value.len};
        call->kept_used += value.len;
        return;
    }
}

static void forget_headers(struct vd_http_call *call)
{
    memset(call->response.headers, 0, sizeof(call->response.headers));
    call->kept_used = 0;
}

static size_t on_header(char *ptr, size_t size, size_t count, void *arg)
{
    struct vd_http_call *call = arg;
    struct vd_span line = {ptr, size * count};

    call->header_bytes += line.len;
    if (call->header_bytes > call->http->conf.header_max_bytes) {
        call->header_too_large = true;
        return 0;
    }
    if (vd_span_starts(line, VD_LIT("HTTP/")))
        forget_headers(call); /* what stood before was an interim response */
    else
        keep_header(call, line);
    return line.len;
}

static size_t on_body(char *ptr, size_t size, size_t count, void *arg)
{
    struct vd_http_call *call = arg;

    return vd_buf_add(&call->body, (struct vd_span){ptr, size * count}) == VD_OK ? size * count : 0;
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
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, (void *)call);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, (void *)call);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, (void *)call);
    SET(CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, (void *)http);
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

static struct shard *add_shard(struct vd_http *http)
{
    struct shard *shard = vd_alloc(sizeof(*shard));
    CURLM *multi;

    if (shard == NULL)
        return NULL;
    shard->http = http;
    shard->multi = multi = curl_multi_init();
    if (multi == NULL || vd_timer_new(http->loop, on_timer, shard, &shard->timer) != VD_OK) {
        if (multi != NULL)
            (void)curl_multi_cleanup(multi);
        return vd_free(shard);
    }
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, shard);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, shard);
    /* Every connection of a full shard may stay for the next request. */
    (void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)http->conf.shard_max);
    (void)curl_multi_setopt(multi, CURLMOPT_PIPELINING,
                            http->conf.http2 ? CURLPIPE_MULTIPLEX : CURLPIPE_NOTHING);
    TAILQ_INSERT_TAIL(&http->shards, shard, link);
    return shard;
}

static struct shard *find_shard(struct vd_http *http)
{
    struct shard *shard;

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
    struct shard *shard;

    if (http == NULL)
        return NULL;
    http->closing = true;
    while ((call = TAILQ_FIRST(&http->active)) != NULL)
        cancel(call, "shutting down");
    drain(http);
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

/* -- targets --------------------------------------------------------------------------------------------------------- */

static bool is_header_text(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < ' ' && s.ptr[i] != '\t') || (unsigned char)s.ptr[i] > '~')
            return false;
    return true;
}

static enum vd_code add_header(struct vd_http_target *target, struct vd_span name,
                               struct vd_span value, struct vd_err *err)
{
    struct vd_buf line;
    struct curl_slist *grown = NULL;

    if (name.len == 0 || !is_header_text(name) || !is_header_text(value) ||
        vd_span_find(name, ':') != name.len)
        return vd_err_set(err, VD_E_CONFIG, false,
                          "HTTP: a header name or value is not plain text");
    vd_buf_init(&line, VD_HTTP_HEADER_MAX_BYTES);
    (void)vd_buf_add(&line, name);
    (void)vd_buf_add_c(&line,
                       value.len == 0 ? ":" : ": "); /* libcurl: "name:" takes a header away */
    (void)vd_buf_add(&line, value);
    if (line.failed == VD_OK)
        grown = curl_slist_append(target->headers, line.ptr);
    vd_buf_free(&line);
    if (grown == NULL)
        return vd_err_nomem(err, "HTTP header");
    target->headers = grown;
    return VD_OK;
}

/* Absolute http or https, no credentials; the host for the allow function. */
static enum vd_code check_url(struct vd_http_target *target, struct vd_err *err)
{
    CURLU *u = curl_url();
    char *part = NULL;
    enum vd_code rc = VD_OK;

    if (u == NULL)
        return vd_err_nomem(err, "URL");
    if (curl_url_set(u, CURLUPART_URL, target->url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &part, 0) != CURLUE_OK ||
        (strcasecmp(part, "http") != 0 && strcasecmp(part, "https") != 0))
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: the URL must be http://... or https://...");
    curl_free(part);
    part = NULL;
    if (rc == VD_OK && curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK)
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: no user or password in a URL, please");
    curl_free(part);
    part = NULL;
    if (rc == VD_OK && curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK) {
        target->host = vd_strdup(part);
        if (target->host == NULL)
            rc = vd_err_nomem(err, "URL");
    }
    curl_free(part);
    curl_url_cleanup(u);
    return rc;
}

enum vd_code vd_http_target_new(struct vd_http *http, struct vd_span url,
                                const struct vd_http_header *headers, size_t header_count,
                                struct vd_http_target **ret_target, struct vd_err *err)
{
    struct vd_http_target *target;
    enum vd_code rc;

    if (url.len > VD_HTTP_URL_MAX_BYTES || memchr(url.ptr, '\0', url.len) != NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "HTTP: the URL is longer than %d bytes",
                          VD_HTTP_URL_MAX_BYTES);
    target = vd_alloc(sizeof(*target));
    if (target == NULL)
        return vd_err_nomem(err, "HTTP target");
    target->http = http;
    target->refs = 1;
    target->url = vd_strndup(url);
    rc = target->url == NULL ? vd_err_nomem(err, "URL") : check_url(target, err);
    if (rc == VD_OK)
        rc = add_header(target, VD_LIT("Expect"), VD_LIT(""),
                        err); /* no round trip before the body */
    for (size_t i = 0; rc == VD_OK && i < header_count; i++)
        rc = add_header(target, headers[i].name, headers[i].value, err);
    if (rc != VD_OK) {
        release_target(target);
        return rc;
    }
    *ret_target = target;
    return VD_OK;
}

void *vd_http_target_free(struct vd_http_target *target)
{
    release_target(target);
    return NULL;
}

/* -- requests -------------------------------------------------------------------------------------------------------- */

enum vd_code vd_http_submit(struct vd_http *http, const struct vd_http_request *request,
                            vd_http_done_fn *done, void *arg, struct vd_http_call **ret_call,
                            struct vd_err *err)
{
    struct vd_http_call *call;
    struct shard *shard;

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
