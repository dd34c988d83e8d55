/* cel/exprvalue.c - see exprvalue.h. */
#include "cel/exprvalue.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "cel/timestamp.h"
#include "json/number.h"

#define TYPE_URL "type.googleapis.com/"

/* -- reading ----------------------------------------------------------------------------------------------------- */

static enum vd_code bad(struct vd_err *err, const char *key)
{
    return vd_err_set(err, VD_E_INPUT, false, "%s is not what it must be", key);
}

/* int64 and uint64 are strings in protobuf's JSON; numbers are taken too. */
static struct vd_span digits_of(const cJSON *node, char text[32])
{
    int64_t i;
    struct vd_buf b;

    if (cJSON_IsString(node) || vd_json_kind(node) == VD_JSON_BIGNUM)
        return vd_json_string(node);
    if (!vd_json_int(node, &i))
        return VD_LIT("");
    vd_buf_init(&b, 31);
    if (vd_buf_add_i64(&b, i) == VD_OK)
        memcpy(text, b.ptr, b.len + 1);
    else
        text[0] = '\0';
    vd_buf_free(&b);
    return vd_span_of(text);
}

static bool read_double(const cJSON *node, double *ret)
{
    struct vd_span s = vd_json_string(node);

    if (!cJSON_IsString(node))
        return vd_json_double(node, ret);
    if (vd_span_eq_c(s, "NaN"))
        *ret = (double)NAN;
    else if (vd_span_eq_c(s, "Infinity") || vd_span_eq_c(s, "-Infinity"))
        *ret = (double)(s.len == 8 ? INFINITY : -INFINITY);
    else
        return vd_parse_double(s, ret);
    return true;
}

static enum vd_code read_bytes(const cJSON *node, struct vd_arena *arena, struct vd_span *ret)
{
    struct vd_span text = vd_json_string(node);
    enum vd_code rc;
    struct vd_buf b;

    vd_buf_init(&b, text.len + 1);
    rc = cJSON_IsString(node) ? vd_base64_decode(&b, text) : VD_E_INPUT;
    if (rc == VD_OK)
        rc = vd_arena_dup(arena, vd_buf_span(&b), ret);
    vd_buf_free(&b);
    return rc;
}

static enum vd_code read_list(const cJSON *node, struct vd_arena *arena, struct vd_cel_value *ret,
                              struct vd_err *err)
{
    const cJSON *values = vd_json_get(node, "values");
    const cJSON *item;
    struct vd_cel_list *list = vd_arena_alloc(arena, sizeof(*list));

    if (!cJSON_IsObject(node) || (values != NULL && !cJSON_IsArray(values)))
        return bad(err, "listValue");
    if (list != NULL)
        list->items =
            vd_arena_array(arena, (size_t)cJSON_GetArraySize(values), sizeof(struct vd_cel_value));
    if (list == NULL || list->items == NULL)
        return vd_err_nomem(err, "value");
    cJSON_ArrayForEach(item, values)
    {
        enum vd_code rc = vd_cel_exprvalue_read(item, arena, &list->items[list->count++], err);

        if (rc != VD_OK)
            return rc;
    }
    *ret = (struct vd_cel_value){.kind = VD_CEL_LIST, .u.list = list};
    return VD_OK;
}

static enum vd_code read_map(const cJSON *node, struct vd_arena *arena, struct vd_cel_value *ret,
                             struct vd_err *err)
{
    const cJSON *entries = vd_json_get(node, "entries");
    const cJSON *item;
    struct vd_cel_map *map = vd_arena_alloc(arena, sizeof(*map));

    if (!cJSON_IsObject(node) || (entries != NULL && !cJSON_IsArray(entries)))
        return bad(err, "mapValue");
    if (map != NULL)
        map->entries =
            vd_arena_array(arena, (size_t)cJSON_GetArraySize(entries), sizeof(struct vd_cel_entry));
    if (map == NULL || map->entries == NULL)
        return vd_err_nomem(err, "value");
    cJSON_ArrayForEach(item, entries)
    {
        struct vd_cel_entry *e = &map->entries[map->count++];
        enum vd_code rc = vd_cel_exprvalue_read(vd_json_get(item, "key"), arena, &e->key, err);

        if (rc == VD_OK)
            rc = vd_cel_exprvalue_read(vd_json_get(item, "value"), arena, &e->value, err);
        if (rc != VD_OK)
            return rc;
    }
    *ret = (struct vd_cel_value){.kind = VD_CEL_MAP, .u.map = map};
    return VD_OK;
}

static enum vd_code read_object(const cJSON *node, struct vd_cel_value *ret, struct vd_err *err)
{
    struct vd_span type = vd_json_get_string(node, "@type");
    struct vd_span value = vd_json_get_string(node, "value");

    if (vd_span_eq_c(type, TYPE_URL "google.protobuf.Timestamp") &&
        vd_cel_timestamp_parse(value, ret))
        return VD_OK;
    if (vd_span_eq_c(type, TYPE_URL "google.protobuf.Duration") &&
        vd_cel_duration_parse(value, ret))
        return VD_OK;
    return bad(err, "objectValue");
}

enum vd_code vd_cel_exprvalue_read(const cJSON *node, struct vd_arena *arena,
                                   struct vd_cel_value *ret, struct vd_err *err)
{
    const cJSON *v = node != NULL ? node->child : NULL;
    const char *key = v != NULL && v->string != NULL ? v->string : "";
    struct vd_cel_value out = {.kind = VD_CEL_NULL};
    enum vd_code rc = VD_OK;
    bool ok = true;
    char text[32];

    if (!cJSON_IsObject(node) || v == NULL || v->next != NULL)
        return vd_err_set(err, VD_E_INPUT, false, "a value must be an object with one member");
    if (strcmp(key, "listValue") == 0)
        return read_list(v, arena, ret, err);
    if (strcmp(key, "mapValue") == 0)
        return read_map(v, arena, ret, err);
    if (strcmp(key, "objectValue") == 0)
        return read_object(v, ret, err);
    if (strcmp(key, "int64Value") == 0) {
        out.kind = VD_CEL_INT;
        ok = vd_parse_i64(digits_of(v, text), &out.u.i);
    } else if (strcmp(key, "uint64Value") == 0) {
        out.kind = VD_CEL_UINT;
        ok = vd_parse_u64(digits_of(v, text), UINT64_MAX, &out.u.u);
    } else if (strcmp(key, "doubleValue") == 0) {
        out.kind = VD_CEL_DOUBLE;
        ok = read_double(v, &out.u.d);
    } else if (strcmp(key, "boolValue") == 0) {
        out.kind = VD_CEL_BOOL;
        ok = vd_json_bool(v, &out.u.b);
    } else if (strcmp(key, "stringValue") == 0 || strcmp(key, "typeValue") == 0) {
        out.kind = key[0] == 's' ? VD_CEL_STRING : VD_CEL_TYPE;
        ok = cJSON_IsString(v);
        out.u.s = vd_json_string(v);
    } else if (strcmp(key, "bytesValue") == 0) {
        out.kind = VD_CEL_BYTES;
        rc = read_bytes(v, arena, &out.u.s);
    } else if (strcmp(key, "nullValue") != 0) {
        return vd_err_set(err, VD_E_INPUT, false, "\"%.40s\" is no kind of value", key);
    }
    if (rc == VD_E_NOMEM)
        return vd_err_nomem(err, "value");
    if (!ok || rc != VD_OK)
        return bad(err, key);
    *ret = out;
    return VD_OK;
}

/* -- writing ----------------------------------------------------------------------------------------------------- */

static enum vd_code write_at(struct vd_buf *out, const struct vd_cel_value *v, unsigned depth,
                             struct vd_err *err);

static enum vd_code write_items(struct vd_buf *out, const struct vd_cel_value *v, unsigned depth,
                                struct vd_err *err)
{
    bool is_map = v->kind == VD_CEL_MAP;
    struct vd_cel_iter it = vd_cel_iterate(v);
    struct vd_cel_value key;
    struct vd_cel_value item;
    bool first = true;
    enum vd_code rc = VD_OK;

    (void)vd_buf_add_c(out,
                       is_map ? "{\"mapValue\":{\"entries\":[" : "{\"listValue\":{\"values\":[");
    while (rc == VD_OK && vd_cel_next(&it, &key, &item)) {
        if (!first)
            (void)vd_buf_add_char(out, ',');
        first = false;
        if (is_map) {
            (void)vd_buf_add_c(out, "{\"key\":");
            rc = write_at(out, &key, depth, err);
            (void)vd_buf_add_c(out, ",\"value\":");
        }
        if (rc == VD_OK)
            rc = write_at(out, &item, depth, err);
        if (is_map)
            (void)vd_buf_add_char(out, '}');
    }
    (void)vd_buf_add_c(out, "]}}");
    return rc;
}

static void write_double(struct vd_buf *out, double d)
{
    char text[VD_DOUBLE_TEXT_MAX];

    (void)vd_buf_add_c(out, "{\"doubleValue\":");
    if (isnan(d) || isinf(d))
        (void)vd_buf_add_c(out, isnan(d) ? "\"NaN\"" : d > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        (void)vd_buf_add(out, (struct vd_span){text, vd_double_text(d, text)});
    (void)vd_buf_add_char(out, '}');
}

static void write_string(struct vd_buf *out, const char *key, struct vd_span s)
{
    (void)vd_buf_addf(out, "{\"%s\":", key);
    (void)vd_buf_add_json_string(out, s);
    (void)vd_buf_add_char(out, '}');
}

static enum vd_code write_at(struct vd_buf *out, const struct vd_cel_value *v, unsigned depth,
                             struct vd_err *err)
{
    char text[VD_CEL_TIME_TEXT];

    if (depth > VD_CEL_MAX_EQUAL_DEPTH)
        return vd_err_set(err, VD_E_LIMIT, false, "a value is nested too deeply");
    switch (v->kind) {
    case VD_CEL_NULL:
        return vd_buf_add_c(out, "{\"nullValue\":null}");
    case VD_CEL_BOOL:
        return vd_buf_addf(out, "{\"boolValue\":%s}", v->u.b ? "true" : "false");
    case VD_CEL_INT:
        return vd_buf_addf(out, "{\"int64Value\":\"%" PRId64 "\"}", v->u.i);
    case VD_CEL_UINT:
        return vd_buf_addf(out, "{\"uint64Value\":\"%" PRIu64 "\"}", v->u.u);
    case VD_CEL_DOUBLE:
        write_double(out, v->u.d);
        return out->failed;
    case VD_CEL_STRING:
    case VD_CEL_TYPE:
        write_string(out, v->kind == VD_CEL_STRING ? "stringValue" : "typeValue", v->u.s);
        return out->failed;
    case VD_CEL_BYTES:
        (void)vd_buf_add_c(out, "{\"bytesValue\":\"");
        (void)vd_base64_encode(out, v->u.s);
        return vd_buf_add_c(out, "\"}");
    case VD_CEL_LIST:
    case VD_CEL_MAP:
        return write_items(out, v, depth + 1, err);
    default:
        (void)vd_cel_time_text(v, text);
        return vd_buf_addf(out, "{\"objectValue\":{\"@type\":\"" TYPE_URL "%s\",\"value\":\"%s\"}}",
                           vd_cel_type_name(v->kind), text);
    }
}

enum vd_code vd_cel_exprvalue_write(struct vd_buf *out, const struct vd_cel_value *v,
                                    struct vd_err *err)
{
    enum vd_code rc = write_at(out, v, 0, err);

    if (rc == VD_OK)
        rc = out->failed;
    return rc == VD_E_NOMEM ? vd_err_nomem(err, "value") : rc;
}
