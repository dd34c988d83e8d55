/* What the strict reader accepts, what it refuses and how it says so, and what of the text is kept on the tree. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/json.h"

static cJSON *parse(const char *text)
{
    struct vd_err err = {0};
    cJSON *tree = NULL;

    if (vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s: %s", text, err.msg);
    return tree;
}

static void refused(struct vd_span text, enum vd_code code, const char *message)
{
    struct vd_err err = {0};
    cJSON *tree = NULL;

    assert_int_equal(vd_json_check(text, &err), code);
    if (message != NULL)
        assert_string_equal(err.msg, message);
    assert_int_equal(vd_json_parse(text, &tree, &err), code);
    assert_null(tree);
}

static void an_error_names_line_column_and_reason(void **state)
{
    static const struct {
        struct vd_span text;
        const char *message;
    } rows[] = {
        {{"", 0}, "line 1, column 1: the text ends too early"},
        {{"{\"a\":1,}", 8}, "line 1, column 8: a key in double quotes must stand here"},
        {{"[1,\n 2,\n  ]", 11}, "line 3, column 3: a value is missing here"},
        {{"[1 2]", 5}, "line 1, column 4: a comma or ] must stand here"},
        {{"{\"a\" 1}", 7}, "line 1, column 6: a colon must follow the key"},
        {{"{\"a\":1 \"b\":2}", 13}, "line 1, column 8: a comma or } must stand here"},
        {{"[1]x", 4}, "line 1, column 4: something follows the value"},
        {{"01", 2}, "line 1, column 1: a number may not start with a zero"},
        {{"-", 1}, "line 1, column 2: the text ends too early"},
        {{"-a", 2}, "line 1, column 2: a digit must follow the minus sign"},
        {{"1.x", 3}, "line 1, column 3: a digit must follow the decimal point"},
        {{"1e+x", 4}, "line 1, column 4: the exponent has no digits"},
        {{"nul", 3}, "line 1, column 4: the text ends too early"},
        {{"nan ", 4}, "line 1, column 1: not a value: the words are true, false and null"},
        {{"'a'", 3}, "line 1, column 1: strings are written in double quotes"},
        {{"[1, // one\n2]", 13}, "line 1, column 5: JSON has no comments"},
        {{"\xEF\xBB\xBF{}", 5},
         "line 1, column 1: the text starts with a byte order mark: remove it"},
        {{"[\"a\nb\"]", 7},
         "line 1, column 4: control character in a string: write it as an escape"},
        {{"[\"\xC3\xA9\xFF\"]", 7}, "line 1, column 4: the bytes are not UTF-8"},
        {{"\"\\x\"", 4},
         "line 1, column 2: unknown escape: only \\\" \\\\ \\/ \\b \\f \\n \\r "
         "\\t \\uXXXX exist"},
        {{"\"\\u12G4\"", 8}, "line 1, column 2: \\u must be followed by four hexadecimal digits"},
        {{"\"abc", 4}, "line 1, column 5: the text ends too early"},
        {{"\"abc\\", 5}, "line 1, column 6: the text ends too early"},
        {{"{\"a\":1,\n\"b\":2,\n\"a\":3}", 23},
         "line 3, column 1: this key occurs twice in its object"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        refused(rows[i].text, VD_E_INPUT, rows[i].message);
}

static void bytes_that_are_not_utf8_are_refused(void **state)
{
    static const char *const bad[] = {
        "\"\x80\"",         "\"\xC0\x80\"",     "\"\xC1\xBF\"",         "\"\xE0\x9F\xBF\"",
        "\"\xED\xA0\x80\"", "\"\xED\xBF\xBF\"", "\"\xF0\x8F\xBF\xBF\"", "\"\xF4\x90\x80\x80\"",
        "\"\xF5\x80\"",     "\"\xC3\"",         "\"\xE2\x82\"",         "\"\xF0\x9F\x98\"",
        "\"\xC3(\"",        "\"\xE2\x82(\"",    "\"12345678\xFF\"",     "\xFF",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(vd_span_of(bad[i]), VD_E_INPUT, NULL);
    assert_int_equal(
        vd_json_check(
            VD_LIT("\"\xC2\x80 \xE0\xA0\x80 \xED\x9F\xBF \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\""),
            NULL),
        VD_OK);
}

static void half_a_surrogate_pair_is_refused(void **state)
{
    static const char *const bad[] = {
        "\"\\uD800\"",        "\"\\uDC00\"",  "\"\\uD800\\uD800\"",
        "\"\\uD800\\u0041\"", "\"\\uDBFFx\"", "\"\\uDC00\\uD800\"",
    };
    cJSON *tree = parse("\"\\ud83D\\uDe00\"");

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(vd_span_of(bad[i]), VD_E_INPUT,
                "line 1, column 2: half of a surrogate pair: it is no character by itself");
    assert_true(vd_span_eq(vd_json_string(tree), VD_LIT("\xF0\x9F\x98\x80")));
    vd_json_free(tree);
    tree = parse("\"\\uD800\\uDC00\\uDBFF\\uDFFF\\uD7FF\\uE000\""); /* the edges */
    assert_true(vd_span_eq(vd_json_string(tree),
                           VD_LIT("\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\xED\x9F\xBF\xEE\x80\x80")));
    vd_json_free(tree);
}

static void a_key_written_with_escapes_is_the_same_key(void **state)
{
    (void)state;
    refused(VD_LIT("{\"ab\":1,\"\\u0061b\":2}"), VD_E_INPUT,
            "line 1, column 9: this key occurs twice in its object");
    refused(VD_LIT("{\"\\uD83D\\uDE00\":1,\"\xF0\x9F\x98\x80\":2}"), VD_E_INPUT, NULL);
    refused(VD_LIT("{\"\":1,\"\":2}"), VD_E_INPUT, NULL);
    assert_int_equal(
        vd_json_check(VD_LIT("{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}],\"A\":0}"), NULL),
        VD_OK);
}

/* An object with count members k0..., then one more with the key k<again>; again < 0: none. */
static char *many_keys(size_t count, long again, size_t *ret_len)
{
    struct vd_buf b;

    vd_buf_init(&b, 64u << 20);
    (void)vd_buf_add_char(&b, '{');
    for (size_t i = 0; i < count; i++)
        (void)vd_buf_addf(&b, "%s\"k%zu\":0", i > 0 ? "," : "", i);
    if (again >= 0)
        (void)vd_buf_addf(&b, ",\n\"k%ld\":0", again);
    (void)vd_buf_add_char(&b, '}');
    return vd_buf_take(&b, ret_len);
}

static void a_duplicate_is_found_in_objects_of_every_size(void **state)
{
    static const size_t sizes[] = {2, 31, 32, 33, 34, 64, 65, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t len;
        char *text = many_keys(sizes[i], -1, &len);

        assert_int_equal(vd_json_check((struct vd_span){text, len}, NULL), VD_OK);
        text = vd_free(text);
        for (long again = 0; again < (long)sizes[i]; again += 1 + (long)sizes[i] / 7) {
            text = many_keys(sizes[i], again, &len);
            refused((struct vd_span){text, len}, VD_E_INPUT,
                    "line 2, column 1: this key occurs twice in its object");
            text = vd_free(text);
        }
    }
}

static void a_hundred_thousand_keys_are_not_quadratic(void **state)
{
    size_t len;
    char *text = many_keys(300000, 7, &len);

    (void)state;
    /* Quadratic would be 4.5 * 10^10 comparisons: the test would not end. */
    assert_int_equal(vd_json_check((struct vd_span){text, len}, NULL), VD_E_INPUT);
    text = vd_free(text);
}

static void nest(char *out, size_t depth, char open, char close)
{
    memset(out, open, depth);
    memset(out + depth, close, depth);
}

static void depth_is_bounded(void **state)
{
    static char text[20000];

    (void)state;
    nest(text, VD_JSON_MAX_DEPTH, '[', ']');
    assert_int_equal(vd_json_check((struct vd_span){text, 2 * (size_t)VD_JSON_MAX_DEPTH}, NULL),
                     VD_OK);
    nest(text, VD_JSON_MAX_DEPTH + 1, '[', ']');
    refused((struct vd_span){text, 2 * (size_t)(VD_JSON_MAX_DEPTH + 1)}, VD_E_LIMIT,
            "line 1, column 65: nested more than 64 levels deep");
    nest(text, 10000, '[', ']');
    refused((struct vd_span){text, sizeof(text)}, VD_E_LIMIT, NULL);
}

static void the_deepest_text_keeps_its_notes(void **state)
{
    char text[2 * VD_JSON_MAX_DEPTH + 1];
    cJSON *tree = NULL;
    const cJSON *node;

    (void)state;
    nest(text, VD_JSON_MAX_DEPTH, '[', ']');
    memmove(text + VD_JSON_MAX_DEPTH + 1, text + VD_JSON_MAX_DEPTH, VD_JSON_MAX_DEPTH);
    text[VD_JSON_MAX_DEPTH] = '7';
    assert_int_equal(vd_json_parse((struct vd_span){text, sizeof(text)}, &tree, NULL), VD_OK);
    node = tree;
    while (node->child != NULL)
        node = node->child;
    assert_int_equal(vd_json_kind(node), VD_JSON_INT);
    vd_json_free(tree);
}

static void a_number_longer_than_the_limit_is_refused(void **state)
{
    char text[VD_JSON_MAX_NUMBER_LEN + 1];

    (void)state;
    memset(text, '9', sizeof(text));
    assert_int_equal(vd_json_check((struct vd_span){text, VD_JSON_MAX_NUMBER_LEN}, NULL), VD_OK);
    refused((struct vd_span){text, sizeof(text)}, VD_E_LIMIT,
            "line 1, column 1: the number has too many digits");
}

static void a_text_longer_than_the_limit_is_refused_before_it_is_read(void **state)
{
    (void)state;
    assert_int_equal(vd_json_check((struct vd_span){"1", (size_t)VD_JSON_MAX_BYTES + 1}, NULL),
                     VD_E_LIMIT);
}

static void numbers_know_what_they_were(void **state)
{
    static const struct {
        const char *text;
        enum vd_json_kind kind;
        int64_t i;
        double d;
    } rows[] = {
        {"4", VD_JSON_INT, 4, 4},
        {"4.0", VD_JSON_DOUBLE, 0, 4},
        {"-0", VD_JSON_INT, 0, -0.0},
        {"-0.0", VD_JSON_DOUBLE, 0, -0.0},
        {"1E5", VD_JSON_DOUBLE, 0, 1e5},
        {"1e-400", VD_JSON_DOUBLE, 0, 0},
        {"9007199254740992", VD_JSON_INT, 9007199254740992, 9007199254740992.0},
        {"9007199254740993", VD_JSON_INT, 9007199254740993, 9007199254740992.0},
        {"-9007199254740993", VD_JSON_INT, -9007199254740993, -9007199254740992.0},
        {"9223372036854775807", VD_JSON_INT, INT64_MAX, 9223372036854775808.0},
        {"-9223372036854775808", VD_JSON_INT, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", VD_JSON_BIGNUM, 0, 9223372036854775808.0},
        {"1e400", VD_JSON_BIGNUM, 0, INFINITY},
        {"-1e400", VD_JSON_BIGNUM, 0, -INFINITY},
        {"0.1000000000000000000000000000000000000000000000000000000000000000000000001",
         VD_JSON_DOUBLE, 0, 0.1},
        {"100000000000000000000000000000000000000000000000000000000000000000000000000.5e-74",
         VD_JSON_DOUBLE, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[200];
        cJSON *tree;
        const cJSON *node;
        double d = 0;
        int64_t v = 0;

        (void)snprintf(text, sizeof(text), "[true, %s ,1]", rows[i].text);
        tree = parse(text);
        node = tree->child->next;
        assert_int_equal(vd_json_kind(node), rows[i].kind);
        assert_int_equal(vd_json_int(node, &v), rows[i].kind == VD_JSON_INT);
        assert_true(v == rows[i].i);
        assert_true(vd_json_double(node, &d));
        assert_true(d == rows[i].d && signbit(d) == signbit(rows[i].d));
        if (rows[i].kind == VD_JSON_BIGNUM)
            assert_true(vd_span_eq_c(vd_json_string(node), rows[i].text));
        assert_int_equal(vd_json_kind(node->next), VD_JSON_INT);
        vd_json_free(tree);
    }
}

/* cJSON 1.7.15 reads 63 characters of a number. */
static void numbers_around_what_cjson_can_read_are_kept(void **state)
{
    (void)state;
    for (int len = 60; len <= 70; len++) {
        char digits[80];
        char text[400];
        cJSON *tree;
        int items = 0;
        const cJSON *node;

        memset(digits, '7', sizeof(digits));
        digits[len] = '\0';
        (void)snprintf(text, sizeof(text), "[%s,-%.*s,%.*s.5,1,%s]", digits, len - 1, digits,
                       len - 2, digits, digits);
        tree = parse(text);
        cJSON_ArrayForEach(node, tree)
        {
            double expected = items == 3 ? 1
                                         : strtod(items == 1   ? digits + 1
                                                  : items == 2 ? digits + 2
                                                               : digits,
                                                  NULL);
            double d = 0;

            assert_int_equal(vd_json_kind(node), items == 2   ? VD_JSON_DOUBLE
                                                 : items == 3 ? VD_JSON_INT
                                                              : VD_JSON_BIGNUM);
            assert_true(vd_json_double(node, &d));
            assert_true(fabs(d) == expected);
            items++;
        }
        assert_int_equal(items, 5);
        vd_json_free(tree);
    }
}

static void a_string_may_hold_u0000(void **state)
{
    cJSON *tree = parse("{\"a\":[\"\\u0000\",\"x\\u0000y\",\"plain\"],\"b\":\"\\u0000\\u00e9\"}");
    const cJSON *a = vd_json_get(tree, "a");

    (void)state;
    assert_true(vd_span_eq(vd_json_string(a->child), (struct vd_span){"", 1}));
    assert_true(vd_span_eq(vd_json_string(a->child->next), (struct vd_span){"x\0y", 3}));
    assert_true(vd_span_eq(vd_json_string(a->child->next->next), VD_LIT("plain")));
    assert_true(vd_span_eq(vd_json_get_string(tree, "b"), (struct vd_span){"\0\xC3\xA9", 3}));
    vd_json_free(tree);
}

static void a_key_with_u0000_is_json_but_makes_no_tree(void **state)
{
    struct vd_span text = VD_LIT("{\"a\\u0000b\":1}");
    struct vd_err err = {0};
    cJSON *tree = NULL;

    (void)state;
    assert_int_equal(vd_json_check(text, &err), VD_OK);
    assert_int_equal(vd_json_parse(text, &tree, &err), VD_E_INPUT);
    assert_string_equal(err.msg, "line 1, column 2: a key may not hold U+0000 here");
}

static void a_text_without_a_nul_behind_it_is_not_overread(void **state)
{
    static const char *const texts[] = {"{\"1\":1,",     "[",    "\"a", "12", "tru",
                                        "{\"a\":\"b\"}", "\"\\", "-"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t len = strlen(texts[i]);
        char *exact = vd_alloc(len); /* the sanitizer watches its end */
        cJSON *tree = NULL;

        memcpy(exact, texts[i], len);
        (void)!vd_json_parse((struct vd_span){exact, len}, &tree, NULL);
        vd_json_free(tree);
        exact = vd_free(exact);
    }
}

static void every_allocation_may_fail(void **state)
{
    enum vd_code rc = VD_E_NOMEM;
    struct vd_buf b;
    struct vd_span text;
    long n = 0;

    (void)state;
    vd_buf_init(&b, 65536);
    (void)vd_buf_add_c(
        &b, "{\"a\\n\":[1,2.5,12345678901234567890,1e999,\"x\\u0000\"],\"b\":{\"c\":null},\"d\":[");
    for (int i = 0; i < 4000; i++) /* small values: their tree is far larger than their text */
        (void)vd_buf_add_c(&b, i > 0 ? ",7" : "7");
    for (int i = 0; i < 70; i++) /* more keys than fit on the stack */
        (void)vd_buf_addf(&b, "%s\"k%d\":%d", i > 0 ? "," : "],", i, i);
    (void)vd_buf_add_char(&b, '}');
    text = vd_buf_span(&b);
    for (; rc != VD_OK; n++) {
        struct vd_err err = {0};
        cJSON *tree = NULL;

        assert_true(n < 1000);
        vd_alloc_fail_after(n);
        rc = vd_json_parse(text, &tree, &err);
        vd_alloc_fail_after(-1);
        if (rc != VD_OK) {
            assert_int_equal(rc, VD_E_NOMEM);
            assert_int_equal(err.code, VD_E_NOMEM);
            assert_null(tree);
        }
        vd_json_free(tree);
    }
    assert_true(n > 6); /* the escaped key, the keys' stack, the blocks of the tree */
    vd_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_names_line_column_and_reason),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused),
        cmocka_unit_test(half_a_surrogate_pair_is_refused),
        cmocka_unit_test(a_key_written_with_escapes_is_the_same_key),
        cmocka_unit_test(a_duplicate_is_found_in_objects_of_every_size),
        cmocka_unit_test(a_hundred_thousand_keys_are_not_quadratic),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(the_deepest_text_keeps_its_notes),
        cmocka_unit_test(a_number_longer_than_the_limit_is_refused),
        cmocka_unit_test(a_text_longer_than_the_limit_is_refused_before_it_is_read),
        cmocka_unit_test(numbers_know_what_they_were),
        cmocka_unit_test(numbers_around_what_cjson_can_read_are_kept),
        cmocka_unit_test(a_string_may_hold_u0000),
        cmocka_unit_test(a_key_with_u0000_is_json_but_makes_no_tree),
        cmocka_unit_test(a_text_without_a_nul_behind_it_is_not_overread),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests_name("json_parse", tests, NULL, NULL);
}
