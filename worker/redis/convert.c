/* redis/convert.c - the strings of Redis as the types that a JSON Schema wants.
 *
 * Only what every reader would convert the same way is converted: "12" to integer, "1.5" to number, "true" and "1" to boolean,
 * "" and "null" to null, JSON text to array or object. What does not convert stays a string, and validation names it.
 */
#include <string.h>

#include "base/limits.h"
#include "redis/context.h"

enum {
    WANT_STRING = 1,
    WANT_INTEGER = 2,
    WANT_NUMBER = 4,
    WANT_BOOLEAN = 8,
    WANT_NULL = 16,
    WANT_ARRAY = 32,
    WANT_OBJECT = 64
};

struct conversion {
    const cJSON *root;
    struct vd_err *err;
};

static unsigned type_bit(struct vd_span name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } rows[] = {
        {"string", WANT_STRING},   {"integer", WANT_INTEGER}, {"number", WANT_NUMBER},
        {"boolean", WANT_BOOLEAN}, {"null", WANT_NULL},       {"array", WANT_ARRAY},
        {"object", WANT_OBJECT},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (vd_span_eq_c(name, rows[i].name))
            return rows[i].bit;
    return 0;
}

/* The schema that a local $ref names; others stay as they are. */
static const cJSON *follow(const struct conversion *c, const cJSON *schema)
{
    for (int i = 0; i < VD_JSON_MAX_DEPTH; i++) {
        struct vd_span ref = vd_json_get_string(schema, "$ref");
        const cJSON *target;

        if (ref.len == 0 || ref.ptr[0] != '#')
            return schema;
        target = vd_json_pointer(c->root, vd_span_sub(ref, 1, ref.len));
        if (target == NULL)
            return schema;
        schema = target;
    }
    return schema;
}

static unsigned types_of(const struct conversion *c, const cJSON *schema, int depth)
{
    const cJSON *type, *part;
    unsigned types = 0;

    if (depth > 8)
        return 0;
    schema = follow(c, schema);
    type = vd_json_get(schema, "type");
    if (type != NULL && cJSON_IsArray(type)) {
        cJSON_ArrayForEach(part, type) types |= type_bit(vd_json_string(part));
    } else if (type != NULL && vd_json_kind(type) == VD_JSON_STRING) {
        types = type_bit(vd_json_string(type));
    }
    static const char *const unions[] = {"allOf", "anyOf", "oneOf"};

    for (size_t i = 0; types == 0 && i < sizeof(unions) / sizeof(unions[0]); i++) {
        const cJSON *list = vd_json_get(schema, unions[i]);

        if (list != NULL && cJSON_IsArray(list)) {
            cJSON_ArrayForEach(part, list) types |= types_of(c, part, depth + 1);
        }
    }
    return types;
}

static bool parses_as(struct vd_span text, unsigned types, cJSON **ret)
{
    cJSON *node = NULL;
    unsigned is = 0;

    if (vd_json_parse(text, &node, NULL) != VD_OK)
        return false;
    switch (vd_json_kind(node)) {
    case VD_JSON_NULL:
        is = WANT_NULL;
        break;
    case VD_JSON_BOOL:
        is = WANT_BOOLEAN;
        break;
    case VD_JSON_INT:
        is = WANT_INTEGER | WANT_NUMBER;
        break;
    case VD_JSON_DOUBLE:
        is = WANT_NUMBER;
        break;
    case VD_JSON_BIGNUM:
        is = WANT_INTEGER | WANT_NUMBER;
        break;
    case VD_JSON_STRING:
        break; /* a quoted string in a string is a string */
    case VD_JSON_ARRAY:
        is = WANT_ARRAY;
        break;
    case VD_JSON_OBJECT:
        is = WANT_OBJECT;
        break;
    }
    if ((is & types) == 0) {
        (void)vd_json_free(node);
        return false;
    }
    *ret = node;
    return true;
}

/* NULL: it stays. A union with string keeps text that is no number: "12" in ["integer","string"] is an integer. */
static cJSON *from_text(struct vd_span text, unsigned types)
{
    cJSON *node = NULL;

    if (types == 0 || types == WANT_STRING)
        return NULL;
    if (text.len == 0)
        return (types & WANT_NULL) != 0 && (types & WANT_STRING) == 0 ? cJSON_CreateNull() : NULL;
    if (parses_as(text, types, &node))
        return node;
    if ((types & WANT_BOOLEAN) != 0 && (types & (WANT_INTEGER | WANT_NUMBER)) == 0) {
        if (vd_span_eq_c(text, "1") || vd_span_eq_nocase(text, VD_LIT("true")))
            return cJSON_CreateTrue();
        if (vd_span_eq_c(text, "0") || vd_span_eq_nocase(text, VD_LIT("false")))
            return cJSON_CreateFalse();
    }
    return NULL;
}

/* The schemas of a member: its own, or what the object allows beside them; NULL when nothing is said. */
static const cJSON *member_schema(const struct conversion *c, const cJSON *schema, const char *name)
{
    const cJSON *properties, *part, *all;

    schema = follow(c, schema);
    properties = vd_json_get(schema, "properties");
    part = vd_json_get(properties, name);
    if (part != NULL)
        return part;
    all = vd_json_get(schema, "allOf");
    if (all != NULL && cJSON_IsArray(all)) {
        cJSON_ArrayForEach(part, all)
        {
            const cJSON *found = vd_json_get(vd_json_get(follow(c, part), "properties"), name);

            if (found != NULL)
                return found;
        }
    }
    return vd_json_get(schema, "additionalProperties");
}

/* The node that stands for node now; the caller puts it in its place. Trees that came from text are converted no further: JSON
 * has types of its own. Depth is that of a parsed tree. */
static cJSON *convert(const struct conversion *c, cJSON *node, const cJSON *schema)
{
    cJSON *child, *next;
    const cJSON *items;

    if (schema == NULL || !cJSON_IsObject(schema))
        return node;
    schema = follow(c, schema);
    if (vd_json_kind(node) == VD_JSON_STRING) {
        cJSON *made = from_text(vd_json_string(node), types_of(c, schema, 0));

        return made == NULL ? node : made;
    }
    items = vd_json_get(schema, "items");
    for (child = node->child; child != NULL; child = next) {
        const cJSON *want = cJSON_IsArray(node) ? items : member_schema(c, schema, child->string);
        cJSON *made = convert(c, child, want);

        next = child->next;
        if (made == child)
            continue;
        if (!cJSON_IsArray(node)) { /* the name moves over */
            made->string = child->string;
            child->string = NULL;
        }
        (void)cJSON_ReplaceItemViaPointer(node, child,
                                          made); /* frees child; cannot fail for an item of node */
    }
    return node;
}

enum vd_code vd_redis_convert(cJSON **value, const cJSON *schema, struct vd_err *err)
{
    struct conversion c = {.root = schema, .err = err};
    cJSON *made;

    if (schema == NULL || *value == NULL)
        return VD_OK;
    made = convert(&c, *value, schema);
    if (made != *value) {
        (void)vd_json_free(*value);
        *value = made;
    }
    return VD_OK;
}
