/* http/target.c - URLs with their headers, parsed and checked once. */
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

void vd_http_target_release(struct vd_http_target *target)
{
    if (target == NULL || --target->refs > 0)
        return;
    curl_slist_free_all(target->headers);
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

/* Absolute http or https, no credentials; the host for the allow function. */
static enum vd_code check_url(struct vd_http_target *target, struct vd_err *err)
{
    CURLU *u = curl_url();
    char *part = NULL;
    enum vd_code rc = VD_OK;

    if (u == NULL)
        return vd_err_nomem(err, "URL");
    if (curl_url_set(u, CURLUPART_URL, target->url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &part, 0) != CURLUE_OK ||
        (strcasecmp(part, "http") != 0 && strcasecmp(part, "https") != 0))
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: the URL must be http://... or https://...");
    curl_free(part);
    part = NULL;
    if (rc == VD_OK && curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK)
        rc = vd_err_set(err, VD_E_CONFIG, false, "HTTP: no user or password in a URL, please");
    curl_free(part);
    part = NULL;
    if (rc == VD_OK && curl_url_get(u, CURLUPART_HOST, &part, 0) == CURLUE_OK) {
        target->host = vd_strdup(part);
        if (target->host == NULL)
            rc = vd_err_nomem(err, "URL");
    }
    curl_free(part);
    curl_url_cleanup(u);
    return rc;
}

enum vd_code vd_http_target_new(struct vd_http *http, struct vd_span url,
                                const struct vd_http_header *headers, size_t header_count,
                                struct vd_http_target **ret_target, struct vd_err *err)
{
    struct vd_http_target *target;
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
    rc = target->url == NULL ? vd_err_nomem(err, "URL") : check_url(target, err);
    if (rc == VD_OK)
        rc = add_header(target, VD_LIT("Expect"), VD_LIT(""),
                        err); /* no round trip before the body */
    for (size_t i = 0; rc == VD_OK && i < header_count; i++)
        rc = add_header(target, headers[i].name, headers[i].value, err);
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
