/* tests/unit/test_ledger.c - the ledger's rules one by one; test_ledger_random.c holds it against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kafka/ledger.h"

static struct vd_ledger *fresh(int64_t base, uint32_t span)
{
    struct vd_ledger *l = vd_ledger_new(base, span);

    assert_non_null(l);
    return l;
}

static void finish(struct vd_ledger *l, int64_t offset)
{
    char text[VD_LEDGER_TEXT_SIZE];
    int64_t base;

    assert_true(vd_ledger_stage(l, offset));
    (void)vd_ledger_encode(l, text, &base);
    assert_int_equal(vd_ledger_commit(l), 1);
}

static void deliver(struct vd_ledger *l, int64_t from, int64_t to)
{
    for (; from < to; from++)
        assert_int_equal(vd_ledger_deliver(l, from), VD_LEDGER_TAKE);
}

static struct vd_ledger *restart(struct vd_ledger *l, uint32_t span)
{
    char text[VD_LEDGER_TEXT_SIZE];
    struct vd_ledger_map map;
    int64_t base;
    size_t len = vd_ledger_encode(l, text, &base);

    assert_int_equal(vd_ledger_decode((struct vd_span){text, len}, &map), VD_LEDGER_READ_OK);
    assert_int_equal(map.base, base);
    (void)vd_ledger_free(l);
    l = vd_ledger_restore(&map, span);
    assert_non_null(l);
    return l;
}

static void the_base_waits_for_the_lowest_unfinished_offset(void **state)
{
    struct vd_ledger *l = fresh(10, 100);

    (void)state;
    deliver(l, 10, 14);
    finish(l, 12);
    finish(l, 13);
    assert_int_equal(vd_ledger_base(l), 10);
    assert_int_equal(vd_ledger_open(l), 2);
    finish(l, 10);
    assert_int_equal(vd_ledger_base(l), 11);
    finish(l, 11);
    assert_int_equal(vd_ledger_base(l), 14);
    assert_int_equal(vd_ledger_open(l), 0);
    (void)vd_ledger_free(l);
}

static void offsets_that_are_never_delivered_are_finished(void **state)
{
    struct vd_ledger *l = fresh(0, 100);

    (void)state;
    assert_int_equal(vd_ledger_deliver(l, 5), VD_LEDGER_TAKE);
    assert_int_equal(vd_ledger_base(l), 5);
    assert_int_equal(vd_ledger_deliver(l, 9), VD_LEDGER_TAKE);
    assert_true(vd_ledger_finished(l, 7));
    assert_false(vd_ledger_finished(l, 9));
    finish(l, 9);
    finish(l, 5);
    assert_int_equal(vd_ledger_base(l), 10);
    vd_ledger_gap(l, 12);
    assert_int_equal(vd_ledger_base(l), 12);
    assert_int_equal(vd_ledger_deliver(l, 11), VD_LEDGER_SKIP);
    (void)vd_ledger_free(l);
}

static void a_gap_wider_than_the_map_is_fine(void **state)
{
    struct vd_ledger *l = fresh(0, VD_LEDGER_MAX_SPAN);

    (void)state;
    deliver(l, 0, 1);
    assert_int_equal(vd_ledger_deliver(l, 5000000000), VD_LEDGER_FULL);
    assert_false(vd_ledger_has_room(l));
    assert_int_equal(vd_ledger_span(l), 1);
    l = restart(l, VD_LEDGER_MAX_SPAN);
    assert_int_equal(vd_ledger_base(l), 0);
    deliver(l, 0, 1);
    assert_int_equal(vd_ledger_deliver(l, 5000000000), VD_LEDGER_FULL);
    finish(l, 0);
    assert_int_equal(vd_ledger_base(l), 5000000000);
    assert_int_equal(vd_ledger_deliver(l, 5000000000), VD_LEDGER_TAKE);
    (void)vd_ledger_free(l);
}

static void nothing_is_delivered_at_or_beyond_the_span(void **state)
{
    struct vd_ledger *l = fresh(100, 4);

    (void)state;
    deliver(l, 100, 104);
    assert_false(vd_ledger_has_room(l));
    assert_int_equal(vd_ledger_deliver(l, 104), VD_LEDGER_FULL);
    finish(l, 102);
    assert_int_equal(vd_ledger_deliver(l, 104), VD_LEDGER_FULL);
    finish(l, 100);
    assert_true(vd_ledger_has_room(l));
    assert_int_equal(vd_ledger_deliver(l, 104), VD_LEDGER_TAKE);
    assert_int_equal(vd_ledger_deliver(l, 105), VD_LEDGER_FULL);
    (void)vd_ledger_free(l);
}

static void a_delivered_offset_that_was_seen_is_dropped(void **state)
{
    struct vd_ledger *l = fresh(0, 100);

    (void)state;
    deliver(l, 0, 3);
    assert_int_equal(vd_ledger_deliver(l, 1), VD_LEDGER_SKIP);
    finish(l, 1);
    assert_int_equal(vd_ledger_deliver(l, 1), VD_LEDGER_SKIP);
    assert_int_equal(vd_ledger_open(l), 2);
    (void)vd_ledger_free(l);
}

static void only_delivered_offsets_can_be_staged_and_only_once(void **state)
{
    struct vd_ledger *l = fresh(10, 100);

    (void)state;
    deliver(l, 10, 12);
    assert_false(vd_ledger_stage(l, 9));
    assert_false(vd_ledger_stage(l, 12));
    assert_true(vd_ledger_stage(l, 11));
    assert_false(vd_ledger_stage(l, 11));
    assert_int_equal(vd_ledger_abort(l), 1);
    assert_true(vd_ledger_stage(l, 11));
    assert_int_equal(vd_ledger_commit(l), 1);
    assert_false(vd_ledger_stage(l, 11));
    (void)vd_ledger_free(l);
}

static void an_abort_leaves_no_trace(void **state)
{
    struct vd_ledger *l = fresh(0, 100);
    char before[VD_LEDGER_TEXT_SIZE], after[VD_LEDGER_TEXT_SIZE];
    int64_t base;

    (void)state;
    deliver(l, 0, 5);
    finish(l, 3);
    (void)vd_ledger_encode(l, before, &base);
    assert_true(vd_ledger_stage(l, 0));
    assert_true(vd_ledger_stage(l, 4));
    (void)vd_ledger_encode(l, after, &base);
    assert_int_equal(base, 1);
    assert_string_not_equal(before, after);
    assert_int_equal(vd_ledger_abort(l), 2);
    (void)vd_ledger_encode(l, after, &base);
    assert_int_equal(base, 0);
    assert_string_equal(before, after);
    assert_int_equal(vd_ledger_base(l), 0);
    (void)vd_ledger_free(l);
}

static void a_restart_redelivers_only_the_holes(void **state)
{
    struct vd_ledger *l = fresh(0, 100);

    (void)state;
    deliver(l, 0, 10);
    finish(l, 2);
    finish(l, 3);
    finish(l, 7);
    l = restart(l, 100);
    assert_int_equal(vd_ledger_base(l), 0);
    deliver(l, 0, 2);
    assert_int_equal(vd_ledger_deliver(l, 2), VD_LEDGER_SKIP);
    assert_int_equal(vd_ledger_deliver(l, 3), VD_LEDGER_SKIP);
    deliver(l, 4, 7);
    assert_int_equal(vd_ledger_deliver(l, 7), VD_LEDGER_SKIP);
    deliver(l, 8, 10);
    (void)vd_ledger_free(l);
}

static void a_restart_keeps_what_it_has_not_come_back_to(void **state)
{
    struct vd_ledger *l = fresh(0, 100);

    (void)state;
    deliver(l, 0, 10);
    finish(l, 9);
    l = restart(l, 100);
    deliver(l, 0, 1);
    finish(l, 0);
    l = restart(l, 100); /* offset 9 was not seen again in between */
    assert_int_equal(vd_ledger_base(l), 1);
    deliver(l, 1, 9);
    assert_int_equal(vd_ledger_deliver(l, 9), VD_LEDGER_SKIP);
    (void)vd_ledger_free(l);
}

static void the_base_moves_through_the_restored_map(void **state)
{
    struct vd_ledger *l = fresh(0, 100);

    (void)state;
    deliver(l, 0, 5);
    finish(l, 1);
    finish(l, 2);
    finish(l, 4);
    l = restart(l, 100);
    deliver(l, 0, 1);
    finish(l, 0);
    assert_int_equal(vd_ledger_base(l), 3);
    assert_int_equal(vd_ledger_deliver(l, 1), VD_LEDGER_SKIP);
    assert_int_equal(vd_ledger_deliver(l, 2), VD_LEDGER_SKIP);
    deliver(l, 3, 4);
    finish(l, 3);
    assert_int_equal(vd_ledger_base(l), 5);
    (void)vd_ledger_free(l);
}

static void a_map_wider_than_the_span_is_kept_whole(void **state)
{
    struct vd_ledger *l = fresh(0, 1000);

    (void)state;
    deliver(l, 0, 900);
    finish(l, 899);
    l = restart(l, 10);
    deliver(l, 0, 10);
    assert_int_equal(vd_ledger_deliver(l, 10), VD_LEDGER_FULL);
    l = restart(l, 1000);
    deliver(l, 0, 899);
    assert_int_equal(vd_ledger_deliver(l, 899), VD_LEDGER_SKIP);
    (void)vd_ledger_free(l);
}

static void the_widest_map_fits_the_broker(void **state)
{
    struct vd_ledger *l = fresh(INT64_C(1) << 40, VD_LEDGER_MAX_SPAN);
    char text[VD_LEDGER_TEXT_SIZE];
    struct vd_ledger_map map;
    int64_t base, i;
    size_t len;

    (void)state;
    deliver(l, INT64_C(1) << 40, (INT64_C(1) << 40) + VD_LEDGER_MAX_SPAN);
    for (i = 1; i < VD_LEDGER_MAX_SPAN; i++)
        assert_true(vd_ledger_stage(l, (INT64_C(1) << 40) + i));
    len = vd_ledger_encode(l, text, &base);
    assert_true(len < 4096);
    assert_int_equal(len, VD_LEDGER_TEXT_SIZE - 1);
    assert_int_equal(vd_ledger_decode((struct vd_span){text, len}, &map), VD_LEDGER_READ_OK);
    assert_int_equal(map.bit_count, VD_LEDGER_MAX_SPAN);
    (void)vd_ledger_free(l);
}

static void only_what_a_committed_map_lacks_makes_it_dirty(void **state)
{
    struct vd_ledger *l = fresh(0, 100);
    char text[VD_LEDGER_TEXT_SIZE];
    int64_t base;

    (void)state;
    assert_false(vd_ledger_dirty(l));
    deliver(l, 0, 3);
    assert_false(vd_ledger_dirty(l)); /* nothing is finished */
    assert_true(vd_ledger_stage(l, 0));
    (void)vd_ledger_encode(l, text, &base);
    vd_ledger_gap(l, 5); /* after the snapshot: not in what is committed */
    (void)vd_ledger_commit(l);
    assert_true(vd_ledger_dirty(l));
    (void)vd_ledger_encode(l, text, &base);
    (void)vd_ledger_commit(l);
    assert_false(vd_ledger_dirty(l));
    (void)vd_ledger_free(l);
}

static void the_number_of_partitions_travels_with_the_map(void **state)
{
    struct vd_ledger *l = fresh(7, 100);

    (void)state;
    vd_ledger_set_partitions(l, 12);
    l = restart(l, 100);
    assert_int_equal(vd_ledger_partitions(l), 12);
    (void)vd_ledger_free(l);
}

static void a_missing_a_foreign_and_a_newer_map_are_told_apart(void **state)
{
    static const struct {
        const char *text;
        enum vd_ledger_read expected;
    } cases[] = {
        {"", VD_LEDGER_READ_NONE},
        {"hello", VD_LEDGER_READ_FOREIGN},
        {"AAECAwQF", VD_LEDGER_READ_FOREIGN},                     /* another program's base64 */
        {"VkQB", VD_LEDGER_READ_FOREIGN},                         /* version 1, cut off */
        {"VkQC", VD_LEDGER_READ_NEWER},                           /* version 2 */
        {"VkQCsomething else", VD_LEDGER_READ_NEWER},             /* whatever it looks like */
        {"VkQA", VD_LEDGER_READ_FOREIGN},                         /* version 0 never was */
        {"VkQBAAAAAAAAAAEAAAAAAAAAAA==", VD_LEDGER_READ_FOREIGN}, /* without its checksum */
    };
    struct vd_ledger_map map;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(vd_ledger_decode(vd_span_of(cases[i].text), &map), cases[i].expected);
}

static void any_changed_character_is_noticed(void **state)
{
    struct vd_ledger *l = fresh(1234567, 100);
    char text[VD_LEDGER_TEXT_SIZE];
    struct vd_ledger_map map;
    enum vd_ledger_read read;
    int64_t base;
    size_t len, i;
    int c;

    (void)state;
    deliver(l, 1234567, 1234600);
    finish(l, 1234590);
    finish(l, 1234599);
    len = vd_ledger_encode(l, text, &base);
    for (i = 0; i < len; i++) {
        char kept = text[i];

        for (c = 0; c < 256; c++) {
            if ((char)c == kept)
                continue;
            text[i] = (char)c;
            read = vd_ledger_decode((struct vd_span){text, len}, &map);
            assert_true(read == VD_LEDGER_READ_FOREIGN || read == VD_LEDGER_READ_NEWER);
        }
        text[i] = kept;
        assert_int_not_equal(vd_ledger_decode((struct vd_span){text, i}, &map), VD_LEDGER_READ_OK);
    }
    assert_int_equal(vd_ledger_decode((struct vd_span){text, len}, &map), VD_LEDGER_READ_OK);
    (void)vd_ledger_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_waits_for_the_lowest_unfinished_offset),
        cmocka_unit_test(offsets_that_are_never_delivered_are_finished),
        cmocka_unit_test(a_gap_wider_than_the_map_is_fine),
        cmocka_unit_test(nothing_is_delivered_at_or_beyond_the_span),
        cmocka_unit_test(a_delivered_offset_that_was_seen_is_dropped),
        cmocka_unit_test(only_delivered_offsets_can_be_staged_and_only_once),
        cmocka_unit_test(an_abort_leaves_no_trace),
        cmocka_unit_test(a_restart_redelivers_only_the_holes),
        cmocka_unit_test(a_restart_keeps_what_it_has_not_come_back_to),
        cmocka_unit_test(the_base_moves_through_the_restored_map),
        cmocka_unit_test(a_map_wider_than_the_span_is_kept_whole),
        cmocka_unit_test(the_widest_map_fits_the_broker),
        cmocka_unit_test(only_what_a_committed_map_lacks_makes_it_dirty),
        cmocka_unit_test(the_number_of_partitions_travels_with_the_map),
        cmocka_unit_test(a_missing_a_foreign_and_a_newer_map_are_told_apart),
        cmocka_unit_test(any_changed_character_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
