/* kafka/publisher.c - see publisher.h. */
#include "kafka/publisher.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/client.h"
#include "kafka/properties.h"

#define SLICE_MS 1000 /* longest single blocking call: how soon hurry() is noticed */
#define OPEN_LIMIT_MS                                                                              \
    30000 /* init_transactions while an old transaction is being decided; then report and try again */
#define COMMIT_LIMIT_MS                                                                            \
    30000 /* calling commit again while the coordinator is away; then ask the brokers anew */
#define ABORT_LIMIT_MS  15000
#define LET_GO_LIMIT_MS 2000
#define HURRY_LIMIT_MS  1500
#define ALONE_BYTES                                                                                \
    (256u << 10) /* a record this large goes in a batch of its own: brokers judge batches */

enum request { REQUEST_NONE, REQUEST_OPEN, REQUEST_PUBLISH, REQUEST_CLOSE };

struct vd_publisher {
    const struct vd_kafka_conf *conf;
    const struct vd_sabotage *sabotage;
    vd_publisher_fn *done;
    void *arg;
    struct vd_wakeup *wakeup;
    pthread_t thread;
    bool thread_started;
    bool busy; /* loop thread */
    atomic_bool hurry;

    pthread_mutex_t lock; /* request and answer only */
    pthread_cond_t changed;
    enum request request;
    bool answered;
    enum vd_publisher_answer answer;
    struct vd_err err;
    struct vd_batch *batch;
    size_t batch_bytes;

    /* The commit thread's own. */
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int64_t begun_mono_ms;
    unsigned commits;
};

void vd_group_unref(struct vd_group *group)
{
    if (group == NULL || --group->refs > 0)
        return;
    if (group->metadata != NULL)
        rd_kafka_consumer_group_metadata_destroy(group->metadata);
    (void)vd_free(group);
}

/* -- the producer, on the commit thread ------------------------------------------------------------------------- */

static void end_producer(struct vd_publisher *p)
{
    if (p->queue != NULL)
        rd_kafka_queue_destroy(p->queue);
    if (p->rk != NULL) {
        (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                        RD_KAFKA_PURGE_F_NON_BLOCKING);
        rd_kafka_destroy_flags(p->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    p->queue = NULL;
    p->rk = NULL;
}

static int64_t limit(const struct vd_publisher *p, int64_t start_ms, int64_t limit_ms)
{
    if (atomic_load(&p->hurry) && limit_ms > HURRY_LIMIT_MS)
        limit_ms = HURRY_LIMIT_MS;
    return start_ms + limit_ms - vd_mono_ms();
}

static enum vd_code error_to(struct vd_err *err, const char *what, rd_kafka_error_t *error)
{
    enum vd_code rc =
        vd_err_set(err, VD_E_REMOTE, rd_kafka_error_is_retriable(error) != 0, "%s: %s (%s)", what,
                   rd_kafka_error_string(error), rd_kafka_error_name(error));

    rd_kafka_error_destroy(error);
    return rc;
}

/* Topic metadata now, so that the first transaction does not wait for it. What fails here shows itself later. */
static void warm_up(struct vd_publisher *p)
{
    size_t i;

    for (i = 0; i < p->conf->output_topic_count && !atomic_load(&p->hurry); i++) {
        const struct rd_kafka_metadata *metadata = NULL;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(p->rk, p->conf->output_topics[i], NULL);

        if (topic == NULL)
            continue;
        if (rd_kafka_metadata(p->rk, 0, topic, &metadata, SLICE_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(topic);
    }
}

static enum vd_code init_transactions(struct vd_publisher *p, struct vd_err *err)
{
    int64_t start = vd_mono_ms();

    for (;;) {
        rd_kafka_error_t *error = rd_kafka_init_transactions(p->rk, SLICE_MS);
        bool again;

        if (error == NULL)
            return VD_OK;
        again = rd_kafka_error_is_retriable(error) != 0 && limit(p, start, OPEN_LIMIT_MS) > 0;
        if (!again)
            return error_to(err, "init_transactions", error);
        rd_kafka_error_destroy(error);
    }
}

static enum vd_publisher_answer do_open(struct vd_publisher *p, struct vd_err *err)
{
    rd_kafka_conf_t *conf = NULL;
    char text[256];

    end_producer(p);
    if (vd_properties_producer(p->conf, p->batch_bytes, &conf, err) != VD_OK)
        return VD_PUBLISHER_NOT_OPENED;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    rd_kafka_conf_set_log_cb(conf, vd_client_log);
    p->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (p->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        (void)vd_err_set(err, VD_E_CONFIG, false, "producer: %s", text);
        return VD_PUBLISHER_NOT_OPENED;
    }
    p->queue = rd_kafka_queue_get_main(p->rk);
    if (vd_properties_exactly_once(p->conf) && init_transactions(p, err) != VD_OK) {
        end_producer(p);
        return VD_PUBLISHER_NOT_OPENED;
    }
    warm_up(p);
    return VD_PUBLISHER_OPENED;
}

/* The partitions are lost: a first guard, in front of the group metadata's, which that negative control takes away. */
static bool cancelled(const struct vd_publisher *p, const struct vd_batch *batch)
{
    return atomic_load(&batch->cancel) && !p->sabotage->refetch_group;
}

/* -- producing --------------------------------------------------------------------------------------------------- */

/* Errors that belong to a record or its batch; everything else belongs to the topic, the connection or the transaction. */
static bool blames_record(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
        return true;
    default:
        return false;
    }
}

static void note_failure(struct vd_batch *batch, rd_kafka_resp_err_t code)
{
    /* Errors that follow from the first one must not hide it. */
    if (batch->code == RD_KAFKA_RESP_ERR_NO_ERROR ||
        (!blames_record(batch->code) && blames_record(code)))
        batch->code = code;
}

/* Serve delivery reports for at most wait_ms; batch NULL: nobody cares any more. */
static void drain_reports(struct vd_publisher *p, struct vd_batch *batch, int wait_ms)
{
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(p->queue, wait_ms)) != NULL) {
        const rd_kafka_message_t *message;

        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            while ((message = rd_kafka_event_message_next(event)) != NULL)
                if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && batch != NULL)
                    note_failure(batch, message->err);
        rd_kafka_event_destroy(event);
        wait_ms = 0;
    }
}

/* Until every record has its report. False: they did not come within limit_ms. */
static bool await_reports(struct vd_publisher *p, struct vd_batch *batch, int64_t limit_ms)
{
    int64_t start = vd_mono_ms();

    while (rd_kafka_outq_len(p->rk) > 0) {
        if (limit(p, start, limit_ms) <= 0)
            return false;
        drain_reports(p, batch, 50);
        if (batch != NULL && cancelled(p, batch))
            return false;
    }
    return true;
}

static rd_kafka_headers_t *headers_of(const struct vd_output *o)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new(o->header_count);
    size_t i;

    for (i = 0; i < o->header_count; i++)
        (void)rd_kafka_header_add(list, o->headers[i].name.ptr, (ssize_t)o->headers[i].name.len,
                                  o->headers[i].value.ptr, (ssize_t)o->headers[i].value.len);
    return list;
}

/* The value is not copied: it stays where it is until its report is here, or the producer is gone; see let_go(). */
static rd_kafka_resp_err_t produce_one(struct vd_publisher *p, const struct vd_output *o)
{
    rd_kafka_headers_t *headers = headers_of(o);
    const rd_kafka_vu_t fields[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = o->topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)o->key.ptr, o->key.len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)o->value.ptr, o->value.len}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    rd_kafka_error_t *error = rd_kafka_produceva(p->rk, fields, sizeof(fields) / sizeof(fields[0]));
    rd_kafka_resp_err_t code;

    if (error == NULL)
        return RD_KAFKA_RESP_ERR_NO_ERROR; /* and the headers are taken */
    code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    rd_kafka_headers_destroy(headers);
    return code;
}

/* Everything is delivered, or batch->code says why not. */
static void produce_all(struct vd_publisher *p, struct vd_batch *batch, int64_t limit_ms)
{
    int64_t start = vd_mono_ms();
    size_t i;

    for (i = 0; i < batch->output_count && batch->code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const struct vd_output *o = batch->outputs[i];
        bool alone = vd_output_bytes(o) >= ALONE_BYTES;
        rd_kafka_resp_err_t code;

        if (alone && !await_reports(p, batch, limit(p, start, limit_ms)))
            break;
        while ((code = produce_one(p, o)) == RD_KAFKA_RESP_ERR__QUEUE_FULL &&
               limit(p, start, limit_ms) > 0 && !cancelled(p, batch))
            drain_reports(p, batch, 50);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            note_failure(batch, code);
        else if (alone && !await_reports(p, batch, limit(p, start, limit_ms)))
            break;
    }
    if (!await_reports(p, batch, limit(p, start, limit_ms)))
        note_failure(batch, RD_KAFKA_RESP_ERR__TIMED_OUT);
}

/* -- at least once ----------------------------------------------------------------------------------------------- */

/* The offsets, within limit_ms. librdkafka's own waiting for the answer has no end, and a consumer that is closed meanwhile never gives
 * one: so the answer comes to a queue. */
static rd_kafka_resp_err_t commit_offsets(struct vd_publisher *p, const struct vd_batch *batch,
                                          int64_t limit_ms)
{
    rd_kafka_queue_t *answers = rd_kafka_queue_new(batch->consumer);
    rd_kafka_resp_err_t code =
        rd_kafka_commit_queue(batch->consumer, batch->offsets, answers, NULL, NULL);
    int64_t start = vd_mono_ms();
    rd_kafka_event_t *event = NULL;

    while (code == RD_KAFKA_RESP_ERR_NO_ERROR && event == NULL) {
        event = rd_kafka_queue_poll(answers, 50);
        if (event == NULL && limit(p, start, limit_ms) <= 0)
            code = RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (event != NULL) {
        const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);

        code = rd_kafka_event_error(event);
        for (int i = 0; list != NULL && i < list->cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
            code = list->elems[i].err;
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(answers);
    return code;
}

static enum vd_publisher_answer publish_plain(struct vd_publisher *p, struct vd_batch *batch,
                                              struct vd_err *err)
{
    rd_kafka_resp_err_t code;

    produce_all(p, batch, 35000); /* message.timeout.ms and a little */
    if (batch->code != RD_KAFKA_RESP_ERR_NO_ERROR || cancelled(p, batch)) {
        batch->record_refused = blames_record(batch->code);
        (void)vd_err_set(err, VD_E_REMOTE, true, "publish: %s", rd_kafka_err2str(batch->code));
        if (rd_kafka_fatal_error(p->rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
            return VD_PUBLISHER_UNKNOWN;
        return VD_PUBLISHER_ABORTED;
    }
    code = commit_offsets(p, batch, COMMIT_LIMIT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return VD_PUBLISHER_COMMITTED;
    batch->code = code;
    (void)vd_err_set(err, VD_E_REMOTE, true, "commit: %s (%s)", rd_kafka_err2str(code),
                     rd_kafka_err2name(code));
    return VD_PUBLISHER_UNCOMMITTED;
}

/* -- exactly once ------------------------------------------------------------------------------------------------ */

/* The transaction has failed for good with this error: is it because another producer took the id over? A transaction that outlived
 * its time-out was ended by the coordinator, which looks the same. */
static enum vd_publisher_answer failed(struct vd_publisher *p, struct vd_batch *batch)
{
    rd_kafka_resp_err_t code = batch->code;
    int64_t timeout =
        p->conf->transaction_timeout_ms == 0 ? 10000 : p->conf->transaction_timeout_ms;

    if (code == RD_KAFKA_RESP_ERR__FATAL)
        code = rd_kafka_fatal_error(p->rk, NULL, 0);
    if ((code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
         code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH) &&
        vd_mono_ms() - p->begun_mono_ms < timeout)
        return VD_PUBLISHER_FENCED;
    return VD_PUBLISHER_UNKNOWN;
}

static void keep_error(struct vd_batch *batch, struct vd_err *err, const char *what,
                       rd_kafka_error_t *error)
{
    batch->code = rd_kafka_error_code(error);
    (void)error_to(err, what, error);
}

/* commit was not called: when this succeeds, nothing was committed (I1). */
static enum vd_publisher_answer abort_transaction(struct vd_publisher *p, struct vd_batch *batch)
{
    int64_t start = vd_mono_ms();

    for (;;) {
        /* It waits for the reports of what is under way, and only we serve those: in slices. */
        rd_kafka_error_t *error = rd_kafka_abort_transaction(p->rk, 200);
        bool again;

        if (error == NULL) {
            drain_reports(p, NULL, 0);
            return VD_PUBLISHER_ABORTED;
        }
        again = rd_kafka_error_is_retriable(error) != 0 && limit(p, start, ABORT_LIMIT_MS) > 0;
        if (!again)
            batch->code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        if (!again)
            return failed(p, batch);
        drain_reports(p, NULL, 50);
    }
}

/* Negative control. The pause gives the group time to move on; in steps, so that a stopped process has most of it before it. */
static rd_kafka_consumer_group_metadata_t *metadata_of_the_moment(struct vd_batch *batch)
{
    int i;

    for (i = 0; i < 20; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    return rd_kafka_consumer_group_metadata(batch->consumer);
}

/* True when the offsets are in the transaction. */
static bool send_offsets(struct vd_publisher *p, struct vd_batch *batch, struct vd_err *err)
{
    int64_t start = vd_mono_ms(),
            most = p->conf->transaction_timeout_ms == 0 ? 10000 : p->conf->transaction_timeout_ms;
    rd_kafka_consumer_group_metadata_t *metadata = batch->group->metadata;
    bool sent = false;

    if (p->sabotage->refetch_group)
        metadata = metadata_of_the_moment(batch);
    for (;;) {
        rd_kafka_error_t *error =
            rd_kafka_send_offsets_to_transaction(p->rk, batch->offsets, metadata, SLICE_MS);
        bool again;

        sent = error == NULL;
        if (sent)
            break;
        again = rd_kafka_error_is_retriable(error) != 0 &&
                !rd_kafka_error_txn_requires_abort(error) && limit(p, start, most) > 0 &&
                !cancelled(p, batch);
        if (!again) {
            keep_error(batch, err, "send_offsets_to_transaction", error);
            break;
        }
        rd_kafka_error_destroy(error);
    }
    if (p->sabotage->refetch_group)
        rd_kafka_consumer_group_metadata_destroy(metadata);
    return sent;
}

/* From here on anything but a confirmation is unknown: the commit may have arrived. */
static enum vd_publisher_answer commit_transaction(struct vd_publisher *p, struct vd_batch *batch,
                                                   struct vd_err *err)
{
    int64_t start = vd_mono_ms();

    for (;;) {
        rd_kafka_error_t *error = rd_kafka_commit_transaction(p->rk, SLICE_MS);
        bool again;

        if (error == NULL)
            return VD_PUBLISHER_COMMITTED;
        again = rd_kafka_error_is_retriable(error) != 0 &&
                !rd_kafka_error_txn_requires_abort(error) && limit(p, start, COMMIT_LIMIT_MS) > 0;
        if (!again) {
            keep_error(batch, err, "commit_transaction", error);
            return failed(p, batch);
        }
        rd_kafka_error_destroy(error);
        drain_reports(p, NULL, 0);
    }
}

static enum vd_publisher_answer publish_transaction(struct vd_publisher *p, struct vd_batch *batch,
                                                    struct vd_err *err)
{
    rd_kafka_error_t *error;
    enum vd_publisher_answer answer;

    p->begun_mono_ms = vd_mono_ms();
    error = rd_kafka_begin_transaction(p->rk);
    if (error != NULL) {
        keep_error(batch, err, "begin_transaction", error);
        return failed(p, batch); /* nothing was sent, but this producer is of no use any more */
    }
    produce_all(p, batch,
                p->conf->transaction_timeout_ms == 0 ? 10000 : p->conf->transaction_timeout_ms);
    if (batch->code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        batch->record_refused = blames_record(batch->code);
        (void)vd_err_set(err, VD_E_REMOTE, true, "publish: %s (%s)", rd_kafka_err2str(batch->code),
                         rd_kafka_err2name(batch->code));
        return abort_transaction(p, batch);
    }
    if (p->sabotage->offsets_outside)
        (void)rd_kafka_commit(batch->consumer, batch->offsets, 0);
    else if (batch->offsets->cnt > 0 && !send_offsets(p, batch, err))
        return abort_transaction(p, batch);
    if (cancelled(p, batch)) {
        (void)vd_err_set(err, VD_E_REMOTE, true, "the partitions were lost");
        return abort_transaction(p, batch);
    }
    answer = commit_transaction(p, batch, err);
    if (answer == VD_PUBLISHER_COMMITTED && p->sabotage->forget_commit && ++p->commits % 20 == 0) {
        (void)vd_err_set(err, VD_E_REMOTE, true, "the answer was thrown away");
        return VD_PUBLISHER_UNKNOWN;
    }
    return answer;
}

/* The batch goes back to the loop, which may free its values: the producer must not know one of them any more. After a failure it may,
 * and if it does not forget them in time, it has to go. False: it went. */
static bool let_go(struct vd_publisher *p)
{
    if (rd_kafka_outq_len(p->rk) == 0)
        return true;
    (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                    RD_KAFKA_PURGE_F_NON_BLOCKING);
    if (await_reports(p, NULL, LET_GO_LIMIT_MS))
        return true;
    end_producer(p);
    return false;
}

static enum vd_publisher_answer do_publish(struct vd_publisher *p, struct vd_batch *batch,
                                           struct vd_err *err)
{
    int64_t start = vd_mono_us();
    enum vd_publisher_answer answer;

    assert(p->rk != NULL);
    answer = vd_properties_exactly_once(p->conf) ? publish_transaction(p, batch, err)
                                                 : publish_plain(p, batch, err);
    if (!let_go(p) && answer != VD_PUBLISHER_FENCED)
        answer = VD_PUBLISHER_UNKNOWN; /* which opens another producer */
    batch->took_us = vd_mono_us() - start;
    return answer;
}

/* -- the thread -------------------------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
    struct vd_publisher *p = arg;
    enum request request;

    do {
        struct vd_err err = {0};
        enum vd_publisher_answer answer = VD_PUBLISHER_NOT_OPENED;

        (void)pthread_mutex_lock(&p->lock);
        while (p->request == REQUEST_NONE)
            (void)pthread_cond_wait(&p->changed, &p->lock);
        request = p->request;
        p->request = REQUEST_NONE;
        (void)pthread_mutex_unlock(&p->lock);

        if (request == REQUEST_CLOSE)
            break;
        answer = request == REQUEST_OPEN ? do_open(p, &err) : do_publish(p, p->batch, &err);

        (void)pthread_mutex_lock(&p->lock);
        p->answer = answer;
        p->err = err;
        p->answered = true;
        (void)pthread_mutex_unlock(&p->lock);
        vd_wakeup_send(p->wakeup);
    } while (true);
    end_producer(p);
    return NULL;
}

static void submit(struct vd_publisher *p, enum request request)
{
    (void)pthread_mutex_lock(&p->lock);
    assert(p->request == REQUEST_NONE && !p->answered);
    p->request = request;
    (void)pthread_cond_signal(&p->changed);
    (void)pthread_mutex_unlock(&p->lock);
}

/* -- loop thread ------------------------------------------------------------------------------------------------- */

static void on_wakeup(void *arg)
{
    struct vd_publisher *p = arg;
    enum vd_publisher_answer answer;
    struct vd_err err;
    bool answered;

    (void)pthread_mutex_lock(&p->lock);
    answered = p->answered;
    answer = p->answer;
    err = p->err;
    p->answered = false;
    (void)pthread_mutex_unlock(&p->lock);
    if (!answered)
        return;
    p->busy = false;
    p->batch = NULL;
    p->done(p->arg, answer, &err);
}

enum vd_code vd_publisher_new(struct vd_loop *loop, const struct vd_kafka_conf *conf,
                              const struct vd_sabotage *sabotage, vd_publisher_fn *done, void *arg,
                              struct vd_publisher **ret, struct vd_err *err)
{
    struct vd_publisher *p = vd_alloc(sizeof(*p));
    enum vd_code rc;

    if (p == NULL)
        return vd_err_nomem(err, "publisher");
    p->conf = conf;
    p->sabotage = sabotage;
    p->done = done;
    p->arg = arg;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->changed, NULL);
    rc = vd_wakeup_new(loop, on_wakeup, p, &p->wakeup);
    if (rc != VD_OK) {
        (void)vd_err_set(err, rc, false, "publisher: no wake-up");
        goto out;
    }
    if (pthread_create(&p->thread, NULL, thread_main, p) != 0) {
        rc = vd_err_set(err, VD_E_NOMEM, false, "publisher: cannot start a thread");
        goto out;
    }
    p->thread_started = true;
    *ret = p;
    return VD_OK;
out:
    (void)vd_publisher_free(p);
    return rc;
}

void vd_publisher_open(struct vd_publisher *p, size_t batch_bytes)
{
    assert(!p->busy);
    p->busy = true;
    p->batch_bytes = batch_bytes;
    submit(p, REQUEST_OPEN);
}

void vd_publisher_publish(struct vd_publisher *p, struct vd_batch *batch)
{
    assert(!p->busy);
    p->busy = true;
    p->batch = batch;
    submit(p, REQUEST_PUBLISH);
}

bool vd_publisher_busy(const struct vd_publisher *p)
{
    return p->busy;
}

void vd_publisher_hurry(struct vd_publisher *p)
{
    atomic_store(&p->hurry, true);
}

void vd_publisher_close(struct vd_publisher *p)
{
    assert(!p->busy);
    if (!p->thread_started)
        return;
    submit(p, REQUEST_CLOSE);
    (void)pthread_join(p->thread, NULL);
    p->thread_started = false;
}

void *vd_publisher_free(struct vd_publisher *p)
{
    if (p == NULL)
        return NULL;
    vd_publisher_close(p);
    (void)vd_wakeup_free(p->wakeup);
    (void)pthread_cond_destroy(&p->changed);
    (void)pthread_mutex_destroy(&p->lock);
    return vd_free(p);
}
