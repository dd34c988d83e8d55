/* kafka/tool.c - see tool.h. */
#include "kafka/tool.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "kafka/client.h"
#include "kafka/properties.h"

#define METADATA_TIMEOUT_MS 10000
#define ROOM_TIMEOUT_MS     10000

struct vd_kafka_writer {
    rd_kafka_t *rk;
    struct vd_err first; /* first delivery that failed */
};

struct vd_kafka_reader {
    rd_kafka_t *rk;
    rd_kafka_message_t *message;
    struct vd_record record;
    struct vd_header headers[VD_EVENT_MAX_HEADERS];
    enum vd_kafka_extent extent;
    rd_kafka_topic_partition_list_t *ends; /* UP_TO_NOW: offset is where each partition stops */
    rd_kafka_topic_partition_list_t
        *open; /* partitions whose end was not seen, or something came after it */
};

static enum vd_code remote(struct vd_err *err, const char *what, rd_kafka_resp_err_t code)
{
    bool late = code == RD_KAFKA_RESP_ERR__TIMED_OUT || code == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT;

    return vd_err_set(err, late ? VD_E_TIMEOUT : VD_E_REMOTE, true, "%s: %s", what,
                      rd_kafka_err2str(code));
}

static enum vd_code set(rd_kafka_conf_t *conf, const char *name, const char *value,
                        struct vd_err *err)
{
    char text[200];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) == RD_KAFKA_CONF_OK)
        return VD_OK;
    return vd_err_set(err, VD_E_CONFIG, false, "%s: %s", name, text);
}

/* -- writing --------------------------------------------------------------------------------------------------------- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct vd_kafka_writer *w = opaque;

    (void)rk;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && w->first.code == VD_OK)
        (void)remote(&w->first, "produce", message->err);
}

enum vd_code vd_kafka_writer_new(const struct vd_kafka_conf *conf,
                                 struct vd_kafka_writer **ret_writer, struct vd_err *err)
{
    struct vd_kafka_conf plain = *conf;
    struct vd_kafka_writer *w = vd_alloc(sizeof(*w));
    rd_kafka_conf_t *rk_conf = NULL;
    char text[200];
    enum vd_code rc;

    if (w == NULL)
        return vd_err_nomem(err, "writer");
    plain.delivery =
        VD_KAFKA_AT_LEAST_ONCE; /* no transactional id: it would fence the worker that has it */
    rc = vd_properties_producer(&plain, 0, &rk_conf, err);
    if (rc != VD_OK)
        goto out;
    rd_kafka_conf_set_events(rk_conf, 0);
    rd_kafka_conf_set_dr_msg_cb(rk_conf, on_delivery);
    rd_kafka_conf_set_opaque(rk_conf, w);
    rd_kafka_conf_set_log_cb(rk_conf, vd_client_log);
    w->rk = rd_kafka_new(RD_KAFKA_PRODUCER, rk_conf, text, sizeof(text));
    if (w->rk == NULL) {
        rc = vd_err_set(err, VD_E_CONFIG, false, "producer: %s", text);
        goto out;
    }
    rk_conf = NULL; /* taken */
    *ret_writer = w;
    w = NULL;
out:
    if (rk_conf != NULL)
        rd_kafka_conf_destroy(rk_conf);
    (void)vd_kafka_writer_free(w);
    return rc;
}

static enum vd_code copy_headers(const struct vd_header *headers, size_t count,
                                 rd_kafka_headers_t **ret, struct vd_err *err)
{
    *ret = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count; i++) {
        const struct vd_header *h = &headers[i];

        if (rd_kafka_header_add(*ret, h->name.ptr, (ssize_t)h->name.len, h->value.ptr,
                                (ssize_t)h->value.len) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(*ret);
            return vd_err_set(err, VD_E_INPUT, false, "header %zu cannot be set", i);
        }
    }
    return VD_OK;
}

enum vd_code vd_kafka_writer_send(struct vd_kafka_writer *w, const char *topic, int32_t partition,
                                  struct vd_span key, struct vd_span value,
                                  const struct vd_header *headers, size_t header_count,
                                  struct vd_err *err)
{
    int64_t until = vd_mono_ms() + ROOM_TIMEOUT_MS;
    rd_kafka_headers_t *copy;
    rd_kafka_resp_err_t code;

    for (;;) {
        if (copy_headers(headers, header_count, &copy, err) != VD_OK)
            return err->code;
        {
            rd_kafka_vu_t vu[] = {
                {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
                {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
                {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)key.ptr, key.len}},
                {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value.ptr, value.len}},
                {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = copy},
                {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            };
            rd_kafka_error_t *failed = rd_kafka_produceva(w->rk, vu, sizeof(vu) / sizeof(vu[0]));

            code = failed == NULL ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(failed);
            rd_kafka_error_destroy(failed);
        }
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_headers_destroy(copy);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || vd_mono_ms() > until)
            break;
        (void)rd_kafka_poll(w->rk, 50);
    }
    (void)rd_kafka_poll(w->rk, 0);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? VD_OK : remote(err, topic, code);
}

enum vd_code vd_kafka_writer_flush(struct vd_kafka_writer *w, uint32_t timeout_ms,
                                   struct vd_err *err)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(w->rk, (int)timeout_ms);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return remote(err, "flush", code);
    if (w->first.code != VD_OK) {
        *err = w->first;
        return err->code;
    }
    return VD_OK;
}

void *vd_kafka_writer_free(struct vd_kafka_writer *w)
{
    if (w == NULL)
        return NULL;
    if (w->rk != NULL) {
        (void)rd_kafka_purge(w->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(w->rk, 1000);
        rd_kafka_destroy(w->rk);
    }
    return vd_free(w);
}

/* -- reading --------------------------------------------------------------------------------------------------------- */

static enum vd_code add_partitions(struct vd_kafka_reader *r, const char *topic,
                                   rd_kafka_topic_partition_list_t *list, struct vd_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(r->rk, topic, NULL);
    rd_kafka_resp_err_t code;
    enum vd_code rc = VD_OK;

    if (handle == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "%s is no topic name", topic);
    code = rd_kafka_metadata(r->rk, 0, handle, &metadata, METADATA_TIMEOUT_MS);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && metadata->topic_cnt == 1)
        code = metadata->topics[0].err;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = remote(err, topic, code);
    for (int i = 0; rc == VD_OK && i < metadata->topics[0].partition_cnt; i++) {
        rd_kafka_topic_partition_list_add(list, topic, metadata->topics[0].partitions[i].id)
            ->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(handle);
    return rc;
}

/* Where each partition ends now. */
static enum vd_code take_ends(struct vd_kafka_reader *r,
                              const rd_kafka_topic_partition_list_t *list, struct vd_err *err)
{
    r->ends = rd_kafka_topic_partition_list_copy(list);
    for (int i = 0; i < r->ends->cnt; i++) {
        rd_kafka_topic_partition_t *p = &r->ends->elems[i];
        int64_t low = 0, high = 0;
        rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
            r->rk, p->topic, p->partition, &low, &high, METADATA_TIMEOUT_MS);

        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return remote(err, p->topic, code);
        p->offset = high;
    }
    return VD_OK;
}

/* UP_TO_NOW: a record behind the end as it was ends its partition. */
static bool beyond(struct vd_kafka_reader *r)
{
    const rd_kafka_topic_partition_t *p;

    if (r->ends == NULL)
        return false;
    p = rd_kafka_topic_partition_list_find(r->ends, rd_kafka_topic_name(r->message->rkt),
                                           r->message->partition);
    return p == NULL || r->message->offset >= p->offset;
}

/* The partition of the message is at its end, or is not any more. */
static void note_end(struct vd_kafka_reader *r, bool at_end)
{
    const char *topic = rd_kafka_topic_name(r->message->rkt);
    int32_t partition = r->message->partition;

    if (at_end)
        (void)rd_kafka_topic_partition_list_del(r->open, topic, partition);
    else if (rd_kafka_topic_partition_list_find(r->open, topic, partition) == NULL)
        (void)rd_kafka_topic_partition_list_add(r->open, topic, partition);
}

static enum vd_code assign_all(struct vd_kafka_reader *r, const char *const *topics, size_t count,
                               struct vd_err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    rd_kafka_resp_err_t code;
    enum vd_code rc = VD_OK;

    for (size_t i = 0; i < count && rc == VD_OK; i++)
        rc = add_partitions(r, topics[i], list, err);
    if (rc == VD_OK && r->extent == VD_KAFKA_UP_TO_NOW)
        rc = take_ends(r, list, err);
    r->open = rd_kafka_topic_partition_list_copy(list);
    if (rc == VD_OK && (code = rd_kafka_assign(r->rk, list)) != RD_KAFKA_RESP_ERR_NO_ERROR)
        rc = remote(err, "assign", code);
    rd_kafka_topic_partition_list_destroy(list);
    return rc;
}

enum vd_code vd_kafka_reader_new(const struct vd_kafka_conf *conf, const char *const *topics,
                                 size_t topic_count, enum vd_kafka_extent extent,
                                 struct vd_kafka_reader **ret_reader, struct vd_err *err)
{
    struct vd_kafka_conf plain = *conf;
    struct vd_kafka_reader *r = vd_alloc(sizeof(*r));
    rd_kafka_conf_t *rk_conf = NULL;
    char text[200];
    enum vd_code rc;

    if (r == NULL)
        return vd_err_nomem(err, "reader");
    r->extent = extent;
    plain.instance_id = NULL; /* never a member of the worker's group */
    rc = vd_properties_consumer(&plain, &rk_conf, err);
    if (rc == VD_OK)
        rc = set(rk_conf, "enable.partition.eof", "true", err);
    if (rc == VD_OK)
        rc = set(rk_conf, "auto.offset.reset", "earliest", err);
    if (rc != VD_OK)
        goto out;
    rd_kafka_conf_set_events(rk_conf, 0);
    rd_kafka_conf_set_rebalance_cb(rk_conf, NULL);
    rd_kafka_conf_set_log_cb(rk_conf, vd_client_log);
    r->rk = rd_kafka_new(RD_KAFKA_CONSUMER, rk_conf, text, sizeof(text));
    if (r->rk == NULL) {
        rc = vd_err_set(err, VD_E_CONFIG, false, "consumer: %s", text);
        goto out;
    }
    rk_conf = NULL; /* taken */
    (void)rd_kafka_poll_set_consumer(r->rk);
    rc = assign_all(r, topics, topic_count, err);
    if (rc == VD_OK) {
        *ret_reader = r;
        r = NULL;
    }
out:
    if (rk_conf != NULL)
        rd_kafka_conf_destroy(rk_conf);
    (void)vd_kafka_reader_free(r);
    return rc;
}

static void fill_record(struct vd_kafka_reader *r)
{
    const rd_kafka_message_t *m = r->message;
    rd_kafka_headers_t *headers = NULL;
    rd_kafka_timestamp_type_t type;
    size_t count = 0;

    if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *name;
        const void *value;
        size_t size;

        while (count < VD_EVENT_MAX_HEADERS &&
               rd_kafka_header_get_all(headers, count, &name, &value, &size) ==
                   RD_KAFKA_RESP_ERR_NO_ERROR)
            r->headers[count++] = (struct vd_header){vd_span_of(name), {value, size}};
    }
    r->record = (struct vd_record){
        .topic = rd_kafka_topic_name(m->rkt),
        .partition = m->partition,
        .offset = m->offset,
        .timestamp_ms = rd_kafka_message_timestamp(m, &type),
        .key = {m->key, m->key_len},
        .value = {m->payload, m->len},
        .headers = r->headers,
        .header_count = count,
        .fetched_mono_ms = vd_mono_ms(),
    };
}

enum vd_code vd_kafka_reader_next(struct vd_kafka_reader *r, uint32_t timeout_ms,
                                  const struct vd_record **ret_record, struct vd_err *err)
{
    int64_t until = vd_mono_ms() + timeout_ms;

    *ret_record = NULL;
    for (;;) {
        int64_t left = until - vd_mono_ms();

        if (r->message != NULL)
            rd_kafka_message_destroy(r->message);
        r->message = rd_kafka_consumer_poll(r->rk, left > 0 ? (int)left : 0);
        if (r->message == NULL)
            return VD_OK;
        if (r->message->err == RD_KAFKA_RESP_ERR_NO_ERROR && beyond(r)) {
            note_end(r, true);
            if (left <= 0)
                return VD_OK;
            continue; /* written after we began: not ours */
        }
        if (r->message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            note_end(r, false);
            fill_record(r);
            *ret_record = &r->record;
            return VD_OK;
        }
        if (r->message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            note_end(r, true);
        else if (r->message->err != RD_KAFKA_RESP_ERR__TRANSPORT &&
                 r->message->err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
            return remote(err, "read", r->message->err);
        if (left <= 0)
            return VD_OK;
    }
}

bool vd_kafka_reader_at_end(const struct vd_kafka_reader *r)
{
    return r->open->cnt == 0;
}

void *vd_kafka_reader_free(struct vd_kafka_reader *r)
{
    if (r == NULL)
        return NULL;
    if (r->message != NULL)
        rd_kafka_message_destroy(r->message);
    if (r->ends != NULL)
        rd_kafka_topic_partition_list_destroy(r->ends);
    if (r->open != NULL)
        rd_kafka_topic_partition_list_destroy(r->open);
    if (r->rk != NULL) {
        (void)rd_kafka_consumer_close(r->rk);
        rd_kafka_destroy(r->rk);
    }
    return vd_free(r);
}
