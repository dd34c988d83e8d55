/* cel/string.c - functions on strings: the standard's and those of the strings extension; see function.h.
 *
 * Source:   cel-spec langdef.md, List of Standard Definitions; the strings extension (its README in cel-go, ext/). Positions count
 *           code points.
 */
#include <string.h>

#include "cel/function.h"
#include "cel/regex.h"
#include "json/utf8.h"

#define M(kind) VD_CEL_M(VD_CEL_##kind)

static const char *find(struct vd_span s, struct vd_span part)
{
    return part.len == 0 ? s.ptr : s.len == 0 ? NULL : memmem(s.ptr, s.len, part.ptr, part.len);
}

static struct vd_span span_between(struct vd_span s, size_t from, size_t to)
{
    return (struct vd_span){s.ptr + from, to - from};
}

/* -- the standard's ---------------------------------------------------------------------------------------------- */

static bool call_contains(struct vd_cel_run *run, const struct vd_cel_node *node,
                          const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)run;
    (void)node;
    *ret = vd_cel_bool(a[1].u.s.len == 0 || find(a[0].u.s, a[1].u.s) != NULL);
    return true;
}

static bool call_starts_with(struct vd_cel_run *run, const struct vd_cel_node *node,
                             const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)run;
    (void)node;
    *ret = vd_cel_bool(vd_span_starts(a[0].u.s, a[1].u.s));
    return true;
}

static bool call_ends_with(struct vd_cel_run *run, const struct vd_cel_node *node,
                           const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    size_t n = a[1].u.s.len;

    (void)run;
    (void)node;
    *ret = vd_cel_bool(n <= s.len && vd_span_eq(vd_span_sub(s, s.len - n, n), a[1].u.s));
    return true;
}

static bool call_matches(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    return vd_cel_regex_match(run, node->u.call.prepared, a[1].u.s, a[0].u.s, ret);
}

/* -- positions --------------------------------------------------------------------------------------------------- */

static bool fail_index(struct vd_cel_run *run, struct vd_cel_value *ret, int64_t i)
{
    return vd_cel_fail(run, ret, "index out of range: %lld", (long long)i);
}

static bool call_char_at(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    int64_t i = a[1].u.i;
    size_t from;

    (void)node;
    if (i < 0 || (uint64_t)i > vd_utf8_count(s))
        return fail_index(run, ret, i);
    from = vd_cel_utf8_offset(s, (size_t)i);
    s = vd_span_sub(s, from, s.len);
    *ret = vd_cel_string(vd_span_sub(s, 0, vd_cel_utf8_offset(s, 1)));
    return true;
}

static bool call_index_of(struct vd_cel_run *run, const struct vd_cel_node *node,
                          const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    int64_t start = node->arg_count > 2 ? a[2].u.i : 0;
    size_t from;
    const char *at;

    if (start < 0 || (uint64_t)start > vd_utf8_count(s))
        return fail_index(run, ret, start);
    from = vd_cel_utf8_offset(s, (size_t)start);
    at = find(vd_span_sub(s, from, s.len), a[1].u.s);
    if (a[1].u.s.len == 0)
        *ret = vd_cel_int(start);
    else
        *ret = vd_cel_int(
            at == NULL ? -1 : (int64_t)vd_utf8_count(span_between(s, 0, (size_t)(at - s.ptr))));
    return true;
}

/* The last place at or before start; the empty string is found at start itself. */
static bool call_last_index_of(struct vd_cel_run *run, const struct vd_cel_node *node,
                               const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    struct vd_span part = a[1].u.s;
    size_t count = vd_utf8_count(s);
    int64_t start = node->arg_count > 2 ? a[2].u.i : (int64_t)count;
    size_t at;

    if (start < 0 || (uint64_t)start > count)
        return fail_index(run, ret, start);
    at = vd_cel_utf8_offset(s, (size_t)start);
    if (part.len > s.len) {
        *ret = vd_cel_int(-1);
        return true;
    }
    at = at > s.len - part.len ? s.len - part.len : at;
    if (!vd_cel_charge(run, ret, at / 16))
        return false;
    for (;; at--) {
        if (part.len == 0 || memcmp(s.ptr + at, part.ptr, part.len) == 0) {
            *ret = vd_cel_int((int64_t)vd_utf8_count(span_between(s, 0, at)));
            return true;
        }
        if (at == 0)
            break;
    }
    *ret = vd_cel_int(-1);
    return true;
}

static bool call_substring(struct vd_cel_run *run, const struct vd_cel_node *node,
                           const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    int64_t count = (int64_t)vd_utf8_count(s);
    int64_t start = a[1].u.i;
    int64_t end = node->arg_count > 2 ? a[2].u.i : count;

    if (start < 0 || start > count)
        return fail_index(run, ret, start);
    if (end < 0 || end > count)
        return fail_index(run, ret, end);
    if (start > end)
        return vd_cel_fail(run, ret, "invalid substring range. start: %lld, end: %lld",
                           (long long)start, (long long)end);
    *ret = vd_cel_string(
        span_between(s, vd_cel_utf8_offset(s, (size_t)start), vd_cel_utf8_offset(s, (size_t)end)));
    return true;
}

/* -- changing ---------------------------------------------------------------------------------------------------- */

static bool change_case(struct vd_cel_run *run, const struct vd_cel_value *a, char first, char last,
                        struct vd_cel_value *ret)
{
    struct vd_span s = a->u.s;
    char *out = vd_cel_alloc(run, ret, s.len, 1);

    if (out == NULL)
        return false;
    for (size_t i = 0; i < s.len; i++)
        out[i] = (char)(s.ptr[i] >= first && s.ptr[i] <= last ? s.ptr[i] ^ 0x20 : s.ptr[i]);
    *ret = vd_cel_string((struct vd_span){out, s.len});
    return true;
}

static bool call_lower(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    return change_case(run, a, 'A', 'Z', ret);
}

static bool call_upper(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    (void)node;
    return change_case(run, a, 'a', 'z', ret);
}

/* Unicode White_Space, as Go's TrimSpace. */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

static bool call_trim(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a->u.s;
    size_t from = SIZE_MAX;
    size_t to = 0;

    (void)run;
    (void)node;
    for (size_t pos = 0, n; pos < s.len; pos += n) {
        if (!is_space(vd_utf8_get(s.ptr + pos, &n))) {
            from = from == SIZE_MAX ? pos : from;
            to = pos + n;
        }
    }
    *ret = vd_cel_string(from == SIZE_MAX ? VD_LIT("") : span_between(s, from, to));
    return true;
}

static bool call_reverse(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a->u.s;
    char *out = vd_cel_alloc(run, ret, s.len, 1);

    (void)node;
    if (out == NULL)
        return false;
    for (size_t pos = 0, n; pos < s.len; pos += n) {
        (void)vd_utf8_get(s.ptr + pos, &n);
        memcpy(out + s.len - pos - n, s.ptr + pos, n);
    }
    *ret = vd_cel_string((struct vd_span){out, s.len});
    return true;
}

/* An empty old string stands before every code point and at the end, as in Go. */
static bool call_replace(struct vd_cel_run *run, const struct vd_cel_node *node,
                         const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    struct vd_span old = a[1].u.s;
    int64_t limit = node->arg_count > 3 ? a[3].u.i : -1;
    struct vd_cel_text t;

    vd_cel_text_init(&t, run, ret);
    while (limit != 0 && !t.failed) {
        const char *at = find(s, old);
        size_t skip = old.len;

        if (at == NULL || !vd_cel_charge(run, ret, 1))
            break;
        vd_cel_text_add(&t, span_between(s, 0, (size_t)(at - s.ptr)));
        vd_cel_text_add(&t, a[2].u.s);
        s = vd_span_sub(s, (size_t)(at - s.ptr), s.len);
        if (limit > 0)
            limit--;
        if (old.len == 0) {
            skip = vd_cel_utf8_offset(s, 1);
            vd_cel_text_add(&t, vd_span_sub(s, 0, skip));
            if (skip == 0)
                break;
        }
        s = vd_span_sub(s, skip, s.len);
    }
    if (run->fatal != VD_OK)
        return false;
    vd_cel_text_add(&t, s);
    return vd_cel_text_finish(&t);
}

/* -- lists ------------------------------------------------------------------------------------------------------- */

/* How many pieces split() makes, so that the list is allocated once. */
static size_t count_pieces(struct vd_span s, struct vd_span separator, int64_t limit)
{
    size_t n = 1;
    const char *at;

    if (separator.len == 0)
        n = vd_utf8_count(s);
    else
        while ((at = find(s, separator)) != NULL) {
            n++;
            s = vd_span_sub(s, (size_t)(at - s.ptr) + separator.len, s.len);
        }
    return limit >= 0 && (uint64_t)limit < n ? (size_t)limit : n;
}

static bool call_split(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_span s = a[0].u.s;
    struct vd_span separator = a[1].u.s;
    size_t n = count_pieces(s, separator, node->arg_count > 2 ? a[2].u.i : -1);
    struct vd_cel_list *list = vd_cel_alloc(run, ret, 1, sizeof(*list));

    if (list == NULL)
        return false;
    list->items = vd_cel_alloc(run, ret, n, sizeof(struct vd_cel_value));
    if (list->items == NULL)
        return false;
    for (; list->count < n; list->count++) {
        size_t len = s.len;

        if (list->count + 1 < n)
            len = separator.len == 0 ? vd_cel_utf8_offset(s, 1)
                                     : (size_t)(find(s, separator) - s.ptr);
        list->items[list->count] = vd_cel_string(vd_span_sub(s, 0, len));
        s = vd_span_sub(s, len + separator.len, s.len);
    }
    *ret = (struct vd_cel_value){.kind = VD_CEL_LIST, .u.list = list};
    return true;
}

static bool call_join(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    struct vd_cel_iter it = vd_cel_iterate(a);
    struct vd_cel_value key;
    struct vd_cel_value item;
    struct vd_cel_text t;

    vd_cel_text_init(&t, run, ret);
    while (!t.failed && vd_cel_next(&it, &key, &item)) {
        if (item.kind != VD_CEL_STRING)
            return vd_cel_fail(run, ret, "no such overload: join of a list with %s",
                               vd_cel_kind_name(item.kind));
        if (!vd_cel_charge(run, ret, 1))
            return false;
        if (key.u.i > 0 && node->arg_count > 1)
            vd_cel_text_add(&t, a[1].u.s);
        vd_cel_text_add(&t, item.u.s);
    }
    return vd_cel_text_finish(&t);
}

/* -- quoting ----------------------------------------------------------------------------------------------------- */

/* The string as a CEL literal in double quotes. */
static bool call_quote(struct vd_cel_run *run, const struct vd_cel_node *node,
                       const struct vd_cel_value *a, struct vd_cel_value *ret)
{
    static const char from[] = "\a\b\f\n\r\t\v\\\"";
    static const char to[] = "abfnrtv\\\"";
    struct vd_span s = a->u.s;
    struct vd_cel_text t;
    size_t plain = 0;

    (void)node;
    vd_cel_text_init(&t, run, ret);
    vd_cel_text_add_c(&t, "\"");
    for (size_t i = 0; i < s.len && !t.failed; i++) {
        const char *special = s.ptr[i] != '\0' ? strchr(from, s.ptr[i]) : NULL;
        char escape[2] = {'\\', special != NULL ? to[special - from] : '\0'};

        if (special == NULL)
            continue;
        vd_cel_text_add(&t, span_between(s, plain, i));
        vd_cel_text_add(&t, (struct vd_span){escape, 2});
        plain = i + 1;
    }
    vd_cel_text_add(&t, span_between(s, plain, s.len));
    vd_cel_text_add_c(&t, "\"");
    return vd_cel_text_finish(&t);
}

#define STR     M(STRING)
#define BOOLEAN M(BOOL)

const struct vd_cel_function vd_cel_functions_string[] = {
    {"contains", VD_CEL_METHOD, 2, 2, {STR, STR}, BOOLEAN, call_contains, 1, 0},
    {"startsWith", VD_CEL_METHOD, 2, 2, {STR, STR}, BOOLEAN, call_starts_with, 1, 0},
    {"endsWith", VD_CEL_METHOD, 2, 2, {STR, STR}, BOOLEAN, call_ends_with, 1, 0},
    {"matches", VD_CEL_EITHER, 2, 2, {STR, STR}, BOOLEAN, call_matches, 20, VD_CEL_F_REGEX},
    {"charAt", VD_CEL_METHOD, 2, 2, {STR, M(INT)}, STR, call_char_at, 1, 0},
    {"indexOf", VD_CEL_METHOD, 2, 3, {STR, STR, M(INT)}, M(INT), call_index_of, 1, 0},
    {"lastIndexOf", VD_CEL_METHOD, 2, 3, {STR, STR, M(INT)}, M(INT), call_last_index_of, 1, 0},
    {"substring", VD_CEL_METHOD, 2, 3, {STR, M(INT), M(INT)}, STR, call_substring, 1, 0},
    {"lowerAscii", VD_CEL_METHOD, 1, 1, {STR}, STR, call_lower, 1, 0},
    {"upperAscii", VD_CEL_METHOD, 1, 1, {STR}, STR, call_upper, 1, 0},
    {"trim", VD_CEL_METHOD, 1, 1, {STR}, STR, call_trim, 1, 0},
    {"reverse", VD_CEL_METHOD, 1, 1, {STR}, STR, call_reverse, 1, 0},
    {"replace", VD_CEL_METHOD, 3, 4, {STR, STR, STR, M(INT)}, STR, call_replace, 2, 0},
    {"split", VD_CEL_METHOD, 2, 3, {STR, STR, M(INT)}, M(LIST), call_split, 2, 0},
    {"join", VD_CEL_METHOD, 1, 2, {M(LIST), STR}, STR, call_join, 2, 0},
    {"format", VD_CEL_METHOD, 2, 2, {STR, M(LIST)}, STR, vd_cel_format_call, 5, 0},
    {"strings.quote", VD_CEL_GLOBAL, 1, 1, {STR}, STR, call_quote, 1, 0},
    {.name = NULL},
};
