/* policy/context.c - see context.h. */
#include "policy/context.h"

#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "json/block.h"

/* Reads whose reply and cost are bounded by what one key holds; nothing that writes, scans, blocks or runs scripts.
 * words: 'k' key, field or member, which may have holes; 'n' a literal index; '*' repeats the one before. */
static const struct read {
    const char *name, *words;
    enum vd_redis_shape shape;
} reads[] = {
    {"EXISTS", "k", VD_SHAPE_NUMBER},   {"GET", "k", VD_SHAPE_STRING},
    {"HEXISTS", "kk", VD_SHAPE_NUMBER}, {"HGET", "kk", VD_SHAPE_STRING},
    {"HGETALL", "k", VD_SHAPE_HASH},    {"HLEN", "k", VD_SHAPE_NUMBER},
    {"HMGET", "kk*", VD_SHAPE_FIELDS},  {"LLEN", "k", VD_SHAPE_NUMBER},
    {"LRANGE", "knn", VD_SHAPE_LIST},   {"MGET", "k*", VD_SHAPE_LIST},
    {"SCARD", "k", VD_SHAPE_NUMBER},    {"SISMEMBER", "kk", VD_SHAPE_NUMBER},
    {"SMEMBERS", "k", VD_SHAPE_LIST},   {"STRLEN", "k", VD_SHAPE_NUMBER},
    {"TTL", "k", VD_SHAPE_NUMBER},      {"ZCARD", "k", VD_SHAPE_NUMBER},
    {"ZRANGE", "knn", VD_SHAPE_LIST},   {"ZREVRANGE", "knn", VD_SHAPE_LIST},
    {"ZSCORE", "kk", VD_SHAPE_STRING},
};

#define MAX_WORDS 31 /* of MGET and HMGET: what one template may have, less the command */

/* Both ends counted from the same side, so that the difference bounds the reply. */
static bool is_bounded(struct vd_span from_word, struct vd_span to_word)
{
    int64_t from, to;

    return vd_parse_i64(from_word, &from) && vd_parse_i64(to_word, &to) && (from < 0) == (to < 0) &&
           from >= INT32_MIN && to >= INT32_MIN && from <= INT32_MAX && to <= INT32_MAX &&
           to - from < VD_CONTEXT_MAX_ITEMS;
}

enum vd_code vd_redis_read_allowed(const struct vd_span *words, size_t count,
                                   enum vd_redis_shape *ret_shape, struct vd_err *err)
{
    const struct read *read = NULL;
    size_t wants, given = count - 1;
    bool repeats, scores;

    for (size_t i = 0; i < sizeof(reads) / sizeof(*reads); i++)
        if (vd_span_eq_nocase(words[0], vd_span_of(reads[i].name)))
            read = &reads[i];
    if (read == NULL)
        return vd_err_set(
            err, VD_E_CONFIG, false,
            "GET key, HGETALL key, HMGET key field..., LRANGE key 0 49, ZRANGE key 0 49, ...");
    wants = strlen(read->words);
    repeats = read->words[wants - 1] == '*';
    wants -= repeats ? 1 : 0;
    scores = read->name[0] == 'Z' && read->shape == VD_SHAPE_LIST && count == 5 &&
             vd_span_eq_nocase(words[4], VD_LIT("WITHSCORES"));
    if (repeats ? given < wants || given > MAX_WORDS : given != wants && !scores)
        return vd_err_set(err, VD_E_CONFIG, false, "%s with %s%zu words after it", read->name,
                          repeats ? "at least " : "", wants);
    if (read->words[wants - 1] == 'n' && !is_bounded(words[2], words[3]))
        return vd_err_set(err, VD_E_CONFIG, false,
                          "%s with literal bounds, at most %d items: 0 49 for the first fifty, -50 "
                          "-1 for the last",
                          read->name, VD_CONTEXT_MAX_ITEMS);
    *ret_shape = read->shape;
    return VD_OK;
}

/* Does schema allow a value of this type? A schema without "type" allows all. */
static bool wants(const cJSON *schema, const char *type)
{
    const cJSON *types = vd_json_get(schema, "type");
    const cJSON *item;

    if (vd_json_kind(types) == VD_JSON_STRING)
        return vd_span_eq_c(vd_json_string(types), type);
    if (types == NULL || vd_json_kind(types) != VD_JSON_ARRAY)
        return false;
    cJSON_ArrayForEach(item, types) if (vd_json_kind(item) == VD_JSON_STRING &&
                                        vd_span_eq_c(vd_json_string(item), type)) return true;
    return false;
}

static cJSON *convert(const cJSON *raw, const cJSON *schema);

/* A Redis string as the schema's type; a string when it is none of them, so that validation names it. */
static cJSON *convert_string(struct vd_span text, const cJSON *schema)
{
    int64_t i;
    double d;
    bool structured = wants(schema, "object") || wants(schema, "array");

    if (wants(schema, "integer") && vd_parse_i64(text, &i))
        return vd_json_new_int(i);
    if (wants(schema, "number") && vd_parse_i64(text, &i))
        return vd_json_new_int(i);
    if (wants(schema, "number") && vd_parse_double(text, &d))
        return vd_json_new_double(d);
    if (wants(schema, "boolean") && (vd_span_eq_c(text, "true") || vd_span_eq_c(text, "1")))
        return cJSON_CreateTrue();
    if (wants(schema, "boolean") && (vd_span_eq_c(text, "false") || vd_span_eq_c(text, "0")))
        return cJSON_CreateFalse();
    if (wants(schema, "null") && !wants(schema, "string") &&
        (text.len == 0 || vd_span_eq_c(text, "null")))
        return cJSON_CreateNull();
    if (structured && text.len > 0 && (text.ptr[0] == '{' || text.ptr[0] == '[')) {
        cJSON *tree;

        if (vd_json_parse(text, &tree, NULL) == VD_OK) {
            cJSON *typed = convert(tree, schema);

            vd_json_free(tree);
            return typed;
        }
    }
    return vd_json_new_string(text);
}

static cJSON *convert_object(const cJSON *raw, const cJSON *schema)
{
    const cJSON *properties = vd_json_get(schema, "properties");
    const cJSON *other = vd_json_get(schema, "additionalProperties");
    cJSON *object = cJSON_CreateObject();
    const cJSON *member;

    cJSON_ArrayForEach(member, raw)
    {
        const cJSON *sub = vd_json_get(properties, member->string);

        if (object == NULL ||
            !vd_json_put(object, member->string, convert(member, sub != NULL ? sub : other)))
            return vd_json_free(object);
    }
    return object;
}

static cJSON *convert_array(const cJSON *raw, const cJSON *schema)
{
    const cJSON *items = vd_json_get(schema, "items");
    cJSON *array = cJSON_CreateArray();
    const cJSON *item;

    cJSON_ArrayForEach(item, raw)
    {
        if (array == NULL || !vd_json_append(array, convert(item, items)))
            return vd_json_free(array);
    }
    return array;
}

static cJSON *convert(const cJSON *raw, const cJSON *schema)
{
    switch (vd_json_kind(raw)) {
    case VD_JSON_STRING:
        return convert_string(vd_json_string(raw), schema);
    case VD_JSON_OBJECT:
        return convert_object(raw, schema);
    case VD_JSON_ARRAY:
        return convert_array(raw, schema);
    default:
        return vd_json_copy(raw);
    }
}

/* Nil, and what Redis answers for a key that does not exist. */
static bool is_absent(const struct vd_policy_context *context, const cJSON *raw)
{
    const cJSON *item;

    if (raw == NULL || vd_json_kind(raw) == VD_JSON_NULL)
        return true;
    if (context->shape == VD_SHAPE_HASH && vd_json_kind(raw) == VD_JSON_OBJECT)
        return raw->child == NULL;
    if (context->shape == VD_SHAPE_FIELDS && vd_json_kind(raw) == VD_JSON_OBJECT) {
        cJSON_ArrayForEach(item, raw) if (vd_json_kind(item) != VD_JSON_NULL) return false;
        return true;
    }
    return false;
}

static enum vd_code check_size(const struct vd_policy_context *context, const cJSON *raw,
                               struct vd_err *err)
{
    struct vd_buf text;
    enum vd_code rc;

    vd_buf_init(&text, context->max_bytes);
    rc = vd_json_write(&text, raw);
    vd_buf_free(&text);
    if (rc == VD_E_LIMIT)
        return vd_err_set(err, VD_E_INPUT, false, "context.%s: larger than max_bytes (%zu)",
                          context->name, context->max_bytes);
    return rc == VD_OK ? VD_OK : vd_err_nomem(err, context->name);
}

static enum vd_code check_schema(const struct vd_policy_context *context, const cJSON *tree,
                                 struct vd_arena *arena, struct vd_err *err)
{
    struct vd_arena_mark mark = vd_arena_mark(arena);
    struct vd_schema_result result;
    enum vd_code rc;

    if (context->schema == NULL)
        return VD_OK;
    rc = vd_schema_validate(context->schema, tree, 1, arena, &result, err);
    if (rc == VD_OK && !result.valid)
        rc = result.error_count > 0
                 ? vd_err_set(err, VD_E_INPUT, false, "context.%s%s %s", context->name,
                              result.errors[0].instance_path, result.errors[0].reason)
                 : vd_err_set(err, VD_E_INPUT, false, "context.%s does not match its schema",
                              context->name);
    vd_arena_rewind(arena, mark);
    return rc;
}

enum vd_code vd_context_accept(const struct vd_policy_context *context, const cJSON *raw,
                               struct vd_arena *arena, cJSON **ret_tree, struct vd_err *err)
{
    struct vd_json_scope scope;
    cJSON *tree;
    enum vd_code rc;

    if (is_absent(context, raw)) {
        if (context->required)
            return vd_err_set(err, VD_E_INPUT, false, "context.%s is required and absent",
                              context->name);
        *ret_tree = NULL;
        if (context->fallback == NULL)
            return VD_OK;
        *ret_tree = vd_json_copy(context->fallback);
        return *ret_tree != NULL ? VD_OK : vd_err_nomem(err, context->name);
    }
    rc = check_size(context, raw, err);
    if (rc != VD_OK)
        return rc;
    vd_json_scope_begin(&scope, 0);
    tree = convert(raw, context->schema_tree);
    vd_json_scope_end(&scope);
    if (tree == NULL)
        return vd_err_nomem(err, context->name);
    rc = check_schema(context, tree, arena, err);
    if (rc != VD_OK) {
        vd_json_free(tree);
        return rc;
    }
    *ret_tree = tree;
    return VD_OK;
}
