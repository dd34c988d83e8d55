/* Partitions that wait for a model: what takes no room, and how long deadlines stood still. */
#include "unit.h"

#include "base/alloc.h"
#include "pipeline/holds.h"

static void only_the_first_and_the_last_job_change_a_partition(void **state)
{
    struct vd_holds *holds = vd_holds_new();
    struct vd_hold *a = vd_holds_at(holds, "orders", 0);

    (void)state;
    assert_ptr_equal(vd_holds_at(holds, "orders", 0), a);
    assert_ptr_not_equal(vd_holds_at(holds, "orders", 1), a);
    assert_ptr_not_equal(vd_holds_at(holds, "refunds", 0), a);
    assert_true(vd_hold_begin(a, 100));
    assert_false(vd_hold_begin(a, 150));
    assert_false(vd_hold_end(a, 180));
    assert_true(vd_hold_end(a, 200));
    (void)vd_holds_free(holds);
}

static void time_is_counted_while_any_job_waits(void **state)
{
    struct vd_holds *holds = vd_holds_new();
    struct vd_hold *a = vd_holds_at(holds, "orders", 0), *b = vd_holds_at(holds, "orders", 1);

    (void)state;
    (void)vd_hold_begin(a, 100);
    (void)vd_hold_begin(a, 150);
    assert_int_equal(vd_hold_stood_ms(a, 170), 70);
    (void)vd_hold_end(a, 180);
    (void)vd_hold_end(a, 200);
    assert_int_equal(vd_hold_stood_ms(a, 999), 100);
    (void)vd_hold_begin(a, 1000);
    assert_int_equal(vd_hold_stood_ms(a, 1001), 101);
    assert_int_equal(vd_hold_stood_ms(b, 1001), 0);
    (void)vd_holds_free(holds);
}

static void records_of_held_partitions_are_immovable(void **state)
{
    struct vd_holds *holds = vd_holds_new();
    struct vd_hold *a = vd_holds_at(holds, "orders", 0), *b = vd_holds_at(holds, "orders", 1);

    (void)state;
    vd_hold_enter(a);
    vd_hold_enter(a);
    vd_hold_enter(b);
    assert_int_equal(vd_holds_immovable(holds), 0);
    (void)vd_hold_begin(a, 0);
    assert_int_equal(vd_holds_immovable(holds), 2);
    vd_hold_enter(a);
    vd_hold_enter(b);
    assert_int_equal(vd_holds_immovable(holds), 3);
    vd_hold_leave(a);
    (void)vd_hold_begin(b, 0);
    assert_int_equal(vd_holds_immovable(holds), 4);
    (void)vd_hold_end(a, 0);
    assert_int_equal(vd_holds_immovable(holds), 2);
    vd_hold_leave(b);
    (void)vd_hold_end(b, 0);
    assert_int_equal(vd_holds_immovable(holds), 0);
    (void)vd_holds_free(holds);
}

static void without_memory_there_is_no_partition_and_no_leak(void **state)
{
    struct vd_holds *holds = vd_holds_new();

    (void)state;
    for (long n = 0; n < 2; n++) {
        vd_alloc_fail_after(n);
        assert_null(vd_holds_at(holds, "orders", 0));
        vd_alloc_fail_after(-1);
    }
    assert_non_null(vd_holds_at(holds, "orders", 0));
    (void)vd_holds_free(holds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_and_the_last_job_change_a_partition),
        cmocka_unit_test(time_is_counted_while_any_job_waits),
        cmocka_unit_test(records_of_held_partitions_are_immovable),
        cmocka_unit_test(without_memory_there_is_no_partition_and_no_leak),
    };

    return cmocka_run_group_tests_name("holds", tests, NULL, NULL);
}
