/* Trees in blocks are cJSON's own: they can be taken apart, changed and kept, in any order. The sanitizers see what goes wrong. */
#include "unit.h"

#include "base/alloc.h"
#include "json/block.h"
#include "json/json.h"

static cJSON *parsed(const char *text)
{
    cJSON *tree = NULL;

    assert_int_equal(vd_json_parse(vd_span_of(text), &tree, NULL), VD_OK);
    return tree;
}

static void assert_text(const cJSON *tree, const char *text)
{
    struct vd_buf b;

    vd_buf_init(&b, 65536);
    assert_int_equal(vd_json_write(&b, tree), VD_OK);
    assert_string_equal(b.ptr, text);
    vd_buf_free(&b);
}

static void a_part_outlives_the_tree_it_was_parsed_in(void **state)
{
    cJSON *tree = parsed("{\"a\":{\"deep\":[1,\"two\"]},\"b\":\"text\"}");
    cJSON *part = cJSON_DetachItemFromObjectCaseSensitive(tree, "a");

    (void)state;
    vd_json_free(tree);
    assert_text(part, "{\"deep\":[1,\"two\"]}");
    assert_string_equal(part->string, "a"); /* the key goes with its node */
    vd_json_free(part);
}

static void a_parsed_tree_can_be_changed(void **state)
{
    cJSON *tree = parsed("{\"a\":\"long enough\",\"b\":1,\"c\":[true]}");
    cJSON *other = parsed("{\"x\":null}");

    (void)state;
    assert_non_null(cJSON_SetValuestring((cJSON *)vd_json_get(tree, "a"), "short"));
    assert_non_null(cJSON_SetValuestring((cJSON *)vd_json_get(tree, "a"),
                                         "longer than it was, so that it needs another place"));
    cJSON_DeleteItemFromObjectCaseSensitive(tree, "b");
    assert_true(vd_json_put(tree, "d", other)); /* a root gets a key */
    assert_true(vd_json_append((cJSON *)vd_json_get(tree, "c"), vd_json_new_int(7)));
    assert_text(tree, "{\"a\":\"longer than it was, so that it needs another place\","
                      "\"c\":[true,7],\"d\":{\"x\":null}}");
    vd_json_free(tree);
}

static void what_a_scope_made_lives_on_after_it(void **state)
{
    struct vd_json_scope outer, inner;
    cJSON *kept, *temporary;

    (void)state;
    vd_json_scope_begin(&outer, 0);
    kept = cJSON_CreateObject();
    vd_json_scope_begin(&inner, 100);
    temporary = parsed("[1,2,3]");
    assert_true(vd_json_put(kept, "one", vd_json_new_string(VD_LIT("1"))));
    vd_json_scope_end(&inner);
    for (int i = 0; i < 100; i++) { /* more than a block */
        char key[8] = {'k', (char)('0' + i / 10), (char)('0' + i % 10)};

        assert_true(vd_json_put(kept, key, vd_json_new_int(i)));
    }
    vd_json_scope_end(&outer);
    vd_json_free(temporary);
    assert_int_equal(cJSON_GetArraySize(kept), 101);
    cJSON_DeleteItemFromObjectCaseSensitive(kept, "one");
    assert_true(vd_json_put(kept, "outside", vd_json_new_int(5)));
    vd_json_free(kept);
}

static void a_large_string_is_not_put_into_a_scope(void **state)
{
    struct vd_json_scope scope;
    char *text = vd_alloc(100001);
    cJSON *node;

    (void)state;
    memset(text, 'x', 100000);
    vd_json_scope_begin(&scope, 0);
    node = vd_json_new_string((struct vd_span){text, 100000});
    vd_json_scope_end(&scope);
    assert_int_equal(vd_json_string(node).len, 100000);
    vd_json_free(node);
    (void)vd_free(text);
}

static void a_borrowed_node_shows_what_it_stands_for(void **state)
{
    cJSON *owner = parsed("{\"in\":{\"a\":1},\"s\":\"text\"}"), *view = cJSON_CreateObject(), *copy;

    (void)state;
    assert_true(vd_json_put(view, "x", vd_json_borrow(vd_json_get(owner, "in"))));
    assert_true(vd_json_put_borrowed(view, "y", vd_json_get(owner, "s")));
    copy = vd_json_copy(view);
    assert_text(view, "{\"x\":{\"a\":1},\"y\":\"text\"}");
    vd_json_free(view);
    assert_text(owner, "{\"in\":{\"a\":1},\"s\":\"text\"}");
    vd_json_free(owner);
    assert_text(copy, "{\"x\":{\"a\":1},\"y\":\"text\"}"); /* a copy borrows nothing */
    vd_json_free(copy);
}

static void a_scope_without_memory_gives_none(void **state)
{
    struct vd_json_scope scope;
    cJSON *node;

    (void)state;
    vd_json_scope_begin(&scope, 0);
    vd_alloc_fail_after(0);
    node = cJSON_CreateObject();
    vd_alloc_fail_after(-1);
    assert_null(node);
    node = cJSON_CreateObject();
    vd_json_scope_end(&scope);
    assert_non_null(node);
    vd_json_free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_outlives_the_tree_it_was_parsed_in),
        cmocka_unit_test(a_parsed_tree_can_be_changed),
        cmocka_unit_test(what_a_scope_made_lives_on_after_it),
        cmocka_unit_test(a_large_string_is_not_put_into_a_scope),
        cmocka_unit_test(a_borrowed_node_shows_what_it_stands_for),
        cmocka_unit_test(a_scope_without_memory_gives_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
