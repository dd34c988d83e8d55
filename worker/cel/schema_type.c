/* cel/schema_type.c - see schema_type.h. */
#include "cel/schema_type.h"

#define MAX_REFS 16 /* $ref to $ref, allOf in allOf: deeper is unknown; ends cycles */

static const cJSON *get(const cJSON *schema, const char *key)
{
    return vd_json_get(schema, key);
}

/* What $ref points at, NULL when it leaves the document or leads nowhere. */
static const cJSON *ref_target(const cJSON *schema, const cJSON *root)
{
    struct vd_span ref = vd_json_get_string(schema, "$ref");

    if (ref.len == 0 || ref.ptr[0] != '#' || vd_span_find(ref, '%') < ref.len)
        return NULL;
    return vd_json_pointer(root, vd_span_sub(ref, 1, ref.len));
}

/* -- kinds ------------------------------------------------------------------------------------------------------- */

static uint32_t kinds_of_name(struct vd_span name)
{
    static const struct {
        const char *name;
        uint32_t kinds;
    } rows[] = {
        {"null", VD_CEL_M(VD_CEL_NULL)},  {"boolean", VD_CEL_M(VD_CEL_BOOL)},
        {"integer", VD_CEL_M_INT},        {"number", VD_CEL_M_INT | VD_CEL_M(VD_CEL_DOUBLE)},
        {"string", VD_CEL_M_STRING},      {"array", VD_CEL_M(VD_CEL_LIST)},
        {"object", VD_CEL_M(VD_CEL_MAP)},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (vd_span_eq_c(name, rows[i].name))
            return rows[i].kinds;
    return VD_CEL_M_DYN;
}

static uint32_t kinds_of_type(const cJSON *type)
{
    const cJSON *name;
    uint32_t kinds = 0;

    if (cJSON_IsString(type))
        return kinds_of_name(vd_json_string(type));
    cJSON_ArrayForEach(name, type) kinds |= kinds_of_name(vd_json_string(name));
    return kinds != 0 ? kinds : VD_CEL_M_DYN;
}

static uint32_t kinds_of_values(const cJSON *values)
{
    const cJSON *value;
    uint32_t kinds = 0;

    cJSON_ArrayForEach(value, values) kinds |= VD_CEL_M(vd_cel_from_json(value).kind);
    return kinds != 0 ? kinds : VD_CEL_M_DYN;
}

static uint32_t kinds_at(const cJSON *schema, const cJSON *root, unsigned depth);

/* Kinds of any (is_all false) or of all of the schemas in list. */
static uint32_t kinds_of_list(const cJSON *list, const cJSON *root, bool is_all, unsigned depth)
{
    const cJSON *part;
    uint32_t all = VD_CEL_M_DYN;
    uint32_t any = 0;

    cJSON_ArrayForEach(part, list)
    {
        uint32_t kinds = kinds_at(part, root, depth);

        all &= kinds;
        any |= kinds;
    }
    return is_all || any == 0 ? all : any;
}

static uint32_t kinds_at(const cJSON *schema, const cJSON *root, unsigned depth)
{
    const cJSON *ref = ref_target(schema, root);
    const cJSON *type = get(schema, "type");
    const cJSON *constant = get(schema, "const");
    const cJSON *values = get(schema, "enum");
    uint32_t kinds = VD_CEL_M_DYN;

    if (!cJSON_IsObject(schema) || depth > MAX_REFS)
        return VD_CEL_M_DYN;
    if (type != NULL)
        kinds &= kinds_of_type(type);
    else if (constant != NULL)
        kinds &= VD_CEL_M(vd_cel_from_json(constant).kind);
    else if (values != NULL)
        kinds &= kinds_of_values(values);
    if (ref != NULL)
        kinds &= kinds_at(ref, root, depth + 1);
    kinds &= kinds_of_list(get(schema, "allOf"), root, true, depth + 1);
    kinds &= kinds_of_list(get(schema, "anyOf"), root, false, depth + 1);
    kinds &= kinds_of_list(get(schema, "oneOf"), root, false, depth + 1);
    return kinds != 0 ? kinds : VD_CEL_M_DYN; /* contradicts itself: the schema's problem */
}

uint32_t vd_cel_schema_kinds(const cJSON *schema, const cJSON *root)
{
    return kinds_at(schema, root, 0);
}

/* -- fields ------------------------------------------------------------------------------------------------------ */

struct lookup {
    const cJSON *root;
    struct vd_span name;
    const cJSON *found;
    bool forbidden; /* a conjunct that lists its properties does not list this one */
    bool open;      /* something was not looked into */
    bool sealed;    /* unevaluatedProperties: false */
};

static void look(struct lookup *l, const cJSON *schema, unsigned depth)
{
    static const char *const unknown[] = {"anyOf",       "oneOf",       "if", "dependentSchemas",
                                          "$dynamicRef", "dependencies"};
    const cJSON *field = vd_json_get_span(get(schema, "properties"), l->name);
    const cJSON *others = get(schema, "additionalProperties");
    const cJSON *ref = ref_target(schema, l->root);
    const cJSON *part;

    if (!cJSON_IsObject(schema) || depth > MAX_REFS) {
        l->open = true;
        return;
    }
    if (field != NULL && l->found == NULL)
        l->found = field;
    if (field == NULL && get(schema, "patternProperties") != NULL)
        l->open = true;
    else if (field == NULL && cJSON_IsFalse(others))
        l->forbidden = true;
    else if (field == NULL && cJSON_IsObject(others) && l->found == NULL)
        l->found = others;
    if (cJSON_IsFalse(get(schema, "unevaluatedProperties")))
        l->sealed = true;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        if (get(schema, unknown[i]) != NULL)
            l->open = true;
    if (ref != NULL)
        look(l, ref, depth + 1);
    else if (get(schema, "$ref") != NULL)
        l->open = true;
    cJSON_ArrayForEach(part, get(schema, "allOf")) look(l, part, depth + 1);
}

bool vd_cel_schema_field(const cJSON *schema, const cJSON *root, struct vd_span name,
                         const cJSON **ret_schema)
{
    struct lookup l = {.root = root, .name = name};

    look(&l, schema, 0);
    *ret_schema = l.forbidden ? NULL : l.found;
    return !l.forbidden && (l.found != NULL || l.open || !l.sealed);
}

const cJSON *vd_cel_schema_items(const cJSON *schema, const cJSON *root)
{
    const cJSON *items = NULL;

    for (unsigned depth = 0; items == NULL && schema != NULL && depth < MAX_REFS; depth++) {
        if (get(schema, "prefixItems") != NULL)
            return NULL;
        items = get(schema, "items");
        schema = ref_target(schema, root);
    }
    return cJSON_IsObject(items) ? items : NULL;
}

static void visit_names(const cJSON *schema, const cJSON *root, unsigned depth,
                        void (*visit)(void *arg, const char *name), void *arg)
{
    const cJSON *part;

    if (!cJSON_IsObject(schema) || depth > MAX_REFS)
        return;
    cJSON_ArrayForEach(part, get(schema, "properties")) visit(arg, part->string);
    visit_names(ref_target(schema, root), root, depth + 1, visit, arg);
    cJSON_ArrayForEach(part, get(schema, "allOf")) visit_names(part, root, depth + 1, visit, arg);
}

void vd_cel_schema_names(const cJSON *schema, const cJSON *root,
                         void (*visit)(void *arg, const char *name), void *arg)
{
    visit_names(schema, root, 0, visit, arg);
}
