/* cel/eval.c - walks a checked tree; see eval.h and cel.h.
 *
 * Invariants:
 *   I1 one step is charged for each node, and size-dependent work charges beside that, so that time is bounded by the budget.
 *   I2 recursion is bounded by the height of the tree (ast.h I1).
 */
#include "cel/eval.h"

#include <assert.h>
#include <math.h>

#include "cel/function.h"

/* -- logic ------------------------------------------------------------------------------------------------------- */

/* && and || decide on the first operand that decides, wherever it stands; errors count only when none does. */
static bool run_logic(struct vd_cel_run *run, const struct vd_cel_node *node,
                      struct vd_cel_value *ret)
{
    bool deciding = node->op == VD_CEL_OP_OR;
    struct vd_cel_value error = {.kind = VD_CEL_NULL};

    for (uint32_t i = 0; i < node->arg_count; i++) {
        struct vd_cel_value v;

        if (vd_cel_run_node(run, node->args[i], &v)) {
            if (v.kind == VD_CEL_BOOL && v.u.b == deciding) {
                *ret = v;
                return true;
            }
            if (v.kind != VD_CEL_BOOL && error.kind == VD_CEL_NULL) {
                run->node = node;
                (void)vd_cel_fail(run, &error, "no such overload: %s %s ...",
                                  vd_cel_kind_name(v.kind), deciding ? "||" : "&&");
            }
        } else if (error.kind == VD_CEL_NULL || run->fatal != VD_OK) {
            error = v;
        }
        if (run->fatal != VD_OK)
            break;
    }
    if (error.kind == VD_CEL_ERROR) {
        *ret = error;
        return false;
    }
    *ret = vd_cel_bool(!deciding);
    return true;
}

static bool run_if(struct vd_cel_run *run, const struct vd_cel_node *node, struct vd_cel_value *ret)
{
    if (!vd_cel_run_node(run, node->args[0], ret))
        return false;
    if (ret->kind != VD_CEL_BOOL) {
        run->node = node;
        return vd_cel_fail(run, ret, "no such overload: %s ? ... : ...",
                           vd_cel_kind_name(ret->kind));
    }
    return vd_cel_run_node(run, node->args[ret->u.b ? 1 : 2], ret);
}

static bool run_unary(struct vd_cel_run *run, const struct vd_cel_node *node,
                      struct vd_cel_value *ret)
{
    struct vd_cel_value v;

    if (!vd_cel_run_node(run, node->args[0], &v)) {
        *ret = v;
        return false;
    }
    run->node = node;
    if (node->op == VD_CEL_OP_NEGATE)
        return vd_cel_run_negate(run, &v, ret);
    if (v.kind != VD_CEL_BOOL)
        return vd_cel_fail(run, ret, "no such overload: !%s", vd_cel_kind_name(v.kind));
    *ret = vd_cel_bool(!v.u.b);
    return true;
}

/* -- fields ------------------------------------------------------------------------------------------------------ */

/* operand.field on anything but a JSON object. */
static bool select_field(struct vd_cel_run *run, const struct vd_cel_value *operand,
                         struct vd_span field, struct vd_cel_value *ret)
{
    struct vd_cel_value key = vd_cel_string(field);

    if (operand->kind != VD_CEL_MAP)
        return vd_cel_fail(run, ret, "no such overload: %s.%s", vd_cel_kind_name(operand->kind),
                           field.ptr);
    if (!operand->is_json && !vd_cel_charge(run, ret, operand->u.map->count / 4))
        return false;
    if (!vd_cel_map_get(operand, &key, ret))
        return vd_cel_fail(run, ret, "no such key: %s", field.ptr);
    return true;
}

/* The hot path of rules: walks JSON objects and makes a value of the last node only. */
static bool run_path(struct vd_cel_run *run, const struct vd_cel_node *node,
                     struct vd_cel_value *ret)
{
    const struct vd_cel_value *base =
        node->u.path.is_local ? &run->locals[node->u.path.slot] : &run->values[node->u.path.slot];
    const struct vd_span *field = node->u.path.fields;
    const struct vd_span *end;
    struct vd_cel_value v = *base;

    run->node = node;
    if (v.kind == VD_CEL_ERROR || node->u.path.count == 0) {
        *ret = v;
        return v.kind != VD_CEL_ERROR;
    }
    end = field + node->u.path.count;
    while (field < end && v.kind == VD_CEL_MAP && v.is_json) {
        const cJSON *json = v.u.json;

        do
            json = vd_json_get_span(json, *field);
        while (json != NULL && ++field < end && cJSON_IsObject(json));
        if (json == NULL)
            return vd_cel_fail(run, ret, "no such key: %s", field->ptr);
        v = vd_cel_from_json(json);
    }
    for (; field < end; field++) {
        struct vd_cel_value operand = v;

        if (!select_field(run, &operand, *field, &v)) {
            *ret = v;
            return false;
        }
    }
    *ret = v;
    return true;
}

static bool run_select(struct vd_cel_run *run, const struct vd_cel_node *node,
                       struct vd_cel_value *ret)
{
    struct vd_cel_value operand;
    struct vd_cel_value key = vd_cel_string(node->u.call.name);

    if (!vd_cel_run_node(run, node->args[0], &operand)) {
        *ret = operand;
        return false;
    }
    run->node = node;
    if (node->op == VD_CEL_OP_SELECT)
        return select_field(run, &operand, node->u.call.name, ret);
    if (operand.kind != VD_CEL_MAP)
        return vd_cel_fail(run, ret, "no such overload: has(%s.%s)", vd_cel_kind_name(operand.kind),
                           node->u.call.name.ptr);
    *ret = vd_cel_bool(vd_cel_map_get(&operand, &key, &operand));
    return true;
}

/* -- index and membership ---------------------------------------------------------------------------------------- */

/* A list's index from any numeric type, if it is a whole number that fits. */
static bool as_index(const struct vd_cel_value *v, int64_t *ret)
{
    switch (v->kind) {
    case VD_CEL_INT:
        *ret = v->u.i;
        return true;
    case VD_CEL_UINT:
        *ret = v->u.u > INT64_MAX ? INT64_MAX : (int64_t)v->u.u;
        return true;
    case VD_CEL_DOUBLE:
        if (!(fabs(v->u.d) < 9e15) || v->u.d != floor(v->u.d))
            return false;
        *ret = (int64_t)v->u.d;
        return true;
    default:
        return false;
    }
}

static bool index_list(struct vd_cel_run *run, const struct vd_cel_value *list,
                       const struct vd_cel_value *index, struct vd_cel_value *ret)
{
    int64_t i;

    if (!as_index(index, &i))
        return index->kind == VD_CEL_DOUBLE
                   ? vd_cel_fail(run, ret, "list index is not a whole number")
                   : vd_cel_fail(run, ret, "no such overload: list[%s]",
                                 vd_cel_kind_name(index->kind));
    if (i >= 0 && list->is_json && !vd_cel_charge(run, ret, (size_t)i / 16))
        return false;
    *ret = vd_cel_item(list, i < 0 ? SIZE_MAX : (size_t)i);
    if (ret->kind == VD_CEL_ERROR)
        return vd_cel_fail(run, ret, "index out of bounds: %lld", (long long)i);
    return true;
}

static bool is_key(enum vd_cel_kind kind)
{
    return kind == VD_CEL_STRING || kind == VD_CEL_INT || kind == VD_CEL_UINT ||
           kind == VD_CEL_BOOL || kind == VD_CEL_DOUBLE;
}

static bool index_map(struct vd_cel_run *run, const struct vd_cel_value *map,
                      const struct vd_cel_value *key, struct vd_cel_value *ret)
{
    char text[VD_CEL_DOUBLE_TEXT];

    if (!is_key(key->kind))
        return vd_cel_fail(run, ret, "no such overload: map[%s]", vd_cel_kind_name(key->kind));
    if (!vd_cel_charge(run, ret, vd_cel_size(map) / 4))
        return false;
    if (vd_cel_map_get(map, key, ret))
        return true;
    switch (key->kind) {
    case VD_CEL_STRING:
        return vd_cel_fail(run, ret, "no such key: %.*s",
                           key->u.s.len > 100 ? 100 : (int)key->u.s.len, key->u.s.ptr);
    case VD_CEL_INT:
        return vd_cel_fail(run, ret, "no such key: %lld", (long long)key->u.i);
    case VD_CEL_UINT:
        return vd_cel_fail(run, ret, "no such key: %llu", (unsigned long long)key->u.u);
    case VD_CEL_DOUBLE:
        (void)vd_cel_double_text(key->u.d, text);
        return vd_cel_fail(run, ret, "no such key: %s", text);
    default:
        return vd_cel_fail(run, ret, "no such key: %s", key->u.b ? "true" : "false");
    }
}

static bool run_in(struct vd_cel_run *run, const struct vd_cel_value *item,
                   const struct vd_cel_value *all, struct vd_cel_value *ret)
{
    struct vd_cel_iter it;
    struct vd_cel_value key;
    struct vd_cel_value value;
    bool equal = false;

    if (all->kind == VD_CEL_MAP) {
        if (!vd_cel_charge(run, ret, vd_cel_size(all) / 4))
            return false;
        *ret = vd_cel_bool(vd_cel_map_get(all, item, &value));
        return true;
    }
    if (all->kind != VD_CEL_LIST)
        return vd_cel_fail_overload(run, ret, "in", item, all);
    it = vd_cel_iterate(all);
    while (!equal && vd_cel_next(&it, &key, &value))
        if (!vd_cel_run_equal(run, item, &value, &equal, ret))
            return false;
    *ret = vd_cel_bool(equal);
    return true;
}

/* -- operators with two operands --------------------------------------------------------------------------------- */

static bool run_order(struct vd_cel_run *run, enum vd_cel_op op, const struct vd_cel_value *a,
                      const struct vd_cel_value *b, struct vd_cel_value *ret)
{
    static const char *const signs[] = {"<", "<=", ">", ">="};
    int c;
    bool ordered = vd_cel_compare(a, b, &c);

    if (!ordered && (a->kind != VD_CEL_DOUBLE || !isnan(a->u.d)) &&
        (b->kind != VD_CEL_DOUBLE || !isnan(b->u.d)))
        return vd_cel_fail_overload(run, ret, signs[op - VD_CEL_OP_LT], a, b);
    if (!ordered) { /* with NaN nothing is less or greater, but only among numbers */
        if ((VD_CEL_M(a->kind) & VD_CEL_M_NUMBER) == 0 ||
            (VD_CEL_M(b->kind) & VD_CEL_M_NUMBER) == 0)
            return vd_cel_fail_overload(run, ret, signs[op - VD_CEL_OP_LT], a, b);
        *ret = vd_cel_bool(false);
        return true;
    }
    *ret = vd_cel_bool(op == VD_CEL_OP_LT   ? c < 0
                       : op == VD_CEL_OP_LE ? c <= 0
                       : op == VD_CEL_OP_GT ? c > 0
                                            : c >= 0);
    return true;
}

static bool run_binary(struct vd_cel_run *run, const struct vd_cel_node *node,
                       struct vd_cel_value *ret)
{
    struct vd_cel_value a;
    struct vd_cel_value b;
    bool equal;

    assert(node->arg_count == 2);
    if (!vd_cel_run_node(run, node->args[0], &a)) {
        *ret = a;
        return false;
    }
    if (!vd_cel_run_node(run, node->args[1], &b)) {
        *ret = b;
        return false;
    }
    run->node = node;
    switch (node->op) {
    case VD_CEL_OP_EQ:
    case VD_CEL_OP_NE:
        if (!vd_cel_run_equal(run, &a, &b, &equal, ret))
            return false;
        *ret = vd_cel_bool(equal == (node->op == VD_CEL_OP_EQ));
        return true;
    case VD_CEL_OP_LT:
    case VD_CEL_OP_LE:
    case VD_CEL_OP_GT:
    case VD_CEL_OP_GE:
        return run_order(run, node->op, &a, &b, ret);
    case VD_CEL_OP_IN:
        return run_in(run, &a, &b, ret);
    case VD_CEL_OP_INDEX:
        if (a.kind == VD_CEL_LIST)
            return index_list(run, &a, &b, ret);
        if (a.kind == VD_CEL_MAP)
            return index_map(run, &a, &b, ret);
        return vd_cel_fail(run, ret, "no such overload: %s[%s]", vd_cel_kind_name(a.kind),
                           vd_cel_kind_name(b.kind));
    default:
        return vd_cel_run_arithmetic(run, node->op, &a, &b, ret);
    }
}

/* -- lists, maps, calls ------------------------------------------------------------------------------------------ */

/* Evaluate node's arguments into new arena memory; NULL (and the error in *ret) when one fails. */
static struct vd_cel_value *run_args(struct vd_cel_run *run, const struct vd_cel_node *node,
                                     struct vd_cel_value *ret)
{
    struct vd_cel_value *args =
        vd_cel_alloc(run, ret, node->arg_count, sizeof(struct vd_cel_value));

    for (uint32_t i = 0; args != NULL && i < node->arg_count; i++) {
        if (!vd_cel_run_node(run, node->args[i], &args[i])) {
            *ret = args[i];
            return NULL;
        }
    }
    run->node = node;
    return args;
}

static bool run_list(struct vd_cel_run *run, const struct vd_cel_node *node,
                     struct vd_cel_value *ret)
{
    struct vd_cel_list *list = vd_cel_alloc(run, ret, 1, sizeof(*list));

    if (list == NULL)
        return false;
    list->count = node->arg_count;
    list->items = run_args(run, node, ret);
    if (list->items == NULL)
        return false;
    *ret = (struct vd_cel_value){.kind = VD_CEL_LIST, .u.list = list};
    return true;
}

static bool run_map(struct vd_cel_run *run, const struct vd_cel_node *node,
                    struct vd_cel_value *ret)
{
    struct vd_cel_map *map = vd_cel_alloc(run, ret, 1, sizeof(*map));
    struct vd_cel_value *args = map != NULL ? run_args(run, node, ret) : NULL;
    struct vd_cel_value so_far = {.kind = VD_CEL_MAP, .u.map = map};
    struct vd_cel_value other;

    if (args == NULL)
        return false;
    map->entries = vd_cel_alloc(run, ret, node->arg_count / 2, sizeof(struct vd_cel_entry));
    if (map->entries == NULL)
        return false;
    for (uint32_t i = 0; i < node->arg_count; i += 2) {
        if (!is_key(args[i].kind) || args[i].kind == VD_CEL_DOUBLE)
            return vd_cel_fail(run, ret, "a map's key must be a bool, int, uint or string, not %s",
                               vd_cel_kind_name(args[i].kind));
        if (!vd_cel_charge(run, ret, map->count / 4))
            return false;
        if (vd_cel_map_get(&so_far, &args[i], &other))
            return vd_cel_fail(run, ret, "a map has the same key twice");
        map->entries[map->count++] = (struct vd_cel_entry){args[i], args[i + 1]};
    }
    *ret = so_far;
    return true;
}

/* f(int, string) or int.f(string) */
static bool fail_call(struct vd_cel_run *run, const struct vd_cel_node *node,
                      const struct vd_cel_value *args, struct vd_cel_value *ret)
{
    struct vd_cel_value text;
    struct vd_cel_text t;
    uint32_t first = node->u.call.is_method ? 1 : 0;

    vd_cel_text_init(&t, run, &text);
    if (first == 1) {
        vd_cel_text_add_c(&t, vd_cel_kind_name(args[0].kind));
        vd_cel_text_add_c(&t, ".");
    }
    vd_cel_text_add(&t, node->u.call.name);
    vd_cel_text_add_c(&t, "(");
    for (uint32_t i = first; i < node->arg_count; i++) {
        if (i > first)
            vd_cel_text_add_c(&t, ", ");
        vd_cel_text_add_c(&t, vd_cel_kind_name(args[i].kind));
    }
    vd_cel_text_add_c(&t, ")");
    if (!vd_cel_text_finish(&t)) {
        *ret = text;
        return false;
    }
    return vd_cel_fail(run, ret, "no such overload: %.*s", (int)text.u.s.len, text.u.s.ptr);
}

static bool run_call(struct vd_cel_run *run, const struct vd_cel_node *node,
                     struct vd_cel_value *ret)
{
    const struct vd_cel_function *f = node->u.call.function;
    struct vd_cel_value few[VD_CEL_FUNCTION_ARGS];
    struct vd_cel_value *args = few;
    size_t cost = f->cost;

    if (node->arg_count > VD_CEL_FUNCTION_ARGS) {
        args = run_args(run, node, ret);
        if (args == NULL)
            return false;
    }
    for (uint32_t i = 0; i < node->arg_count; i++) {
        if (args == few && !vd_cel_run_node(run, node->args[i], &args[i])) {
            *ret = args[i];
            return false;
        }
        if (args[i].kind == VD_CEL_STRING || args[i].kind == VD_CEL_BYTES)
            cost += args[i].u.s.len / 32;
    }
    run->node = node;
    for (uint32_t i = 0; i < node->arg_count; i++)
        if ((vd_cel_function_mask(f, i) >> args[i].kind & 1) == 0)
            return fail_call(run, node, args, ret);
    return vd_cel_charge(run, ret, cost) && f->call(run, node, args, ret);
}

/* -- all together ------------------------------------------------------------------------------------------------ */

bool vd_cel_run_node(struct vd_cel_run *run, const struct vd_cel_node *node,
                     struct vd_cel_value *ret)
{
    if (--run->left < 0) {
        run->left = 0;
        run->node = node;
        return vd_cel_fail_limit(run, ret, "evaluation takes too many steps");
    }
    switch (node->op) {
    case VD_CEL_OP_CONST:
        *ret = node->u.constant;
        return true;
    case VD_CEL_OP_PATH:
        return run_path(run, node, ret);
    case VD_CEL_OP_SELECT:
    case VD_CEL_OP_HAS:
        return run_select(run, node, ret);
    case VD_CEL_OP_AND:
    case VD_CEL_OP_OR:
        return run_logic(run, node, ret);
    case VD_CEL_OP_NOT:
    case VD_CEL_OP_NEGATE:
        return run_unary(run, node, ret);
    case VD_CEL_OP_IF:
        return run_if(run, node, ret);
    case VD_CEL_OP_LIST:
        return run_list(run, node, ret);
    case VD_CEL_OP_MAP:
        return run_map(run, node, ret);
    case VD_CEL_OP_CALL:
        return run_call(run, node, ret);
    case VD_CEL_OP_MACRO:
        return vd_cel_run_macro(run, node, ret);
    case VD_CEL_OP_FAIL:
        run->node = node;
        return vd_cel_fail(run, ret, "%s", node->u.call.name.ptr);
    case VD_CEL_OP_IDENT:
        break; /* ast.h I2: run_binary() asserts */
    default:
        break;
    }
    return run_binary(run, node, ret);
}

enum vd_code vd_cel_eval(const struct vd_cel_program *program, struct vd_cel_eval_context *context,
                         struct vd_cel_value *ret_value, struct vd_err *err)
{
    uint64_t max = context->max_steps != 0 ? context->max_steps : VD_CEL_MAX_STEPS;
    int64_t left = max > context->steps ? (int64_t)((max - context->steps) & INT64_MAX) : 0;
    struct vd_cel_run run; /* locals stay unset: each is written before it is read */
    struct vd_cel_value v;
    bool ok;

    assert(context->count >= program->slot_count);
    run.values = context->values;
    run.arena = context->arena;
    run.left = left;
    run.fatal = VD_OK;
    run.node = NULL;
    run.verified = context->verified;
    run.verified_arg = context->verified_arg;
    ok = vd_cel_run_node(&run, program->root, &v);
    context->steps += (uint64_t)(left - run.left);
    context->error_line = ok ? 0 : v.line;
    context->error_column = ok ? 0 : v.column;
    if (ok) {
        *ret_value = v;
        return VD_OK;
    }
    return vd_err_set(err, run.fatal != VD_OK ? run.fatal : VD_E_INPUT, false, "%.*s",
                      v.u.s.len > 200 ? 200 : (int)v.u.s.len, v.u.s.ptr);
}
