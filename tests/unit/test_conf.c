/* tests/unit/test_conf.c - settings and policy files: every trap of libconfig 1.5 named with its line, tables read and written. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/conf.h"
#include "base/limits.h"

/* The diagnostics of text as one string (freed by the caller); *ret_conf NULL unless it loaded. */
static char *diagnose(const char *text, struct vd_conf **ret_conf)
{
    struct vd_diags diags;
    struct vd_buf out;
    struct vd_err err;
    struct vd_conf *conf = NULL;
    enum vd_code rc;

    vd_diags_init(&diags);
    vd_buf_init(&out, 1 << 20);
    rc = vd_conf_parse(vd_span_of(text), "f.cfg", &diags, &conf, &err);
    assert_int_equal(rc == VD_OK, conf != NULL);
    assert_int_equal(rc == VD_OK, diags.errors == 0);
    assert_int_equal(vd_diags_write(&diags, &out), VD_OK);
    vd_diags_fini(&diags);
    if (ret_conf != NULL)
        *ret_conf = conf;
    else
        vd_conf_free(conf);
    assert_int_equal(vd_buf_add_c(&out, ""), VD_OK);
    return vd_buf_take(&out, NULL);
}

static void test_each_trap_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"a = 1;\nb = 3000000000;\n", "f.cfg:2: error: needs an L"},
        {"a = -2147483649;", "needs an L"},
        {"a = 0xFFFFFFFF;", "needs an L"},
        {"a = 99999999999999999999L;", "too large"},
        {"a = 010;", "leading zeros"},
        {"a = 0b11;", "not a number"},
        {"a = 1;\n\nb = [1, 2,\n];", "f.cfg:3: error: a comma before \"]\""},
        {"b = ( 1, );", "a comma before \")\""},
        {"a = \"open;\nb = \"fine\";\n", "f.cfg:1: error: a quote that opens here"},
        {"a = 1;\nb = 'x';", "f.cfg:2: error: \"'\" means nothing here"},
        {"a.b = 1;", "a name has no dots: a.b"},
        {"a = {\n b = 1;\n", "f.cfg:1: error: \"{\" that opens here is never closed"},
        {"a = [1 };", "\"}\" where \"]\" of line 1 must close"},
        {"a = 1; }", "\"}\" closes nothing"},
        {"a = 1;\n/* open\n\n", "f.cfg:2: error: a comment that opens here"},
        {"a = \"\\x41\";", "\\x in a string"},
        {"a = \"\xff\";", "not UTF-8"},
        {"a = 1;\na = 2;", "f.cfg:2: error: duplicate"},
        {"a = 1;\n@include \"x.cfg\"\n", "f.cfg:2: error: @include is not possible here"},
        {"a = = 1;", "syntax error"},
        {"a = 1e999;", "too large"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char *said = diagnose(rows[i].text, NULL);

        if (strstr(said, rows[i].says) == NULL)
            fail_msg("row %zu: \"%s\" is not in \"%s\"", i, rows[i].says, said);
        vd_free(said);
    }
}

static void test_all_errors_come_at_once(void **state)
{
    char *said = diagnose("a = 3000000000;\nb = [1,];\nc = \"x;\nd = 'y';\n", NULL);

    (void)state;
    for (const char *line = "1234"; *line != '\0'; line++) {
        char place[] = "f.cfg:?:";

        place[6] = *line;
        assert_non_null(strstr(said, place));
    }
    vd_free(said);
}

static void test_a_nul_and_too_deep_a_file_are_refused(void **state)
{
    char text[512] = "a = ";
    struct vd_diags diags;
    struct vd_conf *conf;
    char *said;

    (void)state;
    vd_diags_init(&diags);
    assert_int_equal(vd_conf_parse((struct vd_span){"a = 1;\0b", 8}, "f", &diags, &conf, NULL),
                     VD_E_CONFIG);
    vd_diags_fini(&diags);
    for (int i = 0; i <= VD_CONF_MAX_DEPTH; i++)
        strncat(text, "( ", 3);
    for (int i = 0; i <= VD_CONF_MAX_DEPTH; i++)
        strncat(text, ") ", 3);
    said = diagnose(text, NULL);
    assert_non_null(strstr(said, "nested deeper"));
    vd_free(said);
}

static void test_a_tree_keeps_kinds_paths_and_lines(void **state)
{
    struct vd_conf *conf = NULL;
    char *said = diagnose(
        "g = {\n  i = 5000000000L;\n  s = \"a\" \"b\";\n  l = [1.5, 2.5];\n  t = true;\n};\n",
        &conf);
    const struct vd_conf_node *root, *s;

    (void)state;
    assert_string_equal(said, "");
    root = vd_conf_root(conf);
    assert_int_equal(vd_conf_find(root, "g.i")->u.i, 5000000000);
    s = vd_conf_find(root, "g.s");
    assert_string_equal(s->u.s.ptr, "ab");
    assert_int_equal(s->line, 3);
    assert_string_equal(s->path, "g.s");
    assert_string_equal(s->file, "f.cfg");
    assert_int_equal(vd_conf_find(root, "g.l")->count, 2);
    assert_string_equal(vd_conf_find(root, "g.l")->first->next->path, "g.l[1]");
    assert_true(vd_conf_find(root, "g.t")->u.b);
    assert_null(vd_conf_find(root, "g.none.x"));
    vd_free(said);
    vd_conf_free(conf);
}

/* -- includes ---------------------------------------------------------------------------------------------------- */

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void test_an_include_stays_in_its_folder(void **state)
{
    char dir[] = "/tmp/vdconfXXXXXX", root[64], path[128];
    struct vd_diags diags;
    struct vd_conf *conf = NULL;
    struct vd_err err;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(root, sizeof(root), "%s/in", dir);
    assert_int_equal(mkdir(root, 0700), 0);
    put_file(dir, "secret.cfg", "x = 1;\n");
    put_file(root, "part.cfg", "y = 7;\n");
    put_file(root, "good.cfg", "@include \"part.cfg\"\nz = 1;\n");
    put_file(root, "out.cfg", "@include \"../secret.cfg\"\n");
    put_file(root, "loop.cfg", "@include \"loop.cfg\"\n");
    put_file(root, "inner.cfg", "q = 3000000000;\n");
    put_file(root, "outer.cfg", "\n@include \"inner.cfg\"\n");

    vd_diags_init(&diags);
    snprintf(path, sizeof(path), "%s/good.cfg", root);
    assert_int_equal(vd_conf_load(path, NULL, &diags, &conf, &err), VD_OK);
    assert_int_equal(vd_conf_find(vd_conf_root(conf), "y")->u.i, 7);
    assert_non_null(strstr(vd_conf_find(vd_conf_root(conf), "y")->file, "part.cfg"));
    vd_conf_free(conf);

    snprintf(path, sizeof(path), "%s/out.cfg", root);
    assert_int_equal(vd_conf_load(path, NULL, &diags, &conf, &err), VD_E_CONFIG);
    assert_non_null(strstr(diags.items[0].what, "is not a file inside"));
    vd_diags_fini(&diags);
    /* A wider root allows it. */
    vd_diags_init(&diags);
    assert_int_equal(vd_conf_load(path, dir, &diags, &conf, &err), VD_OK);
    vd_conf_free(conf);

    snprintf(path, sizeof(path), "%s/loop.cfg", root);
    assert_int_equal(vd_conf_load(path, NULL, &diags, &conf, &err), VD_E_CONFIG);
    vd_diags_fini(&diags);

    vd_diags_init(&diags);
    snprintf(path, sizeof(path), "%s/outer.cfg", root);
    assert_int_equal(vd_conf_load(path, NULL, &diags, &conf, &err), VD_E_CONFIG);
    assert_non_null(strstr(diags.items[0].file, "inner.cfg"));
    assert_int_equal(diags.items[0].line, 1);
    vd_diags_fini(&diags);
    assert_int_equal(strncmp(dir, "/tmp/vdconf", 11), 0);
    for (size_t i = 0; i < 6; i++) {
        static const char *const names[] = {"part", "good", "out", "loop", "inner", "outer"};

        snprintf(path, sizeof(path), "%s/%s.cfg", root, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    snprintf(path, sizeof(path), "%s/secret.cfg", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(root), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* -- tables ------------------------------------------------------------------------------------------------------ */

struct target {
    const char *brokers, *password;
    int64_t wait_ms;
    double ratio;
    bool fast;
    int mode;
    struct vd_conf_strings topics;
    const struct vd_conf_node *extra;
};

static const char *const words[] = {"slow", "quick", NULL};
#define ROW(f) offsetof(struct target, f)
static const struct vd_conf_row rows[] = {
    {"kafka.brokers", VD_CONF_T_STRING, ROW(brokers), NULL, 1, 20, NULL, VD_CONF_REQUIRED,
     "Brokers.", NULL},
    {"kafka.password", VD_CONF_T_STRING, ROW(password), NULL, 0, 0, NULL, VD_CONF_SECRET,
     "Password.", NULL},
    {"kafka.wait_ms", VD_CONF_T_INT, ROW(wait_ms), "100", 1, 1000, "ms", VD_CONF_RELOAD, "Wait.",
     NULL},
    {"ratio", VD_CONF_T_NUMBER, ROW(ratio), "0.5", 0, 1, NULL, 0, "Ratio.", NULL},
    {"fast", VD_CONF_T_BOOL, ROW(fast), "true", 0, 0, NULL, 0, "Fast.", NULL},
    {"mode", VD_CONF_T_ENUM, ROW(mode), "slow", 0, 0, NULL, 0, "Mode.", words},
    {"topics", VD_CONF_T_STRINGS, ROW(topics), "a, b", 0, 0, NULL, 0, "Topics.", NULL},
    {"extra", VD_CONF_T_NODE, ROW(extra), NULL, 0, 0, NULL, 0, "Extra.", NULL},
    {.name = NULL},
};

static const char *fake_env(void *arg, const char *name)
{
    const char *const *pairs = arg;

    for (; pairs[0] != NULL; pairs += 2)
        if (strcmp(pairs[0], name) == 0)
            return pairs[1];
    return NULL;
}

static struct vd_conf *read_text(const char *text, const char *const *env_pairs, struct target *t,
                                 struct vd_diags *diags)
{
    struct vd_conf_env env = {fake_env, (void *)env_pairs, "VERDICT"};
    struct vd_conf *conf = NULL;

    vd_diags_init(diags);
    assert_int_equal(vd_conf_parse(vd_span_of(text), "s.cfg", diags, &conf, NULL), VD_OK);
    assert_int_equal(vd_conf_read(conf, vd_conf_root(conf), rows, t,
                                  env_pairs != NULL ? &env : NULL, diags, NULL),
                     VD_OK);
    return conf;
}

static void test_defaults_file_and_environment_in_that_order(void **state)
{
    static const char *const env[] = {
        "VERDICT_KAFKA_WAIT_MS", "7", "VERDICT_TOPICS", "x,y , z", "VERDICT_FAST", "false", NULL};
    struct vd_diags diags;
    struct target t;
    struct vd_conf *conf = read_text(
        "kafka = { brokers = \"h:1\"; wait_ms = 5; }; ratio = 1; mode = \"quick\"; extra = (1);",
        env, &t, &diags);

    (void)state;
    assert_int_equal(diags.errors, 0);
    assert_string_equal(t.brokers, "h:1");
    assert_null(t.password);
    assert_int_equal(t.wait_ms, 7);
    assert_true(t.ratio == 1.0);
    assert_false(t.fast);
    assert_int_equal(t.mode, 1);
    assert_int_equal(t.topics.count, 3);
    assert_string_equal(t.topics.items[2], "z");
    assert_int_equal(t.extra->count, 1);
    vd_conf_free(conf);
    vd_diags_fini(&diags);
}

static void test_every_wrong_value_is_said_and_secrets_are_not(void **state)
{
    static const char *const env[] = {"VERDICT_RATIO", "two", NULL};
    struct vd_diags diags;
    struct target t;
    struct vd_buf out;
    struct vd_conf *conf = read_text("kafka = { wait_ms = 1001; password = 12345; brokrs = \"x\"; "
                                     "}; fast = 1; mode = \"quik\"; topics = [1];",
                                     env, &t, &diags);

    (void)state;
    vd_buf_init(&out, 1 << 16);
    assert_int_equal(vd_diags_write(&diags, &out), VD_OK);
    assert_non_null(
        strstr(out.ptr, "kafka.wait_ms is 1001\n    write: a whole number from 1 to 1000 ms"));
    assert_non_null(strstr(out.ptr, "kafka.brokers is missing"));
    assert_non_null(strstr(out.ptr, "unknown name \"brokrs\" in kafka"));
    assert_non_null(strstr(out.ptr, "write: brokers"));
    assert_non_null(strstr(out.ptr, "fast is 1"));
    assert_non_null(strstr(out.ptr, "mode is \"quik\""));
    assert_non_null(strstr(out.ptr, "VERDICT_RATIO is \"two\""));
    assert_non_null(strstr(out.ptr, "topics is a list"));
    assert_null(strstr(out.ptr, "12345"));
    vd_buf_free(&out);
    vd_conf_free(conf);
    vd_diags_fini(&diags);
}

static void count_change(void *arg, const struct vd_conf_row *row)
{
    (void)row;
    ++*(int *)arg;
}

static void test_a_dump_reads_back_equal_with_secrets_masked(void **state)
{
    struct vd_diags diags, diags2;
    struct target t, u;
    struct vd_buf out;
    struct vd_conf *conf = read_text("kafka = { brokers = \"h\\\"1\"; password = \"hunter2\"; }; "
                                     "extra = { a = 1; b = [\"c\"]; };",
                                     NULL, &t, &diags);
    struct vd_conf *again;
    int changes = 0;

    (void)state;
    vd_buf_init(&out, 1 << 16);
    assert_int_equal(vd_conf_dump(rows, &t, &out), VD_OK);
    assert_null(strstr(out.ptr, "hunter2"));
    again = read_text(out.ptr, NULL, &u, &diags2);
    assert_int_equal(diags2.errors, 0);
    vd_conf_diff(rows, &t, &u, count_change, &changes);
    assert_int_equal(changes, 1); /* the masked password */
    vd_buf_clear(&out);
    assert_int_equal(vd_conf_reference(rows, "VERDICT", &out), VD_OK);
    assert_non_null(strstr(
        out.ptr, "| `kafka.wait_ms` | integer | `100` ms | 1 to 1000 | `VERDICT_KAFKA_WAIT_MS` |"));
    vd_buf_free(&out);
    vd_conf_free(again);
    vd_conf_free(conf);
    vd_diags_fini(&diags);
    vd_diags_fini(&diags2);
}

static void test_no_allocation_failure_leaks_or_crashes(void **state)
{
    (void)state;
    for (long n = 0; n < 400; n++) {
        struct vd_diags diags;
        struct vd_conf *conf = NULL;
        struct vd_err err;
        struct target t;

        vd_diags_init(&diags);
        vd_alloc_fail_after(n);
        if (vd_conf_parse(VD_LIT("kafka = { brokers = \"a\"; nope = 1; }; x = ( { y = 1; } );"),
                          "f", &diags, &conf, &err) == VD_OK)
            (void)!vd_conf_read(conf, vd_conf_root(conf), rows, &t, NULL, &diags, &err);
        vd_alloc_fail_after(-1);
        vd_conf_free(conf);
        vd_diags_fini(&diags);
    }
}

static void test_the_closest_word_is_close(void **state)
{
    static const char *const names[] = {"require", "reason", "retry", NULL};

    (void)state;
    assert_string_equal(vd_closest("requires", names), "require");
    assert_string_equal(vd_closest("rety", names), "retry");
    assert_string_equal(vd_closest("rerty", names), "retry");
    assert_null(vd_closest("canary", names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_trap_is_named_with_its_line),
        cmocka_unit_test(test_all_errors_come_at_once),
        cmocka_unit_test(test_a_nul_and_too_deep_a_file_are_refused),
        cmocka_unit_test(test_a_tree_keeps_kinds_paths_and_lines),
        cmocka_unit_test(test_an_include_stays_in_its_folder),
        cmocka_unit_test(test_defaults_file_and_environment_in_that_order),
        cmocka_unit_test(test_every_wrong_value_is_said_and_secrets_are_not),
        cmocka_unit_test(test_a_dump_reads_back_equal_with_secrets_masked),
        cmocka_unit_test(test_no_allocation_failure_leaks_or_crashes),
        cmocka_unit_test(test_the_closest_word_is_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
