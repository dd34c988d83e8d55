/* tests/unit/test_kafka_embedded.c - the whole object on the embedded broker: the order of callbacks, ownership, closing in every
 * state. The mock cluster proves nothing about transactions; tests/integration does that on a real broker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "kafka/embedded.h"
#include "kafka/kafka.h"

#define LIMIT_MS 20000

static const char *const inputs[] = {"in"};
static const char *const outputs[] = {"in", "sink"}; /* what goes to "in" comes in again */

struct app {
    struct vd_embedded *broker;
    struct vd_loop *loop;
    struct vd_kafka *k;
    size_t room;
    size_t records, committed, dropped, revoked, forgotten;
    struct vd_record *kept[64]; /* not settled */
    size_t kept_count;
    size_t hops; /* outputs that a record leads to until its value is this long */
    bool keep;   /* never settle */
    bool stopped;
    size_t most_outcomes, most_bytes; /* seen in one transaction */
    size_t value_bytes;               /* settle with a value this large */
    char last_value[64];
};

static char large[900000];

static size_t on_room(void *arg)
{
    struct app *a = arg;

    return a->room;
}

static void on_record(void *arg, struct vd_record *rec)
{
    struct app *a = arg;
    struct vd_output *o = NULL;
    char value[64];

    a->records++;
    a->room--;
    assert_true(rec->value.len < sizeof(value) - 1);
    memcpy(a->last_value, rec->value.ptr, rec->value.len);
    a->last_value[rec->value.len] = '\0';
    if (a->keep) {
        a->kept[a->kept_count++] = rec;
        return;
    }
    if (rec->value.len < a->hops) {
        memcpy(value, rec->value.ptr, rec->value.len);
        value[rec->value.len] = 'x';
        o = vd_output_new(VD_OUTPUT_DECISION, "in", rec->key,
                          (struct vd_span){value, rec->value.len + 1});
        assert_non_null(o);
        assert_true(vd_output_add_header(o, VD_LIT("n"), VD_LIT("1")));
        if (rec->value.len > 0)
            assert_int_equal(rec->header_count, 1);
    }
    if (a->value_bytes > 0) {
        o = vd_output_new(VD_OUTPUT_AUDIT, "sink", rec->key,
                          (struct vd_span){large, a->value_bytes});
        assert_non_null(o);
    }
    vd_kafka_settle(a->k, rec, o);
}

static void on_revoked(void *arg, const char *topic, int32_t partition, int64_t epoch, bool lost)
{
    struct app *a = arg;
    size_t i = 0;

    (void)lost;
    assert_string_equal(topic, "in");
    a->revoked++;
    while (i < a->kept_count) {
        if (a->kept[i]->partition != partition || a->kept[i]->epoch != epoch) {
            i++;
            continue;
        }
        a->kept[i] = a->kept[--a->kept_count];
        a->forgotten++;
    }
}

static void on_committed(void *arg, struct vd_record *rec)
{
    struct app *a = arg;

    assert_non_null(rec);
    a->committed++;
    a->room++;
    vd_kafka_resume(a->k);
}

static void on_dropped(void *arg, struct vd_record *rec)
{
    struct app *a = arg;

    assert_non_null(rec);
    a->dropped++;
    a->room++;
}

static struct vd_output *on_minimal(void *arg, struct vd_record *rec, const char *why)
{
    (void)arg;
    (void)rec;
    (void)why;
    return NULL;
}

/* What the running transaction holds. */
static void on_sealing(void *arg, uint64_t session, struct vd_output *const *list, size_t count)
{
    struct vd_kafka_status s;
    struct app *a = arg;
    size_t bytes = 0, i;

    assert_int_equal(session, 1);
    for (i = 0; i < count; i++)
        bytes += vd_output_bytes(list[i]);
    vd_kafka_status(a->k, &s);
    if (s.publishing > a->most_outcomes)
        a->most_outcomes = s.publishing;
    if (bytes > a->most_bytes)
        a->most_bytes = bytes;
}

static void on_fatal(void *arg, const struct vd_err *err)
{
    (void)arg;
    fail_msg("%s", err->msg);
}

static void on_stopped(void *arg)
{
    struct app *a = arg;

    a->stopped = true;
}

static const struct vd_kafka_callbacks callbacks = {
    .room = on_room,
    .record = on_record,
    .revoked = on_revoked,
    .committed = on_committed,
    .dropped = on_dropped,
    .minimal = on_minimal,
    .sealing = on_sealing,
    .fatal = on_fatal,
};

struct shape {
    int32_t partitions;
    uint32_t interval_ms;
};

static void open_shaped(struct app *a, struct shape shape)
{
    struct vd_kafka_conf conf = {.group = "g",
                                 .topics = inputs,
                                 .topic_count = 1,
                                 .output_topics = outputs,
                                 .output_topic_count = 2,
                                 .embedded = true,
                                 .start = VD_KAFKA_START_EARLIEST,
                                 .commit_interval_ms = shape.interval_ms,
                                 .commit_outcomes = UINT32_MAX};
    struct vd_err err;

    *a = (struct app){.room = 64, .hops = 0};
    vd_log_setup(getenv("TEST_LOG") == NULL ? -1 : 2, VD_DEBUG);
    assert_int_equal(vd_embedded_new(&a->broker, &err), VD_OK);
    assert_int_equal(vd_embedded_create_topic(a->broker, "in", shape.partitions, &err), VD_OK);
    assert_int_equal(vd_embedded_create_topic(a->broker, "sink", 1, &err), VD_OK);
    assert_int_equal(vd_loop_new(&a->loop, &err), VD_OK);
    conf.brokers = vd_embedded_brokers(a->broker);
    assert_int_equal(vd_kafka_new(a->loop, &conf, &callbacks, a, &a->k, &err), VD_OK);
    assert_false(vd_kafka_exactly_once(a->k));
}

static void open_app(struct app *a)
{
    open_shaped(a, (struct shape){.partitions = 4, .interval_ms = 5});
}

static void close_app(struct app *a, uint32_t deadline_ms)
{
    int64_t start = vd_mono_ms();

    vd_kafka_stop(a->k, deadline_ms, on_stopped, a);
    while (!a->stopped && vd_mono_ms() - start < LIMIT_MS)
        vd_loop_turn(a->loop, 20);
    assert_true(a->stopped);
    assert_int_equal(a->records, a->committed + a->dropped + a->forgotten); /* I1 */
    (void)vd_kafka_free(a->k);
    (void)vd_loop_free(a->loop);
    (void)vd_embedded_free(a->broker);
}

static void start(struct app *a)
{
    struct vd_err err;

    assert_int_equal(vd_kafka_start(a->k, &err), VD_OK);
}

static void turn_until(struct app *a, const size_t *counter, size_t wanted)
{
    int64_t begin = vd_mono_ms();

    while (*counter < wanted && vd_mono_ms() - begin < LIMIT_MS)
        vd_loop_turn(a->loop, 20);
    assert_true(*counter >= wanted);
}

/* By another client. */
static void produce(const char *brokers, const char *topic, const char *value, int count)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    char text[128];
    rd_kafka_t *rk;

    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, text, sizeof(text)),
                     RD_KAFKA_CONF_OK);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    assert_non_null(rk);
    (void)rd_kafka_header_add(headers, "n", -1, "1", 1);
    while (count-- > 0) {
        const rd_kafka_vu_t fields[] = {
            {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)value, strlen(value)}},
            {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = rd_kafka_headers_copy(headers)},
        };

        assert_null(rd_kafka_produceva(rk, fields, sizeof(fields) / sizeof(fields[0])));
    }
    rd_kafka_headers_destroy(headers);
    assert_int_equal(rd_kafka_flush(rk, 10000), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_destroy(rk);
}

static void publish_first(struct app *a)
{
    produce(vd_embedded_brokers(a->broker), "in", "x", 1);
}

static void records_become_outcomes_and_those_come_in_again(void **state)
{
    struct vd_kafka_status s;
    struct app a;

    (void)state;
    open_app(&a);
    a.hops = 20;
    start(&a);
    publish_first(&a);
    turn_until(&a, &a.committed, 20);
    assert_int_equal(a.records, 20);
    assert_string_equal(a.last_value, "xxxxxxxxxxxxxxxxxxxx");
    vd_kafka_status(a.k, &s);
    assert_int_equal(s.phase, VD_KAFKA_RUNNING);
    assert_string_equal(s.delivery, "at least once (embedded broker)");
    assert_non_null(s.cluster_id);
    assert_int_equal(s.delivered, 20);
    close_app(&a, 5000);
}

static void closing_forgets_what_is_not_settled(void **state)
{
    struct app a;

    (void)state;
    open_app(&a);
    a.keep = true;
    start(&a);
    publish_first(&a);
    turn_until(&a, &a.records, 1);
    close_app(&a, 5000);
    assert_int_equal(a.forgotten, 1);
    assert_int_equal(a.kept_count, 0);
}

static void closing_publishes_what_is_settled(void **state)
{
    struct app a;

    (void)state;
    open_app(&a);
    a.keep = true;
    start(&a);
    publish_first(&a);
    turn_until(&a, &a.records, 1);
    vd_kafka_settle(a.k, a.kept[0], NULL);
    a.kept_count = 0;
    close_app(&a, 5000);
    assert_int_equal(a.committed, 1);
}

static void it_closes_before_it_started_and_before_it_joined(void **state)
{
    struct app a;

    (void)state;
    open_app(&a);
    close_app(&a, 1000);
    open_app(&a);
    start(&a);
    close_app(&a, 1000);
    open_app(&a);
    start(&a);
    vd_loop_turn(a.loop, 50);
    close_app(&a, 1000);
}

static void no_room_means_no_records(void **state)
{
    struct app a;
    int i;

    (void)state;
    open_app(&a);
    a.room = 0;
    start(&a);
    publish_first(&a);
    for (i = 0; i < 100; i++)
        vd_loop_turn(a.loop, 10);
    assert_int_equal(a.records, 0);
    a.room = 1;
    vd_kafka_resume(a.k);
    turn_until(&a, &a.committed, 1);
    close_app(&a, 5000);
}

static void find_first(void *arg, const struct vd_kafka_partition *p)
{
    struct vd_kafka_partition *seen = arg;

    if (p->paused != NULL)
        *seen = *p;
}

static void a_paused_partition_delivers_nothing_and_says_why(void **state)
{
    struct vd_kafka_partition seen = {0};
    struct app a;
    int32_t p;
    int i;

    (void)state;
    open_app(&a);
    a.room = 0;
    start(&a);
    for (i = 0; i < 60; i++)
        vd_loop_turn(a.loop, 10);
    for (p = 0; p < 4; p++)
        assert_true(vd_kafka_pause(a.k, "in", p, "kill switch"));
    assert_false(vd_kafka_pause(a.k, "in", 4, "no such partition"));
    a.room = 10;
    publish_first(&a);
    for (i = 0; i < 60; i++)
        vd_loop_turn(a.loop, 10);
    assert_int_equal(a.records, 0);
    vd_kafka_partitions(a.k, find_first, &seen);
    assert_string_equal(seen.paused, "kill switch");
    for (p = 0; p < 4; p++)
        assert_true(vd_kafka_unpause(a.k, "in", p));
    turn_until(&a, &a.committed, 1);
    close_app(&a, 5000);
}

static void one_transaction_holds_so_many_outcomes_and_no_more(void **state)
{
    struct app a;

    (void)state;
    open_shaped(&a, (struct shape){.partitions = 1, .interval_ms = 60000});
    a.room = SIZE_MAX / 2;
    produce(vd_embedded_brokers(a.broker), "in", "x", VD_KAFKA_TRANSACTION_MAX_OUTCOMES + 1000);
    start(&a);
    turn_until(&a, &a.records, VD_KAFKA_TRANSACTION_MAX_OUTCOMES + 1000);
    assert_int_equal(a.committed, 0);
    close_app(&a, 10000); /* publishes without waiting for the interval */
    assert_int_equal(a.committed, VD_KAFKA_TRANSACTION_MAX_OUTCOMES + 1000);
    assert_int_equal(a.most_outcomes, VD_KAFKA_TRANSACTION_MAX_OUTCOMES);
}

static void one_transaction_holds_so_many_bytes_and_one_record_more(void **state)
{
    struct app a;

    (void)state;
    open_shaped(&a, (struct shape){.partitions = 1, .interval_ms = 1500});
    a.value_bytes = sizeof(large);
    produce(vd_embedded_brokers(a.broker), "in", "x", 40);
    start(&a);
    turn_until(&a, &a.committed, 40);
    assert_true(a.most_bytes > sizeof(large));
    assert_true(a.most_bytes < VD_KAFKA_TRANSACTION_MAX_BYTES + sizeof(large) + 1000);
    close_app(&a, 5000);
}

static void count_begun(void *arg, const struct vd_kafka_partition *p)
{
    *(size_t *)arg += p->base == 0;
}

static void one_transaction_holds_so_many_maps_and_the_rest_waits(void **state)
{
    struct vd_kafka_status s;
    struct app a;
    size_t begun = 0;
    int64_t begin;

    (void)state;
    open_shaped(&a, (struct shape){.partitions = VD_KAFKA_TRANSACTION_MAX_PARTITIONS + 20,
                                   .interval_ms = 5});
    start(&a);
    begin = vd_mono_ms();
    do {
        vd_loop_turn(a.loop, 20);
        vd_kafka_status(a.k, &s);
    } while (s.transactions < 2 && vd_mono_ms() - begin < LIMIT_MS);
    assert_true(s.transactions >= 2); /* one would have done without the limit */
    vd_kafka_partitions(a.k, count_begun, &begun);
    assert_int_equal(begun, VD_KAFKA_TRANSACTION_MAX_PARTITIONS + 20);
    close_app(&a, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_become_outcomes_and_those_come_in_again),
        cmocka_unit_test(closing_forgets_what_is_not_settled),
        cmocka_unit_test(closing_publishes_what_is_settled),
        cmocka_unit_test(it_closes_before_it_started_and_before_it_joined),
        cmocka_unit_test(no_room_means_no_records),
        cmocka_unit_test(one_transaction_holds_so_many_outcomes_and_no_more),
        cmocka_unit_test(one_transaction_holds_so_many_bytes_and_one_record_more),
        cmocka_unit_test(one_transaction_holds_so_many_maps_and_the_rest_waits),
        cmocka_unit_test(a_paused_partition_delivers_nothing_and_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
