/* tests/bench/load.c - the load of the benchmarks: puts events in, and counts what comes out as a reader of decisions sees it.
 *
 *   load produce BROKERS IN FIRST COUNT                          events FIRST to FIRST + COUNT - 1, as fast as the broker takes them
 *   load collect BROKERS OUT AUDIT FIRST COUNT SECONDS           reads (read_committed) until each of them has its decision and audit
 *   load copies BROKERS OUT AUDIT FIRST COUNT SECONDS            collect, of loop.c: its decisions are one text, the number is in the key
 *   load paced BROKERS IN OUT AUDIT FIRST COUNT SECONDS RATE     both at once, RATE events a second, with the time each one took
 *
 * AUDIT may be "-": there is none. Prints one line of JSON. Exit 1 when an outcome is missing, double, or not what the policy decides.
 *
 * The tool knows nothing of the worker but its records: an event's number stands in its id, evt_00000042, and comes back in the
 * decision's event.id (and in the event's key, cus_00000042, which loop.c copies). Everything is counted, so a lost or repeated event
 * cannot hide behind a rate.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define SUBSCRIPTIONS 10000 /* keys sub:... that run.py puts into Redis */

/* A Stripe event as Stripe sends it, shortened to 1 KB. */
static const char event_format[] =
    "{\"id\":\"evt_%08" PRIu64 "\",\"object\":\"event\",\"api_version\":\"2022-11-15\","
    "\"created\":1686089970,\"type\":\"invoice.payment_failed\",\"livemode\":true,"
    "\"pending_webhooks\":1,\"request\":{\"id\":null,\"idempotency_key\":null},"
    "\"data\":{\"object\":{\"id\":\"in_1MtHbELkdIwHu7ixl4OzzPMv\",\"object\":\"invoice\","
    "\"account_country\":\"US\",\"amount_due\":4999,\"amount_paid\":0,\"amount_remaining\":4999,"
    "\"attempt_count\":2,\"attempted\":true,\"auto_advance\":false,"
    "\"billing_reason\":\"subscription_cycle\",\"collection_method\":\"charge_automatically\","
    "\"created\":1680644467,\"currency\":\"usd\",\"customer\":\"cus_%08" PRIu64 "\","
    "\"customer_email\":\"jennyrosen@example.com\",\"customer_name\":\"Jenny Rosen\","
    "\"default_tax_rates\":[],\"description\":null,\"lines\":{\"object\":\"list\",\"data\":["
    "{\"id\":\"il_1\",\"amount\":2999,\"currency\":\"usd\",\"quantity\":1,\"proration\":false},"
    "{\"id\":\"il_2\",\"amount\":2000,\"currency\":\"usd\",\"quantity\":3,\"proration\":false}],"
    "\"has_more\":false},\"metadata\":{\"plan\":\"pro\",\"region\":\"eu\"},"
    "\"next_payment_attempt\":1686349170,\"paid\":false,\"status\":\"open\","
    "\"subscription\":\"sub_%08" PRIu64 "\",\"subtotal\":4999,\"total\":4999}}}";

struct load {
    const char *brokers, *in, *out, *audit;
    uint64_t first, count;
    double seconds, rate;
    bool copies; /* whose decision it is stands in the record's key, not in its text */
    int64_t *sent_us, *came_us; /* monotonic; 0: not yet */
    uint64_t decisions, audits, double_decisions, strange;
    _Atomic bool failed;
    rd_kafka_t *reader;
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    _exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *const settings[][2], size_t count)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char text[256];
    rd_kafka_t *rk;

    for (size_t i = 0; i < count; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], text, sizeof(text)) !=
            RD_KAFKA_CONF_OK)
            die(text);
    rk = rd_kafka_new(type, conf, text, sizeof(text));
    if (rk == NULL)
        die(text);
    return rk;
}

/* -- in --------------------------------------------------------------------------------------------------------------- */

static void sleep_until(int64_t mono_us)
{
    struct timespec t = {.tv_sec = mono_us / 1000000, .tv_nsec = (mono_us % 1000000) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

static void send_one(struct load *l, rd_kafka_t *rk, uint64_t i)
{
    uint64_t n = l->first + i;
    char value[2048], key[32];
    int len = snprintf(value, sizeof(value), event_format, n, n, n % SUBSCRIPTIONS);
    int key_len = snprintf(key, sizeof(key), "cus_%08" PRIu64, n);

    l->sent_us[i] = now_us();
    for (;;) {
        const rd_kafka_vu_t fields[] = {
            {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = l->in},
            {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
            {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, (size_t)key_len}},
            {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, (size_t)len}},
        };
        rd_kafka_error_t *error = rd_kafka_produceva(rk, fields, 4);

        if (error == NULL)
            return;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die(rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        (void)rd_kafka_poll(rk, 10);
    }
}

static void *produce(void *arg)
{
    struct load *l = arg;
    const char *const settings[][2] = {{"bootstrap.servers", l->brokers},
                                       {"enable.idempotence", "true"},
                                       {"linger.ms", l->rate > 0 ? "1" : "20"}};
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, settings, 3);
    int64_t start;

    {
        const struct rd_kafka_metadata *warm;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, l->in, NULL);

        if (rd_kafka_metadata(rk, 0, topic, &warm, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(warm);
        rd_kafka_topic_destroy(topic);
    }
    start = now_us();
    for (uint64_t i = 0; i < l->count; i++) {
        if (l->rate > 0)
            sleep_until(start + (int64_t)((double)i * 1e6 / l->rate));
        send_one(l, rk, i);
    }
    if (rd_kafka_flush(rk, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        l->failed = true;
    rd_kafka_destroy(rk);
    return NULL;
}

/* -- out -------------------------------------------------------------------------------------------------------------- */

static void assign_topic(rd_kafka_t *rk, const char *name, bool at_end,
                         rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *m;

    if (rd_kafka_metadata(rk, 0, topic, &m, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        m->topic_cnt != 1)
        die("no metadata");
    for (int p = 0; p < m->topics[0].partition_cnt; p++) {
        int64_t low, high = RD_KAFKA_OFFSET_BEGINNING;

        if (at_end && rd_kafka_query_watermark_offsets(rk, name, p, &low, &high, 10000) !=
                          RD_KAFKA_RESP_ERR_NO_ERROR)
            die("no watermarks");
        rd_kafka_topic_partition_list_add(list, name, p)->offset = high;
    }
    rd_kafka_metadata_destroy(m);
    rd_kafka_topic_destroy(topic);
}

static void open_reader(struct load *l, bool at_end)
{
    const char *const settings[][2] = {
        {"bootstrap.servers", l->brokers},
        {"group.id", "bench-load"},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"fetch.wait.max.ms", "5"},
        {"auto.offset.reset", "error"},
        {"queued.max.messages.kbytes", "16384"},
    };
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);

    l->reader = client(RD_KAFKA_CONSUMER, settings, sizeof(settings) / sizeof(settings[0]));
    (void)rd_kafka_poll_set_consumer(l->reader);
    assign_topic(l->reader, l->out, at_end, list);
    if (l->audit[0] != '-')
        assign_topic(l->reader, l->audit, at_end, list);
    if (rd_kafka_assign(l->reader, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("assign");
    rd_kafka_topic_partition_list_destroy(list);
}

/* The decimal number behind the mark, wherever that stands. Neither payloads nor keys end with a NUL. */
static bool number_after(const void *text, size_t len, const char *mark, uint64_t *ret_number)
{
    const char *at = memmem(text, len, mark, strlen(mark));
    const char *end = (const char *)text + len;
    uint64_t n = 0;

    if (at == NULL)
        return false;
    for (at += strlen(mark); at < end && *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    *ret_number = n;
    return true;
}

static void take_decision(struct load *l, const rd_kafka_message_t *m)
{
    static const char decided[] = "\"status\":\"decided\"";
    uint64_t n;

    if (!number_after(m->payload, m->len, "\"id\":\"evt_", &n) ||
        (l->copies && !number_after(m->key, m->key_len, "cus_", &n)) ||
        memmem(m->payload, m->len, decided, sizeof(decided) - 1) == NULL) {
        if (l->strange++ == 0)
            fprintf(stderr, "load: not decided: %.*s\n", (int)m->len, (const char *)m->payload);
        return;
    }
    n -= l->first;
    if (n >= l->count)
        return; /* of an earlier run in the same topic */
    if (l->came_us[n] != 0) {
        l->double_decisions++;
        return;
    }
    l->came_us[n] = now_us();
    l->decisions++;
}

static void collect(struct load *l)
{
    int64_t give_up = now_us() + (int64_t)(l->seconds * 1e6);
    int64_t settled = 0;

    /* Half a second more than needed: what comes twice must have time to come. */
    while (now_us() < give_up && (settled == 0 || now_us() < settled + 500000)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(l->reader, 50);

        if (settled == 0 && l->decisions == l->count &&
            (l->audit[0] == '-' || l->audits >= l->count))
            settled = now_us();
        if (m == NULL)
            continue;
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
                die("offset out of range");
        } else if (strcmp(rd_kafka_topic_name(m->rkt), l->out) == 0) {
            take_decision(l, m);
        } else {
            l->audits++;
        }
        rd_kafka_message_destroy(m);
    }
    (void)rd_kafka_consumer_close(l->reader);
    rd_kafka_destroy(l->reader);
}

/* -- report ----------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t quantile(const int64_t *sorted, uint64_t count, double q)
{
    uint64_t i = (uint64_t)(q * (double)(count - 1));

    return sorted[i];
}

static bool report(struct load *l)
{
    int64_t *times = calloc(l->count, sizeof(*times));
    bool good = !l->failed && l->decisions == l->count && l->double_decisions == 0 &&
                l->strange == 0 && (l->audit[0] == '-' || l->audits == l->count);

    printf("{\"sent\":%" PRIu64 ",\"decisions\":%" PRIu64 ",\"audits\":%" PRIu64
           ",\"doubles\":%" PRIu64 ",\"strange\":%" PRIu64,
           l->count, l->decisions, l->audits, l->double_decisions, l->strange);
    if (times != NULL && good) {
        int64_t first, last;

        memcpy(times, l->came_us, l->count * sizeof(*times));
        qsort(times, l->count, sizeof(*times), by_value);
        first = times[0];
        last = times[l->count - 1];
        printf(",\"second_half_s\":%.3f,\"first_mono_us\":%" PRId64 ",\"last_mono_us\":%" PRId64,
               (double)(last - times[l->count > 1 ? l->count / 2 - 1 : 0]) / 1e6, first, last);
        if (l->sent_us[0] != 0) {
            for (uint64_t i = 0; i < l->count; i++)
                times[i] = l->came_us[i] - l->sent_us[i];
            qsort(times, l->count, sizeof(*times), by_value);
            printf(",\"p50_ms\":%.1f,\"p99_ms\":%.1f,\"p999_ms\":%.1f",
                   (double)quantile(times, l->count, 0.5) / 1e3,
                   (double)quantile(times, l->count, 0.99) / 1e3,
                   (double)quantile(times, l->count, 0.999) / 1e3);
        }
    }
    printf(",\"good\":%s}\n", good ? "true" : "false");
    free(times);
    return good;
}

int main(int argc, char **argv)
{
    struct load l = {.audit = "-"};
    bool produces = argc == 6 && strcmp(argv[1], "produce") == 0;
    bool copies = argc == 8 && strcmp(argv[1], "copies") == 0;
    bool collects = copies || (argc == 8 && strcmp(argv[1], "collect") == 0);
    bool paced = argc == 10 && strcmp(argv[1], "paced") == 0;
    char **a = argv + 2;

    if (!produces && !collects && !paced)
        die("usage: see the source");
    l.brokers = *a++;
    l.copies = copies;
    if (!collects)
        l.in = *a++;
    if (!produces) {
        l.out = *a++;
        l.audit = *a++;
    }
    l.first = strtoull(*a++, NULL, 10);
    l.count = strtoull(*a++, NULL, 10);
    l.sent_us = calloc(l.count, sizeof(int64_t));
    l.came_us = calloc(l.count, sizeof(int64_t));
    if (l.count == 0 || l.sent_us == NULL || l.came_us == NULL)
        die("count");
    if (produces) {
        (void)produce(&l);
        return l.failed;
    }
    l.seconds = strtod(*a++, NULL);
    open_reader(&l, paced);
    if (paced) {
        pthread_t producer;

        l.rate = strtod(*a++, NULL);
        if (pthread_create(&producer, NULL, produce, &l) != 0)
            die("thread");
        collect(&l);
        (void)pthread_join(producer, NULL);
    } else {
        collect(&l);
    }
    return report(&l) ? 0 : 1;
}
