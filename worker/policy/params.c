/* policy/params.c - see params.h: is a value what its parameter says? The schema for the model is params_schema.c. */
#include "policy/params.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/utf8.h"

struct check {
    struct vd_facts *facts;
    struct vd_rule_result *result;
    bool top; /* the parameter itself, not an item or field: its headroom and clamping count */
    enum vd_code rc;
    struct vd_err *err;
};

static const char *const type_names[] = {
    [VD_PARAM_INTEGER] = "integer", [VD_PARAM_NUMBER] = "number", [VD_PARAM_BOOLEAN] = "boolean",
    [VD_PARAM_STRING] = "string",   [VD_PARAM_ARRAY] = "array",   [VD_PARAM_OBJECT] = "object",
};

const char *vd_param_type_name(enum vd_param_type type)
{
    return type_names[type];
}

/* The first failure is what is reported. Always returns NULL. */
static cJSON *refuse(struct check *c, enum vd_verdict verdict, const char *allowed)
{
    if (c->result->verdict == VD_PASS || c->result->verdict == VD_CLAMPED) {
        c->result->verdict = verdict;
        c->result->allowed = allowed;
    }
    return NULL;
}

static cJSON *nomem(struct check *c)
{
    if (c->rc == VD_OK)
        c->rc = vd_err_nomem(c->err, "params");
    return NULL;
}

static cJSON *made(struct check *c, cJSON *node)
{
    return node != NULL ? node : nomem(c);
}

static const char *text(struct check *c, const char *fmt, const char *a, const char *b)
{
    const char *made_text = vd_arena_printf(vd_facts_arena(c->facts), "%s%s%s", a, fmt, b);

    if (made_text == NULL)
        (void)nomem(c);
    return made_text;
}

/* A bound's value now. *ret_has false: there is none. False after a refusal. */
static bool bound_now(struct check *c, const struct vd_param *p, const struct vd_bound *bound,
                      struct vd_cel_value *ret, bool *ret_has)
{
    struct vd_err why;
    enum vd_code rc;

    *ret_has = bound->literal != NULL || bound->program != NULL;
    if (bound->literal != NULL)
        *ret = vd_cel_from_json(bound->literal);
    if (bound->program == NULL)
        return true;
    rc = vd_facts_eval(c->facts, bound->program, ret, &why);
    if (rc == VD_E_NOMEM) {
        (void)nomem(c);
        return false;
    }
    if (rc == VD_OK && (ret->kind == VD_CEL_INT || ret->kind == VD_CEL_UINT ||
                        (ret->kind == VD_CEL_DOUBLE && isfinite(ret->u.d))))
        return true;
    (void)refuse(c, VD_ERROR_VERDICT, NULL);
    c->result->detail =
        vd_arena_printf(vd_facts_arena(c->facts), "a bound of %s cannot be computed: %s", p->path,
                        rc == VD_OK ? "it is no number" : why.msg);
    return false;
}

static double number_of(const struct vd_cel_value *v)
{
    return v->kind == VD_CEL_INT    ? (double)v->u.i
           : v->kind == VD_CEL_UINT ? (double)v->u.u
                                    : v->u.d;
}

static void number_text(const struct vd_cel_value *v, char *out, size_t size)
{
    if (v->kind == VD_CEL_INT)
        (void)snprintf(out, size, "%lld", (long long)v->u.i);
    else if (v->kind == VD_CEL_UINT)
        (void)snprintf(out, size, "%llu", (unsigned long long)v->u.u);
    else
        (void)snprintf(out, size, "%.15g", v->u.d);
}

static const char *range_text(struct check *c, const struct vd_cel_value *min, bool has_min,
                              const struct vd_cel_value *max, bool has_max)
{
    char low[40] = "", high[40] = "";

    if (has_min)
        number_text(min, low, sizeof(low));
    if (has_max)
        number_text(max, high, sizeof(high));
    if (has_min && has_max)
        return vd_arena_printf(vd_facts_arena(c->facts), "from %s to %s", low, high);
    return has_min ? text(c, low, "at least ", "") : text(c, high, "at most ", "");
}

/* The nearest allowed value of the param's type to the bound. */
static cJSON *clamp_to(struct check *c, const struct vd_param *p, const struct vd_cel_value *bound,
                       bool is_min, const struct vd_cel_value *value)
{
    char was[40], now[40];
    double d = number_of(bound);
    struct vd_cel_value result = *bound;

    if (p->type == VD_PARAM_INTEGER && bound->kind != VD_CEL_INT) {
        d = is_min ? ceil(d) : floor(d);
        if (!(fabs(d) < 9007199254740992.0))
            return refuse(c, VD_FAIL, c->result->allowed);
        result = (struct vd_cel_value){.kind = VD_CEL_INT, .u.i = (int64_t)d};
    }
    number_text(value, was, sizeof(was));
    number_text(&result, now, sizeof(now));
    c->result->verdict = VD_CLAMPED;
    c->result->detail = vd_arena_printf(vd_facts_arena(c->facts), "%s became %s", was, now);
    return made(c, result.kind == VD_CEL_INT ? vd_json_new_int(result.u.i)
                                             : vd_json_new_double(number_of(&result)));
}

static cJSON *check_range(struct check *c, const struct vd_param *p,
                          const struct vd_cel_value *value, cJSON *take_node)
{
    struct vd_cel_value min, max;
    bool has_min, has_max;
    int below = 0, above = 0;
    double room;

    if (take_node == NULL || !bound_now(c, p, &p->min, &min, &has_min) ||
        !bound_now(c, p, &p->max, &max, &has_max))
        goto refused;
    if ((has_min && !vd_cel_compare(value, &min, &below)) ||
        (has_max && !vd_cel_compare(value, &max, &above))) {
        (void)refuse(c, VD_ERROR_VERDICT, NULL);
        goto refused;
    }
    if (has_min || has_max) {
        room = has_min ? number_of(value) - number_of(&min) : INFINITY;
        if (has_max && number_of(&max) - number_of(value) < room)
            room = number_of(&max) - number_of(value);
        c->result->has_headroom = c->top;
        c->result->headroom = room;
    }
    if (!(has_min && below < 0) && !(has_max && above > 0))
        return take_node;
    vd_json_free(take_node);
    /* Bounds that cross allow nothing: there is no nearest value. */
    if (has_min && has_max && number_of(&min) > number_of(&max))
        return refuse(c, VD_FAIL, "nothing now: the minimum is above the maximum");
    if (p->on_fail == VD_ON_FAIL_CLAMP && c->top)
        return clamp_to(c, p, has_min && below < 0 ? &min : &max, has_min && below < 0, value);
    return refuse(c, VD_FAIL, range_text(c, &min, has_min, &max, has_max));
refused:
    vd_json_free(take_node);
    return NULL;
}

static const char *choices_text(struct check *c, const struct vd_cel_value *list,
                                const cJSON *choices)
{
    struct vd_buf out;
    struct vd_span copy = {NULL, 0};
    size_t count = list != NULL ? vd_cel_size(list) : (size_t)cJSON_GetArraySize(choices);

    vd_buf_init(&out, 1024);
    (void)vd_buf_add_c(&out, count == 0 ? "nothing now" : "one of ");
    for (size_t i = 0; i < count && out.failed == VD_OK; i++) {
        struct vd_cel_value item;
        cJSON *node = NULL;

        if (list != NULL) {
            item = vd_cel_item(list, i);
            (void)!vd_cel_to_json(&item, &node, NULL);
        }
        (void)vd_buf_add_c(&out, i > 0 ? ", " : "");
        if (list == NULL || node != NULL)
            (void)vd_json_write(&out, list != NULL ? node : cJSON_GetArrayItem(choices, (int)i));
        vd_json_free(node);
    }
    if (vd_arena_dup(vd_facts_arena(c->facts), vd_buf_span(&out), &copy) != VD_OK)
        (void)nomem(c);
    vd_buf_free(&out);
    return copy.ptr;
}

static bool in_choices(struct check *c, const struct vd_param *p, const cJSON *value)
{
    const cJSON *item;

    if (p->choices == NULL)
        return true;
    cJSON_ArrayForEach(item, p->choices) if (vd_json_equal(item, value)) return true;
    (void)refuse(c, VD_FAIL, choices_text(c, NULL, p->choices));
    return false;
}

static bool in_from(struct check *c, const struct vd_param *p, const cJSON *value)
{
    struct vd_cel_value list, mine = vd_cel_from_json(value);
    struct vd_err why;
    enum vd_code rc;

    if (p->from == NULL)
        return true;
    rc = vd_facts_eval(c->facts, p->from, &list, &why);
    if (rc == VD_E_NOMEM) {
        (void)nomem(c);
        return false;
    }
    if (rc != VD_OK || list.kind != VD_CEL_LIST) {
        (void)refuse(c, VD_ERROR_VERDICT, NULL);
        c->result->detail =
            vd_arena_printf(vd_facts_arena(c->facts), "the choices of %s cannot be computed: %s",
                            p->path, rc == VD_OK ? "they are no list" : why.msg);
        return false;
    }
    for (size_t i = 0; i < vd_cel_size(&list); i++) {
        struct vd_cel_value item = vd_cel_item(&list, i);

        if (vd_cel_equal(&item, &mine))
            return true;
    }
    (void)refuse(c, VD_FAIL, choices_text(c, &list, NULL));
    return false;
}

static bool check_text(struct check *c, const struct vd_param *p, const cJSON *value)
{
    struct vd_span s = vd_json_string(value);
    size_t max = p->max_len > 0 ? p->max_len : VD_PARAM_MAX_STRING;
    struct vd_schema_result result;

    if (vd_utf8_count(s) > max) {
        (void)refuse(c, VD_FAIL,
                     vd_arena_printf(vd_facts_arena(c->facts), "at most %zu characters", max));
        return false;
    }
    if (p->pattern_schema == NULL)
        return true;
    if (vd_schema_validate(p->pattern_schema, value, 0, vd_facts_arena(c->facts), &result, NULL) !=
        VD_OK) {
        (void)refuse(c, VD_ERROR_VERDICT, NULL);
        return false;
    }
    if (!result.valid)
        (void)refuse(c, VD_FAIL, text(c, p->pattern, "text that matches ", ""));
    return result.valid;
}

static cJSON *check_value(struct check *c, const struct vd_param *p, const cJSON *value);

/* Items and fields: their headroom is nobody's, and they are not clamped. */
static cJSON *check_inner(struct check *c, const struct vd_param *p, const cJSON *value)
{
    struct check inner = *c;
    cJSON *node;

    inner.top = false;
    node = check_value(&inner, p, value);
    c->rc = inner.rc;
    return node;
}

static bool check_count(struct check *c, const struct vd_param *p, size_t count)
{
    struct vd_cel_value min, max, n = {.kind = VD_CEL_INT, .u.i = (int64_t)count};
    bool has_min, has_max;
    int below = 0, above = 0;

    if (!bound_now(c, p, &p->min_items, &min, &has_min) ||
        !bound_now(c, p, &p->max_items, &max, &has_max))
        return false;
    if ((has_min && !vd_cel_compare(&n, &min, &below)) ||
        (has_max && !vd_cel_compare(&n, &max, &above))) {
        (void)refuse(c, VD_ERROR_VERDICT, NULL);
        return false;
    }
    if (below >= 0 && above <= 0 && count <= VD_PARAM_MAX_ITEMS)
        return true;
    (void)refuse(c, VD_FAIL,
                 has_min || has_max
                     ? text(c, range_text(c, &min, has_min, &max, has_max), "", " items")
                     : "fewer items");
    return false;
}

static cJSON *check_array(struct check *c, const struct vd_param *p, const cJSON *value)
{
    size_t count = (size_t)cJSON_GetArraySize(value);
    cJSON *out = made(c, cJSON_CreateArray());
    const cJSON *item, *other;

    if (out == NULL || !check_count(c, p, count))
        return vd_json_free(out);
    cJSON_ArrayForEach(item, value)
    {
        cJSON *node =
            p->items != NULL ? check_inner(c, p->items, item) : made(c, vd_json_copy(item));

        if (node == NULL || !in_from(c, p, node)) {
            vd_json_free(node);
            return vd_json_free(out);
        }
        for (other = out->child; p->unique && other != NULL; other = other->next)
            if (vd_json_equal(other, node)) {
                vd_json_free(node);
                vd_json_free(out);
                return refuse(c, VD_FAIL, "no item twice");
            }
        if (!vd_json_append(out, node)) {
            vd_json_free(out);
            return nomem(c);
        }
    }
    return out;
}

static cJSON *check_object(struct check *c, const struct vd_param *p, const cJSON *value)
{
    cJSON *out = made(c, cJSON_CreateObject());
    const cJSON *member;

    cJSON_ArrayForEach(member, value)
    {
        bool known = false;

        for (size_t i = 0; i < p->field_count; i++)
            known = known || strcmp(p->fields[i].name, member->string) == 0;
        if (!known) {
            vd_json_free(out);
            return refuse(c, VD_FAIL, text(c, p->path, "only the declared fields of ", ""));
        }
    }
    for (size_t i = 0; i < p->field_count && out != NULL; i++) {
        const cJSON *field = vd_json_get(value, p->fields[i].name);
        cJSON *node;

        if (field == NULL) {
            vd_json_free(out);
            return refuse(c, VD_FAIL, text(c, p->fields[i].path, "with ", ""));
        }
        node = check_inner(c, &p->fields[i], field);
        if (node == NULL)
            return vd_json_free(out);
        if (!vd_json_put(out, p->fields[i].name, node)) {
            vd_json_free(out);
            return nomem(c);
        }
    }
    return out;
}

/* An integer as an integer: 4.0 is 4, as JSON Schema has it. */
static cJSON *check_integer(struct check *c, const struct vd_param *p, const cJSON *value)
{
    struct vd_cel_value v = {.kind = VD_CEL_INT};
    double d;

    if (!vd_json_int(value, &v.u.i)) {
        if (vd_json_kind(value) != VD_JSON_DOUBLE || !vd_json_double(value, &d) || d != floor(d) ||
            !(fabs(d) < 9007199254740992.0))
            return refuse(c, VD_FAIL, "a whole number");
        v.u.i = (int64_t)d;
    }
    return check_range(c, p, &v, made(c, vd_json_new_int(v.u.i)));
}

static cJSON *check_number(struct check *c, const struct vd_param *p, const cJSON *value)
{
    enum vd_json_kind kind = vd_json_kind(value);
    struct vd_cel_value v = vd_cel_from_json(value);

    if (kind != VD_JSON_INT && kind != VD_JSON_DOUBLE)
        return refuse(c, VD_FAIL, "a number");
    return check_range(c, p, &v, made(c, vd_json_copy(value)));
}

static cJSON *check_value(struct check *c, const struct vd_param *p, const cJSON *value)
{
    enum vd_json_kind kind = vd_json_kind(value);
    cJSON *node = NULL;

    switch (p->type) {
    case VD_PARAM_INTEGER:
        node = check_integer(c, p, value);
        break;
    case VD_PARAM_NUMBER:
        node = check_number(c, p, value);
        break;
    case VD_PARAM_BOOLEAN:
        node = kind == VD_JSON_BOOL ? made(c, vd_json_copy(value))
                                    : refuse(c, VD_FAIL, "true or false");
        break;
    case VD_PARAM_STRING:
        if (kind != VD_JSON_STRING)
            return refuse(c, VD_FAIL, "a text");
        node = check_text(c, p, value) ? made(c, vd_json_copy(value)) : NULL;
        break;
    case VD_PARAM_ARRAY:
        return kind == VD_JSON_ARRAY ? check_array(c, p, value) : refuse(c, VD_FAIL, "a list");
    case VD_PARAM_OBJECT:
        return kind == VD_JSON_OBJECT ? check_object(c, p, value) : refuse(c, VD_FAIL, "an object");
    }
    if (node != NULL && (!in_choices(c, p, node) || !in_from(c, p, node)))
        node = vd_json_free(node);
    return node;
}

enum vd_code vd_param_check(struct vd_facts *facts, const struct vd_param *param,
                            const cJSON *value, struct vd_rule_result *ret, cJSON **ret_value,
                            struct vd_err *err)
{
    struct check c = {.facts = facts, .result = ret, .top = true, .err = err};
    cJSON *node;

    ret->verdict = VD_PASS;
    ret->why = param->why != NULL ? param->why : "the value must be what the policy allows";
    node = check_value(&c, param, value);
    if (c.rc != VD_OK) {
        vd_json_free(node);
        return c.rc;
    }
    if (node == NULL && ret->verdict == VD_CLAMPED)
        ret->verdict = VD_FAIL; /* clamped, and then refused by enum or from */
    assert(node == NULL || ret->verdict == VD_PASS || ret->verdict == VD_CLAMPED);
    assert(node != NULL || ret->verdict == VD_FAIL || ret->verdict == VD_ERROR_VERDICT); /* I1 */
    *ret_value = node;
    return VD_OK;
}
