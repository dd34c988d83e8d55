/* cel/to_json.c - values to JSON; see cel.h.
 *
 * Source:   cel-spec langdef.md, JSON Data Conversion, with one difference: integers stay numbers as long as int64 holds them, as
 *           our JSON keeps their digits. uint beyond that, infinities and NaN are strings there too.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/limits.h"
#include "cel/timestamp.h"

static cJSON *convert(const struct vd_cel_value *v, unsigned depth, struct vd_err *err);

static cJSON *new_text(const char *text)
{
    return vd_json_new_string(vd_span_of(text));
}

static cJSON *convert_bytes(struct vd_span bytes)
{
    struct vd_buf b;
    cJSON *node = NULL;

    vd_buf_init(&b, bytes.len / 3 * 4 + 8);
    if (vd_base64_encode(&b, bytes) == VD_OK)
        node = vd_json_new_string(vd_buf_span(&b));
    vd_buf_free(&b);
    return node;
}

static cJSON *convert_list(const struct vd_cel_value *v, unsigned depth, struct vd_err *err)
{
    cJSON *array = cJSON_CreateArray();
    struct vd_cel_iter it = vd_cel_iterate(v);
    struct vd_cel_value key;
    struct vd_cel_value item;

    while (array != NULL && vd_cel_next(&it, &key, &item))
        if (!vd_json_append(array, convert(&item, depth, err)))
            array = vd_json_free(array);
    return array;
}

/* Keys become strings: true, 1, "a". */
static const char *key_text(const struct vd_cel_value *key, char *text, size_t size)
{
    switch (key->kind) {
    case VD_CEL_BOOL:
        return key->u.b ? "true" : "false";
    case VD_CEL_INT:
        (void)snprintf(text, size, "%" PRId64, key->u.i);
        return text;
    case VD_CEL_UINT:
        (void)snprintf(text, size, "%" PRIu64, key->u.u);
        return text;
    default:
        return NULL;
    }
}

static cJSON *convert_map(const struct vd_cel_value *v, unsigned depth, struct vd_err *err)
{
    cJSON *object = cJSON_CreateObject();
    struct vd_cel_iter it = vd_cel_iterate(v);
    struct vd_cel_value key;
    struct vd_cel_value item;
    char text[24];

    while (object != NULL && vd_cel_next(&it, &key, &item)) {
        const char *name = key_text(&key, text, sizeof(text));
        char *copy = NULL;

        if (name == NULL) {
            copy = key.u.s.len == 0 ? vd_strndup(VD_LIT("")) : vd_strndup(key.u.s);
            name = copy;
        }
        if (key.kind == VD_CEL_STRING && vd_span_find(key.u.s, '\0') < key.u.s.len) {
            (void)vd_err_set(err, VD_E_INPUT, false,
                             "a map's key holds U+0000, which JSON keys here may not");
            object = vd_json_free(object);
        } else if (name != NULL && vd_json_get(object, name) != NULL) {
            (void)vd_err_set(err, VD_E_INPUT, false,
                             "two keys of a map are the same as JSON: %.60s", name);
            object = vd_json_free(object);
        } else if (name == NULL || !vd_json_put(object, name, convert(&item, depth, err))) {
            object = vd_json_free(object);
        }
        (void)vd_free(copy);
    }
    return object;
}

static cJSON *convert(const struct vd_cel_value *v, unsigned depth, struct vd_err *err)
{
    char text[VD_CEL_TIME_TEXT];

    if (depth > VD_JSON_MAX_DEPTH) {
        (void)vd_err_set(err, VD_E_LIMIT, false, "a value is nested too deeply for JSON");
        return NULL;
    }
    switch (v->kind) {
    case VD_CEL_NULL:
        return cJSON_CreateNull();
    case VD_CEL_BOOL:
        return cJSON_CreateBool(v->u.b);
    case VD_CEL_INT:
        return vd_json_new_int(v->u.i);
    case VD_CEL_UINT:
        if (v->u.u <= INT64_MAX)
            return vd_json_new_int((int64_t)v->u.u);
        (void)snprintf(text, sizeof(text), "%" PRIu64, v->u.u);
        return new_text(text);
    case VD_CEL_DOUBLE:
        if (v->u.d - v->u.d == 0) /* finite */
            return vd_json_new_double(v->u.d);
        (void)vd_cel_double_text(v->u.d, text);
        return new_text(text);
    case VD_CEL_STRING:
    case VD_CEL_TYPE:
        return vd_json_new_string(v->u.s);
    case VD_CEL_BYTES:
        return convert_bytes(v->u.s);
    case VD_CEL_LIST:
        return v->is_json ? vd_json_copy(v->u.json) : convert_list(v, depth + 1, err);
    case VD_CEL_MAP:
        return v->is_json ? vd_json_copy(v->u.json) : convert_map(v, depth + 1, err);
    case VD_CEL_TIMESTAMP:
    case VD_CEL_DURATION:
        (void)vd_cel_time_text(v, text);
        return new_text(text);
    case VD_CEL_ERROR:
        break;
    }
    (void)vd_err_set(err, VD_E_BUG, false, "an error is no value");
    return NULL;
}

enum vd_code vd_cel_to_json(const struct vd_cel_value *value, cJSON **ret_node, struct vd_err *err)
{
    struct vd_err cause = {.code = VD_OK};
    cJSON *node = convert(value, 0, &cause);

    if (node == NULL && cause.code == VD_OK)
        return vd_err_nomem(err, "JSON of a CEL value");
    if (node == NULL)
        return vd_err_set(err, cause.code, cause.retriable, "%s", cause.msg);
    *ret_node = node;
    return VD_OK;
}
