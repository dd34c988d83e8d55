/* loop: timers, wake-ups, blocking work, deferred calls, descriptors; freeing inside callbacks. */
#include "unit.h"

#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "loop/loop.h"

struct seen {
    struct vd_loop *loop;
    struct vd_timer *timer;
    struct vd_wakeup *wakeup;
    struct vd_poll *poll;
    int fd;
    int calls;
    int later;
    pthread_t worker, here;
};

static int setup(void **state)
{
    static struct seen seen;

    memset(&seen, 0, sizeof(seen));
    *state = &seen;
    return vd_loop_new(&seen.loop, NULL) == VD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct seen *s = *state;

    (void)vd_timer_free(s->timer);
    (void)vd_wakeup_free(s->wakeup);
    (void)vd_poll_free(s->poll);
    (void)vd_loop_free(s->loop);
    return 0;
}

static void count_and_stop(void *arg)
{
    struct seen *s = arg;

    s->calls++;
    vd_loop_stop(s->loop);
}

static void free_own_timer(void *arg)
{
    struct seen *s = arg;

    s->calls++;
    s->timer = vd_timer_free(s->timer);
}

static void a_timer_fires_once_and_may_free_itself(void **state)
{
    struct seen *s = *state;

    assert_int_equal(vd_timer_new(s->loop, free_own_timer, s, &s->timer), VD_OK);
    vd_timer_start(s->timer, 5, 1);
    for (int i = 0; i < 5; i++)
        vd_loop_turn(s->loop, 10);
    assert_int_equal(s->calls, 1);
}

/* From now until the loop is stopped. */
static int64_t run_ms(struct seen *s)
{
    int64_t began = vd_mono_ms();

    vd_loop_run(s->loop);
    return vd_mono_ms() - began;
}

static void a_timer_that_is_started_again_fires_when_it_was_told_last(void **state)
{
    struct seen *s = *state;

    assert_int_equal(vd_timer_new(s->loop, count_and_stop, s, &s->timer), VD_OK);
    vd_timer_start(s->timer, 5, 0);
    vd_timer_start(s->timer, 60, 0);
    assert_true(run_ms(s) >= 60);
    vd_timer_start(s->timer, 10000, 0);
    vd_timer_start(s->timer, 1, 0);
    assert_true(run_ms(s) < 5000);
    vd_timer_start(s->timer, 1, 0);
    vd_timer_stop(s->timer);
    vd_timer_start(s->timer, 40, 0);
    assert_true(run_ms(s) >= 40);
    vd_timer_start(s->timer, 0, 0);
    vd_timer_start(s->timer, 0, 0);
    (void)run_ms(s);
    vd_loop_turn(s->loop, 0);
    assert_int_equal(s->calls, 4);
}

static void a_period_lasts_until_it_is_stopped(void **state)
{
    struct seen *s = *state;
    int64_t began = vd_mono_ms();

    assert_int_equal(vd_timer_new(s->loop, count_and_stop, s, &s->timer), VD_OK);
    vd_timer_start(s->timer, 0, 20);
    for (int i = 0; i < 4; i++)
        vd_loop_run(s->loop);
    assert_true(vd_mono_ms() - began >= 3 * 20);
    vd_timer_stop(s->timer);
    vd_loop_turn(s->loop, 50);
    vd_loop_turn(s->loop, 50);
    assert_int_equal(s->calls, 4);
}

static void a_freed_timer_does_not_fire_for_who_has_it_next(void **state)
{
    struct seen *s = *state;
    struct vd_timer *old;

    assert_int_equal(vd_timer_new(s->loop, count_and_stop, s, &old), VD_OK);
    vd_timer_start(old, 5, 5);
    (void)vd_timer_free(old);
    assert_int_equal(vd_timer_new(s->loop, count_and_stop, s, &s->timer), VD_OK);
    assert_ptr_equal(s->timer, old); /* kept, else this shows nothing */
    for (int i = 0; i < 3; i++)
        vd_loop_turn(s->loop, 10);
    assert_int_equal(s->calls, 0);
    vd_timer_start(s->timer, 30, 0);
    assert_true(run_ms(s) >= 30);
    assert_int_equal(s->calls, 1);
}

static void *send_from_another_thread(void *arg)
{
    struct seen *s = arg;

    vd_wakeup_send(s->wakeup);
    return NULL;
}

static void another_thread_wakes_the_loop(void **state)
{
    struct seen *s = *state;

    assert_int_equal(vd_wakeup_new(s->loop, count_and_stop, s, &s->wakeup), VD_OK);
    assert_int_equal(pthread_create(&s->worker, NULL, send_from_another_thread, s), 0);
    vd_loop_run(s->loop);
    assert_int_equal(pthread_join(s->worker, NULL), 0);
    assert_int_equal(s->calls, 1);
}

static void work(void *arg)
{
    struct seen *s = arg;

    s->worker = pthread_self();
}

static void work_done(void *arg)
{
    struct seen *s = arg;

    s->here = pthread_self();
    count_and_stop(s);
}

static void blocking_work_runs_elsewhere_and_ends_here(void **state)
{
    struct seen *s = *state;

    assert_int_equal(vd_loop_work(s->loop, work, work_done, s), VD_OK);
    vd_loop_run(s->loop);
    assert_true(pthread_equal(s->here, pthread_self()));
    assert_false(pthread_equal(s->worker, pthread_self()));
}

static void second(void *arg)
{
    struct seen *s = arg;

    s->later++;
}

static void first(void *arg)
{
    struct seen *s = arg;

    s->calls++;
    assert_int_equal(vd_loop_defer(s->loop, second, s), VD_OK);
    assert_int_equal(s->later, 0);
}

static void deferred_calls_run_in_the_turn_after(void **state)
{
    struct seen *s = *state;

    assert_int_equal(vd_loop_defer(s->loop, first, s), VD_OK);
    assert_int_equal(s->calls, 0);
    vd_loop_turn(s->loop, 0);
    assert_int_equal(s->calls, 1);
    vd_loop_turn(s->loop, 0);
    assert_int_equal(s->later, 1);
}

static void on_readable(void *arg, int events)
{
    struct seen *s = arg;
    char byte;

    assert_int_equal(events, VD_POLL_IN);
    assert_int_equal(read(s->fd, &byte, 1), 1);
    count_and_stop(s);
}

static void a_readable_descriptor_is_reported(void **state)
{
    struct seen *s = *state;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    s->fd = fds[0];
    assert_int_equal(vd_poll_new(s->loop, fds[0], on_readable, s, &s->poll), VD_OK);
    vd_poll_set(s->poll, VD_POLL_IN);
    assert_int_equal(write(fds[1], "x", 1), 1);
    vd_loop_run(s->loop);
    assert_int_equal(s->calls, 1);
    s->poll = vd_poll_free(s->poll);
    vd_loop_turn(s->loop, 0);
    assert_int_equal(close(fds[0]) | close(fds[1]), 0);
}

static void a_loop_that_was_stopped_before_it_ran_may_be_freed(void **state)
{
    struct seen *s = *state;

    vd_loop_stop(s->loop);
    s->loop = vd_loop_free(s->loop); /* asserts that everything was closed */
    assert_null(s->loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_timer_fires_once_and_may_free_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_timer_that_is_started_again_fires_when_it_was_told_last,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_period_lasts_until_it_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_freed_timer_does_not_fire_for_who_has_it_next, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_thread_wakes_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(blocking_work_runs_elsewhere_and_ends_here, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(deferred_calls_run_in_the_turn_after, setup, teardown),
        cmocka_unit_test_setup_teardown(a_readable_descriptor_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(a_loop_that_was_stopped_before_it_ran_may_be_freed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
