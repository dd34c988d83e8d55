/* What schemas mean, what an error says, what does not compile, and how schemas find each other. The public suite judges the
 * keywords one by one (tests/conformance); here is what it does not see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "schema/schema.h"

#define ARENA_BYTES (4u << 20)

static cJSON *parse(const char *text)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;

    if (vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s: %s", text, err.msg);
    return tree;
}

static struct vd_schema *compile(const char *text, const struct vd_schema_options *options)
{
    struct vd_err err = {.msg = ""};
    struct vd_schema *schema = NULL;
    cJSON *source = parse(text);

    if (vd_schema_compile(source, options, &schema, &err) != VD_OK)
        fail_msg("%s: %s", text, err.msg);
    vd_json_free(source); /* the schema has copies of all it needs */
    return schema;
}

static bool valid(const char *schema_text, const struct vd_schema_options *options,
                  const char *text)
{
    struct vd_schema *schema = compile(schema_text, options);
    cJSON *instance = parse(text);
    struct vd_schema_result result;
    struct vd_arena arena;

    vd_arena_init(&arena, ARENA_BYTES);
    assert_int_equal(vd_schema_validate(schema, instance, 0, &arena, &result, NULL), VD_OK);
    assert_int_equal(result.error_count, 0);
    vd_arena_fini(&arena);
    vd_json_free(instance);
    vd_schema_free(schema);
    return result.valid;
}

/* The errors as lines "instance|schema|keyword|reason". */
static void errors_are(const char *schema_text, const char *text, const char *expected)
{
    struct vd_schema *schema = compile(schema_text, NULL);
    cJSON *instance = parse(text);
    struct vd_schema_result result;
    struct vd_arena arena;
    struct vd_buf all;

    vd_arena_init(&arena, ARENA_BYTES);
    vd_buf_init(&all, ARENA_BYTES);
    assert_int_equal(vd_schema_validate(schema, instance, 20, &arena, &result, NULL), VD_OK);
    assert_false(result.valid);
    for (size_t i = 0; i < result.error_count; i++)
        (void)vd_buf_addf(&all, "%s%s|%s|%s|%s", i > 0 ? "\n" : "", result.errors[i].instance_path,
                          result.errors[i].schema_path, result.errors[i].keyword,
                          result.errors[i].reason);
    assert_string_equal(all.ptr, expected);
    vd_buf_free(&all);
    vd_arena_fini(&arena);
    vd_json_free(instance);
    vd_schema_free(schema);
}

static void an_error_says_where_and_why(void **state)
{
    (void)state;
    errors_are("{\"minimum\":1}", "-3", "|/minimum|minimum|must be at least 1, is -3");
    errors_are("{\"exclusiveMaximum\":1e2}", "100",
               "|/exclusiveMaximum|exclusiveMaximum|must be less than 100.0, is 100");
    errors_are("{\"type\":[\"integer\",\"null\"]}", "4.5",
               "|/type|type|must be null or integer, is number");
    errors_are("{\"type\":\"number\"}", "\"4\"", "|/type|type|must be number, is string");
    errors_are("{\"maxLength\":2}", "\"\xC3\xA9\xC3\xA9\xC3\xA9\"",
               "|/maxLength|maxLength|must have at most 2 characters, has 3");
    errors_are("{\"enum\":[1,2]}", "[1,2,3]",
               "|/enum|enum|must be one of the 2 values listed, is an array of 3 items");
    errors_are("{\"const\":{}}", "0", "|/const|const|must be an object of 0 members, is 0");
    errors_are("{\"multipleOf\":0.01}", "0.005",
               "|/multipleOf|multipleOf|must be a multiple of 1e-2, is 0.005");
    errors_are("{\"pattern\":\"^[A-Z]$\"}", "\"a\"",
               "|/pattern|pattern|must match the pattern \"^[A-Z]$\", is \"a\"");
    errors_are("{\"uniqueItems\":true}", "[1,2,1.0]",
               "|/uniqueItems|uniqueItems|items must be unique, but 0 and 2 are equal");
    errors_are("{\"required\":[\"b\",\"a\",\"c\"]}", "{\"a\":1}",
               "|/required|required|must have the member \"b\"\n|/required|required|must have the "
               "member \"c\"");
    errors_are(
        "{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}",
        "|/dependentRequired|dependentRequired|must have the member \"b\", because it has \"a\"");
    errors_are("{\"contains\":{\"type\":\"string\"},\"minContains\":2}", "[1,\"a\"]",
               "|/minContains|minContains|must have at least 2 matching items, has 1");
    errors_are("{\"not\":{}}", "0", "|/not|not|must not match the schema, but does");
    errors_are("{\"properties\":{\"a\":false}}", "{\"a\":1}",
               "/a|/properties/a|a|is not allowed here");
    errors_are("{\"oneOf\":[true,{},false]}", "0",
               "|/oneOf|oneOf|must match exactly one alternative, matches 0 and 1");
}

static void an_error_path_is_a_json_pointer(void **state)
{
    (void)state;
    errors_are("{\"properties\":{\"a/b~\":{\"items\":{\"type\":\"null\"}}}}", "{\"a/b~\":[null,1]}",
               "/a~1b~0/1|/properties/a~1b~0/items/type|type|must be null, is integer");
    errors_are("{\"$defs\":{\"x\":{\"maximum\":1}},\"items\":{\"$ref\":\"#/$defs/x\"}}", "[2]",
               "/0|/$defs/x/maximum|maximum|must be at most 1, is 2");
}

static void all_that_is_wrong_is_told_in_document_order(void **state)
{
    (void)state;
    errors_are(
        "{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"string\"}},"
        "\"additionalProperties\":false}",
        "{\"c\":1,\"b\":2,\"a\":3}",
        "/c|/additionalProperties|additionalProperties|is not a member that the schema knows\n"
        "/b|/properties/b/type|type|must be string, is integer\n"
        "/a|/properties/a/type|type|must be string, is integer");
}

static void alternatives_are_explained_only_when_all_fail(void **state)
{
    (void)state;
    errors_are("{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":5}]}", "3",
               "|/anyOf|anyOf|matches none of the 2 alternatives\n"
               "|/anyOf/0/type|type|must be string, is integer\n"
               "|/anyOf/1/minimum|minimum|must be at least 5, is 3");
    errors_are("{\"anyOf\":[{\"type\":\"string\"},true],\"minimum\":5}", "3",
               "|/minimum|minimum|must be at least 5, is 3");
}

static void a_bad_member_name_is_shown(void **state)
{
    (void)state;
    errors_are("{\"propertyNames\":{\"maxLength\":1}}", "{\"a\":1,\"bc\":2}",
               "|/propertyNames|propertyNames|has a member whose name is not allowed: \"bc\"\n"
               "|/propertyNames/maxLength|maxLength|must have at most 1 characters, has 2");
}

static void a_reason_quotes_at_most_60_bytes_of_the_instance(void **state)
{
    struct vd_schema *schema = compile("{\"const\":1}", NULL);
    struct vd_schema_result result;
    struct vd_arena arena;
    char text[400];
    cJSON *instance;
    const char *shown;

    (void)state;
    text[0] = '"';
    for (int i = 0; i < 150; i++)
        memcpy(text + 1 + 2 * i, "\xC3\xA9", 2);
    memcpy(text + 301, "\"", 2);
    instance = parse(text);
    vd_arena_init(&arena, ARENA_BYTES);
    assert_int_equal(vd_schema_validate(schema, instance, 1, &arena, &result, NULL), VD_OK);
    shown = strstr(result.errors[0].reason, ", is ");
    assert_non_null(shown);
    assert_true(strlen(shown) <= strlen(", is ...") + 60);
    /* cut between characters: what is left is UTF-8 */
    {
        struct vd_buf json;

        vd_buf_init(&json, 1000);
        (void)vd_buf_add_json_string(&json, vd_span_of(result.errors[0].reason));
        assert_int_equal(vd_json_check(vd_buf_span(&json), NULL), VD_OK);
        vd_buf_free(&json);
    }
    vd_arena_fini(&arena);
    vd_json_free(instance);
    vd_schema_free(schema);
}

static void no_more_errors_are_kept_than_asked_for(void **state)
{
    struct vd_schema *schema = compile("{\"items\":{\"type\":\"string\"}}", NULL);
    cJSON *instance = parse("[1,2,3,4,5]");
    struct vd_schema_result result;
    struct vd_arena arena;

    (void)state;
    vd_arena_init(&arena, ARENA_BYTES);
    assert_int_equal(vd_schema_validate(schema, instance, 3, &arena, &result, NULL), VD_OK);
    assert_int_equal(result.error_count, 3);
    assert_false(result.valid);
    vd_arena_fini(&arena);
    vd_json_free(instance);
    vd_schema_free(schema);
}

static void a_schema_that_means_nothing_does_not_compile_and_names_the_place(void **state)
{
    static const struct {
        const char *schema;
        const char *message;
    } rows[] = {
        {"7", "at the schema: a schema must be an object, true or false"},
        {"{\"properties\":{\"a\":{\"type\":\"text\"}}}",
         "at /properties/a/type: must be null, boolean, integer, number, string, array, object, or "
         "an array of them"},
        {"{\"type\":[]}", "at /type: must not be empty"},
        {"{\"minimum\":\"1\"}", "at /minimum: must be a number"},
        {"{\"maxLength\":-1}", "at /maxLength: must be a whole number, 0 or more"},
        {"{\"maxItems\":1.5}", "at /maxItems: must be a whole number, 0 or more"},
        {"{\"contains\":{},\"minContains\":\"1\"}",
         "at /minContains: must be a whole number, 0 or more"},
        {"{\"multipleOf\":0}", "at /multipleOf: must be a number above 0"},
        {"{\"multipleOf\":-2}", "at /multipleOf: must be a number above 0"},
        {"{\"multipleOf\":1234567890123456789}",
         "at /multipleOf: has more than 18 significant digits"},
        {"{\"enum\":1}", "at /enum: must be an array"},
        {"{\"required\":[1]}", "at /required: must be an array of names"},
        {"{\"uniqueItems\":1}", "at /uniqueItems: must be true or false"},
        {"{\"allOf\":[]}", "at /allOf: must have at least one schema"},
        {"{\"allOf\":{}}", "at /allOf: must be an array of schemas"},
        {"{\"properties\":[]}", "at /properties: must be an object of schemas"},
        {"{\"not\":3}", "at /not: a schema must be an object, true or false"},
        {"{\"pattern\":3}", "at /pattern: must be a string"},
        {"{\"pattern\":\"a(\"}",
         "at /pattern: not a regular expression: missing closing parenthesis"},
        {"{\"format\":3}", "at /format: must be a string"},
        {"{\"$ref\":3}", "at /$ref: must be a URI reference"},
        {"{\"$ref\":\"#/nowhere\"}", "at /$ref: nothing is at \"#/nowhere\""},
        {"{\"$ref\":\"#name\"}", "at /$ref: nothing is at \"#name\""},
        {"{\"$ref\":\"#/%zz\"}", "at /$ref: a % is not followed by two hexadecimal digits"},
        {"{\"items\":{\"$ref\":\"http://example.com/x\"}}",
         "at /items/$ref: no schema with the URI \"http://example.com/x\" (nothing is fetched)"},
        {"{\"$schema\":\"http://example.com/mine\"}",
         "at the schema: unknown $schema \"http://example.com/mine\" (known: draft 2020-12 and "
         "draft-07)"},
        {"{\"$id\":\"http://a/b\",\"items\":{\"$id\":\"x#y\"}}",
         "at /items: $id must not have a fragment: use $anchor"},
        {"{\"items\":{\"$anchor\":\"a\"},\"not\":{\"$anchor\":\"a\"}}",
         "at /not: this anchor exists twice in its resource"},
        {"{\"items\":{\"$id\":\"a\"},\"not\":{\"$id\":\"a\"}}", "at /not: this $id exists twice"},
        {"{\"dependentRequired\":{\"a\":\"b\"}}",
         "at /dependentRequired: must hold arrays of names"},
        {"{\"items\":[{}]}", "at /items: a schema must be an object, true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_schema *schema = NULL;
        struct vd_err err = {.msg = ""};
        cJSON *source = parse(rows[i].schema);

        assert_int_equal(vd_schema_compile(source, NULL, &schema, &err), VD_E_CONFIG);
        assert_string_equal(err.msg, rows[i].message);
        assert_null(schema);
        vd_json_free(source);
    }
}

static void numbers_are_judged_by_their_digits(void **state)
{
    (void)state;
    assert_true(valid("{\"maximum\":18446744073709551616}", NULL, "18446744073709551616"));
    assert_false(valid("{\"maximum\":18446744073709551616}", NULL, "18446744073709551617"));
    assert_false(valid("{\"exclusiveMinimum\":9007199254740992}", NULL, "9007199254740992"));
    assert_true(valid("{\"exclusiveMinimum\":9007199254740992}", NULL, "9007199254740993"));
    assert_false(valid("{\"const\":9007199254740993}", NULL, "9007199254740992"));
    assert_true(valid("{\"multipleOf\":1e308}", NULL, "1e308"));
    assert_true(valid("{\"multipleOf\":1e308}", NULL, "3e400"));
    assert_false(valid("{\"multipleOf\":3}", NULL, "1e400"));
    assert_true(valid("{\"type\":\"integer\"}", NULL, "1e400"));
    assert_true(valid("{\"type\":\"integer\"}", NULL, "12345678901234567890123"));
    assert_false(valid("{\"type\":\"integer\"}", NULL, "1.5e0"));
    assert_true(valid("{\"enum\":[1,2,3,4,5,6,7,8,9.0]}", NULL, "9"));
    assert_false(valid("{\"enum\":[1,2,3,4,5,6,7,8,9.0]}", NULL, "10"));
    assert_true(valid("{\"maxLength\":1e300,\"minLength\":2.0}", NULL, "\"ab\""));
}

static void strings_may_hold_u0000(void **state)
{
    (void)state;
    assert_true(valid("{\"const\":\"a\\u0000b\"}", NULL, "\"a\\u0000b\""));
    assert_false(valid("{\"const\":\"a\\u0000b\"}", NULL, "\"a\\u0000c\""));
    assert_true(valid("{\"minLength\":3,\"pattern\":\"^a\\\\0b$\"}", NULL, "\"a\\u0000b\""));
    assert_false(valid("{\"required\":[\"a\\u0000b\"]}", NULL, "{\"a\":1}"));
}

static void items_are_unique_also_in_long_arrays(void **state)
{
    struct vd_schema *schema = compile("{\"uniqueItems\":true}", NULL);
    struct vd_schema_result result;
    struct vd_arena arena;

    (void)state;
    vd_arena_init(&arena, 16u << 20);
    for (int last = 0; last < 2; last++) {
        cJSON *array = cJSON_CreateArray();

        for (int i = 0; i < 50000; i++)
            assert_true(vd_json_append(array, vd_json_new_int(i)));
        assert_true(vd_json_append(array, vd_json_new_double(last == 0 ? 123.5 : 123)));
        assert_int_equal(vd_schema_validate(schema, array, 1, &arena, &result, NULL), VD_OK);
        assert_int_equal(result.valid, last == 0);
        if (last == 1)
            assert_string_equal(result.errors[0].reason,
                                "items must be unique, but 123 and 50000 are equal");
        vd_json_free(array);
    }
    vd_arena_fini(&arena);
    vd_schema_free(schema);
}

static void many_members_are_tracked_for_unevaluated_properties(void **state)
{
    struct vd_schema *schema =
        compile("{\"anyOf\":[{\"patternProperties\":{\"^k\":true}},{\"required\":[\"no\"],"
                "\"additionalProperties\":true}],\"unevaluatedProperties\":false}",
                NULL);
    struct vd_schema_result result;
    struct vd_arena arena;
    cJSON *object = cJSON_CreateObject();

    (void)state;
    for (int i = 0; i < 300; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "k%d", i);
        assert_true(vd_json_put(object, key, vd_json_new_int(i)));
    }
    vd_arena_init(&arena, ARENA_BYTES);
    assert_int_equal(vd_schema_validate(schema, object, 5, &arena, &result, NULL), VD_OK);
    assert_true(result.valid);
    assert_true(vd_json_put(object, "x", vd_json_new_int(0)));
    assert_int_equal(vd_schema_validate(schema, object, 5, &arena, &result, NULL), VD_OK);
    assert_false(result.valid);
    assert_string_equal(result.errors[0].instance_path, "/x");
    vd_arena_fini(&arena);
    vd_json_free(object);
    vd_schema_free(schema);
}

/* -- drafts and documents ---------------------------------------------------------------------------------------- */

static void the_draft_is_that_of_the_schema_or_of_the_options(void **state)
{
    struct vd_schema_options draft_7 = {.draft = VD_SCHEMA_DRAFT_07};
    const char *tuple = "{\"items\":[{\"type\":\"string\"}],\"additionalItems\":false}";

    (void)state;
    assert_false(valid(tuple, &draft_7, "[\"a\",1]"));
    assert_true(valid(tuple, &draft_7, "[\"a\"]"));
    assert_false(
        valid("{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"items\":[false]}", NULL,
              "[1]"));
    assert_false(valid(
        "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"prefixItems\":[false]}",
        &draft_7, "[1]"));
    /* beside $ref nothing counts in draft-07, everything in 2020-12 */
    assert_true(valid("{\"$ref\":\"#/definitions/a\",\"maximum\":1,\"definitions\":{\"a\":{}}}",
                      &draft_7, "2"));
    assert_false(valid("{\"$ref\":\"#/$defs/a\",\"maximum\":1,\"$defs\":{\"a\":{}}}", NULL, "2"));
}

static void format_is_an_annotation_unless_asked_for(void **state)
{
    struct vd_schema_options assert_format = {.assert_format = true};

    (void)state;
    assert_true(valid("{\"format\":\"ipv4\"}", NULL, "\"nonsense\""));
    assert_false(valid("{\"format\":\"ipv4\"}", &assert_format, "\"nonsense\""));
    assert_true(valid("{\"format\":\"made-up\"}", &assert_format, "\"nonsense\""));
    assert_true(valid("{\"format\":\"ipv4\"}", &assert_format, "17"));
}

struct library {
    const char *uri;
    cJSON *tree;
    unsigned asked;
};

static const cJSON *look_up(void *arg, const char *uri)
{
    for (struct library *l = arg; l->uri != NULL; l++) {
        if (strcmp(l->uri, uri) == 0) {
            l->asked++;
            return l->tree;
        }
    }
    return NULL;
}

static void other_documents_come_from_resolve_once_each(void **state)
{
    struct library library[] = {
        {"http://example.com/schemas/money.json", NULL, 0},
        {"http://example.com/schemas/deep/a.json", NULL, 0},
        {NULL, NULL, 0},
    };
    struct vd_schema_options options = {.base_uri = "http://example.com/schemas/order.json",
                                        .resolve = look_up,
                                        .resolve_arg = library};
    const char *schema = "{\"properties\":{\"a\":{\"$ref\":\"money.json\"},\"b\":{\"$ref\":\"money."
                         "json#/$defs/cents\"},"
                         "\"c\":{\"$ref\":\"/schemas/deep/a.json\"}}}";

    (void)state;
    library[0].tree = parse("{\"type\":\"string\",\"$defs\":{\"cents\":{\"type\":\"integer\"}}}");
    library[1].tree = parse("{\"$ref\":\"../money.json\"}");
    assert_true(valid(schema, &options, "{\"a\":\"1\",\"b\":1,\"c\":\"1\"}"));
    assert_int_equal(library[0].asked, 1);
    assert_int_equal(library[1].asked, 1);
    assert_false(valid(schema, &options, "{\"a\":1}"));
    assert_false(valid(schema, &options, "{\"b\":\"1\"}"));
    assert_false(valid(schema, &options, "{\"c\":1}"));
    vd_json_free(library[0].tree);
    vd_json_free(library[1].tree);
}

static void a_metaschema_may_leave_vocabularies_out(void **state)
{
    struct library library[] = {{"http://example.com/meta", NULL, 0}, {NULL, NULL, 0}};
    struct vd_schema_options options = {.resolve = look_up, .resolve_arg = library};
    const char *schema = "{\"$schema\":\"http://example.com/"
                         "meta\",\"minimum\":5,\"items\":{\"minimum\":5},\"not\":false,"
                         "\"format\":\"ipv4\"}";
    struct vd_schema *compiled = NULL;
    struct vd_err err = {.msg = ""};
    cJSON *source = parse(schema);

    (void)state;
    library[0].tree =
        parse("{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"$vocabulary\":{"
              "\"https://json-schema.org/draft/2020-12/vocab/core\":true,"
              "\"https://json-schema.org/draft/2020-12/vocab/format-assertion\":true,"
              "\"http://example.com/optional\":false}}");
    assert_true(valid(schema, &options, "1"));
    assert_false(valid(schema, &options, "\"x\""));
    vd_json_free(library[0].tree);
    library[0].tree =
        parse("{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"$vocabulary\":{"
              "\"http://example.com/needed\":true}}");
    assert_int_equal(vd_schema_compile(source, &options, &compiled, &err), VD_E_CONFIG);
    assert_string_equal(err.msg, "unknown vocabulary is required: http://example.com/needed");
    vd_json_free(library[0].tree);
    vd_json_free(source);
}

static void the_metaschemas_are_built_in_and_judge_schemas(void **state)
{
    (void)state;
    assert_true(valid("{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}", NULL,
                      "{\"properties\":{\"a\":{\"type\":\"string\"}}}"));
    assert_false(valid("{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}", NULL,
                       "{\"properties\":{\"a\":{\"type\":\"text\"}}}"));
    assert_false(valid("{\"$ref\":\"http://json-schema.org/draft-07/schema#\"}", NULL,
                       "{\"items\":[{\"minLength\":-1}]}"));
    assert_true(valid("{\"$ref\":\"http://json-schema.org/draft-07/schema#\"}", NULL,
                      "{\"items\":[{\"minLength\":1}]}"));
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

static const char busy_schema[] =
    "{\"$id\":\"http://example.com/"
    "a\",\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#n\"},"
    "\"b\":{\"items\":{\"enum\":[1,2,3,4,5,6,7,8]},\"prefixItems\":[{\"multipleOf\":0.5}],"
    "\"contains\":{}},"
    "\"c\":{\"$ref\":\"https://json-schema.org/draft/2020-12/meta/core\"}},"
    "\"patternProperties\":{\"^x[0-9]+$\":{\"pattern\":\"\\\\d\"}},\"dependentRequired\":{\"a\":["
    "\"b\"]},"
    "\"$defs\":{\"n\":{\"$anchor\":\"n\",\"if\":{\"type\":\"string\"},\"then\":{\"maxLength\":3}}},"
    "\"unevaluatedProperties\":false}";

static void compiling_survives_every_failing_allocation(void **state)
{
    cJSON *source = parse(busy_schema);
    enum vd_code rc = VD_E_NOMEM;
    long n = 0;

    (void)state;
    for (; rc != VD_OK; n++) {
        struct vd_schema *schema = NULL;
        struct vd_err err = {.msg = ""};

        assert_true(n < 20000);
        vd_alloc_fail_after(n);
        rc = vd_schema_compile(source, NULL, &schema, &err);
        vd_alloc_fail_after(-1);
        if (rc != VD_OK) {
            assert_int_equal(rc, VD_E_NOMEM);
            assert_null(schema);
        }
        vd_schema_free(schema);
    }
    assert_true(n > 20);
    vd_json_free(source);
}

static void validating_survives_every_failing_allocation(void **state)
{
    struct vd_schema *schema = compile(busy_schema, NULL);
    cJSON *instance =
        parse("{\"a\":\"toolong\",\"b\":[1,9],\"x1\":\"z\",\"x2\":1,\"c\":{\"$id\":7},\"y\":0}");
    enum vd_code rc = VD_E_NOMEM;

    (void)state;
    for (long n = 0; rc != VD_OK; n++) {
        struct vd_schema_result result = {.valid = true};
        struct vd_arena arena;

        assert_true(n < 1000);
        vd_arena_init(&arena, ARENA_BYTES);
        vd_alloc_fail_after(n);
        rc = vd_schema_validate(schema, instance, 10, &arena, &result, NULL);
        vd_alloc_fail_after(-1);
        if (rc != VD_OK)
            assert_int_equal(rc, VD_E_NOMEM);
        else
            assert_false(result.valid);
        vd_arena_fini(&arena);
    }
    vd_json_free(instance);
    vd_schema_free(schema);
}

/* PCRE2 takes 20 KiB for one match: they must not stay with a job whose caller does not rewind, as a parameter's pattern does not. */
static void a_verdict_leaves_nothing_in_the_arena(void **state)
{
    struct vd_schema *schema =
        compile("{\"type\":\"string\",\"pattern\":\"^[a-z]+_[0-9A-Za-z]+$\"}", NULL);
    cJSON *good = parse("\"in_1MtHbELkdIwHu7ixl4OzzPMv\""), *bad = parse("\"in-1\"");
    struct vd_schema_result result;
    struct vd_arena arena;
    size_t before;

    (void)state;
    vd_arena_init(&arena, ARENA_BYTES);
    assert_non_null(vd_arena_strndup(&arena, VD_LIT("kept")));
    before = arena.used;
    assert_int_equal(vd_schema_validate(schema, good, 5, &arena, &result, NULL), VD_OK);
    assert_true(result.valid);
    assert_int_equal(arena.used, before);
    assert_int_equal(vd_schema_validate(schema, bad, 0, &arena, &result, NULL), VD_OK);
    assert_false(result.valid);
    assert_int_equal(arena.used, before);
    vd_arena_fini(&arena);
    vd_json_free(good);
    vd_json_free(bad);
    vd_schema_free(schema);
}

static void an_arena_that_is_too_small_is_an_error_not_a_verdict(void **state)
{
    struct vd_schema *schema = compile(busy_schema, NULL);
    cJSON *instance = parse("{\"a\":\"x\",\"b\":[1],\"x1\":\"1\"}");
    struct vd_schema_result result;
    struct vd_arena arena;

    (void)state;
    vd_arena_init(&arena, 64);
    assert_int_equal(vd_schema_validate(schema, instance, 0, &arena, &result, NULL), VD_E_NOMEM);
    vd_arena_fini(&arena);
    vd_json_free(instance);
    vd_schema_free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_says_where_and_why),
        cmocka_unit_test(an_error_path_is_a_json_pointer),
        cmocka_unit_test(all_that_is_wrong_is_told_in_document_order),
        cmocka_unit_test(alternatives_are_explained_only_when_all_fail),
        cmocka_unit_test(a_bad_member_name_is_shown),
        cmocka_unit_test(a_reason_quotes_at_most_60_bytes_of_the_instance),
        cmocka_unit_test(no_more_errors_are_kept_than_asked_for),
        cmocka_unit_test(a_schema_that_means_nothing_does_not_compile_and_names_the_place),
        cmocka_unit_test(numbers_are_judged_by_their_digits),
        cmocka_unit_test(strings_may_hold_u0000),
        cmocka_unit_test(items_are_unique_also_in_long_arrays),
        cmocka_unit_test(many_members_are_tracked_for_unevaluated_properties),
        cmocka_unit_test(the_draft_is_that_of_the_schema_or_of_the_options),
        cmocka_unit_test(format_is_an_annotation_unless_asked_for),
        cmocka_unit_test(other_documents_come_from_resolve_once_each),
        cmocka_unit_test(a_metaschema_may_leave_vocabularies_out),
        cmocka_unit_test(the_metaschemas_are_built_in_and_judge_schemas),
        cmocka_unit_test(compiling_survives_every_failing_allocation),
        cmocka_unit_test(validating_survives_every_failing_allocation),
        cmocka_unit_test(a_verdict_leaves_nothing_in_the_arena),
        cmocka_unit_test(an_arena_that_is_too_small_is_an_error_not_a_verdict),
    };

    return cmocka_run_group_tests_name("schema_validate", tests, NULL, NULL);
}
