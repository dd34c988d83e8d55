/* json/build.c - making and copying trees; see json.h. */
#include <math.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/block.h"
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

bool vd_json_put_borrowed(cJSON *object, const char *key, const cJSON *item)
{
    return vd_json_put(object, key, vd_json_borrow(item));
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

cJSON *vd_json_borrow(const cJSON *node)
{
    cJSON *reference = node == NULL ? NULL : cJSON_CreateNull();

    if (reference == NULL)
        return NULL;
    *reference = (cJSON){.child = node->child,
                         .type = (node->type | cJSON_IsReference) & ~cJSON_StringIsConst,
                         .valuestring = node->valuestring,
                         .valueint = node->valueint,
                         .valuedouble = node->valuedouble};
    return reference;
}

cJSON *vd_json_copy(const cJSON *node)
{
    struct vd_json_scope scope;
    cJSON *copy;

    if (node == NULL)
        return NULL;
    if (node->child == NULL) {
        copy = copy_one(node);
    } else {
        vd_json_scope_begin(&scope, 0);
        copy = copy_deep(node, 0);
        vd_json_scope_end(&scope);
    }

    if (copy != NULL && copy->string != NULL) { /* a root has no key */
        cJSON_free(copy->string);
        copy->string = NULL;
    }
    return copy;
}

/* -- order ------------------------------------------------------------------------------------------------------- */

static struct vd_span sort_name(const cJSON *child)
{
    return child->string != NULL ? vd_span_of(child->string) : vd_json_string(child);
}

static int by_name(const void *a, const void *b)
{
    struct vd_span x = sort_name(*(cJSON *const *)a), y = sort_name(*(cJSON *const *)b);
    size_t n = x.len < y.len ? x.len : y.len;
    int order = n == 0 ? 0 : memcmp(x.ptr, y.ptr, n);

    return order != 0 ? order : (x.len > y.len) - (x.len < y.len);
}

bool vd_json_sort(cJSON *container)
{
    size_t count = (size_t)cJSON_GetArraySize(container), i = 0;
    cJSON **children;
    cJSON *child;

    if (count < 2)
        return true;
    children = vd_alloc_array(count, sizeof(cJSON *));
    if (children == NULL)
        return false;
    cJSON_ArrayForEach(child, container) children[i++] = child;
    qsort(children, count, sizeof(cJSON *), by_name);
    /* cJSON's list: the first's prev is the last, the last's next is NULL. */
    for (i = 0; i < count; i++) {
        children[i]->next = i + 1 < count ? children[i + 1] : NULL;
        children[i]->prev = children[i > 0 ? i - 1 : count - 1];
    }
    container->child = children[0];
    (void)vd_free(children);
    return true;
}
