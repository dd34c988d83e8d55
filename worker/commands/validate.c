/* commands/validate.c - verdict validate: do documents match a JSON Schema? */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "commands/input.h"
#include "json/locate.h"
#include "schema/schema.h"

#define MAX_ERRORS 100 /* of one document; a person reads the first ones */

/* A document that a $ref named, kept for the next one. */
struct loaded {
    char *uri;
    cJSON *tree; /* NULL: there is none */
    struct loaded *next;
};

struct session {
    const struct vd_args *args;
    struct loaded *documents;
    bool format;
    enum vd_schema_draft draft;
    struct vd_arena arena;
};

static bool draft_of(struct vd_span name, enum vd_schema_draft *ret)
{
    static const struct {
        const char *name;
        enum vd_schema_draft draft;
    } names[] = {
        {"2020-12", VD_SCHEMA_2020_12},
        {"draft2020-12", VD_SCHEMA_2020_12},
        {"draft7", VD_SCHEMA_DRAFT_07},
        {"draft-07", VD_SCHEMA_DRAFT_07},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (vd_span_eq_c(name, names[i].name)) {
            *ret = names[i].draft;
            return true;
        }
    }
    return false;
}

/* -- documents for $ref, from folders only ----------------------------------------------------------------------- */

static cJSON *load_file(const char *path, struct vd_err *err)
{
    struct vd_buf text;
    cJSON *tree = NULL;

    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    if (vd_file_read(path, &text, err) == VD_OK &&
        vd_json_parse(vd_buf_span(&text), &tree, err) != VD_OK)
        (void)vd_err_wrap(err, VD_E_INPUT, "%s", path);
    vd_buf_free(&text);
    return tree;
}

/* uri below the prefix of --map PREFIX=DIR is a file below DIR. */
static cJSON *load_mapped(const struct session *s, const char *uri)
{
    const char *map;

    for (size_t i = 0; (map = vd_args_nth(s->args, "map", i)) != NULL; i++) {
        size_t equals = strlen(map);
        char path[4096];

        while (equals > 0 && map[equals - 1] != '=')
            equals--;
        if (equals < 2 || strncmp(uri, map, equals - 1) != 0 || strstr(uri, "..") != NULL)
            continue;
        if (snprintf(path, sizeof(path), "%s/%s", map + equals, uri + equals - 1) <
            (int)sizeof(path))
            return load_file(path, &(struct vd_err){.msg = ""});
    }
    return NULL;
}

static const cJSON *resolve(void *arg, const char *uri)
{
    struct session *s = arg;
    struct loaded *l;

    for (l = s->documents; l != NULL; l = l->next)
        if (strcmp(l->uri, uri) == 0)
            return l->tree;
    l = vd_alloc(sizeof(*l));
    if (l == NULL)
        return NULL;
    l->uri = vd_strdup(uri);
    if (l->uri == NULL) {
        (void)vd_free(l);
        return NULL;
    }
    l->tree = load_mapped(s, uri);
    l->next = s->documents;
    s->documents = l;
    return l->tree;
}

static void free_documents(struct session *s)
{
    while (s->documents != NULL) {
        struct loaded *next = s->documents->next;

        (void)vd_json_free(s->documents->tree);
        (void)vd_free(s->documents->uri);
        (void)vd_free(s->documents);
        s->documents = next;
    }
}

static struct vd_schema_options options_of(struct session *s)
{
    return (struct vd_schema_options){
        .draft = s->draft, .assert_format = s->format, .resolve = resolve, .resolve_arg = s};
}

/* -- for suites -------------------------------------------------------------------------------------------------- */

static void add_field(struct vd_buf *out, const char *before, const char *value)
{
    (void)vd_buf_add_c(out, before);
    (void)vd_buf_add_json_string(out, vd_span_of(value));
}

static void answer_result(const struct vd_schema_result *result, struct vd_buf *out)
{
    if (result->valid) {
        (void)vd_buf_add_c(out, "{\"valid\":true}");
        return;
    }
    (void)vd_buf_add_c(out, "{\"valid\":false,\"errors\":[");
    for (size_t i = 0; i < result->error_count; i++) {
        const struct vd_schema_error *e = &result->errors[i];

        add_field(out, i > 0 ? ",{\"instancePath\":" : "{\"instancePath\":", e->instance_path);
        add_field(out, ",\"schemaPath\":", e->schema_path);
        add_field(out, ",\"keyword\":", e->keyword);
        add_field(out, ",\"reason\":", e->reason);
        (void)vd_buf_add_char(out, '}');
    }
    (void)vd_buf_add_c(out, "]}");
}

static void answer_row(void *arg, const cJSON *row, struct vd_buf *out)
{
    struct session *s = arg;
    struct vd_schema_options options = options_of(s);
    const cJSON *source = vd_json_get(row, "schema");
    const cJSON *instance = vd_json_get(row, "instance");
    const cJSON *draft = vd_json_get(row, "draft");
    const cJSON *format = vd_json_get(row, "format");
    struct vd_schema *schema = NULL;
    struct vd_schema_result result = {.valid = false};
    struct vd_err err = {.msg = ""};

    if (source == NULL || instance == NULL) {
        vd_input_answer_error(out, "the line needs \"schema\" and \"instance\"");
        return;
    }
    if (draft != NULL && !draft_of(vd_json_string(draft), &options.draft)) {
        vd_input_answer_error(out, "\"draft\" must be \"draft7\" or \"2020-12\"");
        return;
    }
    if (format != NULL)
        options.assert_format = cJSON_IsTrue(format);
    vd_arena_reset(&s->arena);
    if (vd_schema_compile(source, &options, &schema, &err) != VD_OK ||
        vd_schema_validate(schema, instance, MAX_ERRORS, &s->arena, &result, &err) != VD_OK)
        vd_input_answer_error(out, err.msg);
    else
        answer_result(&result, out);
    (void)vd_schema_free(schema);
}

/* -- for people -------------------------------------------------------------------------------------------------- */

/* A terminal must not obey what a document says. */
static void print_plain(const char *text)
{
    for (; *text != '\0'; text++)
        (void)putchar((unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text);
}

static void print_errors(const char *path, struct vd_span text,
                         const struct vd_schema_result *result)
{
    for (size_t i = 0; i < result->error_count; i++) {
        const struct vd_schema_error *e = &result->errors[i];
        struct vd_json_position at = vd_json_locate(text, vd_span_of(e->instance_path));
        const char *where = e->instance_path[0] != '\0' ? e->instance_path : "the document";

        printf("%s:%zu: ", path, at.line);
        print_plain(where);
        printf(" %s (schema: ", e->reason);
        print_plain(e->schema_path);
        printf(")\n");
    }
    if (result->error_count == MAX_ERRORS)
        printf("%s: more errors are not shown\n", path);
}

static int validate_file(struct session *s, const struct vd_schema *schema, const char *path)
{
    struct vd_err err = {.msg = ""};
    struct vd_schema_result result;
    struct vd_buf text;
    cJSON *tree = NULL;
    int status = EX_DATAERR;

    vd_arena_reset(&s->arena);
    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    if (vd_file_read(path, &text, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        status = EX_NOINPUT;
    } else if (vd_json_parse(vd_buf_span(&text), &tree, &err) != VD_OK ||
               vd_schema_validate(schema, tree, MAX_ERRORS, &s->arena, &result, &err) != VD_OK) {
        fprintf(stderr, "%s: %s\n", path, err.msg);
    } else if (result.valid) {
        printf("%s: valid\n", path);
        status = EX_OK;
    } else {
        print_errors(path, vd_buf_span(&text), &result);
    }
    (void)vd_json_free(tree);
    vd_buf_free(&text);
    return status;
}

static int validate_files(struct session *s)
{
    const char *path = vd_args_operand(s->args, 0);
    struct vd_schema_options options = options_of(s);
    struct vd_err err = {.msg = ""};
    struct vd_schema *schema = NULL;
    cJSON *source = load_file(path, &err);
    int status = EX_OK;

    if (source == NULL) {
        fprintf(stderr, "%s\n", err.msg);
        return vd_code_exit(err.code);
    }
    if (vd_schema_compile(source, &options, &schema, &err) != VD_OK) {
        fprintf(stderr, "%s: %s\n", path, err.msg);
        (void)vd_json_free(source);
        return vd_code_exit(err.code);
    }
    (void)vd_json_free(source);
    if (vd_args_operand_count(s->args) == 1)
        printf("%s: is a schema\n", path);
    for (size_t i = 1; i < vd_args_operand_count(s->args); i++) {
        int one = validate_file(s, schema, vd_args_operand(s->args, i));

        status = one > status ? one : status;
    }
    (void)vd_schema_free(schema);
    return status;
}

static int run(const struct vd_args *args)
{
    struct session s = {.args = args, .format = vd_args_has(args, "format")};
    const char *draft = vd_args_get(args, "draft", "2020-12");
    int status;

    if (!draft_of(vd_span_of(draft), &s.draft)) {
        fprintf(stderr, "verdict validate: --draft must be draft7 or 2020-12, not \"%.40s\"\n",
                draft);
        return EX_USAGE;
    }
    if (vd_args_has(args, "batch") != (vd_args_operand_count(args) == 0)) {
        fprintf(stderr, "verdict validate: give a schema and files, or --batch alone "
                        "(see `verdict validate --help`)\n");
        return EX_USAGE;
    }
    vd_arena_init(&s.arena, VD_JSON_MAX_BYTES);
    status = vd_args_has(args, "batch") ? vd_input_batch(answer_row, &s) : validate_files(&s);
    vd_arena_fini(&s.arena);
    free_documents(&s);
    return status;
}

static const struct vd_option options_table[] = {
    {"batch", 0, NULL, "one {\"schema\",\"instance\"} a line in, one {\"valid\":...} a line out",
     false},
    {"draft", 'd', "DRAFT", "draft7 or 2020-12 (default), for schemas without $schema", false},
    {"format", 'f', NULL, "\"format\" fails validation instead of being an annotation", false},
    {"map", 'm', "URI=DIR", "a $ref to URI/x is the file DIR/x; nothing is fetched from a network",
     true},
    {.name = NULL},
};

const struct vd_command vd_command_validate = {
    .name = "validate",
    .usage = "SCHEMA.json FILE... | --batch",
    .summary = "check documents against a JSON Schema",
    .about =
        "JSON Schema draft 2020-12 and draft-07. What is wrong is told with file and line. Exits 0 "
        "if\n"
        "all files match, 65 if one does not, 78 if the schema itself is wrong.\n\n"
        "  $ verdict validate order.schema.json order.json\n"
        "  order.json:7: /lines/0/quantity must be at least 1, is -3 (schema: "
        "/$defs/line/properties/quantity/minimum)\n\n"
        "  $ echo '{\"schema\":{\"type\":\"string\"},\"instance\":1}' | verdict validate --batch\n"
        "  "
        "{\"valid\":false,\"errors\":[{\"instancePath\":\"\",\"schemaPath\":\"/"
        "type\",\"keyword\":\"type\",\n"
        "   \"reason\":\"must be string, is integer\"}]}\n\n"
        "A line of --batch may also have \"draft\" (\"draft7\", \"2020-12\") and \"format\" (true, "
        "false).",
    .options = options_table,
    .min_operands = 0,
    .max_operands = 256,
    .run = run,
};
