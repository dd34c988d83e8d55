/* http/curl.c - requests through libcurl: TLS, HTTP/2, proxies.
 *
 * Requests fill one shard (a multi handle) before the next is used, so that idle connections are found again. Easy handles are
 * kept with their constant options and reused; a request sets only what differs.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

#define RECEIVE_BYTES                                                                              \
    2047 /* libcurl holds one such buffer and a NUL for each request that waits; answers are 1 to 4 KiB */

/* -- ends ------------------------------------------------------------------------------------------------------------- */

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

static void leave(struct vd_http_call *call)
{
    (void)curl_multi_remove_handle(call->shard->multi, call->easy);
    (void)curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, NULL); /* frees its copy */
    call->shard->in_flight--;
    vd_http_finish(call);
}

/* Transfers that libcurl reports as over. */
void vd_http_curl_collect(struct vd_http_shard *shard)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(shard->multi, &left)) != NULL) {
        struct vd_http_call *call = NULL;
        CURLcode code = msg->data.result;

        if (msg->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        read_timings(call);
        if (code != CURLE_OK)
            set_error(call, code);
        leave(call);
    }
}

/* -- handles ---------------------------------------------------------------------------------------------------------- */

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
    /* The folder that Debian's libcurl has by default would be trusted beside ca_file; and with any folder libcurl 7.88 reads all
     * certificates again for each connection (vtls/openssl.c, Curl_ssl_setup_x509_store): 18 ms and 0.85 MB. */
    SET(CURLOPT_CAPATH, NULL);
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
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len); /* says what to copy */
        SET(CURLOPT_COPYPOSTFIELDS, request->body.len == 0 ? "" : request->body.ptr);
    } else {
        SET(CURLOPT_POSTFIELDS, NULL);
        SET(CURLOPT_HTTPGET, 1L);
    }
    return rc;
}

struct vd_http_call *vd_http_curl_take_call(struct vd_http *http)
{
    struct vd_http_call *call = TAILQ_FIRST(&http->spare);

    if (call != NULL) {
        TAILQ_REMOVE(&http->spare, call, link);
        return call;
    }
    call = vd_alloc(sizeof(*call));
    if (call == NULL)
        return NULL;
    call->http = http;
    call->easy = curl_easy_init();
    if (call->easy != NULL && set_constants(call) == CURLE_OK)
        return call;
    vd_http_free_call(call);
    return NULL;
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

/* -- calls ------------------------------------------------------------------------------------------------------------ */

enum vd_code vd_http_curl_submit(struct vd_http_call *call, const struct vd_http_request *request)
{
    struct vd_http_shard *shard = find_shard(call->http);

    if (shard == NULL || set_request(call, request) != CURLE_OK ||
        curl_multi_add_handle(shard->multi, call->easy) != CURLM_OK)
        return VD_E_NOMEM;
    call->shard = shard;
    shard->in_flight++;
    return VD_OK;
}

void vd_http_curl_cancel(struct vd_http_call *call)
{
    read_timings(call);
    leave(call);
}

void vd_http_curl_close(struct vd_http *http)
{
    struct vd_http_call *call;
    struct vd_http_shard *shard;

    while ((call = TAILQ_FIRST(&http->spare)) != NULL) {
        TAILQ_REMOVE(&http->spare, call, link);
        vd_http_free_call(call);
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
}
