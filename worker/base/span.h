/* base/span.h - a borrowed run of bytes, and numbers read from one.
 *
 * Why:      Kafka keys and values, JSON text and HTTP bodies are bytes, not C strings.
 * Thread:   any; pure.
 * Shapes:   (ptr,len), not NUL-terminated, may hold any byte. ptr may be NULL when len is 0.
 */
#ifndef VD_BASE_SPAN_H
#define VD_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct vd_span {
    const char *ptr;
    size_t len;
};

/* A span over a string literal. */
#define VD_LIT(s) ((struct vd_span){(s), sizeof(s) - 1})

/* These three are here so that the compiler sees lengths of literals. */

static inline struct vd_span vd_span_of(const char *cstr) /* NULL gives the empty span */
{
    return (struct vd_span){cstr, cstr == NULL ? 0 : strlen(cstr)};
}

static inline struct vd_span vd_span_sub(struct vd_span s, size_t from,
                                         size_t len) /* clamped to s */
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct vd_span){s.ptr == NULL ? NULL : s.ptr + from, len};
}

static inline bool vd_span_eq(struct vd_span a, struct vd_span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

struct vd_span vd_span_trim(struct vd_span s);
bool vd_span_eq_c(struct vd_span a, const char *cstr);
bool vd_span_eq_nocase(struct vd_span a, struct vd_span b); /* ASCII only */
bool vd_span_starts(struct vd_span s, struct vd_span prefix);
bool vd_span_starts_nocase(struct vd_span s, struct vd_span prefix);
/* Index of the first c in s, or s.len. */
size_t vd_span_find(struct vd_span s, char c);

/* Whole span is a decimal number, no sign (i64: optional '-'), no blanks, in range: true and *ret set.
 * Otherwise false and *ret untouched. */
bool vd_parse_u64(struct vd_span s, uint64_t max, uint64_t *ret);
bool vd_parse_i64(struct vd_span s, int64_t *ret);
/* Whole span is a finite decimal floating point number (JSON's grammar, "1e3" included). */
bool vd_parse_double(struct vd_span s, double *ret);

#endif
