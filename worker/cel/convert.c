/* cel/convert.c - conversions between types, type(), dyn(), size(); see function.h.
 *
 * Source:   cel-spec langdef.md, List of Standard Definitions. A value out of the target's range is an error, never a wrap.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cel/function.h"
#include "cel/timestamp.h"
#include "json/utf8.h"

#define TWO_63 9223372036854775808.0
#define TWO_64 18446744073709551616.0

#define M(kind) VD_CEL_M(VD_CEL_##kind)

static bool call_int(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    int64_t i;

    (void)node;
    switch (a->kind) {
    case VD_CEL_UINT:
        if (a->u.u > INT64_MAX)
            return vd_cel_fail(run, ret, "int overflow (range error)");
        i = (int64_t)a->u.u;
        break;
    case VD_CEL_DOUBLE: /* the suite refuses both ends: as doubles they may have been anything near */
        if (!(a->u.d > -TWO_63 && a->u.d < TWO_63))
            return vd_cel_fail(run, ret, "int overflow (range error)");
        i = (int64_t)a->u.d;
        break;
    case VD_CEL_STRING:
        if (!vd_parse_i64(a->u.s, &i))
            return vd_cel_fail(run, ret, "the string is no int");
        break;
    case VD_CEL_TIMESTAMP:
        i = a->u.t.s;
        break;
    default:
        i = a->u.i;
        break;
    }
    *ret = vd_cel_int(i);
    return true;
}

static bool call_uint(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    uint64_t u;

    (void)node;
    switch (a->kind) {
    case VD_CEL_INT:
        if (a->u.i < 0)
            return vd_cel_fail(run, ret, "uint overflow (range error)");
        u = (uint64_t)a->u.i;
        break;
    case VD_CEL_DOUBLE:
        if (!(a->u.d >= 0 && a->u.d < TWO_64))
            return vd_cel_fail(run, ret, "uint overflow (range error)");
        u = (uint64_t)a->u.d;
        break;
    case VD_CEL_STRING:
        if (!vd_parse_u64(a->u.s, UINT64_MAX, &u))
            return vd_cel_fail(run, ret, "the string is no uint");
        break;
    default:
        u = a->u.u;
        break;
    }
    *ret = vd_cel_uint(u);
    return true;
}

/* Decimal text as people and Go write it: JSON's grammar, and "+1", ".5", "5.", "NaN", "Infinity". */
static bool parse_double(struct vd_span s, double *ret)
{
    char text[VD_JSON_MAX_NUMBER_LEN + 4];
    bool is_negative = s.len > 0 && s.ptr[0] == '-';
    size_t point;
    size_t digits;
    size_t len = 0;

    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'))
        s = vd_span_sub(s, 1, s.len);
    if (vd_span_eq_c(s, "NaN") || vd_span_eq_c(s, "Infinity")) {
        *ret = s.len == 3 ? (double)NAN : (double)(is_negative ? -INFINITY : INFINITY);
        return true;
    }
    if (s.len == 0 || s.len > VD_JSON_MAX_NUMBER_LEN || s.ptr[0] == '-' || s.ptr[0] == '+')
        return false;
    while (s.len > 1 && s.ptr[0] == '0' && s.ptr[1] >= '0' && s.ptr[1] <= '9')
        s = vd_span_sub(s, 1, s.len);
    point = vd_span_find(s, '.');
    digits = point + 1;
    while (digits < s.len && s.ptr[digits] >= '0' && s.ptr[digits] <= '9')
        digits++;
    if (point == 0 && digits == 1)
        return false;
    if (is_negative)
        text[len++] = '-';
    if (point == 0)
        text[len++] = '0';
    for (size_t i = 0; i < s.len; i++) {
        text[len++] = s.ptr[i];
        if (i == point && digits == point + 1)
            text[len++] = '0';
    }
    return vd_parse_double((struct vd_span){text, len}, ret);
}

static bool call_double(struct vd_cel_run *run, const struct vd_cel_node *node,
                        const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    double d = 0;

    (void)node;
    if (a->kind == VD_CEL_INT)
        d = (double)a->u.i;
    else if (a->kind == VD_CEL_UINT)
        d = (double)a->u.u;
    else if (a->kind == VD_CEL_DOUBLE)
        d = a->u.d;
    else if (!parse_double(a->u.s, &d))
        return vd_cel_fail(run, ret, "the string is no double");
    *ret = vd_cel_double(d);
    return true;
}

static bool call_string(struct vd_cel_run *run, const struct vd_cel_node *node,
                        const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    char text[VD_CEL_TIME_TEXT];
    struct vd_span s = {text, 0};

    (void)node;
    switch (a->kind) {
    case VD_CEL_STRING:
        *ret = *a;
        return true;
    case VD_CEL_BYTES:
        if (!vd_cel_utf8_valid(a->u.s))
            return vd_cel_fail(run, ret, "invalid UTF-8 in bytes, cannot convert to string");
        *ret = vd_cel_string(a->u.s);
        return true;
    case VD_CEL_BOOL:
        *ret = vd_cel_string(vd_span_of(a->u.b ? "true" : "false"));
        return true;
    case VD_CEL_INT:
        s.len = (size_t)snprintf(text, sizeof(text), "%" PRId64, a->u.i);
        break;
    case VD_CEL_UINT:
        s.len = (size_t)snprintf(text, sizeof(text), "%" PRIu64, a->u.u);
        break;
    case VD_CEL_DOUBLE:
        s.len = vd_cel_double_text(a->u.d, text);
        break;
    default:
        s.len = vd_cel_time_text(a, text);
        break;
    }
    if (vd_arena_dup(run->arena, s, &s) != VD_OK)
        return vd_cel_fail_nomem(run, ret);
    *ret = vd_cel_string(s);
    return true;
}

static bool call_bytes(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)run;
    (void)node;
    *ret = *a;
    ret->kind = VD_CEL_BYTES;
    return true;
}

static bool call_bool(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    static const char *const words[2][6] = {{"0", "f", "F", "false", "FALSE", "False"},
                                            {"1", "t", "T", "true", "TRUE", "True"}};

    (void)node;
    if (a->kind == VD_CEL_BOOL) {
        *ret = *a;
        return true;
    }
    for (size_t i = 0; i < 12; i++) {
        if (vd_span_eq_c(a->u.s, words[i / 6][i % 6])) {
            *ret = vd_cel_bool(i >= 6);
            return true;
        }
    }
    return vd_cel_fail(run, ret, "the string is no bool");
}

static bool call_timestamp(struct vd_cel_run *run, const struct vd_cel_node *node,
                           const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    if (a->kind == VD_CEL_TIMESTAMP) {
        *ret = *a;
        return true;
    }
    if (a->kind == VD_CEL_STRING)
        return vd_cel_timestamp_parse(a->u.s, ret) ||
               vd_cel_fail(run, ret, "the string is no timestamp, or out of range");
    if (a->u.i < VD_CEL_TIMESTAMP_MIN || a->u.i > VD_CEL_TIMESTAMP_MAX)
        return vd_cel_fail(run, ret, "timestamp out of range");
    *ret = (struct vd_cel_value){.kind = VD_CEL_TIMESTAMP, .u.t = {.s = a->u.i}};
    return true;
}

static bool call_duration(struct vd_cel_run *run, const struct vd_cel_node *node,
                          const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    if (a->kind == VD_CEL_STRING)
        return vd_cel_duration_parse(a->u.s, ret) ||
               vd_cel_fail(run, ret, "the string is no duration, or out of range");
    *ret = *a;
    return true;
}

static bool call_type(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)run;
    (void)node;
    *ret = vd_cel_type_of(a);
    return true;
}

static bool call_dyn(struct vd_cel_run *run, const struct vd_cel_node *node,
                     const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)run;
    (void)node;
    *ret = *a;
    return true;
}

static bool call_size(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    size_t n = a->u.s.len;

    (void)node;
    if (a->kind == VD_CEL_STRING)
        n = vd_utf8_count(a->u.s);
    else if (a->kind != VD_CEL_BYTES)
        n = vd_cel_size(a);
    if (a->kind != VD_CEL_STRING && a->is_json && !vd_cel_charge(run, ret, n / 16))
        return false;
    *ret = vd_cel_int((int64_t)n);
    return true;
}

const struct vd_cel_function vd_cel_functions_convert[] = {
    {"int",
     VD_CEL_GLOBAL,
     1,
     1,
     {VD_CEL_M_NUMBER | M(STRING) | M(TIMESTAMP)},
     M(INT),
     call_int,
     1,
     0},
    {"uint", VD_CEL_GLOBAL, 1, 1, {VD_CEL_M_NUMBER | M(STRING)}, M(UINT), call_uint, 1, 0},
    {"double", VD_CEL_GLOBAL, 1, 1, {VD_CEL_M_NUMBER | M(STRING)}, M(DOUBLE), call_double, 1, 0},
    {"string",
     VD_CEL_GLOBAL,
     1,
     1,
     {VD_CEL_M_NUMBER | M(STRING) | M(BYTES) | M(BOOL) | M(TIMESTAMP) | M(DURATION)},
     M(STRING),
     call_string,
     5,
     0},
    {"bytes", VD_CEL_GLOBAL, 1, 1, {M(STRING) | M(BYTES)}, M(BYTES), call_bytes, 1, 0},
    {"bool", VD_CEL_GLOBAL, 1, 1, {M(STRING) | M(BOOL)}, M(BOOL), call_bool, 2, 0},
    {"timestamp",
     VD_CEL_GLOBAL,
     1,
     1,
     {M(STRING) | M(INT) | M(TIMESTAMP)},
     M(TIMESTAMP),
     call_timestamp,
     3,
     0},
    {"duration", VD_CEL_GLOBAL, 1, 1, {M(STRING) | M(DURATION)}, M(DURATION), call_duration, 3, 0},
    {"type", VD_CEL_GLOBAL, 1, 1, {VD_CEL_M_DYN}, M(TYPE), call_type, 1, 0},
    {"dyn", VD_CEL_GLOBAL, 1, 1, {VD_CEL_M_DYN}, VD_CEL_M_DYN, call_dyn, 0, 0},
    {"size",
     VD_CEL_EITHER,
     1,
     1,
     {M(STRING) | M(BYTES) | M(LIST) | M(MAP)},
     M(INT),
     call_size,
     1,
     0},
    {.name = NULL},
};
