/* base/buf.h - a growing byte buffer with a maximum that is given at init.
 *
 * Why:      anything that outside data can make grow must have a bound where it is created.
 * Thread:   any; one owner.
 * Owns:     its bytes until vd_buf_free().
 * Errors:   VD_E_LIMIT when the maximum would be passed (content unchanged), VD_E_NOMEM. Both are sticky in `failed`, so
 *           that a builder may add many pieces and check once.
 * Invariants:
 *   I1 len <= max; ptr[len] is NUL once anything was added, and not part of len.
 */
#ifndef VD_BASE_BUF_H
#define VD_BASE_BUF_H

#include <string.h>

#include "base/err.h"
#include "base/span.h"

struct vd_buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;
    enum vd_code failed; /* first failure, VD_OK if none */
};

void vd_buf_init(struct vd_buf *b, size_t max);
void vd_buf_free(struct vd_buf *b);  /* frees, keeps max; may be used again */
void vd_buf_clear(struct vd_buf *b); /* empties and forgets a failure, keeps memory */
/* Room for n more bytes and a NUL, by growing. */
enum vd_code vd_buf_grow(struct vd_buf *b, size_t n);

/* These four are here since a record is written in a thousand small pieces. */

/* Room for n more bytes at once, where their number is known: saves the growing by doubling. */
static inline enum vd_code vd_buf_reserve(struct vd_buf *b, size_t n)
{
    if (b->failed != VD_OK)
        return b->failed;
    return n < b->cap - b->len ? VD_OK
                               : vd_buf_grow(b, n); /* cap <= max + 1: what fits is allowed */
}

static inline enum vd_code vd_buf_add(struct vd_buf *b, struct vd_span s)
{
    enum vd_code rc = vd_buf_reserve(b, s.len);

    if (rc != VD_OK)
        return rc;
    if (s.len > 0)
        memcpy(b->ptr + b->len, s.ptr, s.len);
    b->len += s.len;
    b->ptr[b->len] = '\0';
    return VD_OK;
}

static inline enum vd_code vd_buf_add_c(struct vd_buf *b, const char *cstr)
{
    return vd_buf_add(b, vd_span_of(cstr));
}

static inline enum vd_code vd_buf_add_char(struct vd_buf *b, char c)
{
    return vd_buf_add(b, (struct vd_span){&c, 1});
}

enum vd_code vd_buf_addf(struct vd_buf *b, const char *fmt, ...) VD_PRINTF(2, 3);
enum vd_code vd_buf_add_i64(struct vd_buf *b, int64_t v);
/* As a JSON string with quotes. Bytes must be UTF-8; control characters become \u00XX. */
enum vd_code vd_buf_add_json_string(struct vd_buf *b, struct vd_span s);

struct vd_span vd_buf_span(const struct vd_buf *b); /* borrowed until the next add */
/* The bytes as an owned C string (free with vd_free) and an empty buffer; NULL if it failed or memory is out. */
char *vd_buf_take(struct vd_buf *b, size_t *ret_len);

#endif
