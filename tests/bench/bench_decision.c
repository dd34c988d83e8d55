/* One decision without Kafka, Redis and HTTP: bytes of an event in, decision and audit record out, through the job as the worker runs
 * it, with a model that answers at once. What is left of the worker's cost when the libraries' is taken away; for a profiler, too:
 * bench_decision [rounds]. Prints the time of one, alone and with a thousand others in flight (memory is cold then, as it is while a model
 * thinks), with what cJSON takes to parse and print the same texts beside it. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "model/router.h"
#include "pipeline/job.h"

#define ROUNDS   2000
#define TAKES    7 /* the best of them counts: other work on the machine only ever adds */
#define CROWD    1000
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char event_text[] =
    "{\"id\":\"evt_1NG8Du2eZvKYlo2CUI79vXWy\",\"object\":\"event\",\"api_version\":\"2022-11-15\","
    "\"created\":1686089970,\"type\":\"invoice.payment_failed\",\"livemode\":true,"
    "\"pending_webhooks\":1,\"request\":{\"id\":null,\"idempotency_key\":null},"
    "\"data\":{\"object\":{\"id\":\"in_1MtHbELkdIwHu7ixl4OzzPMv\",\"object\":\"invoice\","
    "\"account_country\":\"US\",\"account_name\":\"Stripe Docs\",\"amount_due\":4999,"
    "\"amount_paid\":0,\"amount_remaining\":4999,\"amount_shipping\":0,\"application\":null,"
    "\"attempt_count\":2,\"attempted\":true,\"auto_advance\":false,"
    "\"billing_reason\":\"subscription_cycle\",\"charge\":\"ch_3MtHbELkdIwHu7ix\","
    "\"collection_method\":\"charge_automatically\",\"created\":1680644467,\"currency\":\"usd\","
    "\"customer\":\"cus_NeZwdNtLEOXuvB\",\"customer_email\":\"jennyrosen@example.com\","
    "\"customer_name\":\"Jenny Rosen\",\"default_tax_rates\":[],\"description\":null,"
    "\"discount\":null,\"due_date\":1686694770,\"ending_balance\":0,"
    "\"metadata\":{\"plan\":\"pro\",\"region\":\"eu\"},\"next_payment_attempt\":1686349170,"
    "\"paid\":false,\"period_end\":1680644467,\"period_start\":1680644467,\"status\":\"open\","
    "\"subscription\":\"sub_1MtHbE\",\"subtotal\":4999,\"tax\":null,\"total\":4999}}}";
static const char context_text[] =
    "{\"sub\":{\"plan\":\"pro\",\"months_active\":\"14\",\"last_decline\":\"insufficient_funds\","
    "\"has_backup_method\":\"true\"}}";
static const char answer_text[] =
    "{\"action\":\"retry\",\"params\":{\"after_hours\":72,\"method\":\"backup\"},\"confidence\":0."
    "8,"
    "\"rationale\":\"The account was short two days before payday; the backup method is newer.\","
    "\"evidence\":[\"/sub/last_decline\"]}";

struct one {
    struct vd_arena arena;
    struct vd_event event;
    struct vd_record rec;
    struct vd_job *job;
};

struct bench {
    struct one crowd[CROWD];
    size_t in_flight; /* of the crowd */
    size_t open;
    struct vd_loop *loop;
    struct vd_router *router;
    struct vd_policy_set *set;
    struct vd_event_reader *reader;
    struct vd_metrics *metrics;
    cJSON *context, *script;
    size_t model;
    struct vd_job_services services;
    struct vd_record rec;
    size_t bytes; /* of both records */
    struct vd_err err;
};

static const struct vd_pipeline_topics topics = {
    .prefix = "decisions",
    .review = "decisions.review",
    .shadow = "decisions.shadow",
    .audit = "decisions.audit",
    .dead_letter = "decisions.dead-letter",
};

static void on_settled(void *arg, struct vd_job *job)
{
    struct bench *b = arg;

    (void)job;
    if (--b->open == 0)
        vd_loop_stop(b->loop);
}

static void on_fatal(void *arg, const struct vd_err *err)
{
    struct bench *b = arg;

    b->err = *err;
    vd_loop_stop(b->loop);
}

static bool set_up(struct bench *b, const char *policies, int answers)
{
    struct vd_event_reader_conf reading = {.format = VD_FORMAT_JSON};
    struct vd_model_conf model = {.name = "scripted", .provider = "scripted"};
    struct vd_router_conf routing = {.models = &model, .model_count = 1};
    const char *const paths[] = {policies};
    struct vd_policy_options options = {.schemas_dir = "schemas"};
    struct vd_diags diags;
    bool ok;

    vd_diags_init(&diags);
    b->script = cJSON_CreateArray();
    for (int i = 0; i < answers; i++)
        (void)vd_json_append(b->script, vd_json_new_string(VD_LIT(answer_text)));
    model.script = b->script;
    b->metrics = vd_metrics_new();
    ok = b->metrics != NULL && vd_json_parse(VD_LIT(context_text), &b->context, &b->err) == VD_OK &&
         vd_policy_set_load(paths, 1, &options, &diags, &b->set, &b->err) == VD_OK &&
         vd_event_reader_new(&reading, &b->reader, &b->err) == VD_OK &&
         vd_loop_new(&b->loop, &b->err) == VD_OK &&
         vd_router_new(b->loop, &routing, &b->router, &b->err) == VD_OK;
    vd_diags_fini(&diags);
    b->rec = (struct vd_record){.topic = "bench.in",
                                .timestamp_ms = vd_wall_ms(),
                                .key = VD_LIT("cus_NeZwdNtLEOXuvB"),
                                .value = VD_LIT(event_text)};
    b->services = (struct vd_job_services){.loop = b->loop,
                                           .router = b->router,
                                           .metrics = b->metrics,
                                           .context = b->context,
                                           .audit_max_bytes = VD_AUDIT_MAX_BYTES,
                                           .dead_letter_max_bytes = VD_AUDIT_MAX_BYTES,
                                           .topics = &topics,
                                           .worker = "bench",
                                           .source = "/bench",
                                           .marker_key = VD_LIT("marker"),
                                           .redact_key = VD_LIT("redact"),
                                           .default_models = &b->model,
                                           .default_model_count = 1,
                                           .settled = on_settled,
                                           .fatal = on_fatal,
                                           .arg = b};
    return ok;
}

static void tear_down(struct bench *b)
{
    (void)vd_router_free(b->router);
    (void)vd_loop_free(b->loop);
    (void)vd_event_reader_free(b->reader);
    (void)vd_policy_set_release(b->set);
    (void)vd_metrics_free(b->metrics);
    (void)vd_json_free(b->context);
    (void)vd_json_free(b->script);
}

/* Both records of the decision, or why not. */
static bool take_outputs(struct bench *b, struct vd_job *job)
{
    struct vd_output *out = vd_job_take_outputs(job);
    bool ok = out != NULL && out->kind == VD_OUTPUT_DECISION && out->next != NULL;

    if (!ok)
        (void)vd_err_set(&b->err, VD_E_BUG, false, "the event was not decided");
    else
        b->bytes = out->value.len + out->next->value.len;
    (void)vd_output_free(out);
    return ok;
}

static bool begin(struct bench *b, struct one *o)
{
    bool ok;

    vd_arena_init(&o->arena, VD_JOB_ARENA_MAX_BYTES);
    b->rec.offset++;
    o->rec = b->rec;
    o->rec.fetched_mono_ms = vd_mono_ms();
    ok = vd_event_read(b->reader, &o->rec, &o->arena, &o->event, &b->err) == VD_OK &&
         vd_job_new(&b->services, &o->rec, &o->event, b->set, vd_policy_set_get(b->set, 0),
                    vd_wall_ms(), &o->job, &b->err) == VD_OK &&
         vd_job_match(o->job) && vd_job_admit(o->job);
    if (ok) {
        b->open++;
        vd_job_start(o->job);
    }
    return ok;
}

static bool end(struct bench *b, struct one *o)
{
    bool ok = o->job != NULL && b->open == 0 && take_outputs(b, o->job);

    o->job = vd_job_free(o->job);
    vd_event_fini(&o->event);
    vd_arena_fini(&o->arena);
    return ok;
}

/* All that are in flight at once. */
static bool decide(struct bench *b)
{
    bool ok = true;

    for (size_t i = 0; i < b->in_flight && ok; i++)
        ok = begin(b, &b->crowd[i]);
    while (ok && b->open > 0 && b->err.code == VD_OK)
        vd_loop_run(b->loop);
    for (size_t i = 0; i < b->in_flight; i++)
        ok = end(b, &b->crowd[i]) && ok;
    return ok;
}

static bool parse_and_print(struct bench *b)
{
    static const char *const texts[] = {event_text, context_text, answer_text};
    bool ok = true;

    (void)b;
    for (size_t i = 0; i < COUNT(texts); i++) {
        cJSON *tree = cJSON_Parse(texts[i]);
        char *text = cJSON_PrintUnformatted(tree);

        ok = ok && text != NULL;
        cJSON_free(text);
        cJSON_Delete(tree);
    }
    return ok;
}

/* CPU microseconds of one call; below 0 when it fails. */
static double measure(bool (*call)(struct bench *), struct bench *b, int rounds)
{
    double best = -1;

    for (int take = 0; take < TAKES; take++) {
        clock_t start = clock();
        double each;

        for (int i = 0; i < rounds; i++)
            if (!call(b))
                return -1;
        each = (double)(clock() - start) * 1e6 / CLOCKS_PER_SEC / rounds;
        if (best < 0 || each < best)
            best = each;
    }
    return best;
}

int main(int argc, char **argv)
{
    static struct bench b;
    uint64_t rounds = ROUNDS;
    double alone = -1, crowded = -1;

    if (argc > 1 && !vd_parse_u64(vd_span_of(argv[1]), 1000000, &rounds))
        return 64;
    vd_log_setup(STDERR_FILENO, VD_ERROR);
    if (set_up(&b, "tests/bench/policies/model",
               (int)(rounds + rounds / CROWD * CROWD + CROWD) * TAKES)) {
        b.in_flight = 1;
        alone = measure(decide, &b, (int)rounds);
        b.in_flight = CROWD;
        crowded = measure(decide, &b, (int)(rounds + CROWD - 1) / CROWD) / CROWD;
    }
    if (crowded < 0)
        printf("bench_decision: %s\n", b.err.msg);
    else
        printf("job: one decision without I/O: %.1f us alone, %.1f us with %d in flight, %zu bytes "
               "in, %zu "
               "bytes of records out; cJSON alone parses and prints its texts in %.1f us\n",
               alone, crowded, CROWD, sizeof(event_text) - 1, b.bytes,
               measure(parse_and_print, &b, (int)rounds));
    tear_down(&b);
    return crowded < 0;
}
