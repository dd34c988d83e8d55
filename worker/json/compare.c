/* json/compare.c - equality as JSON Schema means it, and a hash that agrees with it; see json.h. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/json.h"

#define SMALL_OBJECT 32 /* larger ones are compared sorted: nobody may make this quadratic */

static bool equal(const cJSON *a, const cJSON *b, size_t depth);

static bool is_number(int type)
{
    return type == cJSON_Number || type == cJSON_Raw;
}

static size_t count_children(const cJSON *node)
{
    const cJSON *child;
    size_t n = 0;

    cJSON_ArrayForEach(child, node) n++;
    return n;
}

static int compare_keys(const void *va, const void *vb)
{
    const cJSON *const *a = va;
    const cJSON *const *b = vb;

    return strcmp((*a)->string, (*b)->string);
}

/* The members sorted by key; NULL when memory is out. Free with vd_free(). */
static const cJSON **sorted_members(const cJSON *object, size_t count)
{
    const cJSON **members = vd_alloc_array(count, sizeof(const cJSON *));
    const cJSON *child;
    size_t i = 0;

    if (members == NULL)
        return NULL;
    cJSON_ArrayForEach(child, object) members[i++] = child;
    qsort(members, count, sizeof(const cJSON *), compare_keys);
    return members;
}

static bool equal_members(const cJSON *a, const cJSON *b, size_t depth)
{
    const cJSON *child;

    cJSON_ArrayForEach(child, a)
    {
        const cJSON *other = vd_json_get(b, child->string);

        if (other == NULL || !equal(child, other, depth + 1))
            return false;
    }
    return true;
}

static bool equal_objects(const cJSON *a, const cJSON *b, size_t depth)
{
    size_t count = count_children(a);
    const cJSON **sa;
    const cJSON **sb;
    bool same = true;

    if (count != count_children(b))
        return false;
    if (count <= SMALL_OBJECT)
        return equal_members(a, b, depth);
    sa = sorted_members(a, count);
    sb = sorted_members(b, count);
    if (sa == NULL || sb == NULL) {
        same = equal_members(a, b, depth); /* slow, but right */
    } else {
        for (size_t i = 0; same && i < count; i++)
            same = strcmp(sa[i]->string, sb[i]->string) == 0 && equal(sa[i], sb[i], depth + 1);
    }
    (void)vd_free(sa);
    (void)vd_free(sb);
    return same;
}

static bool equal_arrays(const cJSON *a, const cJSON *b, size_t depth)
{
    const cJSON *x = a->child;
    const cJSON *y = b->child;

    for (; x != NULL && y != NULL; x = x->next, y = y->next)
        if (!equal(x, y, depth + 1))
            return false;
    return x == y;
}

static bool equal(const cJSON *a, const cJSON *b, size_t depth)
{
    int type = a->type & 0xFF;
    int other = b->type & 0xFF;

    if (is_number(type) && is_number(other))
        return vd_json_compare_numbers(a, b) == 0;
    if (type != other || depth > VD_JSON_MAX_TREE_DEPTH)
        return false;
    switch (type) {
    case cJSON_String:
        return vd_span_eq(vd_json_string(a), vd_json_string(b));
    case cJSON_Array:
        return equal_arrays(a, b, depth);
    case cJSON_Object:
        return equal_objects(a, b, depth);
    default:
        return true; /* null, true, false: the type is the value */
    }
}

bool vd_json_equal(const cJSON *a, const cJSON *b)
{
    return equal(a, b, 0);
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    return h * 0xD6E8FEB86659FD93u;
}

static uint64_t hash_bytes(struct vd_span s)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 0x100000001B3u;
    return mix(h + s.len);
}

static uint64_t hash(const cJSON *node, size_t depth)
{
    int type = node->type & 0xFF;
    uint64_t h = mix((uint64_t)type);
    const cJSON *child;
    double d;

    if (is_number(type)) {
        if (!vd_json_double(node, &d) || d == 0)
            d = 0; /* -0 is 0 */
        memcpy(&h, &d, sizeof(h));
        return mix(h);
    }
    if (type == cJSON_String)
        return hash_bytes(vd_json_string(node)) + h;
    if (depth > VD_JSON_MAX_TREE_DEPTH)
        return h;
    cJSON_ArrayForEach(child, node)
    {
        if (type == cJSON_Array)
            h = mix(h + hash(child, depth + 1));
        else /* a sum: order does not count */
            h += mix(hash_bytes(vd_span_of(child->string)) ^ hash(child, depth + 1));
    }
    return h;
}

uint64_t vd_json_hash(const cJSON *node)
{
    return hash(node, 0);
}
