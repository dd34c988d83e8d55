/* Too many fallbacks stop intake, exactly where the settings say, and a good probe starts it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "pipeline/guard.h"

#define ROOM 1000

static const struct vd_guard_conf usual = {
    .max_ratio = 0.5, .min_outcomes = 50, .window_ms = 300000, .probe_ms = 10000};

static struct vd_guard guard_of(struct vd_guard_conf conf)
{
    struct vd_guard g;

    vd_guard_init(&g, &conf);
    return g;
}

/* So many outcomes of events that were fetched just now; true when one of them changed something. */
static bool outcomes(struct vd_guard *g, int64_t now, unsigned good, unsigned bad)
{
    bool changed = false;

    for (unsigned i = 0; i < good; i++)
        changed = vd_guard_outcome(g, now, now, false) || changed;
    for (unsigned i = 0; i < bad; i++)
        changed = vd_guard_outcome(g, now, now, true) || changed;
    return changed;
}

static void test_fewer_outcomes_than_the_minimum_never_pause(void **state)
{
    struct vd_guard g = guard_of(usual);

    (void)state;
    assert_false(outcomes(&g, 1000, 0, 49));
    assert_int_equal(vd_guard_room(&g, 1000, ROOM), ROOM);
    assert_true(outcomes(&g, 1000, 0, 1));
    assert_int_equal(vd_guard_room(&g, 1000, ROOM), 0);
}

static void test_the_ratio_itself_is_allowed_and_one_more_is_not(void **state)
{
    struct vd_guard g = guard_of(usual);
    uint64_t n;

    (void)state;
    assert_false(outcomes(&g, 1000, 100, 100));
    assert_true(vd_guard_ratio(&g, 1000, &n) == 0.5);
    assert_int_equal(n, 200);
    assert_true(outcomes(&g, 1000, 0, 1));
    assert_true(g.paused);
}

static void test_a_ratio_of_one_never_pauses(void **state)
{
    struct vd_guard_conf conf = usual;
    struct vd_guard g;

    (void)state;
    conf.max_ratio = 1;
    g = guard_of(conf);
    assert_false(outcomes(&g, 1000, 0, 10000));
}

static void test_what_is_older_than_the_window_does_not_count(void **state)
{
    struct vd_guard_conf conf = usual;
    struct vd_guard g;
    uint64_t n;

    (void)state;
    conf.max_ratio = 0.999;
    g = guard_of(conf);
    assert_false(outcomes(&g, 1000, 0, 49));
    assert_false(outcomes(&g, 1000 + 310000, 0, 49));
    (void)vd_guard_ratio(&g, 1000 + 310000, &n);
    assert_int_equal(n, 49);
    assert_false(outcomes(&g, 1000 + 310000 + 280000, 50, 0)); /* both still in the window */
    (void)vd_guard_ratio(&g, 1000 + 310000 + 280000, &n);
    assert_int_equal(n, 99);
}

static void test_probes_pass_in_rounds(void **state)
{
    struct vd_guard g = guard_of(usual);

    (void)state;
    assert_true(outcomes(&g, 1000, 0, 50));
    assert_int_equal(vd_guard_room(&g, 10999, ROOM), 0);
    for (int64_t round = 1; round < 4; round++) {
        int64_t now = 1000 + round * 10000;

        for (size_t i = VD_GUARD_PROBES; i > 0; i--) {
            assert_int_equal(vd_guard_room(&g, now, ROOM), i);
            vd_guard_took(&g);
        }
        assert_int_equal(vd_guard_room(&g, now + 9999, ROOM), 0);
        assert_false(outcomes(&g, now + 9999, 0, VD_GUARD_PROBES));
    }
    assert_int_equal(vd_guard_room(&g, 41000, 2), 2); /* never more than there is room for */
}

static void test_a_good_probe_resumes_and_the_window_begins_anew(void **state)
{
    struct vd_guard g = guard_of(usual);
    uint64_t n;

    (void)state;
    assert_true(outcomes(&g, 1000, 0, 50));
    assert_int_equal(vd_guard_room(&g, 11000, ROOM), VD_GUARD_PROBES);
    assert_false(vd_guard_outcome(&g, 11001, 11000, true)); /* one of one */
    assert_true(vd_guard_outcome(&g, 11002, 11000, false)); /* one of two */
    assert_false(g.paused);
    assert_int_equal(vd_guard_room(&g, 11002, ROOM), ROOM);
    (void)vd_guard_ratio(&g, 11002, &n);
    assert_int_equal(n, 0);
    assert_false(outcomes(&g, 11003, 0, 49));
    assert_true(outcomes(&g, 11003, 0, 1)); /* still bad: paused again */
    assert_int_equal(g.pauses, 2);
}

static void test_outcomes_of_events_in_flight_do_not_resume(void **state)
{
    struct vd_guard g = guard_of(usual);

    (void)state;
    assert_true(outcomes(&g, 1000, 0, 50));
    for (int i = 0; i < 100; i++)
        assert_false(vd_guard_outcome(&g, 2000, 999, false));
    assert_true(g.paused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fewer_outcomes_than_the_minimum_never_pause),
        cmocka_unit_test(test_the_ratio_itself_is_allowed_and_one_more_is_not),
        cmocka_unit_test(test_a_ratio_of_one_never_pauses),
        cmocka_unit_test(test_what_is_older_than_the_window_does_not_count),
        cmocka_unit_test(test_probes_pass_in_rounds),
        cmocka_unit_test(test_a_good_probe_resumes_and_the_window_begins_anew),
        cmocka_unit_test(test_outcomes_of_events_in_flight_do_not_resume),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
