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

#define TICK_MS          1000 /* an idle consumer that is never polled is expelled */
#define CLOSING_TICK_MS  50
#define LEAVE_LIMIT_MS   5000
#define OPEN_RETRY_MS    2000
#define FENCED_WINDOW_MS 600000
#define FENCED_WAIT_MS   3000

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
    p->base = vd_ledger_base(part->ledger);
    p->next = vd_ledger_next(part->ledger);
    p->span = vd_ledger_span(part->ledger);
    if (part->paused == NULL && (part->held != NULL || !vd_ledger_has_room(part->ledger)))
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

/* -- the settings' copy ------------------------------------------------------------------------------------------ */

static void free_strings(const char *const *list, size_t count)
{
    size_t i;

    for (i = 0; list != NULL && i < count; i++)
        (void)vd_free((void *)(uintptr_t)list[i]);
    (void)vd_free((void *)(uintptr_t)list);
}

static void free_conf(struct vd_kafka_conf *c)
{
    struct vd_kafka_property *p = (struct vd_kafka_property *)(uintptr_t)c->properties;
    size_t i;

    for (i = 0; p != NULL && i < c->property_count; i++) {
        (void)vd_free((void *)(uintptr_t)p[i].name);
        (void)vd_free((void *)(uintptr_t)p[i].value);
    }
    (void)vd_free(p);
    free_strings(c->topics, c->topic_count);
    free_strings(c->output_topics, c->output_topic_count);
    (void)vd_free((void *)(uintptr_t)c->brokers);
    (void)vd_free((void *)(uintptr_t)c->group);
    (void)vd_free((void *)(uintptr_t)c->client_id);
    (void)vd_free((void *)(uintptr_t)c->instance_id);
    (void)vd_free((void *)(uintptr_t)c->transactional_id);
    *c = (struct vd_kafka_conf){0};
}

static bool copy_string(const char **at)
{
    const char *from = *at;

    *at = vd_strdup(from);
    return from == NULL || *at != NULL;
}

static bool copy_strings(const char *const **at, size_t count)
{
    const char *const *from = *at;
    const char **to = vd_alloc_array(count, sizeof(*to));
    bool ok = to != NULL;
    size_t i;

    *at = to;
    for (i = 0; ok && i < count; i++) {
        to[i] = from[i];
        ok = copy_string(&to[i]);
    }
    return ok;
}

static bool copy_properties(struct vd_kafka_conf *c)
{
    const struct vd_kafka_property *from = c->properties;
    struct vd_kafka_property *to = vd_alloc_array(c->property_count, sizeof(*to));
    bool ok = to != NULL;
    size_t i;

    c->properties = to;
    for (i = 0; ok && i < c->property_count; i++) {
        to[i] = from[i];
        ok = copy_string(&to[i].name);
        ok = copy_string(&to[i].value) && ok;
    }
    return ok;
}

static void fill(uint32_t *at, uint32_t fallback)
{
    if (*at == 0)
        *at = fallback;
}

/* False without memory; then free_conf() frees what there is: every pointer of from was replaced. */
static bool copy_conf(struct vd_kafka_conf *to, const struct vd_kafka_conf *from)
{
    bool ok = true;

    *to = *from;
    ok = copy_string(&to->brokers) && ok;
    ok = copy_string(&to->group) && ok;
    ok = copy_string(&to->client_id) && ok;
    ok = copy_string(&to->instance_id) && ok;
    ok = copy_string(&to->transactional_id) && ok;
    ok = copy_strings(&to->topics, to->topic_count) && ok;
    ok = copy_strings(&to->output_topics, to->output_topic_count) && ok;
    ok = copy_properties(to) && ok;
    fill(&to->commit_interval_ms, 100);
    fill(&to->commit_outcomes, 500);
    fill(&to->transaction_timeout_ms, 10000);
    fill(&to->session_timeout_ms, 45000);
    fill(&to->max_poll_interval_ms, 300000);
    fill(&to->prefetch_messages, 1000);
    fill(&to->prefetch_kbytes, 4096);
    fill(&to->max_offset_span, VD_LEDGER_MAX_SPAN);
    return ok;
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

static void close_queues(struct vd_kafka *k)
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
static void rebuild_step(struct vd_kafka *k)
{
    struct ending *w;

    if (!k->rebuilding || k->rk == NULL || k->works > 0 || vd_publisher_busy(k->publisher))
        return;
    w = vd_alloc(sizeof(*w));
    if (w == NULL)
        return; /* the tick tries again */
    vd_outcomes_drop_running(k);
    vd_outcomes_drop(k, NULL);
    close_queues(k);
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
    rebuild_step(k);
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
    rebuild_step(k);
    if (k->closing == VD_CLOSING_NO)
        probe_brokers(k);
}

static void on_commit_timer(void *arg)
{
    vd_outcomes_now(arg);
}

static void on_closing_timer(void *arg);

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
        rc = vd_timer_new(k->loop, on_closing_timer, k, &k->closing_timer);
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
    k->limit = VD_KAFKA_TRANSACTION_MAX_OUTCOMES;
    if (!copy_conf(&k->conf, conf)) {
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
    free_conf(&k->conf);
    return vd_free(k);
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
    close_queues(k);
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
        rebuild_step(k);
    if (k->closing == VD_CLOSING_PUBLISH && (late || vd_outcomes_idle(k) || !can_publish(k))) {
        if (late)
            vd_publisher_hurry(k->publisher);
        if (k->running == NULL || late)
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

static void on_closing_timer(void *arg)
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
