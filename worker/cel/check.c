/* cel/check.c - see check.h. Visits children first; a node's kinds and schema are known when its parent looks at them. */
#include "cel/check.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "cel/eval.h"
#include "cel/function.h"
#include "cel/lexer.h"
#include "cel/names.h"
#include "cel/regex.h"
#include "cel/schema_type.h"
#include "cel/zone.h"

#define M(kind) VD_CEL_M(VD_CEL_##kind)
/* check() recurses; what needs large locals must not be part of its frames. */
#define OFF_THE_RECURSION __attribute__((noinline))

struct local {
    struct vd_span name;
    uint32_t kinds;
    const cJSON *schema;
    const cJSON *schema_root;
};

struct checker {
    const struct vd_cel_env *env;
    struct vd_cel_program *program;
    struct vd_arena *arena;
    struct vd_err *err;
    enum vd_code rc; /* first failure; everything returns at once when it is set */
    struct local locals[VD_CEL_MAX_LOCALS];
    uint16_t local_count;
};

static void check(struct checker *c, struct vd_cel_node *n);

/* -- reporting --------------------------------------------------------------------------------------------------- */

static void nomem(struct checker *c)
{
    if (c->rc == VD_OK)
        c->rc = vd_err_nomem(c->err, "cel program");
}

/* A name or function that does not exist. Strict: the end. Lenient: n becomes an error of evaluation. */
static void missing(struct checker *c, struct vd_cel_node *n, const char *fmt, ...) VD_PRINTF(3, 4);
static void missing(struct checker *c, struct vd_cel_node *n, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    if (c->rc != VD_OK)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!c->env->lenient) {
        c->rc = vd_cel_error_at(c->err, n->line, n->column, "%s", text);
        return;
    }
    n->op = VD_CEL_OP_FAIL;
    n->kinds = VD_CEL_M_DYN;
    n->schema = NULL;
    n->arg_count = 0;
    if (vd_arena_dup(c->arena, vd_span_of(text), &n->u.call.name) != VD_OK)
        nomem(c);
}

/* What cannot work with the kinds that are known. Lenient: evaluation will find it. */
static void wrong(struct checker *c, const struct vd_cel_node *n, const char *fmt, ...)
    VD_PRINTF(3, 4);
static void wrong(struct checker *c, const struct vd_cel_node *n, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    if (c->rc != VD_OK || c->env->lenient)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->rc = vd_cel_error_at(c->err, n->line, n->column, "%s", text);
}

static void set_type(struct vd_cel_node *n, uint32_t kinds, const cJSON *schema, const cJSON *root)
{
    n->kinds = kinds;
    n->schema = schema;
    n->schema_root = root;
}

/* -- names ------------------------------------------------------------------------------------------------------- */

static const struct local *find_local(const struct checker *c, const struct vd_cel_node *name)
{
    if (name->u.call.is_absolute)
        return NULL;
    for (size_t i = c->local_count; i > 0; i--)
        if (c->locals[i - 1].name.ptr != NULL &&
            vd_span_eq(c->locals[i - 1].name, name->u.call.name))
            return &c->locals[i - 1];
    return NULL;
}

static OFF_THE_RECURSION void unknown_name(struct checker *c, struct vd_cel_node *top,
                                           struct vd_cel_node *name)
{
    struct vd_cel_nearest nearest = {.wanted = name->u.call.name};
    char hint[VD_CEL_MAX_NAME_LEN + 20];
    unsigned line = name->line;
    unsigned column = name->column;

    for (size_t i = 0; i < c->env->count; i++)
        vd_cel_nearest_visit(&nearest, c->env->names[i].name);
    for (size_t i = 0; i < c->local_count; i++)
        if (c->locals[i].name.ptr != NULL)
            vd_cel_nearest_visit(&nearest, c->locals[i].name.ptr);
    vd_cel_nearest_text(&nearest, hint, sizeof(hint));
    top->line = (uint16_t)line;
    top->column = (uint16_t)column;
    missing(c, top, "unknown name \"%.60s\"%.80s", nearest.wanted.ptr, hint);
}

/* -- fields ------------------------------------------------------------------------------------------------------ */

static OFF_THE_RECURSION void unknown_field(struct checker *c, const struct vd_cel_node *n,
                                            struct vd_span field, const cJSON *schema,
                                            const cJSON *root)
{
    struct vd_cel_nearest nearest = {.wanted = field};
    char hint[VD_CEL_MAX_NAME_LEN + 20];

    vd_cel_schema_names(schema, root, vd_cel_nearest_visit, &nearest);
    vd_cel_nearest_text(&nearest, hint, sizeof(hint));
    wrong(c, n, "the schema has no field \"%.60s\" here%.80s", field.ptr, hint);
}

/* One step .field at node n from a value of type *at, which becomes the type of the field. */
static void step_into(struct checker *c, const struct vd_cel_node *n, struct vd_span field,
                      struct local *at)
{
    const cJSON *schema = NULL;
    char kinds[120];

    if ((at->kinds & M(MAP)) == 0) {
        vd_cel_kinds_text(at->kinds, kinds, sizeof(kinds));
        wrong(c, n, "no field \"%.60s\": the value is %s, not a map", field.ptr, kinds);
    }
    if (at->schema != NULL && !vd_cel_schema_field(at->schema, at->schema_root, field, &schema))
        unknown_field(c, n, field, at->schema, at->schema_root);
    at->schema = schema;
    at->kinds = schema != NULL ? vd_cel_schema_kinds(schema, at->schema_root) : VD_CEL_M_DYN;
}

/* The chain from `from` on as fields of a variable: top becomes a PATH. */
static void make_path(struct checker *c, struct vd_cel_node *top, struct vd_cel_node *const *chain,
                      size_t from, size_t count, struct local at, uint16_t slot, bool is_local)
{
    struct vd_span *fields = NULL;

    if (count > from) {
        fields = vd_arena_array(c->arena, count - from, sizeof(*fields));
        if (fields == NULL) {
            nomem(c);
            return;
        }
    }
    for (size_t i = from; i < count && c->rc == VD_OK; i++) {
        fields[i - from] = chain[i]->u.call.name;
        step_into(c, chain[i], fields[i - from], &at);
    }
    if (c->rc != VD_OK)
        return;
    top->op = VD_CEL_OP_PATH;
    top->arg_count = 0;
    top->u.path.fields = fields;
    top->u.path.count = (uint32_t)(count - from);
    top->u.path.slot = slot;
    top->u.path.is_local = is_local;
    set_type(top, at.kinds, at.schema, at.schema_root);
}

static OFF_THE_RECURSION void check_chain(struct checker *c, struct vd_cel_node *const *chain,
                                          size_t count)
{
    struct vd_cel_node *top = chain[count - 1];
    const struct local *local = find_local(c, chain[0]);
    struct vd_cel_value type;
    uint16_t slot = 0;
    size_t len = 1;

    if (local != NULL) {
        make_path(c, top, chain, 1, count, *local, (uint16_t)(local - c->locals), true);
        return;
    }
    switch (vd_cel_chain_resolve(c->env, chain, count, &len, &slot, &type)) {
    case VD_CEL_FOUND_SLOT: {
        const cJSON *schema = c->env->names[slot].schema;
        struct local at = {
            .kinds = vd_cel_schema_kinds(schema, schema), .schema = schema, .schema_root = schema};

        c->program->uses[slot] = true;
        make_path(c, top, chain, len, count, at, slot, false);
        return;
    }
    case VD_CEL_FOUND_TYPE:
        chain[len - 1]->op = VD_CEL_OP_CONST;
        chain[len - 1]->arg_count = 0;
        chain[len - 1]->u.constant = type;
        set_type(chain[len - 1], M(TYPE), NULL, NULL);
        if (len < count)
            wrong(c, chain[len], "a type has no fields");
        return;
    case VD_CEL_FOUND_NOTHING:
        unknown_name(c, top, chain[0]);
        return;
    }
}

/* Is n a plain name's selection a.b.c? Then it is checked as a whole. */
static OFF_THE_RECURSION bool try_chain(struct checker *c, struct vd_cel_node *n)
{
    struct vd_cel_node *chain[VD_CEL_MAX_HEIGHT];
    size_t count = n->op == VD_CEL_OP_SELECT ? vd_cel_chain_gather(n, chain) : 0;

    if (count > 0)
        check_chain(c, chain, count);
    return count > 0;
}

/* operand.field and has(operand.field) where operand is not a plain name. */
static void check_select(struct checker *c, struct vd_cel_node *n)
{
    const struct vd_cel_node *operand;
    struct local at;

    if (try_chain(c, n))
        return;
    check(c, n->args[0]);
    if (c->rc != VD_OK)
        return;
    operand = n->args[0];
    at = (struct local){
        .kinds = operand->kinds, .schema = operand->schema, .schema_root = operand->schema_root};
    step_into(c, n, n->u.call.name, &at);
    if (n->op == VD_CEL_OP_HAS)
        set_type(n, M(BOOL), NULL, NULL);
    else
        set_type(n, at.kinds, at.schema, at.schema_root);
}

/* -- operators --------------------------------------------------------------------------------------------------- */

static const char *sign_of(enum vd_cel_op op)
{
    static const char *const signs[] = {"&&", "||", "!",  "-", "? :", "+", "-",  "*",  "/",
                                        "%",  "==", "!=", "<", "<=",  ">", ">=", "in", "[]"};

    return signs[op - VD_CEL_OP_AND];
}

static void check_bool(struct checker *c, const struct vd_cel_node *n, const char *sign)
{
    char kinds[120];

    if ((n->kinds & M(BOOL)) != 0)
        return;
    vd_cel_kinds_text(n->kinds, kinds, sizeof(kinds));
    wrong(c, n, "%s needs a bool, this is %s", sign, kinds);
}

static void check_index(struct checker *c, struct vd_cel_node *n)
{
    struct vd_cel_node *operand = n->args[0];
    const struct vd_cel_node *index = n->args[1];
    struct local at = {
        .kinds = operand->kinds, .schema = operand->schema, .schema_root = operand->schema_root};

    set_type(n, VD_CEL_M_DYN, NULL, NULL);
    if (operand->schema == NULL)
        return;
    if (operand->kinds == M(MAP) && index->op == VD_CEL_OP_CONST &&
        index->u.constant.kind == VD_CEL_STRING) {
        step_into(c, n, index->u.constant.u.s, &at);
        set_type(n, at.kinds, at.schema, at.schema_root);
    } else if (operand->kinds == M(LIST)) {
        const cJSON *items = vd_cel_schema_items(operand->schema, operand->schema_root);

        set_type(n, vd_cel_schema_kinds(items, operand->schema_root), items, operand->schema_root);
    }
}

static OFF_THE_RECURSION void check_binary(struct checker *c, struct vd_cel_node *n)
{
    const uint32_t number = M(INT) | M(DOUBLE); /* what a schema calls a number */
    uint32_t a = n->args[0]->kinds;
    uint32_t b = n->args[1]->kinds;
    char at[120];
    char bt[120];
    bool partial;
    uint32_t result = vd_cel_check_operator(n->op, a, b, &partial);

    vd_cel_kinds_text(a, at, sizeof(at));
    vd_cel_kinds_text(b, bt, sizeof(bt));
    if (result == 0 && (n->op == VD_CEL_OP_EQ || n->op == VD_CEL_OP_NE))
        wrong(c, n, "%s and %s are never equal", at, bt);
    else if (result == 0)
        wrong(c, n, "no such overload: %s %s %s", at, sign_of(n->op), bt);
    else if (partial && (a == number || b == number) && ((a | b) & ~VD_CEL_M_NUMBER) == 0)
        wrong(c, n,
              "no such overload for some numbers: %s %s %s; a JSON number may be an int (10) or a "
              "double (10.5), write double(...) around it",
              at, sign_of(n->op), bt);
    set_type(n, result == 0 ? VD_CEL_M_DYN : result, NULL, NULL);
    if (n->op == VD_CEL_OP_INDEX && c->rc == VD_OK)
        check_index(c, n);
}

static void check_operands(struct checker *c, struct vd_cel_node *n)
{
    bool is_logic = n->op == VD_CEL_OP_AND || n->op == VD_CEL_OP_OR || n->op == VD_CEL_OP_NOT;
    char kinds[120];

    for (uint32_t i = 0; i < n->arg_count; i++) {
        check(c, n->args[i]);
        if (c->rc != VD_OK)
            return;
        if (is_logic || (n->op == VD_CEL_OP_IF && i == 0))
            check_bool(c, n->args[i], sign_of(n->op));
    }
    switch (n->op) {
    case VD_CEL_OP_AND:
    case VD_CEL_OP_OR:
    case VD_CEL_OP_NOT:
        set_type(n, M(BOOL), NULL, NULL);
        return;
    case VD_CEL_OP_NEGATE:
        vd_cel_kinds_text(n->args[0]->kinds, kinds, sizeof(kinds));
        if ((n->args[0]->kinds & (M(INT) | M(DOUBLE))) == 0)
            wrong(c, n, "no such overload: -%s", kinds);
        set_type(n, M(INT) | M(DOUBLE), NULL, NULL);
        if ((n->args[0]->kinds & ~(M(INT) | M(DOUBLE))) == 0)
            n->kinds = n->args[0]->kinds;
        return;
    case VD_CEL_OP_IF:
        set_type(n, n->args[1]->kinds | n->args[2]->kinds, NULL, NULL);
        return;
    case VD_CEL_OP_LIST:
        set_type(n, M(LIST), NULL, NULL);
        return;
    case VD_CEL_OP_MAP:
        set_type(n, M(MAP), NULL, NULL);
        return;
    default:
        check_binary(c, n);
        return;
    }
}

/* -- macros ------------------------------------------------------------------------------------------------------ */

/* Types of the variables; an unused first name stays without a name. */
static void bind_locals(struct checker *c, struct vd_cel_node *n)
{
    const struct vd_cel_node *range = n->args[0];
    bool has_index = n->u.macro.has_index;
    struct local *first = &c->locals[c->local_count];
    struct local *item = has_index ? first + 1 : first;
    bool is_list = range->kinds == M(LIST);
    bool is_map = range->kinds == M(MAP);
    const cJSON *items = is_list ? vd_cel_schema_items(range->schema, range->schema_root) : NULL;
    uint32_t key_kinds = is_list                           ? M(INT)
                         : is_map && range->schema != NULL ? M(STRING)
                                                           : VD_CEL_M_DYN;

    n->u.macro.first_local = c->local_count;
    *item = (struct local){.name = n->u.macro.names[1],
                           .kinds = vd_cel_schema_kinds(items, range->schema_root),
                           .schema = items,
                           .schema_root = range->schema_root};
    if (has_index)
        *first = (struct local){.name = n->u.macro.names[0], .kinds = key_kinds};
    else if (is_map)
        item->kinds = key_kinds;
    c->local_count = (uint16_t)(c->local_count + (has_index ? 2 : 1));
}

static void set_macro_type(struct vd_cel_node *n, const struct local *item)
{
    const struct vd_cel_node *range = n->args[0];

    switch (n->u.macro.kind) {
    case VD_CEL_MACRO_ALL:
    case VD_CEL_MACRO_EXISTS:
    case VD_CEL_MACRO_EXISTS_ONE:
        set_type(n, M(BOOL), NULL, NULL);
        return;
    case VD_CEL_MACRO_FILTER:
    case VD_CEL_MACRO_SORT_BY:
        set_type(n, M(LIST), range->kinds == M(LIST) ? range->schema : NULL, range->schema_root);
        return;
    case VD_CEL_MACRO_TO_LIST:
        set_type(n, M(LIST), NULL, NULL);
        return;
    case VD_CEL_MACRO_TO_MAP:
    case VD_CEL_MACRO_TO_MAP_ENTRY:
        set_type(n, M(MAP), NULL, NULL);
        return;
    case VD_CEL_MACRO_MIN_BY:
    case VD_CEL_MACRO_MAX_BY:
        set_type(n, item->kinds, item->schema, item->schema_root);
        return;
    }
}

static void check_macro(struct checker *c, struct vd_cel_node *n)
{
    uint16_t outer = c->local_count;
    uint32_t conditions = n->u.macro.has_filter ? 1 : 0; /* of args[1..], how many must be bool */
    char kinds[120];

    check(c, n->args[0]);
    if (c->rc != VD_OK)
        return;
    vd_cel_kinds_text(n->args[0]->kinds, kinds, sizeof(kinds));
    if ((n->args[0]->kinds & (M(LIST) | M(MAP))) == 0)
        wrong(c, n, "a macro needs a list or a map, this is %s", kinds);
    if (outer + 2 > VD_CEL_MAX_LOCALS) {
        if (c->rc == VD_OK)
            c->rc = vd_cel_error_at(c->err, n->line, n->column, "macros are nested too deeply");
        return;
    }
    bind_locals(c, n);
    if (n->u.macro.kind <= VD_CEL_MACRO_EXISTS_ONE || n->u.macro.kind == VD_CEL_MACRO_FILTER)
        conditions++;
    for (uint32_t i = 1; i < n->arg_count && c->rc == VD_OK; i++) {
        check(c, n->args[i]);
        if (c->rc == VD_OK && i <= conditions)
            check_bool(c, n->args[i], "a macro's condition");
    }
    set_macro_type(n, &c->locals[c->local_count - 1]);
    c->local_count = outer;
}

/* -- calls ------------------------------------------------------------------------------------------------------- */

/* strings.quote(x): a chain of names before the dot may be a function's namespace; then the call is a global one. */
static OFF_THE_RECURSION void find_namespace(struct checker *c, struct vd_cel_node *n)
{
    struct vd_cel_node *chain[VD_CEL_MAX_HEIGHT + 1];
    char text[VD_CEL_MAX_NAME_LEN];
    size_t count = vd_cel_chain_gather(n->args[0], chain);
    struct vd_span name;

    if (count == 0 || count >= VD_CEL_MAX_HEIGHT)
        return;
    chain[count] = n;
    if (!vd_cel_chain_join(chain, count + 1, VD_LIT(""), text) ||
        !vd_cel_function_exists(vd_span_of(text)))
        return;
    if (vd_arena_dup(c->arena, vd_span_of(text), &name) != VD_OK) {
        nomem(c);
        return;
    }
    n->u.call.name = name;
    n->u.call.is_method = false;
    n->args++;
    n->arg_count--;
}

static OFF_THE_RECURSION void unknown_function(struct checker *c, struct vd_cel_node *n)
{
    struct vd_cel_nearest nearest = {.wanted = n->u.call.name};
    char hint[VD_CEL_MAX_NAME_LEN + 20];
    bool is_method = n->u.call.is_method;

    if (vd_cel_function_exists(n->u.call.name)) {
        missing(c, n, "no such overload: %s%s() with %u argument%s", is_method ? "x." : "",
                n->u.call.name.ptr, n->arg_count - is_method,
                n->arg_count - is_method == 1 ? "" : "s");
        return;
    }
    vd_cel_function_names(is_method, vd_cel_nearest_visit, &nearest);
    vd_cel_nearest_text(&nearest, hint, sizeof(hint));
    missing(c, n, "unknown function \"%.60s\"%.80s", n->u.call.name.ptr, hint);
}

/* Regexes and zones that do not change are made now. A bad one is an error of evaluation in a lenient environment. */
static OFF_THE_RECURSION void prepare(struct checker *c, struct vd_cel_node *n)
{
    const struct vd_cel_function *f = n->u.call.function;
    const struct vd_cel_value *v;
    struct vd_cel_regex *regex = NULL;
    const struct vd_cel_zone *zone = NULL;
    const char *why = "";
    struct vd_err err = {.msg = ""};
    enum vd_code rc;

    if ((f->flags & (VD_CEL_F_REGEX | VD_CEL_F_ZONE)) == 0 || n->arg_count < 2 ||
        n->args[1]->op != VD_CEL_OP_CONST || n->args[1]->u.constant.kind != VD_CEL_STRING)
        return;
    v = &n->args[1]->u.constant;
    if ((f->flags & VD_CEL_F_ZONE) != 0) {
        if (vd_cel_zone_load(v->u.s, c->arena, &zone, &why))
            n->u.call.prepared = zone;
        else
            wrong(c, n->args[1], "time zone \"%.64s\": %s", v->u.s.ptr, why);
        return;
    }
    rc = vd_cel_regex_new(v->u.s, &regex, &err);
    if (rc == VD_OK) {
        vd_cel_regex_link(&c->program->regexes, regex);
        n->u.call.prepared = regex;
    } else if (rc == VD_E_NOMEM) {
        nomem(c);
    } else {
        wrong(c, n->args[1], "%s", err.msg);
    }
}

static void check_call(struct checker *c, struct vd_cel_node *n)
{
    const struct vd_cel_function *f;
    char kinds[120];

    if (n->u.call.is_method)
        find_namespace(c, n);
    for (uint32_t i = 0; i < n->arg_count && c->rc == VD_OK; i++)
        check(c, n->args[i]);
    if (c->rc != VD_OK)
        return;
    f = vd_cel_function_find(n->u.call.name, n->u.call.is_method, n->arg_count);
    n->u.call.function = f;
    if (f == NULL) {
        unknown_function(c, n);
        return;
    }
    for (uint32_t i = 0; i < n->arg_count; i++) {
        if ((n->args[i]->kinds & vd_cel_function_mask(f, i)) != 0)
            continue;
        vd_cel_kinds_text(n->args[i]->kinds, kinds, sizeof(kinds));
        wrong(c, n->args[i], "no such overload: %s() does not take %s here", f->name, kinds);
    }
    if (c->rc != VD_OK)
        return;
    set_type(n, f->result, NULL, NULL);
    prepare(c, n);
}

/* -- folding ----------------------------------------------------------------------------------------------------- */

static bool is_constant(const struct vd_cel_node *n)
{
    switch (n->op) {
    case VD_CEL_OP_CONST:
    case VD_CEL_OP_IDENT:
    case VD_CEL_OP_PATH:
    case VD_CEL_OP_FAIL:
    case VD_CEL_OP_MACRO:
        return false; /* nothing to do, or nothing to gain */
    case VD_CEL_OP_CALL:
        if (n->u.call.function == NULL || (n->u.call.function->flags & VD_CEL_F_IMPURE) != 0)
            return false;
        break;
    default:
        break;
    }
    for (uint32_t i = 0; i < n->arg_count; i++)
        if (n->args[i]->op != VD_CEL_OP_CONST)
            return false;
    return true;
}

/* A node whose arguments are constants becomes one, in the program's arena. What fails, fails in every evaluation. */
static OFF_THE_RECURSION void fold(struct checker *c, struct vd_cel_node *n)
{
    struct vd_arena_mark mark = vd_arena_mark(c->arena);
    struct vd_cel_run run = {.arena = c->arena, .left = VD_CEL_FOLD_STEPS};
    struct vd_cel_value v;

    if (vd_cel_run_node(&run, n, &v)) {
        n->op = VD_CEL_OP_CONST;
        n->arg_count = 0;
        n->u.constant = v;
        if (v.kind != VD_CEL_LIST && v.kind != VD_CEL_MAP)
            n->kinds = n->kinds == VD_CEL_M_DYN ? n->kinds : VD_CEL_M(v.kind);
        return;
    }
    if (run.fatal == VD_E_NOMEM)
        nomem(c);
    else if (run.fatal == VD_OK)
        wrong(c, n, "%.*s", (int)v.u.s.len, v.u.s.ptr);
    vd_arena_rewind(c->arena, mark);
}

static void check(struct checker *c, struct vd_cel_node *n)
{
    struct vd_cel_node *one[1] = {n};

    if (c->rc != VD_OK)
        return;
    switch (n->op) {
    case VD_CEL_OP_CONST:
        set_type(n, VD_CEL_M(n->u.constant.kind), NULL, NULL);
        return;
    case VD_CEL_OP_IDENT:
        check_chain(c, one, 1);
        return;
    case VD_CEL_OP_SELECT:
    case VD_CEL_OP_HAS:
        check_select(c, n);
        break;
    case VD_CEL_OP_CALL:
        check_call(c, n);
        break;
    case VD_CEL_OP_MACRO:
        check_macro(c, n);
        return;
    default:
        check_operands(c, n);
        break;
    }
    if (c->rc == VD_OK && is_constant(n))
        fold(c, n);
}

enum vd_code vd_cel_check(const struct vd_cel_env *env, struct vd_cel_program *program,
                          struct vd_err *err)
{
    struct checker c = {.env = env, .program = program, .arena = &program->arena, .err = err};

    check(&c, program->root);
    return c.rc;
}
