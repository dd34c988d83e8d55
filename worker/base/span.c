/* base/span.c - see span.h. */
#include "base/span.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

struct vd_span vd_span_trim(struct vd_span s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool vd_span_eq_c(struct vd_span a, const char *cstr)
{
    return vd_span_eq(a, vd_span_of(cstr));
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool vd_span_eq_nocase(struct vd_span a, struct vd_span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

bool vd_span_starts(struct vd_span s, struct vd_span prefix)
{
    return s.len >= prefix.len && vd_span_eq(vd_span_sub(s, 0, prefix.len), prefix);
}

bool vd_span_starts_nocase(struct vd_span s, struct vd_span prefix)
{
    return s.len >= prefix.len && vd_span_eq_nocase(vd_span_sub(s, 0, prefix.len), prefix);
}

size_t vd_span_find(struct vd_span s, char c)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);

    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

bool vd_parse_u64(struct vd_span s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.ptr[i] - '0';

        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *ret = v;
    return true;
}

bool vd_parse_i64(struct vd_span s, int64_t *ret)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t v;

    if (negative)
        s = vd_span_sub(s, 1, s.len);
    if (!vd_parse_u64(s, (uint64_t)INT64_MAX + (negative ? 1 : 0), &v))
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool vd_parse_double(struct vd_span s, double *ret)
{
    char copy[64];
    char *end;
    double v;

    if (s.len == 0 || s.len >= sizeof(copy))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (memchr("0123456789+-.eE", s.ptr[i], 15) == NULL)
            return false;
    if (s.ptr[0] == '+')
        return false;
    memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    /* The program never calls setlocale(), so the decimal point is '.'. */
    v = strtod(copy, &end);
    if (end != copy + s.len || !isfinite(v))
        return false;
    *ret = v;
    return true;
}
