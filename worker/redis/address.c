/* redis/address.c - see address.h. */
#include "redis/address.h"

#include <stdio.h>
#include <string.h>

#include "base/span.h"

#define DEFAULT_PORT 6379
#define MAX_DB       16383

static bool put(char *out, size_t size, struct vd_span s)
{
    if (s.len >= size || (s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL))
        return false;
    if (s.len > 0)
        memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return true;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);

    return at == NULL ? -1 : (int)(at - digits);
}

static bool put_decoded(char *out, size_t size, struct vd_span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        int c = (unsigned char)s.ptr[i];

        if (c == '%') {
            int high = s.len - i > 2 ? hex_digit(s.ptr[i + 1]) : -1;
            int low = s.len - i > 2 ? hex_digit(s.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static struct vd_span rest(struct vd_span s, size_t from)
{
    return vd_span_sub(s, from, s.len);
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static bool parse_host(struct vd_span s, struct vd_redis_address *a)
{
    uint64_t port = DEFAULT_PORT;
    struct vd_span host = s;

    if (s.len > 0 && s.ptr[0] == '[') {
        size_t close = vd_span_find(s, ']');

        if (close == s.len)
            return false;
        host = vd_span_sub(s, 1, close - 1);
        s = rest(s, close + 1);
        if (s.len > 0 && s.ptr[0] != ':')
            return false;
    } else {
        size_t colon = vd_span_find(s, ':');

        host = vd_span_sub(s, 0, colon);
        s = rest(s, colon);
    }
    if (s.len > 0 && (!vd_parse_u64(rest(s, 1), UINT16_MAX, &port) || port == 0))
        return false;
    a->port = (uint16_t)port;
    return host.len > 0 && put(a->host, sizeof(a->host), host);
}

static bool parse_url(struct vd_span s, struct vd_redis_address *a)
{
    size_t slash = vd_span_find(s, '/');
    struct vd_span authority = vd_span_sub(s, 0, slash);
    struct vd_span db = rest(s, slash + 1);
    size_t at = authority.len;

    while (at > 0 && authority.ptr[at - 1] != '@')
        at--;
    if (at > 0) {
        struct vd_span who = vd_span_sub(authority, 0, at - 1);
        size_t colon = vd_span_find(who, ':');

        if (!put_decoded(a->username, sizeof(a->username), vd_span_sub(who, 0, colon)) ||
            !put_decoded(a->password, sizeof(a->password), rest(who, colon + 1)))
            return false;
        authority = rest(authority, at);
    }
    if (db.len > 0) {
        uint64_t n;

        if (!vd_parse_u64(db, MAX_DB, &n))
            return false;
        a->db = (int)n;
    }
    return parse_host(authority, a);
}

enum vd_code vd_redis_address_parse(const char *text, struct vd_redis_address *ret,
                                    struct vd_err *err)
{
    struct vd_span s = vd_span_of(text);
    struct vd_redis_address a = {.port = DEFAULT_PORT};
    bool ok;

    if (vd_span_starts(s, VD_LIT("unix:"))) {
        ok = s.len > 5 && put(a.path, sizeof(a.path), rest(s, 5));
    } else if (vd_span_starts(s, VD_LIT("/"))) {
        ok = put(a.path, sizeof(a.path), s);
    } else if (vd_span_starts_nocase(s, VD_LIT("redis://"))) {
        ok = parse_url(rest(s, 8), &a);
    } else if (vd_span_starts_nocase(s, VD_LIT("rediss://"))) {
        a.tls = true;
        ok = parse_url(rest(s, 9), &a);
    } else {
        ok = parse_host(s, &a);
    }
    if (!ok)
        return vd_err_set(err, VD_E_CONFIG, false,
                          "Redis address: write host:port, unix:/path, or "
                          "redis://user:password@host:port/db (rediss:// for TLS)");
    if (a.host[0] == '\0')
        (void)snprintf(a.shown, sizeof(a.shown), "unix:%s", a.path);
    else
        (void)snprintf(a.shown, sizeof(a.shown), strchr(a.host, ':') ? "[%s]:%u" : "%s:%u", a.host,
                       a.port);
    *ret = a;
    return VD_OK;
}
