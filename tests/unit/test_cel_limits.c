/* Every bound stops something: source, nesting, steps, memory, patterns; and no failed allocation leaks or crashes. */
#include <time.h>

#include "base/alloc.h"
#include "cel_unit.h"

/* prefix, then count times part, then suffix. */
static char *repeat(const char *prefix, const char *part, size_t count, const char *suffix)
{
    struct vd_buf b;

    vd_buf_init(&b, 1u << 20);
    (void)vd_buf_add_c(&b, prefix);
    for (size_t i = 0; i < count; i++)
        (void)vd_buf_add_c(&b, part);
    (void)vd_buf_add_c(&b, suffix);
    return vd_buf_take(&b, NULL);
}

static void check_repeated(const struct cel_setup *setup, const char *prefix, const char *part,
                           size_t count, const char *suffix, const char *expected)
{
    char *expr = repeat(prefix, part, count, suffix);
    char got[512];

    cel_eval(setup, expr, got, sizeof(got));
    if (strcmp(got, expected) != 0)
        fail_msg("%s%s... x %d\n  gives    %s\n  expected %s", prefix, part, (int)count, got,
                 expected);
    (void)vd_free(expr);
}

static const struct cel_setup one = {.x = "1"};

static void the_source_has_a_length(void **state)
{
    (void)state;
    check_repeated(&one, "1", " ", VD_CEL_MAX_SOURCE_BYTES - 1, "", "int 1");
    check_repeated(&one, "1", " ", VD_CEL_MAX_SOURCE_BYTES, "",
                   "the expression is longer than 16384 bytes");
}

static void nesting_is_bounded_in_every_form(void **state)
{
    static const struct cel_setup list = {.x = "[0]"};

    (void)state;
    check_repeated(&one, "", "(", VD_CEL_MAX_DEPTH + 1, "",
                   "column 65: the expression is nested too deeply");
    check_repeated(&one, "", "(", 10000, "", "column 65: the expression is nested too deeply");
    check_repeated(&one, "", "[", 10000, "", "column 65: the expression is nested too deeply");
    check_repeated(&one, "", "{1:", 5000, "", "column 191: the expression is nested too deeply");
    check_repeated(&one, "", "int(", 4000, "", "column 257: the expression is nested too deeply");
    check_repeated(&list, "", "x[", 5000, "", "column 129: the expression is nested too deeply");
    check_repeated(&one, "", "true?1:", 2000, "1",
                   "column 449: the expression is nested too deeply");
    check_repeated(&one, "", "!", 10000, "true", "column 1: the expression is nested too deeply");
    check_repeated(&one, "", "-", 10000, "x", "column 1: the expression is nested too deeply");
    check_repeated(&one, "1", "+1", 5000, "", "column 512: the expression is nested too deeply");
    check_repeated(&one, "x", ".a", 5000, "", "column 513: the expression is nested too deeply");
    check_repeated(&one, "x", "[0]", 5000, "", "column 767: the expression is nested too deeply");
    check_repeated(&one, "'a'", ".trim()", 2000, "",
                   "column 1790: the expression is nested too deeply");
}

static void what_the_standard_asks_for_is_allowed(void **state)
{
    static const struct cel_setup list = {.x = "[0]"};
    char got[64];
    char *expr;

    (void)state;
    check_repeated(&one, "", "(", 0,
                   "((((((((((((((((((((((((((((((((7))))))))))))))))))))))))))))))))", "int 7");
    check_repeated(&one, "true", " && true", 1000, "", "bool true");
    check_repeated(&one, "false", " || false", 1000, " || true", "bool true");
    check_repeated(&one, "1", " + 1", 200, "", "int 201");
    check_repeated(&one, "", "true ? 1 : ", 40, "1", "int 1");
    check_repeated(&one, "size([1", ", 1", 2000, "])", "int 2001");
    expr = repeat("", "x[", 32, "0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    cel_eval(&list, expr, got, sizeof(got));
    assert_string_equal(got, "int 0");
    (void)vd_free(expr);
}

static void macros_nest_within_their_variables(void **state)
{
    (void)state;
    check_repeated(&one, "", "[x].all(a, ", VD_CEL_MAX_LOCALS - 1,
                   "true)))))))))))))))))))))))))))))))", "bool true");
    check_repeated(&one, "", "[x].all(a, ", VD_CEL_MAX_LOCALS,
                   "true))))))))))))))))))))))))))))))))",
                   "column 346: macros are nested too deeply");
}

static void the_step_budget_ends_every_loop(void **state)
{
    static const struct cel_setup small = {.x = "[1,2,3,4,5,6,7,8,9,10]", .max_steps = 500};

    (void)state;
    CEL_CHECK(
        &small, {"x.all(a, a > 0)", "bool true"},
        {"x.all(a, x.all(b, x.all(c, a + b + c > 0)))", "limit evaluation takes too many steps"},
        {"x.all(a, x.all(b, x.all(c, a + b + c > 0))) || true",
         "limit evaluation takes too many steps"},
        {"true || x.all(a, x.all(b, x.all(c, a + b + c > 0)))", "bool true"},
        {"x.map(a, x.map(b, x.map(c, c))).size() > 0", "limit evaluation takes too many steps"},
        {"x.exists(a, x.exists(b, x.exists(c, a + b + c < 0))) ? 1 : 2",
         "limit evaluation takes too many steps"});
}

static void work_on_large_values_costs_more(void **state)
{
    static const char *const exprs[] = {"x + x + x + x",
                                        "x.contains('b')",
                                        "x.matches('a*b')",
                                        "x == x + ''",
                                        "x.split('').size() > 0",
                                        "x.replace('a', 'bb').size() > 0",
                                        "'%s'.format([x]).size() > 0",
                                        "x.lastIndexOf('b') > 0",
                                        "x in [x, x + 'b']",
                                        "[x, x].join().size() > 0",
                                        "x.lowerAscii() == 'b'",
                                        "strings.quote(x) == ''",
                                        "timestamp(0).getHours(x) == 0"};
    char *large = repeat("\"", "aaaaaaaaaa", 5000, "\"");
    struct cel_setup setup = {.x = large, .max_steps = 700};
    struct cel_setup small = {.x = "\"aaaa\"", .max_steps = 700};
    char got[512];

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(exprs) / sizeof(exprs[0]); i++) {
        cel_eval(&setup, exprs[i], got, sizeof(got));
        if (strncmp(got, "limit ", 6) != 0)
            fail_msg("%s costs too little: %s", exprs[i], got);
        cel_eval(&small, exprs[i], got, sizeof(got));
        if (strncmp(got, "limit ", 6) == 0)
            fail_msg("%s costs too much", exprs[i]);
    }
    (void)vd_free(large);
}

static void the_budget_is_shared_by_calls_on_one_context(void **state)
{
    struct vd_cel_env *env = vd_cel_env_new();
    struct vd_cel_program *program = NULL;
    struct vd_cel_eval_context context = {.max_steps = 100};
    struct vd_arena arena;
    struct vd_cel_value v;
    struct vd_err err;
    uint64_t each;
    int calls = 0;

    (void)state;
    vd_arena_init(&arena, 1u << 16);
    context.arena = &arena;
    assert_int_equal(vd_cel_compile(env, VD_LIT("[1, 2, 3].all(e, e > 0)"), &program, &err), VD_OK);
    assert_int_equal(vd_cel_eval(program, &context, &v, &err), VD_OK);
    each = context.steps;
    assert_true(each > 3 && each < 50);
    for (calls = 1; calls < 100 && vd_cel_eval(program, &context, &v, &err) == VD_OK; calls++)
        assert_int_equal(context.steps, each * ((unsigned)calls + 1));
    assert_int_equal(calls, 100 / each);
    assert_int_equal(err.code, VD_E_LIMIT);
    assert_int_equal(context.steps, 100);
    (void)vd_cel_program_free(program);
    (void)vd_cel_env_free(env);
    vd_arena_fini(&arena);
}

static void the_arena_cap_ends_growth(void **state)
{
    static const struct cel_setup small = {.x = "[1,2,3,4,5,6,7,8,9,10]", .arena_max = 4096};

    (void)state;
    CEL_CHECK(
        &small, {"x.map(a, a).size()", "int 10"},
        {"x.map(a, x.map(b, [a, b])).size()", "nomem out of memory (cel evaluation)"},
        {"x.map(a, x.map(b, [a, b])).size() > 0 || true", "nomem out of memory (cel evaluation)"},
        {"x.all(a, x.all(b, [a, b, a, b].map(c, c + 1).size() == 4))", "bool true"},

        {"x.map(a, '%.500f'.format([double(a)])).size()", "nomem out of memory (cel evaluation)"});
}

static void regular_expressions_cannot_run_away(void **state)
{
    static const char *const patterns[] = {"'^(a+)+$'",
                                           "'^(a|a)*$'",
                                           "'^(a|aa)+$'",
                                           "'(a*)*[xyz]'",
                                           "'(.*)(.*)(.*)(.*)[xyz]'",
                                           "'((a?){30}){30}[xyz]'"};
    char *large = repeat("\"", "a", 3000, "!\"");
    struct cel_setup setup = {.x = large};
    char expr[200];
    char got[300];
    clock_t start = clock();

    (void)state;
    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        (void)snprintf(expr, sizeof(expr), "x.matches(%s)", patterns[i]);
        cel_eval(&setup, expr, got, sizeof(got));
        if (strncmp(got, "limit ", 6) != 0 && strcmp(got, "bool false") != 0)
            fail_msg("%s gives %s", expr, got);
        (void)snprintf(expr, sizeof(expr), "x.matches(x.size() > 0 ? %s : '')", patterns[i]);
        cel_eval(&setup, expr, got, sizeof(got));
        if (strncmp(got, "limit ", 6) != 0 && strcmp(got, "bool false") != 0)
            fail_msg("%s gives %s", expr, got);
    }
    assert_true(clock() - start < 20 * CLOCKS_PER_SEC); /* all, under sanitizers */
    check_repeated(&setup, "x.matches('", "a", 1025, "')",
                   "column 11: invalid regular expression: it is longer than 1024 bytes");
    check_repeated(
        &setup, "x.matches('", "(", 100, "')",
        "column 11: invalid regular expression: parentheses are too deeply nested (at byte 61)");
    (void)vd_free(large);
}

/* -- failed allocations ------------------------------------------------------------------------------------------ */

static const char everything[] =
    "x.a.all(e, e in [1, 2, x.b] && '%s'.format([e]).matches('^[0-9]+$')) || "
    "timestamp('2024-01-01T00:00:00Z').getHours('UTC') > 1 && {'k': [x.b + "
    "'c']}.k[0].split(',').size() > 0 && "
    "x.b.matches(x.b) && r'\\d' == 'd' && strings.quote(x.b) == x.c.`d-e`";

static void a_failed_allocation_fails_the_compilation_cleanly(void **state)
{
    long n;

    (void)state;
    for (n = 0; n < 1000; n++) {
        struct vd_cel_env *env;
        struct vd_cel_program *program = NULL;
        struct vd_err err = {.msg = ""};
        enum vd_code rc = VD_E_NOMEM;

        vd_alloc_fail_after(n);
        env = vd_cel_env_new();
        if (env != NULL && (rc = vd_cel_env_declare(env, "x", NULL, NULL, &err)) == VD_OK &&
            (rc = vd_cel_env_set_container(env, "a.b")) == VD_OK)
            rc = vd_cel_compile(env, vd_span_of(everything), &program, &err);
        vd_alloc_fail_after(-1);
        (void)vd_cel_program_free(program);
        (void)vd_cel_env_free(env);
        if (rc == VD_OK)
            break;
        assert_int_equal(rc, VD_E_NOMEM);
        assert_null(program);
    }
    assert_in_range(n, 5, 999);
}

static void a_failed_allocation_fails_the_evaluation_cleanly(void **state)
{
    cJSON *tree = cel_json("{\"a\":[1,2,3,\"z\"],\"b\":\"b\",\"c\":{\"d-e\":\"\\\"b\\\"\"}}");
    struct vd_cel_env *env = vd_cel_env_new();
    struct vd_cel_value x = vd_cel_from_json(tree);
    struct vd_cel_program *program = NULL;
    struct vd_err err = {.msg = ""};
    struct vd_cel_value v;
    long n;

    (void)state;
    assert_int_equal(vd_cel_env_declare(env, "x", NULL, NULL, &err), VD_OK);
    if (vd_cel_compile(env, vd_span_of(everything), &program, &err) != VD_OK)
        fail_msg("%s", err.msg);
    for (n = 0; n < 1000; n++) {
        struct vd_arena arena;
        struct vd_cel_eval_context context = {.values = &x, .count = 1, .arena = &arena};
        enum vd_code rc;

        vd_arena_init(&arena, VD_JOB_ARENA_MAX_BYTES);
        vd_alloc_fail_after(n);
        rc = vd_cel_eval(program, &context, &v, &err);
        vd_alloc_fail_after(-1);
        vd_arena_fini(&arena);
        if (rc != VD_E_NOMEM) {
            assert_int_equal(rc, VD_OK);
            assert_false(v.u.b);
            break;
        }
    }
    assert_in_range(n, 1, 999);
    (void)vd_cel_program_free(program);
    (void)vd_cel_env_free(env);
    (void)vd_json_free(tree);
}

static void names_have_a_length_and_a_number(void **state)
{
    struct vd_cel_env *env = vd_cel_env_new();
    char *large = repeat("", "n", VD_CEL_MAX_NAME_LEN, "");
    char name[16];
    enum vd_code rc = VD_OK;
    size_t i;

    (void)state;
    assert_int_equal(vd_cel_env_declare(env, large, NULL, NULL, NULL), VD_E_CONFIG);
    assert_int_equal(vd_cel_env_declare(env, "", NULL, NULL, NULL), VD_E_CONFIG);
    for (i = 0; i <= VD_CEL_MAX_NAMES && rc == VD_OK; i++) {
        (void)snprintf(name, sizeof(name), "v%zu", i);
        rc = vd_cel_env_declare(env, name, NULL, NULL, NULL);
    }
    assert_int_equal(rc, VD_E_LIMIT);
    assert_int_equal(vd_cel_env_count(env), VD_CEL_MAX_NAMES);
    (void)vd_free(large);
    (void)vd_cel_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_source_has_a_length),
        cmocka_unit_test(nesting_is_bounded_in_every_form),
        cmocka_unit_test(what_the_standard_asks_for_is_allowed),
        cmocka_unit_test(macros_nest_within_their_variables),
        cmocka_unit_test(the_step_budget_ends_every_loop),
        cmocka_unit_test(work_on_large_values_costs_more),
        cmocka_unit_test(the_budget_is_shared_by_calls_on_one_context),
        cmocka_unit_test(the_arena_cap_ends_growth),
        cmocka_unit_test(regular_expressions_cannot_run_away),
        cmocka_unit_test(a_failed_allocation_fails_the_compilation_cleanly),
        cmocka_unit_test(a_failed_allocation_fails_the_evaluation_cleanly),
        cmocka_unit_test(names_have_a_length_and_a_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
