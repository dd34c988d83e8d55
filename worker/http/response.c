/* http/response.c - headers and body as they are kept, within their bounds. */
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "http/internal.h"

static const struct {
    struct vd_span name;
    enum vd_http_kept kept;
} kept_names[] = {
    {{"content-type", 12}, VD_HTTP_CONTENT_TYPE},
    {{"retry-after", 11}, VD_HTTP_RETRY_AFTER},
    {{"retry-after-ms", 14}, VD_HTTP_RETRY_AFTER_MS},
    {{"x-should-retry", 14}, VD_HTTP_SHOULD_RETRY},
    {{"x-request-id", 12}, VD_HTTP_REQUEST_ID},
    {{"request-id", 10}, VD_HTTP_REQUEST_ID},
    {{"date", 4}, VD_HTTP_DATE},
    {{"x-ratelimit-limit-requests", 26}, VD_HTTP_LIMIT_REQUESTS},
    {{"anthropic-ratelimit-requests-limit", 34}, VD_HTTP_LIMIT_REQUESTS},
    {{"x-ratelimit-limit-tokens", 24}, VD_HTTP_LIMIT_TOKENS},
    {{"anthropic-ratelimit-tokens-limit", 32}, VD_HTTP_LIMIT_TOKENS},
    {{"x-ratelimit-remaining-requests", 30}, VD_HTTP_REMAINING_REQUESTS},
    {{"anthropic-ratelimit-requests-remaining", 38}, VD_HTTP_REMAINING_REQUESTS},
    {{"x-ratelimit-remaining-tokens", 28}, VD_HTTP_REMAINING_TOKENS},
    {{"anthropic-ratelimit-tokens-remaining", 36}, VD_HTTP_REMAINING_TOKENS},
    {{"x-ratelimit-reset-requests", 26}, VD_HTTP_RESET_REQUESTS},
    {{"anthropic-ratelimit-requests-reset", 34}, VD_HTTP_RESET_REQUESTS},
    {{"x-ratelimit-reset-tokens", 24}, VD_HTTP_RESET_TOKENS},
    {{"anthropic-ratelimit-tokens-reset", 32}, VD_HTTP_RESET_TOKENS},
};

void vd_http_keep_header(struct vd_http_call *call, struct vd_span name, struct vd_span value)
{
    for (size_t i = 0; i < sizeof(kept_names) / sizeof(kept_names[0]); i++) {
        struct vd_span *slot = &call->response.headers[kept_names[i].kept];

        if (name.len != kept_names[i].name.len || !vd_span_eq_nocase(name, kept_names[i].name))
            continue;
        if (call->kept == NULL)
            call->kept = vd_realloc(NULL, VD_HTTP_KEPT_BYTES);
        if (call->kept == NULL)
            return; /* as if the provider had not sent it */
        if (slot->len > 0 || value.len == 0 || value.len > VD_HTTP_HEADER_KEPT ||
            value.len > VD_HTTP_KEPT_BYTES - call->kept_used)
            return;
        memcpy(call->kept + call->kept_used, value.ptr, value.len);
        *slot = (struct vd_span){call->kept + call->kept_used, value.len};
        call->kept_used += value.len;
        return;
    }
}

void vd_http_forget_headers(struct vd_http_call *call)
{
    memset(call->response.headers, 0, sizeof(call->response.headers));
    call->kept_used = 0;
}

size_t vd_http_on_header(char *ptr, size_t size, size_t count, void *arg)
{
    struct vd_http_call *call = arg;
    struct vd_span line = {ptr, size * count};
    size_t colon = vd_span_find(line, ':');

    call->header_bytes += line.len;
    if (call->header_bytes > call->http->conf.header_max_bytes) {
        call->header_too_large = true;
        return 0;
    }
    if (vd_span_starts(line, VD_LIT("HTTP/")))
        vd_http_forget_headers(call); /* what stood before was an interim response */
    else
        vd_http_keep_header(call, vd_span_sub(line, 0, colon),
                            vd_span_trim(vd_span_sub(line, colon + 1, line.len)));
    return line.len;
}

size_t vd_http_on_body(char *ptr, size_t size, size_t count, void *arg)
{
    struct vd_http_call *call = arg;

    return vd_buf_add(&call->body, (struct vd_span){ptr, size * count}) == VD_OK ? size * count : 0;
}
