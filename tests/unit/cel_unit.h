/* tests/unit/cel_unit.h - expressions in, texts out: "int 3", "string \"a\"", "error division by zero", "column 1: ...". */
#ifndef VD_TESTS_CEL_UNIT_H
#define VD_TESTS_CEL_UNIT_H

#include <stdio.h>

#include "base/limits.h"
#include "cel/cel.h"
#include "unit.h"

struct cel_case {
    const char *expr;
    const char *expected;
};

/* How to evaluate; everything may be zero. */
struct cel_setup {
    const char *x;      /* JSON of variable x; NULL: not declared */
    const char *schema; /* JSON Schema of x */
    bool lenient;
    uint64_t max_steps;
    size_t arena_max;
    const char *container;
    vd_cel_verified_fn *verified;
};

static inline void cel_describe(const struct vd_cel_value *v, char *ret, size_t size)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;
    struct vd_buf text;

    vd_buf_init(&text, 1u << 20);
    if (vd_cel_to_json(v, &tree, &err) == VD_OK && vd_json_write(&text, tree) == VD_OK)
        (void)snprintf(ret, size, "%s %.*s", vd_cel_kind_name(v->kind), (int)text.len, text.ptr);
    else
        (void)snprintf(ret, size, "%s, no JSON: %s", vd_cel_kind_name(v->kind), err.msg);
    (void)vd_json_free(tree);
    vd_buf_free(&text);
}

static inline cJSON *cel_json(const char *text)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;

    if (text != NULL && vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s: %s", text, err.msg);
    return tree;
}

static inline void cel_eval(const struct cel_setup *setup, const char *expr, char *ret, size_t size)
{
    struct vd_cel_env *env = vd_cel_env_new();
    cJSON *tree = cel_json(setup->x);
    cJSON *schema = cel_json(setup->schema);
    struct vd_cel_value x = vd_cel_from_json(tree);
    struct vd_cel_program *program = NULL;
    struct vd_err err = {.msg = ""};
    struct vd_arena arena;
    struct vd_cel_eval_context context = {.values = &x,
                                          .count = 1,
                                          .arena = &arena,
                                          .max_steps = setup->max_steps,
                                          .verified = setup->verified};
    struct vd_cel_value v;
    enum vd_code rc;

    vd_arena_init(&arena, setup->arena_max > 0 ? setup->arena_max : VD_JOB_ARENA_MAX_BYTES);
    if (setup->x != NULL)
        assert_int_equal(vd_cel_env_declare(env, "x", schema, NULL, &err), VD_OK);
    assert_int_equal(vd_cel_env_set_container(env, setup->container), VD_OK);
    vd_cel_env_set_lenient(env, setup->lenient);
    rc = vd_cel_compile(env, vd_span_of(expr), &program, &err);
    if (rc != VD_OK) {
        (void)snprintf(ret, size, "%s", err.msg);
    } else if ((rc = vd_cel_eval(program, &context, &v, &err)) == VD_OK) {
        cel_describe(&v, ret, size);
    } else {
        (void)snprintf(ret, size, "%s %s",
                       rc == VD_E_INPUT   ? "error"
                       : rc == VD_E_LIMIT ? "limit"
                                          : "nomem",
                       err.msg);
    }
    (void)vd_cel_program_free(program);
    (void)vd_cel_env_free(env);
    (void)vd_json_free(tree);
    (void)vd_json_free(schema);
    vd_arena_fini(&arena);
}

static inline void cel_check(const struct cel_setup *setup, const struct cel_case *cases, size_t n)
{
    char got[2048];
    size_t failed = 0;

    for (size_t i = 0; i < n; i++) {
        cel_eval(setup, cases[i].expr, got, sizeof(got));
        if (strcmp(got, cases[i].expected) != 0) {
            print_error("%s\n  gives    %s\n  expected %s\n", cases[i].expr, got,
                        cases[i].expected);
            failed++;
        }
    }
    assert_int_equal(failed, 0);
}

#define CEL_CHECK(setup, ...)                                                                      \
    do {                                                                                           \
        static const struct cel_case cases_[] = {__VA_ARGS__};                                     \
        cel_check(setup, cases_, sizeof(cases_) / sizeof(cases_[0]));                              \
    } while (0)

#endif
