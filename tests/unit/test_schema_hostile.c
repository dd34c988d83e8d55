/* Schemas and instances made to hurt: each ends within its budget, with an error that says which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/limits.h"
#include "schema/schema.h"

/* No single attack may hold a core this long, also under sanitizers on a slow machine. The budgets themselves are steps. */
#define TOO_LONG_S 20

static cJSON *parse(struct vd_span text)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;

    if (vd_json_parse(text, &tree, &err) != VD_OK)
        fail_msg("%s", err.msg);
    return tree;
}

/* The outcome of one validation with errors wanted; *ret_valid where it is VD_OK. */
static enum vd_code validate(const char *schema_text, const cJSON *instance, bool *ret_valid,
                             struct vd_err *err)
{
    struct vd_schema *schema = NULL;
    struct vd_schema_result result = {.valid = false};
    struct vd_arena arena;
    cJSON *source = parse(vd_span_of(schema_text));
    time_t start = time(NULL);
    enum vd_code rc = vd_schema_compile(source, NULL, &schema, err);

    vd_arena_init(&arena, VD_JOB_ARENA_MAX_BYTES);
    if (rc == VD_OK)
        rc = vd_schema_validate(schema, instance, 10, &arena, &result, err);
    assert_true(time(NULL) - start < TOO_LONG_S);
    *ret_valid = result.valid;
    vd_arena_fini(&arena);
    vd_json_free(source);
    vd_schema_free(schema);
    return rc;
}

static void ends_with_limit(const char *schema, const char *instance, const char *message)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = parse(vd_span_of(instance));
    bool valid;

    assert_int_equal(validate(schema, tree, &valid, &err), VD_E_LIMIT);
    assert_string_equal(err.msg, message);
    vd_json_free(tree);
}

#define ENDLESS "the schema refers to itself without end, or is nested too deeply"

static void a_reference_that_makes_no_progress_ends(void **state)
{
    (void)state;
    ends_with_limit("{\"$ref\":\"#\"}", "1", ENDLESS);
    ends_with_limit("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/"
                    "b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}",
                    "1", ENDLESS);
    ends_with_limit("{\"allOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}", "{}", ENDLESS);
    ends_with_limit("{\"not\":{\"$ref\":\"#\"}}", "1", ENDLESS);
    ends_with_limit("{\"if\":{\"$ref\":\"#\"},\"then\":{\"$ref\":\"#\"}}", "1", ENDLESS);
    ends_with_limit("{\"$dynamicAnchor\":\"a\",\"$dynamicRef\":\"#a\"}", "1", ENDLESS);
}

static void a_reference_that_makes_progress_does_not(void **state)
{
    const char *list = "{\"properties\":{\"next\":{\"$ref\":\"#\"}},\"additionalProperties\":{"
                       "\"type\":\"integer\"}}";
    struct vd_err err;
    char text[2048] = "";
    size_t n = 0;
    cJSON *tree;
    bool valid;

    (void)state;
    for (int i = 0; i < VD_JSON_MAX_DEPTH - 1; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "{\"next\":");
    n += (size_t)snprintf(text + n, sizeof(text) - n, "{\"v\":1}");
    memset(text + n, '}', VD_JSON_MAX_DEPTH - 1);
    tree = parse((struct vd_span){text, n + VD_JSON_MAX_DEPTH - 1});
    assert_int_equal(validate(list, tree, &valid, &err), VD_OK);
    assert_true(valid);
    vd_json_free(tree);
}

/* Two ways at each level: 2^60 evaluations without a budget. */
static void exponential_schemas_end(void **state)
{
    struct vd_buf text;
    char *schema;

    (void)state;
    vd_buf_init(&text, 1u << 16);
    (void)vd_buf_add_c(&text, "{\"$ref\":\"#/$defs/a0\",\"$defs\":{");
    for (int i = 0; i < 60; i++)
        (void)vd_buf_addf(
            &text, "\"a%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/a%d\"},{\"$ref\":\"#/$defs/a%d\"}]},",
            i, i + 1, i + 1);
    (void)vd_buf_add_c(&text, "\"a60\":false}}");
    schema = vd_buf_take(&text, NULL);
    ends_with_limit(schema, "1", "validation takes too many steps");
    schema = vd_free(schema);
}

static void a_pattern_that_backtracks_without_end_ends(void **state)
{
    const char *bait = "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"";

    (void)state;
    ends_with_limit("{\"pattern\":\"^(a+)+$\"}", bait,
                    "a pattern backtracks too much on this text");
    ends_with_limit("{\"pattern\":\"^(([a-z])+.)+[A-Z]([a-z])+$\"}", bait,
                    "a pattern backtracks too much on this text");
    ends_with_limit("{\"pattern\":\"^(a|aa)+$\"}", bait,
                    "a pattern backtracks too much on this text");
    ends_with_limit("{\"patternProperties\":{\"^(a|a?)+$\":true}}",
                    "{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\":1}",
                    "a pattern backtracks too much on this text");
}

/* Each text stays below the limit of one match; together they must not hold the core. */
static void many_slow_matches_are_paid_for(void **state)
{
    cJSON *array = cJSON_CreateArray();
    struct vd_err err = {.msg = ""};
    bool valid;

    (void)state;
    for (int i = 0; i < 20000; i++)
        assert_true(vd_json_append(array, vd_json_new_string(VD_LIT("aaaaaaaaaaaaaaaa!"))));
    assert_int_equal(validate("{\"items\":{\"pattern\":\"^(a+)+$\"}}", array, &valid, &err), VD_OK);
    assert_false(valid);
    /* with "not", every one of them has to be tried */
    assert_int_equal(
        validate("{\"items\":{\"not\":{\"pattern\":\"^(a+)+$\"}}}", array, &valid, &err),
        VD_E_LIMIT);
    assert_string_equal(err.msg, "validation takes too many steps");
    vd_json_free(array);
}

static void expressions_that_grow_do_not_compile(void **state)
{
    static const char *const schemas[] = {
        "{\"pattern\":\"((((a{1,1000}){1,1000}){1,1000}){1,1000})\"}",
        "{\"pattern\":\"(?R)\"}",
        "{\"pattern\":\"(a(?1)b)\"}",
        "{\"pattern\":\"(*LIMIT_MATCH=4000000000)a\"}",
        "{\"pattern\":\"a(?C1)b\"}",
        "{\"pattern\":\"\\\\C\"}",
    };
    cJSON *instance = parse(VD_LIT("\"a\""));

    (void)state;
    for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++) {
        struct vd_err err;
        bool valid;

        assert_int_equal(validate(schemas[i], instance, &valid, &err), VD_E_CONFIG);
    }
    vd_json_free(instance);
}

static void a_pattern_longer_than_the_limit_does_not_compile(void **state)
{
    static char text[VD_SCHEMA_MAX_PATTERN_BYTES + 64];
    cJSON *instance = parse(VD_LIT("\"a\""));
    struct vd_err err;
    bool valid;
    size_t n;

    (void)state;
    for (size_t len = VD_SCHEMA_MAX_PATTERN_BYTES; len <= VD_SCHEMA_MAX_PATTERN_BYTES + 1; len++) {
        n = (size_t)snprintf(text, sizeof(text), "{\"pattern\":\"");
        memset(text + n, 'a', len);
        memcpy(text + n + len, "\"}", 3);
        assert_int_equal(validate(text, instance, &valid, &err),
                         len > VD_SCHEMA_MAX_PATTERN_BYTES ? VD_E_CONFIG : VD_OK);
    }
    vd_json_free(instance);
}

static void a_large_instance_ends_in_its_step_budget(void **state)
{
    cJSON *array = cJSON_CreateArray();
    struct vd_err err = {.msg = ""};
    bool valid;

    (void)state;
    for (int i = 0; i < 200000; i++)
        assert_true(vd_json_append(array, vd_json_new_int(i)));
    assert_int_equal(validate("{\"items\":{\"type\":\"integer\"}}", array, &valid, &err), VD_OK);
    assert_true(valid);
    assert_int_equal(
        validate("{\"items\":{\"allOf\":[true,true,true,true,true,true,true,true,true,true,"
                 "true,true,true,true,true,true,true,true,true,true,true]}}",
                 array, &valid, &err),
        VD_E_LIMIT);
    vd_json_free(array);
}

static void a_schema_nested_to_the_limit_of_json_compiles_and_runs(void **state)
{
    struct vd_buf schema;
    struct vd_buf instance;
    struct vd_err err = {.msg = ""};
    char *text;
    cJSON *tree;
    bool valid;

    (void)state;
    vd_buf_init(&schema, 1u << 16);
    vd_buf_init(&instance, 1u << 16);
    for (int i = 0; i < VD_JSON_MAX_DEPTH - 1; i++)
        (void)vd_buf_add_c(&schema, "{\"items\":");
    (void)vd_buf_add_c(&schema, "{\"type\":\"null\"}");
    for (int i = 0; i < VD_JSON_MAX_DEPTH - 1; i++) {
        (void)vd_buf_add_char(&schema, '}');
        (void)vd_buf_add_char(&instance, '[');
    }
    (void)vd_buf_add_char(&instance, '1');
    for (int i = 0; i < VD_JSON_MAX_DEPTH - 1; i++)
        (void)vd_buf_add_char(&instance, ']');
    text = vd_buf_take(&schema, NULL);
    tree = parse(vd_buf_span(&instance));
    assert_int_equal(validate(text, tree, &valid, &err), VD_OK);
    assert_false(valid);
    vd_json_free(tree);
    text = vd_free(text);
    vd_buf_free(&instance);
}

/* http://x/1 refers to http://x/2, that to http://x/3, and so on. */
static const cJSON *always_another(void *arg, const char *uri)
{
    cJSON **made = arg;
    uint64_t number = 0;
    char text[96];

    assert_true(vd_parse_u64(vd_span_of(uri + strlen("http://x/")), 100000, &number));
    (void)snprintf(text, sizeof(text), "{\"$ref\":\"http://x/%d\"}", (int)number + 1);
    vd_json_free(*made);
    *made = parse(vd_span_of(text));
    return *made;
}

static void a_chain_of_documents_ends(void **state)
{
    cJSON *made = NULL;
    struct vd_schema_options options = {.resolve = always_another, .resolve_arg = &made};
    struct vd_schema *schema = NULL;
    struct vd_err err = {.msg = ""};
    cJSON *source = parse(VD_LIT("{\"$ref\":\"http://x/1\"}"));

    (void)state;
    assert_int_equal(vd_schema_compile(source, &options, &schema, &err), VD_E_LIMIT);
    assert_non_null(strstr(err.msg, "refers to more than 256 documents"));
    vd_json_free(source);
    vd_json_free(made);
}

static void a_schema_too_large_to_compile_is_a_limit(void **state)
{
    struct vd_schema *schema = NULL;
    struct vd_err err = {.msg = ""};
    cJSON *source = cJSON_CreateObject();
    cJSON *properties = cJSON_CreateObject();

    (void)state;
    for (int i = 0; i < 200000; i++) {
        char key[32];
        cJSON *part = cJSON_CreateObject();

        (void)snprintf(key, sizeof(key), "%d", i);
        assert_true(vd_json_put(part, "minLength", vd_json_new_int(1)));
        part->string = NULL;
        /* cJSON walks to the end of an object to add a member; linking by hand keeps the test fast */
        part->string = cJSON_malloc(32);
        memcpy(part->string, key, 32);
        assert_true(cJSON_AddItemToArray(properties, part));
    }
    assert_true(vd_json_put(source, "properties", properties));
    assert_int_equal(vd_schema_compile(source, NULL, &schema, &err), VD_E_LIMIT);
    assert_string_equal(err.msg, "the schema is too large");
    vd_json_free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_that_makes_no_progress_ends),
        cmocka_unit_test(a_reference_that_makes_progress_does_not),
        cmocka_unit_test(exponential_schemas_end),
        cmocka_unit_test(a_pattern_that_backtracks_without_end_ends),
        cmocka_unit_test(many_slow_matches_are_paid_for),
        cmocka_unit_test(expressions_that_grow_do_not_compile),
        cmocka_unit_test(a_pattern_longer_than_the_limit_does_not_compile),
        cmocka_unit_test(a_large_instance_ends_in_its_step_budget),
        cmocka_unit_test(a_schema_nested_to_the_limit_of_json_compiles_and_runs),
        cmocka_unit_test(a_chain_of_documents_ends),
        cmocka_unit_test(a_schema_too_large_to_compile_is_a_limit),
    };

    return cmocka_run_group_tests_name("schema_hostile", tests, NULL, NULL);
}
