/* Objects written without a tree. */
#include "unit.h"

#include <math.h>
#include <stdio.h>

#include "json/members.h"

static void commas_stand_between_members_and_items_only(void **state)
{
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 4096);
    (void)vd_buf_add_char(&b, '{');
    vd_json_word(&b, "a", "x\"y");
    vd_json_null(&b, "b");
    vd_json_open(&b, "list", '[');
    for (int i = 0; i < 2; i++) {
        vd_json_next(&b);
        (void)vd_buf_add_char(&b, '{');
        vd_json_integer(&b, "i", -i);
        vd_json_boolean(&b, "last", i == 1);
        vd_json_close(&b, '}');
    }
    vd_json_close(&b, ']');
    vd_json_open(&b, "none", '[');
    vd_json_close(&b, ']');
    vd_json_text(&b, "empty", VD_LIT(""));
    vd_json_tree(&b, "tree", NULL);
    vd_json_close(&b, '}');
    assert_string_equal(b.ptr,
                        "{\"a\":\"x\\\"y\",\"b\":null,\"list\":[{\"i\":0,\"last\":false},"
                        "{\"i\":-1,\"last\":true}],\"none\":[],\"empty\":\"\",\"tree\":null}");
    vd_buf_free(&b);
}

static void numbers_are_what_fifteen_digits_say(void **state)
{
    static const double odd[] = {
        0.1,     0.83, -0.83, 0.00005,    1.0 / 3, 123456.7891, 99999999.9999, 1e15, 1e300, -1e-9,
        0.12345, 2.5,  -17,   1e14 + 0.5, 12345e9, 0.9999999,   1e-300,        0,    4.35,  1.005};
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 64);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]) + 20000; i++) {
        double v = i < sizeof(odd) / sizeof(odd[0]) ? odd[i] : (double)i * 0.0137 - 100;
        char expected[40];

        vd_buf_clear(&b);
        vd_json_number_value(&b, true, v);
        (void)snprintf(expected, sizeof(expected), "%.15g", v);
        assert_string_equal(b.ptr, expected);
    }
    vd_buf_clear(&b);
    vd_json_number_value(&b, true, INFINITY);
    vd_json_number_value(&b, true, NAN);
    vd_json_number_value(&b, false, 1);
    assert_string_equal(b.ptr, "nullnullnull");
    vd_buf_free(&b);
}

static void a_full_buffer_is_noticed(void **state)
{
    struct vd_buf b;

    (void)state;
    vd_buf_init(&b, 12);
    (void)vd_buf_add_char(&b, '{');
    vd_json_word(&b, "key", "a value that does not fit");
    vd_json_integer(&b, "k", 1);
    assert_int_equal(b.failed, VD_E_LIMIT);
    assert_true(b.len <= 12);
    vd_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commas_stand_between_members_and_items_only),
        cmocka_unit_test(numbers_are_what_fifteen_digits_say),
        cmocka_unit_test(a_full_buffer_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
