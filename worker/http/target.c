/* http/target.c - URLs with their headers, parsed and checked once. */
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

void vd_http_target_release(struct vd_http_target *target)
{
    if (target == NULL || --target->refs > 0)
        return;
    vd_http_origin_release(target->origin);
    curl_slist_free_all(target->headers);
    (void)vd_free(target->head);
    (void)vd_free(target->url);
    (void)vd_free(target->host);
    (void)vd_free(target);
}

static bool is_header_text(struct vd_span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (((unsigned char)s.ptr[i] < ' ' && s.ptr[i] != '\t') || (unsigned char)s.ptr[i] > '~')
            return false;
    return true;
}

/* Says where a message ends: the client's own business. */
static bool is_framing(struct vd_span name)
{
    return vd_span_eq_nocase(name, VD_LIT("content-length")) ||
           vd_span_eq_nocase(name, VD_LIT("transfer-encoding"));
}

static enum vd_code add_header(struct vd_http_target *target, struct vd_span name,
                               struct vd_span value, struct vd_err *err)
{
    struct vd_buf line;
    struct curl_slist *grown = NULL;

    if (name.len == 0 || !is_header_text(name) || !is_header_text(value) ||
        vd_span_find(name, ':') != name.len)
        return vd_err_set(err, VD_E_CONFIG, false,
                          "HTTP: a header name or value is not plain text");
    vd_buf_init(&line, VD_HTTP_HEADER_MAX_BYTES);
    (void)vd_buf_add(&line, name);
    (void)vd_buf_add_c(&line,
                       value.len == 0 ? ":" : ": "); /* libcurl: "name:" takes a header away */
    (void)vd_buf_add(&line, value);
    if (line.failed == VD_OK)
        grown = curl_slist_append(target->headers, line.ptr);
    vd_buf_free(&line);
    if (grown == NULL)
        return vd_err_nomem(err, "HTTP header");
    target->headers = grown;
    return VD_OK;
}

/* A part of the URL, to be freed with curl_free(); NULL when it has none, or memory is out. */
static char *url_part(CURLU *u, CURLUPart which, unsigned flags)
{
    char *part = NULL;

    return curl_url_get(u, which, &part, flags) == CURLUE_OK ? part : NULL;
}

/* Absolute http or https, no credentials; the host for the allow function. */
static enum vd_code check_url(struct vd_http_target *target, CURLU *u, struct vd_err *err)
{
    char *scheme = NULL, *user = NULL, *host = NULL;
    enum vd_code rc = VD_OK;

    if (curl_url_set(u, CURLUPART_URL, target->url, 0) == CURLUE_OK)
        scheme = url_part(u, CURLUPART_SCHEME, 0);
    if (scheme == NULL || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: the URL must be http://... or https://...");
    else if ((user = url_part(u, CURLUPART_USER, 0)) != NULL)
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: no user or password in a URL, please");
    else if ((host = url_part(u, CURLUPART_HOST, 0)) == NULL ||
             (target->host = vd_strdup(host)) == NULL)
        rc = vd_err_nomem(err, "URL");
    curl_free(scheme);
    curl_free(user);
    curl_free(host);
    return rc;
}

/* What needs no TLS and no proxy, and whose host needs no translation, goes over plain connections. */
static bool is_plain(const struct vd_http_target *target, CURLU *u)
{
    char *scheme = url_part(u, CURLUPART_SCHEME, 0), *zone = url_part(u, CURLUPART_ZONEID, 0);
    bool plain = target->http->proxy == NULL && scheme != NULL && strcmp(scheme, "http") == 0 &&
                 zone == NULL && is_header_text(vd_span_of(target->host));

    curl_free(scheme);
    curl_free(zone);
    return plain;
}

static bool has_header(const struct vd_http_target *target, struct vd_span name)
{
    for (const struct curl_slist *h = target->headers; h != NULL; h = h->next)
        if (vd_span_starts_nocase(vd_span_of(h->data), name) && h->data[name.len] == ':')
            return true;
    return false;
}

static void add_default(struct vd_buf *head, const struct vd_http_target *target,
                        struct vd_span name, const char *value, const char *port)
{
    if (!has_header(target, name))
        (void)vd_buf_addf(head, "%s: %s%s%s\r\n", name.ptr, value, port[0] != '\0' ? ":" : "",
                          port);
}

/* "/path?query HTTP/1.1" and the headers, as they stand in each request. */
static void write_head(struct vd_buf *head, const struct vd_http_target *target, const char *path,
                       const char *query, const char *port)
{
    (void)vd_buf_addf(head, "%s%s%s HTTP/1.1\r\n", path, query != NULL ? "?" : "",
                      query != NULL ? query : "");
    add_default(head, target, VD_LIT("Host"), target->host, strcmp(port, "80") == 0 ? "" : port);
    add_default(head, target, VD_LIT("User-Agent"), target->http->user_agent, "");
    add_default(head, target, VD_LIT("Accept"), "*/*", "");
    for (const struct curl_slist *h = target->headers; h != NULL; h = h->next)
        if (h->data[strlen(h->data) - 1] != ':') /* libcurl's way to say: without this one */
            (void)vd_buf_addf(head, "%s\r\n", h->data);
}

static enum vd_code make_plain(struct vd_http_target *target, CURLU *u, struct vd_err *err)
{
    char *path = url_part(u, CURLUPART_PATH, 0), *query = url_part(u, CURLUPART_QUERY, 0);
    char *port = url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    struct vd_span host = vd_span_of(target->host);
    struct vd_buf head;

    vd_buf_init(&head, VD_HTTP_URL_MAX_BYTES + VD_HTTP_HEADER_MAX_BYTES);
    if (host.ptr[0] == '[') /* an address of IPv6 */
        host = vd_span_sub(host, 1, host.len - 2);
    if (path != NULL && port != NULL) {
        write_head(&head, target, path, query, port);
        target->head = vd_buf_take(&head, &target->head_len);
        target->origin = vd_http_origin_get(target->http, host, port);
    }
    vd_buf_free(&head);
    curl_free(path);
    curl_free(query);
    curl_free(port);
    return target->head != NULL && target->origin != NULL ? VD_OK : vd_err_nomem(err, "URL");
}

enum vd_code vd_http_target_new(struct vd_http *http, struct vd_span url,
                                const struct vd_http_header *headers, size_t header_count,
                                struct vd_http_target **ret_target, struct vd_err *err)
{
    struct vd_http_target *target;
    CURLU *u;
    enum vd_code rc;

    if (url.len > VD_HTTP_URL_MAX_BYTES || memchr(url.ptr, '\0', url.len) != NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "HTTP: the URL is longer than %d bytes",
                          VD_HTTP_URL_MAX_BYTES);
    target = vd_alloc(sizeof(*target));
    if (target == NULL)
        return vd_err_nomem(err, "HTTP target");
    target->http = http;
    target->refs = 1;
    target->url = vd_strndup(url);
    u = curl_url();
    rc = target->url == NULL || u == NULL ? vd_err_nomem(err, "URL") : check_url(target, u, err);
    if (rc == VD_OK)
        rc = add_header(target, VD_LIT("Expect"), VD_LIT(""),
                        err); /* no round trip before the body */
    for (size_t i = 0; rc == VD_OK && i < header_count; i++)
        rc = is_framing(headers[i].name)
                 ? vd_err_set(err, VD_E_CONFIG, false,
                              "HTTP: the header %.*s is not for others to set",
                              (int)headers[i].name.len, headers[i].name.ptr)
                 : add_header(target, headers[i].name, headers[i].value, err);
    if (rc == VD_OK && is_plain(target, u))
        rc = make_plain(target, u, err);
    curl_url_cleanup(u);
    if (rc != VD_OK) {
        vd_http_target_release(target);
        return rc;
    }
    *ret_target = target;
    return VD_OK;
}

void *vd_http_target_free(struct vd_http_target *target)
{
    vd_http_target_release(target);
    return NULL;
}
