/* http/sockets.c - libcurl's sockets and timers on the loop.
 *
 * A poll lives as long as its connection: libcurl forgets sockets between requests, and making a poll costs three system calls each
 * time. That holds for connections that have carried an answer. One that is given up earlier may end without a call of
 * vd_http_close_socket(): libcurl 7.88 (cf-socket.c, cf_socket_close) closes a socket that never became a connection's own by
 * itself. A poll that stays on a closed descriptor makes libuv abort, so such sockets are forgotten as soon as libcurl lets go.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "http/internal.h"

static void act(struct vd_http_shard *shard, curl_socket_t fd, int flags)
{
    int running;

    (void)curl_multi_socket_action(shard->multi, fd, flags, &running);
    vd_http_curl_collect(shard);
}

static void on_ready(void *arg, int events)
{
    struct vd_http_watched *w = arg;
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

static struct vd_http_watched *find_watched(const struct vd_http *http, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < http->watched_count ? http->watched[fd] : NULL;
}

static void forget_watched(struct vd_http *http, struct vd_http_watched *w)
{
    http->watched[w->fd] = NULL;
    (void)vd_poll_free(w->poll);
    (void)vd_free(w);
}

static struct vd_http_watched *add_watched(struct vd_http *http, curl_socket_t fd)
{
    struct vd_http_watched *w;

    if ((size_t)fd >= http->watched_count) {
        size_t count = (size_t)fd + 64;
        struct vd_http_watched **grown =
            vd_realloc_array(http->watched, count, sizeof(struct vd_http_watched *));

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

/* Has this transfer's connection brought anything? Libcurl's own handles (closing connections) have no call. */
static bool carried_an_answer(CURL *easy)
{
    struct vd_http_call *call = NULL;

    return curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&call) == CURLE_OK && call != NULL &&
           call->header_bytes > 0;
}

int vd_http_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct vd_http_shard *shard = arg;
    struct vd_http_watched *w = find_watched(shard->http, fd);

    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL && w->opened && carried_an_answer(easy))
            w->wanted = 0;
        else if (w != NULL)
            forget_watched(shard->http, w);
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

curl_socket_t vd_http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct vd_http_call *call = arg;
    struct vd_http *http = call->http;
    struct vd_http_watched *w;
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

int vd_http_close_socket(void *arg, curl_socket_t fd)
{
    struct vd_http *http = arg;
    struct vd_http_watched *w = find_watched(http, fd);

    if (w != NULL)
        forget_watched(http, w);
    return close(fd);
}

void vd_http_on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

int vd_http_set_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct vd_http_shard *shard = arg;

    (void)multi;
    if (timeout_ms < 0)
        vd_timer_stop(shard->timer);
    else
        vd_timer_start(shard->timer, (uint64_t)timeout_ms, 0);
    return 0;
}
