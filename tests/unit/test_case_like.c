/* tests/unit/test_case_like.c - cases that say only what is different. */
#include "unit.h"

#include "reason/case_like.h"

#define BASE                                                                                       \
    "{\"name\":\"base\",\"event\":{\"a/b\":1,\"list\":[1,{\"x\":2}]},\"model\":[],\"expect\":{"    \
    "\"status\":\"decided\"}}"

static cJSON *tree_of(const char *text)
{
    cJSON *tree = NULL;
    struct vd_err err = {0};

    if (vd_json_parse(vd_span_of(text), &tree, &err) != VD_OK)
        fail_msg("%s in %s", err.msg, text);
    return tree;
}

/* The second of [BASE, one] written out. says: NULL, or a part of the refusal. */
static void expect(const char *one, const char *written, const char *says)
{
    struct vd_buf text;
    struct vd_err err = {0};
    cJSON *cases, *wanted;
    enum vd_code rc;

    vd_buf_init(&text, 4096);
    assert_int_equal(vd_buf_addf(&text, "[%s,%s,%s]", BASE, one, BASE), VD_OK);
    cases = tree_of(text.ptr);
    rc = vd_case_write_out(cases, cases->child->next, &err);
    if (says != NULL) {
        if (rc != VD_E_CONFIG || strstr(err.msg, says) == NULL)
            fail_msg("%d \"%s\", not \"%s\"", (int)rc, err.msg, says);
    } else {
        wanted = tree_of(written);
        if (rc != VD_OK || !vd_json_equal(cases->child->next, wanted))
            fail_msg("%d %s: not %s", (int)rc, err.msg, written);
        vd_json_free(wanted);
    }
    wanted = tree_of(BASE);
    assert_true(vd_json_equal(cases->child, wanted)); /* whatever happens to the copy */
    vd_json_free(wanted);
    vd_json_free(cases);
    vd_buf_free(&text);
}

static void test_a_case_takes_over_all_but_the_expectation(void **state)
{
    (void)state;
    expect("{\"name\":\"n\",\"like\":\"base\"}",
           "{\"name\":\"n\",\"event\":{\"a/b\":1,\"list\":[1,{\"x\":2}]},\"model\":[]}", NULL);
    expect("{\"name\":\"n\",\"like\":\"base\",\"event\":7,\"expect\":1}",
           "{\"name\":\"n\",\"event\":7,\"expect\":1,\"model\":[]}", NULL);
    expect("{\"name\":\"n\",\"event\":7}", "{\"name\":\"n\",\"event\":7}", NULL);
}

static void test_values_are_set_by_pointer(void **state)
{
    (void)state;
    expect(
        "{\"name\":\"n\",\"like\":\"base\",\"set\":{\"/event/a~1b\":null,\"/event/list/1/x\":[3],"
        "\"/event/list/0\":\"z\",\"/event/n~0\":true,\"/context\":{}}}",
        "{\"name\":\"n\",\"event\":{\"a/b\":null,\"n~\":true,\"list\":[\"z\",{\"x\":[3]}]},"
        "\"model\":[],\"context\":{}}",
        NULL);
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":{\"/event/list/2\":1}}", NULL,
           "no place /event/list/2");
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":{\"/event/none/x\":1}}", NULL, "no place");
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":{\"/event/list/1/x/y\":1}}", NULL,
           "no place");
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":{\"event\":1}}", NULL, "no place event");
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":{\"\":1}}", NULL, "no place");
}

static void test_members_are_unset_by_pointer(void **state)
{
    (void)state;
    expect("{\"name\":\"n\",\"like\":\"base\",\"unset\":[\"/event/list/0\",\"/model\"]}",
           "{\"name\":\"n\",\"event\":{\"a/b\":1,\"list\":[{\"x\":2}]}}", NULL);
    expect("{\"name\":\"n\",\"like\":\"base\",\"unset\":[\"/event/typo\"]}", NULL,
           "there is no /event/typo");
    expect("{\"name\":\"n\",\"like\":\"base\",\"unset\":[7]}", NULL, "no place");
}

static void test_only_an_earlier_case_can_be_taken(void **state)
{
    (void)state;
    expect("{\"name\":\"n\",\"like\":\"bass\"}", NULL, "no earlier case \"bass\"");
    expect("{\"name\":\"n\",\"like\":\"n\"}", NULL, "no earlier case");
    expect("{\"name\":\"n\",\"like\":7}", NULL, "no earlier case");
    expect("{\"name\":\"n\",\"set\":{\"/name\":1}}", NULL, "the case named by like");
    expect("{\"name\":\"n\",\"like\":\"base\",\"set\":[]}", NULL, "set is an object");
    expect("{\"name\":\"n\",\"like\":\"base\",\"unset\":{}}", NULL, "unset a list");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_case_takes_over_all_but_the_expectation),
        cmocka_unit_test(test_values_are_set_by_pointer),
        cmocka_unit_test(test_members_are_unset_by_pointer),
        cmocka_unit_test(test_only_an_earlier_case_can_be_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
