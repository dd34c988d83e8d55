/* schema/keywords.c - the table of keywords, and how the value of each becomes an op; see compiler.h.
 *
 * Adding a keyword is adding a row, and an op in ops_*.c if it can fail.
 */
#include <math.h>
#include <string.h>

#include "schema/compiler.h"
#include "schema/format.h"
#include "schema/ops.h"

#define MANY_VALUES 8 /* from here on, enum compares hashes first */

#define KIND_STRING VD_KIND(VD_JSON_STRING)
#define KIND_ARRAY  VD_KIND(VD_JSON_ARRAY)
#define KIND_OBJECT VD_KIND(VD_JSON_OBJECT)

typedef enum vd_code compile_fn(struct vd_compiler *c, struct vd_node *node,
                                const struct vd_keyword *kw, const cJSON *value);

static enum vd_code bad(struct vd_compiler *c, const struct vd_node *node,
                        const struct vd_keyword *kw, const char *reason)
{
    return vd_compile_bad(c, node, kw->name, reason);
}

static void *keep(struct vd_compiler *c, size_t count, size_t size)
{
    return vd_arena_array(&c->schema->arena, count > 0 ? count : 1, size);
}

static bool is_number(const cJSON *value)
{
    return (VD_KIND(vd_json_kind(value)) & VD_KINDS_NUMBER) != 0;
}

/* -- references -------------------------------------------------------------------------------------------------- */

static enum vd_code load_target(struct vd_compiler *c, struct vd_node *node,
                                const struct vd_keyword *kw, const cJSON *value,
                                struct vd_node **ret, const char **ret_anchor)
{
    enum vd_code rc;

    if (!cJSON_IsString(value))
        return bad(c, node, kw, "must be a URI reference");
    rc = vd_load_reference(c, node->resource, vd_json_string(value), ret, ret_anchor);
    if (rc == VD_OK)
        vd_compile_later(c, *ret);
    else if (c->err != NULL)
        (void)vd_err_wrap(c->err, rc, "at %s/%s", node->path, kw->name);
    return rc;
}

static enum vd_code compile_ref(struct vd_compiler *c, struct vd_node *node,
                                const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_node *target = NULL;
    const char *anchor;
    enum vd_code rc = load_target(c, node, kw, value, &target, &anchor);

    if (rc == VD_OK)
        vd_compile_op(c, node, kw->name, vd_op_ref, VD_KINDS_ALL)->arg.one = target;
    return rc;
}

static enum vd_code compile_dynamic_ref(struct vd_compiler *c, struct vd_node *node,
                                        const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_node *target = NULL;
    const char *anchor = NULL;
    enum vd_code rc = load_target(c, node, kw, value, &target, &anchor);
    struct vd_op *op;

    if (rc != VD_OK)
        return rc;
    op = vd_compile_op(c, node, kw->name, vd_op_dynamic_ref, VD_KINDS_ALL);
    op->arg.dynamic.fallback = target;
    op->arg.dynamic.anchor = anchor;
    return VD_OK;
}

/* -- any value --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned bits;
} types[] = {
    {"null", VD_KIND(VD_JSON_NULL)},
    {"boolean", VD_KIND(VD_JSON_BOOL)},
    {"integer", VD_TYPE_INTEGER | VD_KIND(VD_JSON_INT)},
    {"number", VD_KINDS_NUMBER},
    {"string", VD_KIND(VD_JSON_STRING)},
    {"array", VD_KIND(VD_JSON_ARRAY)},
    {"object", VD_KIND(VD_JSON_OBJECT)},
};

static unsigned type_bits(const cJSON *name)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (cJSON_IsString(name) && vd_span_eq_c(vd_json_string(name), types[i].name))
            return types[i].bits;
    return 0;
}

static enum vd_code compile_type(struct vd_compiler *c, struct vd_node *node,
                                 const struct vd_keyword *kw, const cJSON *value)
{
    bool list = cJSON_IsArray(value);
    unsigned all = 0;

    for (const cJSON *name = list ? value->child : value; name != NULL;
         name = list ? name->next : NULL) {
        unsigned bits = type_bits(name);

        if (bits == 0)
            return bad(c, node, kw,
                       "must be null, boolean, integer, number, string, array, object, or an array "
                       "of them");
        all |= bits;
    }
    if (list && all == 0)
        return bad(c, node, kw, "must not be empty");
    vd_compile_op(c, node, kw->name, vd_op_type, VD_KINDS_ALL)->arg.types = all;
    return VD_OK;
}

static enum vd_code compile_const(struct vd_compiler *c, struct vd_node *node,
                                  const struct vd_keyword *kw, const cJSON *value)
{
    vd_compile_op(c, node, kw->name, vd_op_const, VD_KINDS_ALL)->arg.value = value;
    return VD_OK;
}

static enum vd_code compile_enum(struct vd_compiler *c, struct vd_node *node,
                                 const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_values *values = keep(c, 1, sizeof(*values));
    const cJSON *child;
    size_t i = 0;

    if (!cJSON_IsArray(value))
        return bad(c, node, kw, "must be an array");
    if (values == NULL)
        return vd_compile_nomem(c);
    values->count = vd_count_children(value);
    values->items = keep(c, values->count, sizeof(const cJSON *));
    if (values->count >= MANY_VALUES)
        values->hashes = keep(c, values->count, sizeof(uint64_t));
    if (values->items == NULL || (values->count >= MANY_VALUES && values->hashes == NULL))
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, value)
    {
        values->items[i] = child;
        if (values->hashes != NULL)
            values->hashes[i] = vd_json_hash(child);
        i++;
    }
    vd_compile_op(c, node, kw->name, vd_op_enum, VD_KINDS_ALL)->arg.values = values;
    return VD_OK;
}

/* -- limits ------------------------------------------------------------------------------------------------------ */

static enum vd_code compile_limit(struct vd_compiler *c, struct vd_node *node,
                                  const struct vd_keyword *kw, const cJSON *value)
{
    static const struct {
        const char *name;
        vd_op_fn *eval;
    } rows[] = {
        {"minimum", vd_op_minimum},
        {"maximum", vd_op_maximum},
        {"exclusiveMinimum", vd_op_exclusive_minimum},
        {"exclusiveMaximum", vd_op_exclusive_maximum},
    };

    if (!is_number(value))
        return bad(c, node, kw, "must be a number");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i].name, kw->name) == 0)
            vd_compile_op(c, node, kw->name, rows[i].eval, VD_KINDS_NUMBER)->arg.value = value;
    return VD_OK;
}

static enum vd_code compile_multiple_of(struct vd_compiler *c, struct vd_node *node,
                                        const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_decimal *divisor = keep(c, 1, sizeof(*divisor));

    if (divisor == NULL)
        return vd_compile_nomem(c);
    if (!is_number(value) || !vd_decimal_of(value, divisor) || divisor->len == 0 ||
        divisor->negative)
        return bad(c, node, kw, "must be a number above 0");
    if (divisor->len > VD_DECIMAL_DIVISOR_DIGITS)
        return bad(c, node, kw, "has more than 18 significant digits");
    vd_compile_op(c, node, kw->name, vd_op_multiple_of, VD_KINDS_NUMBER)->arg.divisor = divisor;
    return VD_OK;
}

/* A count: a whole number, also written 2.0; one beyond 64 bits is as good as the largest. */
static bool read_count(const cJSON *value, uint64_t *ret)
{
    int64_t v;
    double d;

    if (!is_number(value) || !vd_is_whole(value))
        return false;
    if (vd_json_int(value, &v)) {
        if (v < 0)
            return false;
        *ret = (uint64_t)v;
        return true;
    }
    if (!vd_json_double(value, &d) || d < 0)
        return false;
    *ret = d >= 9007199254740992.0 ? UINT64_MAX : (uint64_t)d;
    return true;
}

static enum vd_code compile_count(struct vd_compiler *c, struct vd_node *node,
                                  const struct vd_keyword *kw, const cJSON *value)
{
    static const struct {
        const char *name;
        vd_op_fn *eval;
        unsigned kinds;
    } rows[] = {
        {"minLength", vd_op_min_length, KIND_STRING},
        {"maxLength", vd_op_max_length, KIND_STRING},
        {"minItems", vd_op_min_items, KIND_ARRAY},
        {"maxItems", vd_op_max_items, KIND_ARRAY},
        {"minProperties", vd_op_min_properties, KIND_OBJECT},
        {"maxProperties", vd_op_max_properties, KIND_OBJECT},
    };
    uint64_t count;

    if (!read_count(value, &count))
        return bad(c, node, kw, "must be a whole number, 0 or more");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i].name, kw->name) == 0)
            vd_compile_op(c, node, kw->name, rows[i].eval, rows[i].kinds)->arg.count = count;
    return VD_OK;
}

/* -- strings ----------------------------------------------------------------------------------------------------- */

static enum vd_code compile_pattern(struct vd_compiler *c, struct vd_node *node,
                                    const struct vd_keyword *kw, const cJSON *value)
{
    const struct vd_regex *regex = NULL;
    enum vd_code rc;

    if (!cJSON_IsString(value))
        return bad(c, node, kw, "must be a string");
    rc = vd_compile_regex(c, node, kw->name, vd_json_string(value), &regex);
    if (rc == VD_OK)
        vd_compile_op(c, node, kw->name, vd_op_pattern, KIND_STRING)->arg.regex = regex;
    return rc;
}

/* An annotation, unless the caller or the metaschema's vocabulary asks for more. Unknown formats never fail. */
static enum vd_code compile_format(struct vd_compiler *c, struct vd_node *node,
                                   const struct vd_keyword *kw, const cJSON *value)
{
    const struct vd_format *format;

    if (!cJSON_IsString(value))
        return bad(c, node, kw, "must be a string");
    format = vd_format_find(vd_json_string(value));
    if (format != NULL && (c->options->assert_format ||
                           (node->resource->vocabularies & VD_VOCAB_FORMAT_ASSERTION) != 0))
        vd_compile_op(c, node, kw->name, vd_op_format, KIND_STRING)->arg.format = format;
    return VD_OK;
}

/* -- schemas for the value itself -------------------------------------------------------------------------------- */

static enum vd_code keep_nodes(struct vd_compiler *c, const cJSON *list, struct vd_nodes *ret)
{
    const cJSON *child;
    size_t i = 0;

    ret->count = vd_count_children(list);
    ret->items = keep(c, ret->count, sizeof(struct vd_node *));
    if (ret->items == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, list) ret->items[i++] = vd_compile_part(c, child);
    return VD_OK;
}

static enum vd_code compile_many(struct vd_compiler *c, struct vd_node *node,
                                 const struct vd_keyword *kw, const cJSON *value)
{
    vd_op_fn *eval = kw->name[0] == 'a' && kw->name[1] == 'l' ? vd_op_all_of
                     : kw->name[0] == 'a'                     ? vd_op_any_of
                                                              : vd_op_one_of;
    struct vd_nodes many;
    enum vd_code rc;

    if (value->child == NULL)
        return bad(c, node, kw, "must have at least one schema");
    rc = keep_nodes(c, value, &many);
    if (rc == VD_OK)
        vd_compile_op(c, node, kw->name, eval, VD_KINDS_ALL)->arg.many = many;
    return rc;
}

static enum vd_code compile_not(struct vd_compiler *c, struct vd_node *node,
                                const struct vd_keyword *kw, const cJSON *value)
{
    vd_compile_op(c, node, kw->name, vd_op_not, VD_KINDS_ALL)->arg.one = vd_compile_part(c, value);
    return VD_OK;
}

static struct vd_node *optional_part(struct vd_compiler *c, const struct vd_node *node,
                                     const char *keyword)
{
    const cJSON *value = vd_json_get(node->source, keyword);

    return value == NULL ? NULL : vd_compile_part(c, value);
}

static enum vd_code compile_if(struct vd_compiler *c, struct vd_node *node,
                               const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_condition *condition = keep(c, 1, sizeof(*condition));

    if (condition == NULL)
        return vd_compile_nomem(c);
    condition->test = vd_compile_part(c, value);
    condition->then = optional_part(c, node, "then");
    condition->otherwise = optional_part(c, node, "else");
    vd_compile_op(c, node, kw->name, vd_op_condition, VD_KINDS_ALL)->arg.condition = condition;
    return VD_OK;
}

static enum vd_code keep_names(struct vd_compiler *c, const cJSON *names, struct vd_dependency *ret)
{
    const cJSON *name;

    ret->required = keep(c, vd_count_children(names), sizeof(const char *));
    if (ret->required == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(name, names) ret->required[ret->required_count++] = name->valuestring;
    return VD_OK;
}

static bool are_names(const cJSON *value)
{
    const cJSON *child;

    cJSON_ArrayForEach(child, value)
    {
        if (!cJSON_IsString(child))
            return false;
    }
    return cJSON_IsArray(value);
}

static enum vd_code compile_dependent(struct vd_compiler *c, struct vd_node *node,
                                      const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_dependencies *all = keep(c, 1, sizeof(*all));
    const cJSON *child;
    enum vd_code rc = VD_OK;

    if (!cJSON_IsObject(value))
        return bad(c, node, kw, "must be an object");
    if (all != NULL)
        all->items = keep(c, vd_count_children(value), sizeof(*all->items));
    if (all == NULL || all->items == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, value)
    {
        struct vd_dependency *d = &all->items[all->count++];

        d->key = child->string;
        if (kw->shape == VD_SHAPE_MAP ||
            (kw->shape == VD_SHAPE_MAP_OR_NAMES && !cJSON_IsArray(child)))
            d->node = vd_compile_part(c, child);
        else if (are_names(child))
            rc = keep_names(c, child, d);
        else
            rc = bad(c, node, kw, "must hold arrays of names");
        if (rc != VD_OK)
            return rc;
    }
    vd_compile_op(c, node, kw->name, vd_op_dependent, KIND_OBJECT)->arg.dependencies = all;
    return VD_OK;
}

/* -- members ----------------------------------------------------------------------------------------------------- */

/* The node's one walk over members, with room for all rules that its keywords can make. */
static struct vd_members *members_of(struct vd_compiler *c, struct vd_node *node)
{
    size_t rules = vd_count_children(vd_json_get(node->source, "properties")) +
                   vd_count_children(vd_json_get(node->source, "required"));
    size_t size = 4;

    if (c->members != NULL)
        return c->members;
    while (size < rules * 2)
        size *= 2;
    c->members = keep(c, 1, sizeof(*c->members));
    if (c->members == NULL)
        return NULL;
    c->members->rule_mask = size - 1;
    c->members->rules = keep(c, size, sizeof(*c->members->rules));
    if (c->members->rules == NULL)
        return c->members = NULL;
    vd_compile_op(c, node, "properties", vd_op_members, KIND_OBJECT)->arg.members = c->members;
    return c->members;
}

static struct vd_member_rule *rule_of(struct vd_members *m, const char *key)
{
    size_t len;
    uint64_t hash = vd_member_hash(key, &len);
    size_t i = hash & m->rule_mask;

    while (m->rules[i].key != NULL &&
           (m->rules[i].hash != hash || strcmp(m->rules[i].key, key) != 0))
        i = (i + 1) & m->rule_mask;
    m->rules[i].key = key;
    m->rules[i].hash = hash;
    return &m->rules[i];
}

static enum vd_code compile_properties(struct vd_compiler *c, struct vd_node *node,
                                       const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_members *m = members_of(c, node);
    const cJSON *child;

    (void)kw;
    if (m == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, value) rule_of(m, child->string)->node = vd_compile_part(c, child);
    return VD_OK;
}

static enum vd_code compile_required(struct vd_compiler *c, struct vd_node *node,
                                     const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_members *m;
    const cJSON *child;

    if (!are_names(value))
        return bad(c, node, kw, "must be an array of names");
    m = members_of(c, node);
    if (m == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, value)
    {
        struct vd_member_rule *rule;

        if (child->valueint >
            0) { /* holds U+0000: no member of a tree is called so, the rule can never be met */
            m->required_count++;
            continue;
        }
        rule = rule_of(m, child->valuestring);
        m->required_count += !rule->required;
        rule->required = true;
    }
    return VD_OK;
}

static enum vd_code compile_pattern_properties(struct vd_compiler *c, struct vd_node *node,
                                               const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_members *m = members_of(c, node);
    const cJSON *child;

    if (m == NULL)
        return vd_compile_nomem(c);
    m->patterns = keep(c, vd_count_children(value), sizeof(*m->patterns));
    if (m->patterns == NULL)
        return vd_compile_nomem(c);
    cJSON_ArrayForEach(child, value)
    {
        struct vd_pattern_rule *rule = &m->patterns[m->pattern_count];
        enum vd_code rc =
            vd_compile_regex(c, node, kw->name, vd_span_of(child->string), &rule->regex);

        if (rc != VD_OK)
            return rc;
        rule->node = vd_compile_part(c, child);
        m->pattern_count++;
    }
    return VD_OK;
}

static enum vd_code compile_additional_properties(struct vd_compiler *c, struct vd_node *node,
                                                  const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_members *m = members_of(c, node);

    (void)kw;
    if (m == NULL)
        return vd_compile_nomem(c);
    m->additional = vd_compile_part(c, value);
    return VD_OK;
}

static enum vd_code compile_property_names(struct vd_compiler *c, struct vd_node *node,
                                           const struct vd_keyword *kw, const cJSON *value)
{
    vd_compile_op(c, node, kw->name, vd_op_property_names, KIND_OBJECT)->arg.one =
        vd_compile_part(c, value);
    return VD_OK;
}

/* -- items ------------------------------------------------------------------------------------------------------- */

static struct vd_items *items_of(struct vd_compiler *c, struct vd_node *node)
{
    if (c->items != NULL)
        return c->items;
    c->items = keep(c, 1, sizeof(*c->items));
    if (c->items != NULL)
        vd_compile_op(c, node, "items", vd_op_items, KIND_ARRAY)->arg.items = c->items;
    return c->items;
}

static enum vd_code compile_prefix(struct vd_compiler *c, struct vd_node *node,
                                   const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_items *items = items_of(c, node);

    if (items == NULL)
        return vd_compile_nomem(c);
    items->prefix_keyword = kw->name;
    return keep_nodes(c, value, &items->prefix);
}

static enum vd_code compile_rest(struct vd_compiler *c, struct vd_node *node,
                                 const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_items *items = items_of(c, node);

    if (items == NULL)
        return vd_compile_nomem(c);
    items->rest_keyword = kw->name;
    items->rest = vd_compile_part(c, value);
    return VD_OK;
}

static enum vd_code compile_items_7(struct vd_compiler *c, struct vd_node *node,
                                    const struct vd_keyword *kw, const cJSON *value)
{
    return cJSON_IsArray(value) ? compile_prefix(c, node, kw, value)
                                : compile_rest(c, node, kw, value);
}

/* Only beside an "items" that is an array. */
static enum vd_code compile_additional_items(struct vd_compiler *c, struct vd_node *node,
                                             const struct vd_keyword *kw, const cJSON *value)
{
    if (!cJSON_IsArray(vd_json_get(node->source, "items")))
        return VD_OK;
    return compile_rest(c, node, kw, value);
}

static enum vd_code read_sibling_count(struct vd_compiler *c, const struct vd_node *node,
                                       const char *keyword, uint64_t *ret)
{
    const cJSON *value = vd_json_get(node->source, keyword);

    if (value == NULL || (node->resource->vocabularies & VD_VOCAB_VALIDATION) == 0 ||
        read_count(value, ret))
        return VD_OK;
    return vd_compile_bad(c, node, keyword, "must be a whole number, 0 or more");
}

static enum vd_code compile_contains(struct vd_compiler *c, struct vd_node *node,
                                     const struct vd_keyword *kw, const cJSON *value)
{
    struct vd_contains *contains = keep(c, 1, sizeof(*contains));
    enum vd_code rc = VD_OK;

    if (contains == NULL)
        return vd_compile_nomem(c);
    *contains =
        (struct vd_contains){.node = vd_compile_part(c, value), .min = 1, .max = UINT64_MAX};
    if (node->resource->draft != VD_D7) {
        contains->marks = true;
        rc = read_sibling_count(c, node, "minContains", &contains->min);
        if (rc == VD_OK)
            rc = read_sibling_count(c, node, "maxContains", &contains->max);
    }
    vd_compile_op(c, node, kw->name, vd_op_contains, KIND_ARRAY)->arg.contains = contains;
    return rc;
}

static enum vd_code compile_unique_items(struct vd_compiler *c, struct vd_node *node,
                                         const struct vd_keyword *kw, const cJSON *value)
{
    if (!cJSON_IsBool(value))
        return bad(c, node, kw, "must be true or false");
    if (cJSON_IsTrue(value))
        (void)vd_compile_op(c, node, kw->name, vd_op_unique_items, KIND_ARRAY);
    return VD_OK;
}

static enum vd_code compile_unevaluated(struct vd_compiler *c, struct vd_node *node,
                                        const struct vd_keyword *kw, const cJSON *value)
{
    bool items = strcmp(kw->name, "unevaluatedItems") == 0;
    struct vd_op *op = vd_compile_op(c, node, kw->name,
                                     items ? vd_op_unevaluated_items : vd_op_unevaluated_properties,
                                     items ? KIND_ARRAY : KIND_OBJECT);

    op->arg.one = vd_compile_part(c, value);
    node->tracks = true;
    return VD_OK;
}

/* -- the table --------------------------------------------------------------------------------------------------- */

#define BOTH VD_D_ALL
#define D7   VD_D7
#define D20  VD_D2020
#define CORE VD_VOCAB_CORE
#define APPL VD_VOCAB_APPLICATOR
#define VALI VD_VOCAB_VALIDATION

/* Cheap assertions first, then what walks into the value; unevaluated* come last, since they ask what the others did. */
/* clang-format off */
const struct vd_keyword vd_keywords[] = {
    {"$ref",                  BOTH, CORE, VD_SHAPE_NONE,         compile_ref},
    {"$dynamicRef",           D20,  CORE, VD_SHAPE_NONE,         compile_dynamic_ref},
    {"$defs",                 BOTH, CORE, VD_SHAPE_MAP,          NULL},
    {"definitions",           BOTH, CORE, VD_SHAPE_MAP,          NULL},
    {"type",                  BOTH, VALI, VD_SHAPE_NONE,         compile_type},
    {"const",                 BOTH, VALI, VD_SHAPE_NONE,         compile_const},
    {"enum",                  BOTH, VALI, VD_SHAPE_NONE,         compile_enum},
    {"minimum",               BOTH, VALI, VD_SHAPE_NONE,         compile_limit},
    {"maximum",               BOTH, VALI, VD_SHAPE_NONE,         compile_limit},
    {"exclusiveMinimum",      BOTH, VALI, VD_SHAPE_NONE,         compile_limit},
    {"exclusiveMaximum",      BOTH, VALI, VD_SHAPE_NONE,         compile_limit},
    {"multipleOf",            BOTH, VALI, VD_SHAPE_NONE,         compile_multiple_of},
    {"minLength",             BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"maxLength",             BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"minItems",              BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"maxItems",              BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"minProperties",         BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"maxProperties",         BOTH, VALI, VD_SHAPE_NONE,         compile_count},
    {"format",                BOTH, VD_VOCAB_FORMAT | VD_VOCAB_FORMAT_ASSERTION, VD_SHAPE_NONE, compile_format},
    {"pattern",               BOTH, VALI, VD_SHAPE_NONE,         compile_pattern},
    {"required",              BOTH, VALI, VD_SHAPE_NONE,         compile_required},
    {"properties",            BOTH, APPL, VD_SHAPE_MAP,          compile_properties},
    {"patternProperties",     BOTH, APPL, VD_SHAPE_MAP,          compile_pattern_properties},
    {"additionalProperties",  BOTH, APPL, VD_SHAPE_ONE,          compile_additional_properties},
    {"propertyNames",         BOTH, APPL, VD_SHAPE_ONE,          compile_property_names},
    {"dependentRequired",     D20,  VALI, VD_SHAPE_NONE,         compile_dependent},
    {"dependentSchemas",      D20,  APPL, VD_SHAPE_MAP,          compile_dependent},
    /* 2020-12 lists "dependencies" as deprecated, for old schemas; so do we. */
    {"dependencies",          BOTH, APPL, VD_SHAPE_MAP_OR_NAMES, compile_dependent},
    {"prefixItems",           D20,  APPL, VD_SHAPE_LIST,         compile_prefix},
    {"items",                 D20,  APPL, VD_SHAPE_ONE,          compile_rest},
    {"items",                 D7,   APPL, VD_SHAPE_ONE_OR_LIST,  compile_items_7},
    {"additionalItems",       D7,   APPL, VD_SHAPE_ONE,          compile_additional_items},
    {"contains",              BOTH, APPL, VD_SHAPE_ONE,          compile_contains},
    {"uniqueItems",           BOTH, VALI, VD_SHAPE_NONE,         compile_unique_items},
    {"allOf",                 BOTH, APPL, VD_SHAPE_LIST,         compile_many},
    {"anyOf",                 BOTH, APPL, VD_SHAPE_LIST,         compile_many},
    {"oneOf",                 BOTH, APPL, VD_SHAPE_LIST,         compile_many},
    {"not",                   BOTH, APPL, VD_SHAPE_ONE,          compile_not},
    {"if",                    BOTH, APPL, VD_SHAPE_ONE,          compile_if},
    {"then",                  BOTH, APPL, VD_SHAPE_ONE,          NULL},
    {"else",                  BOTH, APPL, VD_SHAPE_ONE,          NULL},
    {"contentSchema",         D20,  VD_VOCAB_CONTENT, VD_SHAPE_ONE, NULL},
    {"unevaluatedItems",      D20,  VD_VOCAB_UNEVALUATED, VD_SHAPE_ONE, compile_unevaluated},
    {"unevaluatedProperties", D20,  VD_VOCAB_UNEVALUATED, VD_SHAPE_ONE, compile_unevaluated},
    {NULL, 0, 0, VD_SHAPE_NONE, NULL},
};
/* clang-format on */
