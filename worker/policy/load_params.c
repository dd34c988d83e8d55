/* policy/load_params.c - see load.h: what a parameter may be. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "policy/load.h"
#include "policy/params.h"

#define ROW(f) offsetof(struct written, f)
#define END_OF_TABLE                                                                               \
    {                                                                                              \
        .name = NULL                                                                               \
    }

struct written {
    int type, on_fail;
    const struct vd_conf_node *min, *max, *min_items, *max_items, *choices, *items, *fields;
    const char *from, *pattern, *why;
    int64_t max_len;
    bool unique;
};

static const char *const type_words[] = {"integer", "number", "boolean", "string",
                                         "array",   "object", NULL};
static const char *const on_fail_words[] = {"repair", "reject", "escalate", "clamp", NULL};

static const struct vd_conf_row rows[] = {
    {"type", VD_CONF_T_ENUM, ROW(type), NULL, 0, 0, NULL, VD_CONF_REQUIRED, "type = \"integer\"",
     type_words},
    {"on_fail", VD_CONF_T_ENUM, ROW(on_fail), "repair", 0, 0, NULL, 0, "when it is refused",
     on_fail_words},
    {"min", VD_CONF_T_NODE, ROW(min), NULL, 0, 0, NULL, 0, "smallest value", NULL},
    {"max", VD_CONF_T_NODE, ROW(max), NULL, 0, 0, NULL, 0, "largest value", NULL},
    {"min_items", VD_CONF_T_NODE, ROW(min_items), NULL, 0, 0, NULL, 0, "fewest items", NULL},
    {"max_items", VD_CONF_T_NODE, ROW(max_items), NULL, 0, 0, NULL, 0, "most items", NULL},
    {"unique", VD_CONF_T_BOOL, ROW(unique), "false", 0, 0, NULL, 0, "no item twice", NULL},
    {"enum", VD_CONF_T_NODE, ROW(choices), NULL, 0, 0, NULL, 0, "the values allowed", NULL},
    {"from", VD_CONF_T_STRING, ROW(from), NULL, 0, 0, NULL, 0, "a CEL list of the values allowed",
     NULL},
    {"pattern", VD_CONF_T_STRING, ROW(pattern), NULL, 1, 1024, NULL, 0,
     "a regular expression for all of it", NULL},
    {"max_len", VD_CONF_T_INT, ROW(max_len), "0", 0, VD_PARAM_MAX_STRING, NULL, 0, "characters",
     NULL},
    {"items", VD_CONF_T_NODE, ROW(items), NULL, 0, 0, NULL, 0, "what an item is", NULL},
    {"fields", VD_CONF_T_NODE, ROW(fields), NULL, 0, 0, NULL, 0, "members of the object", NULL},
    {"why", VD_CONF_T_STRING, ROW(why), NULL, 1, 1024, NULL, 0, "for the model", NULL},
    END_OF_TABLE,
};

static void *release_schema(void *thing)
{
    return vd_schema_free(thing);
}

static void complain(struct vd_loader *ld, const struct vd_conf_node *node, const char *hint,
                     const char *what)
{
    vd_diag_error(ld->diags, node->file, node->line, hint, "%s %s", node->path, what);
}

static bool is_numeric(int type)
{
    return type == VD_PARAM_INTEGER || type == VD_PARAM_NUMBER;
}

/* A number, or CEL in quotes. */
static struct vd_bound load_bound(struct vd_loader *ld, const struct vd_conf_node *node, bool whole)
{
    struct vd_bound bound = {NULL, NULL};

    if (node == NULL)
        return bound;
    if (node->kind == VD_CONF_STRING)
        bound.program = vd_ld_program(ld, ld->env, node, VD_CEL_ERROR);
    else if (node->kind == VD_CONF_INT || (node->kind == VD_CONF_FLOAT && !whole))
        bound.literal = vd_ld_json(ld, node);
    else
        complain(ld, node, whole ? "a whole number, or \"CEL\"" : "a number, or \"CEL\"",
                 "is no bound");
    return bound;
}

/* min above max in literals can never be met. */
static void check_order(struct vd_loader *ld, const struct vd_conf_node *node,
                        const struct vd_bound *low, const struct vd_bound *high)
{
    double a, b;

    if (low->literal != NULL && high->literal != NULL && vd_json_double(low->literal, &a) &&
        vd_json_double(high->literal, &b) && a > b)
        complain(ld, node, "a minimum that is not above the maximum",
                 "allows nothing: its minimum is above its maximum");
}

static void load_choices(struct vd_loader *ld, const struct vd_conf_node *node, struct vd_param *p)
{
    const cJSON *item;

    if (node->kind != VD_CONF_LIST || node->count == 0 || node->count > VD_CHOICES_MAX) {
        complain(ld, node, "[\"a\", \"b\"]", "is no list of values");
        return;
    }
    p->choices = vd_ld_json(ld, node);
    if (p->choices == NULL)
        return;
    cJSON_ArrayForEach(item, p->choices)
    {
        enum vd_json_kind kind = vd_json_kind(item);

        if ((p->type == VD_PARAM_STRING && kind != VD_JSON_STRING) ||
            (p->type == VD_PARAM_INTEGER && kind != VD_JSON_INT) ||
            (p->type == VD_PARAM_NUMBER && kind != VD_JSON_INT && kind != VD_JSON_DOUBLE))
            complain(ld, node, "values of the param's type", "has a value of another type");
    }
}

/* Matches the whole value, as JSON Schema's pattern would with ^ and $. */
static void load_pattern(struct vd_loader *ld, const struct vd_conf_node *node, const char *pattern,
                         struct vd_param *p)
{
    cJSON *source = cJSON_CreateObject();
    struct vd_schema *schema = NULL;
    struct vd_err err;

    p->pattern = vd_arena_printf(ld->arena, "^(?:%s)$", pattern);
    if (p->pattern == NULL ||
        !vd_json_put(source, "pattern", vd_json_new_string(vd_span_of(p->pattern)))) {
        vd_ld_nomem(ld);
    } else if (vd_schema_compile(source, NULL, &schema, &err) != VD_OK) {
        complain(ld, node, "a regular expression of JSON Schema (ECMA 262)", err.msg);
    } else {
        vd_ld_own(ld, release_schema, schema);
        p->pattern_schema = schema;
    }
    vd_json_free(source);
}

/* Keys that say nothing about this type are mistakes. */
static void check_applies(struct vd_loader *ld, const struct vd_conf_node *node,
                          const struct written *w)
{
    bool numeric = is_numeric(w->type), string = w->type == VD_PARAM_STRING,
         array = w->type == VD_PARAM_ARRAY;
    const struct {
        bool written, applies;
        const char *name;
    } keys[] = {
        {w->min != NULL, numeric, "min"},
        {w->max != NULL, numeric, "max"},
        {w->pattern != NULL, string, "pattern"},
        {w->max_len > 0, string, "max_len"},
        {w->items != NULL, array, "items"},
        {w->min_items != NULL, array, "min_items"},
        {w->max_items != NULL, array, "max_items"},
        {w->unique, array, "unique"},
        {w->fields != NULL, w->type == VD_PARAM_OBJECT, "fields"},
        {w->choices != NULL, numeric || string, "enum"},
        {w->from != NULL, numeric || string || array, "from"},
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (keys[i].written && !keys[i].applies) {
            const struct vd_conf_node *key = vd_conf_get(node, keys[i].name);

            vd_diag_error(ld->diags, key->file, key->line, "nothing",
                          "%s says nothing about a param of type %s", key->path,
                          type_words[w->type]);
        }
    if (w->on_fail == VD_ON_FAIL_CLAMP && (!numeric || (w->min == NULL && w->max == NULL)))
        complain(ld, node, "repair, reject or escalate", "has no numeric bound to clamp to");
    if (string && w->choices == NULL && w->from == NULL && w->pattern == NULL)
        complain(ld, node,
                 "enum = [...]; or from = \"CEL list\"; or pattern = \"...\"; max_len = ...;",
                 "is a string that nothing bounds");
    if (string && w->pattern != NULL && w->max_len == 0)
        complain(ld, node, "max_len = 200;", "has a pattern but no max_len");
    if (array && w->items == NULL && w->from == NULL)
        complain(ld, node, "items = { type = ...; }; or from = \"CEL list\";",
                 "is an array whose items nothing bounds");
    if (w->type == VD_PARAM_OBJECT && w->fields == NULL)
        complain(ld, node, "fields = { NAME = { type = ...; }; };", "is an object without fields");
}

static void load_param(struct vd_loader *ld, const struct vd_conf_node *node, const char *name,
                       const char *path, unsigned depth, struct vd_param *p)
{
    struct written w = {0};
    const struct vd_conf_node *from = vd_conf_get(node, "from");

    vd_ld_read(ld, node, rows, &w);
    *p = (struct vd_param){.name = name,
                           .path = path,
                           .type = (enum vd_param_type)w.type,
                           .on_fail = (enum vd_on_fail)w.on_fail,
                           .unique = w.unique,
                           .max_len = (size_t)w.max_len};
    if (ld->rc != VD_OK || node->kind != VD_CONF_GROUP || vd_conf_get(node, "type") == NULL)
        return;
    if (depth >= VD_PARAM_MAX_DEPTH) {
        complain(ld, node, "a flatter param", "is nested too deep");
        return;
    }
    check_applies(ld, node, &w);
    p->why = w.why == NULL ? NULL : vd_ld_string(ld, vd_span_of(w.why));
    p->min = load_bound(ld, w.min, w.type == VD_PARAM_INTEGER);
    p->max = load_bound(ld, w.max, w.type == VD_PARAM_INTEGER);
    p->min_items = load_bound(ld, w.min_items, true);
    p->max_items = load_bound(ld, w.max_items, true);
    check_order(ld, node, &p->min, &p->max);
    check_order(ld, node, &p->min_items, &p->max_items);
    if (w.choices != NULL)
        load_choices(ld, w.choices, p);
    if (w.pattern != NULL)
        load_pattern(ld, node, w.pattern, p);
    if (from != NULL)
        p->from = vd_ld_program(ld, ld->env, from, VD_CEL_LIST);
    if (w.items != NULL) {
        struct vd_param *items = vd_ld_array(ld, 1, sizeof(*items));

        if (items != NULL)
            load_param(ld, w.items, "items", vd_arena_printf(ld->arena, "%s.items", path),
                       depth + 1, items);
        p->items = items;
    }
    if (w.fields != NULL)
        vd_ld_params(ld, w.fields, path, depth + 1, &p->fields, &p->field_count);
}

void vd_ld_params(struct vd_loader *ld, const struct vd_conf_node *node, const char *prefix,
                  unsigned depth, const struct vd_param **ret, size_t *ret_count)
{
    size_t count = vd_ld_count(ld, node), n = 0;
    struct vd_param *params = vd_ld_array(ld, count, sizeof(*params));

    for (const struct vd_conf_node *p = count > 0 ? node->first : NULL; p != NULL && params != NULL;
         p = p->next) {
        const char *name, *path;

        if (!vd_ld_name(ld, p, false))
            continue;
        name = vd_ld_string(ld, vd_span_of(p->name));
        path = vd_arena_printf(ld->arena, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", p->name);
        if (path == NULL)
            vd_ld_nomem(ld);
        if (ld->rc != VD_OK)
            return;
        load_param(ld, p, name, path, depth, &params[n++]);
    }
    *ret = params;
    *ret_count = params == NULL ? 0 : n;
}
