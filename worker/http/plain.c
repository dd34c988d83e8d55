/* http/plain.c - HTTP/1.1 over plain TCP, on the loop's own polls: what libcurl would do for http://, without a proxy.
 *
 * Why:      a decision's budget is decided here. Through libcurl an exchange with a model costs four times the CPU (tests/bench, parts:
 *           http and own_http), more the more are in flight, and 14 kB while it waits; here that is a descriptor, a poll, a timer. Whatever
 *           needs more than that (TLS, HTTP/2, proxies) is libcurl's: curl.c.
 * Source:   RFC 9112 section 9 (connections); message.c has the bytes.
 *
 *   RESOLVING --plain_resolved--> CONNECTING --on_connected--> EXCHANGING --complete--> IDLE --take_idle--> EXCHANGING
 *       any state --close_conn--> gone: an error, a cancel, the peer's end, too long idle
 *
 * A connection belongs to the call it carries, or is idle. One timer serves all its states: it is only moved when it would ring too
 * late, and looks what is due when it rings. A request on a connection that turns out to have ended before a byte of the
 * answer came is sent once more, on a new one (RFC 9112 section 9.3.1: what libcurl does, too).
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "http/internal.h"
#include "http/message.h"

#define IDLE_KEPT_MS 60000 /* an idle connection is closed after this */
#define KEEPALIVE_S  60    /* TCP's own probes, so that a path that forgot us is noticed */

enum conn_state { RESOLVING, CONNECTING, EXCHANGING, IDLE };

struct vd_http_conn {
    struct vd_http_origin *origin;
    struct vd_http_call *call; /* NULL: idle */
    enum conn_state state;
    int fd;
    int polled; /* what the poll waits for */
    struct vd_poll *poll;
    struct vd_timer *timer;
    int64_t rings_ms; /* the timer; 0: not running */
    size_t next_address;
    int64_t connect_by_ms; /* to this address */
    int connect_errno;     /* of the last address that failed */
    bool reused;           /* has carried an answer before */
    bool send_failed;
    size_t sent; /* bytes of the request */
    int64_t idle_since_ms;
    struct vd_http_message message;
    TAILQ_ENTRY(vd_http_conn) link; /* origin's waiting or idle */
    TAILQ_ENTRY(vd_http_conn) all_idle;
};

static void connect_next(struct vd_http_conn *conn);
static void start_call(struct vd_http_call *call);

/* -- connections ------------------------------------------------------------------------------------------------------ */

static void watch(struct vd_http_conn *conn, int events)
{
    if (conn->polled != events)
        vd_poll_set(conn->poll, events);
    conn->polled = events;
}

static void drop_socket(struct vd_http_conn *conn)
{
    conn->poll = vd_poll_free(conn->poll);
    conn->polled = 0;
    if (conn->fd >= 0)
        (void)close(conn->fd);
    conn->fd = -1;
}

static void leave_idle(struct vd_http_conn *conn)
{
    struct vd_http *http = conn->origin->http;

    TAILQ_REMOVE(&conn->origin->idle, conn, link);
    TAILQ_REMOVE(&http->idle, conn, all_idle);
    http->idle_count--;
}

static void *close_conn(struct vd_http_conn *conn)
{
    assert(conn->call == NULL);
    if (conn->state == IDLE)
        leave_idle(conn);
    else if (conn->state == RESOLVING)
        TAILQ_REMOVE(&conn->origin->waiting, conn, link);
    drop_socket(conn);
    (void)vd_timer_free(conn->timer);
    vd_http_message_fini(&conn->message);
    vd_http_origin_release(conn->origin);
    return vd_free(conn);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When this connection has waited too long. */
static int64_t due_ms(const struct vd_http_conn *conn)
{
    const struct vd_http_call *call = conn->call;
    int64_t silence_ms;

    switch (conn->state) {
    case IDLE:
        return conn->idle_since_ms + IDLE_KEPT_MS;
    case EXCHANGING:
        silence_ms = (int64_t)conn->origin->http->conf.low_speed_s * 1000;
        return earlier(call->deadline_ms, call->heard_ms + silence_ms);
    default:
        return earlier(call->deadline_ms, conn->connect_by_ms);
    }
}

static void set_timer(struct vd_http_conn *conn)
{
    int64_t due = due_ms(conn), now = vd_mono_ms();

    if (conn->rings_ms != 0 && conn->rings_ms <= due)
        return;
    conn->rings_ms = due;
    vd_timer_start(conn->timer, due > now ? (uint64_t)(due - now) : 0, 0);
}

/* -- ends ------------------------------------------------------------------------------------------------------------- */

/* The call's end; its error, if it is one, is set. */
static struct vd_http_call *detach(struct vd_http_conn *conn)
{
    struct vd_http_call *call = conn->call;

    conn->call = NULL;
    call->conn = NULL;
    return call;
}

static void end_call(struct vd_http_conn *conn)
{
    struct vd_http_call *call = detach(conn);

    call->response.status = conn->message.status;
    call->response.total_us = vd_mono_us() - call->began_us;
    vd_http_finish(call);
}

static void give_up(struct vd_http_conn *conn)
{
    end_call(conn);
    (void)close_conn(conn);
}

/* The body once more, where it is not here any more. */
static bool has_body_again(struct vd_http_call *call)
{
    if (call->sending_len == 0 || call->sending.len > 0)
        return true;
    call->sending.max =
        2 * call->sending_len + 65536; /* who writes it may ask for more room first */
    return call->body_again != NULL && call->body_again(call->arg, &call->sending) == VD_OK &&
           call->sending.failed == VD_OK && call->sending.len == call->sending_len;
}

/* The connection ended too early. The peer may have closed it, idle, while the request was on its way: then once more. */
static void lost(struct vd_http_conn *conn)
{
    struct vd_http_call *call = conn->call;

    if (!conn->reused || call->response.first_byte_us > 0 || !has_body_again(call)) {
        give_up(conn);
        return;
    }
    (void)detach(conn);
    (void)close_conn(conn);
    call->response.err = (struct vd_err){0};
    call->response.sent = false;
    start_call(call);
}

static void make_idle(struct vd_http_conn *conn)
{
    struct vd_http_origin *origin = conn->origin;
    struct vd_http *http = origin->http;

    vd_http_message_fini(&conn->message);
    conn->state = IDLE;
    conn->idle_since_ms = vd_mono_ms();
    watch(conn, VD_POLL_IN);
    TAILQ_INSERT_HEAD(&origin->idle, conn, link);
    TAILQ_INSERT_TAIL(&http->idle, conn, all_idle);
    set_timer(conn);
    if (++http->idle_count > http->conf.max_in_flight)
        (void)close_conn(TAILQ_FIRST(&http->idle)); /* longest idle */
}

/* -- an exchange ------------------------------------------------------------------------------------------------------ */

static struct iovec part(const char *ptr, size_t len)
{
    return (struct iovec){.iov_base = (void *)ptr, .iov_len = len};
}

/* Takes what was sent already off the front. */
static size_t skip(struct iovec *parts, size_t count, size_t bytes)
{
    size_t left = 0;

    for (size_t i = 0; i < count; i++) {
        size_t n = bytes < parts[i].iov_len ? bytes : parts[i].iov_len;

        parts[i].iov_base = (char *)parts[i].iov_base + n;
        parts[i].iov_len -= n;
        bytes -= n;
        left += parts[i].iov_len;
    }
    return left;
}

/* body: where it stands now. */
static void send_request(struct vd_http_conn *conn, struct vd_span body)
{
    const struct vd_http_call *call = conn->call;
    const struct vd_http_target *target = call->target;
    char room[48];
    struct vd_buf length = {.ptr = room, .cap = sizeof(room), .max = sizeof(room) - 1};
    struct iovec parts[4];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 4};
    size_t left;
    ssize_t n;

    if (call->post) {
        (void)vd_buf_add(&length, VD_LIT("Content-Length: "));
        (void)vd_buf_add_i64(&length, (int64_t)body.len);
        (void)vd_buf_add(&length, VD_LIT("\r\n"));
    }
    (void)vd_buf_add(&length, VD_LIT("\r\n"));
    parts[0] = call->post ? part("POST ", 5) : part("GET ", 4);
    parts[1] = part(target->head, target->head_len);
    parts[2] = part(length.ptr, length.len);
    parts[3] = part(body.ptr, body.len);
    left = skip(parts, 4, conn->sent);
    n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    if (n >= 0) {
        conn->sent += (size_t)n;
        left -= (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        conn->send_failed = true; /* perhaps after an early answer, which is there to be read */
        left = 0;
    }
    watch(conn, left > 0 ? VD_POLL_IN | VD_POLL_OUT : VD_POLL_IN);
}

static bool has_sent(const struct vd_http_conn *conn)
{
    return (conn->polled & VD_POLL_OUT) == 0;
}

/* A body that waited does not wait for the answer, too. */
static void forget_sent(struct vd_http_conn *conn)
{
    if (has_sent(conn))
        vd_buf_free(&conn->call->sending);
}

static void on_line(void *arg, struct vd_span name, struct vd_span value)
{
    if (name.len == 0)
        vd_http_forget_headers(arg);
    else
        vd_http_keep_header(arg, name, value);
}

static void begin_exchange(struct vd_http_conn *conn, struct vd_span body)
{
    struct vd_http_call *call = conn->call;

    conn->state = EXCHANGING;
    conn->sent = 0;
    conn->send_failed = false;
    call->heard_ms = vd_mono_ms();
    call->response.sent = true;
    vd_http_message_init(&conn->message, conn->origin->http->conf.header_max_bytes, &call->body,
                         on_line, call);
    set_timer(conn);
    send_request(conn, body);
}

/* A whole answer. The connection is used again when both sides see the same end of both messages. */
static void complete(struct vd_http_conn *conn, bool nothing_behind)
{
    bool whole_request = !conn->send_failed && has_sent(conn);
    bool keep = conn->message.persistent && nothing_behind && whole_request;

    end_call(conn);
    if (keep)
        make_idle(conn);
    else
        (void)close_conn(conn);
}

static void receive(struct vd_http_conn *conn)
{
    struct vd_http *http = conn->origin->http;
    struct vd_http_call *call = conn->call;
    struct vd_err *err = &call->response.err;
    ssize_t n = recv(conn->fd, http->received, VD_HTTP_RECEIVE_BYTES, 0);
    size_t used = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        (void)vd_err_set(err, VD_E_REMOTE, true, "HTTP: %s", strerror(errno));
        lost(conn);
    } else if (n == 0) {
        if (vd_http_message_end(&conn->message, err) == VD_OK)
            complete(conn, false);
        else
            lost(conn);
    } else {
        call->heard_ms = vd_mono_ms();
        if (call->response.first_byte_us == 0)
            call->response.first_byte_us = vd_mono_us() - call->began_us;
        if (vd_http_message_read(&conn->message, (struct vd_span){http->received, (size_t)n}, &used,
                                 err) != VD_OK)
            give_up(conn);
        else if (conn->message.state == VD_HTTP_WHOLE)
            complete(conn, used == (size_t)n);
    }
}

/* -- connecting ------------------------------------------------------------------------------------------------------- */

static void on_connected(struct vd_http_conn *conn)
{
    struct vd_http_call *call = conn->call;
    int failed = 0;
    socklen_t len = sizeof(failed);

    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
        failed = errno;
    if (failed != 0) {
        conn->connect_errno = failed;
        drop_socket(conn);
        connect_next(conn);
        return;
    }
    call->response.connect_us = vd_mono_us() - call->began_us;
    begin_exchange(conn, vd_buf_span(&call->sending));
    forget_sent(conn);
}

static void on_ready(void *arg, int events)
{
    struct vd_http_conn *conn = arg;
    bool may_send = events & conn->polled & VD_POLL_OUT;

    if ((events & ~conn->polled) != 0)
        conn->polled = 0; /* an error: libuv has stopped the poll */
    switch (conn->state) {
    case CONNECTING:
        on_connected(conn);
        return;
    case IDLE: /* the peer closed it, or says what nobody asked */
        (void)close_conn(conn);
        return;
    default:
        if (may_send) {
            send_request(conn, vd_buf_span(&conn->call->sending));
            forget_sent(conn);
        }
        watch(conn, conn->polled | VD_POLL_IN);
        if (events & VD_POLL_IN)
            receive(conn);
    }
}

static bool open_socket(struct vd_http_conn *conn, const struct vd_http_address *a)
{
    int one = 1, probes_s = KEEPALIVE_S;
    struct vd_http *http = conn->origin->http;

    conn->fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (conn->fd < 0)
        return false;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &probes_s, sizeof(probes_s));
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &probes_s, sizeof(probes_s));
    if (connect(conn->fd, (const struct sockaddr *)&a->at, a->len) != 0 && errno != EINPROGRESS)
        return false;
    if (vd_poll_new(http->loop, conn->fd, on_ready, conn, &conn->poll) != VD_OK) {
        errno = ENOMEM;
        return false;
    }
    watch(conn, VD_POLL_OUT);
    return true;
}

static bool may_connect(const struct vd_http_conn *conn, const struct vd_http_address *a)
{
    const struct vd_http_conf *conf = &conn->origin->http->conf;

    return conf->allow == NULL || conf->allow(conf->allow_arg, vd_span_of(conn->call->target->host),
                                              (const struct sockaddr *)&a->at);
}

/* The next address, which gets its share of the time that is left; the end of the call when there is none. */
static void connect_next(struct vd_http_conn *conn)
{
    const struct vd_http_origin *origin = conn->origin;
    struct vd_http_response *r = &conn->call->response;

    conn->state = CONNECTING;
    while (conn->next_address < origin->address_count) {
        const struct vd_http_address *a = &origin->addresses[conn->next_address];
        int64_t left = conn->call->connect_deadline_ms - vd_mono_ms();

        if (left <= 0)
            break;
        conn->connect_by_ms =
            vd_mono_ms() + 1 + left / (int64_t)(origin->address_count - conn->next_address);
        conn->next_address++;
        if (!may_connect(conn, a)) {
            r->refused = conn->connect_errno == 0;
            continue;
        }
        r->refused = false;
        if (open_socket(conn, a)) {
            set_timer(conn);
            return;
        }
        conn->connect_errno = errno;
        drop_socket(conn);
    }
    if (r->refused)
        (void)vd_err_set(&r->err, VD_E_REMOTE, false,
                         "HTTP: the address of the host is not allowed");
    else if (conn->connect_errno == ENOMEM)
        (void)vd_err_nomem(&r->err, "HTTP: connection");
    else if (conn->connect_errno == 0 || conn->connect_errno == ETIMEDOUT)
        (void)vd_err_set(&r->err, VD_E_TIMEOUT, true, "HTTP: cannot connect in time");
    else
        (void)vd_err_set(&r->err, VD_E_REMOTE, true, "HTTP: cannot connect: %s",
                         strerror(conn->connect_errno));
    give_up(conn);
}

static void on_time_out(struct vd_http_conn *conn)
{
    struct vd_err *err = &conn->call->response.err;

    if (conn->state == CONNECTING && vd_mono_ms() < conn->call->deadline_ms) {
        conn->connect_errno = ETIMEDOUT;
        drop_socket(conn);
        connect_next(conn);
        return;
    }
    (void)vd_err_set(err, VD_E_TIMEOUT, true, "HTTP: %s",
                     conn->state == EXCHANGING  ? "no whole answer in time"
                     : conn->state == RESOLVING ? "the host's name is not resolved in time"
                                                : "cannot connect in time");
    give_up(conn);
}

static void on_timer(void *arg)
{
    struct vd_http_conn *conn = arg;

    conn->rings_ms = 0;
    if (vd_mono_ms() < due_ms(conn))
        set_timer(conn);
    else if (conn->state == IDLE)
        (void)close_conn(conn);
    else
        on_time_out(conn);
}

/* -- names ------------------------------------------------------------------------------------------------------------ */

void vd_http_plain_resolved(struct vd_http_origin *origin, const char *why)
{
    struct vd_http_conns waiting = TAILQ_HEAD_INITIALIZER(waiting);
    struct vd_http_conn *conn;

    TAILQ_CONCAT(&waiting, &origin->waiting, link);
    while ((conn = TAILQ_FIRST(&waiting)) != NULL) {
        TAILQ_REMOVE(&waiting, conn, link);
        conn->state = CONNECTING;
        if (origin->address_count > 0) {
            connect_next(conn);
            continue;
        }
        (void)vd_err_set(&conn->call->response.err, VD_E_REMOTE, true,
                         "HTTP: cannot resolve the host's name: %s", why);
        give_up(conn);
    }
}

static enum vd_code resolve(struct vd_http_conn *conn)
{
    conn->state = RESOLVING;
    TAILQ_INSERT_TAIL(&conn->origin->waiting, conn, link);
    return vd_http_origin_resolve(conn->origin);
}

/* -- calls ------------------------------------------------------------------------------------------------------------ */

static struct vd_http_conn *new_conn(struct vd_http_call *call)
{
    struct vd_http_origin *origin = call->target->origin;
    struct vd_http_conn *conn = vd_alloc(sizeof(*conn));

    if (conn == NULL)
        return NULL;
    if (vd_timer_new(origin->http->loop, on_timer, conn, &conn->timer) != VD_OK)
        return vd_free(conn);
    conn->fd = -1;
    conn->state = CONNECTING;
    conn->origin = origin;
    origin->refs++;
    conn->call = call;
    call->conn = conn;
    return conn;
}

/* On a new connection. Its end, whatever it is, comes by vd_http_finish(). */
static void start_call(struct vd_http_call *call)
{
    struct vd_http_conn *conn = new_conn(call);
    enum vd_code rc = VD_OK;

    if (conn == NULL) {
        (void)vd_err_nomem(&call->response.err, "HTTP: connection");
        vd_http_finish(call);
        return;
    }
    call->connect_deadline_ms = vd_mono_ms() + call->http->conf.connect_timeout_ms;
    conn->connect_by_ms = call->connect_deadline_ms;
    if (vd_http_origin_is_known(conn->origin)) {
        connect_next(conn);
        return;
    }
    rc = resolve(conn);
    if (rc == VD_OK) {
        set_timer(conn);
        return;
    }
    (void)vd_err_set(&call->response.err, rc == VD_E_NOMEM ? rc : VD_E_REMOTE, rc == VD_E_NOMEM,
                     "HTTP: cannot ask for the host's name");
    give_up(conn);
}

void vd_http_plain_submit(struct vd_http_call *call, const struct vd_http_request *request)
{
    struct vd_http_conn *conn = TAILQ_FIRST(&call->target->origin->idle);

    struct vd_span body = request->post ? request->body : (struct vd_span){0};

    call->post = request->post;
    call->sending_len = body.len;
    call->body_again = request->body_again;
    vd_buf_init(&call->sending, body.len);
    call->began_us = vd_mono_us();
    call->deadline_ms = vd_mono_ms() + request->timeout_ms;
    if (conn != NULL) {
        leave_idle(conn);
        conn->reused = true;
        conn->call = call;
        call->conn = conn;
        begin_exchange(conn, body);
        if (has_sent(conn))
            return;
    }
    if (vd_buf_add(&call->sending, body) != VD_OK) {
        (void)vd_err_nomem(&call->response.err, "HTTP: request");
        vd_http_plain_cancel(call);
    } else if (conn == NULL) {
        start_call(call);
    }
}

void vd_http_plain_cancel(struct vd_http_call *call)
{
    if (call->conn != NULL)
        give_up(call->conn);
    else
        vd_http_finish(call);
}

void vd_http_plain_close(struct vd_http *http)
{
    struct vd_http_conn *conn;
    struct vd_http_origin *origin;

    while ((conn = TAILQ_FIRST(&http->idle)) != NULL)
        (void)close_conn(conn);
    while ((origin = TAILQ_FIRST(&http->origins)) != NULL) {
        TAILQ_REMOVE(&http->origins, origin, link);
        origin->http = NULL;
    }
    http->received = vd_free(http->received);
}
