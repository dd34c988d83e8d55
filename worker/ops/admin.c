/* ops/admin.c - see admin.h. */
#include "ops/admin.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

#define TICK_LIMIT_MS     10000
#define METRICS_MAX_BYTES (4u << 20)
#define MAX_CONNECTIONS   64
#define IDLE_TIMEOUT_S    10

struct vd_admin {
    struct MHD_Daemon *daemon;
    struct vd_metrics *metrics;
    const struct vd_loop *loop;
    char *token;
    bool loopback;
    char url[320];
    pthread_mutex_t lock;
    char *status;
    char not_ready[160];
    atomic_bool ready;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code, const char *type,
                             const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result ok;

    if (response == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    ok = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return ok;
}

static enum MHD_Result healthz(struct vd_admin *a, struct MHD_Connection *c)
{
    int64_t silent_ms = vd_mono_ms() - vd_loop_last_tick_mono_ms(a->loop);
    char text[96];

    if (silent_ms <= TICK_LIMIT_MS)
        return reply(c, MHD_HTTP_OK, "text/plain", "ok\n");
    (void)snprintf(text, sizeof(text), "the loop has not ticked for %lld ms\n",
                   (long long)silent_ms);
    return reply(c, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", text);
}

static enum MHD_Result readyz(struct vd_admin *a, struct MHD_Connection *c)
{
    char text[192];

    if (atomic_load(&a->ready))
        return reply(c, MHD_HTTP_OK, "text/plain", "ready\n");
    (void)pthread_mutex_lock(&a->lock);
    (void)snprintf(text, sizeof(text), "not ready: %s\n", a->not_ready);
    (void)pthread_mutex_unlock(&a->lock);
    return reply(c, MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain", text);
}

static enum MHD_Result metrics(struct vd_admin *a, struct MHD_Connection *c)
{
    struct vd_buf out;
    enum MHD_Result ok;

    vd_buf_init(&out, METRICS_MAX_BYTES);
    if (vd_metrics_render(a->metrics, &out) != VD_OK)
        ok = reply(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", "metrics do not fit\n");
    else
        ok = reply(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", out.ptr);
    vd_buf_free(&out);
    return ok;
}

/* In constant time for a given length. */
static bool same_secret(const char *a, const char *b)
{
    size_t n = strlen(a);
    unsigned char diff = (unsigned char)(n != strlen(b));

    for (size_t i = 0; i < n && diff == 0; i++)
        diff = (unsigned char)(diff | (unsigned char)(a[i] ^ b[i]));
    return diff == 0;
}

static enum MHD_Result status(struct vd_admin *a, struct MHD_Connection *c)
{
    const char *given = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization");
    enum MHD_Result ok;

    if (a->token == NULL && !a->loopback)
        return reply(c, MHD_HTTP_FORBIDDEN, "text/plain",
                     "beyond loopback /status needs a token: set admin.token_file\n");
    if (a->token != NULL &&
        (given == NULL || strncmp(given, "Bearer ", 7) != 0 || !same_secret(a->token, given + 7)))
        return reply(c, MHD_HTTP_UNAUTHORIZED, "text/plain",
                     "needs Authorization: Bearer <admin.token>\n");
    (void)pthread_mutex_lock(&a->lock);
    ok = reply(c, MHD_HTTP_OK, "application/json", a->status != NULL ? a->status : "{}");
    (void)pthread_mutex_unlock(&a->lock);
    return ok;
}

static const struct {
    const char *path;
    enum MHD_Result (*handle)(struct vd_admin *a, struct MHD_Connection *c);
} pages[] = {
    {"/healthz", healthz},
    {"/readyz", readyz},
    {"/status", status},
    {"/metrics", metrics},
};

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **connection_cls)
{
    struct vd_admin *a = cls;

    (void)version;
    (void)upload_data;
    (void)upload_data_size;
    (void)connection_cls;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET only\n");
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        if (strcmp(url, pages[i].path) == 0)
            return pages[i].handle(a, connection);
    return reply(connection, MHD_HTTP_NOT_FOUND, "text/plain",
                 "/healthz /readyz /status /metrics\n");
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >>
                24) == 127;
    if (address->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return false;
}

/* "host:port" or "[v6]:port" in two. */
static bool split(const char *listen, char host[256], char port[16])
{
    const char *colon = strrchr(listen, ':');
    struct vd_span h;
    uint64_t n;

    if (colon == NULL || !vd_parse_u64(vd_span_of(colon + 1), 65535, &n))
        return false;
    h = (struct vd_span){listen, (size_t)(colon - listen)};
    if (h.len >= 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']')
        h = vd_span_sub(h, 1, h.len - 2);
    if (h.len >= 256)
        return false;
    (void)snprintf(host, 256, "%.*s", (int)h.len, h.ptr);
    (void)snprintf(port, 16, "%u", (unsigned)n);
    return true;
}

static enum vd_code listen_on(struct vd_admin *a, const char *listen, struct vd_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[256], port[16];
    const union MHD_DaemonInfo *info;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO;
    int status_code;

    if (!split(listen, host, port))
        return vd_err_set(err, VD_E_CONFIG, false, "admin.listen \"%.80s\" is not host:port",
                          listen);
    status_code = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found);
    if (status_code != 0)
        return vd_err_set(err, VD_E_CONFIG, false, "admin.listen \"%.80s\": %s", listen,
                          gai_strerror(status_code));
    if (found->ai_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    a->loopback = is_loopback(found->ai_addr);
    a->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, on_request, a, MHD_OPTION_SOCK_ADDR, found->ai_addr,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_END);
    freeaddrinfo(found);
    if (a->daemon == NULL)
        return vd_err_set(err, VD_E_CONFIG, true,
                          "cannot listen on %s (admin.listen): is the port taken?", listen);
    info = MHD_get_daemon_info(a->daemon, MHD_DAEMON_INFO_BIND_PORT);
    (void)snprintf(a->url, sizeof(a->url), "http://%s%s%s:%u", strchr(host, ':') != NULL ? "[" : "",
                   host, strchr(host, ':') != NULL ? "]" : "",
                   info != NULL ? (unsigned)info->port : 0);
    return VD_OK;
}

enum vd_code vd_admin_start(const struct vd_admin_conf *conf, struct vd_admin **ret_admin,
                            struct vd_err *err)
{
    struct vd_admin *a = vd_alloc(sizeof(*a));
    enum vd_code rc;

    if (a == NULL)
        return vd_err_nomem(err, "admin port");
    a->metrics = conf->metrics;
    a->loop = conf->loop;
    (void)snprintf(a->not_ready, sizeof(a->not_ready), "starting");
    if (pthread_mutex_init(&a->lock, NULL) != 0) {
        (void)vd_free(a);
        return vd_err_nomem(err, "admin port");
    }
    a->token = vd_strdup(conf->token);
    rc = listen_on(a, conf->listen, err);
    if (rc != VD_OK) {
        (void)vd_admin_stop(a);
        return rc;
    }
    *ret_admin = a;
    return VD_OK;
}

void *vd_admin_stop(struct vd_admin *a)
{
    if (a == NULL)
        return NULL;
    if (a->daemon != NULL)
        MHD_stop_daemon(a->daemon);
    (void)pthread_mutex_destroy(&a->lock);
    (void)vd_free(a->status);
    (void)vd_free(a->token);
    return vd_free(a);
}

const char *vd_admin_url(const struct vd_admin *a)
{
    return a->url;
}

void vd_admin_publish(struct vd_admin *a, char *take_status, bool ready,
                      const char *not_ready_reason)
{
    char *old;

    (void)pthread_mutex_lock(&a->lock);
    old = a->status;
    a->status = take_status;
    (void)snprintf(a->not_ready, sizeof(a->not_ready), "%s", not_ready_reason);
    (void)pthread_mutex_unlock(&a->lock);
    atomic_store(&a->ready, ready);
    (void)vd_free(old);
}
