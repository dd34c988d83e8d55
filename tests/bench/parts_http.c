/* tests/bench/parts_http.c - what one HTTP exchange costs through libcurl alone: the HTTP part of a decision (parts.c has the others).
 *
 *   parts_http REQUEST_FILE URL IN_FLIGHT COUNT
 *
 * Prints one line of JSON, CPU microseconds (all threads) of one POST with its answer, COUNT of them at IN_FLIGHT at once.
 *
 * Why:    the yardstick must not move with the worker, so none of the worker's code is here. It is what libcurl-multi(3) and its
 *         examples (hiperfifo.c) tell a user who needs many requests at once to write: one multi handle, its socket and timer
 *         functions on epoll, easy handles and connections that are used again, bodies that are not copied. No more, no less.
 * Source: CURLMOPT_SOCKETFUNCTION(3), CURLMOPT_TIMERFUNCTION(3), curl_multi_socket_action(3).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define MAX_IN_FLIGHT 20000
#define EVENTS        256
#define TIMEOUT_MS    60000L /* as the worker's models have it */
#define CONNECT_MS    10000L /* all connections of the first wave are opened at once */
#define REQUEST_BYTES (1u << 20)

/* One of the IN_FLIGHT: an easy handle for all of its exchanges, and the body of the one that runs. */
struct slot {
    CURL *easy;
    char *body;
    size_t len, room;
};

struct work {
    CURLM *multi;
    int epoll;
    int64_t due_ms; /* when libcurl wants to be called without a socket; -1: not */
    struct slot *slots;
    char *request;
    size_t request_len, to_send, to_come, bad;
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "parts_http: %s\n", what);
    _exit(1);
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static double cpu_us(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* -- libcurl's sockets and timer on epoll ------------------------------------------------------------------------------ */

/* known: anything but NULL once the socket is watched, until libcurl lets it go. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct work *w = arg;
    struct epoll_event e = {.data.fd = fd};

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (known != NULL)
            (void)epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    e.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0u) |
               (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0u);
    if (epoll_ctl(w->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) != 0)
        die("epoll_ctl");
    if (known == NULL)
        (void)curl_multi_assign(w->multi, fd, w);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct work *w = arg;

    (void)multi;
    w->due_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    return 0;
}

static int wait_ms(const struct work *w)
{
    int64_t left;

    if (w->due_ms < 0)
        return -1;
    left = w->due_ms - now_ms();
    return left < 0 ? 0 : (int)left;
}

/* -- exchanges --------------------------------------------------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct slot *slot = arg;
    size_t len = size * count;

    if (slot->len + len > slot->room) {
        size_t room = 2 * (slot->len + len);
        char *grown = realloc(slot->body, room);

        if (grown == NULL)
            return 0;
        slot->body = grown;
        slot->room = room;
    }
    memcpy(slot->body + slot->len, data, len);
    slot->len += len;
    return len;
}

static void send_next(struct work *w, struct slot *slot)
{
    w->to_send--;
    slot->len = 0;
    (void)curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, w->request); /* not copied */
    (void)curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)w->request_len);
    if (curl_multi_add_handle(w->multi, slot->easy) != CURLM_OK)
        die("curl_multi_add_handle");
}

static void take_finished(struct work *w)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(w->multi, &left)) != NULL) {
        CURL *easy = msg->easy_handle;
        CURLcode code = msg->data.result;
        struct slot *slot = NULL;
        long status = 0;

        (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&slot);
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        w->bad += code != CURLE_OK || status != 200 || slot->len == 0;
        (void)curl_multi_remove_handle(w->multi, easy);
        w->to_come--;
        if (w->to_send > 0)
            send_next(w, slot);
    }
}

static void exchange(struct work *w, size_t count, size_t in_flight)
{
    struct epoll_event events[EVENTS];
    int running;

    w->to_send = w->to_come = count;
    for (size_t i = 0; i < in_flight && w->to_send > 0; i++)
        send_next(w, &w->slots[i]);
    while (w->to_come > 0) {
        int n = epoll_wait(w->epoll, events, EVENTS, wait_ms(w));

        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int flags = 0;

            if (events[i].events & EPOLLIN)
                flags |= CURL_CSELECT_IN;
            if (events[i].events & EPOLLOUT)
                flags |= CURL_CSELECT_OUT;
            if (events[i].events & (EPOLLERR | EPOLLHUP))
                flags |= CURL_CSELECT_ERR;
            (void)curl_multi_socket_action(w->multi, events[i].data.fd, flags, &running);
        }
        if (w->due_ms >= 0 && now_ms() >= w->due_ms) {
            w->due_ms = -1;
            (void)curl_multi_socket_action(w->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
        take_finished(w);
    }
    if (w->bad > 0)
        die("a request failed");
}

/* -- setting up -------------------------------------------------------------------------------------------------------- */

static void open_slot(struct slot *slot, const char *url, struct curl_slist *headers)
{
    CURL *easy = slot->easy = curl_easy_init();

    if (easy == NULL)
        die("curl_easy_init");
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, (void *)slot);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
    (void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, (void *)slot);
}

static void open_multi(struct work *w, size_t in_flight)
{
    w->due_ms = -1;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->multi = curl_multi_init();
    if (w->epoll < 0 || w->multi == NULL)
        die("curl_multi_init");
    (void)curl_multi_setopt(w->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(w->multi, CURLMOPT_SOCKETDATA, w);
    (void)curl_multi_setopt(w->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(w->multi, CURLMOPT_TIMERDATA, w);
    (void)curl_multi_setopt(w->multi, CURLMOPT_MAXCONNECTS, (long)in_flight);
}

static void read_request(struct work *w, const char *path)
{
    FILE *f = fopen(path, "rb");

    w->request = malloc(REQUEST_BYTES);
    if (f == NULL || w->request == NULL)
        die(path);
    w->request_len = fread(w->request, 1, REQUEST_BYTES, f);
    (void)fclose(f);
}

int main(int argc, char **argv)
{
    static struct work w;
    struct curl_slist *headers;
    size_t in_flight, count;
    double start;

    if (argc != 5)
        die("usage: see the source");
    in_flight = strtoul(argv[3], NULL, 10);
    count = strtoul(argv[4], NULL, 10);
    if (in_flight == 0 || in_flight > MAX_IN_FLIGHT || count == 0)
        die("count");
    read_request(&w, argv[1]);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        die("curl_global_init");
    headers = curl_slist_append(NULL, "content-type: application/json");
    open_multi(&w, in_flight);
    w.slots = calloc(in_flight, sizeof(*w.slots));
    if (w.slots == NULL)
        die("memory");
    for (size_t i = 0; i < in_flight; i++)
        open_slot(&w.slots[i], argv[2], headers);
    exchange(&w, in_flight, in_flight); /* connections are made once in a worker's life */
    start = cpu_us();
    exchange(&w, count, in_flight);
    printf("{\"http\":%.2f}\n", (cpu_us() - start) / (double)count);
    for (size_t i = 0; i < in_flight; i++) {
        curl_easy_cleanup(w.slots[i].easy);
        free(w.slots[i].body);
    }
    (void)curl_multi_cleanup(w.multi);
    curl_slist_free_all(headers);
    curl_global_cleanup();
    (void)close(w.epoll);
    free(w.slots);
    free(w.request);
    return 0;
}
