/* cel/format.c - "...".format(list): printf for CEL values; see function.h.
 *
 * Source:   the strings extension (cel-go, ext/README.md): %s %d %f %e %b %o %x %X, %.Nf and %.Ne, %%.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cel/function.h"
#include "cel/timestamp.h"

#define MAX_PRECISION 1000 /* as in cel-go; a double has at most 1,074 places */

struct clause {
    char verb;
    int precision; /* -1: none given */
};

static bool add_value(struct vd_cel_text *t, const struct vd_cel_value *v, unsigned depth);

static bool fail_kind(struct vd_cel_text *t, const char *rule, const struct vd_cel_value *v)
{
    return vd_cel_fail(t->run, t->ret, "error during formatting: %s, was given %s", rule,
                       vd_cel_type_name(v->kind));
}

/* -- %s ---------------------------------------------------------------------------------------------------------- */

static bool add_list(struct vd_cel_text *t, const struct vd_cel_value *v, unsigned depth)
{
    struct vd_cel_iter it = vd_cel_iterate(v);
    struct vd_cel_value key;
    struct vd_cel_value item;

    vd_cel_text_add_c(t, "[");
    while (vd_cel_next(&it, &key, &item)) {
        if (key.u.i > 0)
            vd_cel_text_add_c(t, ", ");
        if (!add_value(t, &item, depth))
            return false;
    }
    vd_cel_text_add_c(t, "]");
    return true;
}

struct pair {
    struct vd_span key;
    struct vd_cel_value value;
};

static int by_key(const void *a, const void *b)
{
    struct vd_cel_value x = vd_cel_string(((const struct pair *)a)->key);
    struct vd_cel_value y = vd_cel_string(((const struct pair *)b)->key);
    int c = 0;

    (void)vd_cel_compare(&x, &y, &c);
    return c;
}

/* {k: v}, ordered by the keys' texts. */
static bool add_map(struct vd_cel_text *t, const struct vd_cel_value *v, unsigned depth)
{
    size_t n = vd_cel_size(v);
    struct pair *pairs = vd_cel_alloc(t->run, t->ret, n, sizeof(*pairs));
    struct vd_cel_iter it = vd_cel_iterate(v);
    struct vd_cel_value key;
    struct vd_cel_value text;
    size_t i = 0;

    if (pairs == NULL)
        return false;
    while (i < n && vd_cel_next(&it, &key, &pairs[i].value)) {
        struct vd_cel_text kt;

        vd_cel_text_init(&kt, t->run, &text);
        if (!add_value(&kt, &key, depth) || !vd_cel_text_finish(&kt)) {
            *t->ret = text;
            return false;
        }
        pairs[i++].key = text.u.s;
    }
    if (n > 1)
        qsort(pairs, n, sizeof(*pairs), by_key);
    vd_cel_text_add_c(t, "{");
    for (i = 0; i < n; i++) {
        if (i > 0)
            vd_cel_text_add_c(t, ", ");
        vd_cel_text_add(t, pairs[i].key);
        vd_cel_text_add_c(t, ": ");
        if (!add_value(t, &pairs[i].value, depth))
            return false;
    }
    vd_cel_text_add_c(t, "}");
    return true;
}

static bool add_value(struct vd_cel_text *t, const struct vd_cel_value *v, unsigned depth)
{
    char text[VD_CEL_TIME_TEXT];

    if (depth > VD_CEL_MAX_EQUAL_DEPTH)
        return vd_cel_fail_limit(t->run, t->ret, "a value is nested too deeply");
    if (t->failed || !vd_cel_charge(t->run, t->ret, 1))
        return false;
    switch (v->kind) {
    case VD_CEL_NULL:
        vd_cel_text_add_c(t, "null");
        return true;
    case VD_CEL_BOOL:
        vd_cel_text_add_c(t, v->u.b ? "true" : "false");
        return true;
    case VD_CEL_INT:
        (void)snprintf(text, sizeof(text), "%" PRId64, v->u.i);
        break;
    case VD_CEL_UINT:
        (void)snprintf(text, sizeof(text), "%" PRIu64, v->u.u);
        break;
    case VD_CEL_DOUBLE:
        (void)vd_cel_double_text(v->u.d, text);
        break;
    case VD_CEL_BYTES:
        if (!vd_cel_utf8_valid(v->u.s))
            return vd_cel_fail(t->run, t->ret, "error during formatting: bytes are not UTF-8");
        vd_cel_text_add(t, v->u.s);
        return true;
    case VD_CEL_STRING:
    case VD_CEL_TYPE:
        vd_cel_text_add(t, v->u.s);
        return true;
    case VD_CEL_LIST:
        return add_list(t, v, depth + 1);
    case VD_CEL_MAP:
        return add_map(t, v, depth + 1);
    default:
        (void)vd_cel_time_text(v, text);
        break;
    }
    vd_cel_text_add_c(t, text);
    return true;
}

/* -- numbers ----------------------------------------------------------------------------------------------------- */

/* |v| in base 2, 8 or 16. */
static void add_base(struct vd_cel_text *t, uint64_t v, bool is_negative, unsigned shift,
                     bool upper)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[66];
    size_t at = sizeof(text);

    do {
        text[--at] = digits[v & ((1u << shift) - 1)];
        v >>= shift;
    } while (v != 0);
    if (is_negative)
        text[--at] = '-';
    vd_cel_text_add(t, (struct vd_span){text + at, sizeof(text) - at});
}

static void add_hex_bytes(struct vd_cel_text *t, struct vd_span s, bool upper)
{
    for (size_t i = 0; i < s.len && !t->failed; i++) {
        char pair[3];

        (void)snprintf(pair, sizeof(pair), upper ? "%02X" : "%02x", (unsigned char)s.ptr[i]);
        vd_cel_text_add_c(t, pair);
    }
}

static bool add_based(struct vd_cel_text *t, const struct clause *c, const struct vd_cel_value *v)
{
    unsigned shift = c->verb == 'b' ? 1 : c->verb == 'o' ? 3 : 4;
    bool upper = c->verb == 'X';

    if (v->kind == VD_CEL_INT) {
        add_base(t, v->u.i < 0 ? 0 - (uint64_t)v->u.i : (uint64_t)v->u.i, v->u.i < 0, shift, upper);
        return true;
    }
    if (v->kind == VD_CEL_UINT || (v->kind == VD_CEL_BOOL && shift == 1)) {
        add_base(t, v->kind == VD_CEL_UINT ? v->u.u : v->u.b, false, shift, upper);
        return true;
    }
    if ((v->kind == VD_CEL_STRING || v->kind == VD_CEL_BYTES) && shift == 4) {
        add_hex_bytes(t, v->u.s, upper);
        return true;
    }
    return fail_kind(t,
                     shift == 1   ? "only integers and bools can be formatted as binary"
                     : shift == 3 ? "octal clause can only be used on integers"
                                  : "only integers, byte buffers, and strings can be formatted "
                                    "as hex",
                     v);
}

static bool add_decimal(struct vd_cel_text *t, const struct vd_cel_value *v)
{
    if ((VD_CEL_M(v->kind) & VD_CEL_M_NUMBER) == 0)
        return fail_kind(t, "decimal clause can only be used on integers", v);
    return add_value(t, v, 0);
}

static bool add_float(struct vd_cel_text *t, const struct clause *c, const struct vd_cel_value *v)
{
    char text[MAX_PRECISION + 330]; /* the largest double has 309 digits before its point */
    int precision = c->precision < 0 ? 6 : c->precision;
    double d = v->kind == VD_CEL_INT    ? (double)v->u.i
               : v->kind == VD_CEL_UINT ? (double)v->u.u
                                        : v->u.d;

    if ((VD_CEL_M(v->kind) & VD_CEL_M_NUMBER) == 0)
        return fail_kind(t,
                         c->verb == 'f' ? "fixed-point clause can only be used on doubles"
                                        : "scientific clause can only be used on doubles",
                         v);
    if (isnan(d) || isinf(d))
        return add_value(t, v, 0);
    (void)snprintf(text, sizeof(text), c->verb == 'f' ? "%.*f" : "%.*e", precision, d);
    vd_cel_text_add_c(t, text);
    return vd_cel_charge(t->run, t->ret, (size_t)precision / 16);
}

/* -- the format string ------------------------------------------------------------------------------------------- */

/* The clause at s.ptr[*pos], after its '%'. */
static bool parse_clause(struct vd_cel_text *t, struct vd_span s, size_t *pos, struct clause *ret)
{
    *ret = (struct clause){.precision = -1};
    if (*pos < s.len && s.ptr[*pos] == '.') {
        ret->precision = 0;
        for ((*pos)++; *pos < s.len && s.ptr[*pos] >= '0' && s.ptr[*pos] <= '9'; (*pos)++) {
            ret->precision = ret->precision * 10 + (s.ptr[*pos] - '0');
            if (ret->precision > MAX_PRECISION)
                return vd_cel_fail(t->run, t->ret,
                                   "could not parse formatting clause: precision "
                                   "is above 1000");
        }
    }
    if (*pos == s.len)
        return vd_cel_fail(t->run, t->ret,
                           "could not parse formatting clause: unexpected end of "
                           "string");
    ret->verb = s.ptr[(*pos)++];
    if (ret->verb == '\0' || strchr("sdfeboxX", ret->verb) == NULL)
        return vd_cel_fail(t->run, t->ret,
                           "could not parse formatting clause: unrecognized formatting clause "
                           "\"%c\"",
                           ret->verb >= ' ' && ret->verb < 0x7F ? ret->verb : '?');
    return true;
}

static bool add_clause(struct vd_cel_text *t, const struct clause *c, const struct vd_cel_value *v)
{
    switch (c->verb) {
    case 's':
        return add_value(t, v, 0);
    case 'd':
        return add_decimal(t, v);
    case 'f':
    case 'e':
        return add_float(t, c, v);
    default:
        return add_based(t, c, v);
    }
}

bool vd_cel_format_call(struct vd_cel_run *run, const struct vd_cel_node *node,
                        const struct vd_cel_value *args, struct vd_cel_value *ret)
{
    struct vd_span s = args[0].u.s;
    struct vd_cel_text t;
    struct clause clause;
    size_t used = 0;

    (void)node;
    vd_cel_text_init(&t, run, ret);
    for (size_t pos = 0; pos < s.len;) {
        size_t len = vd_span_find(vd_span_sub(s, pos, s.len), '%');
        struct vd_cel_value item;

        vd_cel_text_add(&t, vd_span_sub(s, pos, len));
        pos += len + 1;
        if (pos > s.len)
            break;
        if (pos < s.len && s.ptr[pos] == '%') {
            vd_cel_text_add_c(&t, "%");
            pos++;
            continue;
        }
        if (!parse_clause(&t, s, &pos, &clause))
            return false;
        item = vd_cel_item(&args[1], used);
        if (item.kind == VD_CEL_ERROR)
            return vd_cel_fail(run, ret, "index %zu out of range", used);
        if (!vd_cel_charge(run, ret, 2 + used++ / 16) || !add_clause(&t, &clause, &item))
            return false;
    }
    return vd_cel_text_finish(&t);
}
