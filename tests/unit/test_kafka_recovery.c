/* tests/unit/test_kafka_recovery.c - every row of the table in design/delivery.md, "The map". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kafka/recovery.h"

/* Text of the map of a partition read up to base, with offset base + 3 finished; static for the test. */
static struct vd_span map_at(int64_t base, uint32_t partitions)
{
    static char text[VD_LEDGER_TEXT_SIZE];
    struct vd_ledger *l = vd_ledger_new(base, 100);
    int64_t got, o;
    size_t len;

    assert_non_null(l);
    vd_ledger_set_partitions(l, partitions);
    for (o = base; o < base + 4; o++)
        (void)vd_ledger_deliver(l, o);
    assert_true(vd_ledger_stage(l, base + 3));
    len = vd_ledger_encode(l, text, &got);
    assert_int_equal(got, base);
    (void)vd_ledger_free(l);
    return (struct vd_span){text, len};
}

static struct vd_recovery decide(struct vd_recovery_facts f)
{
    struct vd_recovery r;

    f.topic = "orders";
    if (f.partitions == 0)
        f.partitions = 12;
    vd_recovery_decide(&f, &r);
    return r;
}

static void assert_refused(const struct vd_recovery *r, const char *part_of_reason)
{
    assert_int_equal(r->action, VD_RECOVERY_REFUSE);
    if (strstr(r->why, part_of_reason) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part_of_reason, r->why);
}

static void a_map_that_verifies_is_resumed(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = map_at(50, 12), .low = 0, .high = 54});

    (void)state;
    assert_int_equal(r.action, VD_RECOVERY_RESUME);
    assert_int_equal(r.map.base, 50);
    assert_true(vd_ledger_map_finished(&r.map, 53));
    assert_false(vd_ledger_map_finished(&r.map, 51));
}

static void a_map_that_ends_with_the_log_is_resumed(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = map_at(50, 12), .low = 50, .high = 54});

    (void)state;
    assert_int_equal(r.action, VD_RECOVERY_RESUME);
}

static void an_offset_without_a_map_is_refused(void **state)
{
    struct vd_recovery r =
        decide((struct vd_recovery_facts){.committed = 50, .low = 0, .high = 60});

    (void)state;
    assert_refused(&r, "offsets accept");
    assert_refused(&r, "50");
}

static void a_foreign_map_is_refused(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = VD_LIT("{\"host\":\"a\"}"), .low = 0, .high = 60});

    (void)state;
    assert_refused(&r, "offsets accept");
}

static void a_newer_map_is_refused(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = VD_LIT("VkQCAAAA"), .low = 0, .high = 60});

    (void)state;
    assert_refused(&r, "newer version");
}

static void a_map_of_another_offset_is_refused(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 51, .metadata = map_at(50, 12), .low = 0, .high = 60});

    (void)state;
    assert_refused(&r, "offsets accept");
}

static void a_base_that_retention_passed_is_refused_with_the_lost_range(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = map_at(50, 12), .low = 52, .high = 60});

    (void)state;
    assert_refused(&r, "50 to 51");
    assert_refused(&r, "offsets reset");
}

static void a_log_that_is_shorter_than_the_map_is_refused(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){
        .committed = 50, .metadata = map_at(50, 12), .low = 0, .high = 53});

    (void)state;
    assert_refused(&r, "created anew");
    assert_refused(&r, "offsets reset");
}

static void a_new_partition_starts_at_the_start_of_its_log(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){.committed = -1,
                                                             .partition = 12,
                                                             .partitions = 13,
                                                             .sibling_committed = true,
                                                             .sibling_partitions = 12,
                                                             .low = 3,
                                                             .high = 60,
                                                             .start = VD_KAFKA_START_LATEST});

    (void)state;
    assert_int_equal(r.action, VD_RECOVERY_BEGIN);
    assert_int_equal(r.map.base, 3);
    assert_int_equal(r.map.bit_count, 0);
    assert_int_equal(r.map.partitions, 12);
}

static void a_first_start_that_is_still_going_on_makes_no_partition_new(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){.committed = -1,
                                                             .partition = 7,
                                                             .sibling_committed = true,
                                                             .sibling_partitions = 12,
                                                             .low = 3,
                                                             .high = 60,
                                                             .start = VD_KAFKA_START_LATEST});

    (void)state;
    assert_int_equal(r.action, VD_RECOVERY_BEGIN);
    assert_int_equal(r.map.base, 60);
}

static void siblings_without_maps_make_a_partition_new(void **state)
{
    struct vd_recovery r = decide((struct vd_recovery_facts){.committed = -1,
                                                             .partition = 7,
                                                             .sibling_committed = true,
                                                             .low = 3,
                                                             .high = 60,
                                                             .start = VD_KAFKA_START_LATEST});

    (void)state;
    assert_int_equal(r.action, VD_RECOVERY_BEGIN);
    assert_int_equal(r.map.base, 3);
}

static void a_group_without_commits_needs_the_setting(void **state)
{
    struct vd_recovery r =
        decide((struct vd_recovery_facts){.committed = -1, .low = 3, .high = 60});

    (void)state;
    assert_refused(&r, "start = ");
}

static void a_group_without_commits_begins_where_the_setting_says(void **state)
{
    struct vd_recovery earliest = decide((struct vd_recovery_facts){
        .committed = -1, .low = 3, .high = 60, .start = VD_KAFKA_START_EARLIEST});
    struct vd_recovery latest = decide((struct vd_recovery_facts){
        .committed = -1, .low = 3, .high = 60, .start = VD_KAFKA_START_LATEST});

    (void)state;
    assert_int_equal(earliest.action, VD_RECOVERY_BEGIN);
    assert_int_equal(earliest.map.base, 3);
    assert_int_equal(earliest.map.partitions, 12);
    assert_int_equal(latest.action, VD_RECOVERY_BEGIN);
    assert_int_equal(latest.map.base, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_that_verifies_is_resumed),
        cmocka_unit_test(a_map_that_ends_with_the_log_is_resumed),
        cmocka_unit_test(an_offset_without_a_map_is_refused),
        cmocka_unit_test(a_foreign_map_is_refused),
        cmocka_unit_test(a_newer_map_is_refused),
        cmocka_unit_test(a_map_of_another_offset_is_refused),
        cmocka_unit_test(a_base_that_retention_passed_is_refused_with_the_lost_range),
        cmocka_unit_test(a_log_that_is_shorter_than_the_map_is_refused),
        cmocka_unit_test(a_new_partition_starts_at_the_start_of_its_log),
        cmocka_unit_test(a_first_start_that_is_still_going_on_makes_no_partition_new),
        cmocka_unit_test(siblings_without_maps_make_a_partition_new),
        cmocka_unit_test(a_group_without_commits_needs_the_setting),
        cmocka_unit_test(a_group_without_commits_begins_where_the_setting_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
