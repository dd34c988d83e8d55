/* commands/demo.c - `verdict demo`: stories on an embedded broker, then the volume, then everything is gone again. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "commands/demo_script.h"
#include "commands/demo_stage.h"
#include "commands/trace.h"

#define STORY_WAIT_MS  20000
#define VOLUME_WAIT_MS 45000
#define MAX_ROWS       16
#define MAX_EVENTS     20000
#define PAID_MINOR     4900 /* what each disputed order of demo.json cost */

/* Ctrl-C: set by the handler, read between steps. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signum)
{
    (void)signum;
    interrupted = 1;
}

/* One line of the table: a policy and what became of its events. */
struct row {
    char policy[64];
    unsigned decided, fallback, escalated, repairs;
    int64_t tokens, cost_microusd;
};

struct demo {
    struct vd_stage_set *stage;
    struct vd_prng random;
    struct vd_demo_event event;
    bool colour;
    struct row rows[MAX_ROWS];
    size_t row_count;
    unsigned dead_letters, decisions, refused_refunds, refunds;
    const cJSON *script;
    unsigned stories; /* told */
    int64_t *latencies_ms;
    size_t latency_count;
};

static const char *bold(const struct demo *d)
{
    return d->colour ? "\033[1m" : "";
}

static const char *plain(const struct demo *d)
{
    return d->colour ? "\033[0m" : "";
}

static void title(const struct demo *d, const char *text)
{
    printf("\n%s%s%s\n", bold(d), text, plain(d));
}

/* -- events in, records out --------------------------------------------------------------------------------------------------- */

static enum vd_code publish(struct demo *d, const cJSON *sample, unsigned n, struct vd_err *err)
{
    const struct vd_demo_event *e = &d->event;
    enum vd_code rc = vd_demo_event_make(sample, n, &d->event, err);

    if (rc != VD_OK)
        return rc;
    return vd_kafka_writer_send(vd_stage_writer(d->stage), e->topic, -1, vd_buf_span(&e->key),
                                vd_buf_span(&e->value), e->headers, e->header_count, err);
}

static bool is_audit(const struct vd_record *rec)
{
    return strcmp(rec->topic, "decisions.audit") == 0;
}

static bool is_dead_letter(const struct vd_record *rec)
{
    return strcmp(rec->topic, "decisions.dead-letter") == 0;
}

/* The next audit record, told step by step. */
static enum vd_code tell_next(struct demo *d, bool whole, struct vd_err *err)
{
    int64_t until = vd_mono_ms() + STORY_WAIT_MS;

    while (!interrupted && vd_mono_ms() < until) {
        const struct vd_record *rec;
        enum vd_code rc = vd_kafka_reader_next(vd_stage_reader(d->stage), 100, &rec, err);

        if (rc != VD_OK)
            return rc;
        if (rec != NULL && is_audit(rec))
            return vd_trace_print(rec->value, whole, d->colour, err);
    }
    return vd_err_set(err, VD_E_TIMEOUT, false,
                      "no decision after %d s; the worker's log says why: %s", STORY_WAIT_MS / 1000,
                      vd_stage_log(d->stage));
}

/* -- stories -------------------------------------------------------------------------------------------------------------------- */

static void print_lines(const cJSON *lines)
{
    const cJSON *line;

    cJSON_ArrayForEach(line, lines) printf("%s\n", vd_json_string(line).ptr);
}

/* A story's events, each told when it is decided: the next one is an answer to it. */
static enum vd_code tell_events(struct demo *d, const cJSON *story, struct vd_err *err)
{
    const cJSON *sample;
    bool whole = cJSON_IsTrue(vd_json_get(story, "whole"));
    enum vd_code rc = VD_OK;

    cJSON_ArrayForEach(sample, vd_json_get(story, "events"))
    {
        const cJSON *say = vd_json_get(sample, "say");

        if (interrupted)
            return VD_OK;
        if (say != NULL)
            printf("%s\n", vd_json_string(say).ptr);
        rc = publish(d, sample, 0, err);
        if (rc == VD_OK)
            rc = tell_next(d, whole, err);
        if (rc != VD_OK)
            return rc;
    }
    return rc;
}

static enum vd_code tell_story(struct demo *d, const cJSON *story, unsigned number,
                               struct vd_err *err)
{
    const cJSON *change = vd_json_get(story, "model");
    char text[128];
    enum vd_code rc = change != NULL ? vd_stage_model(d->stage, change, err) : VD_OK;

    (void)snprintf(text, sizeof(text), "%u. %s", number, vd_json_get_string(story, "title").ptr);
    title(d, text);
    print_lines(vd_json_get(story, "tell"));
    if (rc == VD_OK)
        rc = tell_events(d, story, err);
    if (rc == VD_OK)
        print_lines(vd_json_get(story, "end"));
    if (rc == VD_OK && change != NULL)
        rc = vd_stage_model(d->stage, vd_json_get(d->script, "model"), err);
    return rc;
}

static enum vd_code tell_stories(struct demo *d, struct vd_err *err)
{
    const cJSON *story;
    unsigned number = 0;
    enum vd_code rc = VD_OK;

    cJSON_ArrayForEach(story, vd_json_get(d->script, "stories"))
    {
        if (rc == VD_OK && !interrupted)
            rc = tell_story(d, story, ++number, err);
    }
    d->stories = number;
    return rc;
}

/* -- the volume ------------------------------------------------------------------------------------------------------------------ */

static struct row *row_of(struct demo *d, struct vd_span policy)
{
    for (size_t i = 0; i < d->row_count; i++)
        if (vd_span_eq_c(policy, d->rows[i].policy))
            return &d->rows[i];
    if (d->row_count == MAX_ROWS)
        return &d->rows[MAX_ROWS - 1];
    (void)snprintf(d->rows[d->row_count].policy, sizeof(d->rows[0].policy), "%.*s", (int)policy.len,
                   policy.ptr);
    return &d->rows[d->row_count++];
}

static int64_t number(const cJSON *object, const char *key)
{
    int64_t v = 0;

    (void)vd_json_int(vd_json_get(object, key), &v);
    return v;
}

/* The demo does not trust the worker either: each refund is held against what the order cost. */
static void check_refund(struct demo *d, const cJSON *decision)
{
    if (!vd_span_eq_c(vd_json_get_string(decision, "action"), "refund"))
        return;
    d->refunds++;
    if (number(vd_json_get(decision, "params"), "amount_minor") > PAID_MINOR)
        d->refused_refunds++;
}

static void count_decision(struct demo *d, const cJSON *decision)
{
    const cJSON *usage = vd_json_get(decision, "usage");
    struct row *row = row_of(d, vd_json_get_string(decision, "policy_id"));
    struct vd_span status = vd_json_get_string(decision, "status");

    row->decided += vd_span_eq_c(status, "decided");
    row->fallback += vd_span_eq_c(status, "fallback");
    row->escalated += vd_span_eq_c(status, "escalated");
    row->repairs += (unsigned)number(usage, "repairs");
    row->tokens += number(usage, "input_tokens") + number(usage, "output_tokens");
    row->cost_microusd += number(decision, "cost_microusd");
    if (d->latency_count < MAX_EVENTS)
        d->latencies_ms[d->latency_count++] = number(usage, "total_ms");
    d->decisions++;
    check_refund(d, decision);
}

static enum vd_code count_record(struct demo *d, const struct vd_record *rec, struct vd_err *err)
{
    cJSON *decision = NULL;
    enum vd_code rc;

    if (is_audit(rec))
        return VD_OK;
    if (is_dead_letter(rec)) {
        d->dead_letters++;
        return VD_OK;
    }
    rc = vd_json_parse(rec->value, &decision, err);
    if (rc == VD_OK)
        count_decision(d, decision);
    (void)vd_json_free(decision);
    return rc;
}

static enum vd_code drain(struct demo *d, unsigned expected, struct vd_err *err)
{
    int64_t until = vd_mono_ms() + VOLUME_WAIT_MS;
    int64_t next_line = 0;

    while (!interrupted && vd_mono_ms() < until && d->decisions + d->dead_letters < expected) {
        const struct vd_record *rec;
        enum vd_code rc = vd_kafka_reader_next(vd_stage_reader(d->stage), 50, &rec, err);

        if (rc == VD_OK && rec != NULL)
            rc = count_record(d, rec, err);
        if (rc != VD_OK)
            return rc;
        if (d->colour && vd_mono_ms() >= next_line) {
            printf("\r  %u of %u outcomes", d->decisions + d->dead_letters, expected);
            (void)fflush(stdout);
            next_line = vd_mono_ms() + 100;
        }
    }
    if (d->colour)
        printf("\r                                        \r");
    if (!interrupted && d->decisions + d->dead_letters < expected)
        return vd_err_set(err, VD_E_TIMEOUT, false, "%u of %u outcomes after %d s; see %s",
                          d->decisions + d->dead_letters, expected, VOLUME_WAIT_MS / 1000,
                          vd_stage_log(d->stage));
    return VD_OK;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static int64_t percentile(const struct demo *d, unsigned percent)
{
    return d->latency_count == 0 ? 0 : d->latencies_ms[(d->latency_count - 1) * percent / 100];
}

/* What the volume is made of. */
struct sent {
    unsigned hostile, broken, unwanted, outcomes;
};

static void count_sent(struct sent *sent, const cJSON *sample)
{
    int64_t outcomes = 1;

    (void)vd_json_int(vd_json_get(sample, "outcomes"), &outcomes);
    sent->outcomes += (unsigned)outcomes;
    sent->unwanted += outcomes == 0;
    sent->broken += vd_json_get(sample, "text") != NULL;
    sent->hostile += cJSON_IsTrue(vd_json_get(sample, "hostile")) != 0;
}

static void print_table(struct demo *d, unsigned events, const struct sent *sent, int64_t took_ms)
{
    struct row sum = {.policy = "all"};

    printf("  %-26s %8s %9s %10s %8s %9s %9s\n", "policy", "decided", "fallback", "escalated",
           "repairs", "tokens", "cost");
    for (size_t i = 0; i < d->row_count; i++) {
        const struct row *r = &d->rows[i];

        printf("  %-26s %8u %9u %10u %8u %9" PRId64 " %8.4f$\n", r->policy, r->decided, r->fallback,
               r->escalated, r->repairs, r->tokens, (double)r->cost_microusd / 1e6);
        sum.decided += r->decided;
        sum.fallback += r->fallback;
        sum.escalated += r->escalated;
        sum.repairs += r->repairs;
        sum.tokens += r->tokens;
        sum.cost_microusd += r->cost_microusd;
    }
    printf("  %-26s %8u %9u %10u %8u %9" PRId64 " %8.4f$\n", sum.policy, sum.decided, sum.fallback,
           sum.escalated, sum.repairs, sum.tokens, (double)sum.cost_microusd / 1e6);
    qsort(d->latencies_ms, d->latency_count, sizeof(*d->latencies_ms), by_size);
    printf("\n  %u events in %.1f s: %u decisions, %u dead letters (%u were broken), %u that no "
           "policy wants\n",
           events, (double)took_ms / 1000, d->decisions, d->dead_letters, sent->broken,
           sent->unwanted);
    printf("  from fetch to decision: p50 %" PRId64 " ms, p99 %" PRId64 " ms\n", percentile(d, 50),
           percentile(d, 99));
    printf("  %u disputes carried orders to the model; refunds above what was paid: %s%u of %u%s\n",
           sent->hostile, bold(d), d->refused_refunds, d->refunds, plain(d));
}

static enum vd_code show_volume(struct demo *d, unsigned events, struct vd_err *err)
{
    const cJSON *volume = vd_json_get(d->script, "volume");
    struct sent sent = {0};
    int64_t began = vd_mono_ms();
    char text[64];
    enum vd_code rc = VD_OK;

    (void)snprintf(text, sizeof(text), "%u. The volume", d->stories + 1);
    title(d, text);
    printf("%u events of three domains, some malformed, some hostile, a model that takes its "
           "time:\n\n",
           events);
    for (unsigned n = 1; n <= events && rc == VD_OK && !interrupted; n++) {
        const cJSON *sample = vd_demo_draw(volume, &d->random);

        count_sent(&sent, sample);
        rc = publish(d, sample, n, err);
    }
    if (rc == VD_OK)
        rc = vd_kafka_writer_flush(vd_stage_writer(d->stage), 10000, err);
    if (rc == VD_OK)
        rc = drain(d, sent.outcomes, err);
    if (rc == VD_OK && !interrupted)
        print_table(d, events, &sent, vd_mono_ms() - began);
    if (rc == VD_OK && d->refused_refunds > 0)
        rc = vd_err_set(err, VD_E_BUG, false, "a refund above what was paid was committed");
    return rc;
}

/* -- around it ---------------------------------------------------------------------------------------------------------------------- */

static void print_next_steps(const struct demo *d)
{
    title(d, "What was simulated");
    printf("  simulated model, embedded mock broker (at least once); the exactly-once proof is "
           "`make chaos`\n"
           "  with a real broker:  verdict run -c verdict.cfg      (README.md: your first policy "
           "in five minutes)\n"
           "  with a real model:   models = { main = { url = \"http://localhost:11434/v1\"; model "
           "= \"llama3.2\"; schema = \"loose\"; }; };\n"
           "  one decision alone:  verdict decide policies/billing/dunning.cfg event.json --answer "
           "'...'\n");
}

static void keep_running(const struct demo *d)
{
    title(d, "Still running; Ctrl-C ends it");
    printf("  kafka    kcat -b %s -C -t decisions.marketplace\n"
           "  publish  kcat -b %s -P -t stripe.events event.json\n"
           "  redis    redis-cli -s %s\n"
           "  model    %s/stats\n"
           "  worker   %s/status  %s/metrics\n"
           "  log      %s\n",
           vd_stage_brokers(d->stage), vd_stage_brokers(d->stage), vd_stage_redis(d->stage),
           vd_stage_model_url(d->stage), vd_stage_admin_url(d->stage), vd_stage_admin_url(d->stage),
           vd_stage_log(d->stage));
    (void)fflush(stdout);
    while (!interrupted) {
        struct timespec t = {0, 100000000};

        (void)nanosleep(&t, NULL);
    }
}

/* The folder beside the current one, or beside the binary's build folder. */
static const char *find_folder(const char *given, const char *name, char path[512])
{
    ssize_t n;
    char *slash;

    if (given != NULL || vd_file_is_folder(name))
        return given != NULL ? given : name;
    n = readlink("/proc/self/exe", path, 400);
    for (int up = 0; n > 0 && up < 4; up++) {
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (slash == NULL)
            break;
        (void)snprintf(slash + 1, 100, "%s", name);
        if (vd_file_is_folder(path))
            return path;
        n = slash - path;
    }
    return name;
}

static enum vd_code perform(struct demo *d, const struct vd_args *args, unsigned events,
                            struct vd_err *err)
{
    char policies[512], schemas[512];
    struct vd_stage_conf conf = {
        .policies = find_folder(vd_args_get(args, "policies", NULL), "policies", policies),
        .schemas = find_folder(NULL, "schemas", schemas),
        .listen = vd_args_has(args, "keep-running") ? "127.0.0.1:9464" : "127.0.0.1:0",
    };
    cJSON *script = NULL;
    enum vd_code rc = vd_demo_script(&script, err);

    d->script = script;
    conf.sim = vd_json_get(script, "model");
    conf.topics = vd_json_get(script, "topics");
    conf.redis = vd_json_get(script, "redis");
    printf("%sverdict demo%s: an embedded broker, a redis-server of its own, a simulated model. "
           "Starting ...\n",
           bold(d), plain(d));
    (void)fflush(stdout);
    if (rc == VD_OK)
        rc = vd_stage_set_up(&conf, &d->stage, err);
    if (rc == VD_OK && !interrupted)
        rc = tell_stories(d, err);
    if (rc == VD_OK && !interrupted)
        rc = show_volume(d, events, err);
    if (rc == VD_OK && !interrupted)
        print_next_steps(d);
    if (rc == VD_OK && !interrupted && vd_args_has(args, "keep-running"))
        keep_running(d);
    d->script = NULL;
    (void)vd_json_free(script);
    return rc;
}

static int run(const struct vd_args *args)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    struct demo d = {.colour = isatty(STDOUT_FILENO) != 0};
    unsigned long long events;
    struct vd_err err;
    enum vd_code rc;

    if (!vd_args_u64(args, "events", 1, MAX_EVENTS, 400, &events))
        return EX_USAGE;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a story is told as it happens, in a pipe too */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    vd_prng_init(&d.random, 7);
    d.latencies_ms = vd_alloc_array(MAX_EVENTS, sizeof(*d.latencies_ms));
    rc = d.latencies_ms == NULL ? vd_err_nomem(&err, "demo")
                                : perform(&d, args, (unsigned)events, &err);
    if (rc != VD_OK)
        fprintf(stderr, "verdict demo: %s\n", err.msg);
    (void)vd_stage_take_down(d.stage);
    vd_demo_event_fini(&d.event);
    (void)vd_free(d.latencies_ms);
    return vd_code_exit(rc);
}

static const struct vd_option options[] = {
    {"events", 0, "N", "how many events the volume has (400)", false},
    {"policies", 0, "DIR", "folder of policies (policies)", false},
    {"keep-running", 0, NULL,
     "leave everything up afterwards, with addresses for kcat and a browser", false},
    {.name = NULL},
};

const struct vd_command vd_command_demo = {
    .name = "demo",
    .usage = "[--keep-running] [--events N]",
    .summary = "everything on this machine, nothing to configure",
    .about =
        "Starts an embedded broker, a redis-server, a simulated model and a worker; tells some "
        "stories step by step (a hostile\n"
        "dispute, a negotiation, a memory, a limit across customers, a dead model); then sends "
        "a few hundred events of nine\n"
        "policies and shows what became of them. Everything it starts, it stops.\n\n"
        "    verdict demo --keep-running",
    .options = options,
    .run = run,
};
