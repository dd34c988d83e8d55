/* base/buf.c - see buf.h. */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

void vd_buf_init(struct vd_buf *b, size_t max)
{
    *b = (struct vd_buf){.max = max};
}

void vd_buf_free(struct vd_buf *b)
{
    size_t max = b->max;

    (void)vd_free(b->ptr);
    vd_buf_init(b, max);
}

void vd_buf_clear(struct vd_buf *b)
{
    b->len = 0;
    b->failed = VD_OK;
    if (b->ptr != NULL)
        b->ptr[0] = '\0';
}

static enum vd_code fail(struct vd_buf *b, enum vd_code code)
{
    if (b->failed == VD_OK)
        b->failed = code;
    return code;
}

static enum vd_code grow(struct vd_buf *b, size_t n)
{
    size_t cap;
    char *grown;

    if (n > b->max - b->len)
        return fail(b, VD_E_LIMIT);
    cap = b->cap == 0 ? 256 : b->cap * 2;
    if (cap < b->len + n + 1)
        cap = b->len + n + 1;
    if (cap > b->max + 1)
        cap = b->max + 1;
    grown = vd_realloc(b->ptr, cap);
    if (grown == NULL)
        return fail(b, VD_E_NOMEM);
    b->ptr = grown;
    b->cap = cap;
    return VD_OK;
}

/* Room for n more bytes and a NUL. */
static enum vd_code reserve(struct vd_buf *b, size_t n)
{
    if (b->failed != VD_OK)
        return b->failed;
    return n < b->cap - b->len ? VD_OK : grow(b, n); /* cap <= max + 1, so what fits is allowed */
}

enum vd_code vd_buf_reserve(struct vd_buf *b, size_t n)
{
    return reserve(b, n);
}

enum vd_code vd_buf_add(struct vd_buf *b, struct vd_span s)
{
    enum vd_code rc = reserve(b, s.len);

    if (rc != VD_OK)
        return rc;
    if (s.len > 0)
        memcpy(b->ptr + b->len, s.ptr, s.len);
    b->len += s.len;
    b->ptr[b->len] = '\0';
    return VD_OK;
}

enum vd_code vd_buf_add_c(struct vd_buf *b, const char *cstr)
{
    return vd_buf_add(b, vd_span_of(cstr));
}

enum vd_code vd_buf_add_char(struct vd_buf *b, char c)
{
    enum vd_code rc = reserve(b, 1);

    if (rc != VD_OK)
        return rc;
    b->ptr[b->len++] = c;
    b->ptr[b->len] = '\0';
    return VD_OK;
}

enum vd_code vd_buf_addf(struct vd_buf *b, const char *fmt, ...)
{
    enum vd_code rc = reserve(b, 0);
    size_t room = b->cap - b->len;
    va_list ap;
    int n;

    if (rc != VD_OK)
        return rc;
    va_start(ap, fmt);
    n = vsnprintf(b->ptr + b->len, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= room)
        b->ptr[b->len] = '\0'; /* what did not fit is no content */
    if (n < 0)
        return fail(b, VD_E_INPUT);
    rc = reserve(b, (size_t)n);
    if (rc != VD_OK)
        return rc;
    if ((size_t)n >= room) {
        va_start(ap, fmt);
        (void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    b->len += (size_t)n;
    return VD_OK;
}

enum vd_code vd_buf_add_i64(struct vd_buf *b, int64_t v)
{
    char text[24];
    char *p = text + sizeof(text);
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    do {
        *--p = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (v < 0)
        *--p = '-';
    return vd_buf_add(b, (struct vd_span){p, (size_t)(text + sizeof(text) - p)});
}

/* Characters that must be escaped: C0 controls, the quote and the backslash (RFC 8259 section 7). DEL is legal. */
static bool plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* How many bytes from s.ptr[from] on are plain: eight at a time, by the classic test for a byte below n or equal to one in a word. */
static size_t plain_run(struct vd_span s, size_t from)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t at = from;

    for (; s.len - at >= 8; at += 8) {
        uint64_t word, quote, backslash;

        memcpy(&word, s.ptr + at, 8);
        quote = word ^ ones * '"';
        backslash = word ^ ones * '\\';
        if ((((word - ones * 0x20) | (quote - ones) | (backslash - ones)) & ~word & tops) != 0)
            break; /* maybe only a neighbour's borrow: looked at one by one below */
    }
    while (at < s.len && plain((unsigned char)s.ptr[at]))
        at++;
    return at - from;
}

static void add_escape(struct vd_buf *b, unsigned char c)
{
    static const char two[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (size_t i = 0; i + 1 < sizeof(two); i += 2) {
        if ((unsigned char)two[i] == c) {
            char esc[2] = {'\\', two[i + 1]};

            (void)vd_buf_add(b, (struct vd_span){esc, 2});
            return;
        }
    }
    (void)vd_buf_addf(b, "\\u%04x", c);
}

enum vd_code vd_buf_add_json_string(struct vd_buf *b, struct vd_span s)
{
    size_t at = 0;

    (void)reserve(b, s.len + 2);
    (void)vd_buf_add_char(b, '"');
    while (at < s.len) {
        size_t run = plain_run(s, at);

        (void)vd_buf_add(b, (struct vd_span){s.ptr + at, run});
        at += run;
        if (at < s.len)
            add_escape(b, (unsigned char)s.ptr[at++]);
    }
    return vd_buf_add_char(b, '"');
}

struct vd_span vd_buf_span(const struct vd_buf *b)
{
    return (struct vd_span){b->ptr, b->len};
}

char *vd_buf_take(struct vd_buf *b, size_t *ret_len)
{
    char *out;

    if (reserve(b, 0) != VD_OK)
        return NULL;
    out = b->ptr;
    out[b->len] = '\0';
    if (ret_len != NULL)
        *ret_len = b->len;
    vd_buf_init(b, b->max);
    return out;
}
