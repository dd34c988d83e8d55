/* commands/eval.c - verdict eval: CEL on the command line, for people and for suites. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/file.h"
#include "base/limits.h"
#include "cel/cel.h"
#include "cel/exprvalue.h"
#include "commands/commands.h"
#include "commands/input.h"

/* -- batch ------------------------------------------------------------------------------------------------------- */

/* Names and their values for one evaluation. */
struct session {
    struct vd_cel_env *env;
    struct vd_arena arena;
    struct vd_cel_value *values;
    size_t count;
    struct vd_cel_program *program;
};

static enum vd_code open_session(struct session *s, size_t names, struct vd_err *err)
{
    *s = (struct session){.env = vd_cel_env_new()};
    vd_arena_init(&s->arena, VD_JOB_ARENA_MAX_BYTES);
    s->values = vd_arena_array(&s->arena, names, sizeof(struct vd_cel_value));
    return s->env == NULL || s->values == NULL ? vd_err_nomem(err, "cel environment") : VD_OK;
}

static void close_session(struct session *s)
{
    (void)vd_cel_program_free(s->program);
    (void)vd_cel_env_free(s->env);
    vd_arena_fini(&s->arena);
}

static enum vd_code evaluate(struct session *s, struct vd_span source, struct vd_cel_value *ret,
                             struct vd_cel_eval_context *context, struct vd_err *err)
{
    enum vd_code rc = vd_cel_compile(s->env, source, &s->program, err);

    *context =
        (struct vd_cel_eval_context){.values = s->values, .count = s->count, .arena = &s->arena};
    return rc != VD_OK ? rc : vd_cel_eval(s->program, context, ret, err);
}

static enum vd_code bind_all(struct session *s, const cJSON *bindings, struct vd_err *err)
{
    const cJSON *b;
    enum vd_code rc = VD_OK;

    cJSON_ArrayForEach(b, bindings)
    {
        if (rc == VD_OK)
            rc = vd_cel_env_declare(s->env, b->string, NULL, NULL, err);
        if (rc == VD_OK)
            rc = vd_cel_exprvalue_read(b, &s->arena, &s->values[s->count++], err);
    }
    return rc;
}

static enum vd_code answer(struct session *s, const cJSON *row, struct vd_buf *value,
                           struct vd_err *err)
{
    const cJSON *bindings = vd_json_get(row, "bindings");
    const cJSON *expr = vd_json_get(row, "expr");
    const cJSON *container = vd_json_get(row, "container");
    struct vd_cel_eval_context context;
    struct vd_cel_value v;
    enum vd_code rc;

    rc = open_session(s, (size_t)cJSON_GetArraySize(bindings), err);
    if (rc != VD_OK)
        return rc;
    if (!cJSON_IsString(expr) || (bindings != NULL && !cJSON_IsObject(bindings)) ||
        (container != NULL && !cJSON_IsString(container)))
        return vd_err_set(err, VD_E_INPUT, false,
                          "a row needs \"expr\" (a string) and may have \"bindings\" (an object) "
                          "and \"container\" (a string)");
    vd_cel_env_set_lenient(s->env, true); /* the suite has cases for the unchecked mode */
    if (container != NULL && vd_cel_env_set_container(s->env, container->valuestring) != VD_OK)
        return vd_err_nomem(err, "cel environment");
    rc = bind_all(s, bindings, err);
    if (rc == VD_OK)
        rc = evaluate(s, vd_json_string(expr), &v, &context, err);
    return rc != VD_OK ? rc : vd_cel_exprvalue_write(value, &v, err);
}

static void answer_row(void *arg, const cJSON *row, struct vd_buf *out)
{
    struct vd_err err = {.msg = ""};
    struct session s;
    struct vd_buf value;

    (void)arg;
    vd_buf_init(&value, VD_JSON_MAX_BYTES);
    if (answer(&s, row, &value, &err) == VD_OK) {
        (void)vd_buf_add_c(out, "{\"value\":");
        (void)vd_buf_add(out, vd_buf_span(&value));
        (void)vd_buf_add_char(out, '}');
    } else {
        vd_input_answer_error(out, err.msg);
    }
    vd_buf_free(&value);
    close_session(&s);
}

/* -- for people -------------------------------------------------------------------------------------------------- */

/* The line of the expression, and a caret under the column. */
static void point_at(struct vd_span source, unsigned line, unsigned column)
{
    while (line-- > 1)
        source = vd_span_sub(source, vd_span_find(source, '\n') + 1, source.len);
    source = vd_span_sub(source, 0, vd_span_find(source, '\n'));
    fprintf(stderr, "  %.*s\n  ", (int)source.len, source.ptr);
    for (size_t i = 0; i < source.len && column > 1; i++) {
        if (((unsigned char)source.ptr[i] & 0xC0) == 0x80)
            continue;
        (void)fputc(source.ptr[i] == '\t' ? '\t' : ' ', stderr);
        column--;
    }
    fprintf(stderr, "%*s^\n", (int)column - 1, "");
}

/* The JSON of "name=JSON" or "name=@FILE". */
static enum vd_code read_variable(const char *text, cJSON **ret_tree, struct vd_err *err)
{
    struct vd_buf file;
    enum vd_code rc;

    if (text[0] != '@')
        return vd_json_parse(vd_span_of(text), ret_tree, err);
    vd_buf_init(&file, VD_JSON_MAX_BYTES);
    rc = vd_file_read(text + 1, &file, err);
    if (rc == VD_OK)
        rc = vd_json_parse(vd_buf_span(&file), ret_tree, err);
    vd_buf_free(&file);
    return rc;
}

/* Declare --var number i; the tree is appended to trees, which owns it. */
static enum vd_code bind_variable(struct session *s, const char *option, cJSON *trees,
                                  struct vd_err *err)
{
    struct vd_span whole = vd_span_of(option);
    size_t eq = vd_span_find(whole, '=');
    char name[VD_CEL_MAX_NAME_LEN];
    cJSON *tree = NULL;
    enum vd_code rc;

    if (eq == whole.len || eq == 0 || eq >= sizeof(name))
        return vd_err_set(err, VD_E_INPUT, false, "write name=JSON or name=@FILE");
    memcpy(name, option, eq);
    name[eq] = '\0';
    rc = read_variable(option + eq + 1, &tree, err);
    if (rc != VD_OK)
        return rc;
    s->values[s->count++] = vd_cel_from_json(tree);
    if (!vd_json_append(trees, tree))
        return vd_err_nomem(err, "variable");
    return vd_cel_env_declare(s->env, name, NULL, NULL, err);
}

static enum vd_code print_value(const struct vd_cel_value *v, struct vd_err *err)
{
    cJSON *tree = NULL;
    struct vd_buf text;
    enum vd_code rc = vd_cel_to_json(v, &tree, err);

    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    if (rc == VD_OK) {
        rc = vd_json_write_pretty(&text, tree);
        if (rc != VD_OK)
            rc = vd_err_set(err, rc, false, "the value is too large to print");
        else
            printf("%.*s\n", (int)text.len, text.ptr);
    }
    vd_buf_free(&text);
    (void)vd_json_free(tree);
    return rc;
}

static int evaluate_one(const struct vd_args *args, struct session *s, cJSON *trees)
{
    struct vd_span source = vd_span_of(vd_args_operand(args, 0));
    struct vd_err err = {.msg = ""};
    struct vd_cel_eval_context context = {.count = 0};
    struct vd_cel_value v;
    const char *option;
    enum vd_code rc;
    unsigned line;
    unsigned column;

    for (size_t i = 0; (option = vd_args_nth(args, "var", i)) != NULL; i++) {
        if (bind_variable(s, option, trees, &err) != VD_OK) {
            fprintf(stderr, "verdict eval: --var %.*s: %s\n", (int)strcspn(option, "="), option,
                    err.msg);
            return EX_USAGE;
        }
    }
    rc = evaluate(s, source, &v, &context, &err);
    if (rc == VD_OK)
        rc = print_value(&v, &err);
    if (rc == VD_OK)
        return EX_OK;
    fprintf(stderr, "verdict eval: %s\n", err.msg);
    if (vd_cel_error_place(&err, &line, &column))
        point_at(source, line, column);
    else if (context.error_column > 0)
        point_at(source, context.error_line, context.error_column);
    return rc == VD_E_NOMEM ? vd_code_exit(rc) : EX_DATAERR;
}

static int run(const struct vd_args *args)
{
    struct vd_err err = {.msg = ""};
    struct session s;
    size_t names = 0;
    cJSON *trees;
    int status;

    if (vd_args_has(args, "batch")) {
        if (vd_args_operand_count(args) > 0 || vd_args_has(args, "var")) {
            fprintf(stderr, "verdict eval: --batch reads standard input and takes nothing else\n");
            return EX_USAGE;
        }
        return vd_input_batch(answer_row, NULL);
    }
    if (vd_args_operand_count(args) == 0) {
        fprintf(stderr, "verdict eval: give an expression (see `verdict eval --help`)\n");
        return EX_USAGE;
    }
    while (vd_args_nth(args, "var", names) != NULL)
        names++;
    trees = cJSON_CreateArray();
    if (open_session(&s, names, &err) != VD_OK || trees == NULL) {
        fprintf(stderr, "verdict eval: out of memory\n");
        status = vd_code_exit(VD_E_NOMEM);
    } else {
        status = evaluate_one(args, &s, trees);
    }
    close_session(&s);
    (void)vd_json_free(trees);
    return status;
}

static const struct vd_option options[] = {
    {"var", 'v', "NAME=JSON", "a variable of the expression; NAME=@FILE reads a file", true},
    {"batch", 0, NULL,
     "one {\"expr\",\"bindings\"} a line in, one {\"value\"} or {\"error\"} a line out", false},
    {.name = NULL},
};

const struct vd_command vd_command_eval = {
    .name = "eval",
    .usage = "EXPR [--var NAME=JSON]... | --batch",
    .summary = "evaluate an expression as policies do",
    .about =
        "Evaluates an expression of the Common Expression Language and prints its value as JSON.\n"
        "Exits 0, or 65 when the expression is wrong or fails.\n\n"
        "  $ verdict eval 'order.total > 100 && order.items.exists(i, i.sku == \"A1\")' \\\n"
        "        --var order=@order.json\n"
        "  true\n\n"
        "  $ verdict eval 'ordr.total > 100' --var order='{\"total\":120}'\n"
        "  verdict eval: column 1: unknown name \"ordr\"; did you mean \"order\"?\n"
        "    ordr.total > 100\n"
        "    ^\n\n"
        "With --batch, values have the form of CEL's public suite: {\"int64Value\":\"1\"}; names "
        "and "
        "types\nare not checked before evaluation.",
    .options = options,
    .min_operands = 0,
    .max_operands = 1,
    .run = run,
};
