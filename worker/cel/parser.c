/* cel/parser.c - see parser.h. Recursive descent; the functions stand from loosest to tightest binding. */
#include "cel/parser.h"

#include <string.h>

#include "base/limits.h"
#include "cel/lexer.h"

struct parser {
    struct vd_cel_lexer lexer;
    struct vd_cel_token token; /* looked at, not yet taken */
    struct vd_arena *arena;
    struct vd_err *err;
    enum vd_code rc; /* first failure; every function returns NULL once it is set */
    unsigned depth;
};

static struct vd_cel_node *parse_expr(struct parser *p);
static struct vd_cel_node *parse_or(struct parser *p);

/* -- tokens and nodes -------------------------------------------------------------------------------------------- */

static void advance(struct parser *p)
{
    if (p->rc == VD_OK)
        p->rc = vd_cel_lexer_next(&p->lexer, &p->token);
}

static bool is_char(const struct parser *p, char c)
{
    return p->rc == VD_OK && p->token.kind == VD_CEL_T_CHAR && p->token.c == c;
}

static bool take_char(struct parser *p, char c)
{
    if (!is_char(p, c))
        return false;
    advance(p);
    return true;
}

static void *fail_at(struct parser *p, unsigned line, unsigned column, const char *what)
{
    if (p->rc == VD_OK)
        p->rc = vd_cel_error_at(p->err, line, column, "%s", what);
    return NULL;
}

static void *unexpected(struct parser *p, const char *wanted)
{
    const struct vd_cel_token *t = &p->token;

    if (p->rc != VD_OK)
        return NULL;
    if (t->kind == VD_CEL_T_END)
        p->rc = vd_cel_error_at(p->err, t->line, t->column, "the expression ends; %s is missing",
                                wanted);
    else if (t->kind == VD_CEL_T_IDENT && t->is_reserved)
        p->rc = vd_cel_error_at(p->err, t->line, t->column, "\"%.*s\" is a reserved word",
                                (int)t->text.len, t->text.ptr);
    else
        p->rc = vd_cel_error_at(p->err, t->line, t->column, "unexpected %.*s; %s is missing",
                                t->text.len > 40 ? 40 : (int)t->text.len, t->text.ptr, wanted);
    return NULL;
}

static bool expect(struct parser *p, char c)
{
    static const char *const names[] = {"\")\"", "\"]\"", "\"}\"", "\":\"", "\"(\""};
    static const char chars[] = ")]}:(";

    if (take_char(p, c))
        return true;
    (void)unexpected(p, names[strchr(chars, c) - chars]);
    return false;
}

struct vd_cel_node *vd_cel_node_new(struct vd_arena *arena, enum vd_cel_op op, unsigned line,
                                    unsigned column)
{
    struct vd_cel_node *n = vd_arena_alloc(arena, sizeof(*n));

    if (n == NULL)
        return NULL;
    n->op = op;
    n->line = (uint16_t)line;
    n->column = (uint16_t)column;
    n->height = 1;
    n->kinds = VD_CEL_M_DYN;
    return n;
}

/* A node at the place of token or node at, with count arguments taken from the chain first -> next -> ... */
static struct vd_cel_node *new_node(struct parser *p, enum vd_cel_op op, unsigned line,
                                    unsigned column, struct vd_cel_node *first, uint32_t count)
{
    struct vd_cel_node *n;
    uint32_t i = 0;

    if (p->rc != VD_OK)
        return NULL;
    n = vd_cel_node_new(p->arena, op, line, column);
    if (n != NULL && count > 0)
        n->args = vd_arena_array(p->arena, count, sizeof(struct vd_cel_node *));
    if (n == NULL || (count > 0 && n->args == NULL)) {
        p->rc = vd_err_nomem(p->err, "cel program");
        return NULL;
    }
    n->arg_count = count;
    for (struct vd_cel_node *arg = first; i < count; arg = arg->next) {
        n->args[i++] = arg;
        if (arg->height >= n->height)
            n->height = (uint16_t)(arg->height + 1);
    }
    if (n->height > VD_CEL_MAX_HEIGHT)
        return fail_at(p, line, column, "the expression is nested too deeply");
    return n;
}

static struct vd_span keep(struct parser *p, struct vd_span text)
{
    char *copy = p->rc == VD_OK ? vd_arena_strndup(p->arena, text) : NULL;

    if (copy == NULL && p->rc == VD_OK)
        p->rc = vd_err_nomem(p->err, "cel program");
    return (struct vd_span){copy, text.len};
}

/* expr {"," expr} up to close, which is taken: the chain's first node, its length in *count. A list or map may end with a comma.
 * with_values: "key : value" pairs. */
static struct vd_cel_node *parse_items(struct parser *p, char close, bool with_values,
                                       uint32_t *count)
{
    struct vd_cel_node *first = NULL;
    struct vd_cel_node **tail = &first;

    *count = 0;
    while (p->rc == VD_OK && (!is_char(p, close) || (close == ')' && *count > 0))) {
        for (int i = 0; i < (with_values ? 2 : 1); i++) {
            if (i == 1 && !expect(p, ':'))
                return NULL;
            *tail = parse_expr(p);
            if (*tail == NULL)
                return NULL;
            tail = &(*tail)->next;
            (*count)++;
        }
        if (is_char(p, close))
            break;
        if (!take_char(p, ','))
            return unexpected(p, close == ')'   ? "\",\" or \")\""
                                 : close == ']' ? "\",\" or \"]\""
                                                : "\",\" or \"}\"");
    }
    return expect(p, close) ? first : NULL;
}

/* -- macros ------------------------------------------------------------------------------------------------------ */

struct macro_row {
    const char *name;
    enum vd_cel_macro kind;
    uint8_t args;   /* inside the parentheses */
    bool has_index; /* two variables */
    bool has_filter;
};

static const struct macro_row macros[] = {
    {"all", VD_CEL_MACRO_ALL, 2, false, false},
    {"all", VD_CEL_MACRO_ALL, 3, true, false},
    {"exists", VD_CEL_MACRO_EXISTS, 2, false, false},
    {"exists", VD_CEL_MACRO_EXISTS, 3, true, false},
    {"exists_one", VD_CEL_MACRO_EXISTS_ONE, 2, false, false},
    {"exists_one", VD_CEL_MACRO_EXISTS_ONE, 3, true, false},
    {"existsOne", VD_CEL_MACRO_EXISTS_ONE, 2, false, false},
    {"existsOne", VD_CEL_MACRO_EXISTS_ONE, 3, true, false},
    {"map", VD_CEL_MACRO_TO_LIST, 2, false, false},
    {"map", VD_CEL_MACRO_TO_LIST, 3, false, true},
    {"filter", VD_CEL_MACRO_FILTER, 2, false, false},
    {"transformList", VD_CEL_MACRO_TO_LIST, 3, true, false},
    {"transformList", VD_CEL_MACRO_TO_LIST, 4, true, true},
    {"transformMap", VD_CEL_MACRO_TO_MAP, 3, true, false},
    {"transformMap", VD_CEL_MACRO_TO_MAP, 4, true, true},
    {"transformMapEntry", VD_CEL_MACRO_TO_MAP_ENTRY, 3, true, false},
    {"transformMapEntry", VD_CEL_MACRO_TO_MAP_ENTRY, 4, true, true},
    {"min_by", VD_CEL_MACRO_MIN_BY, 2, false, false},
    {"max_by", VD_CEL_MACRO_MAX_BY, 2, false, false},
    {"sort_by", VD_CEL_MACRO_SORT_BY, 2, false, false},
};

static const struct macro_row *find_macro(struct vd_span name, uint32_t args)
{
    for (size_t i = 0; i < sizeof(macros) / sizeof(macros[0]); i++)
        if (macros[i].args == args && vd_span_eq_c(name, macros[i].name))
            return &macros[i];
    return NULL;
}

/* range.name(first...) as a macro. */
static struct vd_cel_node *make_macro(struct parser *p, const struct macro_row *row,
                                      const struct vd_cel_token *at, struct vd_cel_node *range,
                                      struct vd_cel_node *first)
{
    struct vd_span names[2] = {{NULL, 0}, {NULL, 0}};
    struct vd_cel_node *n;

    for (int i = row->has_index ? 0 : 1; i < 2; i++) {
        if (first->op != VD_CEL_OP_IDENT || first->u.call.is_absolute)
            return fail_at(p, first->line, first->column,
                           "this argument must be a new variable's name");
        names[i] = first->u.call.name;
        first = first->next;
    }
    if (row->has_index && vd_span_eq(names[0], names[1]))
        return fail_at(p, at->line, at->column, "the two variables must have different names");
    range->next = first;
    n = new_node(p, VD_CEL_OP_MACRO, at->line, at->column, range,
                 row->args - (row->has_index ? 1u : 0u));
    if (n == NULL)
        return NULL;
    n->u.macro.kind = row->kind;
    n->u.macro.has_filter = row->has_filter;
    n->u.macro.has_index = row->has_index;
    n->u.macro.names[0] = names[0];
    n->u.macro.names[1] = names[1];
    return n;
}

/* has(e.f): the selection itself becomes the test. */
static struct vd_cel_node *make_has(struct parser *p, const struct vd_cel_token *at,
                                    struct vd_cel_node *select)
{
    if (select->op != VD_CEL_OP_SELECT)
        return fail_at(p, at->line, at->column, "has() needs a field: has(a.b)");
    select->op = VD_CEL_OP_HAS;
    return select;
}

/* get(a.b, other); see get_macro.c. */
static struct vd_cel_node *make_get(struct parser *p, const struct vd_cel_token *at,
                                    struct vd_cel_node *path, struct vd_cel_node *other)
{
    struct vd_cel_node *n;

    if (!vd_cel_is_get_path(path))
        return fail_at(p, at->line, at->column, "get() needs a path of names: get(a.b, other)");
    n = vd_cel_make_get(p->arena, path, other);
    if (n == NULL)
        p->rc = vd_err_nomem(p->err, "cel program");
    else if (n->height > VD_CEL_MAX_HEIGHT)
        return fail_at(p, at->line, at->column, "the expression is nested too deeply");
    return n;
}

/* -- primary and member ------------------------------------------------------------------------------------------ */

/* name at token at; the opening parenthesis is taken. receiver is NULL for a global call. */
static struct vd_cel_node *parse_call(struct parser *p, const struct vd_cel_token *at,
                                      struct vd_cel_node *receiver, bool is_absolute)
{
    uint32_t count;
    struct vd_span name = keep(p, at->text);
    struct vd_cel_node *first = parse_items(p, ')', false, &count);
    const struct macro_row *macro = receiver != NULL ? find_macro(name, count) : NULL;
    struct vd_cel_node *n;

    if (p->rc != VD_OK)
        return NULL;
    if (macro != NULL)
        return make_macro(p, macro, at, receiver, first);
    if (receiver == NULL && count == 1 && !is_absolute && vd_span_eq_c(name, "has"))
        return make_has(p, at, first);
    if (receiver == NULL && count == 2 && !is_absolute && vd_span_eq_c(name, "get"))
        return make_get(p, at, first, first->next);
    if (receiver != NULL) {
        receiver->next = first;
        first = receiver;
        count++;
    }
    n = new_node(p, VD_CEL_OP_CALL, at->line, at->column, first, count);
    if (n == NULL)
        return NULL;
    n->u.call.name = name;
    n->u.call.is_absolute = is_absolute;
    n->u.call.is_method = receiver != NULL;
    return n;
}

static struct vd_cel_node *parse_name(struct parser *p, bool is_absolute)
{
    struct vd_cel_token at = p->token;
    struct vd_cel_node *n;

    if (p->rc != VD_OK || at.kind != VD_CEL_T_IDENT || at.is_reserved)
        return unexpected(p, "a name");
    advance(p);
    if (take_char(p, '('))
        return parse_call(p, &at, NULL, is_absolute);
    n = new_node(p, VD_CEL_OP_IDENT, at.line, at.column, NULL, 0);
    if (n == NULL)
        return NULL;
    n->u.call.name = keep(p, at.text);
    n->u.call.is_absolute = is_absolute;
    return n;
}

static struct vd_cel_node *parse_literal(struct parser *p)
{
    struct vd_cel_token at = p->token;
    struct vd_cel_node *n;

    if (at.is_min_int)
        return fail_at(p, at.line, at.column, "integer literal is too large for int");
    n = new_node(p, VD_CEL_OP_CONST, at.line, at.column, NULL, 0);
    if (n != NULL)
        n->u.constant = at.value;
    advance(p);
    return n;
}

static struct vd_cel_node *parse_primary(struct parser *p)
{
    struct vd_cel_token at = p->token;
    struct vd_cel_node *first;
    uint32_t count;

    if (p->rc != VD_OK)
        return NULL;
    if (at.kind == VD_CEL_T_CONST)
        return parse_literal(p);
    if (at.kind == VD_CEL_T_IDENT)
        return parse_name(p, false);
    if (take_char(p, '.'))
        return parse_name(p, true);
    if (take_char(p, '(')) {
        first = parse_expr(p);
        return expect(p, ')') ? first : NULL;
    }
    if (take_char(p, '[')) {
        first = parse_items(p, ']', false, &count);
        return new_node(p, VD_CEL_OP_LIST, at.line, at.column, first, count);
    }
    if (take_char(p, '{')) {
        first = parse_items(p, '}', true, &count);
        return new_node(p, VD_CEL_OP_MAP, at.line, at.column, first, count);
    }
    return unexpected(p, "a value");
}

static struct vd_cel_node *parse_field(struct parser *p, struct vd_cel_node *operand)
{
    struct vd_cel_token at = p->token;
    struct vd_cel_node *n;

    if (p->rc != VD_OK || (at.kind != VD_CEL_T_IDENT && at.kind != VD_CEL_T_QUOTED))
        return unexpected(p, "a field's name");
    advance(p);
    if (at.kind == VD_CEL_T_IDENT && take_char(p, '('))
        return parse_call(p, &at, operand, false);
    n = new_node(p, VD_CEL_OP_SELECT, at.line, at.column, operand, 1);
    if (n == NULL)
        return NULL;
    n->u.call.name = keep(p, at.text);
    n->u.call.is_absolute = at.kind == VD_CEL_T_QUOTED; /* never part of a qualified name */
    return n;
}

static struct vd_cel_node *parse_member(struct parser *p)
{
    struct vd_cel_node *n = parse_primary(p);

    while (p->rc == VD_OK && n != NULL) {
        struct vd_cel_token at = p->token;

        if (take_char(p, '.')) {
            n = parse_field(p, n);
        } else if (take_char(p, '[')) {
            n->next = parse_expr(p);
            if (!expect(p, ']'))
                return NULL;
            n = new_node(p, VD_CEL_OP_INDEX, at.line, at.column, n, 2);
        } else if (is_char(p, '{') && (n->op == VD_CEL_OP_IDENT || n->op == VD_CEL_OP_SELECT)) {
            return fail_at(p, at.line, at.column, "messages are not supported, only maps");
        } else {
            return n;
        }
    }
    return NULL;
}

/* -- operators --------------------------------------------------------------------------------------------------- */

/* Signs before a member. A minus right before a number is part of it, so that the least int can be written. */
static struct vd_cel_node *parse_unary(struct parser *p)
{
    struct vd_cel_token at = p->token;
    enum vd_cel_op op = is_char(p, '!') ? VD_CEL_OP_NOT : VD_CEL_OP_NEGATE;
    char sign = is_char(p, '!') ? '!' : '-';
    struct vd_cel_node *n;
    unsigned signs = 0;

    while (take_char(p, sign))
        signs++;
    if (signs > VD_CEL_MAX_HEIGHT)
        return fail_at(p, at.line, at.column, "the expression is nested too deeply");
    if (p->rc == VD_OK && signs > 0 && sign == '-' && p->token.kind == VD_CEL_T_CONST) {
        struct vd_cel_value *v = &p->token.value;

        if (v->kind == VD_CEL_INT) {
            v->u.i = p->token.is_min_int ? INT64_MIN : -v->u.i;
            p->token.is_min_int = false;
            signs--;
        } else if (v->kind == VD_CEL_DOUBLE) {
            v->u.d = -v->u.d;
            signs--;
        }
    }
    n = parse_member(p);
    while (n != NULL && signs-- > 0)
        n = new_node(p, op, at.line, at.column, n, 1);
    return n;
}

static const struct binary_row {
    enum vd_cel_token_kind token;
    char c;
    uint8_t level;
    enum vd_cel_op op;
} binaries[] = {
    {VD_CEL_T_EQ, 0, 1, VD_CEL_OP_EQ},      {VD_CEL_T_NE, 0, 1, VD_CEL_OP_NE},
    {VD_CEL_T_LE, 0, 1, VD_CEL_OP_LE},      {VD_CEL_T_GE, 0, 1, VD_CEL_OP_GE},
    {VD_CEL_T_CHAR, '<', 1, VD_CEL_OP_LT},  {VD_CEL_T_CHAR, '>', 1, VD_CEL_OP_GT},
    {VD_CEL_T_IN, 0, 1, VD_CEL_OP_IN},      {VD_CEL_T_CHAR, '+', 2, VD_CEL_OP_ADD},
    {VD_CEL_T_CHAR, '-', 2, VD_CEL_OP_SUB}, {VD_CEL_T_CHAR, '*', 3, VD_CEL_OP_MUL},
    {VD_CEL_T_CHAR, '/', 3, VD_CEL_OP_DIV}, {VD_CEL_T_CHAR, '%', 3, VD_CEL_OP_MOD},
};

static const struct binary_row *find_binary(const struct parser *p, unsigned level)
{
    for (size_t i = 0; p->rc == VD_OK && i < sizeof(binaries) / sizeof(binaries[0]); i++)
        if (binaries[i].level == level && binaries[i].token == p->token.kind &&
            (binaries[i].c == 0 || binaries[i].c == p->token.c))
            return &binaries[i];
    return NULL;
}

/* Level 1 relations, 2 sums, 3 products; all bind to the left. */
static struct vd_cel_node *parse_binary(struct parser *p, unsigned level)
{
    struct vd_cel_node *left = level > 3 ? parse_unary(p) : parse_binary(p, level + 1);
    const struct binary_row *row;

    while (level <= 3 && left != NULL && (row = find_binary(p, level)) != NULL) {
        struct vd_cel_token at = p->token;

        advance(p);
        left->next = parse_binary(p, level + 1);
        if (left->next == NULL)
            return NULL;
        left = new_node(p, row->op, at.line, at.column, left, 2);
    }
    return left;
}

/* a && b && c is one node, so that long conditions are not deep. */
static struct vd_cel_node *parse_logic(struct parser *p, bool is_or)
{
    enum vd_cel_token_kind sign = is_or ? VD_CEL_T_OR : VD_CEL_T_AND;
    struct vd_cel_node *first = is_or ? parse_logic(p, false) : parse_binary(p, 1);
    struct vd_cel_node *last = first;
    struct vd_cel_token at = p->token;
    uint32_t count = 1;

    while (last != NULL && p->rc == VD_OK && p->token.kind == sign) {
        advance(p);
        last->next = is_or ? parse_logic(p, false) : parse_binary(p, 1);
        last = last->next;
        count++;
    }
    if (p->rc != VD_OK || count == 1)
        return p->rc == VD_OK ? first : NULL;
    return new_node(p, is_or ? VD_CEL_OP_OR : VD_CEL_OP_AND, at.line, at.column, first, count);
}

static struct vd_cel_node *parse_or(struct parser *p)
{
    return parse_logic(p, true);
}

static struct vd_cel_node *parse_if(struct parser *p)
{
    struct vd_cel_node *test = parse_or(p);
    struct vd_cel_token at = p->token;

    if (test == NULL || !take_char(p, '?'))
        return p->rc == VD_OK ? test : NULL;
    test->next = parse_or(p);
    if (test->next == NULL || !expect(p, ':'))
        return NULL;
    test->next->next = parse_expr(p);
    if (test->next->next == NULL)
        return NULL;
    return new_node(p, VD_CEL_OP_IF, at.line, at.column, test, 3);
}

static struct vd_cel_node *parse_expr(struct parser *p)
{
    struct vd_cel_node *n;

    if (p->rc != VD_OK)
        return NULL;
    if (p->depth == VD_CEL_MAX_DEPTH)
        return fail_at(p, p->token.line, p->token.column, "the expression is nested too deeply");
    p->depth++;
    n = parse_if(p);
    p->depth--;
    return n;
}

enum vd_code vd_cel_parse(struct vd_cel_program *program, struct vd_err *err)
{
    struct parser p = {.arena = &program->arena, .err = err};
    struct vd_cel_node *root;

    vd_cel_lexer_init(&p.lexer, program->source, &program->arena, err);
    advance(&p);
    root = parse_expr(&p);
    if (p.rc == VD_OK && p.token.kind != VD_CEL_T_END)
        (void)unexpected(&p, "an operator");
    if (p.rc == VD_OK)
        program->root = root;
    return p.rc;
}
