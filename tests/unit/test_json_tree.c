/* Trees: reading, building, copying, comparing and writing without losing anything of the text. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/json.h"
#include "json/locate.h"
#include "json/number.h"

static cJSON *parse(const char *text)
{
    struct vd_err err = {.msg = ""};
    cJSON *tree = NULL;

    if (vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s: %s", text, err.msg);
    return tree;
}

static void writes(const cJSON *tree, enum vd_code (*write)(struct vd_buf *, const cJSON *),
                   const char *expected)
{
    struct vd_buf out;

    vd_buf_init(&out, 1u << 20);
    assert_int_equal(write(&out, tree), VD_OK);
    assert_string_equal(out.ptr, expected);
    vd_buf_free(&out);
}

static void what_is_read_is_written_again(void **state)
{
    static const char *const texts[] = {
        "null",
        "[true,false,null]",
        "{}",
        "[]",
        "[[],{}]",
        "{\"a\":{\"b\":[1,2.5,\"x\"]},\"\":0}",
        "[0,-0,1,-1,9007199254740993,-9223372036854775808,18446744073709551616,1e400]",
        "[0.1,-0.0,4.0,1.5e-09,1e+22,123456789.123]",
        "\"q\\\" b\\\\ n\\n u\\u0000 \\u001f e\xC3\xA9 \xF0\x9F\x98\x80\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        cJSON *tree = parse(texts[i]);
        cJSON *copy = vd_json_copy(tree);

        writes(tree, vd_json_write, texts[i]);
        writes(copy, vd_json_write, texts[i]);
        assert_true(vd_json_equal(tree, copy));
        assert_true(vd_json_hash(tree) == vd_json_hash(copy));
        vd_json_free(copy);
        vd_json_free(tree);
    }
}

static void canonical_text_does_not_depend_on_member_order(void **state)
{
    cJSON *tree = parse("{\"b\":[{\"z\":1,\"a\":2}],\"B\":0,\"\xC3\xA9\":1,\"a\":1}");

    (void)state;
    writes(tree, vd_json_write_canonical,
           "{\"B\":0,\"a\":1,\"b\":[{\"a\":2,\"z\":1}],\"\xC3\xA9\":1}");
    vd_json_free(tree);
}

static void pretty_text_indents_by_two(void **state)
{
    cJSON *tree = parse("{\"a\":[1,{\"b\":[]}],\"c\":{}}");

    (void)state;
    writes(tree, vd_json_write_pretty,
           "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
    vd_json_free(tree);
}

static void a_double_is_written_as_the_shortest_text_that_reads_back(void **state)
{
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {4, "4.0"},
        {1e22, "1e+22"},
        {5e-324, "5e-324"},
        {1e100, "1e+100"},
        {123456.789, "123456.789"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cJSON *node = vd_json_new_double(rows[i].v);

        writes(node, vd_json_write, rows[i].text);
        vd_json_free(node);
    }
}

static void built_nodes_keep_integers_and_strings_whole(void **state)
{
    static const int64_t ints[] = {0, -1, 1LL << 53, (1LL << 53) + 1, INT64_MAX, INT64_MIN};
    cJSON *object = cJSON_CreateObject();
    cJSON *node;

    (void)state;
    for (size_t i = 0; i < sizeof(ints) / sizeof(ints[0]); i++) {
        int64_t back = 42;

        node = vd_json_new_int(ints[i]);
        assert_int_equal(vd_json_kind(node), VD_JSON_INT);
        assert_true(vd_json_int(node, &back));
        assert_true(back == ints[i]);
        vd_json_free(node);
    }
    assert_true(vd_json_put(object, "s", vd_json_new_string((struct vd_span){"a\0b", 3})));
    assert_true(vd_json_put(object, "e", vd_json_new_string((struct vd_span){NULL, 0})));
    assert_true(vd_json_put(object, "n", vd_json_new_double(NAN)));
    assert_false(vd_json_put(object, "x", NULL));
    assert_false(vd_json_append(object, NULL));
    writes(object, vd_json_write, "{\"s\":\"a\\u0000b\",\"e\":\"\",\"n\":null}");
    vd_json_free(object);
}

static void scalars_are_only_what_they_are(void **state)
{
    cJSON *tree = parse("{\"i\":1,\"d\":1.5,\"s\":\"x\",\"t\":true,\"z\":null,\"a\":[]}");
    int64_t i = 7;
    double d = 7;
    bool b = false;

    (void)state;
    assert_false(vd_json_int(vd_json_get(tree, "d"), &i));
    assert_false(vd_json_int(vd_json_get(tree, "s"), &i));
    assert_false(vd_json_double(vd_json_get(tree, "s"), &d));
    assert_false(vd_json_bool(vd_json_get(tree, "i"), &b));
    assert_true(i == 7 && d == 7);
    assert_true(vd_json_bool(vd_json_get(tree, "t"), &b) && b);
    assert_true(vd_json_double(vd_json_get(tree, "i"), &d) && d == 1);
    assert_true(vd_json_string(vd_json_get(tree, "a")).len == 0);
    assert_true(vd_json_get_string(tree, "i").len == 0);
    assert_true(vd_json_get_string(tree, "absent").len == 0);
    assert_null(vd_json_get(tree, "I"));
    assert_null(vd_json_get(NULL, "i"));
    assert_null(vd_json_get(vd_json_get(tree, "a"), "i"));
    assert_non_null(vd_json_get_span(tree, VD_LIT("s")));
    assert_null(vd_json_get_span(tree, (struct vd_span){"s\0", 2}));
    assert_null(vd_json_get_span(tree, (struct vd_span){NULL, 0}));
    assert_string_equal(vd_json_kind_name(vd_json_kind(vd_json_get(tree, "d"))), "number");
    vd_json_free(tree);
}

/* The example of RFC 6901 section 5, and what is no pointer. */
static void pointers_follow_rfc_6901(void **state)
{
    cJSON *tree = parse("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,"
                        "\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8,\"01\":9}");
    static const struct {
        const char *pointer;
        int64_t value;
    } rows[] = {{"/", 0},     {"/a~1b", 1}, {"/c%d", 2}, {"/e^f", 3},  {"/g|h", 4},
                {"/i\\j", 5}, {"/k\"l", 6}, {"/ ", 7},   {"/m~0n", 8}, {"/01", 9}};
    static const char *const nowhere[] = {
        "foo",     "/foo/2",  "/foo/-", "/foo/01",
        "/foo/+1", "/foo/0A", "/foo/",  "/foo/99999999999999999999",
        "/m~n",    "/m~2n",   "/a~",    "/foo/0/0",
        "/bar"};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t v = -1;
        const cJSON *node = vd_json_pointer(tree, vd_span_of(rows[i].pointer));

        assert_non_null(node);
        assert_true(vd_json_int(node, &v) && v == rows[i].value);
    }
    assert_ptr_equal(vd_json_pointer(tree, VD_LIT("")), tree);
    assert_true(vd_span_eq(vd_json_string(vd_json_pointer(tree, VD_LIT("/foo/1"))), VD_LIT("baz")));
    for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
        assert_null(vd_json_pointer(tree, vd_span_of(nowhere[i])));
    vd_json_free(tree);
}

static void equality_is_that_of_values_not_of_texts(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool equal;
    } rows[] = {
        {"1", "1.0", true},
        {"0", "-0.0", true},
        {"1e2", "100", true},
        {"1", "true", false},
        {"0", "false", false},
        {"null", "0", false},
        {"\"1\"", "1", false},
        {"9007199254740992", "9007199254740993", false},
        {"18446744073709551616", "18446744073709551616", true},
        {"18446744073709551616", "18446744073709551617", false},
        {"100000000000000000000", "1e20", true},
        {"1e400", "10e399", true},
        {"1e400", "1e401", false},
        {"-1e400", "1e400", false},
        {"[1,2]", "[2,1]", false},
        {"[1,2]", "[1,2,3]", false},
        {"{\"a\":1,\"b\":[2]}", "{\"b\":[2.0],\"a\":1}", true},
        {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"\"a\\u0000b\"", "\"a\\u0000c\"", false},
        {"[]", "{}", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cJSON *a = parse(rows[i].a);
        cJSON *b = parse(rows[i].b);

        assert_int_equal(vd_json_equal(a, b), rows[i].equal);
        assert_int_equal(vd_json_equal(b, a), rows[i].equal);
        if (rows[i].equal)
            assert_true(vd_json_hash(a) == vd_json_hash(b));
        vd_json_free(a);
        vd_json_free(b);
    }
}

/* {"k0":0,...} in rising or falling order. */
static cJSON *big_object(int count, bool rising)
{
    cJSON *object = cJSON_CreateObject();

    for (int i = 0; i < count; i++) {
        char key[16];
        int n = rising ? i : count - 1 - i;

        (void)snprintf(key, sizeof(key), "k%d", n);
        assert_true(vd_json_put(object, key, vd_json_new_int(n)));
    }
    return object;
}

static void large_objects_compare_in_any_order_without_becoming_quadratic(void **state)
{
    cJSON *a = big_object(30000, true);
    cJSON *b = big_object(30000, false);

    (void)state;
    assert_true(vd_json_equal(a, b));
    assert_true(vd_json_hash(a) == vd_json_hash(b));
    a->child->valuedouble = 5;
    assert_false(vd_json_equal(a, b));
    vd_json_free(a);
    vd_json_free(b);
}

static void large_objects_compare_rightly_when_memory_is_out(void **state)
{
    cJSON *a = big_object(100, true);
    cJSON *b = big_object(100, false);

    (void)state;
    for (long n = 0; n < 3; n++) {
        vd_alloc_fail_after(n);
        assert_true(vd_json_equal(a, b));
        vd_alloc_fail_after(-1);
    }
    vd_json_free(a);
    vd_json_free(b);
}

static void numbers_compare_by_their_decimal_value(void **state)
{
    static const char *const rising[] = {
        "-1e400",
        "-18446744073709551616",
        "-9223372036854775808",
        "-2.5",
        "-2",
        "0",
        "1e-300",
        "0.1",
        "1",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1e300",
        "1e400",
        "2e400",
    };
    size_t count = sizeof(rising) / sizeof(rising[0]);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            cJSON *a = parse(rising[i]);
            cJSON *b = parse(rising[j]);
            int order = vd_json_compare_numbers(a, b);

            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            vd_json_free(a);
            vd_json_free(b);
        }
    }
}

static void multiples_are_those_of_decimals(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool multiple;
    } rows[] = {
        {"19.99", "0.01", true},
        {"0.0075", "0.0001", true},
        {"0.00751", "0.0001", false},
        {"4.35", "0.1", false},
        {"0", "7", true},
        {"1e308", "0.5", true},
        {"1e308", "0.123456789", false},
        {"1e400", "10", true},
        {"123456789012345678901234567890", "10", true},
        {"123456789012345678901234567891", "10", false},
        {"-6", "3", true},
        {"5", "1e308", false},
        {"2e308", "1e308", true},
        {"9007199254740993", "3", true},
        {"9007199254740994", "3", false},
        {"1e1000000000000000000000", "7", false},
        {"7e99", "7", true},
        {"999999999999999999e300", "999999999999999999", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_decimal a;
        struct vd_decimal b;

        vd_decimal_of_text(vd_span_of(rows[i].a), &a);
        vd_decimal_of_text(vd_span_of(rows[i].b), &b);
        if (vd_decimal_is_multiple(&a, &b) != rows[i].multiple)
            fail_msg("%s of %s", rows[i].a, rows[i].b);
    }
}

static void a_place_in_a_text_is_found_by_its_pointer(void **state)
{
    struct vd_span text = VD_LIT(
        "{\n \"a\": [1,\n  {\"b~/\\\"\": \"x}]\"},\n  \"\xC3\xA9\", 7],\n \"\\u0063\":\n true }");
    static const struct {
        const char *pointer;
        size_t line;
        size_t column;
    } rows[] = {
        {"", 1, 1},      {"/a", 2, 7},   {"/a/0", 2, 8}, {"/a/1", 3, 3}, {"/a/1/b~0~1\"", 3, 13},
        {"/a/2", 4, 3},  {"/a/3", 4, 8}, {"/c", 6, 2},   {"/a/9", 2, 7}, {"/nowhere", 1, 1},
        {"/a/1/x", 3, 3}};

    (void)state;
    assert_int_equal(vd_json_check(text, NULL), VD_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct vd_json_position at = vd_json_locate(text, vd_span_of(rows[i].pointer));

        if (at.line != rows[i].line || at.column != rows[i].column)
            fail_msg("%s: %zu:%zu", rows[i].pointer, at.line, at.column);
    }
}

static void a_tree_that_is_too_deep_is_not_written(void **state)
{
    cJSON *root = cJSON_CreateArray();
    cJSON *node = root;
    struct vd_buf out;

    (void)state;
    for (int i = 0; i < VD_JSON_MAX_TREE_DEPTH + 1; i++) {
        cJSON *inner = cJSON_CreateArray();

        assert_true(vd_json_append(node, inner));
        node = inner;
    }
    vd_buf_init(&out, 1u << 20);
    assert_int_equal(vd_json_write(&out, root), VD_E_LIMIT);
    assert_null(vd_json_copy(root));
    vd_buf_free(&out);
    vd_json_free(root);
}

static void a_text_longer_than_its_buffer_is_a_limit(void **state)
{
    cJSON *tree = parse("[1,2,3,\"abc\"]");
    struct vd_buf out;

    (void)state;
    vd_buf_init(&out, 6);
    assert_int_equal(vd_json_write(&out, tree), VD_E_LIMIT);
    vd_buf_free(&out);
    vd_json_free(tree);
}

static void copies_and_texts_survive_failing_allocations(void **state)
{
    cJSON *tree = parse("{\"a\":[1,\"x\\u0000\",12345678901234567890],\"b\":{\"c\":[]}}");
    bool done = false;

    (void)state;
    for (long n = 0; !done; n++) {
        struct vd_buf out;
        enum vd_code rc;
        cJSON *copy;

        assert_true(n < 1000);
        vd_buf_init(&out, 1u << 20);
        vd_alloc_fail_after(n);
        copy = vd_json_copy(tree);
        rc = vd_json_write_canonical(&out, tree);
        vd_alloc_fail_after(-1);
        done = copy != NULL && rc == VD_OK;
        if (copy != NULL)
            assert_true(vd_json_equal(copy, tree));
        assert_true(rc == VD_OK || rc == VD_E_NOMEM);
        vd_json_free(copy);
        vd_buf_free(&out);
    }
    vd_json_free(tree);
}

static void a_borrowed_item_stays_its_owners(void **state)
{
    cJSON *owner = NULL, *borrower = cJSON_CreateObject();
    struct vd_buf out;

    (void)state;
    assert_int_equal(vd_json_parse(VD_LIT("{\"a\":[1,\"x\\u0000y\"]}"), &owner, NULL), VD_OK);
    assert_true(vd_json_put_borrowed(borrower, "b", vd_json_get(owner, "a")));
    assert_true(vd_json_put_borrowed(borrower, "c", vd_json_get(owner, "a")->child->next));
    vd_buf_init(&out, 1000);
    assert_int_equal(vd_json_write(&out, borrower), VD_OK);
    assert_string_equal(out.ptr, "{\"b\":[1,\"x\\u0000y\"],\"c\":\"x\\u0000y\"}");
    vd_json_free(borrower);
    vd_buf_clear(&out);
    assert_int_equal(vd_json_write(&out, owner), VD_OK);
    assert_string_equal(out.ptr, "{\"a\":[1,\"x\\u0000y\"]}");
    vd_json_free(owner);
    vd_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_written_again),
        cmocka_unit_test(canonical_text_does_not_depend_on_member_order),
        cmocka_unit_test(pretty_text_indents_by_two),
        cmocka_unit_test(a_double_is_written_as_the_shortest_text_that_reads_back),
        cmocka_unit_test(built_nodes_keep_integers_and_strings_whole),
        cmocka_unit_test(scalars_are_only_what_they_are),
        cmocka_unit_test(pointers_follow_rfc_6901),
        cmocka_unit_test(equality_is_that_of_values_not_of_texts),
        cmocka_unit_test(large_objects_compare_in_any_order_without_becoming_quadratic),
        cmocka_unit_test(large_objects_compare_rightly_when_memory_is_out),
        cmocka_unit_test(numbers_compare_by_their_decimal_value),
        cmocka_unit_test(multiples_are_those_of_decimals),
        cmocka_unit_test(a_place_in_a_text_is_found_by_its_pointer),
        cmocka_unit_test(a_tree_that_is_too_deep_is_not_written),
        cmocka_unit_test(a_text_longer_than_its_buffer_is_a_limit),
        cmocka_unit_test(copies_and_texts_survive_failing_allocations),
        cmocka_unit_test(a_borrowed_item_stays_its_owners),
    };

    return cmocka_run_group_tests_name("json_tree", tests, NULL, NULL);
}
