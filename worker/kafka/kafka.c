/* kafka/kafka.c - see kafka.h: the life of the object, and what is known about it.
 *
 *   IDLE --start--> CONNECTING <--> TOPICS --> WARMING --> JOINING --> RUNNING <--> RECOVERING
 *                        ^                                                |
 *                        +------------- fenced: all anew -----------------+       any --stop--> CLOSING --> CLOSED
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/client.h"
#include "kafka/internal.h"
#include "kafka/properties.h"

#define TICK_MS       1000 /* an idle consumer that is never polled is expelled */
#define OPEN_RETRY_MS 2000

/* -- what is known ----------------------------------------------------------------------------------------------- */

const char *vd_kafka_phase_name(enum vd_kafka_phase phase)
{
    static const char *const names[] = {
        [VD_KAFKA_IDLE] = "idle",
        [VD_KAFKA_CONNECTING] = "connecting",
        [VD_KAFKA_TOPICS] = "waiting for topics",
        [VD_KAFKA_WARMING] = "warming",
        [VD_KAFKA_JOINING] = "joining",
        [VD_KAFKA_RUNNING] = "running",
        [VD_KAFKA_RECOVERING] = "recovering",
        [VD_KAFKA_CLOSING] = "closing",
        [VD_KAFKA_CLOSED] = "closed",
    };

    return names[phase];
}

static void changed(struct vd_kafka *k)
{
    if (k->callbacks.status != NULL)
        k->callbacks.status(k->arg);
}

void vd_kafka_set_phase(struct vd_kafka *k, enum vd_kafka_phase phase)
{
    if (k->closing != VD_CLOSING_NO && phase != VD_KAFKA_CLOSING && phase != VD_KAFKA_CLOSED)
        return;
    if (k->phase == phase)
        return;
    k->phase = phase;
    vd_log(VD_INFO, "kafka.phase", VD_F_STR("phase", vd_kafka_phase_name(phase)));
    changed(k);
}

void vd_kafka_trouble(struct vd_kafka *k, enum vd_trouble which, const char *fmt, ...)
{
    char text[sizeof(k->trouble[0])] = "";
    va_list args;

    if (fmt != NULL) {
        va_start(args, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
    }
    if (strcmp(text, k->trouble[which]) == 0)
        return;
    memcpy(k->trouble[which], text, sizeof(text));
    if (text[0] != '\0')
        vd_log(VD_WARN, "kafka.trouble", VD_F_STR("reason", text));
    changed(k);
}

static const char *worst_trouble(const struct vd_kafka *k)
{
    size_t i;

    for (i = 0; i < VD_TROUBLE_COUNT; i++)
        if (k->trouble[i][0] != '\0')
            return k->trouble[i];
    return "";
}

void vd_kafka_status(const struct vd_kafka *k, struct vd_kafka_status *ret)
{
    *ret = k->counts;
    ret->phase = k->phase;
    ret->joined_once = k->joined_once;
    ret->brokers_down = k->brokers_down;
    ret->trouble = worst_trouble(k);
    ret->cluster_id = k->cluster_id;
    ret->member_id = k->member_id;
    ret->transactional_id = k->exactly_once ? k->transactional_id : NULL;
    ret->delivery = k->exactly_once    ? "exactly once"
                    : k->conf.embedded ? "at least once (embedded broker)"
                                       : "at least once";
    ret->ready = k->ready.count;
    ret->publishing = k->running == NULL ? 0 : k->running->entries.count;
}

static void describe(const struct vd_kafka *k, const struct vd_partition *part,
                     struct vd_kafka_partition *p)
{
    int64_t low = -1, high = -1;

    *p = (struct vd_kafka_partition){.topic = part->topic,
                                     .partition = part->partition,
                                     .epoch = part->epoch,
                                     .base = -1,
                                     .next = -1,
                                     .end = -1,
                                     .lag = -1,
                                     .paused = part->paused,
                                     .refused = part->refused};
    p->in_flight = part->unsettled_count + part->settled_count;
    if (part->ledger == NULL)
        return;
    if (part->paused == NULL && part->announced && !part->ready)
        p->paused = "assigned";
    p->base = vd_ledger_base(part->ledger);
    p->next = vd_ledger_next(part->ledger);
    p->span = vd_ledger_span(part->ledger);
    if (p->paused == NULL && (part->held != NULL || !vd_ledger_has_room(part->ledger)))
        p->paused = "span";
    if (k->rk != NULL &&
        rd_kafka_get_watermark_offsets(k->rk, part->topic, part->partition, &low, &high) ==
            RD_KAFKA_RESP_ERR_NO_ERROR &&
        high >= 0) {
        p->end = high;
        p->lag = (high > p->next ? high - p->next : 0) + (int64_t)p->in_flight;
    }
}

void vd_kafka_partitions(const struct vd_kafka *k,
                         void (*fn)(void *arg, const struct vd_kafka_partition *p), void *arg)
{
    struct vd_kafka_partition p;
    size_t i;

    for (i = 0; i < k->part_count; i++) {
        describe(k, k->parts[i], &p);
        fn(arg, &p);
    }
}

const char *vd_kafka_cluster_id(const struct vd_kafka *k)
{
    return k->cluster_id;
}

bool vd_kafka_exactly_once(const struct vd_kafka *k)
{
    return k->exactly_once;
}

/* -- pausing ----------------------------------------------------------------------------------------------------- */

bool vd_kafka_pause(struct vd_kafka *k, const char *topic, int32_t partition, const char *reason)
{
    struct vd_partition *part = vd_partition_find(k, topic, partition);
    char *copy = vd_strdup(reason);

    if (part == NULL || copy == NULL) {
        (void)vd_free(copy);
        return false;
    }
    (void)vd_free(part->paused);
    part->paused = copy;
    return true;
}

static void pump_later(void *arg)
{
    struct vd_kafka *k = arg;

    k->resume_deferred = false;
    vd_consume_pump(k);
}

void vd_kafka_resume(struct vd_kafka *k)
{
    if (!k->resume_deferred && vd_loop_defer(k->loop, pump_later, k) == VD_OK)
        k->resume_deferred = true;
}

bool vd_kafka_unpause(struct vd_kafka *k, const char *topic, int32_t partition)
{
    struct vd_partition *part = vd_partition_find(k, topic, partition);

    if (part == NULL)
        return false;
    part->paused = vd_free(part->paused);
    vd_kafka_resume(k);
    return true;
}

/* -- the consumer ------------------------------------------------------------------------------------------------ */

enum vd_code vd_kafka_open_consumer(struct vd_kafka *k, struct vd_err *err)
{
    static const uint64_t one = 1;
    rd_kafka_conf_t *conf = NULL;
    char text[256];
    enum vd_code rc = vd_properties_consumer(&k->conf, &conf, err);

    if (rc != VD_OK)
        return rc;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR |
                                       RD_KAFKA_EVENT_FETCH);
    rd_kafka_conf_set_log_cb(conf, vd_client_log);
    k->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (k->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        return vd_err_set(err, VD_E_CONFIG, false, "kafka: %s", text);
    }
    (void)rd_kafka_poll_set_consumer(k->rk);
    k->queue = rd_kafka_queue_get_consumer(k->rk);
    rd_kafka_queue_io_event_enable(k->queue, k->event_fd, &one, sizeof(one));
    return VD_OK;
}

void vd_kafka_close_queues(struct vd_kafka *k)
{
    if (k->queue != NULL)
        rd_kafka_queue_destroy(k->queue);
    if (k->close_queue != NULL)
        rd_kafka_queue_destroy(k->close_queue);
    k->queue = NULL;
    k->close_queue = NULL;
}

static void subscribe(struct vd_kafka *k)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)k->conf.topic_count);
    rd_kafka_resp_err_t code;
    size_t i;

    for (i = 0; i < k->conf.topic_count; i++)
        (void)rd_kafka_topic_partition_list_add(list, k->conf.topics[i], RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(k->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        vd_kafka_fail(k, VD_E_CONFIG, "subscribe: %s", rd_kafka_err2str(code));
        return;
    }
    k->subscribed = true;
    vd_kafka_set_phase(k, VD_KAFKA_JOINING);
}

/* -- the publisher ----------------------------------------------------------------------------------------------- */

static void open_publisher(void *arg)
{
    vd_kafka_open_publisher(arg);
}

void vd_kafka_open_publisher(struct vd_kafka *k)
{
    if (vd_publisher_busy(k->publisher) || k->closing >= VD_CLOSING_LEAVE)
        return;
    vd_publisher_open(k->publisher, k->batch_bytes);
}

void vd_kafka_opened(struct vd_kafka *k, bool opened, const struct vd_err *err)
{
    if (k->rebuilding || k->closing >= VD_CLOSING_LEAVE) {
        vd_kafka_closing_step(k);
        return;
    }
    if (!opened) {
        vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, "%s", err->msg);
        if (err->code == VD_E_CONFIG)
            vd_kafka_fail(k, VD_E_CONFIG, "%s", err->msg);
        else
            vd_kafka_retry_in(k, OPEN_RETRY_MS, open_publisher);
        vd_kafka_closing_step(k);
        return;
    }
    if (k->counts.session > 0)
        k->counts.rebuilds++;
    k->counts.session++;
    k->publisher_open = true;
    if (k->unresolved) {
        vd_outcomes_resolve(k);
        return;
    }
    vd_kafka_trouble(k, VD_TROUBLE_PUBLISH, NULL);
    if (!k->subscribed && k->conf.embedded) {
        k->subscribed = true;
        vd_rebalance_take_all(k);
    } else if (!k->subscribed) {
        subscribe(k);
    }
    vd_outcomes_kick(k);
}

void vd_kafka_fail(struct vd_kafka *k, enum vd_code code, const char *fmt, ...)
{
    struct vd_err err = {.code = code};
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(err.msg, sizeof(err.msg), fmt, args);
    va_end(args);
    k->callbacks.fatal(k->arg, &err);
}

/* -- timers ------------------------------------------------------------------------------------------------------ */

static void on_retry(void *arg)
{
    struct vd_kafka *k = arg;

    if (k->closing < VD_CLOSING_LEAVE)
        k->retry_fn(k);
}

void vd_kafka_retry_in(struct vd_kafka *k, uint64_t ms, vd_loop_fn *fn)
{
    k->retry_fn = fn;
    vd_timer_start(k->retry, ms, 0);
}

struct probe {
    struct vd_kafka *k;
    rd_kafka_t *rk;
    bool answered;
};

static void probe_run(void *arg)
{
    struct probe *w = arg;
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(w->rk, w->k->conf.topics[0], NULL);

    if (topic == NULL)
        return;
    w->answered = rd_kafka_metadata(w->rk, 0, topic, &metadata, 2000) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (w->answered)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

static void probe_done(void *arg)
{
    struct probe *w = arg;
    struct vd_kafka *k = w->k;

    k->works--;
    k->probing = false;
    if (w->answered && k->rk == w->rk) {
        k->brokers_down = false;
        vd_kafka_trouble(k, VD_TROUBLE_BROKERS, NULL);
    }
    (void)vd_free(w);
    vd_kafka_closing_step(k);
}

/* An idle worker does not notice by itself that the brokers are back. */
static void probe_brokers(struct vd_kafka *k)
{
    struct probe *w;

    if (k->probing || k->rk == NULL || !k->subscribed || k->trouble[VD_TROUBLE_BROKERS][0] == '\0')
        return;
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return;
    *w = (struct probe){.k = k, .rk = k->rk};
    if (vd_loop_work(k->loop, probe_run, probe_done, w) != VD_OK) {
        (void)vd_free(w);
        return;
    }
    k->works++;
    k->probing = true;
}

static void on_tick(void *arg)
{
    struct vd_kafka *k = arg;

    vd_consume_serve(k);
    vd_outcomes_kick(k);
    vd_kafka_rebuild_step(k);
    if (k->closing == VD_CLOSING_NO)
        probe_brokers(k);
}

static void on_commit_timer(void *arg)
{
    vd_outcomes_now(arg);
}

/* -- life -------------------------------------------------------------------------------------------------------- */

struct first_fault {
    const char *key;
    char why[200];
};

static void keep_fault(void *arg, const char *key, const char *why)
{
    struct first_fault *f = arg;

    if (f->key != NULL)
        return;
    f->key = key;
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
}

static enum vd_code make_parts(struct vd_kafka *k, struct vd_err *err)
{
    enum vd_code rc = VD_OK;

    k->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (k->event_fd < 0)
        return vd_err_set(err, VD_E_NOMEM, false, "kafka: no eventfd");
    rc = vd_poll_new(k->loop, k->event_fd, vd_consume_on_fd, k, &k->poll);
    if (rc == VD_OK)
        rc = vd_timer_new(k->loop, on_tick, k, &k->tick);
    if (rc == VD_OK)
        rc = vd_timer_new(k->loop, on_retry, k, &k->retry);
    if (rc == VD_OK)
        rc = vd_timer_new(k->loop, on_commit_timer, k, &k->commit_timer);
    if (rc == VD_OK)
        rc = vd_timer_new(k->loop, vd_rebalance_on_timer, k, &k->lookup_timer);
    if (rc == VD_OK)
        rc = vd_timer_new(k->loop, vd_kafka_on_closing_timer, k, &k->closing_timer);
    if (rc != VD_OK)
        return vd_err_set(err, rc, false, "kafka: no timer");
    return vd_publisher_new(k->loop, &k->conf, &k->sabotage, vd_outcomes_answer, k, &k->publisher,
                            err);
}

static char *find_transactional_id(const struct vd_kafka_conf *conf, struct vd_err *err)
{
    rd_kafka_conf_t *rk = NULL;
    char id[512] = "";
    size_t size = sizeof(id);

    if (!vd_properties_exactly_once(conf))
        return vd_strdup("");
    if (vd_properties_producer(conf, 0, &rk, err) != VD_OK)
        return NULL;
    (void)rd_kafka_conf_get(rk, "transactional.id", id, &size);
    rd_kafka_conf_destroy(rk);
    return vd_strdup(id);
}

enum vd_code vd_kafka_new(struct vd_loop *loop, const struct vd_kafka_conf *conf,
                          const struct vd_kafka_callbacks *callbacks, void *arg,
                          struct vd_kafka **ret_kafka, struct vd_err *err)
{
    struct first_fault fault = {0};
    struct vd_kafka *k;
    enum vd_code rc;

    if (vd_kafka_conf_check(conf, keep_fault, &fault) > 0)
        return vd_err_set(err, VD_E_CONFIG, false, "kafka: %s: %s", fault.key, fault.why);
    k = vd_alloc(sizeof(*k));
    if (k == NULL)
        return vd_err_nomem(err, "kafka");
    k->loop = loop;
    k->callbacks = *callbacks;
    k->arg = arg;
    k->event_fd = -1;
    k->generation = -1;
    k->limit = VD_KAFKA_TRANSACTION_MAX_OUTCOMES;
    if (!vd_properties_copy(&k->conf, conf)) {
        rc = vd_err_nomem(err, "kafka settings");
        goto out;
    }
    k->exactly_once = vd_properties_exactly_once(&k->conf);
    k->max_bytes = vd_alloc_array(k->conf.output_topic_count, sizeof(*k->max_bytes));
    k->input_partitions = vd_alloc_array(k->conf.topic_count, sizeof(*k->input_partitions));
    if (k->max_bytes == NULL || k->input_partitions == NULL) {
        rc = vd_err_nomem(err, "kafka topics");
        goto out;
    }
    rc = vd_sabotage_read(&k->sabotage, err);
    if (rc != VD_OK)
        goto out;
    k->transactional_id = find_transactional_id(&k->conf, err);
    if (k->transactional_id == NULL) {
        rc = VD_E_CONFIG;
        goto out;
    }
    rc = make_parts(k, err);
    if (rc != VD_OK)
        goto out;
    *ret_kafka = k;
    k = NULL;
out:
    (void)vd_kafka_free(k);
    return rc;
}

enum vd_code vd_kafka_start(struct vd_kafka *k, struct vd_err *err)
{
    enum vd_code rc;

    assert(!k->started);
    rc = vd_kafka_open_consumer(k, err);
    if (rc != VD_OK)
        return rc;
    k->started = true;
    vd_poll_set(k->poll, VD_POLL_IN);
    vd_timer_start(k->tick, TICK_MS, TICK_MS);
    vd_kafka_set_phase(k, VD_KAFKA_CONNECTING);
    vd_topics_check(k);
    return VD_OK;
}

void vd_kafka_drain(struct vd_kafka *k)
{
    k->draining = true;
}

void *vd_kafka_free(struct vd_kafka *k)
{
    if (k == NULL)
        return NULL;
    assert(!k->started || k->closing == VD_CLOSING_DONE);
    (void)vd_publisher_free(k->publisher);
    (void)vd_timer_free(k->tick);
    (void)vd_timer_free(k->retry);
    (void)vd_timer_free(k->commit_timer);
    (void)vd_timer_free(k->lookup_timer);
    (void)vd_timer_free(k->closing_timer);
    (void)vd_poll_free(k->poll);
    if (k->event_fd >= 0)
        (void)close(k->event_fd);
    (void)vd_free(k->parts);
    (void)vd_free(k->cluster_id);
    (void)vd_free(k->max_bytes);
    (void)vd_free(k->input_partitions);
    (void)vd_free(k->member_id);
    (void)vd_free(k->transactional_id);
    vd_properties_free(&k->conf);
    return vd_free(k);
}
