/* cel/value.c - see value.h. */
#include "cel/value.h"

#include <string.h>

#include "base/limits.h"

static const struct {
    const char *kind;
    const char *type;
} names[] = {
    [VD_CEL_NULL] = {"null", "null_type"},
    [VD_CEL_BOOL] = {"bool", "bool"},
    [VD_CEL_INT] = {"int", "int"},
    [VD_CEL_UINT] = {"uint", "uint"},
    [VD_CEL_DOUBLE] = {"double", "double"},
    [VD_CEL_STRING] = {"string", "string"},
    [VD_CEL_BYTES] = {"bytes", "bytes"},
    [VD_CEL_LIST] = {"list", "list"},
    [VD_CEL_MAP] = {"map", "map"},
    [VD_CEL_TYPE] = {"type", "type"},
    [VD_CEL_TIMESTAMP] = {"timestamp", "google.protobuf.Timestamp"},
    [VD_CEL_DURATION] = {"duration", "google.protobuf.Duration"},
    [VD_CEL_ERROR] = {"error", "error"},
};

const char *vd_cel_kind_name(enum vd_cel_kind kind)
{
    return names[kind].kind;
}

const char *vd_cel_type_name(enum vd_cel_kind kind)
{
    return names[kind].type;
}

/* -- making ------------------------------------------------------------------------------------------------------ */

struct vd_cel_value vd_cel_bool(bool b)
{
    return (struct vd_cel_value){.kind = VD_CEL_BOOL, .u.b = b};
}

struct vd_cel_value vd_cel_int(int64_t i)
{
    return (struct vd_cel_value){.kind = VD_CEL_INT, .u.i = i};
}

struct vd_cel_value vd_cel_uint(uint64_t u)
{
    return (struct vd_cel_value){.kind = VD_CEL_UINT, .u.u = u};
}

struct vd_cel_value vd_cel_double(double d)
{
    return (struct vd_cel_value){.kind = VD_CEL_DOUBLE, .u.d = d};
}

struct vd_cel_value vd_cel_string(struct vd_span s)
{
    return (struct vd_cel_value){.kind = VD_CEL_STRING, .u.s = s};
}

struct vd_cel_value vd_cel_type_of(const struct vd_cel_value *v)
{
    return (struct vd_cel_value){.kind = VD_CEL_TYPE, .u.s = vd_span_of(names[v->kind].type)};
}

/* -- JSON -------------------------------------------------------------------------------------------------------- */

static struct vd_cel_value from_bignum(const cJSON *node)
{
    struct vd_span digits = vd_json_string(node);
    uint64_t u;
    double d = 0;

    if (vd_parse_u64(digits, UINT64_MAX, &u))
        return vd_cel_uint(u);
    (void)vd_json_double(node, &d);
    return vd_cel_double(d);
}

struct vd_cel_value vd_cel_from_json(const cJSON *node)
{
    struct vd_cel_value v = {.kind = VD_CEL_NULL};

    switch (node == NULL ? VD_JSON_NULL : vd_json_kind(node)) {
    case VD_JSON_NULL:
        return v;
    case VD_JSON_BOOL:
        v.kind = VD_CEL_BOOL;
        (void)vd_json_bool(node, &v.u.b);
        return v;
    case VD_JSON_INT:
        v.kind = VD_CEL_INT;
        (void)vd_json_int(node, &v.u.i);
        return v;
    case VD_JSON_DOUBLE:
        v.kind = VD_CEL_DOUBLE;
        (void)vd_json_double(node, &v.u.d);
        return v;
    case VD_JSON_BIGNUM:
        return from_bignum(node);
    case VD_JSON_STRING:
        return vd_cel_string(vd_json_string(node));
    case VD_JSON_ARRAY:
    case VD_JSON_OBJECT:
        break;
    }
    v.kind = cJSON_IsArray(node) ? VD_CEL_LIST : VD_CEL_MAP;
    v.is_json = true;
    v.u.json = node;
    return v;
}

/* -- lists and maps ---------------------------------------------------------------------------------------------- */

size_t vd_cel_size(const struct vd_cel_value *v)
{
    size_t n = 0;

    if (v->kind != VD_CEL_LIST && v->kind != VD_CEL_MAP)
        return 0;
    if (!v->is_json)
        return v->kind == VD_CEL_LIST ? v->u.list->count : v->u.map->count;
    for (const cJSON *c = v->u.json->child; c != NULL; c = c->next)
        n++;
    return n;
}

struct vd_cel_value vd_cel_item(const struct vd_cel_value *list, size_t i)
{
    struct vd_cel_value none = {.kind = VD_CEL_ERROR, .u.s = VD_LIT("index out of bounds")};
    const cJSON *c;

    if (list->kind != VD_CEL_LIST)
        return none;
    if (!list->is_json)
        return i < list->u.list->count ? list->u.list->items[i] : none;
    for (c = list->u.json->child; c != NULL && i > 0; c = c->next)
        i--;
    return c != NULL ? vd_cel_from_json(c) : none;
}

struct vd_cel_iter vd_cel_iterate(const struct vd_cel_value *source)
{
    return (struct vd_cel_iter){.source = source,
                                .node = source->is_json ? source->u.json->child : NULL};
}

static bool next_json(struct vd_cel_iter *it, struct vd_cel_value *ret_key,
                      struct vd_cel_value *ret_value)
{
    const cJSON *node = it->node;

    if (node == NULL)
        return false;
    *ret_key = it->source->kind == VD_CEL_LIST ? vd_cel_int((int64_t)it->i)
                                               : vd_cel_string(vd_span_of(node->string));
    *ret_value = vd_cel_from_json(node);
    it->node = node->next;
    it->i++;
    return true;
}

bool vd_cel_next(struct vd_cel_iter *it, struct vd_cel_value *ret_key,
                 struct vd_cel_value *ret_value)
{
    const struct vd_cel_value *s = it->source;

    if (s->is_json)
        return next_json(it, ret_key, ret_value);
    if (s->kind == VD_CEL_LIST) {
        if (it->i == s->u.list->count)
            return false;
        *ret_key = vd_cel_int((int64_t)it->i);
        *ret_value = s->u.list->items[it->i++];
        return true;
    }
    if (it->i == s->u.map->count)
        return false;
    *ret_key = s->u.map->entries[it->i].key;
    *ret_value = s->u.map->entries[it->i++].value;
    return true;
}

bool vd_cel_map_get(const struct vd_cel_value *map, const struct vd_cel_value *key,
                    struct vd_cel_value *ret)
{
    if (map->is_json) {
        const cJSON *m =
            key->kind == VD_CEL_STRING ? vd_json_get_span(map->u.json, key->u.s) : NULL;

        if (m != NULL)
            *ret = vd_cel_from_json(m);
        return m != NULL;
    }
    for (size_t i = 0; i < map->u.map->count; i++) {
        if (vd_cel_equal(&map->u.map->entries[i].key, key)) {
            *ret = map->u.map->entries[i].value;
            return true;
        }
    }
    return false;
}

/* -- equality and order ------------------------------------------------------------------------------------------ */

static double as_double(const struct vd_cel_value *v)
{
    switch (v->kind) {
    case VD_CEL_INT:
        return (double)v->u.i;
    case VD_CEL_UINT:
        return (double)v->u.u;
    default:
        return v->u.d;
    }
}

static bool is_number(enum vd_cel_kind kind)
{
    return kind == VD_CEL_INT || kind == VD_CEL_UINT || kind == VD_CEL_DOUBLE;
}

/* The suite fixes that integers meet doubles as doubles: 2^63-1 and 2^63 as a double are equal. False for NaN. */
static bool compare_numbers(const struct vd_cel_value *a, const struct vd_cel_value *b, int *ret)
{
    if (a->kind == VD_CEL_DOUBLE || b->kind == VD_CEL_DOUBLE) {
        double x = as_double(a);
        double y = as_double(b);

        *ret = x < y ? -1 : x > y;
        return x == x && y == y;
    }
    if (a->kind == b->kind) {
        *ret = a->kind == VD_CEL_INT ? (a->u.i < b->u.i ? -1 : a->u.i > b->u.i)
                                     : (a->u.u < b->u.u ? -1 : a->u.u > b->u.u);
        return true;
    }
    if (a->kind == VD_CEL_INT)
        *ret = a->u.i < 0 || (uint64_t)a->u.i < b->u.u ? -1 : (uint64_t)a->u.i > b->u.u;
    else
        *ret = b->u.i < 0 || a->u.u > (uint64_t)b->u.i ? 1 : -(a->u.u < (uint64_t)b->u.i);
    return true;
}

static int compare_bytes(struct vd_span a, struct vd_span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;

    if (c != 0)
        return c < 0 ? -1 : 1;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool vd_cel_compare(const struct vd_cel_value *a, const struct vd_cel_value *b, int *ret)
{
    if (is_number(a->kind) && is_number(b->kind))
        return compare_numbers(a, b, ret);
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VD_CEL_STRING:
    case VD_CEL_BYTES:
        *ret = compare_bytes(a->u.s, b->u.s); /* UTF-8 sorts by code point */
        return true;
    case VD_CEL_BOOL:
        *ret = (int)a->u.b - (int)b->u.b;
        return true;
    case VD_CEL_TIMESTAMP:
    case VD_CEL_DURATION:
        *ret = a->u.t.s != b->u.t.s ? (a->u.t.s < b->u.t.s ? -1 : 1)
                                    : (a->u.t.ns < b->u.t.ns ? -1 : a->u.t.ns > b->u.t.ns);
        return true;
    default:
        return false;
    }
}

static bool equal_at(const struct vd_cel_value *a, const struct vd_cel_value *b, int64_t *steps,
                     unsigned depth);

static bool equal_lists(const struct vd_cel_value *a, const struct vd_cel_value *b, int64_t *steps,
                        unsigned depth)
{
    struct vd_cel_iter ia = vd_cel_iterate(a);
    struct vd_cel_iter ib = vd_cel_iterate(b);
    struct vd_cel_value key;
    struct vd_cel_value va;
    struct vd_cel_value vb;

    if (vd_cel_size(a) != vd_cel_size(b))
        return false;
    while (vd_cel_next(&ia, &key, &va) && vd_cel_next(&ib, &key, &vb))
        if (!equal_at(&va, &vb, steps, depth))
            return false;
    return true;
}

static bool equal_maps(const struct vd_cel_value *a, const struct vd_cel_value *b, int64_t *steps,
                       unsigned depth)
{
    size_t n = vd_cel_size(b);
    struct vd_cel_iter it = vd_cel_iterate(a);
    struct vd_cel_value key;
    struct vd_cel_value va;
    struct vd_cel_value vb;

    if (vd_cel_size(a) != n)
        return false;
    while (vd_cel_next(&it, &key, &va)) {
        *steps -= (int64_t)(n / 4);
        if (*steps < 0 || !vd_cel_map_get(b, &key, &vb) || !equal_at(&va, &vb, steps, depth))
            return false;
    }
    return true;
}

static bool equal_at(const struct vd_cel_value *a, const struct vd_cel_value *b, int64_t *steps,
                     unsigned depth)
{
    int c;

    if (--*steps < 0)
        return false;
    if (depth > VD_CEL_MAX_EQUAL_DEPTH) {
        *steps = -1;
        return false;
    }
    if (is_number(a->kind) && is_number(b->kind))
        return compare_numbers(a, b, &c) && c == 0;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VD_CEL_NULL:
        return true;
    case VD_CEL_STRING:
    case VD_CEL_BYTES:
        *steps -= (int64_t)(a->u.s.len / 64);
        return vd_span_eq(a->u.s, b->u.s);
    case VD_CEL_TYPE:
    case VD_CEL_ERROR:
        return vd_span_eq(a->u.s, b->u.s);
    case VD_CEL_LIST:
        return equal_lists(a, b, steps, depth + 1);
    case VD_CEL_MAP:
        return equal_maps(a, b, steps, depth + 1);
    default:
        return vd_cel_compare(a, b, &c) && c == 0;
    }
}

bool vd_cel_equal_within(const struct vd_cel_value *a, const struct vd_cel_value *b, int64_t *steps)
{
    return equal_at(a, b, steps, 0);
}

bool vd_cel_equal(const struct vd_cel_value *a, const struct vd_cel_value *b)
{
    int64_t steps = INT64_MAX;

    return equal_at(a, b, &steps, 0);
}
