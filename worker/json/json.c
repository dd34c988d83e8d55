/* json/json.c - reading scalars and members of a tree; see json.h. Trees are parsed in strict.c, freed in block.c, built and copied in build.c, written in
 * write.c. */
#include "json/json.h"

#include <string.h>

#include "json/number.h"

/* -- scalars ----------------------------------------------------------------------------------------------------- */

static struct vd_span bytes_of(const cJSON *node)
{
    if (node->valuestring == NULL)
        return (struct vd_span){NULL, 0};
    if ((node->type & 0xFF) == cJSON_String && node->valueint > 0)
        return (struct vd_span){node->valuestring, (size_t)node->valueint};
    return vd_span_of(node->valuestring);
}

enum vd_json_kind vd_json_kind(const cJSON *node)
{
    if (node == NULL)
        return VD_JSON_NULL;
    int64_t v;

    switch (node->type & 0xFF) {
    case cJSON_True:
    case cJSON_False:
        return VD_JSON_BOOL;
    case cJSON_Number:
        return (node->type & VD_JSON_INTEGER) != 0 ? VD_JSON_INT : VD_JSON_DOUBLE;
    case cJSON_Raw:
        return (node->type & VD_JSON_INTEGER) != 0 && vd_parse_i64(bytes_of(node), &v)
                   ? VD_JSON_INT
                   : VD_JSON_BIGNUM;
    case cJSON_String:
        return VD_JSON_STRING;
    case cJSON_Array:
        return VD_JSON_ARRAY;
    case cJSON_Object:
        return VD_JSON_OBJECT;
    default:
        return VD_JSON_NULL;
    }
}

const char *vd_json_kind_name(enum vd_json_kind kind)
{
    static const char *const names[] = {
        [VD_JSON_NULL] = "null",     [VD_JSON_BOOL] = "boolean",  [VD_JSON_INT] = "integer",
        [VD_JSON_DOUBLE] = "number", [VD_JSON_BIGNUM] = "number", [VD_JSON_STRING] = "string",
        [VD_JSON_ARRAY] = "array",   [VD_JSON_OBJECT] = "object",
    };

    return names[kind];
}

static int type_of(const cJSON *node)
{
    return node == NULL ? cJSON_Invalid : node->type & 0xFF;
}

struct vd_span vd_json_string(const cJSON *node)
{
    int type = type_of(node);

    return type == cJSON_String || type == cJSON_Raw ? bytes_of(node) : (struct vd_span){NULL, 0};
}

bool vd_json_int(const cJSON *node, int64_t *ret)
{
    if (node == NULL || (node->type & VD_JSON_INTEGER) == 0)
        return false;
    if ((node->type & 0xFF) == cJSON_Raw)
        return vd_parse_i64(bytes_of(node), ret);
    if ((node->type & 0xFF) != cJSON_Number)
        return false;
    *ret = (int64_t)node->valuedouble; /* exact: within 2^53 */
    return true;
}

bool vd_json_double(const cJSON *node, double *ret)
{
    int type = type_of(node);

    if (type == cJSON_Number)
        *ret = node->valuedouble;
    else if (type == cJSON_Raw)
        *ret = vd_double_of_text(bytes_of(node));
    else
        return false;
    return true;
}

bool vd_json_bool(const cJSON *node, bool *ret)
{
    int type = type_of(node);

    if (type != cJSON_True && type != cJSON_False)
        return false;
    *ret = type == cJSON_True;
    return true;
}

/* -- members ----------------------------------------------------------------------------------------------------- */

const cJSON *vd_json_get(const cJSON *object, const char *key)
{
    const cJSON *child =
        object != NULL && (object->type & 0xFF) == cJSON_Object ? object->child : NULL;

    /* Most keys differ in their first character, and a call costs more than looking at it. */
    while (child != NULL &&
           (child->string == NULL || child->string[0] != key[0] || strcmp(child->string, key) != 0))
        child = child->next;
    return child;
}

static bool key_is(const cJSON *child, struct vd_span key)
{
    if (child->string == NULL || key.len == 0)
        return child->string != NULL && child->string[0] == '\0';
    return child->string[0] == key.ptr[0] && strncmp(child->string, key.ptr, key.len) == 0 &&
           child->string[key.len] == '\0';
}

const cJSON *vd_json_get_span(const cJSON *object, struct vd_span key)
{
    const cJSON *child =
        object != NULL && (object->type & 0xFF) == cJSON_Object ? object->child : NULL;

    if (vd_span_find(key, '\0') < key.len)
        return NULL; /* no key of a tree holds U+0000, and strncmp would stop there */
    while (child != NULL && !key_is(child, key))
        child = child->next;
    return child;
}

struct vd_span vd_json_get_string(const cJSON *object, const char *key)
{
    const cJSON *node = vd_json_get(object, key);

    return node != NULL && (node->type & 0xFF) == cJSON_String ? bytes_of(node)
                                                               : (struct vd_span){NULL, 0};
}

/* Does the escaped token name this key? ~1 is a slash and ~0 a tilde; anything else after ~ names nothing. */
static bool token_names(struct vd_span token, const char *key)
{
    for (size_t i = 0; i < token.len; i++, key++) {
        char c = token.ptr[i];

        if (c == '~') {
            if (++i == token.len || (token.ptr[i] != '0' && token.ptr[i] != '1'))
                return false;
            c = token.ptr[i] == '0' ? '~' : '/';
        }
        if (c == '\0' || c != *key)
            return false;
    }
    return *key == '\0';
}

static const cJSON *step_into(const cJSON *node, struct vd_span token)
{
    const cJSON *child = node->child;
    uint64_t index;

    if ((node->type & 0xFF) == cJSON_Object) {
        while (child != NULL && (child->string == NULL || !token_names(token, child->string)))
            child = child->next;
        return child;
    }
    if ((node->type & 0xFF) != cJSON_Array || (token.len > 1 && token.ptr[0] == '0') ||
        !vd_parse_u64(token, UINT32_MAX, &index))
        return NULL;
    while (child != NULL && index-- > 0)
        child = child->next;
    return child;
}

const cJSON *vd_json_pointer(const cJSON *root, struct vd_span pointer)
{
    const cJSON *node = root;

    while (node != NULL && pointer.len > 0) {
        size_t end;

        if (pointer.ptr[0] != '/')
            return NULL;
        pointer = vd_span_sub(pointer, 1, pointer.len);
        end = vd_span_find(pointer, '/');
        node = step_into(node, vd_span_sub(pointer, 0, end));
        pointer = vd_span_sub(pointer, end, pointer.len);
    }
    return node;
}
