/* http/internal.h - what the client's files share. Nobody else includes it.
 *
 * client.c    life, requests, done callbacks
 * target.c    URLs with their headers; which of the two ways they go:
 * plain.c     plain TCP: connections, sending, receiving     origin.c   where a host is     message.c  the bytes of an answer
 * curl.c      libcurl: TLS, HTTP/2, proxies                  sockets.c  its sockets and timers on the loop
 * response.c  headers and body as they are kept
 *
 * libcurl may call back at any time while one of its functions runs; callbacks only note. Done callbacks run once a turn (client.c, drain).
 */
#ifndef VD_HTTP_INTERNAL_H
#define VD_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "http/client.h"
#include "loop/loop.h"

#define VD_HTTP_KEPT_BYTES    1024        /* of one response's headers */
#define VD_HTTP_RECEIVE_BYTES (64u << 10) /* one read of a plain connection; all share the buffer */
#define VD_HTTP_MAX_ADDRESSES 8           /* of one name */

struct vd_http_shard {
    struct vd_http *http;
    CURLM *multi;
    struct vd_timer *timer;
    uint32_t in_flight;
    TAILQ_ENTRY(vd_http_shard) link;
};

/* A socket that libcurl waits on, or has opened and keeps for later. */
struct vd_http_watched {
    struct vd_http *http;
    struct vd_http_shard *shard;
    struct vd_poll *poll;
    int fd;
    bool
        opened; /* by vd_http_open_socket(): may stay until vd_http_close_socket(); others (resolver pipes) go when libcurl lets go */
    int wanted; /* by libcurl; 0: idle */
    int set; /* in the poll; lags behind when a connection turns idle, since it is likely to be used again */
};

struct vd_http_target {
    struct vd_http *http;
    char *url;
    char *host;
    struct curl_slist *headers;
    struct vd_http_origin *origin; /* NULL: through libcurl */
    char *head; /* with an origin: the request from its path to its last header's line end */
    size_t head_len;
    uint32_t refs;
};

TAILQ_HEAD(vd_http_calls, vd_http_call);
TAILQ_HEAD(vd_http_shards, vd_http_shard);
TAILQ_HEAD(vd_http_conns, vd_http_conn);
TAILQ_HEAD(vd_http_origins, vd_http_origin);

struct vd_http_address {
    struct sockaddr_storage at;
    socklen_t len;
};

/* A host and port: its addresses and its idle connections. Lives as long as a target, a connection or a lookup wants it. */
struct vd_http_origin {
    struct vd_http *http; /* NULL: the client is gone, a lookup is not back yet */
    char *host;
    char port[6];
    uint32_t refs;
    struct vd_http_address addresses[VD_HTTP_MAX_ADDRESSES];
    size_t address_count;
    bool known; /* without asking */
    bool resolving;
    int64_t resolved_ms;
    struct vd_http_conns waiting; /* for addresses */
    struct vd_http_conns idle;    /* last used first */
    TAILQ_ENTRY(vd_http_origin) link;
};

struct vd_http_call {
    unsigned magic;
    struct vd_http *http;
    struct vd_http_shard *shard; /* libcurl's: this and easy */
    CURL *easy;
    struct vd_http_conn *conn; /* plain: these; NULL once over */
    bool post;
    size_t sending_len;
    struct vd_buf sending; /* the body, where it could not be sent at once */
    enum vd_code (*body_again)(void *arg, struct vd_buf *out);
    int64_t began_us;
    int64_t deadline_ms;
    int64_t connect_deadline_ms;
    int64_t heard_ms;               /* last sign of life */
    TAILQ_ENTRY(vd_http_call) link; /* active, finished or spare */
    struct vd_http_target *target;
    bool finished;
    struct vd_http_response response;
    struct vd_buf body;
    size_t header_bytes;
    size_t body_max_bytes;
    bool header_too_large;
    char *
        kept; /* VD_HTTP_KEPT_BYTES, from the first kept header until done has returned; else NULL */
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
    struct vd_http_shards shards;
    struct vd_http_watched **watched; /* by descriptor */
    size_t watched_count;
    struct vd_http_calls active;
    struct vd_http_calls finished;
    struct vd_http_calls spare; /* libcurl's, with their easy handles */
    struct vd_http_origins origins;
    struct vd_http_conns idle; /* of all origins, longest idle first */
    size_t idle_count;
    char *received; /* what plain connections read into, one after the other */
    uint32_t in_flight;
    struct vd_timer *soon;
    bool draining;
    bool closing;
};

/* client.c */
void vd_http_finish(struct vd_http_call *call); /* its done callback comes on a later turn */
void vd_http_free_call(struct vd_http_call *call);

/* curl.c */
enum vd_code vd_http_curl_submit(struct vd_http_call *call, const struct vd_http_request *request);
struct vd_http_call *vd_http_curl_take_call(struct vd_http *http); /* a spare one, or a new one */
void vd_http_curl_cancel(struct vd_http_call *call);
void vd_http_curl_collect(struct vd_http_shard *shard); /* transfers that libcurl reports as over */
void vd_http_curl_close(struct vd_http *http);

/* sockets.c */
int vd_http_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused);
int vd_http_set_timer(CURLM *multi, long timeout_ms, void *arg);
void vd_http_on_timer(void *arg);
curl_socket_t vd_http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
int vd_http_close_socket(void *arg, curl_socket_t fd);

/* origin.c. An origin is had by reference; host without brackets. */
struct vd_http_origin *vd_http_origin_get(struct vd_http *http, struct vd_span host,
                                          const char *port);
void vd_http_origin_release(struct vd_http_origin *origin); /* NULL-safe */
bool vd_http_origin_is_known(const struct vd_http_origin *origin);
/* vd_http_plain_resolved() follows on a later turn. */
enum vd_code vd_http_origin_resolve(struct vd_http_origin *origin) VD_MUST_CHECK;

/* plain.c */
void vd_http_plain_resolved(struct vd_http_origin *origin, const char *why);
void vd_http_plain_submit(struct vd_http_call *call, const struct vd_http_request *request);
void vd_http_plain_cancel(struct vd_http_call *call);
void vd_http_plain_close(struct vd_http *http);

/* response.c */
size_t vd_http_on_header(char *ptr, size_t size, size_t count, void *arg); /* libcurl's */
size_t vd_http_on_body(char *ptr, size_t size, size_t count, void *arg);
void vd_http_keep_header(struct vd_http_call *call, struct vd_span name, struct vd_span value);
void vd_http_forget_headers(struct vd_http_call *call);

/* target.c */
void vd_http_target_release(struct vd_http_target *target); /* NULL-safe */

#endif
