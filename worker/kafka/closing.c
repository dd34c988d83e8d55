/* kafka/closing.c - the two ways a consumer ends: for good, and because another worker took our place.
 *
 *   stop:    PUBLISH what is settled --> LEAVE the group, at most 5 s --> END clients and thread --> DONE
 *   fenced:  everything is dropped, the clients end, and after a pause all begins anew; the third time in ten minutes is fatal
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/internal.h"

#define CLOSING_TICK_MS  50
#define LEAVE_LIMIT_MS   5000
#define FENCED_WINDOW_MS 600000
#define FENCED_WAIT_MS   3000

/* -- fenced ------------------------------------------------------------------------------------------------------ */

struct ending {
    struct vd_kafka *k;
    rd_kafka_t *rk;
    bool close; /* leave the group first */
    bool publisher;
};

static void ending_run(void *arg)
{
    struct ending *w = arg;

    if (w->rk != NULL)
        rd_kafka_destroy_flags(w->rk, w->close ? 0 : RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (w->publisher)
        vd_publisher_close(w->k->publisher);
}

static void begin_anew(void *arg)
{
    struct vd_kafka *k = arg;
    struct vd_err err;

    k->rebuilding = false;
    if (k->closing != VD_CLOSING_NO)
        return;
    if (vd_kafka_open_consumer(k, &err) != VD_OK)
        vd_kafka_fail(k, err.code, "%s", err.msg);
    else
        vd_topics_check(k);
}

static void fenced_done(void *arg)
{
    struct ending *w = arg;
    struct vd_kafka *k = w->k;

    k->works--;
    (void)vd_free(w);
    if (k->closing == VD_CLOSING_NO)
        vd_kafka_retry_in(k, (uint64_t)(FENCED_WAIT_MS * (int64_t)k->fenced_count), begin_anew);
    vd_kafka_closing_step(k);
}

/* Once nothing uses the consumer any more, end it. */
void vd_kafka_rebuild_step(struct vd_kafka *k)
{
    struct ending *w;

    if (!k->rebuilding || k->rk == NULL || k->works > 0 || vd_publisher_busy(k->publisher))
        return;
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return; /* the tick tries again */
    vd_outcomes_drop_running(k);
    vd_outcomes_drop(k, NULL);
    vd_kafka_close_queues(k);
    *w = (struct ending){.k = k, .rk = k->rk, .close = true};
    if (vd_loop_work(k->loop, ending_run, fenced_done, w) != VD_OK) {
        (void)vd_free(w);
        return;
    }
    k->works++;
    k->rk = NULL;
    k->subscribed = false;
    k->publisher_open = false;
}

void vd_kafka_fenced(struct vd_kafka *k, const char *what, const char *id)
{
    int64_t now = vd_mono_ms();

    if (k->rebuilding || k->closing != VD_CLOSING_NO || k->fenced_count == 3)
        return;
    if (k->fenced_count > 0 && now - k->fenced_mono_ms[0] > FENCED_WINDOW_MS) {
        memmove(k->fenced_mono_ms, k->fenced_mono_ms + 1, sizeof(k->fenced_mono_ms[0]) * 2);
        k->fenced_count--;
    }
    k->fenced_mono_ms[k->fenced_count++] = now;
    k->counts.fenced++;
    if (k->fenced_count == 3)
        vd_kafka_fail(k, VD_E_TIMEOUT,
                      "fenced three times within ten minutes: another worker uses the same %s%s%s",
                      what, id == NULL ? "" : " ", id == NULL ? "" : id);
    vd_log(VD_WARN, "kafka.fenced", VD_F_STR("what", what), VD_F_STR("id", id == NULL ? "" : id),
           VD_F_INT("times", k->fenced_count));
    vd_kafka_trouble(k, VD_TROUBLE_PUBLISH,
                     "fenced: another worker uses the same %s%s%s; leaving the group for a moment",
                     what, id == NULL ? "" : " ", id == NULL ? "" : id);
    vd_kafka_set_phase(k, VD_KAFKA_RECOVERING);
    k->rebuilding = true;
    if (k->running != NULL)
        atomic_store(&k->running->batch.cancel, true);
    vd_rebalance_lose_all(k);
    vd_kafka_rebuild_step(k);
}

/* -- closing ----------------------------------------------------------------------------------------------------- */

static void leave(struct vd_kafka *k)
{
    static const uint64_t one = 1;
    rd_kafka_error_t *error;

    k->closing = VD_CLOSING_LEAVE;
    k->closing_deadline_mono_ms = vd_mono_ms() + LEAVE_LIMIT_MS;
    if (k->rk == NULL || !k->subscribed)
        return;
    /* A queue of its own: forwarding the consumer's queue to itself would never end. */
    k->close_queue = rd_kafka_queue_new(k->rk);
    rd_kafka_queue_io_event_enable(k->close_queue, k->event_fd, &one, sizeof(one));
    error = rd_kafka_consumer_close_queue(k->rk, k->close_queue);
    if (error != NULL) {
        vd_log(VD_DEBUG, "kafka.close", VD_F_STR("error", rd_kafka_error_string(error)));
        rd_kafka_error_destroy(error);
        k->subscribed = false;
    }
}

/* After everything that was deferred before: nothing touches the object afterwards. */
static void tell_closed(void *arg)
{
    struct vd_kafka *k = arg;

    k->closed_fn(k->closed_arg);
}

static void ended(void *arg)
{
    struct ending *w = arg;
    struct vd_kafka *k = w->k;

    k->works--;
    (void)vd_free(w);
    k->closing = VD_CLOSING_DONE;
    k->phase = VD_KAFKA_CLOSED;
    vd_timer_stop(k->closing_timer);
    vd_timer_stop(k->tick);
    vd_timer_stop(k->retry);
    vd_timer_stop(k->commit_timer);
    vd_timer_stop(k->lookup_timer);
    vd_poll_set(k->poll, 0);
    if (vd_loop_defer(k->loop, tell_closed, k) != VD_OK)
        tell_closed(k);
}

static void end(struct vd_kafka *k)
{
    struct ending *w;
    bool closed = k->rk == NULL || !k->subscribed || rd_kafka_consumer_closed(k->rk) != 0;

    if (k->works > 0 || vd_publisher_busy(k->publisher))
        return;
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return;
    vd_rebalance_lose_all(k);
    vd_outcomes_drop_running(k);
    vd_outcomes_drop(k, NULL);
    vd_kafka_close_queues(k);
    *w = (struct ending){.k = k, .rk = k->rk, .close = false, .publisher = true};
    if (!closed)
        vd_log(
            VD_WARN, "kafka.close",
            VD_F_STR("reason",
                     "the group was not left in time; the brokers notice by the session timeout"));
    if (vd_loop_work(k->loop, ending_run, ended, w) != VD_OK) {
        (void)vd_free(w);
        return;
    }
    k->works++;
    k->rk = NULL;
    k->closing = VD_CLOSING_END;
}

static bool can_publish(const struct vd_kafka *k)
{
    return k->running != NULL ||
           (k->publisher_open && k->rk != NULL && (k->group != NULL || !k->exactly_once));
}

void vd_kafka_closing_step(struct vd_kafka *k)
{
    bool late = vd_mono_ms() >= k->closing_deadline_mono_ms;

    if (k->rebuilding)
        vd_kafka_rebuild_step(k);
    if (k->closing == VD_CLOSING_PUBLISH && (late || vd_outcomes_idle(k) || !can_publish(k))) {
        if (late)
            vd_publisher_hurry(k->publisher);
        /* A plain commit is the consumer's own: librdkafka 2.0.2 asserts that none is under way when the group is left, and never answers
         * one that is. In a hurry it ends soon. */
        if (k->running == NULL || (late && k->exactly_once))
            leave(k);
    }
    if (k->closing == VD_CLOSING_LEAVE) {
        late = vd_mono_ms() >= k->closing_deadline_mono_ms;
        if (late || k->rk == NULL || !k->subscribed || rd_kafka_consumer_closed(k->rk) != 0) {
            vd_publisher_hurry(k->publisher);
            end(k);
        }
    }
}

void vd_kafka_on_closing_timer(void *arg)
{
    struct vd_kafka *k = arg;

    vd_consume_serve(k);
    vd_outcomes_kick(k);
    vd_kafka_closing_step(k);
}

void vd_kafka_stop(struct vd_kafka *k, uint32_t deadline_ms, vd_loop_fn *done, void *arg)
{
    assert(k->closing == VD_CLOSING_NO);
    k->closed_fn = done;
    k->closed_arg = arg;
    k->draining = true;
    vd_kafka_set_phase(k, VD_KAFKA_CLOSING);
    k->closing = VD_CLOSING_PUBLISH;
    k->closing_deadline_mono_ms = vd_mono_ms() + deadline_ms;
    k->next_begin_mono_ms = 0;
    vd_outcomes_kick(k);
    vd_timer_start(k->closing_timer, CLOSING_TICK_MS, CLOSING_TICK_MS);
}
