/* tests/support/copy_worker.c - the smallest program on worker/kafka: copies records, slowly and out of order, exactly once.
 *
 * Each record waits a seeded random time, in line behind the earlier records of its partition and key, and becomes one record of the
 * output topic: same key, value "topic/partition/offset " and the payload. SIGUSR1 prints a status line, SIGTERM drains.
 * A payload that starts with "big " becomes a value larger than any broker takes, "skip" becomes nothing, "stuck" never settles.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "kafka/kafka.h"
#include "loop/loop.h"

#define LINES    65536 /* hash of partition and key */
#define LIST_MAX 64

struct item {
    struct vd_record *record;
    int64_t due_mono_ms;
    struct item *next; /* in its line */
    size_t line;
    size_t at; /* in the list of all */
};

struct line {
    struct item *first;
    struct item *last;
};

struct app {
    struct vd_loop *loop;
    struct vd_kafka *k;
    struct vd_timer *tick;
    struct vd_timer *drain;
    struct line *lines;
    struct item **items;
    size_t item_count, max_in_flight;
    size_t settled; /* not committed yet */
    uint64_t random;
    uint32_t delay_ms, drain_ms;
    const char *output;
    int journal;
    bool draining, stopping;
    int exit_status;
    uint64_t started, copied, dropped, revoked, sealed_ok, sealed_bad;
};

static uint64_t draw(struct app *a)
{
    a->random ^= a->random << 13;
    a->random ^= a->random >> 7;
    a->random ^= a->random << 17;
    return a->random >> 33;
}

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "copy_worker: %s\n", what);
    _exit(70);
}

/* -- lines ------------------------------------------------------------------------------------------------------- */

static size_t line_of(const struct vd_record *rec)
{
    uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)rec->partition;
    size_t i;

    for (i = 0; i < rec->key.len; i++)
        h = (h ^ (unsigned char)rec->key.ptr[i]) * UINT64_C(1099511628211);
    return rec->key.ptr == NULL ? ((size_t)rec->offset & (LINES - 1))
                                : (size_t)(h * UINT64_C(0x9E3779B97F4A7C15) >> 40) & (LINES - 1);
}

static void start_head(struct app *a, struct item *it)
{
    char text[128];
    int n;

    a->started++;
    it->due_mono_ms = vd_mono_ms() + (a->delay_ms == 0 ? 0 : (int64_t)(draw(a) % a->delay_ms));
    if (a->journal >= 0) {
        n = snprintf(text, sizeof(text), "%s/%" PRId32 "/%" PRId64 "\n", it->record->topic,
                     it->record->partition, it->record->offset);
        if (write(a->journal, text, (size_t)n) != n)
            die("journal");
    }
}

static void unlink_item(struct app *a, struct item *it)
{
    struct line *l = &a->lines[it->line];
    struct item **at = &l->first, *prev = NULL;
    bool head = l->first == it;

    while (*at != it) {
        prev = *at;
        at = &prev->next;
    }
    *at = it->next;
    if (l->last == it)
        l->last = prev;
    a->items[it->at] = a->items[--a->item_count];
    a->items[it->at]->at = it->at;
    (void)vd_free(it);
    if (head && l->first != NULL)
        start_head(a, l->first);
}

/* -- the outcome ------------------------------------------------------------------------------------------------- */

static struct vd_output *output_of(struct app *a, const struct vd_record *rec,
                                   struct vd_span payload)
{
    struct vd_buf b;
    struct vd_output *o;
    char pid[16];

    vd_buf_init(&b, 64u << 20);
    (void)vd_buf_addf(&b, "%s/%" PRId32 "/%" PRId64 " ", rec->topic, rec->partition, rec->offset);
    (void)vd_buf_add(&b, payload);
    if (vd_span_starts(payload, VD_LIT("big ")))
        while (b.len < (3u << 20))
            (void)vd_buf_add(
                &b, VD_LIT("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
    if (b.failed != VD_OK)
        die("no memory");
    o = vd_output_new(VD_OUTPUT_DECISION, a->output, rec->key, vd_buf_span(&b));
    vd_buf_free(&b);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    if (o == NULL || !vd_output_add_header(o, VD_LIT("worker"), vd_span_of(pid)))
        die("no memory");
    return o;
}

static void settle(struct app *a, struct item *it)
{
    struct vd_record *rec = it->record;

    a->settled++;
    unlink_item(a, it);
    vd_kafka_settle(a->k, rec,
                    vd_span_starts(rec->value, VD_LIT("skip")) ? NULL
                                                               : output_of(a, rec, rec->value));
}

static void stopped(void *arg)
{
    struct app *a = arg;

    vd_loop_stop(a->loop);
}

static void stop_now(void *arg)
{
    struct app *a = arg;

    if (a->stopping)
        return;
    a->stopping = true;
    vd_kafka_stop(a->k, 10000, stopped, a);
}

static void on_tick(void *arg)
{
    struct app *a = arg;
    int64_t now = vd_mono_ms();
    size_t i = 0;

    while (i < a->item_count) {
        struct item *it = a->items[i];

        if (a->lines[it->line].first == it && it->due_mono_ms <= now &&
            !vd_span_starts(it->record->value, VD_LIT("stuck")))
            settle(a, it);
        else
            i++;
    }
    if (a->draining && a->item_count == 0 && a->settled == 0)
        stop_now(a);
}

/* -- callbacks --------------------------------------------------------------------------------------------------- */

static size_t on_room(void *arg)
{
    struct app *a = arg;

    return a->item_count + a->settled < a->max_in_flight
               ? a->max_in_flight - a->item_count - a->settled
               : 0;
}

static void on_record(void *arg, struct vd_record *rec)
{
    struct app *a = arg;
    struct item *it = vd_alloc(sizeof(*it));
    struct line *l;

    if (it == NULL)
        die("no memory");
    it->record = rec;
    rec->user = it;
    it->line = line_of(rec);
    it->at = a->item_count;
    a->items[a->item_count++] = it;
    l = &a->lines[it->line];
    if (l->last != NULL)
        l->last->next = it;
    else
        l->first = it;
    l->last = it;
    if (l->first == it)
        start_head(a, it);
}

static void on_revoked(void *arg, const char *topic, int32_t partition, int64_t epoch, bool lost)
{
    struct app *a = arg;
    size_t i = 0;

    (void)lost;
    while (i < a->item_count) {
        struct item *it = a->items[i];

        if (it->record->epoch != epoch || it->record->partition != partition ||
            strcmp(it->record->topic, topic) != 0) {
            i++;
            continue;
        }
        a->revoked++;
        unlink_item(a, it);
    }
}

static void on_committed(void *arg, struct vd_record *rec)
{
    struct app *a = arg;

    (void)rec;
    a->settled--;
    a->copied++;
}

static void on_dropped(void *arg, struct vd_record *rec)
{
    struct app *a = arg;

    (void)rec;
    a->settled--;
    a->dropped++;
}

static struct vd_output *on_minimal(void *arg, struct vd_record *rec, const char *why)
{
    struct vd_buf b;
    struct vd_output *o;

    (void)why;
    vd_buf_init(&b, 256);
    (void)vd_buf_add_c(&b, "minimal");
    o = output_of(arg, rec, vd_buf_span(&b));
    vd_buf_free(&b);
    return o;
}

static void on_sealing(void *arg, uint64_t session, struct vd_output *const *outputs, size_t count)
{
    (void)arg;
    (void)session;
    (void)outputs;
    (void)count;
}

static void on_sealed(void *arg, uint64_t session, bool committed)
{
    struct app *a = arg;

    (void)session;
    if (committed)
        a->sealed_ok++;
    else
        a->sealed_bad++;
}

static void on_fatal(void *arg, const struct vd_err *err)
{
    struct app *a = arg;

    fprintf(stderr, "copy_worker: %s\n", err->msg);
    a->exit_status = vd_code_exit(err->code);
    stop_now(a);
}

/* -- signals ----------------------------------------------------------------------------------------------------- */

/* Reasons hold quotes: the tests read JSON. */
static const char *plain(const char *text, char *out, size_t size)
{
    size_t i;

    (void)snprintf(out, size, "%s", text);
    for (i = 0; out[i] != '\0'; i++)
        if (out[i] == '"' || out[i] == '\\' || (unsigned char)out[i] < ' ')
            out[i] = '\'';
    return out;
}

static void print_partition(void *arg, const struct vd_kafka_partition *p)
{
    char paused[200], refused[200];
    bool *first = arg;

    printf("%s{\"topic\":\"%s\",\"partition\":%" PRId32 ",\"base\":%" PRId64 ",\"next\":%" PRId64
           ",\"end\":%" PRId64 ",\"span\":%" PRIu32
           ",\"in_flight\":%zu,\"paused\":\"%s\",\"refused\":\"%s\"}",
           *first ? "" : ",", p->topic, p->partition, p->base, p->next, p->end, p->span,
           p->in_flight, plain(p->paused == NULL ? "" : p->paused, paused, sizeof(paused)),
           plain(p->refused == NULL ? "" : p->refused, refused, sizeof(refused)));
    *first = false;
}

static void print_status(struct app *a)
{
    struct vd_kafka_status s;
    char trouble[300];
    bool first = true;

    vd_kafka_status(a->k, &s);
    printf("STATUS "
           "{\"phase\":\"%s\",\"trouble\":\"%s\",\"brokers_down\":%d,\"delivery\":\"%s\","
           "\"member\":%d,\"session\":%" PRIu64 ",\"started\":%" PRIu64 ",\"copied\":%" PRIu64
           ",\"dropped\":%" PRIu64 ",\"revoked\":%" PRIu64 ",\"in_flight\":%zu,\"settled\":%zu,",
           vd_kafka_phase_name(s.phase), plain(s.trouble, trouble, sizeof(trouble)), s.brokers_down,
           s.delivery, s.member_id != NULL, s.session, a->started, a->copied, a->dropped,
           a->revoked, a->item_count, a->settled);
    printf("\"delivered\":%" PRIu64 ",\"skipped\":%" PRIu64 ",\"transactions\":%" PRIu64
           ",\"aborts\":%" PRIu64 ",\"unknown\":%" PRIu64 ",\"rebuilds\":%" PRIu64
           ",\"fenced\":%" PRIu64 ",\"culprits\":%" PRIu64 ",\"commit_us\":%" PRId64
           ",\"partitions\":[",
           s.delivered, s.skipped_finished, s.transactions, s.aborts, s.unknown_results, s.rebuilds,
           s.fenced, s.culprits, s.last_commit_took_us);
    vd_kafka_partitions(a->k, print_partition, &first);
    printf("]}\n");
    (void)fflush(stdout);
}

static void on_signal(void *arg, int signum)
{
    struct app *a = arg;

    if (signum == SIGUSR1) {
        print_status(a);
        return;
    }
    if (a->draining)
        return;
    a->draining = true;
    vd_kafka_drain(a->k);
    vd_timer_start(a->drain, a->drain_ms, 0);
}

/* -- start ------------------------------------------------------------------------------------------------------- */

static size_t split(char *text, const char **list)
{
    size_t n = 0;
    char *save = NULL, *part;

    for (part = strtok_r(text, ",", &save); part != NULL && n < LIST_MAX;
         part = strtok_r(NULL, ",", &save))
        list[n++] = part;
    return n;
}

static uint32_t number(const char *text)
{
    uint64_t v;

    if (!vd_parse_u64(vd_span_of(text), UINT32_MAX, &v))
        die("a number is expected");
    return (uint32_t)v;
}

struct options {
    struct vd_kafka_conf conf;
    const char *topics[LIST_MAX];
    const char *outputs[1];
    struct vd_kafka_property properties[LIST_MAX];
};

static void add_property(struct options *o, char *text)
{
    char *eq = strchr(text, '=');

    if (eq == NULL || o->conf.property_count == LIST_MAX)
        die("--property NAME=VALUE");
    *eq = '\0';
    o->properties[o->conf.property_count++] = (struct vd_kafka_property){text, eq + 1};
}

static const struct option long_options[] = {
    {"brokers", 1, NULL, 'b'},     {"group", 1, NULL, 'g'},     {"topics", 1, NULL, 't'},
    {"output", 1, NULL, 'o'},      {"txid", 1, NULL, 'x'},      {"instance", 1, NULL, 'i'},
    {"assignor", 1, NULL, 'a'},    {"start", 1, NULL, 's'},     {"delivery", 1, NULL, 'd'},
    {"delay-ms", 1, NULL, 'D'},    {"seed", 1, NULL, 'S'},      {"session-ms", 1, NULL, 'e'},
    {"txn-ms", 1, NULL, 'T'},      {"in-flight", 1, NULL, 'f'}, {"property", 1, NULL, 'p'},
    {"journal", 1, NULL, 'j'},     {"drain-ms", 1, NULL, 'r'},  {"span", 1, NULL, 'n'},
    {"interval-ms", 1, NULL, 'm'}, {"debug", 0, NULL, 'v'},     {"embedded", 0, NULL, 'E'},
    {"prefetch", 1, NULL, 'P'},    {NULL, 0, NULL, 0},
};

static void parse_more(struct app *a, struct options *o, int c);

static void parse(struct app *a, struct options *o, int argc, char **argv)
{
    struct vd_kafka_conf *conf = &o->conf;
    int c;

    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (c) {
        case 'b':
            conf->brokers = optarg;
            break;
        case 'g':
            conf->group = optarg;
            break;
        case 't':
            conf->topic_count = split(optarg, o->topics);
            break;
        case 'o':
            a->output = o->outputs[0] = optarg;
            break;
        case 'x':
            conf->transactional_id = optarg;
            break;
        case 'i':
            conf->instance_id = optarg;
            break;
        case 'a':
            conf->assignor = strcmp(optarg, "range") == 0        ? VD_KAFKA_RANGE
                             : strcmp(optarg, "roundrobin") == 0 ? VD_KAFKA_ROUNDROBIN
                                                                 : VD_KAFKA_COOPERATIVE_STICKY;
            break;
        case 's':
            conf->start =
                strcmp(optarg, "earliest") == 0 ? VD_KAFKA_START_EARLIEST : VD_KAFKA_START_LATEST;
            break;
        case 'd':
            conf->delivery = strcmp(optarg, "at_least_once") == 0 ? VD_KAFKA_AT_LEAST_ONCE
                                                                  : VD_KAFKA_EXACTLY_ONCE;
            break;
        case 'p':
            add_property(o, optarg);
            break;
        default:
            parse_more(a, o, c);
        }
    }
}

static void parse_more(struct app *a, struct options *o, int c)
{
    switch (c) {
    case 'D':
        a->delay_ms = number(optarg);
        break;
    case 'S':
        a->random = number(optarg) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        break;
    case 'e':
        o->conf.session_timeout_ms = number(optarg);
        break;
    case 'T':
        o->conf.transaction_timeout_ms = number(optarg);
        break;
    case 'f':
        a->max_in_flight = number(optarg);
        break;
    case 'j':
        a->journal = open(optarg, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        break;
    case 'r':
        a->drain_ms = number(optarg);
        break;
    case 'n':
        o->conf.max_offset_span = number(optarg);
        break;
    case 'm':
        o->conf.commit_interval_ms = number(optarg);
        break;
    case 'P':
        o->conf.prefetch_messages = number(optarg);
        break;
    case 'E':
        o->conf.embedded = true;
        break;
    case 'v':
        vd_log_setup(STDERR_FILENO, VD_DEBUG);
        break;
    default:
        die("usage");
    }
}

int main(int argc, char **argv)
{
    static const struct vd_kafka_callbacks callbacks = {
        .room = on_room,
        .record = on_record,
        .revoked = on_revoked,
        .committed = on_committed,
        .dropped = on_dropped,
        .minimal = on_minimal,
        .sealing = on_sealing,
        .sealed = on_sealed,
        .fatal = on_fatal,
    };
    struct app a = {.delay_ms = 300,
                    .drain_ms = 25000,
                    .max_in_flight = 2000,
                    .random = 88172645463325252u,
                    .journal = -1,
                    .output = "out"};
    struct options o = {.outputs = {"out"}};
    struct vd_err err;

    vd_log_setup(STDERR_FILENO, VD_INFO);
    parse(&a, &o, argc, argv);
    o.conf.topics = o.topics;
    o.conf.output_topics = o.outputs;
    o.conf.output_topic_count = 1;
    o.conf.properties = o.properties;
    a.lines = vd_alloc_array(LINES, sizeof(*a.lines));
    a.items = vd_alloc_array(a.max_in_flight, sizeof(struct item *));
    if (a.lines == NULL || a.items == NULL || vd_loop_new(&a.loop, &err) != VD_OK)
        die("no memory");
    if (vd_kafka_new(a.loop, &o.conf, &callbacks, &a, &a.k, &err) != VD_OK) {
        fprintf(stderr, "copy_worker: %s\n", err.msg);
        return vd_code_exit(err.code);
    }
    if (vd_timer_new(a.loop, on_tick, &a, &a.tick) != VD_OK ||
        vd_timer_new(a.loop, stop_now, &a, &a.drain) != VD_OK ||
        vd_loop_on_signal(a.loop, SIGTERM, on_signal, &a) != VD_OK ||
        vd_loop_on_signal(a.loop, SIGUSR1, on_signal, &a) != VD_OK)
        die("no memory");
    if (vd_kafka_start(a.k, &err) != VD_OK) {
        fprintf(stderr, "copy_worker: %s\n", err.msg);
        return vd_code_exit(err.code);
    }
    vd_timer_start(a.tick, 2, 2);
    vd_loop_run(a.loop);
    print_status(&a);
    (void)vd_kafka_free(a.k);
    (void)vd_timer_free(a.tick);
    (void)vd_timer_free(a.drain);
    (void)vd_loop_free(a.loop);
    (void)vd_free(a.lines);
    (void)vd_free(a.items);
    return a.exit_status;
}
