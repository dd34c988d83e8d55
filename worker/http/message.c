/* http/message.c - see message.h. */
#include "http/message.h"

#include <string.h>

/* An announced body is made room for at once up to here; behind a larger announcement must come bytes first. */
#define BODY_AT_ONCE_BYTES (64u << 10)

void vd_http_message_init(struct vd_http_message *m, size_t header_max, struct vd_buf *body,
                          vd_http_line_fn *on_line, void *arg)
{
    *m = (struct vd_http_message){
        .header_max = header_max, .body = body, .on_line = on_line, .arg = arg};
    vd_buf_init(&m->line, header_max);
}

void vd_http_message_fini(struct vd_http_message *m)
{
    vd_buf_free(&m->line);
}

static enum vd_code broken(struct vd_err *err, const char *what)
{
    return vd_err_set(err, VD_E_REMOTE, true, "HTTP: the answer is not HTTP/1.1: %s", what);
}

static enum vd_code too_many_headers(const struct vd_http_message *m, struct vd_err *err)
{
    return vd_err_set(err, VD_E_LIMIT, false, "HTTP: headers are larger than %zu bytes",
                      m->header_max);
}

/* -- lines ------------------------------------------------------------------------------------------------------------ */

/* The next line without its end, or VD_OK and *ret_whole false when more bytes are needed. A line that one read holds is not copied. */
static enum vd_code take_line(struct vd_http_message *m, struct vd_span bytes, size_t *used,
                              struct vd_span *ret_line, bool *ret_whole, struct vd_err *err)
{
    struct vd_span rest = vd_span_sub(bytes, *used, bytes.len);
    size_t end = vd_span_find(rest, '\n');
    struct vd_span line = vd_span_sub(rest, 0, end);

    *ret_whole = end < rest.len;
    *used += *ret_whole ? end + 1 : end;
    if (m->line.len + line.len >= m->header_max)
        return too_many_headers(m, err);
    if (m->line.len > 0 || !*ret_whole) {
        if (vd_buf_add(&m->line, line) != VD_OK)
            return vd_err_nomem(err, "HTTP: header");
        line = vd_buf_span(&m->line);
    }
    if (*ret_whole && line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    return VD_OK;
}

static bool is_token(struct vd_span s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr(others, c) != NULL)))
            return false;
    }
    return s.len > 0;
}

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static enum vd_code read_status(struct vd_http_message *m, struct vd_span line, struct vd_err *err)
{
    uint64_t status;

    if (line.len < 12 || !vd_span_starts(line, VD_LIT("HTTP/1.")) ||
        (line.ptr[7] != '0' && line.ptr[7] != '1') || line.ptr[8] != ' ' ||
        !vd_parse_u64(vd_span_sub(line, 9, 3), 999, &status) || status < 100 ||
        (line.len > 12 && line.ptr[12] != ' '))
        return broken(err, "the status line");
    if (status == 101)
        return broken(err, "another protocol (101), which was not asked for");
    m->status = (int)status;
    m->persistent = line.ptr[7] == '1';
    m->chunked = m->has_length = false;
    m->left = 0;
    m->state = VD_HTTP_AT_HEADERS;
    m->on_line(m->arg, (struct vd_span){0}, line);
    return VD_OK;
}

static enum vd_code read_length(struct vd_http_message *m, struct vd_span value, struct vd_err *err)
{
    uint64_t length;

    if (!vd_parse_u64(value, INT64_MAX, &length) || (m->has_length && length != m->left))
        return broken(err, "content-length");
    m->has_length = true;
    m->left = length;
    return VD_OK;
}

/* "close" and "keep-alive" among whatever else stands there. */
static void read_connection(struct vd_http_message *m, struct vd_span value)
{
    while (value.len > 0) {
        size_t comma = vd_span_find(value, ',');
        struct vd_span option = vd_span_trim(vd_span_sub(value, 0, comma));

        if (vd_span_eq_nocase(option, VD_LIT("close")))
            m->persistent = false;
        else if (vd_span_eq_nocase(option, VD_LIT("keep-alive")))
            m->persistent = true;
        value = vd_span_sub(value, comma + 1, value.len);
    }
}

static enum vd_code read_header(struct vd_http_message *m, struct vd_span line, struct vd_err *err)
{
    size_t colon = vd_span_find(line, ':');
    struct vd_span name = vd_span_sub(line, 0, colon);
    struct vd_span value = vd_span_trim(vd_span_sub(line, colon + 1, line.len));
    enum vd_code rc = VD_OK;

    if (colon == line.len || !is_token(name) || vd_span_find(line, '\0') < line.len ||
        vd_span_find(line, '\r') < line.len)
        return broken(err, "a header line");
    if (vd_span_eq_nocase(name, VD_LIT("content-length"))) {
        rc = read_length(m, value, err);
    } else if (vd_span_eq_nocase(name, VD_LIT("transfer-encoding"))) {
        if (m->chunked || !vd_span_eq_nocase(value, VD_LIT("chunked")))
            return broken(err, "a transfer-encoding that is not chunked");
        m->chunked = true;
    } else if (vd_span_eq_nocase(name, VD_LIT("connection"))) {
        read_connection(m, value);
    }
    m->on_line(m->arg, name, value);
    return rc;
}

/* -- bodies ----------------------------------------------------------------------------------------------------------- */

static enum vd_code too_large(const struct vd_http_message *m, struct vd_err *err)
{
    return vd_err_set(err, VD_E_LIMIT, false, "HTTP: the body is larger than %zu bytes",
                      m->body->max);
}

static enum vd_code add_body(struct vd_http_message *m, struct vd_span bytes, struct vd_err *err)
{
    enum vd_code rc = vd_buf_add(m->body, bytes);

    return rc == VD_OK        ? VD_OK
           : rc == VD_E_LIMIT ? too_large(m, err)
                              : vd_err_nomem(err, "HTTP: body");
}

/* The empty line behind the headers: what comes now? (RFC 9112 section 6.3) */
static enum vd_code end_headers(struct vd_http_message *m, struct vd_err *err)
{
    if (m->status < 200) {
        m->state = VD_HTTP_AT_STATUS;
    } else if (m->status == 204 || m->status == 304) {
        m->state = VD_HTTP_WHOLE;
    } else if (m->chunked) {
        if (m->has_length) /* somebody on the way saw another end than we do */
            m->persistent = false;
        m->state = VD_HTTP_AT_CHUNK_SIZE;
    } else if (m->has_length) {
        m->state = m->left > 0 ? VD_HTTP_AT_LENGTH : VD_HTTP_WHOLE;
        if (m->left > m->body->max)
            return too_large(m, err);
        if (m->left <= BODY_AT_ONCE_BYTES && vd_buf_reserve(m->body, (size_t)m->left) != VD_OK)
            return vd_err_nomem(err, "HTTP: body");
    } else {
        m->persistent = false;
        m->state = VD_HTTP_AT_CLOSE;
    }
    return VD_OK;
}

static bool hex_digit(char c, unsigned *ret)
{
    if (c >= '0' && c <= '9')
        *ret = (unsigned)(c - '0');
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        *ret = (unsigned)((c | 0x20) - 'a') + 10;
    else
        return false;
    return true;
}

/* Hexadecimal digits, then nothing, or an extension behind ";" or blanks. */
static enum vd_code read_chunk_size(struct vd_http_message *m, struct vd_span line,
                                    struct vd_err *err)
{
    uint64_t size = 0;
    unsigned digit;
    size_t i;

    for (i = 0; i < line.len && hex_digit(line.ptr[i], &digit); i++) {
        if (size > (UINT64_MAX >> 8))
            return broken(err, "a chunk's size");
        size = size * 16 + digit;
    }
    if (i == 0 || (i < line.len && line.ptr[i] != ';' && line.ptr[i] != ' ' && line.ptr[i] != '\t'))
        return broken(err, "a chunk's size");
    if (size > m->body->max - m->body->len)
        return too_large(m, err);
    m->left = size;
    m->state = size > 0 ? VD_HTTP_AT_CHUNK : VD_HTTP_AT_TRAILERS;
    return VD_OK;
}

static enum vd_code read_body(struct vd_http_message *m, struct vd_span bytes, size_t *used,
                              struct vd_err *err)
{
    struct vd_span part = vd_span_sub(bytes, *used, bytes.len);

    if (m->state != VD_HTTP_AT_CLOSE) {
        if (part.len > m->left)
            part.len = (size_t)m->left;
        m->left -= part.len;
    }
    *used += part.len;
    if (m->state == VD_HTTP_AT_LENGTH && m->left == 0)
        m->state = VD_HTTP_WHOLE;
    else if (m->state == VD_HTTP_AT_CHUNK && m->left == 0)
        m->state = VD_HTTP_AT_CHUNK_END;
    return add_body(m, part, err);
}

/* -- reading ---------------------------------------------------------------------------------------------------------- */

static enum vd_code read_line(struct vd_http_message *m, struct vd_span line, struct vd_err *err)
{
    switch (m->state) {
    case VD_HTTP_AT_STATUS:
        return read_status(m, line, err);
    case VD_HTTP_AT_HEADERS:
        return line.len == 0 ? end_headers(m, err) : read_header(m, line, err);
    case VD_HTTP_AT_CHUNK_SIZE:
        return read_chunk_size(m, line, err);
    case VD_HTTP_AT_CHUNK_END:
        m->state = VD_HTTP_AT_CHUNK_SIZE;
        return line.len == 0 ? VD_OK : broken(err, "a chunk is longer than its size");
    default: /* VD_HTTP_AT_TRAILERS */
        if (line.len == 0)
            m->state = VD_HTTP_WHOLE;
        return VD_OK;
    }
}

static bool counts_as_header(const struct vd_http_message *m)
{
    return m->state == VD_HTTP_AT_STATUS || m->state == VD_HTTP_AT_HEADERS ||
           m->state == VD_HTTP_AT_TRAILERS;
}

enum vd_code vd_http_message_read(struct vd_http_message *m, struct vd_span bytes, size_t *ret_used,
                                  struct vd_err *err)
{
    size_t used = 0;
    enum vd_code rc = VD_OK;

    while (rc == VD_OK && used < bytes.len && m->state != VD_HTTP_WHOLE) {
        struct vd_span line = {0};
        bool whole = false;

        if (m->state == VD_HTTP_AT_LENGTH || m->state == VD_HTTP_AT_CLOSE ||
            m->state == VD_HTTP_AT_CHUNK) {
            rc = read_body(m, bytes, &used, err);
            continue;
        }
        rc = take_line(m, bytes, &used, &line, &whole, err);
        if (rc != VD_OK || !whole)
            break;
        if (counts_as_header(m))
            m->header_bytes += line.len + 2;
        rc = m->header_bytes > m->header_max ? too_many_headers(m, err) : read_line(m, line, err);
        vd_buf_free(&m->line);
    }
    *ret_used = used;
    return rc;
}

enum vd_code vd_http_message_end(struct vd_http_message *m, struct vd_err *err)
{
    m->persistent = false;
    if (m->state == VD_HTTP_AT_CLOSE)
        m->state = VD_HTTP_WHOLE;
    if (m->state == VD_HTTP_WHOLE)
        return VD_OK;
    return vd_err_set(err, VD_E_REMOTE, true, "HTTP: the connection ended %s",
                      m->header_bytes + m->line.len == 0 ? "without an answer"
                                                         : "in the middle of the answer");
}
