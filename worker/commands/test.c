/* commands/test.c - verdict test: run policies' cases, with coverage of rules. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/diag.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "policy/set.h"
#include "reason/cases.h"

static const struct vd_option options[] = {
    {"coverage-min", 'm', "PERCENT", "fail when a policy's cases cover less of it", false},
    {"schemas", 's', "FOLDER", "JSON Schemas; default: the nearest `schemas` folder above a policy",
     false},
    {"uncovered", 'u', NULL, "list what no case covers", false},
    {.name = NULL},
};

struct testing {
    const char *schemas;
    unsigned long long coverage_min;
    bool list_uncovered;
    size_t policies, cases, failed, below;
    int status;
};

static unsigned percent(const struct vd_cases_report *r)
{
    return r->points == 0 ? 100 : (unsigned)(r->covered * 100 / r->points);
}

/* Lines about coverage are wanted only where it matters; failures always. */
static void print_lines(const struct testing *t, const struct vd_buf *out, bool below)
{
    struct vd_span rest = vd_buf_span(out);

    while (rest.len > 0) {
        size_t n = vd_span_find(rest, '\n') + 1;
        struct vd_span line = vd_span_sub(rest, 0, n);

        if (t->list_uncovered || below || !vd_span_starts(line, VD_LIT("  not covered")))
            printf("%.*s", (int)line.len, line.ptr);
        rest = vd_span_sub(rest, n, rest.len);
    }
}

static void run_cases(struct testing *t, const struct vd_policy *policy, const char *path)
{
    struct vd_cases_report report = {0};
    struct vd_err err = {.msg = ""};
    struct vd_buf out;
    bool below;

    vd_buf_init(&out, VD_JSON_MAX_BYTES);
    if (vd_cases_run(policy, path, &out, &report, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        t->status = vd_code_exit(err.code);
    } else {
        below = percent(&report) < t->coverage_min;
        printf("%s: %zu of %zu cases pass, coverage %u %% (%zu of %zu)%s\n", policy->file,
               report.cases - report.failed, report.cases, percent(&report), report.covered,
               report.points, below ? ": too low" : "");
        print_lines(t, &out, below);
        t->cases += report.cases;
        t->failed += report.failed;
        t->below += below ? 1 : 0;
    }
    vd_buf_free(&out);
}

static void test_policy(struct testing *t, const struct vd_policy_file *file)
{
    struct vd_policy_options policy_options = {.root = file->root, .schemas_dir = t->schemas};
    struct vd_policy *policy = NULL;
    struct vd_diags diags;
    struct vd_err err = {.msg = ""};
    struct vd_buf text;
    char *path = vd_cases_path(file->path);

    vd_diags_init(&diags);
    vd_buf_init(&text, VD_CONF_MAX_BYTES);
    t->policies++;
    if (path == NULL) {
        fprintf(stderr, "verdict test: out of memory\n");
        t->status = EX_OSERR;
    } else if (vd_policy_load(file->path, &policy_options, &diags, &policy, &err) != VD_OK) {
        if (diags.errors > 0 && vd_diags_write(&diags, &text) == VD_OK)
            fputs(text.ptr, stderr);
        else
            fprintf(stderr, "%s\n", err.msg);
        t->status = vd_code_exit(err.code);
    } else if (access(path, R_OK) != 0) {
        printf("%s: no cases (%s)\n", file->path, path);
        t->below += t->coverage_min > 0 ? 1 : 0;
    } else {
        run_cases(t, policy, path);
    }
    vd_policy_free(policy);
    vd_buf_free(&text);
    vd_diags_fini(&diags);
    vd_free(path);
}

static int run(const struct vd_args *args)
{
    struct testing t = {.schemas = vd_args_get(args, "schemas", NULL),
                        .list_uncovered = vd_args_has(args, "uncovered")};
    struct vd_policy_files files = {NULL, 0};
    const char *paths[256];
    struct vd_err err = {.msg = ""};

    if (!vd_args_u64(args, "coverage-min", 0, 100, 0, &t.coverage_min))
        return EX_USAGE;
    for (size_t i = 0; i < vd_args_operand_count(args); i++)
        paths[i] = vd_args_operand(args, i);
    if (vd_policy_files_find(paths, vd_args_operand_count(args), &files, &err) != VD_OK) {
        fprintf(stderr, "verdict test: %s\n", err.msg);
        return vd_code_exit(err.code);
    }
    if (files.count == 0) {
        fprintf(stderr, "verdict test: no policies there (*.cfg)\n");
        t.status = EX_NOINPUT;
    }
    for (size_t i = 0; i < files.count; i++)
        test_policy(&t, &files.items[i]);
    if (files.count > 1)
        printf("%zu policies, %zu cases, %zu failed\n", t.policies, t.cases, t.failed);
    vd_policy_files_fini(&files);
    if (t.status != EX_OK)
        return t.status;
    return t.failed > 0 || t.below > 0 ? EX_DATAERR : EX_OK;
}

const struct vd_command vd_command_test = {
    .name = "test",
    .usage = "[--coverage-min PERCENT] POLICY | FOLDER...",
    .summary = "run policies' cases, with coverage of rules",
    .about = "Runs NAME.cases.json of each NAME.cfg. No network: the model is the case's list of "
             "raw answers, so what a\n"
             "hostile or broken model does is an ordinary case. The same code decides as in the "
             "worker.\n\n"
             "  [ { \"name\": \"a second failure waits a day\",\n"
             "      \"event\": { \"type\": \"invoice.payment_failed\", \"data\": { \"object\": { "
             "\"attempt_count\": 2 } } },\n"
             "      \"context\": { \"sub\": { \"plan\": \"pro\" } },\n"
             "      \"model\": [ { \"action\": \"retry\", \"params\": { \"after_hours\": 24 }, "
             "\"confidence\": 0.9 } ],\n"
             "      \"expect\": { \"status\": \"decided\", \"action\": \"retry\", \"rules\": { "
             "\"ceiling\": \"pass\" } } } ]\n\n"
             "  verdict test policies --coverage-min 100\n\n"
             "Coverage counts: each rule seen to pass and to fail, each action chosen, each "
             "shortcut taken, each\n"
             "escalation, the fallback. Exit status: 0 all pass, 65 a case failed or coverage is "
             "too low, 78 a policy is wrong.",
    .options = options,
    .min_operands = 1,
    .max_operands = 255,
    .run = run,
};
