/* http/internal.h - what the client's files share. Nobody else includes it.
 *
 * client.c    life, requests, what an end means
 * sockets.c   libcurl's sockets and timers on the loop
 * response.c  headers and body as they arrive
 * target.c    URLs with their headers
 *
 * libcurl may call back at any time while one of its functions runs; callbacks only note. Done callbacks run in vd_http_drain().
 */
#ifndef VD_HTTP_INTERNAL_H
#define VD_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "http/client.h"
#include "loop/loop.h"

#define VD_HTTP_KEPT_BYTES 1024 /* of one response's headers */

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
    uint32_t refs;
};

TAILQ_HEAD(vd_http_calls, vd_http_call);
TAILQ_HEAD(vd_http_shards, vd_http_shard);

struct vd_http_call {
    unsigned magic;
    struct vd_http *http;
    struct vd_http_shard *shard;
    CURL *easy;
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
    struct vd_http_calls spare;
    uint32_t in_flight;
    struct vd_timer *soon;
    bool draining;
    bool closing;
};

/* client.c */
void vd_http_collect(struct vd_http_shard *shard); /* transfers that libcurl reports as over */
void vd_http_drain(struct vd_http *http);          /* done callbacks of what is over */

/* sockets.c */
int vd_http_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused);
int vd_http_set_timer(CURLM *multi, long timeout_ms, void *arg);
void vd_http_on_timer(void *arg);
curl_socket_t vd_http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
int vd_http_close_socket(void *arg, curl_socket_t fd);

/* response.c */
size_t vd_http_on_header(char *ptr, size_t size, size_t count, void *arg);
size_t vd_http_on_body(char *ptr, size_t size, size_t count, void *arg);

/* target.c */
void vd_http_target_release(struct vd_http_target *target); /* NULL-safe */

#endif
