/* http/origin.c - a host and port of plain connections: where it is.
 *
 * Numbers and this machine's own names are known without asking. Other names are asked for on the loop's pool, all that wait at once
 * together, and kept for a while; behind an address filter a connection is kept, what its name resolved to is not.
 */
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "http/internal.h"

#define NAME_KEPT_MS 60000 /* what a name resolved to is asked again after this */

/* -- addresses -------------------------------------------------------------------------------------------------------- */

static void add_addresses(struct vd_http_origin *origin, const struct addrinfo *list)
{
    for (; list != NULL && origin->address_count < VD_HTTP_MAX_ADDRESSES; list = list->ai_next) {
        struct vd_http_address *a = &origin->addresses[origin->address_count];

        if (list->ai_addrlen > sizeof(a->at))
            continue;
        memcpy(&a->at, list->ai_addr, list->ai_addrlen);
        a->len = list->ai_addrlen;
        origin->address_count++;
    }
}

static void add_numeric(struct vd_http_origin *origin, const char *host)
{
    static const struct addrinfo numeric = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *list = NULL;

    if (getaddrinfo(host, origin->port, &numeric, &list) != 0)
        return;
    add_addresses(origin, list);
    freeaddrinfo(list);
}

/* Addresses that nobody has to be asked for: numbers, and the names that always mean this machine (RFC 6761 section 6.3). */
static void add_known_addresses(struct vd_http_origin *origin)
{
    const struct vd_span suffix = VD_LIT(".localhost");
    struct vd_span host = vd_span_of(origin->host);
    size_t head = host.len > suffix.len ? host.len - suffix.len : 0;

    if (vd_span_eq_nocase(host, VD_LIT("localhost")) ||
        vd_span_eq_nocase(vd_span_sub(host, head, host.len), suffix)) {
        add_numeric(origin, "::1");
        add_numeric(origin, "127.0.0.1");
    } else {
        add_numeric(origin, origin->host);
    }
    origin->known = origin->address_count > 0;
}

struct vd_http_origin *vd_http_origin_get(struct vd_http *http, struct vd_span host,
                                          const char *port)
{
    struct vd_http_origin *origin;

    for (origin = TAILQ_FIRST(&http->origins); origin != NULL; origin = TAILQ_NEXT(origin, link)) {
        if (vd_span_eq_c(host, origin->host) && strcmp(port, origin->port) == 0) {
            origin->refs++;
            return origin;
        }
    }
    if (http->received == NULL)
        http->received = vd_realloc(NULL, VD_HTTP_RECEIVE_BYTES);
    origin = http->received == NULL ? NULL : vd_alloc(sizeof(*origin));
    if (origin == NULL)
        return NULL;
    origin->host = vd_strndup(host);
    if (origin->host == NULL)
        return vd_free(origin);
    (void)snprintf(origin->port, sizeof(origin->port), "%s", port);
    origin->http = http;
    origin->refs = 1;
    TAILQ_INIT(&origin->waiting);
    TAILQ_INIT(&origin->idle);
    TAILQ_INSERT_TAIL(&http->origins, origin, link);
    add_known_addresses(origin);
    return origin;
}

void vd_http_origin_release(struct vd_http_origin *origin)
{
    if (origin == NULL || --origin->refs > 0)
        return;
    assert(TAILQ_EMPTY(&origin->waiting) && TAILQ_EMPTY(&origin->idle));
    if (origin->http != NULL)
        TAILQ_REMOVE(&origin->http->origins, origin, link);
    (void)vd_free(origin->host);
    (void)vd_free(origin);
}

/* -- names ------------------------------------------------------------------------------------------------------------ */

static void on_resolved(void *arg, const struct addrinfo *list, const char *why)
{
    struct vd_http_origin *origin = arg;

    origin->resolving = false;
    origin->address_count = 0;
    origin->resolved_ms = vd_mono_ms();
    add_addresses(origin, list);
    vd_http_plain_resolved(origin, why != NULL ? why : "it has no address");
    vd_http_origin_release(origin);
}

bool vd_http_origin_is_known(const struct vd_http_origin *origin)
{
    return origin->known || (origin->address_count > 0 && origin->http->conf.allow == NULL &&
                             vd_mono_ms() - origin->resolved_ms < NAME_KEPT_MS);
}

enum vd_code vd_http_origin_resolve(struct vd_http_origin *origin)
{
    enum vd_code rc;

    if (origin->resolving)
        return VD_OK;
    rc = vd_loop_resolve(origin->http->loop, origin->host, origin->port, on_resolved, origin);
    if (rc == VD_OK) {
        origin->resolving = true;
        origin->refs++; /* the lookup's */
    }
    return rc;
}
