/* commands/check.c - verdict check: settings, policies, schemas; every error at once, with file and line. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/diag.h"
#include "base/file.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "ops/settings.h"
#include "policy/set.h"
#include "schema/schema.h"

static const struct vd_option options[] = {
    {"config", 'c', "FILE",
     "settings: checked too, and the policies against their models and hosts", false},
    {"schemas", 's', "FOLDER", "JSON Schemas; default: the nearest `schemas` folder above a policy",
     false},
    {"quiet", 'q', NULL, "say nothing when all is well", false},
    {.name = NULL},
};

struct checking {
    struct vd_diags diags;
    struct vd_settings *settings; /* NULL: none were given */
    size_t policies, schemas;
    int status; /* other than EX_CONFIG: a file that cannot be read, memory */
};

static void failed(struct checking *c, const struct vd_err *err)
{
    fprintf(stderr, "verdict check: %s\n", err->msg);
    c->status = vd_code_exit(err->code);
}

static void check_settings(struct checking *c, const char *path)
{
    struct vd_err err = {.msg = ""};
    size_t before = c->diags.errors;

    if (vd_settings_load(path, &c->diags, &c->settings, &err) != VD_OK) {
        if (c->diags.errors == before)
            failed(c, &err);
        return;
    }
}

static bool is_schema(const char *path)
{
    size_t n = strlen(path);

    return n > 5 && strcmp(path + n - 5, ".json") == 0 && !vd_file_is_folder(path);
}

static void check_schema(struct checking *c, const char *path)
{
    struct vd_schema *schema = NULL;
    struct vd_err err = {.msg = ""};
    struct vd_buf text;
    cJSON *tree = NULL;

    c->schemas++;
    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    if (vd_file_read(path, &text, &err) != VD_OK ||
        vd_json_parse(vd_buf_span(&text), &tree, &err) != VD_OK ||
        vd_schema_compile(tree, NULL, &schema, &err) != VD_OK)
        vd_diag_error(&c->diags, path, 0, NULL, "%s", err.msg);
    vd_schema_free(schema);
    vd_json_free(tree);
    vd_buf_free(&text);
}

static void check_policies(struct checking *c, const char *const *paths, size_t count,
                           const char *schemas)
{
    struct vd_policy_options policy = {0};
    struct vd_policy_set *set = NULL;
    struct vd_err err = {.msg = ""};
    size_t before = c->diags.errors;
    enum vd_code rc;

    if (c->settings != NULL)
        policy = vd_settings_policy_options(c->settings);
    policy.schemas_dir = schemas;
    rc = vd_policy_set_load(paths, count, &policy, &c->diags, &set, &err);
    if (rc != VD_OK && c->diags.errors == before)
        failed(c, &err);
    if (rc == VD_OK)
        c->policies = vd_policy_set_count(set);
    vd_policy_set_release(set);
}

static void print_diags(const struct checking *c)
{
    struct vd_buf text;

    vd_buf_init(&text, VD_CONF_MAX_BYTES);
    if (vd_diags_write(&c->diags, &text) == VD_OK && text.len > 0)
        fputs(text.ptr, stderr);
    vd_buf_free(&text);
}

static void print_summary(const struct checking *c, const struct vd_args *args)
{
    if (c->diags.errors > 0)
        fprintf(stderr, "%zu error%s\n", c->diags.errors, c->diags.errors == 1 ? "" : "s");
    else if (c->status == EX_OK && !vd_args_has(args, "quiet"))
        printf("%s%zu polic%s, %zu schema%s: no errors\n", c->settings != NULL ? "settings, " : "",
               c->policies, c->policies == 1 ? "y" : "ies", c->schemas, c->schemas == 1 ? "" : "s");
}

static int run(const struct vd_args *args)
{
    struct checking c = {.settings = NULL};
    const char *config = vd_args_get(args, "config", NULL);
    const char *schemas = vd_args_get(args, "schemas", NULL);
    const char *paths[256];
    size_t count = 0;

    vd_diags_init(&c.diags);
    if (config != NULL)
        check_settings(&c, config);
    if (schemas == NULL && c.settings != NULL)
        schemas = c.settings->schemas_dir;
    for (size_t i = 0; i < vd_args_operand_count(args); i++) {
        if (is_schema(vd_args_operand(args, i)))
            check_schema(&c, vd_args_operand(args, i));
        else
            paths[count++] = vd_args_operand(args, i);
    }
    if (count == 0 && c.schemas == 0 && c.settings != NULL)
        paths[count++] = c.settings->policies_dir;
    if (count > 0)
        check_policies(&c, paths, count, schemas);
    else if (c.schemas == 0 && config == NULL) {
        fprintf(stderr,
                "verdict check: name a policy, a folder of them, a schema, or settings with -c\n");
        c.status = EX_USAGE;
    }
    vd_diags_sort(&c.diags);
    print_diags(&c);
    print_summary(&c, args);
    if (c.status == EX_OK && c.diags.errors > 0)
        c.status = EX_CONFIG;
    vd_settings_free(c.settings);
    vd_diags_fini(&c.diags);
    return c.status;
}

const struct vd_command vd_command_check = {
    .name = "check",
    .usage = "[-c SETTINGS] [POLICY | FOLDER | SCHEMA.json]...",
    .summary = "settings, policies, schemas: every error, file and line",
    .about = "Reads settings, policies and schemas as the worker would, and prints every error at "
             "once: where it is,\n"
             "the text that is wrong, and what to write instead. Nothing is started and nothing is "
             "contacted.\n\n"
             "  verdict check policies\n"
             "  verdict check -c verdict.cfg            settings, and the policies they name\n"
             "  verdict check policies/billing/dunning.cfg schemas/context/subscription.json\n\n"
             "Exit status: 0 no errors, 78 errors, 64 usage.",
    .options = options,
    .min_operands = 0,
    .max_operands = 255,
    .run = run,
};
