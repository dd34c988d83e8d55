/* The HTTP client against a server that misbehaves in every way a script of bytes can say. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "http/address.h"
#include "http/client.h"
#include "loop/loop.h"

/* -- a server of raw bytes ------------------------------------------------------------------------------------------------ */

enum ending { END_KEEP, END_CLOSE, END_RESET, END_SILENCE, END_DRIP, END_FLOOD };

/* Which of the client's two ways a request to http:// takes. Behind a proxy, which the server then plays, it is libcurl. */
enum way { PLAIN, LIBCURL };

struct server {
    pthread_t thread;
    int listener;
    uint16_t port;
    const char *bytes; /* sent after each request */
    enum ending ending;
    int answers; /* END_KEEP: so many on one connection, then it ends without a word; 0: all */
    int answers_in_all; /* later requests end their connection, too; 0: no such bound */
    size_t body_bytes;  /* of each request, read slowly before the answer */
    atomic_bool stop;
    atomic_int connections;
    atomic_int requests;
    char request[4096]; /* the last one; read after the answer came */
};

static void finish_connection(struct server *s, int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    char block[65536];

    if (s->ending == END_RESET)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    for (int i = 0; s->ending == END_SILENCE && i < 400 && !s->stop; i++)
        (void)usleep(10000);
    for (int i = 0; s->ending == END_DRIP && i < 100 && !s->stop; i++) {
        (void)usleep(100000);
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            break;
    }
    memset(block, 'x', sizeof(block));
    for (int i = 0; s->ending == END_FLOOD && i < 800 && !s->stop; i++) /* 50 MB */
        if (send(fd, block, sizeof(block), MSG_NOSIGNAL) < 0)
            break;
}

static void read_body(const struct server *s, int fd, size_t had)
{
    char block[65536];

    while (had < s->body_bytes) {
        ssize_t n = recv(fd, block, sizeof(block), 0);

        if (n <= 0)
            return;
        had += (size_t)n;
        (void)usleep(1000);
    }
}

static void serve(struct server *s, int fd)
{
    for (int answered = 0;; answered++) {
        char request[sizeof(s->request)] = {0};
        const char *end = NULL;
        size_t len = 0;

        while (end == NULL && len + 1 < sizeof(request)) {
            ssize_t n = recv(fd, request + len, sizeof(request) - 1 - len, 0);

            if (n <= 0)
                return;
            len += (size_t)n;
            end = strstr(request, "\r\n\r\n");
        }
        memcpy(s->request, request, sizeof(request));
        s->requests++;
        if ((s->answers > 0 && answered == s->answers) ||
            (s->answers_in_all > 0 && s->requests > s->answers_in_all))
            return;
        if (end != NULL)
            read_body(s, fd, len - (size_t)(end + 4 - request));
        (void)send(fd, s->bytes, strlen(s->bytes), MSG_NOSIGNAL);
        if (s->ending != END_KEEP) {
            finish_connection(s, fd);
            return;
        }
    }
}

static void *run_server(void *arg)
{
    struct server *s = arg;

    for (;;) {
        int fd = accept(s->listener, NULL, NULL);

        if (fd < 0 || s->stop) {
            if (fd >= 0)
                (void)close(fd);
            return NULL;
        }
        s->connections++;
        serve(s, fd);
        (void)close(fd);
    }
}

static void start_server(struct server *s, const char *bytes, enum ending ending)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);

    memset(s, 0, sizeof(*s));
    s->bytes = bytes;
    s->ending = ending;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
}

static void stop_server(struct server *s)
{
    s->stop = true;
    (void)shutdown(s->listener, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->listener);
}

/* -- the client ------------------------------------------------------------------------------------------------------------ */

struct world {
    struct vd_loop *loop;
    struct vd_http *http;
    struct vd_http_target *target;
};

struct seen {
    int calls;
    struct vd_http_response response;
    char body[256];
    char retry_after[64];
    size_t body_len;
};

static void on_done(void *arg, const struct vd_http_response *r)
{
    struct seen *seen = arg;

    seen->calls++;
    seen->response = *r;
    seen->body_len = r->body.len;
    (void)snprintf(seen->body, sizeof(seen->body), "%.*s",
                   (int)(r->body.len < 200 ? r->body.len : 200),
                   r->body.len > 0 ? r->body.ptr : "");
    (void)snprintf(seen->retry_after, sizeof(seen->retry_after), "%.*s",
                   (int)r->headers[VD_HTTP_RETRY_AFTER].len,
                   r->headers[VD_HTTP_RETRY_AFTER].len > 0 ? r->headers[VD_HTTP_RETRY_AFTER].ptr
                                                           : "");
}

static int set_up(void **state)
{
    struct world *w = vd_alloc(sizeof(*w));

    assert_int_equal(vd_loop_new(&w->loop, NULL), VD_OK);
    *state = w;
    return 0;
}

static void close_client(struct world *w)
{
    w->target = vd_http_target_free(w->target);
    w->http = vd_http_free(w->http);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    close_client(w);
    (void)vd_loop_free(w->loop);
    (void)vd_free(w);
    return 0;
}

static void open_client_to(struct world *w, const char *scheme, const char *host, uint16_t port,
                           enum way way, struct vd_http_conf conf)
{
    const struct vd_http_header header = {VD_LIT("authorization"), VD_LIT("Bearer k")};
    char url[96], proxy[64];
    struct vd_err err = {0};

    (void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", port);
    if (way == LIBCURL)
        conf.proxy = proxy;
    if (vd_http_new(w->loop, &conf, &w->http, &err) != VD_OK)
        fail_msg("%s", err.msg);
    (void)snprintf(url, sizeof(url), "%s://%s:%u/x", scheme, host, port);
    if (vd_http_target_new(w->http, vd_span_of(url), &header, 1, &w->target, &err) != VD_OK)
        fail_msg("%s", err.msg);
}

static void open_client(struct world *w, const char *scheme, uint16_t port, enum way way,
                        struct vd_http_conf conf)
{
    open_client_to(w, scheme, "127.0.0.1", port, way, conf);
}

static const struct vd_span question = {"{\"q\":1}", 7};

static enum vd_code question_again(void *arg, struct vd_buf *out)
{
    (void)arg;
    return vd_buf_add(out, question);
}

static struct vd_http_call *submit(struct world *w, uint32_t timeout_ms, size_t max,
                                   struct seen *seen)
{
    struct vd_http_request request = {.target = w->target,
                                      .post = true,
                                      .body = question,
                                      .body_again = question_again,
                                      .timeout_ms = timeout_ms,
                                      .body_max_bytes = max};
    struct vd_http_call *call = NULL;

    assert_int_equal(vd_http_submit(w->http, &request, on_done, seen, &call, NULL), VD_OK);
    assert_int_equal(seen->calls, 0);
    return call;
}

static void turn_until(struct world *w, const int *counter, int wanted)
{
    int64_t end = vd_mono_ms() + 6000;

    while (*counter < wanted && vd_mono_ms() < end)
        vd_loop_turn(w->loop, 20);
    assert_int_equal(*counter, wanted);
}

static void test_each_bad_response_is_told_apart(void **state)
{
    static const struct {
        const char *name, *bytes;
        enum ending ending;
        size_t max;
        enum vd_code code;
        bool retriable;
        int status;
        int64_t most_ms;
    } rows[] = {
        {"good", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE, 0, VD_OK, false, 200,
         500},
        {"no length, closed", "HTTP/1.1 200 OK\r\n\r\nhi", END_CLOSE, 0, VD_OK, false, 200, 500},
        {"interim first",
         "HTTP/1.1 100 Continue\r\nretry-after: 9\r\n\r\nHTTP/1.1 429 No\r\ncontent-length: "
         "0\r\n\r\n",
         END_CLOSE, 0, VD_OK, false, 429, 500},
        {"exactly at the bound", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12345", END_CLOSE, 5,
         VD_OK, false, 200, 500},
        {"one over, announced", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n123456", END_CLOSE, 5,
         VD_E_LIMIT, false, 200, 500},
        {"one over, chunked",
         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n123456\r\n0\r\n\r\n", END_CLOSE,
         5, VD_E_LIMIT, false, 200, 500},
        {"50 MB", "HTTP/1.1 200 OK\r\n\r\n", END_FLOOD, 100000, VD_E_LIMIT, false, 200, 2000},
        {"shorter than announced", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", END_CLOSE, 0,
         VD_E_REMOTE, true, 200, 500},
        {"reset in the middle", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", END_RESET, 0,
         VD_E_REMOTE, true, 200, 500},
        {"reset at once", "", END_RESET, 0, VD_E_REMOTE, true, 0, 500},
        {"closed at once", "", END_CLOSE, 0, VD_E_REMOTE, true, 0, 500},
        {"silent", "", END_SILENCE, 0, VD_E_TIMEOUT, true, 0, 1000},
        {"silent in the body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", END_SILENCE, 0,
         VD_E_TIMEOUT, true, 200, 1000},
        {"a byte now and then", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", END_DRIP, 0,
         VD_E_TIMEOUT, true, 200, 1000},
        {"redirect is not followed",
         "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
         END_CLOSE, 0, VD_OK, false, 302, 500},
        {"not HTTP", "hello\r\n\r\n", END_CLOSE, 0, VD_E_REMOTE, true, 0, 500},
        {"compressed is not unpacked",
         "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE, 0,
         VD_OK, false, 200, 500},
    };
    struct world *w = *state;

    for (size_t n = 0; n < 2 * sizeof(rows) / sizeof(rows[0]); n++) {
        enum way way = n % 2 == 0 ? PLAIN : LIBCURL;
        size_t i = n / 2;
        struct server server;
        struct seen seen = {0};
        int64_t start = vd_mono_ms();

        start_server(&server, rows[i].bytes, rows[i].ending);
        open_client(w, "http", server.port, way, (struct vd_http_conf){0});
        (void)submit(w, 600, rows[i].max, &seen);
        turn_until(w, &seen.calls, 1);
        if (seen.response.err.code != rows[i].code)
            fail_msg("%s, %s: %s %s", rows[i].name, way == PLAIN ? "plain" : "libcurl",
                     vd_code_name(seen.response.err.code), seen.response.err.msg);
        if (rows[i].code != VD_OK)
            assert_int_equal(seen.response.err.retriable, rows[i].retriable);
        assert_int_equal(seen.response.status, rows[i].status);
        assert_true(vd_mono_ms() - start <= rows[i].most_ms);
        assert_true(seen.response.sent);
        assert_string_equal(seen.retry_after, "");
        close_client(w);
        stop_server(&server);
        assert_null(strstr(server.request, "Accept-Encoding"));
        assert_null(strstr(server.request, "Expect"));
        assert_non_null(strstr(server.request, "authorization: Bearer k\r\n"));
    }
}

static void test_header_blocks_are_bounded(void **state)
{
    static char bytes[40000];
    struct world *w = *state;
    struct server server;
    size_t n = (size_t)snprintf(bytes, sizeof(bytes), "HTTP/1.1 200 OK\r\n");

    while (n < 20000)
        n += (size_t)snprintf(bytes + n, sizeof(bytes) - n, "x-%zu: %0100d\r\n", n, 1);
    (void)snprintf(bytes + n, sizeof(bytes) - n, "content-length: 2\r\n\r\nhi");
    for (enum way way = PLAIN; way <= LIBCURL; way++) {
        struct seen seen = {0};

        start_server(&server, bytes, END_CLOSE);
        open_client(w, "http", server.port, way, (struct vd_http_conf){.header_max_bytes = 8192});
        (void)submit(w, 1000, 0, &seen);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_E_LIMIT);
        close_client(w);
        stop_server(&server);
    }
}

static void check_connection_is_used_again(struct world *w, enum way way)
{
    struct server server;

    start_server(
        &server,
        "HTTP/1.1 429 Slow\r\nRetry-After:  7 \r\nretry-after: 8\r\ncontent-length: 2\r\n\r\nhi",
        END_KEEP);
    open_client(w, "http", server.port, way, (struct vd_http_conf){0});
    for (int i = 0; i < 20; i++) {
        struct seen seen = {0};

        (void)submit(w, 1000, 0, &seen);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_OK);
        assert_string_equal(seen.retry_after, "7");
        assert_string_equal(seen.body, "hi");
        assert_int_equal(seen.response.connect_us > 0, i == 0);
        assert_true(seen.response.first_byte_us > 0);
        assert_true(seen.response.total_us >= seen.response.first_byte_us);
    }
    assert_int_equal(server.connections, 1);
    assert_int_equal(server.requests, 20);
    close_client(w);
    stop_server(&server);
}

static void test_a_connection_is_used_again_and_kept_headers_are_the_last_response_s(void **state)
{
    check_connection_is_used_again(*state, PLAIN);
    check_connection_is_used_again(*state, LIBCURL);
}

/* The peer may close an idle connection at the moment a request is sent on it. */
static void test_a_request_on_a_connection_that_had_ended_is_sent_again_once(void **state)
{
    struct world *w = *state;
    struct server server;

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_KEEP);
    server.answers = 1;
    open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){0});
    for (int i = 0; i < 5; i++) {
        struct seen seen = {0};

        (void)submit(w, 1000, 0, &seen);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_OK);
        assert_string_equal(seen.body, "hi");
    }
    assert_int_equal(server.connections, 5);
    assert_int_equal(server.requests, 9); /* all but the first twice */
    assert_non_null(strstr(server.request, "Content-Length: 7\r\n"));
    assert_string_equal(strstr(server.request, "\r\n\r\n"), "\r\n\r\n{\"q\":1}");
    close_client(w);
    stop_server(&server);
}

/* Neither without its bytes, nor when a new connection ends the same way. */
static void test_a_request_is_not_repeated_without_end(void **state)
{
    static const char *const good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    struct world *w = *state;

    for (int can = 0; can < 2; can++) {
        struct server server;
        struct seen seen = {0};
        struct vd_http_request request = {.post = true, .body = question, .timeout_ms = 1000};

        start_server(&server, good, END_KEEP);
        server.answers_in_all = 1;
        open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){0});
        request.target = w->target;
        request.body_again = can ? question_again : NULL;
        assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_OK);
        assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
        turn_until(w, &seen.calls, 2);
        assert_int_equal(seen.response.err.code, VD_E_REMOTE);
        assert_true(seen.response.err.retriable && seen.response.sent);
        assert_int_equal(server.requests, can ? 3 : 2);
        close_client(w);
        stop_server(&server);
    }
}

static void test_an_idle_connection_that_the_peer_closes_is_forgotten(void **state)
{
    struct world *w = *state;
    struct server server;

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE);
    open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){0});
    for (int i = 0; i < 3; i++) {
        struct seen seen = {0};

        (void)submit(w, 1000, 0, &seen);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_OK);
        for (int turn = 0; turn < 5; turn++)
            vd_loop_turn(w->loop, 10);
    }
    assert_int_equal(server.requests, 3);
    assert_int_equal(server.connections, 3);
    close_client(w);
    stop_server(&server);
}

/* Long before the whole exchange has to be over. (Libcurl averages over five seconds, what was sent included.) */
static void test_silence_is_bounded_by_itself(void **state)
{
    static const char *const bytes[] = {"", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi"};
    struct world *w = *state;

    for (size_t i = 0; i < 2; i++) {
        struct server server;
        struct seen seen = {0};
        int64_t start = vd_mono_ms();

        start_server(&server, bytes[i], END_SILENCE);
        open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){.low_speed_s = 1});
        (void)submit(w, 60000, 0, &seen);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_E_TIMEOUT);
        assert_in_range(vd_mono_ms() - start, 900, 3000);
        close_client(w);
        stop_server(&server);
    }
}

/* As many idle connections as there may be requests: the longest idle one goes. */
static void test_idle_connections_are_bounded(void **state)
{
    static const char *const good = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    struct world *w = *state;
    struct server servers[3];
    struct vd_http_target *targets[3];
    struct vd_http_conf conf = {.max_in_flight = 2};
    static const int order[] = {0, 1, 1, 0, 2, 0, 1};
    struct seen seen = {0};
    char url[64];

    assert_int_equal(vd_http_new(w->loop, &conf, &w->http, NULL), VD_OK);
    for (size_t i = 0; i < 3; i++) {
        start_server(&servers[i], good, END_KEEP);
        (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", servers[i].port);
        assert_int_equal(vd_http_target_new(w->http, vd_span_of(url), NULL, 0, &targets[i], NULL),
                         VD_OK);
    }
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        struct vd_http_request request = {.target = targets[order[i]], .timeout_ms = 1000};

        assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
        turn_until(w, &seen.calls, (int)i + 1);
        assert_int_equal(seen.response.err.code, VD_OK);
    }
    /* The third server's came when the second's had been idle longest. */
    assert_int_equal(servers[0].connections, 1);
    assert_int_equal(servers[1].connections, 2);
    assert_int_equal(servers[2].connections, 1);
    for (size_t i = 0; i < 3; i++)
        (void)vd_http_target_free(targets[i]);
    close_client(w);
    for (size_t i = 0; i < 3; i++)
        stop_server(&servers[i]);
}

/* More than a socket takes at once, to a peer that reads slowly, or answers without reading. */
static void test_a_large_body_is_sent_in_parts(void **state)
{
    static char body[6u << 20];
    struct world *w = *state;

    memset(body, 'x', sizeof(body));
    for (int reads = 0; reads < 2; reads++) {
        struct server server;
        struct vd_http_request request = {
            .post = true, .body = {body, sizeof(body)}, .timeout_ms = 5000};
        struct seen seen = {0};

        start_server(&server, "HTTP/1.1 413 Large\r\ncontent-length: 2\r\n\r\nhi",
                     reads ? END_KEEP : END_SILENCE);
        server.body_bytes = reads ? sizeof(body) : 0;
        open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){0});
        request.target = w->target;
        assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_OK);
        assert_int_equal(seen.response.status, 413);
        assert_non_null(strstr(server.request, "Content-Length: 6291456\r\n"));
        seen.calls = 0;
        if (reads) { /* the connection is in order */
            assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
            turn_until(w, &seen.calls, 1);
            assert_int_equal(seen.response.connect_us, 0);
        }
        close_client(w);
        stop_server(&server);
    }
}

static void test_names_are_resolved_and_each_address_is_tried(void **state)
{
    struct world *w = *state;
    struct server server;
    struct seen found = {0}, unknown = {0}, left = {0};

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_KEEP);
    open_client_to(w, "http", "localhost", server.port, PLAIN, (struct vd_http_conf){0});
    (void)submit(w, 2000, 0, &found); /* ::1 is asked first, where nobody listens */
    turn_until(w, &found.calls, 1);
    assert_int_equal(found.response.err.code, VD_OK);
    assert_non_null(strstr(server.request, "\r\nHost: localhost:"));
    close_client(w);
    open_client_to(w, "http", "no-such-host.invalid", server.port, PLAIN, (struct vd_http_conf){0});
    (void)submit(w, 2000, 0, &left);
    close_client(w); /* with the name not resolved yet */
    assert_int_equal(left.calls, 1);
    assert_true(left.response.canceled);
    open_client_to(w, "http", "no-such-host.invalid", server.port, PLAIN, (struct vd_http_conf){0});
    (void)submit(w, 3000, 0, &unknown);
    turn_until(w, &unknown.calls, 1);
    assert_true(unknown.response.err.code == VD_E_REMOTE ||
                unknown.response.err.code == VD_E_TIMEOUT);
    assert_non_null(strstr(unknown.response.err.msg, "resolve"));
    assert_false(unknown.response.sent);
    close_client(w);
    stop_server(&server);
}

static void test_nobody_listening_and_plain_text_behind_https_are_errors(void **state)
{
    struct world *w = *state;
    struct server server;
    struct seen refused = {0}, tls = {0};

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE);
    open_client(w, "https", server.port, PLAIN, (struct vd_http_conf){0});
    (void)submit(w, 1000, 0, &tls);
    turn_until(w, &tls.calls, 1);
    assert_int_not_equal(tls.response.err.code, VD_OK);
    assert_false(tls.response.sent);
    close_client(w);
    stop_server(&server);
    open_client(w, "http", server.port, PLAIN, (struct vd_http_conf){0});
    (void)submit(w, 1000, 0, &refused);
    turn_until(w, &refused.calls, 1);
    assert_int_equal(refused.response.err.code, VD_E_REMOTE);
    assert_true(refused.response.err.retriable);
    assert_false(refused.response.sent);
}

/* Libcurl 7.88 closes a socket that is still connecting without telling anybody: a poll left on it would end the process. */
static void check_running_out_of_time_while_connecting(struct world *w, enum way way)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int waiting[8];
    struct seen seen = {0};

    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    for (size_t i = 0; i < 8; i++) { /* whoever comes behind these is not answered at all */
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(waiting[i], (struct sockaddr *)&at, len);
    }
    open_client(w, "http", ntohs(at.sin_port), way, (struct vd_http_conf){0});
    for (int i = 0; i < 6; i++) {
        seen.calls = 0;
        (void)submit(w, 60, 0, &seen);
        turn_until(w, &seen.calls, 1);
    }
    assert_int_equal(seen.response.err.code, VD_E_TIMEOUT);
    assert_false(seen.response.sent);
    close_client(w);
    for (size_t i = 0; i < 8; i++)
        (void)close(waiting[i]);
    (void)close(listener);
}

static void test_running_out_of_time_while_connecting_leaves_nothing_behind(void **state)
{
    check_running_out_of_time_while_connecting(*state, PLAIN);
    check_running_out_of_time_while_connecting(*state, LIBCURL);
}

static void check_cancel_and_free_call_back_once(struct world *w, enum way way)
{
    struct server server;
    struct seen canceled = {0}, freed = {0};

    start_server(&server, "", END_SILENCE);
    open_client(w, "http", server.port, way, (struct vd_http_conf){0});
    vd_http_cancel(submit(w, 5000, 0, &canceled));
    assert_int_equal(canceled.calls, 0);
    turn_until(w, &canceled.calls, 1);
    assert_true(canceled.response.canceled);
    (void)submit(w, 5000, 0, &freed);
    vd_loop_turn(w->loop, 20);
    close_client(w);
    assert_int_equal(freed.calls, 1);
    assert_true(freed.response.canceled);
    stop_server(&server);
}

static void test_cancel_and_free_call_back_once(void **state)
{
    check_cancel_and_free_call_back_once(*state, PLAIN);
    check_cancel_and_free_call_back_once(*state, LIBCURL);
}

static void check_max_in_flight(struct world *w, enum way way)
{
    struct server server;
    struct seen seen[3] = {{0}};
    struct vd_http_request request = {.timeout_ms = 1000};
    struct vd_err err = {0};

    start_server(&server, "", END_SILENCE);
    open_client(w, "http", server.port, way,
                (struct vd_http_conf){.max_in_flight = 3, .shard_max = 2});
    for (int i = 0; i < 3; i++)
        (void)submit(w, 5000, 0, &seen[i]);
    request.target = w->target;
    assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen[0], NULL, &err), VD_E_LIMIT);
    assert_true(err.retriable);
    assert_int_equal(vd_http_in_flight(w->http), 3);
    close_client(w);
    assert_int_equal(seen[0].calls + seen[1].calls + seen[2].calls, 3);
    stop_server(&server);
}

static void test_max_in_flight_stops_at_its_exact_boundary(void **state)
{
    check_max_in_flight(*state, PLAIN);
    check_max_in_flight(*state, LIBCURL);
}

static void test_memory_running_out_anywhere_still_calls_back_once(void **state)
{
    struct world *w = *state;
    struct server server;
    int good = 0;

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE);
    for (long n = 0; n < 40; n++) {
        struct vd_http_conf conf = {0};
        struct vd_http_request request = {.timeout_ms = 500};
        struct seen seen = {0};
        char url[64];

        (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/", server.port);
        vd_alloc_fail_after(n);
        if (vd_http_new(w->loop, &conf, &w->http, NULL) == VD_OK &&
            vd_http_target_new(w->http, vd_span_of(url), NULL, 0, &w->target, NULL) == VD_OK) {
            request.target = w->target;
            if (vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL) == VD_OK)
                turn_until(w, &seen.calls, 1);
            good += seen.calls == 1 && seen.response.err.code == VD_OK;
        }
        vd_alloc_fail_after(-1);
        close_client(w);
    }
    assert_true(good > 10);
    stop_server(&server);
}

/* -- TLS, against openssl's own server ------------------------------------------------------------------------------------- */

static pid_t start_tls_server(const char *dir, uint16_t port)
{
    char command[512], key[96], cert[96], accept_at[16];
    pid_t pid;

    (void)snprintf(
        command, sizeof(command),
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
        "/CN=verdict-test "
        "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s/cert.pem >/dev/null 2>&1",
        dir, dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(key, sizeof(key), "%s/key.pem", dir);
    (void)snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    (void)snprintf(accept_at, sizeof(accept_at), "%u", port);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        (void)dup2(null, 0);
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        execlp("openssl", "openssl", "s_server", "-quiet", "-www", "-accept", accept_at, "-key",
               key, "-cert", cert, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* One GET, repeated while the server is not up yet. */
static void get_tls(struct world *w, uint16_t port, const char *host, const char *ca_file,
                    struct seen *seen)
{
    struct vd_http_conf conf = {.ca_file = ca_file};
    struct vd_http_request request = {.timeout_ms = 2000};
    int64_t end = vd_mono_ms() + 5000;
    char url[64];

    assert_int_equal(vd_http_new(w->loop, &conf, &w->http, NULL), VD_OK);
    (void)snprintf(url, sizeof(url), "https://%s:%u/", host, port);
    assert_int_equal(vd_http_target_new(w->http, vd_span_of(url), NULL, 0, &w->target, NULL),
                     VD_OK);
    request.target = w->target;
    do {
        seen->calls = 0;
        assert_int_equal(vd_http_submit(w->http, &request, on_done, seen, NULL, NULL), VD_OK);
        turn_until(w, &seen->calls, 1);
    } while (strstr(seen->response.err.msg, "connect") != NULL && vd_mono_ms() < end);
    close_client(w);
}

static void test_a_certificate_is_verified_by_chain_and_by_name(void **state)
{
    struct world *w = *state;
    struct server holder;
    struct seen stranger = {0}, known = {0}, wrong_name = {0};
    char dir[] = "/tmp/verdict-tls-XXXXXX", ca[96], key[96];
    uint16_t port;
    pid_t pid;

    if (system("openssl version >/dev/null 2>&1") != 0)
        skip();
    assert_non_null(mkdtemp(dir));
    start_server(&holder, "", END_CLOSE); /* a port that is free a moment later */
    port = holder.port;
    stop_server(&holder);
    (void)snprintf(ca, sizeof(ca), "%s/cert.pem", dir);
    (void)snprintf(key, sizeof(key), "%s/key.pem", dir);
    pid = start_tls_server(dir, port);
    get_tls(w, port, "127.0.0.1", NULL, &stranger);
    get_tls(w, port, "127.0.0.1", ca, &known);
    get_tls(w, port, "localhost", ca, &wrong_name);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)unlink(ca);
    (void)unlink(key);
    (void)rmdir(dir);
    assert_int_equal(stranger.response.err.code, VD_E_REMOTE);
    assert_false(stranger.response.err.retriable);
    assert_false(stranger.response.sent);
    assert_int_equal(known.response.err.code, VD_OK);
    assert_int_equal(known.response.status, 200);
    assert_int_equal(wrong_name.response.err.code, VD_E_REMOTE);
    assert_false(wrong_name.response.err.retriable);
}

/* Debian's libcurl has a folder of certificates by default, which is not what a ca_file stands for. In a mount namespace, that folder
 * holds the server's certificate. */
static void test_a_ca_file_replaces_what_the_system_trusts(void **state)
{
    struct world *w = *state;
    struct server holder;
    struct seen only_in_folder = {0}, known = {0};
    char dir[] = "/tmp/verdict-tls-XXXXXX", command[512], other[96], ca[96];
    uint16_t port;
    pid_t pid;

    if (system("openssl version >/dev/null 2>&1") != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/etc/ssl/certs", "tmpfs", 0, NULL) != 0)
        skip();
    assert_non_null(mkdtemp(dir));
    start_server(&holder, "", END_CLOSE);
    port = holder.port;
    stop_server(&holder);
    pid = start_tls_server(dir, port);
    (void)snprintf(ca, sizeof(ca), "%s/cert.pem", dir);
    (void)snprintf(other, sizeof(other), "%s/other.pem", dir);
    (void)snprintf(command, sizeof(command),
                   "cp %s/cert.pem /etc/ssl/certs/ && openssl rehash /etc/ssl/certs && "
                   "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
                   "-subj /CN=other -keyout %s/other.key -out %s >/dev/null 2>&1",
                   dir, dir, other);
    assert_int_equal(system(command), 0);
    get_tls(w, port, "127.0.0.1", ca, &known);
    get_tls(w, port, "127.0.0.1", other, &only_in_folder);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    (void)snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(known.response.err.code, VD_OK);
    assert_int_equal(only_in_folder.response.err.code, VD_E_REMOTE);
    assert_false(only_in_folder.response.err.retriable);
}

/* -- addresses -------------------------------------------------------------------------------------------------------------- */

static bool only_public(void *arg, struct vd_span host, const struct sockaddr *address)
{
    int *asked = arg;

    (void)host;
    (*asked)++;
    return vd_address_kind(address) == VD_ADDRESS_PUBLIC;
}

static void test_a_refused_address_is_never_connected_to_however_it_is_written(void **state)
{
    static const char *const hosts[] = {
        "127.0.0.1", "localhost",          "2130706433", "0x7f.1", "0177.0.0.1",
        "[::1]",     "[::ffff:127.0.0.1]", "127.1",      "0",      "[::127.0.0.1]"};
    struct world *w = *state;
    struct server server;
    int asked = 0;

    start_server(&server, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", END_CLOSE);
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct vd_http_conf conf = {.allow = only_public, .allow_arg = &asked};
        struct seen seen = {0};
        struct vd_http_request request = {.timeout_ms = 2000};
        char url[96];

        assert_int_equal(vd_http_new(w->loop, &conf, &w->http, NULL), VD_OK);
        (void)snprintf(url, sizeof(url), "http://%s:%u/", hosts[i], server.port);
        assert_int_equal(vd_http_target_new(w->http, vd_span_of(url), NULL, 0, &w->target, NULL),
                         VD_OK);
        request.target = w->target;
        assert_int_equal(vd_http_submit(w->http, &request, on_done, &seen, NULL, NULL), VD_OK);
        turn_until(w, &seen.calls, 1);
        assert_int_equal(seen.response.err.code, VD_E_REMOTE);
        close_client(w);
    }
    assert_true(asked >= 8);
    stop_server(&server);
    assert_int_equal(server.connections, 0);
}

static void test_addresses_are_what_the_registries_say(void **state)
{
    static const struct {
        const char *text;
        enum vd_address_kind kind;
    } rows[] = {
        {"8.8.8.8", VD_ADDRESS_PUBLIC},
        {"127.0.0.1", VD_ADDRESS_LOOPBACK},
        {"127.255.255.255", VD_ADDRESS_LOOPBACK},
        {"128.0.0.0", VD_ADDRESS_PUBLIC},
        {"10.255.255.255", VD_ADDRESS_PRIVATE},
        {"11.0.0.0", VD_ADDRESS_PUBLIC},
        {"172.15.255.255", VD_ADDRESS_PUBLIC},
        {"172.16.0.0", VD_ADDRESS_PRIVATE},
        {"172.31.255.255", VD_ADDRESS_PRIVATE},
        {"172.32.0.0", VD_ADDRESS_PUBLIC},
        {"192.168.1.1", VD_ADDRESS_PRIVATE},
        {"100.64.0.1", VD_ADDRESS_PRIVATE},
        {"100.127.255.255", VD_ADDRESS_PRIVATE},
        {"100.128.0.0", VD_ADDRESS_PUBLIC},
        {"169.254.1.1", VD_ADDRESS_LINK_LOCAL},
        {"169.254.169.254", VD_ADDRESS_METADATA},
        {"168.63.129.16", VD_ADDRESS_METADATA},
        {"0.0.0.0", VD_ADDRESS_RESERVED},
        {"224.0.0.1", VD_ADDRESS_RESERVED},
        {"255.255.255.255", VD_ADDRESS_RESERVED},
        {"198.18.0.1", VD_ADDRESS_RESERVED},
        {"198.20.0.1", VD_ADDRESS_PUBLIC},
        {"::1", VD_ADDRESS_LOOPBACK},
        {"::", VD_ADDRESS_RESERVED},
        {"::ffff:10.0.0.1", VD_ADDRESS_PRIVATE},
        {"::ffff:8.8.8.8", VD_ADDRESS_PUBLIC},
        {"::127.0.0.1", VD_ADDRESS_LOOPBACK},
        {"64:ff9b::a9fe:a9fe", VD_ADDRESS_METADATA},
        {"2002:7f00:1::", VD_ADDRESS_LOOPBACK},
        {"2002:808:808::", VD_ADDRESS_PUBLIC},
        {"2001::1", VD_ADDRESS_RESERVED},
        {"2001:db8::1", VD_ADDRESS_RESERVED},
        {"2606:4700::1111", VD_ADDRESS_PUBLIC},
        {"fd00:ec2::254", VD_ADDRESS_METADATA},
        {"fd20:ce::254", VD_ADDRESS_METADATA},
        {"fc00::1", VD_ADDRESS_PRIVATE},
        {"fdff::1", VD_ADDRESS_PRIVATE},
        {"fe80::1", VD_ADDRESS_LINK_LOCAL},
        {"febf::1", VD_ADDRESS_LINK_LOCAL},
        {"fec0::1", VD_ADDRESS_LINK_LOCAL},
        {"ff02::1", VD_ADDRESS_RESERVED},
        {"4000::1", VD_ADDRESS_RESERVED},
        {"64:ff9b:1::1", VD_ADDRESS_RESERVED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        enum vd_address_kind kind;

        if (inet_pton(AF_INET, rows[i].text, &v4.sin_addr) == 1) {
            kind = vd_address_kind((struct sockaddr *)&v4);
        } else {
            assert_int_equal(inet_pton(AF_INET6, rows[i].text, &v6.sin6_addr), 1);
            kind = vd_address_kind((struct sockaddr *)&v6);
        }
        if (kind != rows[i].kind)
            fail_msg("%s is %s", rows[i].text, vd_address_kind_name(kind));
    }
}

static void test_targets_refuse_what_could_smuggle(void **state)
{
    static const struct {
        const char *url, *name, *value;
    } rows[] = {
        {"http://h/", "x", "a\r\nevil: 1"},
        {"http://h/", "x: y", "1"},
        {"http://h/", "", "1"},
        {"http://h/", "x\n", "1"},
        {"file:///etc/passwd", "x", "1"},
        {"gopher://h/", "x", "1"},
        {"http://u:p@h/", "x", "1"},
        {"", "x", "1"},
        {"//h/x", "x", "1"},
        {"http://h/", "x", "caf\xc3\xa9"},
        {"http://h/", "Content-Length", "1"},
        {"http://h/", "transfer-encoding", "chunked"},
        {"http://h/a b", "x", "1"},
        {"http://h/a\r\nb: c", "x", "1"},
    };
    struct world *w = *state;
    char url[VD_HTTP_URL_MAX_BYTES + 2];

    assert_int_equal(vd_http_new(w->loop, &(struct vd_http_conf){0}, &w->http, NULL), VD_OK);
    memset(url, 'x', sizeof(url));
    memcpy(url, "http://h/", 9);
    assert_int_equal(vd_http_target_new(w->http, (struct vd_span){url, VD_HTTP_URL_MAX_BYTES + 1},
                                        NULL, 0, &w->target, NULL),
                     VD_E_CONFIG);
    assert_int_equal(vd_http_target_new(w->http, (struct vd_span){url, VD_HTTP_URL_MAX_BYTES}, NULL,
                                        0, &w->target, NULL),
                     VD_OK);
    w->target = vd_http_target_free(w->target);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_http_header header = {vd_span_of(rows[i].name), vd_span_of(rows[i].value)};

        assert_int_equal(
            vd_http_target_new(w->http, vd_span_of(rows[i].url), &header, 1, &w->target, NULL),
            VD_E_CONFIG);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_each_bad_response_is_told_apart),
        T(test_header_blocks_are_bounded),
        T(test_a_connection_is_used_again_and_kept_headers_are_the_last_response_s),
        T(test_a_request_on_a_connection_that_had_ended_is_sent_again_once),
        T(test_a_request_is_not_repeated_without_end),
        T(test_an_idle_connection_that_the_peer_closes_is_forgotten),
        T(test_silence_is_bounded_by_itself),
        T(test_idle_connections_are_bounded),
        T(test_a_large_body_is_sent_in_parts),
        T(test_names_are_resolved_and_each_address_is_tried),
        T(test_nobody_listening_and_plain_text_behind_https_are_errors),
        T(test_running_out_of_time_while_connecting_leaves_nothing_behind),
        T(test_cancel_and_free_call_back_once),
        T(test_memory_running_out_anywhere_still_calls_back_once),
        T(test_a_certificate_is_verified_by_chain_and_by_name),
        T(test_a_ca_file_replaces_what_the_system_trusts),
        T(test_max_in_flight_stops_at_its_exact_boundary),
        T(test_a_refused_address_is_never_connected_to_however_it_is_written),
        cmocka_unit_test(test_addresses_are_what_the_registries_say),
        T(test_targets_refuse_what_could_smuggle),
    };

    (void)alarm(120);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1); /* must be ignored */
    return cmocka_run_group_tests_name("http client", tests, NULL, NULL);
}
