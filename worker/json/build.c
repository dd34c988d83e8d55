/* json/build.c - making and copying trees; see json.h. */
#include <math.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/json.h"

#define EXACT_MAX (1LL << 53)

static char *keep(struct vd_span s)
{
    char *copy = cJSON_malloc(s.len + 1);

    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

cJSON *vd_json_new_int(int64_t v)
{
    char digits[24];
    cJSON *node;

    if (v >= -EXACT_MAX && v <= EXACT_MAX) {
        node = cJSON_CreateNumber((double)v);
    } else {
        (void)snprintf(digits, sizeof(digits), "%lld", (long long)v);
        node = cJSON_CreateRaw(digits);
    }
    if (node != NULL)
        node->type |= VD_JSON_INTEGER;
    return node;
}

cJSON *vd_json_new_double(double v)
{
    return isfinite(v) ? cJSON_CreateNumber(v) : cJSON_CreateNull();
}

cJSON *vd_json_new_string(struct vd_span s)
{
    cJSON *node = s.len <= INT_MAX ? cJSON_CreateNull() : NULL;

    if (node == NULL)
        return NULL;
    node->valuestring = keep(s);
    if (node->valuestring == NULL)
        return vd_json_free(node);
    node->type = cJSON_String;
    if (vd_span_find(s, '\0') < s.len)
        node->valueint = (int)s.len;
    return node;
}

bool vd_json_put(cJSON *object, const char *key, cJSON *take_item)
{
    if (take_item != NULL && object != NULL && cJSON_AddItemToObject(object, key, take_item))
        return true;
    (void)vd_json_free(take_item);
    return false;
}

bool vd_json_append(cJSON *array, cJSON *take_item)
{
    if (take_item != NULL && array != NULL && cJSON_AddItemToArray(array, take_item))
        return true;
    (void)vd_json_free(take_item);
    return false;
}

/* The node without its children. */
static cJSON *copy_one(const cJSON *node)
{
    cJSON *copy = cJSON_CreateNull();

    if (copy == NULL)
        return NULL;
    if (node->valuestring != NULL) {
        copy->valuestring = keep(vd_json_string(node));
        if (copy->valuestring == NULL)
            return vd_json_free(copy);
    }
    if (node->string != NULL) {
        copy->string = keep(vd_span_of(node->string));
        if (copy->string == NULL)
            return vd_json_free(copy);
    }
    copy->type = node->type & ~(cJSON_IsReference | cJSON_StringIsConst);
    copy->valueint = node->valueint;
    copy->valuedouble = node->valuedouble;
    return copy;
}

static cJSON *copy_deep(const cJSON *node, size_t depth)
{
    cJSON *copy = depth > VD_JSON_MAX_TREE_DEPTH ? NULL : copy_one(node);
    const cJSON *child;

    if (copy == NULL)
        return NULL;
    cJSON_ArrayForEach(child, node)
    {
        cJSON *c = copy_deep(child, depth + 1);

        /* The copy carries its key already; adding it as an item keeps that. */
        if (!vd_json_append(copy, c))
            return vd_json_free(copy);
    }
    return copy;
}

cJSON *vd_json_copy(const cJSON *node)
{
    cJSON *copy = node == NULL ? NULL : copy_deep(node, 0);

    if (copy != NULL && copy->string != NULL) { /* a root has no key */
        cJSON_free(copy->string);
        copy->string = NULL;
    }
    return copy;
}
