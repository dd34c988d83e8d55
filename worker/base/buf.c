/* base/buf.c - see buf.h. */
#include "base/buf.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

enum vd_code vd_buf_grow(struct vd_buf *b, size_t n)
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

enum vd_code vd_buf_addf(struct vd_buf *b, const char *fmt, ...)
{
    enum vd_code rc = vd_buf_reserve(b, 0);
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
    rc = vd_buf_reserve(b, (size_t)n);
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

/* How many bytes from s.ptr[from] on are plain: eight at a time, by the classic test for a byte below n or equal to one in a word. A borrow
 * may flag bytes behind the first one that is not plain, never before it. */
static size_t plain_run(struct vd_span s, size_t from)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t at = from;

    for (; s.len - at >= 8; at += 8) {
        uint64_t word, quote, backslash, others;

        memcpy(&word, s.ptr + at, 8);
        word = le64toh(word);
        quote = word ^ ones * '"';
        backslash = word ^ ones * '\\';
        others = ((word - ones * 0x20) | (quote - ones) | (backslash - ones)) & ~word & tops;
        if (others != 0)
            return at - from + (size_t)__builtin_ctzll(others) / 8;
    }
    while (at < s.len && plain((unsigned char)s.ptr[at]))
        at++;
    return at - from;
}

/* How many of the 16 bytes at p are plain before the first that is not. */
static size_t plain_of_16(const char *p)
{
#ifdef __SSE2__
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v); /* at most 0x1f */
    __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
    __m128i backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
    unsigned others =
        (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(quote, backslash)));

    return others == 0 ? 16 : (size_t)__builtin_ctz(others);
#else
    return plain_run((struct vd_span){p, 16}, 0);
#endif
}

/* The escape of c into out, which has room for six; its length. */
static size_t escape(unsigned char c, char *out)
{
    static const char two[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    static const char hex[] = "0123456789abcdef";

    out[0] = '\\';
    if (c == '"' || c == '\\') {
        out[1] = (char)c;
        return 2;
    }
    for (size_t i = 0; i + 1 < sizeof(two); i += 2) {
        if ((unsigned char)two[i] == c) {
            out[1] = two[i + 1];
            return 2;
        }
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

/* As far as there are 16 bytes to look at and room for them and an escape; where it stopped. JSON inside a string has a quote every few
 * bytes, so 16 are copied before it is known how many count. */
static size_t add_in_16s(struct vd_buf *b, struct vd_span s, size_t at)
{
    while (s.len - at >= 16 && b->cap - b->len > 16 + 6) {
        size_t run = plain_of_16(s.ptr + at);

        memcpy(b->ptr + b->len, s.ptr + at, 16);
        b->len += run;
        at += run;
        if (run < 16)
            b->len += escape((unsigned char)s.ptr[at++], b->ptr + b->len);
    }
    return at;
}

enum vd_code vd_buf_add_json_string(struct vd_buf *b, struct vd_span s)
{
    size_t at = 0;

    (void)vd_buf_reserve(b, s.len + 2);
    (void)vd_buf_add_char(b, '"');
    while (at < s.len) {
        size_t run;
        char esc[6];

        if (b->failed == VD_OK)
            at = add_in_16s(b, s, at);
        run = plain_run(s, at);
        (void)vd_buf_add(b, (struct vd_span){s.ptr + at, run});
        at += run;
        if (at < s.len)
            (void)vd_buf_add(b, (struct vd_span){esc, escape((unsigned char)s.ptr[at++], esc)});
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

    if (vd_buf_reserve(b, 0) != VD_OK)
        return NULL;
    out = b->ptr;
    out[b->len] = '\0';
    if (ret_len != NULL)
        *ret_len = b->len;
    vd_buf_init(b, b->max);
    return out;
}
