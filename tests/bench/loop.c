/* tests/bench/loop.c - the least that a worker of this kind can do with librdkafka: consume, write two records for each event, commit
 * both with the offsets in transactions of at most BATCH events. No JSON, no policy; the worker's linger.ms, and its records to the byte:
 * each is a file with the value, and one with a header on each line, name=value.
 *
 *   loop BROKERS GROUP IN OUT AUDIT COUNT BATCH DECISION_FILE AUDIT_FILE
 *
 * DECISION_FILE and AUDIT_FILE without their .json and .headers.
 * Prints one line of JSON: CPU (all threads) from the first event to the last commit. How fast it was is what a reader saw, as for the
 * worker: `load copies`.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

#define MAX_BATCH     5000
#define MAX_PARTITION 64

struct text {
    char *ptr;
    size_t len;
};

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "loop: %s\n", what);
    _exit(1);
}

static void must(rd_kafka_error_t *error)
{
    if (error != NULL)
        die(rd_kafka_error_string(error));
}

static double cpu_s(void)
{
    struct rusage u;

    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
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

static struct text read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct text t = {malloc(1u << 20), 0};

    if (f == NULL || t.ptr == NULL)
        die(path);
    t.len = fread(t.ptr, 1, 1u << 20, f);
    (void)fclose(f);
    return t;
}

/* A record that is written again and again. */
struct record {
    struct text value;
    rd_kafka_headers_t *headers;
};

static struct record read_record(const char *path)
{
    struct record r = {.headers = rd_kafka_headers_new(16)};
    char name[512];
    struct text text;

    (void)snprintf(name, sizeof(name), "%s.json", path);
    r.value = read_file(name);
    (void)snprintf(name, sizeof(name), "%s.headers", path);
    text = read_file(name);
    for (char *at = text.ptr, *end; at < text.ptr + text.len; at = end + 1) {
        char *equals = memchr(at, '=', text.len - (size_t)(at - text.ptr));

        end = memchr(at, '\n', text.len - (size_t)(at - text.ptr));
        if (equals == NULL || end == NULL || equals > end)
            die("headers");
        rd_kafka_header_add(r.headers, at, equals - at, equals + 1, end - equals - 1);
    }
    free(text.ptr);
    return r;
}

static void free_record(struct record *r)
{
    rd_kafka_headers_destroy(r->headers);
    free(r->value.ptr);
}

static void produce(rd_kafka_t *rk, const char *topic, const rd_kafka_message_t *m,
                    const struct record *r)
{
    const rd_kafka_vu_t fields[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {m->key, m->key_len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {r->value.ptr, r->value.len}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = rd_kafka_headers_copy(r->headers)},
    };

    must(rd_kafka_produceva(rk, fields, sizeof(fields) / sizeof(fields[0])));
}

static void commit(rd_kafka_t *producer, rd_kafka_t *consumer, const char *topic,
                   const int64_t *next)
{
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(8);
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);

    for (int32_t p = 0; p < MAX_PARTITION; p++)
        if (next[p] > 0)
            rd_kafka_topic_partition_list_add(offsets, topic, p)->offset = next[p];
    must(rd_kafka_send_offsets_to_transaction(producer, offsets, group, 30000));
    must(rd_kafka_commit_transaction(producer, 30000));
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(offsets);
}

int main(int argc, char **argv)
{
    static rd_kafka_message_t *batch[MAX_BATCH];
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_t *producer, *consumer;
    rd_kafka_queue_t *queue;
    struct record decision, audit;
    uint64_t count, done = 0;
    size_t batch_max;
    double cpu = 0;

    if (argc != 10)
        die("usage: see the source");
    count = strtoull(argv[6], NULL, 10);
    batch_max = strtoul(argv[7], NULL, 10);
    if (batch_max == 0 || batch_max > MAX_BATCH)
        die("batch");
    decision = read_record(argv[8]);
    audit = read_record(argv[9]);
    const char *const in[][2] = {{"bootstrap.servers", argv[1]},
                                 {"group.id", argv[2]},
                                 {"auto.offset.reset", "earliest"},
                                 {"enable.auto.commit", "false"},
                                 {"isolation.level", "read_committed"}};
    const char *const out[][2] = {
        {"bootstrap.servers", argv[1]}, {"transactional.id", argv[2]}, {"linger.ms", "2"}};

    producer = client(RD_KAFKA_PRODUCER, out, 3);
    must(rd_kafka_init_transactions(producer, 60000));
    consumer = client(RD_KAFKA_CONSUMER, in, 5);
    (void)rd_kafka_poll_set_consumer(consumer);
    topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, argv[3], RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(consumer, topics) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("subscribe");
    queue = rd_kafka_queue_get_consumer(consumer);
    while (done < count) {
        int64_t next[MAX_PARTITION] = {0};
        ssize_t n = rd_kafka_consume_batch_queue(queue, 100, batch, batch_max);
        bool any = false;

        if (n > 0 && done == 0)
            cpu = cpu_s();
        for (ssize_t i = 0; i < n; i++) {
            rd_kafka_message_t *m = batch[i];

            if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR || m->partition >= MAX_PARTITION) {
                rd_kafka_message_destroy(m);
                continue;
            }
            if (!any)
                must(rd_kafka_begin_transaction(producer));
            any = true;
            produce(producer, argv[4], m, &decision);
            produce(producer, argv[5], m, &audit);
            next[m->partition] = m->offset + 1;
            rd_kafka_message_destroy(m);
            done++;
        }
        if (any)
            commit(producer, consumer, argv[3], next);
    }
    printf("{\"events\":%" PRIu64 ",\"cpu_us_per_event\":%.2f}\n", done,
           (cpu_s() - cpu) / (double)done * 1e6);
    rd_kafka_queue_destroy(queue);
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
    rd_kafka_topic_partition_list_destroy(topics);
    free_record(&decision);
    free_record(&audit);
    return done == count ? 0 : 1;
}
