/* policy/params_schema.c - see params.h: parameters as JSON Schema, for the CEL checker and for the model. */
#include "base/limits.h"
#include "policy/params.h"

/* Which keywords a form takes: OpenAI's strict mode and Anthropic's tools refuse the others (measured, see the design notes). */
static const struct {
    bool bounds, pattern, lengths, unique, counts;
} takes[] = {
    [VD_FORM_FULL] = {true, true, true, true, true},
    [VD_FORM_OPENAI_STRICT] = {true, true, false, false, true},
    [VD_FORM_ANTHROPIC_TOOL] = {false, false, false, false, false},
};

struct maker {
    struct vd_facts *facts;
    enum vd_schema_form form;
    bool possible;
};

cJSON *vd_params_types(const struct vd_param *params, size_t count)
{
    cJSON *schema = cJSON_CreateObject(), *properties = cJSON_CreateObject();

    for (size_t i = 0; i < count && properties != NULL; i++) {
        const struct vd_param *p = &params[i];
        cJSON *one = p->type == VD_PARAM_OBJECT ? vd_params_types(p->fields, p->field_count)
                                                : cJSON_CreateObject();

        if (p->type != VD_PARAM_OBJECT &&
            !vd_json_put(one, "type", vd_json_new_string(vd_span_of(vd_param_type_name(p->type)))))
            one = vd_json_free(one);
        if (!vd_json_put(properties, p->name, one))
            properties = vd_json_free(properties);
    }
    if (!vd_json_put(schema, "properties", properties) ||
        !vd_json_put(schema, "type", vd_json_new_string(VD_LIT("object"))) ||
        !vd_json_put(schema, "additionalProperties", cJSON_CreateFalse()))
        return vd_json_free(schema);
    return schema;
}

/* A bound's value, or NULL where there is none or it cannot be computed: the judge refuses then, the schema only helps. */
static cJSON *bound_json(struct maker *m, const struct vd_bound *bound)
{
    struct vd_cel_value value;
    cJSON *node = NULL;

    if (bound->literal != NULL)
        return vd_json_copy(bound->literal);
    if (bound->program == NULL || vd_facts_eval(m->facts, bound->program, &value, NULL) != VD_OK ||
        (value.kind != VD_CEL_INT && value.kind != VD_CEL_UINT && value.kind != VD_CEL_DOUBLE))
        return NULL;
    return vd_cel_to_json(&value, &node, NULL) == VD_OK ? node : NULL;
}

static bool put_bound(struct maker *m, cJSON *schema, const char *keyword,
                      const struct vd_bound *bound, bool taken)
{
    cJSON *node = taken ? bound_json(m, bound) : NULL;

    return node == NULL || vd_json_put(schema, keyword, node);
}

/* The choices that `from` leaves now, as an enum; none when it is too long for any provider. */
static bool put_from(struct maker *m, cJSON *schema, const struct vd_cel_program *from)
{
    struct vd_cel_value list;
    cJSON *choices = NULL;

    if (vd_facts_eval(m->facts, from, &list, NULL) != VD_OK || list.kind != VD_CEL_LIST ||
        vd_cel_size(&list) == 0) {
        m->possible = false;
        return true;
    }
    if (vd_cel_size(&list) > VD_CHOICES_MAX)
        return true;
    if (vd_cel_to_json(&list, &choices, NULL) != VD_OK) {
        m->possible = false;
        return true;
    }
    return vd_json_put(schema, "enum", choices);
}

static cJSON *param_schema(struct maker *m, const struct vd_param *p);

static bool put_object(struct maker *m, cJSON *schema, const struct vd_param *fields, size_t count)
{
    cJSON *properties = cJSON_CreateObject(), *required = cJSON_CreateArray();
    bool ok = properties != NULL && required != NULL;

    for (size_t i = 0; i < count && ok; i++)
        ok = vd_json_put(properties, fields[i].name, param_schema(m, &fields[i])) &&
             vd_json_append(required, vd_json_new_string(vd_span_of(fields[i].name)));
    if (!ok) {
        vd_json_free(properties);
        vd_json_free(required);
        return false;
    }
    ok = vd_json_put(schema, "properties", properties);
    ok = vd_json_put(schema, "required", required) && ok;
    return ok && vd_json_put(schema, "additionalProperties", cJSON_CreateFalse());
}

static bool put_array(struct maker *m, cJSON *schema, const struct vd_param *p)
{
    cJSON *items = p->items != NULL ? param_schema(m, p->items) : cJSON_CreateObject();
    bool ok = items != NULL;

    if (ok && p->from != NULL && vd_json_get(items, "enum") == NULL)
        ok = put_from(m, items, p->from);
    if (ok && p->items == NULL) { /* an enum alone has no type; the reduced forms want one */
        const cJSON *first = vd_json_get(items, "enum");
        enum vd_json_kind kind =
            first != NULL && first->child != NULL ? vd_json_kind(first->child) : VD_JSON_STRING;

        ok = vd_json_put(items, "type",
                         vd_json_new_string(kind == VD_JSON_INT      ? VD_LIT("integer")
                                            : kind == VD_JSON_DOUBLE ? VD_LIT("number")
                                                                     : VD_LIT("string")));
    }
    ok = vd_json_put(schema, "items", ok ? items : vd_json_free(items));
    ok = ok && put_bound(m, schema, "minItems", &p->min_items, takes[m->form].counts) &&
         put_bound(m, schema, "maxItems", &p->max_items, takes[m->form].counts);
    if (ok && p->unique && takes[m->form].unique)
        ok = vd_json_put(schema, "uniqueItems", cJSON_CreateTrue());
    return ok;
}

static cJSON *param_schema(struct maker *m, const struct vd_param *p)
{
    cJSON *schema = cJSON_CreateObject();
    bool ok =
        vd_json_put(schema, "type", vd_json_new_string(vd_span_of(vd_param_type_name(p->type))));

    if (ok && p->why != NULL)
        ok = vd_json_put(schema, "description", vd_json_new_string(vd_span_of(p->why)));
    if (ok && p->type == VD_PARAM_OBJECT)
        ok = put_object(m, schema, p->fields, p->field_count);
    if (ok && p->type == VD_PARAM_ARRAY)
        ok = put_array(m, schema, p);
    ok = ok && put_bound(m, schema, "minimum", &p->min, takes[m->form].bounds) &&
         put_bound(m, schema, "maximum", &p->max, takes[m->form].bounds);
    if (ok && p->choices != NULL)
        ok = vd_json_put(schema, "enum", vd_json_copy(p->choices));
    else if (ok && p->from != NULL && p->type != VD_PARAM_ARRAY)
        ok = put_from(m, schema, p->from);
    if (ok && p->pattern != NULL && takes[m->form].pattern)
        ok = vd_json_put(schema, "pattern", vd_json_new_string(vd_span_of(p->pattern)));
    if (ok && p->max_len > 0 && takes[m->form].lengths)
        ok = vd_json_put(schema, "maxLength", vd_json_new_int((int64_t)p->max_len));
    return ok ? schema : vd_json_free(schema);
}

enum vd_code vd_params_schema(struct vd_facts *facts, const struct vd_param *params, size_t count,
                              enum vd_schema_form form, cJSON **ret_schema, bool *ret_possible,
                              struct vd_err *err)
{
    struct maker m = {.facts = facts, .form = form, .possible = true};
    cJSON *schema = cJSON_CreateObject();

    if (!vd_json_put(schema, "type", vd_json_new_string(VD_LIT("object"))) ||
        !put_object(&m, schema, params, count)) {
        vd_json_free(schema);
        return vd_err_nomem(err, "schema");
    }
    *ret_schema = schema;
    *ret_possible = m.possible;
    return VD_OK;
}
