/* policy/state.c - see state.h. */
#include "policy/state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/utf8.h"
#include "policy/params.h"

/* -- what is stored ---------------------------------------------------------------------------------------------- */

static cJSON *from_text(const struct vd_policy_field *field, struct vd_span text)
{
    int64_t i;
    double d;

    switch (field->type) {
    case VD_PARAM_INTEGER:
        return vd_parse_i64(text, &i) ? vd_json_new_int(i) : NULL;
    case VD_PARAM_NUMBER:
        if (vd_parse_i64(text, &i))
            return vd_json_new_int(i);
        return vd_parse_double(text, &d) ? vd_json_new_double(d) : NULL;
    case VD_PARAM_BOOLEAN:
        if (vd_span_eq_c(text, "true"))
            return cJSON_CreateTrue();
        return vd_span_eq_c(text, "false") ? cJSON_CreateFalse() : NULL;
    default:
        return vd_json_new_string(text);
    }
}

/* Already of its type, as cases have it. */
static cJSON *from_typed(const struct vd_policy_field *field, const cJSON *value)
{
    enum vd_json_kind kind = vd_json_kind(value);
    bool fits =
        (field->type == VD_PARAM_INTEGER && kind == VD_JSON_INT) ||
        (field->type == VD_PARAM_NUMBER && (kind == VD_JSON_INT || kind == VD_JSON_DOUBLE)) ||
        (field->type == VD_PARAM_BOOLEAN && kind == VD_JSON_BOOL);

    return fits ? vd_json_copy(value) : NULL;
}

enum vd_code vd_state_accept(const struct vd_policy_state *state, const cJSON *raw,
                             cJSON **ret_tree, struct vd_err *err)
{
    cJSON *tree = cJSON_CreateObject();
    bool ok = tree != NULL;

    for (size_t i = 0; i < state->field_count && ok; i++) {
        const struct vd_policy_field *field = &state->fields[i];
        const cJSON *value = vd_json_get(raw, field->name);
        cJSON *node = value == NULL ? vd_json_copy(field->initial)
                      : vd_json_kind(value) == VD_JSON_STRING
                          ? from_text(field, vd_json_string(value))
                          : from_typed(field, value);

        if (node == NULL && value != NULL) {
            vd_json_free(tree);
            return vd_err_set(err, VD_E_INPUT, false, "state.%s: what is stored is no %s",
                              field->name, vd_param_type_name(field->type));
        }
        ok = vd_json_put(tree, field->name, node);
    }
    if (!ok) {
        vd_json_free(tree);
        return vd_err_nomem(err, "state");
    }
    *ret_tree = tree;
    return VD_OK;
}

cJSON *vd_state_texts(const cJSON *tree)
{
    cJSON *texts = cJSON_CreateObject();
    const cJSON *field;

    cJSON_ArrayForEach(field, tree)
    {
        struct vd_buf text;
        bool is_text = vd_json_kind(field) == VD_JSON_STRING, ok;

        if (texts == NULL)
            break;
        vd_buf_init(&text, VD_STATE_MAX_BYTES);
        ok = (is_text ? vd_buf_add(&text, vd_json_string(field)) : vd_json_write(&text, field)) ==
                 VD_OK &&
             vd_json_put(texts, field->string, vd_json_new_string(vd_buf_span(&text)));
        vd_buf_free(&text);
        if (!ok)
            texts = vd_json_free(texts);
    }
    return texts;
}

/* -- what comes next --------------------------------------------------------------------------------------------- */

/* The value as the field's type; NULL: it is none, *ret_why says so. */
static cJSON *as_field(const struct vd_policy_field *field, const struct vd_cel_value *v,
                       const char **ret_why)
{
    bool whole =
        v->kind == VD_CEL_DOUBLE && fabs(v->u.d) < 9007199254740992.0 && v->u.d == floor(v->u.d);

    *ret_why = vd_cel_kind_name(v->kind);
    switch (field->type) {
    case VD_PARAM_INTEGER:
    case VD_PARAM_NUMBER:
        if (v->kind == VD_CEL_INT)
            return vd_json_new_int(v->u.i);
        if (v->kind == VD_CEL_UINT && v->u.u <= INT64_MAX)
            return vd_json_new_int((int64_t)v->u.u);
        if (field->type == VD_PARAM_INTEGER)
            return whole ? vd_json_new_int((int64_t)v->u.d) : NULL;
        return v->kind == VD_CEL_DOUBLE && isfinite(v->u.d) ? vd_json_new_double(v->u.d) : NULL;
    case VD_PARAM_BOOLEAN:
        return v->kind == VD_CEL_BOOL ? cJSON_CreateBool(v->u.b) : NULL;
    default:
        if (v->kind != VD_CEL_STRING)
            return NULL;
        *ret_why = "longer than max_len";
        return vd_utf8_count(v->u.s) <= field->max_len ? vd_json_new_string(v->u.s) : NULL;
    }
}

bool vd_state_error(cJSON *errors, const char *field, const char *text)
{
    cJSON *error = cJSON_CreateObject();
    bool ok = error != NULL && vd_json_put(error, "field", vd_json_new_string(vd_span_of(field))) &&
              vd_json_put(error, "error", vd_json_new_string(vd_span_of(text)));

    return vd_json_append(errors, ok ? error : vd_json_free(error));
}

/* One field's next value; its old one after an error. NULL: out of memory. */
static cJSON *next_of(struct vd_facts *facts, const struct vd_policy_field *field,
                      const cJSON *before, cJSON *errors)
{
    struct vd_arena_mark mark = vd_arena_mark(vd_facts_arena(facts));
    struct vd_cel_value value;
    struct vd_err why = {0};
    const char *kind = NULL;
    cJSON *node = NULL;
    char text[sizeof(why.msg) + 8];

    if (vd_facts_eval(facts, field->next, &value, &why) == VD_OK)
        node = as_field(field, &value, &kind);
    if (node == NULL) {
        (void)snprintf(text, sizeof(text), "%s%s", kind != NULL ? "it is " : "",
                       kind != NULL ? kind : why.msg);
        if (vd_state_error(errors, field->name, text))
            node = vd_json_copy(vd_json_get(before, field->name));
    }
    vd_arena_rewind(vd_facts_arena(facts), mark);
    return node;
}

enum vd_code vd_state_next(struct vd_facts *facts, cJSON **ret_tree, cJSON **ret_errors,
                           struct vd_err *err)
{
    const struct vd_policy_state *state = vd_facts_policy(facts)->state;
    const cJSON *before = vd_facts_tree(facts, state->slot);
    cJSON *tree = cJSON_CreateObject(), *errors = cJSON_CreateArray();
    bool ok = tree != NULL && errors != NULL;

    for (size_t i = 0; i < state->field_count && ok; i++)
        ok = vd_json_put(tree, state->fields[i].name,
                         next_of(facts, &state->fields[i], before, errors));
    if (!ok) {
        vd_json_free(tree);
        vd_json_free(errors);
        return vd_err_nomem(err, "state");
    }
    *ret_tree = tree;
    *ret_errors = errors;
    return VD_OK;
}
