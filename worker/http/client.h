/* http/client.h - HTTP requests on the loop, thousands at once.
 *
 * Why:      providers and tools must see neither curl nor sockets. What is http:// and needs no proxy goes over the loop's own
 *           connections (plain.c): about 1 kB and a quarter of libcurl's CPU a request. All else is libcurl's (curl.c), whose cost grows with
 *           the requests on one multi handle, so there are several.
 * Source:   RFC 9112; libcurl-multi(3), CURLMOPT_SOCKETFUNCTION.
 * Thread:   loop thread. Names are resolved on the loop's pool, or libcurl's own threads.
 * Owns:     connections; response bytes until the done callback returns.
 * Shapes:   body is (ptr,len), not NUL-terminated, at most the request's body_max_bytes.
 * Units:    every time-out is milliseconds.
 * Errors:   VD_E_TIMEOUT retriable, VD_E_REMOTE (retriable unless TLS or the address was refused), VD_E_LIMIT for a body or header
 *           block above its bound, VD_E_CONFIG for a bad URL. A status of 400 or 500 is a response, not an error.
 *           Addresses of a name are tried one after the other, each with its share of connect_timeout_ms.
 * Safety:   no redirects, no proxy unless configured, no netrc, no cookies, no decompression, https and http only, TLS verified.
 * Invariants:
 *   I1 each accepted request gets exactly one done callback, also on cancel and free.
 *   I2 done never runs inside vd_http_submit() or vd_http_cancel(); it runs on a later loop turn, or inside vd_http_free().
 */
#ifndef VD_HTTP_CLIENT_H
#define VD_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct sockaddr;
struct vd_buf;
struct vd_loop;
struct vd_http;
struct vd_http_target;
struct vd_http_call; /* one accepted request; valid until its done callback returns */

/* May a socket be opened to this address for that host? See http/address.h for what an address is. */
typedef bool vd_http_allow_fn(void *arg, struct vd_span host, const struct sockaddr *address);

struct vd_http_conf {
    const char *user_agent;      /* NULL: "verdict" */
    const char *proxy;           /* NULL: none, whatever the environment says */
    const char *ca_file;         /* NULL: the system's */
    uint32_t connect_timeout_ms; /* 0: 3000 */
    uint32_t low_speed_s;        /* give up after so long without a byte; 0: 30 */
    size_t header_max_bytes;     /* 0: VD_HTTP_HEADER_MAX_BYTES */
    uint32_t shard_max;          /* libcurl: requests on one multi handle; 0: VD_HTTP_SHARD_MAX */
    uint32_t max_in_flight;      /* 0: VD_HTTP_MAX_IN_FLIGHT */
    bool http2;                  /* over TLS, by ALPN, one connection shared by many requests */
    vd_http_allow_fn *
        allow; /* NULL: any address. A client with a filter shares no connection with another client */
    void *allow_arg;
};

/* Copies conf. */
enum vd_code vd_http_new(struct vd_loop *loop, const struct vd_http_conf *conf,
                         struct vd_http **ret_http, struct vd_err *err) VD_MUST_CHECK;
/* Outstanding requests get their done callback (canceled) inside this call. Not from inside a done callback. NULL-safe. */
void *vd_http_free(struct vd_http *http);
uint32_t vd_http_in_flight(const struct vd_http *http);

/* -- targets ----------------------------------------------------------------------------------------------------- */

struct vd_http_header {
    struct vd_span name;
    struct vd_span value;
};

/* A URL with its headers, made once and used by many requests: nothing is parsed or copied a second time. Header bytes outside
 * visible ASCII, space and tab are VD_E_CONFIG, and so are Content-Length and Transfer-Encoding, which the client sets. A target may be freed while requests use it; they keep it. */
enum vd_code vd_http_target_new(struct vd_http *http, struct vd_span url,
                                const struct vd_http_header *headers, size_t header_count,
                                struct vd_http_target **ret_target,
                                struct vd_err *err) VD_MUST_CHECK;
void *vd_http_target_free(struct vd_http_target *target);

/* -- requests ---------------------------------------------------------------------------------------------------- */

struct vd_http_request {
    struct vd_http_target *target;
    bool post;           /* else GET */
    struct vd_span body; /* borrowed until submit returns; post only */
    /* Writes the same body once more, until done: for a connection that turned out to have ended before the request came. NULL: such
     * a request is not repeated, if it has a body. */
    enum vd_code (*body_again)(void *arg, struct vd_buf *out);
    uint32_t timeout_ms;   /* whole exchange; required */
    size_t body_max_bytes; /* 0: VD_HTTP_BODY_MAX_BYTES */
};

/* Response headers that are kept; the others are counted against header_max_bytes and dropped. Empty span: not sent. */
enum vd_http_kept {
    VD_HTTP_CONTENT_TYPE,
    VD_HTTP_RETRY_AFTER,
    VD_HTTP_RETRY_AFTER_MS,
    VD_HTTP_SHOULD_RETRY, /* x-should-retry */
    VD_HTTP_REQUEST_ID,   /* x-request-id or request-id */
    VD_HTTP_DATE,
    VD_HTTP_LIMIT_REQUESTS, /* x-ratelimit-... or anthropic-ratelimit-... */
    VD_HTTP_LIMIT_TOKENS,
    VD_HTTP_REMAINING_REQUESTS,
    VD_HTTP_REMAINING_TOKENS,
    VD_HTTP_RESET_REQUESTS,
    VD_HTTP_RESET_TOKENS,
    VD_HTTP_KEPT_COUNT,
};

struct vd_http_response {
    struct vd_err err; /* err.code VD_OK: a whole response was received */
    bool canceled;
    bool refused; /* the allow function refused every address */
    bool sent;    /* the request may have reached the peer (a connection was made) */
    int status;   /* 0: none received */
    struct vd_span headers[VD_HTTP_KEPT_COUNT]; /* first one of a name; at most 256 bytes each */
    struct vd_span body;
    int64_t connect_us; /* 0: a connection was reused, or none was made */
    int64_t first_byte_us;
    int64_t total_us;
};

typedef void vd_http_done_fn(void *arg, const struct vd_http_response *response);

/* When this does not return VD_OK, done will not be called. VD_E_LIMIT retriable: max_in_flight reached. */
enum vd_code vd_http_submit(struct vd_http *http, const struct vd_http_request *request,
                            vd_http_done_fn *done, void *arg, struct vd_http_call **ret_call,
                            struct vd_err *err) VD_MUST_CHECK;
/* done comes on a later turn with canceled set. */
void vd_http_cancel(struct vd_http_call *call);

#endif
