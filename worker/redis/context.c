/* redis/context.c - see context.h. */
#include "redis/context.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/block.h"
#include "json/utf8.h"

#define TREE_BYTES 8 /* for one byte of names and values: they are short */

enum shape {
    SHAPE_TEXT,   /* GET: JSON object or array, else a string */
    SHAPE_STRING, /* one bulk string */
    SHAPE_FIELDS, /* HMGET: an object of the fields asked for */
    SHAPE_PAIRS,  /* HGETALL */
    SHAPE_LIST,   /* array of strings, null where nil */
    SHAPE_NUMBER, /* a double in a string */
    SHAPE_INTEGER,
    SHAPE_BOOLEAN, /* 0 and 1 */
    SHAPE_TTL,
};

/* What policy/context.h allows, and what each becomes. */
static const struct read {
    const char *name;
    enum shape shape;
} reads[] = {
    {"EXISTS", SHAPE_BOOLEAN}, {"GET", SHAPE_TEXT},       {"HEXISTS", SHAPE_BOOLEAN},
    {"HGET", SHAPE_STRING},    {"HGETALL", SHAPE_PAIRS},  {"HLEN", SHAPE_INTEGER},
    {"HMGET", SHAPE_FIELDS},   {"LLEN", SHAPE_INTEGER},   {"LRANGE", SHAPE_LIST},
    {"MGET", SHAPE_LIST},      {"SCARD", SHAPE_INTEGER},  {"SISMEMBER", SHAPE_BOOLEAN},
    {"SMEMBERS", SHAPE_LIST},  {"STRLEN", SHAPE_INTEGER}, {"TTL", SHAPE_TTL},
    {"ZCARD", SHAPE_INTEGER},  {"ZRANGE", SHAPE_LIST},    {"ZREVRANGE", SHAPE_LIST},
    {"ZSCORE", SHAPE_NUMBER},
};

static const struct read *find(struct vd_span name)
{
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        if (vd_span_eq_nocase(name, vd_span_of(reads[i].name)))
            return &reads[i];
    return NULL;
}

static bool is_scores(const struct read *r, const struct vd_span *argv, size_t argc)
{
    return r->name[0] == 'Z' && r->shape == SHAPE_LIST && argc == 5 &&
           vd_span_eq_nocase(argv[4], VD_LIT("WITHSCORES"));
}

/* -- replies to JSON ----------------------------------------------------------------------------------------------------- */

static enum vd_code wrong(const struct read *r, const char *what, struct vd_err *err)
{
    return vd_err_set(err, VD_E_INPUT, false, "%s: %s", r->name, what);
}

/* Strings become JSON, so they must be UTF-8. */
static cJSON *text_node(struct vd_span s)
{
    return vd_utf8_valid(s) ? vd_json_new_string(s) : NULL;
}

/* Scores come as text: "17" is an integer, "1.5" a double, "inf" nothing that JSON has. */
static cJSON *score_node(const struct vd_redis_reply *reply)
{
    cJSON *node = NULL;

    if (reply->kind != VD_REDIS_STRING || vd_json_parse(reply->s, &node, NULL) != VD_OK)
        return NULL;
    return vd_json_kind(node) == VD_JSON_INT || vd_json_kind(node) == VD_JSON_DOUBLE
               ? node
               : vd_json_free(node);
}

static bool is_text(const struct vd_redis_reply *reply)
{
    return reply != NULL && (reply->kind == VD_REDIS_STRING || reply->kind == VD_REDIS_STATUS);
}

static enum vd_code put_text(const struct read *r, cJSON *into, struct vd_span key,
                             const struct vd_redis_reply *reply, struct vd_err *err)
{
    char *name;
    cJSON *node = text_node(reply->s);
    bool ok;

    if (node == NULL)
        return wrong(r, "a value is not UTF-8 text", err);
    if (cJSON_IsArray(into))
        return vd_json_append(into, node) ? VD_OK : vd_err_nomem(err, "context");
    if (memchr(key.ptr == NULL ? "" : key.ptr, '\0', key.len) != NULL) {
        (void)vd_json_free(node);
        return wrong(r, "a field name holds a NUL", err);
    }
    if (vd_json_get_span(into, key) != NULL) {
        (void)vd_json_free(node);
        return VD_OK; /* HMGET asked for one field twice */
    }
    name = cJSON_malloc(key.len + 1);
    if (name == NULL) {
        (void)vd_json_free(node);
        return vd_err_nomem(err, "context");
    }
    if (key.len > 0)
        memcpy(name, key.ptr, key.len);
    name[key.len] = '\0';
    ok = vd_json_put(into, name, node);
    cJSON_free(name);
    return ok ? VD_OK : vd_err_nomem(err, "context");
}

static enum vd_code fill_pairs(const struct read *r, const struct vd_redis_reply *reply,
                               cJSON *object, struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    for (size_t i = 0; rc == VD_OK && i + 1 < reply->count; i += 2) {
        if (!is_text(reply->items[i]) || !vd_utf8_valid(reply->items[i]->s) ||
            !is_text(reply->items[i + 1]))
            rc = wrong(r, "a field name or value is not UTF-8 text", err);
        else
            rc = put_text(r, object, reply->items[i]->s, reply->items[i + 1], err);
    }
    return rc;
}

static enum vd_code fill_scores(const struct read *r, const struct vd_redis_reply *reply,
                                cJSON *array, struct vd_err *err)
{
    for (size_t i = 0; i + 1 < reply->count; i += 2) {
        cJSON *item = cJSON_CreateObject();

        if (!vd_json_append(array, item))
            return vd_err_nomem(err, "context");
        if (!is_text(reply->items[i]) ||
            !vd_json_put(item, "member", text_node(reply->items[i]->s)))
            return wrong(r, "a member is not UTF-8 text", err);
        if (!vd_json_put(item, "score", score_node(reply->items[i + 1])))
            return wrong(r, "a score is not a finite number", err);
    }
    return VD_OK;
}

static enum vd_code fill_list(const struct read *r, const struct vd_redis_reply *reply,
                              cJSON *array, struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    for (size_t i = 0; rc == VD_OK && i < reply->count; i++) {
        if (reply->items[i]->kind == VD_REDIS_NIL)
            rc = vd_json_append(array, cJSON_CreateNull()) ? VD_OK : vd_err_nomem(err, "context");
        else if (is_text(reply->items[i]))
            rc = put_text(r, array, (struct vd_span){0}, reply->items[i], err);
        else
            rc = wrong(r, "an element is not text", err);
    }
    return rc;
}

static enum vd_code fill_fields(const struct read *r, const struct vd_span *argv, size_t argc,
                                const struct vd_redis_reply *reply, cJSON *object,
                                struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    if (reply->count != argc - 2)
        return wrong(r, "another number of fields than asked for", err);
    for (size_t i = 0; rc == VD_OK && i < reply->count; i++)
        if (is_text(reply->items[i]))
            rc = put_text(r, object, argv[i + 2], reply->items[i], err);
    return rc;
}

static enum vd_code collection(const struct read *r, const struct vd_span *argv, size_t argc,
                               const struct vd_redis_reply *reply, cJSON **ret_value,
                               struct vd_err *err)
{
    bool object = r->shape == SHAPE_PAIRS || r->shape == SHAPE_FIELDS;
    cJSON *value;
    enum vd_code rc;

    if (reply->kind != VD_REDIS_ARRAY)
        return wrong(r, "the reply is not a list", err);
    if (reply->count == 0)
        return VD_OK; /* no such key */
    value = object ? cJSON_CreateObject() : cJSON_CreateArray();
    if (value == NULL)
        return vd_err_nomem(err, "context");
    if (r->shape == SHAPE_PAIRS)
        rc = fill_pairs(r, reply, value, err);
    else if (r->shape == SHAPE_FIELDS)
        rc = fill_fields(r, argv, argc, reply, value, err);
    else if (is_scores(r, argv, argc))
        rc = fill_scores(r, reply, value, err);
    else
        rc = fill_list(r, reply, value, err);
    if (rc != VD_OK || (r->shape == SHAPE_FIELDS && value->child == NULL)) {
        (void)vd_json_free(value);
        return rc;
    }
    /* Redis gives hashes and sets in an order that changes with its hash seed: rules and prompts must not depend on it. */
    if ((r->shape == SHAPE_PAIRS || strcmp(r->name, "SMEMBERS") == 0) && !vd_json_sort(value)) {
        (void)vd_json_free(value);
        return vd_err_nomem(err, "context");
    }
    *ret_value = value;
    return VD_OK;
}

static enum vd_code text(const struct read *r, const struct vd_redis_reply *reply,
                         cJSON **ret_value, struct vd_err *err)
{
    struct vd_span s = vd_span_trim(reply->s);

    if (r->shape == SHAPE_TEXT && s.len > 0 && (s.ptr[0] == '{' || s.ptr[0] == '[') &&
        vd_json_parse(s, ret_value, NULL) == VD_OK)
        return VD_OK;
    *ret_value = text_node(reply->s);
    return *ret_value != NULL ? VD_OK : wrong(r, "the value is not UTF-8 text", err);
}

static enum vd_code scalar(const struct read *r, const struct vd_redis_reply *reply,
                           cJSON **ret_value, struct vd_err *err)
{
    if (r->shape == SHAPE_NUMBER) {
        *ret_value = score_node(reply);
        return *ret_value != NULL ? VD_OK : wrong(r, "the score is not a finite number", err);
    } else if (reply->kind != VD_REDIS_INT) {
        return wrong(r, "the reply is not a number", err);
    } else if (r->shape == SHAPE_BOOLEAN) {
        *ret_value = cJSON_CreateBool(reply->i != 0);
    } else if (r->shape == SHAPE_TTL && reply->i == -2) {
        return VD_OK; /* no such key */
    } else if (r->shape == SHAPE_TTL && reply->i == -1) {
        *ret_value = cJSON_CreateNull();
    } else {
        *ret_value = vd_json_new_int(reply->i);
    }
    return *ret_value != NULL ? VD_OK : vd_err_nomem(err, "context");
}

/* Bytes of all strings; field names count, since they take room too. */
static size_t bytes_of(const struct vd_redis_reply *reply)
{
    size_t n = reply->s.len;

    for (size_t i = 0; i < reply->count; i++)
        n += bytes_of(reply->items[i]);
    return n;
}

enum vd_code vd_redis_read_value(const struct vd_span *argv, size_t argc,
                                 const struct vd_redis_reply *reply, size_t max_bytes,
                                 cJSON **ret_value, struct vd_err *err)
{
    const struct read *r = find(argv[0]);
    struct vd_json_scope scope;
    cJSON *value = NULL;
    enum vd_code rc;

    assert(r != NULL); /* vd_redis_read_check() has passed */
    if (reply->kind == VD_REDIS_ERROR) {
        size_t word = vd_span_find(reply->s, ' '); /* the rest may quote data */

        return vd_err_set(err, VD_E_INPUT, false, "%s: Redis says %.*s", r->name,
                          (int)(word < 40 ? word : 40), reply->s.ptr);
    }
    if (max_bytes != 0 && bytes_of(reply) > max_bytes)
        return vd_err_set(err, VD_E_LIMIT, false, "%s: %zu bytes, more than max_bytes = %zu",
                          r->name, bytes_of(reply), max_bytes);
    vd_json_scope_begin(&scope, bytes_of(reply) * TREE_BYTES);
    if (reply->kind == VD_REDIS_NIL)
        rc = VD_OK;
    else if (r->shape == SHAPE_TEXT || r->shape == SHAPE_STRING)
        rc = is_text(reply) ? text(r, reply, &value, err) : wrong(r, "the reply is not text", err);
    else if (r->shape == SHAPE_FIELDS || r->shape == SHAPE_PAIRS || r->shape == SHAPE_LIST)
        rc = collection(r, argv, argc, reply, &value, err);
    else
        rc = scalar(r, reply, &value, err);
    vd_json_scope_end(&scope);
    if (rc == VD_OK)
        *ret_value = value;
    return rc;
}
